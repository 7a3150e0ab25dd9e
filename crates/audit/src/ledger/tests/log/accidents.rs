//! Disks that fill up, fail and lose power while the log is made.

use super::*;
use crate::testing::Dice;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_room_for_the_log_makes_it_lag_and_it_catches_up() {
    let bench = Bench::new(quick());
    let ledger = bench.open_log();
    append(&ledger, 0..10).await;
    integrated(&ledger, 10).await;
    bench.storage.fail_names_with("log/", Some(io::ErrorKind::StorageFull));
    append(&ledger, 10..400).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let log = ledger.log().unwrap();
    assert_eq!((ledger.size(), log.integrated()), (400, 10), "records go on, and nothing is claimed of them");
    bench.storage.fail_names_with("log/", None);
    integrated(&ledger, 400).await;
    assert_eq!(log.newest().root, tree_of(&ledger, 400).root());
    append(&ledger, 400..410).await;
    ledger.close().await;
    assert_eq!(bench.open_log().log().unwrap().integrated(), 410);
}

/// INVARIANT checkpoint-is-covered, and whatever was published is part of what comes after, whenever the process dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_published_stays_true_after_any_accident() {
    let mut published = 0;
    for seed in 1..=25 {
        let mut dice = Dice(seed);
        let options = Options { segment_bytes: 3000, checkpoint_ms: 10, ..Options::default() };
        let mut bench = Bench::new(options);
        let mut last: Option<(u64, Hash)> = None;
        for round in 0..6u64 {
            let opened = bench.try_open_log();
            let ledger = Arc::new(opened.unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}")));
            let log = ledger.log().unwrap();
            if let Some((size, root)) = last {
                assert!(ledger.size() >= size, "seed {seed} round {round}");
                assert_eq!(tree_of(&ledger, size).root(), root, "seed {seed} round {round}");
            }
            let appending = {
                let ledger = Arc::clone(&ledger);
                let count = dice.below(300);
                tokio::spawn(async move {
                    for number in 0..count {
                        let _ = ledger.append(sample(SERVICE, Some(tenant(1)), number)).await;
                    }
                })
            };
            match dice.below(4) {
                0 => bench.storage.fail_syncs(dice.below(3) as u32),
                1 => bench.storage.limit_space(Some(dice.below(100_000))),
                2 => bench.storage.die_after(Some(dice.below(60))),
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(dice.below(40))).await;
            // First what was told, then what is on disk.
            let newest = log.newest();
            let kept = match dice.below(2) {
                0 => bench.storage.after_kill(),
                _ => bench.storage.after_power_loss(&mut || dice.below(2) == 0),
            };
            last = Some((newest.size, newest.root));
            published += newest.size;
            bench.storage.die_after(Some(0));
            appending.abort();
            bench = Bench { storage: kept, ..bench };
        }
    }
    println!("{published} records covered by checkpoints before accidents");
    assert!(published > 1000);
}

/// Between any two changes of the log's files: hashes without their checkpoint, levels without those above them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_while_it_makes_the_log_leaves_nothing_that_looks_like_tampering() {
    use crate::ledger::verify::{Against, Fault, storage as verify};
    let filled = Bench::filled(quick(), 600).await;
    let mut unfinished = 0;
    for changes in 0..40 {
        let bench = Bench { storage: filled.storage.after_kill(), keys: Arc::clone(&filled.keys), options: quick() };
        bench.open_log().close().await;
        append(&bench.open(), 0..200).await;
        bench.storage.die_after(Some(changes));
        drop(bench.try_open_log());
        let left = Bench { storage: bench.storage.after_kill(), keys: Arc::clone(&filled.keys), options: quick() };
        let against = Against { at_rest: true, ..Against::default() };
        let report = verify(Arc::new(left.storage.clone()), &against, &mut |_, _| {}).unwrap();
        assert!(report.findings.iter().all(|finding| finding.fault == Fault::Unfinished), "{changes}: {report:?}");
        unfinished += report.findings.len();
        left.open_log().close().await;
        let report = verify(Arc::new(left.storage), &against, &mut |_, _| {}).unwrap();
        assert_eq!((report.findings.as_slice(), report.covered), (&[][..], 800), "{changes}");
    }
    println!("{unfinished} unfinished writes were told as that");
}

/// What a clock says is in the records and nowhere in the log: one that goes back changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_goes_back_is_no_matter() {
    let bench = Bench::new(quick());
    let ledger = bench.open_log();
    for number in 0..20u64 {
        let time = UnixMs(1_780_000_000_000 - number * 3_600_000);
        ledger.append(Record { time, ..sample(SERVICE, Some(tenant(1)), number) }).await.unwrap();
    }
    integrated(&ledger, 20).await;
    assert_eq!(ledger.retain(UnixMs(0), 1).await.unwrap(), None);
    ledger.close().await;
    drop(ledger);
    assert_eq!(numbers(&bench.open_log()), (0..20).collect::<Vec<_>>());
}
