//! What a collector gets, read with the official types.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use countersign_audit::{Reason, Verdict};
use countersign_guard::{Observation, Observe as _};
use countersign_model::clock::ManualClock;
use countersign_model::{Service, UnixMs};
use countersign_services::Report;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message as _;
use tokio::net::TcpListener;

use super::*;
use crate::measure::tests::{known, seen, status};
use crate::measure::{Collector, Known, Watching};

const NOW: UnixMs = UnixMs(1_700_000_000_000);

/// A collector on this machine. It takes nothing for the first `busy` requests.
#[derive(Default)]
struct Received {
    requests: Mutex<Vec<(String, http::HeaderMap, Bytes)>>,
    busy: Mutex<u32>,
}

async fn collector(busy: u32) -> (String, Arc<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Received { busy: Mutex::new(busy), ..Received::default() });
    let kept = Arc::clone(&received);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let kept = Arc::clone(&kept);
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let mut response = http::Response::new(Full::<Bytes>::default());
                    let mut busy = kept.busy.lock().unwrap();
                    if *busy > 0 {
                        *busy = busy.saturating_sub(1);
                        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                    } else {
                        kept.requests.lock().unwrap().push((head.uri.path().to_owned(), head.headers, body));
                    }
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (base, received)
}

struct Setting {
    watching: Watching,
    tracer: Arc<Tracer>,
    exporter: Exporter,
    received: Arc<Received>,
}

async fn setting(one_in: u64, busy: u32) -> Setting {
    let (base, received) = collector(busy).await;
    let clock = Arc::new(ManualClock::at(NOW));
    let tracer = Tracer::new(one_in, "a", clock.clone());
    let watching = Watching::new(Some(Arc::clone(&tracer)));
    struct Now(Watching);
    #[async_trait::async_trait]
    impl Report for Now {
        async fn status(&self) -> Result<countersign_services::ServiceStatus, countersign_services::LogFailure> {
            Ok(status(Service::Gateway, self.0.to_bytes(Service::Gateway)))
        }
    }
    let here: Vec<(String, Arc<dyn Report>)> = vec![("gateway/a".to_owned(), Arc::new(Now(watching.clone())))];
    let mut collecting = Collecting::at(&base).unwrap();
    collecting.headers = Headers::parse("# the key\nX-Api-Key: abc\nAuthorization: Basic eHl6\n\n").unwrap();
    let exporter = Exporter::new(collecting, Arc::clone(&tracer), Collector::new(Arc::new(here), clock), "a");
    Setting { watching, tracer, exporter, received }
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    let found = attributes.iter().find(|one| one.key == key).unwrap_or_else(|| panic!("no {key}"));
    match found.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn spans_of_all_services_are_one_trace_by_the_id_of_the_request() {
    let Setting { watching, tracer, exporter, received } = setting(1, 1).await;
    let read = seen(Service::Gateway, "read", Verdict::Released, None);
    let of = |service| Observation { service, entry: service == Service::Gateway, ..read };
    // The key service has two of one request.
    for service in [Service::Keys, Service::Keys, Service::Store, Service::Gateway] {
        watching.observer(service).observe(&of(service));
    }
    let refused = seen(Service::Gateway, "update", Verdict::Refused, Some(Reason::NotPermitted));
    watching.observer(Service::Gateway).observe(&refused);
    assert!(exporter.send_spans().await, "the second time");
    assert_eq!(tracer.counts(Service::Keys), [2, 0, 0]);

    let requests = received.requests.lock().unwrap();
    let [(path, headers, body)] = requests.as_slice() else { panic!("{} messages", requests.len()) };
    assert_eq!(path, "/v1/traces");
    let field = |name: &str| headers[name].to_str().unwrap();
    assert_eq!(field("content-type"), "application/x-protobuf");
    assert_eq!((field("x-api-key"), field("authorization")), ("abc", "Basic eHl6"));
    let message = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    let mut ids = Vec::new();
    let root = read.request.as_bytes()[8..].to_vec();
    for resource in &message.resource_spans {
        let attributes = &resource.resource.as_ref().unwrap().attributes;
        let name = attribute(attributes, "service.name");
        assert_eq!(attribute(attributes, "service.instance.id"), "a");
        for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            ids.push(span.span_id.clone());
            assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 700_000);
            assert!(span.end_time_unix_nano >= NOW.0 * 1_000_000);
            if span.trace_id != read.request.as_bytes() {
                assert_eq!(span.trace_id, refused.request.as_bytes());
                assert_eq!(attribute(&span.attributes, "countersign.reason"), "not_permitted");
                continue;
            }
            assert_eq!(attribute(&span.attributes, "countersign.request"), read.request.to_string());
            assert_eq!(attribute(&span.attributes, "countersign.action"), "read");
            assert_eq!(attribute(&span.attributes, "countersign.door"), "http");
            assert_eq!(attribute(&span.attributes, "countersign.verdict"), "released");
            match name {
                "countersign-gateway" => assert_eq!((&span.span_id, span.parent_span_id.len()), (&root, 0)),
                _ => assert_eq!(span.parent_span_id, root),
            }
        }
    }
    assert_eq!(ids.len(), 5);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5, "each span has an id of its own");
}

