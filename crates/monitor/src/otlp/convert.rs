//! Spans and points as messages.

use std::collections::BTreeMap;

use countersign_audit::Verdict;
use countersign_model::request::Door;
use countersign_model::{Service, UnixMs};

use super::proto;
use super::tracer::Span;
use crate::measure::{Data, Family, Kind, Point, text::units};

/// What made the spans and the measures.
fn scope() -> proto::Scope {
    proto::Scope { name: "countersign".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

fn text(key: &str, value: impl Into<String>) -> proto::KeyValue {
    let value = proto::AnyValue { value: Some(proto::Value::Text(value.into())) };
    proto::KeyValue { key: key.to_owned(), value: Some(value) }
}

fn whole(key: &str, value: u64) -> proto::KeyValue {
    let value = proto::Value::Whole(i64::try_from(value).unwrap_or(i64::MAX));
    proto::KeyValue { key: key.to_owned(), value: Some(proto::AnyValue { value: Some(value) }) }
}

/// Who says it, by OpenTelemetry's names.
fn resource(service: &str, instance: &str) -> proto::Resource {
    let attributes = vec![
        text("service.namespace", "countersign"),
        text("service.name", format!("countersign-{service}")),
        text("service.instance.id", instance),
        text("service.version", env!("CARGO_PKG_VERSION")),
    ];
    proto::Resource { attributes }
}

/// These spans, by the service that they are of.
pub(super) fn traces(spans: &[Span], instance: &str) -> proto::TraceRequest {
    let mut by_service: BTreeMap<Service, Vec<proto::Span>> = BTreeMap::new();
    for one in spans {
        by_service.entry(one.seen.service).or_default().push(span(one));
    }
    let resource_spans = by_service.into_iter().map(|(service, spans)| proto::ResourceSpans {
        resource: Some(resource(service.as_str(), instance)),
        scope_spans: vec![proto::ScopeSpans { scope: Some(scope()), spans }],
    });
    proto::TraceRequest { resource_spans: resource_spans.collect() }
}

fn span(span: &Span) -> proto::Span {
    const SERVER: i32 = 2;
    const ERROR: i32 = 2;
    let seen = &span.seen;
    let elapsed = u64::try_from(seen.elapsed.as_nanos()).unwrap_or(u64::MAX);
    let mut attributes = vec![
        text("countersign.request", seen.request.to_string()),
        text("countersign.action", seen.action),
        text("countersign.verdict", seen.verdict.as_str()),
    ];
    let door = seen.door.map(|door| match door {
        Door::Http => "http",
        Door::Sql => "sql",
        Door::Mcp => "mcp",
    });
    attributes.extend(door.map(|door| text("countersign.door", door)));
    attributes.extend(seen.reason.map(|reason| text("countersign.reason", reason.as_str())));
    if seen.cells > 0 {
        attributes.extend([whole("countersign.rows", seen.rows), whole("countersign.cells", seen.cells)]);
    }
    // A refusal is what a guard is for. A failure is an error.
    let code = if matches!(seen.verdict, Verdict::Failed | Verdict::Unknown) { ERROR } else { 0 };
    proto::Span {
        trace_id: seen.request.as_bytes().to_vec(),
        span_id: span.id.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        name: format!("{} {}", seen.service, seen.action),
        kind: SERVER,
        start_time_unix_nano: span.ended_ns.saturating_sub(elapsed),
        end_time_unix_nano: span.ended_ns,
        attributes,
        status: Some(proto::Status { code }),
    }
}

/// These points, by the service that they are of.
pub(super) fn metrics(points: &[Point], now: UnixMs) -> proto::MetricsRequest {
    let mut by_service: BTreeMap<(&str, &str), Vec<&Point>> = BTreeMap::new();
    for point in points {
        if let [(_, service), (_, instance), ..] = point.labels.as_slice() {
            by_service.entry((service, instance)).or_default().push(point);
        }
    }
    let resource_metrics = by_service.into_iter().map(|((service, instance), points)| proto::ResourceMetrics {
        resource: Some(resource(service, instance)),
        scope_metrics: vec![proto::ScopeMetrics { scope: Some(scope()), metrics: of_one(&points, now) }],
    });
    proto::MetricsRequest { resource_metrics: resource_metrics.collect() }
}

fn of_one(points: &[&Point], now: UnixMs) -> Vec<proto::Metric> {
    let mut metrics = Vec::new();
    for points in points.chunk_by(|a, b| a.family == b.family) {
        let Some(first) = points.first() else { continue };
        metrics.push(metric(first.family, points, now));
    }
    metrics
}

fn metric(family: &Family, points: &[&Point], now: UnixMs) -> proto::Metric {
    const CUMULATIVE: i32 = 2;
    let data = match family.kind {
        Kind::Gauge => {
            let data_points = points.iter().filter_map(|point| number(point, now)).collect();
            proto::Data::Gauge(proto::Gauge { data_points })
        }
        Kind::Counter => {
            let data_points = points.iter().filter_map(|point| number(point, now)).collect();
            proto::Data::Sum(proto::Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true })
        }
        Kind::Histogram => {
            let data_points = points.iter().filter_map(|point| histogram(point, now)).collect();
            proto::Data::Histogram(proto::Histogram { data_points, aggregation_temporality: CUMULATIVE })
        }
    };
    // By OpenTelemetry's names: parts with points between, and the unit beside them.
    let (name, unit) = family.name.strip_suffix("_total").map_or_else(
        || family.name.strip_suffix("_seconds").map_or((family.name, ""), |name| (name, "s")),
        |name| (name, "1"),
    );
    let name = name.replacen("countersign_", "countersign.", 1);
    proto::Metric { name, description: family.help.to_owned(), unit: unit.to_owned(), data: Some(data) }
}

/// The family's own labels: service and instance are the resource's.
fn attributes(point: &Point) -> Vec<proto::KeyValue> {
    point.labels.iter().skip(2).map(|(label, word)| text(label, word.clone())).collect()
}

fn nanos(time: UnixMs) -> u64 {
    time.0.saturating_mul(1_000_000)
}

fn started(point: &Point) -> u64 {
    point.since.map_or(0, nanos)
}

fn number(point: &Point, now: UnixMs) -> Option<proto::NumberPoint> {
    let (value, start_time_unix_nano) = match point.data {
        Data::Count(count) => (proto::Number::Whole(i64::try_from(count).unwrap_or(i64::MAX)), started(point)),
        Data::Value(value) => (proto::Number::Double(value), 0),
        Data::Hist { .. } => return None,
    };
    let attributes = attributes(point);
    Some(proto::NumberPoint { start_time_unix_nano, time_unix_nano: nanos(now), attributes, value: Some(value) })
}

fn histogram(point: &Point, now: UnixMs) -> Option<proto::HistogramPoint> {
    let Data::Hist { bounds, hist } = &point.data else { return None };
    Some(proto::HistogramPoint {
        start_time_unix_nano: started(point),
        time_unix_nano: nanos(now),
        count: hist.count(),
        sum: Some(units(hist.sum_millionths)),
        bucket_counts: hist.buckets.clone(),
        explicit_bounds: bounds.iter().map(|bound| units(*bound)).collect(),
        attributes: attributes(point),
    })
}
