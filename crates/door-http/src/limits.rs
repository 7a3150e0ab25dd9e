//! How large anything may be that arrives here.

use std::time::Duration;

/// Every bound of this door. What is out of bounds is refused whole; nothing is cut off or shortened.
///
/// Zero means "none of it", never "unlimited".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; more are closed at once. Default 1,024.
    pub connections: usize,
    /// From accepting a connection to the end of its TLS handshake. Default 10 s.
    pub handshake_time: Duration,
    /// From the first byte of a request to the end of its header fields (HTTP/1.1). Default 10 s.
    pub header_time: Duration,
    /// From the end of the header fields to the end of the answer's making, body included. Default 30 s.
    pub request_time: Duration,
    /// How long a connection may stay without a request. Default 60 s.
    pub idle_time: Duration,
    /// How long open requests may go on after shutdown was asked for. Default 10 s.
    pub shutdown_time: Duration,
    /// Bytes of all header fields together. Default 32 KiB, at least 8 KiB.
    pub header_bytes: usize,
    /// Header fields. Default 64.
    pub headers: usize,
    /// Requests at a time on one HTTP/2 connection. Default 128.
    pub streams: u32,
    /// Bytes of path and query. Default 16 KiB.
    pub url_bytes: usize,
    /// Bytes of a request's body. Default 8 MiB.
    pub body_bytes: usize,
    /// Records in one body. Default 10,000.
    pub rows: usize,
    /// Fields in one record of a body. Default 256.
    pub fields: usize,
    /// Nesting of arrays and objects in a JSON body. Default 32.
    pub json_depth: usize,
    /// Items in all select lists together, and in one order list. Default 256.
    pub items: usize,
    /// Comparisons and connectives in all filters together. Default 256.
    pub filter_nodes: usize,
    /// Nesting of `and`, `or`. Default 8.
    pub filter_depth: usize,
    /// Values in one `in` list. Default 1,000.
    pub list: usize,
    /// Nesting of embeds. Default 4.
    pub embed_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake_time: Duration::from_secs(10),
            header_time: Duration::from_secs(10),
            request_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(60),
            shutdown_time: Duration::from_secs(10),
            header_bytes: 32 * 1024,
            headers: 64,
            streams: 128,
            url_bytes: 16 * 1024,
            body_bytes: 8 * 1024 * 1024,
            rows: 10_000,
            fields: 256,
            json_depth: 32,
            items: 256,
            filter_nodes: 256,
            filter_depth: 8,
            list: 1000,
            embed_depth: 4,
        }
    }
}
