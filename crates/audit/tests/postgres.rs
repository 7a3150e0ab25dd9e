//! Ledgers in PostgreSQL.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

#[path = "support/cut.rs"]
mod cut;
mod support;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign_audit::conformance::{sample, tenant};
use countersign_audit::ledger::carry;
use countersign_audit::ledger::storage::{Folder, Storage, conformance};
use countersign_audit::postgres::PostgresStorage;
use countersign_audit::verify::{self, Against, Report};
use countersign_audit::{AuditError, AuditSink as _, Ledger, LedgerQuery, Options, Position, Record};
use countersign_model::{Service, UnixMs};
use countersign_postgres::Blocking;

use self::cut::Way;
use self::support::{InPostgres, Server, open, try_open};

const SERVICE: Service = Service::Gateway;

fn quick() -> Options {
    Options { checkpoint_ms: 20, segment_bytes: 100_000, ..Options::default() }
}

fn numbers(ledger: &Ledger) -> Vec<u64> {
    let all = LedgerQuery { limit: usize::MAX, ..LedgerQuery::default() };
    let found = ledger.query(Some(tenant(1)), &all).unwrap();
    found.into_iter().map(|(_, record)| record.body.epoch).collect()
}

async fn append(ledger: &Ledger, numbers: std::ops::Range<u64>) {
    for number in numbers {
        ledger.append(sample(SERVICE, Some(tenant(1)), number)).await.unwrap();
    }
}

