//! Records whose time is over.

use countersign_model::UnixMs;
use countersign_tlog::{Hash, inclusion, verify_inclusion};

use super::log::{integrated, quick};
use super::*;
use crate::ledger::verify::{Against, storage as verify};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const START: UnixMs = UnixMs(1_780_000_000_000);

fn options() -> Options {
    Options { segment_bytes: 10_000, ..quick() }
}

/// Records of ten days, 40 a day.
async fn ten_days(ledger: &Ledger) {
    for number in 0..400u64 {
        let time = after(number / 40);
        ledger.append(Record { time, ..sample(SERVICE, Some(tenant(1)), number) }).await.unwrap();
    }
    integrated(ledger, 400).await;
}

const fn after(days: u64) -> UnixMs {
    UnixMs(START.0.saturating_add(days.saturating_mul(DAY_MS)))
}

fn is_good(storage: &MemoryStorage) -> crate::ledger::verify::Report {
    let against = Against { at_rest: true, ..Against::default() };
    let report = verify(Arc::new(storage.clone()), &against, &mut |_, _| {}).unwrap();
    assert_eq!(report.findings, []);
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_goes_is_on_record_and_leaves_every_proof_valid() {
    let bench = Bench::new(options());
    let ledger = bench.open_log();
    ten_days(&ledger).await;
    let log = ledger.log().unwrap();
    let leaf = Hash::leaf(&ledger.leaves(Position(350), 1).unwrap()[0]);
    let before = log.newest();
    let proof = inclusion(&log.hashes(), 350, before.size).unwrap();

    assert_eq!(ledger.retain(after(10), 0).await.unwrap(), None, "for ever");
    assert_eq!(ledger.retain(after(10), 11).await.unwrap(), None);
    let removed = ledger.retain(after(10), 5).await.unwrap().unwrap();
    assert_eq!(removed.first, 0);
    assert!((150..200).contains(&removed.end), "{removed:?}: whole segments of the first five days");
    assert_eq!((ledger.first(), ledger.size()), (removed.end, 401));
    assert_eq!(ledger.retain(after(10), 5).await.unwrap(), None, "once");
    integrated(&ledger, 401).await;

    let all = LedgerQuery { limit: usize::MAX, ..LedgerQuery::default() };
    let found = ledger.query(None, &all).unwrap();
    let (position, record) = &found[0];
    assert_eq!((found.len(), position.0, record.body.action.as_str()), (1, 400, "retention"));
    let detail = format!("records 0 to {} removed: all older than 5 days", removed.end - 1);
    assert_eq!(record.body.detail.as_deref(), Some(detail.as_str()));
    assert_eq!(numbers(&ledger), (removed.end..400).collect::<Vec<_>>());
    let told = super::tallies::read_all(&ledger, 50);
    assert!(told.iter().map(|(position, _)| position.0).eq(removed.end..401), "tallies begin with the first kept");
    assert!(matches!(ledger.leaves(Position(3), 1), Err(AuditError::Removed(Position(3)))));
    assert_eq!(ledger.before(after(2)).unwrap(), Some(Position(removed.end - 1)));

    verify_inclusion(350, &leaf, before.size, &before.root, &proof).unwrap();
    let again = inclusion(&log.hashes(), 350, 401).unwrap();
    verify_inclusion(350, &leaf, 401, &log.newest().root, &again).unwrap();
    ledger.close().await;
    drop(ledger);
    let report = is_good(&bench.storage);
    assert_eq!((report.first, report.records, report.covered), (removed.end, 401, 401));

    let ledger = bench.open_log();
    assert_eq!((ledger.first(), ledger.size()), (removed.end, 401));
    let more = ledger.retain(after(12), 5).await.unwrap().unwrap();
    assert_eq!(more.first, removed.end);
    assert!(more.end > more.first);
    ledger.close().await;
    assert_eq!(is_good(&bench.storage).first, more.end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_by_anybody_else_they_are_missed() {
    let bench = Bench::new(options());
    let ledger = bench.open_log();
    ten_days(&ledger).await;
    ledger.retain(after(10), 5).await.unwrap().unwrap();
    ledger.close().await;
    drop(ledger);
    let names: Vec<String> = bench.storage.list().unwrap().into_iter().filter(|name| name.ends_with(".log")).collect();
    let whole = bench.storage.after_kill();
    bench.storage.set_contents(&names[0], None);
    assert!(matches!(bench.try_open_log(), Err(LedgerError::MissingSegment { .. })));
    let bench = Bench { storage: whole, ..bench };
    bench.storage.set_contents("log/kept", None);
    assert!(matches!(bench.try_open_log(), Err(LedgerError::MissingSegment { .. })), "nobody signed for it");
}

/// A ledger that few write to has its records gone in time as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_segment_is_ended_although_it_is_not_full() {
    let bench = Bench::new(Options { segment_bytes: 1 << 20, ..quick() });
    let ledger = bench.open_log();
    let at = |day: u64, number: u64| Record { time: after(day), ..sample(SERVICE, Some(tenant(1)), number) };
    ledger.append(at(0, 0)).await.unwrap();
    assert_eq!(ledger.retain(after(1), 10).await.unwrap(), None);
    ledger.append(at(1, 1)).await.unwrap();
    ledger.append(at(2, 2)).await.unwrap();
    integrated(&ledger, 3).await;
    assert_eq!(ledger.retain(after(10), 10).await.unwrap(), None);
    assert_eq!(ledger.retain(after(11), 10).await.unwrap(), Some(Removed { first: 0, end: 1 }));
    assert_eq!(numbers(&ledger), [1, 2]);
}

/// INVARIANT removal-is-told, whenever the process dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_is_cut_off_anywhere_goes_on() {
    let bench = Bench::new(options());
    let ledger = bench.open_log();
    ten_days(&ledger).await;
    ledger.close().await;
    drop(ledger);
    let (mut finished, mut begun) = (false, 0);
    for changes in 0.. {
        if finished {
            break;
        }
        let bench = Bench { storage: bench.storage.after_kill(), keys: Arc::clone(&bench.keys), options: options() };
        let ledger = bench.open_log();
        bench.storage.die_after(Some(changes));
        let outcome = tokio::time::timeout(std::time::Duration::from_secs(20), ledger.retain(after(10), 5)).await;
        finished = matches!(outcome, Ok(Ok(Some(_))));
        let left = Bench { storage: bench.storage.after_kill(), keys: Arc::clone(&bench.keys), options: options() };
        let ledger = left.try_open_log().unwrap_or_else(|error| panic!("after {changes} changes: {error}"));
        begun += u64::from(ledger.first() > 0);
        let positions: Vec<u64> =
            super::tallies::read_all(&ledger, 50).iter().map(|(position, _)| position.0).collect();
        assert!(positions.iter().copied().eq(ledger.first()..ledger.size()), "after {changes} changes");
        ledger.close().await;
        drop(ledger);
        is_good(&left.storage);
    }
    assert!(begun > 3, "{begun}");
}
