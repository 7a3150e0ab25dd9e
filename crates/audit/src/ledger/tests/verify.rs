//! Verifying from files alone: every fault is told, and no ledger that is as it was written has any.

use super::log::{integrated, parts_of, quick};
use super::*;
use crate::ledger::log::CHECKPOINT;
use crate::ledger::verify::{Against, Fault, Report, Seen, storage as verify};
use crate::testing::Dice;

fn at_rest(seen: &[Seen]) -> Against {
    Against { seen: seen.to_vec(), at_rest: true, ..Against::default() }
}

fn report(storage: &MemoryStorage, against: &Against) -> Report {
    verify(Arc::new(storage.clone()), against, &mut |_, _| {}).unwrap()
}

/// A ledger of some segments, whose log another service has cosigned; and what that one has seen.
async fn witnessed_ledger(records: u64) -> (MemoryStorage, Vec<Seen>) {
    let bench = Bench::new(Options { segment_bytes: 60_000, ..quick() });
    let ledger = bench.open_log();
    let witness = Bench::new(quick());
    let its = {
        let keys: Arc<dyn AuditKeys> = Arc::<TestKeys>::clone(&witness.keys);
        let parts = parts_of("data.example/log/store/first", 2);
        let storage = Arc::new(witness.storage.clone());
        Ledger::open_on(storage, SERVICE, keys, Arc::new(SystemEntropy), witness.options, Some(parts)).unwrap()
    };
    append(&ledger, 0..records).await;
    integrated(&ledger, records).await;
    for (log, of) in [(&ledger, &its), (&its, &ledger)] {
        let (log, of) = (log.log().unwrap(), of.log().unwrap());
        let key = log.verifier_keys()[0].to_string();
        let asked = countersign_tlog::AddCheckpoint {
            old_size: 0,
            proof: Vec::new(),
            checkpoint: log.newest().text.to_string(),
        };
        let lines = of.cosign(&key, &asked).unwrap();
        log.cosigned(log.newest().size, &of.verifier_keys()[1].to_string(), &lines).unwrap();
    }
    ledger.close().await;
    let seen = its.log().unwrap().witnessed();
    assert_eq!(seen.logs().count(), 1);
    (bench.storage.after_kill(), vec![Seen { by: "store".to_owned(), what: seen }])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_verified_and_counted() {
    let (storage, seen) = witnessed_ledger(700).await;
    let report = report(&storage, &at_rest(&seen));
    assert_eq!(report.findings, []);
    assert_eq!((report.first, report.records, report.covered), (0, 700, 700));
    assert_eq!((report.cosigned, report.confirmed), (1, 1));
    assert!(report.bytes > 100_000);
}

/// What a fault did, so that a message can tell it.
#[expect(clippy::arithmetic_side_effects, reason = "places in small files")]
fn fault(storage: &MemoryStorage, kind: &str, dice: &mut Dice) -> Option<String> {
    let names: Vec<String> = storage.list().unwrap().into_iter().filter(|name| !name.starts_with("index/")).collect();
    let segments: Vec<&String> = names.iter().filter(|name| name.ends_with(".log")).collect();
    let name = names[dice.below(names.len() as u64) as usize].clone();
    let mut bytes = storage.contents(&name).unwrap();
    if bytes.is_empty() {
        return None;
    }
    let length = bytes.len() as u64;
    let (mut one, mut other) = (dice.below(length) as usize, dice.below(length) as usize);
    if one > other {
        (one, other) = (other, one);
    }
    match kind {
        "change a byte" => bytes[one] ^= 1 << dice.below(8),
        "delete bytes" => drop(bytes.drain(one..(one + 1 + dice.below(64) as usize).min(length as usize))),
        "insert bytes" => {
            let put = (0..=dice.below(64)).map(|_| dice.roll() as u8);
            bytes.splice(one..one, put);
        }
        "reorder bytes" => {
            let width = 1 + dice.below(32) as usize;
            if other + width > bytes.len()
                || one + width > other
                || bytes[one..one + width] == bytes[other..other + width]
            {
                return None;
            }
            for at in 0..width {
                bytes.swap(one + at, other + at);
            }
        }
        "truncate" => bytes.truncate(one),
        // Of whole records or hashes, with everything after them left as it is.
        "change records" | "delete records" | "reorder records" | "insert records" | "truncate records" => {
            let is_hashes = dice.below(4) == 0;
            let name = if is_hashes {
                "log/0".to_owned()
            } else {
                segments[dice.below(segments.len() as u64) as usize].clone()
            };
            let bytes = storage.contents(&name).unwrap();
            let (head, mut pieces) =
                if is_hashes { (Vec::new(), bytes.chunks(32).map(<[u8]>::to_vec).collect()) } else { frames(&bytes) };
            let count = pieces.len() as u64;
            let (one, other) = (dice.below(count) as usize, dice.below(count) as usize);
            match kind {
                "change records" if one != other => pieces[one] = pieces[other].clone(),
                "delete records" => drop(pieces.remove(one)),
                "reorder records" if one != other => pieces.swap(one, other),
                "insert records" => pieces.insert(other, pieces[one].clone()),
                "truncate records" => pieces.truncate(one),
                _ => return None,
            }
            storage.set_contents(&name, Some([head, pieces.concat()].concat()));
            return Some(format!("{kind} in {name}: {one}, {other}"));
        }
        "delete a file" => {
            storage.set_contents(&name, None);
            return Some(format!("{kind}: {name}"));
        }
        "swap files" => {
            let other = names[dice.below(names.len() as u64) as usize].clone();
            let its = storage.contents(&other).unwrap();
            if its == bytes {
                return None;
            }
            storage.set_contents(&name, Some(its));
            storage.set_contents(&other, Some(bytes));
            return Some(format!("{kind}: {name}, {other}"));
        }
        "insert a file" => {
            let next = format!("{:08}.log", segments.len());
            let names = [next, "log/4".to_owned(), "other".to_owned(), "log/x".to_owned(), "index/1".to_owned()];
            let name = names[dice.below(names.len() as u64) as usize].clone();
            storage.set_contents(&name, Some(bytes));
            return Some(format!("{kind}: {name}"));
        }
        _ => unreachable!("{kind}"),
    }
    let changed = storage.contents(&name).unwrap() != bytes;
    // Without a cosignature the checkpoint is what the log has signed all the same.
    let bare = name == CHECKPOINT && storage.contents(&name).unwrap().starts_with(&bytes) && bytes.ends_with(b"\n");
    storage.set_contents(&name, Some(bytes));
    (changed && !bare).then(|| format!("{kind} in {name}: {one}, {other}"))
}

/// A segment's header, and its frames.
fn frames(bytes: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    use crate::ledger::frame::{Frame, HEADER_BYTES};
    let (mut at, mut frames) = (HEADER_BYTES, Vec::new());
    while let Some(frame) = Frame::checked_at(bytes, at) {
        frames.push(bytes[at..frame.end].to_vec());
        at = frame.end;
    }
    (bytes[..HEADER_BYTES].to_vec(), frames)
}

const KINDS: [&str; 13] = [
    "change a byte",
    "delete bytes",
    "insert bytes",
    "reorder bytes",
    "truncate",
    "change records",
    "delete records",
    "insert records",
    "reorder records",
    "truncate records",
    "delete a file",
    "insert a file",
    "swap files",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_faults_of_each_kind_are_all_told() {
    let (whole, seen) = witnessed_ledger(300).await;
    let against = at_rest(&seen);
    let mut dice = Dice(20_261_122);
    for kind in KINDS {
        let (mut done, mut by_record, mut by_file) = (0, 0, 0);
        while done < 200 {
            let storage = whole.after_kill();
            let Some(what) = fault(&storage, kind, &mut dice) else { continue };
            let report = report(&storage, &against);
            let first = report.findings.first().unwrap_or_else(|| panic!("not told: {what}"));
            done += 1;
            match first.record {
                Some(_) => by_record += 1,
                None => by_file += 1,
            }
        }
        println!("{kind}: {done} of {done} told, {by_record} with the record, {by_file} with the file");
    }
}

/// The first record that doesn't fit is the one that was touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_record_is_named() {
    let (whole, seen) = witnessed_ledger(300).await;
    let mut dice = Dice(7);
    let mut first = 0u64;
    for name in whole.list().unwrap().into_iter().filter(|name| name.ends_with(".log")) {
        let (head, pieces) = frames(&whole.contents(&name).unwrap());
        for _ in 0..20 {
            let at = dice.below(pieces.len() as u64) as usize;
            let mut changed = pieces.clone();
            let byte = dice.below(changed[at].len() as u64) as usize;
            changed[at][byte] ^= 1;
            let storage = whole.after_kill();
            storage.set_contents(&name, Some([head.clone(), changed.concat()].concat()));
            let report = report(&storage, &at_rest(&seen));
            assert_eq!(
                report.findings[0].record,
                Some(Position(first + at as u64)),
                "{name} {at}: {:?}",
                report.findings
            );
        }
        first += pieces.len() as u64;
    }
    assert_eq!(first, 300);
}

/// Everything cut back to an older state that was once true: nothing in the ledger's own folder can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_taken_off_the_end_consistently_are_told_by_whoever_saw_them() {
    let bench = Bench::new(quick());
    let ledger = bench.open_log();
    append(&ledger, 0..120).await;
    ledger.close().await;
    drop(ledger);
    let before = bench.storage.after_kill();
    let ledger = bench.open_log();
    append(&ledger, 120..200).await;
    integrated(&ledger, 200).await;
    let log = ledger.log().unwrap();
    let other = Bench::new(quick());
    let keys: Arc<dyn AuditKeys> = Arc::<TestKeys>::clone(&other.keys);
    let parts = parts_of("data.example/log/store/first", 2);
    let storage = Arc::new(other.storage.clone());
    let its = Ledger::open_on(storage, SERVICE, keys, Arc::new(SystemEntropy), quick(), Some(parts)).unwrap();
    let checkpoint = log.newest().text.to_string();
    let asked = countersign_tlog::AddCheckpoint { old_size: 0, proof: Vec::new(), checkpoint };
    its.log().unwrap().cosign(&log.verifier_keys()[0].to_string(), &asked).unwrap();
    let seen = [Seen { by: "store".to_owned(), what: its.log().unwrap().witnessed() }];
    assert_eq!(report(&before, &at_rest(&[])).findings, [], "by itself it is as it was");
    let told = report(&before, &at_rest(&seen));
    assert_eq!(told.findings.len(), 1);
    assert_eq!(told.findings[0].record, Some(Position(120)));
    assert_eq!(told.findings[0].fault, Fault::RolledBack { by: "store".to_owned(), size: 200 });

    // Written anew from there, by whoever has the log's key.
    let forked = Bench { storage: before, keys: Arc::clone(&bench.keys), options: quick() };
    let again = forked.open_log();
    append(&again, 500..600).await;
    again.close().await;
    assert_eq!(report(&forked.storage, &at_rest(&[])).findings, []);
    let told = report(&forked.storage, &at_rest(&seen));
    assert_eq!(told.findings[0].fault, Fault::Forked { by: "store".to_owned(), size: 200 });

    // And by whoever has not: under a key of his own.
    let another = Bench::new(quick());
    let keys: Arc<dyn AuditKeys> = Arc::<TestKeys>::clone(&another.keys);
    let parts = parts_of(super::log::ORIGIN, 9);
    let storage = Arc::new(another.storage.clone());
    let ledger = Ledger::open_on(storage, SERVICE, keys, Arc::new(SystemEntropy), quick(), Some(parts)).unwrap();
    append(&ledger, 0..200).await;
    ledger.close().await;
    assert_eq!(report(&another.storage, &at_rest(&[])).findings, []);
    let told = report(&another.storage, &at_rest(&seen));
    assert!(told.findings.iter().any(|finding| finding.fault == Fault::OtherKey { by: "store".to_owned() }));
    let trusted = Against { keys: vec![log.verifier_keys()[0].clone()], ..at_rest(&[]) };
    let told = report(&another.storage, &trusted);
    assert_eq!(told.findings[0].fault, Fault::OtherKey { by: "the caller".to_owned() });
}

