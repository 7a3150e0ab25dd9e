//! Records that nobody waits for.

use std::time::{Duration, Instant};

use super::*;
use crate::testing::Dice;

async fn note(ledger: &Ledger, number: u64) -> Result<(), AuditError> {
    ledger.note(sample(SERVICE, Some(tenant(1)), number)).await
}

/// Waits until so many records are durable, and says how long that took.
async fn durable(ledger: &Ledger, records: u64) -> Duration {
    let started = Instant::now();
    let mut follower = ledger.follow();
    let reached = follower.wait_for(|size| *size >= records);
    tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap().unwrap();
    started.elapsed()
}

#[tokio::test]
async fn a_noted_record_is_durable_soon_and_not_at_once() {
    let bench = Bench::new(Options { lazy_ms: 100, ..Options::default() });
    let ledger = bench.open();
    note(&ledger, 0).await.unwrap();
    assert_eq!(ledger.size(), 0);
    let took = durable(&ledger, 1).await;
    // The machine may be busy; on an idle one it takes some 100 ms.
    assert!(took > Duration::from_millis(40) && took < Duration::from_secs(5), "{took:?}");
    drop(ledger);
    assert_eq!(numbers(&bench.open()), [0]);
}

#[tokio::test]
async fn notes_alone_cause_few_syncs() {
    let bench = Bench::new(Options::default());
    let ledger = bench.open();
    let (before, started) = (bench.storage.syncs(), Instant::now());
    let mut noted = 0;
    while started.elapsed() < Duration::from_millis(600) {
        note(&ledger, noted).await.unwrap();
        noted += 1;
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    durable(&ledger, noted).await;
    let (syncs, took) = (bench.storage.syncs() - before, started.elapsed());
    let most = took.as_millis() as u64 / 50 + 2;
    assert!((1..=most).contains(&syncs), "{syncs} syncs for {noted} records in {took:?}");
}

#[tokio::test]
async fn an_append_takes_waiting_notes_along() {
    let bench = Bench::new(Options { lazy_ms: 60_000, ..Options::default() });
    let ledger = bench.open();
    let before = bench.storage.syncs();
    for number in 0..500 {
        note(&ledger, number).await.unwrap();
    }
    append(&ledger, 500..501).await;
    assert_eq!(numbers(&ledger), (0..=500).collect::<Vec<_>>());
    assert_eq!(bench.storage.syncs() - before, 1);
}

#[tokio::test]
async fn closing_and_dropping_write_what_was_noted() {
    let bench = Bench::new(Options { lazy_ms: 60_000, ..Options::default() });
    let ledger = bench.open();
    note(&ledger, 0).await.unwrap();
    ledger.close().await;
    assert!(matches!(note(&ledger, 9).await, Err(AuditError::Unavailable)));
    drop(ledger);
    let ledger = bench.open();
    note(&ledger, 1).await.unwrap();
    drop(ledger);
    assert_eq!(numbers(&bench.open()), [0, 1]);
}

#[tokio::test]
async fn notes_past_the_bound_are_refused() {
    let bench = Bench::new(Options { lazy_ms: 60_000, lazy_max: 10, ..Options::default() });
    let ledger = bench.open();
    for number in 0..10 {
        note(&ledger, number).await.unwrap();
    }
    assert!(matches!(note(&ledger, 10).await, Err(AuditError::Unavailable)));
    append(&ledger, 11..12).await;
    note(&ledger, 12).await.unwrap();
    drop(ledger);
    assert_eq!(numbers(&bench.open()).len(), 12);
}

#[tokio::test]
async fn notes_of_another_service_or_without_any_key_are_refused() {
    let bench = Bench::new(Options::default());
    let ledger = bench.open();
    assert!(matches!(ledger.note(sample(Service::Keys, None, 1)).await, Err(AuditError::OtherService)));
    bench.keys.withhold(Some(tenant(1)));
    bench.keys.withhold(None);
    assert!(matches!(note(&ledger, 1).await, Err(AuditError::NoKey)));
}

/// What was noted before the disk failed is written when it is well again; until then nothing more is taken.
#[tokio::test]
async fn a_failed_ledger_refuses_notes_at_once_and_keeps_those_it_took() {
    let bench = Bench::new(Options { lazy_ms: 2, ..Options::default() });
    let ledger = bench.open();
    append(&ledger, 0..1).await;
    bench.storage.fail_writes(Some(io::ErrorKind::StorageFull));
    note(&ledger, 1).await.unwrap();
    note(&ledger, 2).await.unwrap();
    let started = Instant::now();
    while note(&ledger, 3).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    let refused = ledger.append(sample(SERVICE, Some(tenant(1)), 99)).await;
    assert!(matches!(refused, Err(AuditError::Unavailable)));
    assert_eq!(ledger.size(), 1);
    assert!(matches!(note(&ledger, 4).await, Err(AuditError::Unavailable)), "also after an append tried again");
    bench.storage.fail_writes(None);
    // Nobody appends: it is tried again all the same.
    durable(&ledger, 3).await;
    note(&ledger, 5).await.unwrap();
    drop(ledger);
    let found = numbers(&bench.open());
    let kept: Vec<u64> = found.iter().copied().filter(|number| *number != 3).collect();
    assert_eq!(kept, [0, 1, 2, 5], "in their order, and nothing that was refused");
}

#[tokio::test]
async fn a_ledger_that_failed_on_an_append_takes_notes_again_when_the_disk_does() {
    let bench = Bench::new(Options { lazy_ms: 2, ..Options::default() });
    let ledger = bench.open();
    bench.storage.limit_space(Some(10));
    assert!(ledger.append(sample(SERVICE, None, 0)).await.is_err());
    assert!(note(&ledger, 1).await.is_err());
    bench.storage.limit_space(None);
    let started = Instant::now();
    while note(&ledger, 2).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    drop(ledger);
    assert_eq!(numbers(&bench.open()), [2]);
}

/// What is promised to be durable soon must not pile up in memory behind a disk that hangs.
#[tokio::test]
async fn behind_a_disk_that_hangs_notes_are_refused_after_a_while() {
    let bench = Bench::new(Options { lazy_ms: 2, ..Options::default() });
    let ledger = bench.open();
    bench.storage.slow_syncs(Duration::from_secs(4));
    note(&ledger, 0).await.unwrap();
    let started = Instant::now();
    while note(&ledger, 1).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(started.elapsed() < Duration::from_millis(3_800), "taken until the disk came back");
    }
    assert!(started.elapsed() > Duration::from_secs(1), "a slow disk is not one that hangs");
    bench.storage.slow_syncs(Duration::ZERO);
    while note(&ledger, 2).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(started.elapsed() < Duration::from_secs(20));
    }
}

