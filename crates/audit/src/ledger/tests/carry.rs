//! Carrying a ledger to another storage, in as many goes as it takes.

use super::log::{integrated, quick};
use super::*;
use crate::ledger::carry::{copy, differing, same};
use crate::ledger::verify::{Against, storage as verify};

fn carried(from: &MemoryStorage, to: &MemoryStorage) -> (u64, u64) {
    let mut last = (0, 0);
    copy(from, to, &mut |done, total| {
        assert!(done >= last.0 && done <= total);
        last = (done, total);
    })
    .unwrap();
    last
}

fn is_good(storage: &MemoryStorage) {
    let against = Against { at_rest: true, ..Against::default() };
    assert_eq!(verify(Arc::new(storage.clone()), &against, &mut |_, _| {}).unwrap().findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_is_carried_while_it_is_written_to_and_once_more() {
    let bench = Bench::new(Options { segment_bytes: 20_000, ..quick() });
    let target = MemoryStorage::new();
    let ledger = bench.open_log();
    for round in 0..4u64 {
        append(&ledger, round * 50..(round + 1) * 50).await;
        copy(&bench.storage, &target, &mut |_, _| {}).unwrap();
    }
    integrated(&ledger, 200).await;
    ledger.close().await;
    drop(ledger);
    let (done, total) = carried(&bench.storage, &target);
    assert_eq!(done, total);
    assert!(same(&bench.storage, &target).unwrap());
    is_good(&target);
    let syncs = target.syncs();
    carried(&bench.storage, &target);
    assert!(target.syncs() - syncs <= 20, "nothing is copied again");
    // The other is the ledger now.
    let moved = Bench { storage: target.after_power_loss(&mut || false), ..bench };
    assert_eq!(numbers(&moved.open_log()), (0..200).collect::<Vec<_>>());
}

/// Killed after every change in turn, it goes on and ends with both the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_killed_is_gone_on_with() {
    let bench = Bench::new(Options { segment_bytes: 10_000, ..quick() });
    let ledger = bench.open_log();
    append(&ledger, 0..100).await;
    integrated(&ledger, 100).await;
    ledger.close().await;
    drop(ledger);
    let mut target = MemoryStorage::new();
    for changes in 0..60 {
        target.die_after(Some(changes));
        let ended = copy(&bench.storage, &target, &mut |_, _| {}).is_ok();
        target = target.after_power_loss(&mut || changes % 2 == 0);
        if changes % 10 == 0 && !ended {
            assert!(differing(&bench.storage, &target).unwrap().is_some());
        }
    }
    target.die_after(None);
    carried(&bench.storage, &target);
    assert_eq!(differing(&bench.storage, &target).unwrap(), None);
}

#[tokio::test]
async fn what_the_source_no_longer_has_goes() {
    let bench = Bench::filled(small_segments(), 30).await;
    let target = MemoryStorage::new();
    carried(&bench.storage, &target);
    // Cut, and written on: what was never acknowledged.
    let mut other = bench.storage.contents(FIRST).unwrap();
    let cut = other.len() - 10;
    other.truncate(cut);
    other.extend([7; 500]);
    bench.storage.set_contents(FIRST, Some(other.clone()));
    bench.storage.set_contents("00000001.log", None);
    carried(&bench.storage, &target);
    assert!(same(&bench.storage, &target).unwrap());
    other.pop();
    target.set_contents(FIRST, Some(other));
    assert_eq!(differing(&bench.storage, &target).unwrap().as_deref(), Some(FIRST));
}

/// Copied file by file while records come in and the log follows, it opens as a ledger with everything that was durable when
/// the copy was begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_in_order_of_a_ledger_in_use_is_a_ledger() {
    use crate::ledger::carry::in_order;
    let bench = Bench::new(Options { segment_bytes: 4_000, ..quick() });
    let ledger = Arc::new(bench.open_log());
    append(&ledger, 0..40).await;
    for round in 1..6u64 {
        let writing = {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { append(&ledger, round * 40..(round + 1) * 40).await })
        };
        let from = ledger.storage();
        let target = MemoryStorage::new();
        for name in in_order(&*from) {
            let name = name.unwrap();
            assert!(!name.starts_with("index/"));
            let file = from.open(&name).unwrap();
            let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            target.replace(&name, &bytes).unwrap();
            tokio::task::yield_now().await;
        }
        let copied = Bench { storage: target, keys: Arc::clone(&bench.keys), options: bench.options };
        let opened = copied.open_log();
        let found = numbers(&opened);
        assert!(found.len() as u64 >= round * 40 && found.iter().copied().eq(0..found.len() as u64), "{round}");
        opened.close().await;
        drop(opened);
        is_good(&copied.storage);
        writing.await.unwrap();
    }
}
