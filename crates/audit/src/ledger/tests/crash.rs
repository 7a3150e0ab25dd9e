//! What is there after a torn write, a kill, a loss of power, or a stranger's hand.

use super::*;
use crate::ledger::frame::{Batch, HEADER_BYTES};
use crate::ledger::mark;
use crate::testing::Dice;

fn leaf_of(ledger: &Ledger, position: u64) -> Vec<u8> {
    ledger.leaves(Position(position), 1).unwrap().remove(0)
}

/// The same ledger with the last write cut at each of its bytes, not yet acknowledged.
#[tokio::test]
async fn an_end_torn_anywhere_is_cut_and_writing_goes_on() {
    let bench = Bench::filled(Options::default(), 3).await;
    let (shorter, old_mark) = (bench.storage.contents(FIRST).unwrap(), bench.storage.contents(mark::NAME));
    append(&bench.open(), 3..4).await;
    let longer = bench.storage.contents(FIRST).unwrap();
    for cut in shorter.len()..longer.len() {
        let mut zeros = longer[..cut].to_vec();
        zeros.resize(longer.len(), 0);
        for torn in [longer[..cut].to_vec(), zeros] {
            bench.storage.set_contents(FIRST, Some(torn));
            bench.storage.set_contents(mark::NAME, old_mark.clone());
            let ledger = bench.open();
            assert_eq!(ledger.size(), 3, "cut at {cut}");
            append(&ledger, 9..10).await;
            drop(ledger);
            assert_eq!(numbers(&bench.open()), [0, 1, 2, 9]);
        }
    }
    bench.storage.set_contents(FIRST, Some(longer));
    bench.storage.set_contents(mark::NAME, old_mark);
    assert_eq!(bench.open().size(), 4, "whole, though nobody was told");
}

/// The same cuts of a record that was acknowledged: nothing is thrown away.
#[tokio::test]
async fn a_lost_end_that_was_acknowledged_is_refused() {
    let bench = Bench::filled(Options::default(), 3).await;
    let shorter = bench.storage.contents(FIRST).unwrap();
    append(&bench.open(), 3..4).await;
    let longer = bench.storage.contents(FIRST).unwrap();
    for cut in shorter.len()..longer.len() {
        bench.storage.set_contents(FIRST, Some(longer[..cut].to_vec()));
        match bench.try_open() {
            Err(LedgerError::Truncated { found: 3, acknowledged: 4 }) => assert_eq!(cut, shorter.len()),
            Err(LedgerError::Damaged { segment: 0, position: Position(3), .. }) => assert!(cut > shorter.len()),
            other => panic!("cut at {cut}: {other:?}"),
        }
        assert_eq!(bench.storage.contents(FIRST).unwrap().len(), cut, "nothing was changed");
    }
}

#[tokio::test]
async fn damage_in_the_middle_is_refused_with_its_place() {
    let bench = Bench::filled(Options::default(), 4).await;
    let good = bench.storage.contents(FIRST).unwrap();
    // Without the mark the order of writes alone must tell.
    for with_mark in [true, false] {
        if !with_mark {
            bench.storage.set_contents(mark::NAME, None);
        }
        let frame_bytes = (good.len() - HEADER_BYTES) / 4;
        for at in 0..good.len() - frame_bytes {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            bench.storage.set_contents(FIRST, Some(bad));
            let expected = at.saturating_sub(HEADER_BYTES) / frame_bytes;
            match bench.try_open() {
                Err(LedgerError::Damaged { segment: 0, position, .. }) => assert_eq!(position.0, expected as u64),
                other => panic!("byte {at}: {other:?}"),
            }
        }
        bench.storage.set_contents(FIRST, Some(good.clone()));
    }
}

#[tokio::test]
async fn swapped_repeated_and_dropped_frames_are_refused() {
    let bench = Bench::filled(Options::default(), 4).await;
    let good = bench.storage.contents(FIRST).unwrap();
    let frames: Vec<&[u8]> = good[HEADER_BYTES..].chunks((good.len() - HEADER_BYTES) / 4).collect();
    for order in [vec![0, 2, 1, 3], vec![0, 0, 1, 2, 3], vec![0, 2, 3], vec![1, 2, 3]] {
        let bytes: Vec<u8> = order.iter().flat_map(|at| frames[*at]).copied().collect();
        bench.storage.set_contents(FIRST, Some([&good[..HEADER_BYTES], &bytes].concat()));
        assert!(matches!(bench.try_open(), Err(LedgerError::Damaged { .. })), "{order:?}");
    }
}

/// Somebody without keys cuts the end and writes other frames with good checks in its place.
#[tokio::test]
async fn a_rewritten_end_is_refused() {
    let bench = Bench::filled(Options::default(), 2).await;
    let (start, first) = (bench.storage.contents(FIRST).unwrap(), leaf_of(&bench.open(), 0));
    append(&bench.open(), 2..4).await;
    let mut forged = Batch::new(*start.last_chunk().unwrap());
    forged.push(&first);
    forged.push(&first);
    bench.storage.set_contents(FIRST, Some([&start, forged.bytes()].concat()));
    assert!(matches!(bench.try_open(), Err(LedgerError::Damaged { position: Position(4), .. })));
}