#[tokio::test]
async fn measures_are_sent_as_they_are() {
    let Setting { watching, exporter, received, .. } = setting(1, 0).await;
    let observer = watching.observer(Service::Gateway);
    observer.observe(&seen(Service::Gateway, "read", Verdict::Released, None));
    assert!(exporter.send_measures().await);
    let requests = received.requests.lock().unwrap();
    assert_eq!(requests[0].0, "/v1/metrics");
    let message = ExportMetricsServiceRequest::decode(requests[0].2.clone()).unwrap();
    let resource = &message.resource_metrics[0];
    assert_eq!(attribute(&resource.resource.as_ref().unwrap().attributes, "service.name"), "countersign-gateway");
    let metrics = &resource.scope_metrics[0].metrics;
    let data = |name: &str| {
        let found = metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"));
        found.data.clone().unwrap()
    };
    let Data::Sum(sum) = data("countersign.requests") else { panic!("a sum") };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    assert_eq!(attribute(&sum.data_points[0].attributes, "verdict"), "released");
    assert_eq!(sum.data_points[0].start_time_unix_nano, NOW.minus_ms(60_000).0 * 1_000_000);
    let Data::Histogram(histogram) = data("countersign.request_duration") else { panic!("a histogram") };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum, point.bucket_counts.len()), (1, Some(0.0007), point.explicit_bounds.len() + 1));
    let Data::Gauge(_) = data("countersign.facts_epoch") else { panic!("a gauge") };
}

#[tokio::test]
async fn what_can_not_be_sent_in_time_is_dropped_and_counted() {
    let Setting { watching, tracer, exporter, .. } = setting(1, 100).await;
    let observer = watching.observer(Service::Gateway);
    for _ in 0..10_000 {
        observer.observe(&seen(Service::Gateway, "read", Verdict::Released, None));
    }
    let [_, dropped, _] = tracer.counts(Service::Gateway);
    assert_eq!(dropped, 10_000 - 8192);
    assert!(!exporter.send_spans().await);
    assert_eq!(tracer.counts(Service::Gateway), [0, dropped, 8192]);
    let text = crate::measure::render(
        &crate::measure::points(
            &[Known { ..known("gateway", Some(status(Service::Gateway, watching.to_bytes(Service::Gateway)))) }],
            NOW,
        ),
        crate::measure::Format::Prometheus,
    );
    assert!(text.contains("countersign_spans_total{service=\"gateway\",instance=\"first\",outcome=\"dropped\"} 1808"));
}

#[tokio::test]
async fn the_same_requests_are_traced_everywhere() {
    let clock = Arc::new(ManualClock::at(NOW));
    let (here, there) = (Tracer::new(10, "a", clock.clone()), Tracer::new(10, "b", clock));
    for _ in 0..2000 {
        let one = seen(Service::Gateway, "read", Verdict::Released, None);
        here.observe(&one);
        there.observe(&Observation { service: Service::Store, entry: false, ..one });
    }
    let (here, there) = (here.take(), there.take());
    assert!((100..400).contains(&here.len()), "{}", here.len());
    let requests = |spans: &[tracer::Span]| spans.iter().map(|span| span.seen.request).collect::<Vec<_>>();
    assert_eq!(requests(&here), requests(&there));
}

#[test]
fn collectors_are_called_encrypted_unless_they_are_on_this_machine() {
    for good in ["https://collector.example:4318", "http://127.0.0.1:4318/", "http://localhost:4318", "http://[::1]:9"]
    {
        assert!(Collecting::at(good).is_some(), "{good}");
    }
    for bad in ["http://collector.example:4318", "collector:4318", "https://collector/?key=1", "ftp://localhost", ""] {
        assert!(Collecting::at(bad).is_none(), "{bad}");
    }
    for bad in ["no colon", "bad name: x", ": x", "a: b\u{7}"] {
        assert_eq!(Headers::parse(bad).err(), Some(HeadersError), "{bad}");
    }
    assert_eq!(format!("{:?}", Headers::parse("authorization: Bearer abc").unwrap()), "Headers(..)");
}