async fn integrated(ledger: &Ledger) {
    let began = Instant::now();
    while ledger.log().unwrap().integrated() < ledger.size() {
        assert!(began.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn look(server: &Server, ledger: &str) -> Arc<dyn Storage> {
    Arc::new(PostgresStorage::look(Arc::clone(&server.database), ledger).unwrap())
}

fn verified(server: &Server, ledger: &str) -> Report {
    let report = verify::storage(look(server, ledger), &Against::default(), &mut |_, _| ()).unwrap();
    assert_eq!(report.findings, []);
    report
}

#[test]
fn the_storage_conforms() {
    let server = Server::start();
    conformance::run(|| InPostgres(&server, server.fresh()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_conforms() {
    let server = Server::start();
    let make = async |options: Options| {
        let entropy = Arc::new(countersign_crypto::SystemEntropy);
        let keys = support::KeyOfEach::new();
        Ledger::open_on(server.open(&server.fresh()), SERVICE, keys, entropy, options, None).unwrap()
    };
    countersign_audit::conformance::run(SERVICE, async || make(Options::default()).await).await;
    countersign_audit::conformance::run(SERVICE, async || make(quick()).await).await;
}

/// Opened again and again, with a log, files of terms, and records whose time is over; verified while it is open and
/// after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_is_a_log_goes_on_where_it_was() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let (server, start) = (Server::start(), UnixMs(1_780_000_000_000));
    let name = server.fresh();
    let after = |days: u64| UnixMs(start.0 + days * DAY_MS);
    for day in 0..5 {
        let ledger = open(server.open(&name), quick());
        assert_eq!(ledger.size(), day * 200);
        for number in day * 200..(day + 1) * 200 {
            let record = Record { time: after(day), ..sample(SERVICE, Some(tenant(1)), number) };
            assert_eq!(ledger.append(record).await.unwrap(), Position(number));
        }
        integrated(&ledger).await;
        assert_eq!(verified(&server, &name).records, (day + 1) * 200);
        let by = LedgerQuery { request: Some(sample(SERVICE, None, 17).request), ..LedgerQuery::default() };
        assert_eq!(ledger.query(Some(tenant(1)), &by).unwrap().len(), 1);
        ledger.close().await;
    }
    let files = look(&server, &name).list().unwrap();
    assert!(files.iter().filter(|file| file.starts_with("index/")).count() > 2, "{files:?}");
    let ledger = open(server.open(&name), quick());
    let removed = ledger.retain(after(5), 3).await.unwrap().unwrap();
    assert!((100..=400).contains(&removed.end), "{removed:?}");
    integrated(&ledger).await;
    assert_eq!(verified(&server, &name).first, removed.end);
    ledger.close().await;
    let ledger = open(server.open(&name), quick());
    assert_eq!((ledger.first(), ledger.size()), (removed.end, 1001));
    ledger.close().await;
    assert_eq!(verified(&server, &name).first, removed.end);

    // The same ledger in a folder, and back.
    let folder = tempfile::tempdir().unwrap();
    let folder = Folder::open(&folder.path().join("gateway")).unwrap();
    let database = look(&server, &name);
    carry::copy(&*database, &folder, &mut |_, _| ()).unwrap();
    assert!(carry::same(&*database, &folder).unwrap());
    let back = server.fresh();
    carry::copy(&folder, &*server.open(&back), &mut |_, _| ()).unwrap();
    assert!(carry::same(&folder, &*look(&server, &back)).unwrap());
    assert_eq!(verified(&server, &back).records, 1001);
}

/// Whoever opens a ledger has it alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_it_before_is_refused_for_ever() {
    let server = Server::start();
    let name = server.fresh();
    let first = open(server.open(&name), quick());
    append(&first, 0..10).await;
    integrated(&first).await;
    let second = open(server.open(&name), quick());
    assert_eq!(numbers(&second), (0..10).collect::<Vec<_>>());
    for _ in 0..3 {
        let refused = first.append(sample(SERVICE, None, 1)).await;
        assert!(matches!(refused, Err(AuditError::Unavailable)), "{refused:?}");
    }
    append(&second, 10..20).await;
    assert!(!first.is_writable());
    assert_eq!(numbers(&second), (0..20).collect::<Vec<_>>());

    let (before, after) = (server.open(&name), server.open(&name));
    for _ in 0..2 {
        assert_eq!(before.replace("a", b"b").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(before.check_writable().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
    after.check_writable().unwrap();
    after.replace("a", b"b").unwrap();
    drop(first);
}

/// Another service's role sees nothing of it, and can't write to it or take it over.
#[test]
fn a_service_sees_its_own_ledgers_alone() {
    let server = Server::start();
    let name = server.fresh();
    let own = server.open(&name);
    own.replace("00000000.log", b"record").unwrap();
    let other = server.as_service(Service::Keys);
    assert!(PostgresStorage::open(Arc::clone(&other), &name).is_err());
    let seen = PostgresStorage::look(other, &name).unwrap();
    assert!(seen.list().unwrap().is_empty());
    assert_eq!(seen.open("00000000.log").map(drop).unwrap_err().kind(), io::ErrorKind::NotFound);
    own.replace("00000000.log", b"records").unwrap();
    assert_eq!(PostgresStorage::ledgers(&server.database).unwrap(), [name]);
    assert!(PostgresStorage::ledgers(&server.as_service(Service::Keys)).unwrap().is_empty());
    let count = |role: &str| {
        let sql = format!("SET ROLE {role}; SELECT count(*) FROM countersign.ledger_part");
        server.server.sql(countersign_testkit::DATABASE, &sql).unwrap()
    };
    assert_eq!(count("countersign_gateway"), "1");
    assert_eq!(count("countersign_keys"), "0");
    assert_eq!(count("countersign_schema"), "0", "forced, for the owner too");
    let writes = "SET ROLE countersign_keys; INSERT INTO countersign.ledger_part VALUES ('gateway/0', 'x', 0, '')";
    assert!(server.server.sql(countersign_testkit::DATABASE, writes).is_err());
    for wrong in ["gateway", "/1", "gateway/", "gateway/a b"] {
        assert!(PostgresStorage::open(Arc::clone(&server.database), wrong).is_err(), "{wrong}");
    }
}

/// Callers that append as long as they may, and what they were told.
struct Load {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Vec<(Position, u64)>>>,
}

impl Load {
    fn start(ledger: &Arc<Ledger>, callers: usize, from: u64) -> Self {
        let (stop, next, refused) =
            (Arc::<AtomicBool>::default(), Arc::new(AtomicU64::new(from)), Arc::<AtomicU64>::default());
        let tasks = (0..callers).map(|_| {
            let (ledger, stop) = (Arc::clone(ledger), Arc::clone(&stop));
            let (next, refused) = (Arc::clone(&next), Arc::clone(&refused));
            tokio::spawn(async move {
                let mut told = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    match ledger.append(sample(SERVICE, Some(tenant(1)), number)).await {
                        Ok(position) => told.push((position, number)),
                        Err(_) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
                told
            })
        });
        let tasks = tasks.collect();
        Self { stop, next, refused, tasks }
    }

    /// What was acknowledged, and how many were refused.
    async fn stop(self) -> (Vec<(Position, u64)>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let mut told = Vec::new();
        for task in self.tasks {
            told.extend(task.await.unwrap());
        }
        let refused = self.refused.load(Ordering::Relaxed);
        println!("{} asked for, {} acknowledged, {refused} refused", self.next.load(Ordering::Relaxed), told.len());
        (told, refused)
    }
}

/// What was acknowledged is at its place, and nothing is there twice.
fn hold(ledger: &Ledger, told: &[(Position, u64)]) {
    let found = numbers(ledger);
    assert_eq!(found.len() as u64, ledger.size());
    for (position, number) in told {
        assert_eq!(found.get(position.0 as usize), Some(number), "at {position}");
    }
    let (mut once, all) = (found.clone(), found.len());
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), all, "a record is there twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_under_load_loses_nothing() {
    let mut server = Server::start();
    let name = server.fresh();
    let ledger = open(server.open(&name), quick());
    let load = Load::start(&ledger, 16, 0);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let (before, began) = (ledger.size(), Instant::now());
        server.server.restart("QUIT").unwrap();
        while ledger.size() <= before + 16 {
            assert!(began.elapsed() < Duration::from_secs(60), "the ledger does not go on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("killed, restarted and written to again after {:.1?}", began.elapsed());
    }
    let (told, _) = load.stop().await;
    integrated(&ledger).await;
    hold(&ledger, &told);
    assert_eq!(verified(&server, &name).records, ledger.size());
    ledger.close().await;
    let ledger = open(server.open(&name), quick());
    hold(&ledger, &told);
}

/// The server, by a way that a test can cut.
fn by_way(server: &Server) -> (Way, Arc<Blocking>) {
    let way = Way::to(server.server.port());
    let mut settings = server.settings.clone();
    settings.hosts = vec![("127.0.0.1".to_owned(), way.port)];
    let identity = server.server.identity(SERVICE).unwrap();
    (way, Blocking::start(settings, identity).unwrap())
}

/// Connections are cut all the time, many of them when the commit was asked for and not answered yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_make_nothing_twice() {
    let server = Server::start();
    let (way, database) = by_way(&server);
    // Whoever waits does not see it; whoever does not is refused, and what was refused is cut.
    for patience in [Duration::from_secs(25), Duration::ZERO] {
        let name = server.fresh();
        let storage = PostgresStorage::open_patiently(Arc::clone(&database), &name, patience).unwrap();
        let ledger = open(Arc::new(storage), quick());
        let load = Load::start(&ledger, 8, 0);
        let (began, mut round) = (Instant::now(), 0u64);
        while round < 40 || (ledger.size() < 200 && began.elapsed() < Duration::from_secs(60)) {
            tokio::time::sleep(Duration::from_millis(15 + round * 7 % 60)).await;
            way.cut(round % 3 > 0);
            round += 1;
        }
        let next = load.next.load(Ordering::Relaxed) + 100;
        let (mut told, refused) = load.stop().await;
        // What was refused last may be there still; the next write cuts it.
        let began = Instant::now();
        while told.last().is_none_or(|(_, number)| *number != next) {
            assert!(began.elapsed() < Duration::from_secs(30));
            let position = ledger.append(sample(SERVICE, Some(tenant(1)), next)).await;
            told.extend(position.map(|position| (position, next)));
        }
        assert!(told.len() > 20, "{}", told.len());
        assert!(patience.is_zero() || refused == 0, "{refused} were refused");
        integrated(&ledger).await;
        hold(&ledger, &told);
        assert_eq!(verified(&server, &name).records, ledger.size());
        ledger.close().await;
        hold(&open(server.open(&name), quick()), &told);
    }
}

/// A database that is away for longer than anybody waits: refused, at once after a while, and as before when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_for_long_is_refused_and_comes_back() {
    let server = Server::start();
    let (way, database) = by_way(&server);
    let name = server.fresh();
    let storage = PostgresStorage::open_patiently(database, &name, Duration::from_millis(500)).unwrap();
    let ledger = open(Arc::new(storage), quick());
    append(&ledger, 0..20).await;
    way.close(true);
    let began = Instant::now();
    for _ in 0..3 {
        let refused = ledger.append(sample(SERVICE, Some(tenant(1)), 99)).await;
        assert!(matches!(refused, Err(AuditError::Unavailable)), "{refused:?}");
    }
    println!("three were refused after {:.1?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_millis(500), "the first waited");
    assert!(ledger.note(sample(SERVICE, Some(tenant(1)), 99)).await.is_err());
    way.close(false);
    let began = Instant::now();
    // By itself, without anybody who asks.
    while !ledger.is_writable() {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("writable again after {:.1?}", began.elapsed());
    append(&ledger, 20..40).await;
    assert_eq!(numbers(&ledger), (0..40).collect::<Vec<_>>());
    integrated(&ledger).await;
    verified(&server, &name);
}

/// By whoever administers the database, for example.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_tampered_with_are_found() {
    let server = Server::start();
    let name = server.fresh();
    let ledger = open(server.open(&name), quick());
    append(&ledger, 0..300).await;
    integrated(&ledger).await;
    ledger.close().await;
    verified(&server, &name);
    let sql = |sql: &str| server.server.sql(countersign_testkit::DATABASE, sql).unwrap();
    let faults = || {
        let report = verify::storage(look(&server, &name), &Against::default(), &mut |_, _| ());
        report.map(|report| report.findings.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    };
    let flip = "UPDATE countersign.ledger_part SET bytes = set_byte(bytes, 1000, get_byte(bytes, 1000) # 1) \
                WHERE file = '00000000.log' AND start = 0";
    sql(flip);
    let found = faults();
    assert!(found.first().is_some_and(|found| found.starts_with("record ")), "{found:?}");
    assert!(try_open(server.open(&name), quick()).is_err(), "and it is not opened");
    sql(flip);
    assert_eq!(faults(), Vec::<String>::new());
    sql("DELETE FROM countersign.ledger_part WHERE file = 'log/0'");
    assert!(!faults().is_empty());
    sql("DELETE FROM countersign.ledger_part WHERE file = '00000000.log' AND start = 0");
    let found = faults();
    assert!(found.iter().any(|found| found.starts_with("record 0: 00000000.log")), "{found:?}");
}

/// As after a restore of an older copy of the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_forgot_is_not_written_to() {
    let server = Server::start();
    let name = server.fresh();
    let ledger = open(server.open(&name), quick());
    append(&ledger, 0..20).await;
    integrated(&ledger).await;
    let sql = "DELETE FROM countersign.ledger_part WHERE file = '00000000.log' AND start > 5000; \
               UPDATE countersign.ledger SET turn = turn - 10";
    server.server.sql(countersign_testkit::DATABASE, sql).unwrap();
    for _ in 0..3 {
        assert!(ledger.append(sample(SERVICE, Some(tenant(1)), 99)).await.is_err());
    }
    drop(ledger);
    assert!(try_open(server.open(&name), quick()).is_err(), "and it is not opened");
}