/// On a real folder, while a service writes: no fault where there is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ledger_that_is_written_to_verifies() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("gateway");
    let keys: Arc<dyn AuditKeys> = Arc::<TestKeys>::default();
    let options = Options { checkpoint_ms: 10, segment_bytes: 50_000, ..Options::default() };
    let parts = Some(super::log::parts());
    let ledger = Ledger::open_as_log(&folder, SERVICE, keys, Arc::new(SystemEntropy), options, parts).unwrap();
    let ledger = Arc::new(ledger);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (ledger, stop) = (Arc::clone(&ledger), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut number = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) && number < 5000 {
                    append(&ledger, number..number + 1).await;
                    number += 1;
                }
            })
        })
        .collect();
    let mut sizes = Vec::new();
    for _ in 0..8 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let folder = folder.clone();
        let verify = || crate::ledger::verify::folder(&folder, &Against::default(), &mut |_, _| {}).unwrap();
        let report = tokio::task::block_in_place(verify);
        assert_eq!(report.findings, []);
        sizes.push(report.records);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(sizes.iter().any(|size| *size > 0));
    println!("records verified while more were written: {sizes:?}");
    ledger.close().await;
    let report = crate::ledger::verify::folder(&folder, &Against::default(), &mut |_, _| {}).unwrap();
    assert_eq!((report.findings.as_slice(), report.records), (&[][..], ledger.size()));
    assert_eq!(crate::ledger::verify::ledgers_under(root.path()).unwrap(), std::slice::from_ref(&folder));
    assert_eq!(crate::ledger::verify::ledgers_under(&folder).unwrap(), [folder]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes a million records, half a gigabyte, for half a minute; the bench measures the same: run it by name"]
async fn a_million_records() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("gateway");
    let keys: Arc<dyn AuditKeys> = Arc::<TestKeys>::default();
    let parts = Some(super::log::parts());
    let options = Options::default();
    let ledger = Ledger::open_as_log(&folder, SERVICE, keys, Arc::new(SystemEntropy), options, parts).unwrap();
    let ledger = Arc::new(ledger);
    let began = std::time::Instant::now();
    let writers: Vec<_> = (0..500)
        .map(|_| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { append(&ledger, 0..2000).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let (wrote, lag) = (began.elapsed(), ledger.log().unwrap().lag());
    ledger.close().await;
    let began = std::time::Instant::now();
    let report = crate::ledger::verify::folder(&folder, &Against::default(), &mut |_, _| {}).unwrap();
    assert_eq!((report.findings.as_slice(), report.covered), (&[][..], 1_000_000));
    println!("{} MB written in {wrote:?}, the log at most {:?} behind", report.bytes / 1_000_000, lag.1);
    println!("verified in {:?}", began.elapsed());
}
