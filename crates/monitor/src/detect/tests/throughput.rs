//! From event to alert, at 5,000 events a second.

use std::time::{Duration, Instant};

use countersign_audit::{AuditError, AuditKeys, AuditSink, Body, Ledger, Options, Record};
use countersign_crypto::{SealKey, SecretKey, SystemEntropy};
use countersign_model::Clock as _;
use countersign_model::clock::SystemClock;

use super::*;
use crate::detect::run::{NEWS_MAX, follow, run};

struct OneKey(Arc<SealKey>);

impl AuditKeys for OneKey {
    fn audit_key(&self, _: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
        Ok(Arc::clone(&self.0))
    }
}

/// Keeps when each alert came.
#[derive(Default)]
struct Arrivals(Mutex<HashMap<RequestId, UnixMs>>);

impl Raise for Arrivals {
    fn raise(&self, alert: Alert) {
        for request in alert.requests {
            self.0.lock().entry(request).or_insert_with(|| SystemClock.now());
        }
    }
}

/// Whole days' worth of ledgers: a gateway's ledger is written at 5,000 records a second, and every so often one of them
/// must be alerted about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_event_to_alert() {
    const RATE: u64 = 5_000;
    const SECONDS: u64 = 3;
    let dir = tempfile::tempdir().unwrap();
    let key = Arc::new(SealKey::new(&SecretKey::generate(&SystemEntropy)));
    let entropy = Arc::new(SystemEntropy);
    let open = |service: Service| {
        let folder = dir.path().join(service.as_str());
        let keys = Arc::new(OneKey(Arc::clone(&key)));
        Arc::new(Ledger::open(&folder, service, keys, entropy.clone(), Options::default()).unwrap())
    };
    let ledger = open(Service::Store);
    let arrivals = Arc::new(Arrivals::default());
    let detector = Detector::new(DetectorParts {
        raise: Arc::clone(&arrivals) as Arc<dyn Raise>,
        ..parts(&Arc::new(Alerts::default()))
    });
    let (sender, news) = tokio::sync::mpsc::channel(NEWS_MAX);
    let following = tokio::spawn(follow(Arc::clone(&ledger), "store".to_owned(), None, sender, Arc::new(SystemClock)));
    let running = tokio::spawn(run(detector, None, news, Arc::new(SystemClock)));

    let mut wanted: Vec<(RequestId, UnixMs)> = Vec::new();
    let began = Instant::now();
    for number in 0..RATE * SECONDS {
        let is_marked = number % 500 == 250;
        let now = SystemClock.now();
        let record = Record {
            time: now,
            request: RequestId::new(now, &*entropy),
            service: Service::Store,
            door: None,
            verdict: if is_marked { Verdict::Refused } else { Verdict::Released },
            tenant: Some(TENANT),
            tally: Some(tally(3)),
            body: Body {
                // Each marked one about another user, so that each is an alert of its own.
                user: Some(if is_marked { UserId::from_u128(1_000 + u128::from(number)) } else { CLERK }),
                action: "read".to_owned(),
                reason: is_marked.then_some(Reason::OtherTenant),
                epoch: 5,
                ..Body::default()
            },
        };
        if is_marked {
            wanted.push((record.request, now));
        }
        ledger.note(record).await.unwrap();
        if number % 50 == 49 {
            let due = Duration::from_millis((number + 1) * 1_000 / RATE);
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        }
    }
    let wrote = began.elapsed();
    for _ in 0..600 {
        if wanted.iter().all(|(request, _)| arrivals.0.lock().contains_key(request)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    following.abort();
    running.abort();
    let arrived = arrivals.0.lock();
    let mut latencies: Vec<u64> =
        wanted.iter().map(|(request, at)| arrived.get(request).expect("each is alerted about").since(*at)).collect();
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    println!(
        "{} records in {wrote:.1?}; from event to alert: median {} ms, 95th percentile {} ms, longest {} ms",
        RATE * SECONDS,
        at(50),
        at(95),
        at(100)
    );
    assert!(at(100) < 20_000, "the aim is 2 s; this bound is for machines that do something else as well");
}

fn tally(rows: u64) -> Tally {
    let mut tally = Tally::new(TokenId::from_u128(7), 5);
    tally.open(TypeId(0), FieldSet::first(2), rows);
    tally
}

/// How many events a second the rules take, on one thread.
#[test]
fn at_full_speed() {
    const COUNT: u64 = 20_000;
    let mut world = World::new();
    let mut batch: Vec<(Position, TallyEntry)> = Vec::new();
    for number in 0..COUNT {
        world.now = START.plus_ms(number / 5);
        let mut said = if number % 50 == 0 { refused(Reason::NotPermitted) } else { read(2) };
        said.service = Service::Store;
        said.signal.user = Some(UserId::from_u128(u128::from(number % 1_000)));
        let (_, position, entry) = world.entry(said);
        batch.push((position, entry));
    }
    let began = Instant::now();
    world.detector.take("store", Service::Store, batch, world.now);
    let took = began.elapsed();
    assert_eq!(world.detector.seen(), COUNT);
    let rate = COUNT as f64 / took.as_secs_f64();
    println!("{rate:.0} events a second against {} rules", RuleSet::load(None).unwrap().headings().count());
    assert!(rate > 2_000.0, "even without optimisation");
}
