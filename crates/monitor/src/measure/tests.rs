//! What is counted, how it travels, and that nothing of it grows.

mod page;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_audit::{Reason, Verdict};
use countersign_crypto::SystemEntropy;
use countersign_guard::{Observation, Observe};
use countersign_model::clock::ManualClock;
use countersign_model::request::Door;
use countersign_model::{RequestId, Service, UnixMs};
use countersign_services::ServiceStatus;

use super::*;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

pub(crate) fn seen(service: Service, action: &'static str, verdict: Verdict, reason: Option<Reason>) -> Observation {
    Observation {
        request: RequestId::new(NOW, &SystemEntropy),
        service,
        door: Some(Door::Http),
        action,
        verdict,
        reason,
        entry: service == Service::Gateway,
        elapsed: Duration::from_micros(700),
        token_age_ms: Some(90_000),
        rows: 3,
        cells: 12,
    }
}

pub(crate) fn status(service: Service, measures: Vec<u8>) -> ServiceStatus {
    ServiceStatus {
        service,
        now: NOW.plus_ms(250),
        started: NOW.minus_ms(60_000),
        epoch: 7,
        facts_age_ms: 1_500,
        is_ready: true,
        ledger_records: 1_000,
        ledger_integrated: 990,
        ledger_cosigned: 3,
        ledger_is_writable: true,
        certificate_expires: Some(NOW.plus_ms(3_600_000)),
        kms: vec![("default".to_owned(), true), ("acme".to_owned(), false)],
        measures,
    }
}

pub(crate) fn known(name: &str, status: Option<ServiceStatus>) -> Known {
    Known { name: name.to_owned(), status }
}

/// Every combination of words that there is.
fn everything(measures: &Measures) {
    for door in [Some(Door::Http), Some(Door::Sql), Some(Door::Mcp), None] {
        for action in words::actions().iter().copied() {
            for verdict in Verdict::ALL {
                for reason in Reason::ALL.iter().copied().map(Some).chain([None]) {
                    measures.observe(&Observation { door, ..seen(Service::Gateway, action, verdict, reason) });
                }
            }
        }
    }
}

fn gateway(measures: &Measures) -> Vec<Known> {
    vec![known("gateway/a", Some(status(Service::Gateway, measures.samples().to_bytes())))]
}