/// A try of a failed disk may be cut off anywhere.
#[tokio::test]
async fn a_torn_try_of_a_failed_disk_is_cut() {
    let bench = Bench::filled(Options::default(), 3).await;
    let good = bench.storage.contents(FIRST).unwrap();
    for zeros in [1, 19, 20, 512, 4096] {
        bench.storage.set_contents(FIRST, Some([&*good, &vec![0; zeros]].concat()));
        assert_eq!(numbers(&bench.open()), [0, 1, 2]);
    }
}

/// Whatever an append's answer says is durable, all that was noted before it is too, in order; and nothing noted
/// is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_append_vouches_for_the_notes_before_it_after_any_accident() {
    let mut vouched_in_all = 0;
    for seed in 1..=40 {
        let mut dice = Dice(seed);
        let mut bench =
            Bench::new(Options { segment_bytes: 3000, batch_max: 4, lazy_ms: 2 + dice.below(3), ..Options::default() });
        let (mut next, mut certain) = (0, Vec::new());
        for _ in 0..8 {
            let ledger = bench.open();
            let mut accepted = Vec::new();
            let mut vouched = 0;
            for _ in 0..dice.below(40) {
                match dice.below(12) {
                    0 => bench.storage.limit_space(Some(dice.below(1500))),
                    1 => bench.storage.fail_syncs(dice.below(3) as u32),
                    2..=4 => bench.storage.limit_space(None),
                    5 | 6 => {
                        if ledger.append(sample(SERVICE, Some(tenant(1)), next)).await.is_ok() {
                            accepted.push(next);
                            vouched = accepted.len();
                        }
                        next += 1;
                    }
                    7 => tokio::time::sleep(Duration::from_millis(dice.below(5))).await,
                    _ => {
                        if note(&ledger, next).await.is_ok() {
                            accepted.push(next);
                        }
                        next += 1;
                    }
                }
            }
            let storage = match dice.below(3) {
                0 => bench.storage.after_kill(),
                _ => bench.storage.after_power_loss(&mut || dice.below(2) == 0),
            };
            bench = Bench { storage, ..bench };
            let found = numbers(&bench.open());
            let (before, now) = found.split_at(certain.len());
            assert_eq!(before, certain, "seed {seed}");
            // Refused appends may be there too: their caller was told that they are not known to be.
            let now: Vec<u64> = now.iter().copied().filter(|number| accepted.contains(number)).collect();
            assert!(accepted.starts_with(&now), "seed {seed}: {now:?} of {accepted:?}");
            assert!(now.len() >= vouched, "seed {seed}: {now:?}, {vouched} of {accepted:?}");
            vouched_in_all += vouched;
            certain = found;
        }
    }
    assert!(vouched_in_all > 0);
}

#[tokio::test]
async fn what_was_noted_can_be_read_after_a_flush() {
    let bench = Bench::new(Options { lazy_ms: 60_000, ..Options::default() });
    let ledger = bench.open();
    ledger.flush().await.unwrap();
    assert_eq!(ledger.size(), 0, "there was nothing to write");
    for number in 0..3 {
        ledger.note(sample(SERVICE, Some(tenant(1)), number)).await.unwrap();
    }
    assert_eq!(ledger.size(), 0);
    ledger.flush().await.unwrap();
    assert_eq!(ledger.size(), 3);
    drop(ledger);
    assert_eq!(bench.open().size(), 3, "a flush leaves no mark of its own");
}
