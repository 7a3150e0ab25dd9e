//! From the configuration to the bounds that crates take.

use std::time::Duration;

use countersign_door_http::Limits as DoorLimits;
use countersign_engine::EngineLimits;
use countersign_guard::Limits as GuardLimits;

use crate::config::Config;

pub(super) fn guard_limits(config: &Config) -> GuardLimits {
    let limits = &config.limits;
    GuardLimits {
        rows_max: limits.rows.number(),
        embed_depth_max: limits.embed_depth.size(),
        columns_max: limits.columns.size(),
        comparisons_max: limits.comparisons.size(),
        insert_rows_max: limits.rows_written.size(),
    }
}

pub(super) fn door_limits(config: &Config) -> DoorLimits {
    let (server, limits) = (&config.server, &config.limits);
    DoorLimits {
        connections: server.connections.size(),
        handshake_time: Duration::from_millis(server.handshake_ms.number()),
        header_time: Duration::from_millis(server.header_ms.number()),
        request_time: Duration::from_millis(server.request_ms.number()),
        idle_time: Duration::from_millis(server.idle_ms.number()),
        shutdown_time: Duration::from_millis(server.drain_ms.number()),
        header_bytes: limits.header_bytes.size(),
        headers: limits.headers.size(),
        streams: server.streams.small(),
        url_bytes: limits.url_bytes.size(),
        body_bytes: limits.body_bytes.size(),
        rows: limits.rows_written.size(),
        fields: limits.fields.size(),
        json_depth: limits.json_depth.size(),
        items: limits.columns.size(),
        filter_nodes: limits.comparisons.size(),
        filter_depth: limits.filter_depth.size(),
        list: limits.list.size(),
        embed_depth: limits.embed_depth.size(),
    }
}

pub(super) fn engine_limits(config: &Config) -> EngineLimits {
    let limits = &config.limits;
    EngineLimits { scan_rows_max: limits.rows_scanned.number(), change_rows_max: limits.rows_written.number() }
}