#[test]
fn what_was_seen_is_told() {
    let measures = Measures::default();
    measures.observe(&seen(Service::Gateway, "read", Verdict::Released, None));
    measures.observe(&seen(Service::Gateway, "read", Verdict::Released, None));
    measures.observe(&seen(Service::Gateway, "update", Verdict::Refused, Some(Reason::Budget)));
    measures.appended(Duration::from_millis(3));
    measures.append_failed();
    let mut all = gateway(&measures);
    all.push(known("store/b", None));
    let text = render(&points(&all, NOW), Format::Prometheus);
    for line in [
        "countersign_up{service=\"gateway\",instance=\"a\"} 1.0",
        "countersign_up{service=\"store\",instance=\"b\"} 0.0",
        "countersign_clock_offset_seconds{service=\"gateway\",instance=\"a\"} 0.25",
        "countersign_requests_total{service=\"gateway\",instance=\"a\",door=\"http\",action=\"read\",verdict=\"released\"} 2",
        "countersign_refusals_total{service=\"gateway\",instance=\"a\",door=\"http\",action=\"update\",reason=\"budget\"} 1",
        "countersign_request_duration_seconds_bucket{service=\"gateway\",instance=\"a\",door=\"http\",action=\"read\",le=\"0.0005\"} 0",
        "countersign_request_duration_seconds_bucket{service=\"gateway\",instance=\"a\",door=\"http\",action=\"read\",le=\"0.001\"} 2",
        "countersign_request_duration_seconds_bucket{service=\"gateway\",instance=\"a\",door=\"http\",action=\"read\",le=\"+Inf\"} 2",
        "countersign_request_duration_seconds_sum{service=\"gateway\",instance=\"a\",door=\"http\",action=\"read\"} 0.0014",
        "countersign_request_duration_seconds_count{service=\"gateway\",instance=\"a\",door=\"http\",action=\"read\"} 2",
        "countersign_token_age_seconds_bucket{service=\"gateway\",instance=\"a\",le=\"300.0\"} 3",
        "countersign_released_cells_total{service=\"gateway\",instance=\"a\"} 36",
        "countersign_facts_epoch{service=\"gateway\",instance=\"a\"} 7.0",
        "countersign_facts_age_seconds{service=\"gateway\",instance=\"a\"} 1.5",
        "countersign_ledger_lag_records{service=\"gateway\",instance=\"a\"} 10.0",
        "countersign_ledger_append_failures_total{service=\"gateway\",instance=\"a\"} 1",
        "countersign_certificate_expiry_timestamp_seconds{service=\"gateway\",instance=\"a\"} 1700003600.0",
        "countersign_kms_up{service=\"gateway\",instance=\"a\",provider=\"acme\"} 0.0",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn neither_tenants_nor_people_nor_requests_make_series() {
    let measures = Measures::default();
    everything(&measures);
    let series = || points(&gateway(&measures), NOW).len();
    let before = series();
    // Each with an id of its own, which is all that tells one tenant's or person's request from another's here.
    for _ in 0..100 {
        everything(&measures);
    }
    assert_eq!(series(), before);
    let per_pair = Verdict::ALL.len() + Reason::ALL.len() + 1 + 1;
    let most = words::DOORS.len() * words::actions().len() * per_pair + 64;
    println!("{before} series of a service that has seen everything; at most {most}");
    assert!(before <= most);
    let bytes = measures.samples().to_bytes().len();
    println!("{bytes} bytes of measures");
}

#[test]
fn a_service_that_was_taken_over_puts_nothing_into_a_label() {
    let word = || "Ada\"} 1\nlovelace".to_owned();
    let hist = Hist { buckets: vec![1; 100], sum_millionths: u64::MAX };
    let samples = Samples {
        version: word(),
        requests: (0..1000).map(|one| (word(), format!("read{one}"), word(), u64::MAX)).collect(),
        refusals: vec![("http".to_owned(), "read".to_owned(), "secret".to_owned(), 1)],
        durations: (0..1000).map(|one| (format!("{one}"), word(), hist.clone())).collect(),
        token_age: hist,
        ..Samples::default()
    };
    let mut evil = status(Service::Store, samples.to_bytes());
    evil.kms = (0..1000).map(|one| (format!("kms{one}"), true)).chain([(word(), true)]).collect();
    let points = points(&[known("store/b", Some(evil)), known("nobody", None)], NOW);
    let text = render(&points, Format::OpenMetrics);
    assert!(!text.contains("lovelace") && !text.contains("secret") && !text.contains("read1"), "{text}");
    assert!(text.contains("version=\"other\"") && text.contains("service=\"other\""));
    page::check(&text);
    assert!(points.len() < 200, "{}", points.len());
    let garbage = known("store/b", Some(status(Service::Store, vec![0xff; 40])));
    page::check(&render(&super::points(&[garbage], NOW), Format::OpenMetrics));
}

#[test]
fn both_forms_are_well_formed_whatever_was_seen() {
    let measures = Measures::default();
    page::check(&render(&points(&gateway(&measures), NOW), Format::Prometheus));
    everything(&measures);
    let points = points(&gateway(&measures), NOW);
    let plain = render(&points, Format::Prometheus);
    page::check(&plain);
    let open = render(&points, Format::OpenMetrics);
    page::check(&open);
    assert!(open.ends_with("# EOF\n") && !plain.contains("EOF"));
    assert!(
        open.contains("# TYPE countersign_requests counter") && plain.contains("# TYPE countersign_requests_total")
    );
}

/// With the program that Prometheus itself brings, where it is installed: `cargo xtask test --only tools` does that.
#[test]
fn promtool_finds_nothing() {
    let measures = Measures::default();
    everything(&measures);
    let text = render(&points(&gateway(&measures), NOW), Format::Prometheus);
    page::promtool(&text);
}

#[test]
fn who_asks_gets_the_form_that_it_asks_for() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.2";
    for (accept, format) in [
        (None, Format::Prometheus),
        (Some("*/*"), Format::Prometheus),
        (Some("text/plain;version=0.0.4"), Format::Prometheus),
        (Some("application/openmetrics-text"), Format::OpenMetrics),
        (Some(prometheus), Format::OpenMetrics),
        (Some("application/openmetrics-text;q=0.1, text/plain"), Format::Prometheus),
        (Some("application/openmetrics-text;q=x"), Format::Prometheus),
        (Some(""), Format::Prometheus),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept:?}");
    }
}