#[tokio::test]
async fn segments_follow_each_other_and_a_missing_or_strange_one_is_refused() {
    let bench = Bench::filled(small_segments(), 30).await;
    let names: Vec<String> = bench.storage.list().unwrap().into_iter().filter(|name| name.ends_with(".log")).collect();
    assert!(names.len() > 3, "{names:?}");
    assert_eq!(numbers(&bench.open()), (0..30).collect::<Vec<_>>());
    let second = bench.storage.contents(&names[1]);

    bench.storage.set_contents(&names[1], None);
    assert!(matches!(bench.try_open(), Err(LedgerError::MissingSegment { segment: 1 })));
    bench.storage.set_contents(&names[1], bench.storage.contents(&names[2]));
    assert!(matches!(bench.try_open(), Err(LedgerError::Damaged { segment: 1, offset: 0, .. })));
    let cut = second.as_ref().map(|bytes| bytes[..bytes.len() - 1].to_vec());
    bench.storage.set_contents(&names[1], cut);
    assert!(matches!(bench.try_open(), Err(LedgerError::Damaged { segment: 1, .. })), "only the last may be torn");
    bench.storage.set_contents(&names[1], second);

    let last = names.last().unwrap();
    let whole = bench.storage.contents(last);
    bench.storage.set_contents(last, None);
    assert!(matches!(bench.try_open(), Err(LedgerError::Truncated { acknowledged: 30, .. })));
    bench.storage.set_contents(last, whole);

    let other = Ledger::open_on(
        Arc::new(bench.storage.clone()),
        Service::Store,
        Arc::<TestKeys>::clone(&bench.keys),
        Arc::new(SystemEntropy),
        bench.options,
        None,
    );
    assert!(matches!(other, Err(LedgerError::OtherService { segment: 0 })));
    assert_eq!(numbers(&bench.open()), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_segment_that_was_only_begun_is_begun_again() {
    let bench = Bench::filled(small_segments(), 30).await;
    let segments = bench.storage.list().unwrap().iter().filter(|name| name.ends_with(".log")).count();
    let next = super::super::recover::file_name(segments as u32);
    for torn in [vec![], vec![0; 20], vec![0; HEADER_BYTES]] {
        bench.storage.set_contents(&next, Some(torn));
        assert_eq!(numbers(&bench.open()), (0..30).collect::<Vec<_>>());
    }
    // Whole, but without a record yet.
    append(&bench.open(), 30..60).await;
    let kept = bench.storage.after_kill();
    let bench = Bench { storage: kept, ..bench };
    assert_eq!(numbers(&bench.open()), (0..60).collect::<Vec<_>>());
}

/// INVARIANT acknowledged-is-durable, under any mixture of kills, losses of power, full disks and failed syncs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_is_there_after_any_accident() {
    let mut acknowledged_in_all = 0;
    for seed in 1..=40 {
        let mut dice = Dice(seed);
        let mut bench = Bench::new(Options { segment_bytes: 3000, batch_max: 8, ..Options::default() });
        let mut acknowledged: Vec<(Position, u64)> = Vec::new();
        let mut next = 0;
        for _ in 0..12 {
            let ledger = Arc::new(bench.open());
            let (told, mut tellings) = tokio::sync::mpsc::unbounded_channel();
            for _ in 0..dice.below(12) {
                let (ledger, told, start) = (Arc::clone(&ledger), told.clone(), next);
                next += 5;
                tokio::spawn(async move {
                    for number in start..start + 5 {
                        if let Ok(position) = ledger.append(sample(SERVICE, Some(tenant(1)), number)).await {
                            let _ = told.send((position, number));
                        }
                    }
                });
            }
            for _ in 0..dice.below(4) {
                match dice.below(6) {
                    0 => bench.storage.limit_space(Some(dice.below(1500))),
                    1 => bench.storage.fail_syncs(dice.below(3) as u32),
                    2 => bench.storage.fail_writes(Some(io::ErrorKind::ReadOnlyFilesystem)),
                    3 => bench.storage.set_read_only(true),
                    _ => {
                        bench.storage.limit_space(None);
                        bench.storage.fail_writes(None);
                        bench.storage.set_read_only(false);
                    }
                }
                tokio::time::sleep(std::time::Duration::from_micros(dice.below(400))).await;
            }
            // What was told before the accident counts. The old process goes on in a world of its own.
            while let Ok(one) = tellings.try_recv() {
                acknowledged.push(one);
            }
            let storage = if dice.below(2) == 0 {
                bench.storage.after_kill()
            } else {
                bench.storage.after_power_loss(&mut || dice.below(2) == 0)
            };
            bench = Bench { storage, ..bench };
            let ledger = bench.try_open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let all = LedgerQuery { limit: usize::MAX, ..LedgerQuery::default() };
            let found = ledger.query(Some(tenant(1)), &all).unwrap();
            assert!(found.iter().map(|(position, _)| position.0).eq(0..ledger.size()), "dense");
            for (position, number) in &acknowledged {
                let (_, record) = &found[position.0 as usize];
                assert_eq!(record.body.epoch, *number, "seed {seed}, position {position}");
            }
        }
        acknowledged_in_all += acknowledged.len();
    }
    // How many are acknowledged before each accident depends on the machine; that there are any does not.
    assert!(acknowledged_in_all > 0);
}