#[test]
fn measures_of_one_service_are_not_those_of_another() {
    let watching = Watching::new(None);
    watching.observer(Service::Keys).observe(&seen(Service::Keys, "read", Verdict::Released, None));
    assert_eq!(Samples::from_bytes(&watching.to_bytes(Service::Keys)).cells, 12);
    assert_eq!(Samples::from_bytes(&watching.to_bytes(Service::Store)).cells, 0);
    let words: BTreeSet<_> = words::actions().iter().collect();
    assert_eq!(words.len(), words::actions().len(), "each action once");
}

#[tokio::test]
async fn who_does_not_answer_is_down() {
    struct Silent;
    #[async_trait::async_trait]
    impl countersign_services::Report for Silent {
        async fn status(&self) -> Result<ServiceStatus, countersign_services::LogFailure> {
            std::future::pending().await
        }
    }
    struct Fixed(ServiceStatus);
    #[async_trait::async_trait]
    impl countersign_services::Report for Fixed {
        async fn status(&self) -> Result<ServiceStatus, countersign_services::LogFailure> {
            Ok(self.0.clone())
        }
    }
    let statuses: Vec<(String, Arc<dyn countersign_services::Report>)> = vec![
        ("gateway".to_owned(), Arc::new(Fixed(status(Service::Gateway, Vec::new())))),
        ("store".to_owned(), Arc::new(Silent)),
    ];
    let collector = Collector::new(Arc::new(statuses), Arc::new(ManualClock::at(NOW)));
    let all = collector.ask().await;
    assert_eq!(all.iter().map(Known::is_ready).collect::<Vec<_>>(), [true, false]);
    assert!(!is_ready(&all) && is_ready(&all[..1]) && !is_ready(&[]));
    let mut full = status(Service::Gateway, Vec::new());
    full.ledger_is_writable = false;
    assert!(!known("gateway", Some(full)).is_ready());
}

/// Run with `UPDATE_PAGES=1` to write the table anew.
#[test]
fn the_page_names_every_measure() {
    const FROM: &str = "<!-- written by the program from here; see crates/monitor/src/measure/tests.rs -->\n";
    const UNTIL: &str = "<!-- until here -->";
    let mut table = "\n| measure | kind | more labels | what it says |\n|---|---|---|---|\n".to_owned();
    for family in FAMILIES {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (family.name, family.kind.as_str(), family.help);
        table.push_str(&format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", ")));
    }
    table.push('\n');
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/monitoring.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(FROM).expect("the table's place");
    let (there, after) = rest.split_once(UNTIL).expect("its end");
    if there != table {
        let update = std::env::var_os("UPDATE_PAGES").is_some();
        assert!(update, "docs/monitoring.md does not name the measures; run this test with UPDATE_PAGES=1");
        std::fs::write(&path, format!("{before}{FROM}{table}{UNTIL}{after}")).unwrap();
    }
}

/// The bound is wide, because tests are not optimised and share their machine. The bench has the figure.
#[test]
fn an_observation_is_cheap() {
    let watching = Watching::new(None);
    let observer = watching.observer(Service::Gateway);
    let one = seen(Service::Gateway, "read", Verdict::Released, None);
    let began = Instant::now();
    for _ in 0..100_000 {
        observer.observe(&one);
    }
    let each = began.elapsed() / 100_000;
    println!("{} ns for an observation", each.as_nanos());
    assert!(each < Duration::from_micros(50));
}
