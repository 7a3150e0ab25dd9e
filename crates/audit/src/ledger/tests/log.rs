//! The ledger as a log.

mod accidents;

use std::time::{Duration, Instant};

use countersign_crypto::{SecretKey, note::NoteKey};
use countersign_model::UnixMs;
use countersign_model::clock::ManualClock;
use countersign_tlog::{AddCheckpoint, Checkpoint, Frontier, Hash, Note, Signer, consistency};

use super::*;
use crate::ledger::log::{CHECKPOINT, CosignatureRefused, KEYS, Keys, WITNESSED, WitnessFailure};

pub(super) const ORIGIN: &str = "data.example/log/gateway/first";

/// The keys of a service's log, by its number.
pub(super) fn parts_of(name: &str, number: u8) -> LogParts {
    let key = |number| NoteKey::from_seed(&SecretKey::from_bytes([number; 32]));
    LogParts {
        signer: Signer::log(name, key(number)).unwrap(),
        witness: Signer::witness(name, key(!number)).unwrap(),
        clock: Arc::new(ManualClock::at(UnixMs(1_780_000_000_000))),
    }
}

pub(super) fn parts() -> LogParts {
    parts_of(ORIGIN, 1)
}

pub(super) fn quick() -> Options {
    Options { checkpoint_ms: 20, segment_bytes: 100_000, ..Options::default() }
}

/// A bench whose ledger is a log.
impl Bench {
    pub(super) fn try_open_log(&self) -> Result<Ledger, LedgerError> {
        let storage = Arc::new(self.storage.clone());
        let keys: Arc<dyn AuditKeys> = Arc::<TestKeys>::clone(&self.keys);
        Ledger::open_on(storage, SERVICE, keys, Arc::new(SystemEntropy), self.options, Some(parts()))
    }

    pub(super) fn open_log(&self) -> Ledger {
        self.try_open_log().unwrap()
    }
}

/// The tree over a ledger's records, made anew.
pub(super) fn tree_of(ledger: &Ledger, size: u64) -> Frontier {
    let mut tree = Frontier::default();
    while tree.size() < size {
        for leaf in ledger.leaves(Position(tree.size()), 1000).unwrap() {
            if tree.size() < size {
                tree.push(Hash::leaf(&leaf), &mut |_, _| ());
            }
        }
    }
    tree
}

pub(super) async fn integrated(ledger: &Ledger, size: u64) {
    let log = ledger.log().unwrap();
    let began = Instant::now();
    while log.integrated() < size {
        assert!(began.elapsed() < Duration::from_secs(60), "{} of {size}", log.integrated());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_durable_is_in_the_log_and_only_that() {
    let bench = Bench::new(quick());
    let ledger = bench.open_log();
    let log = ledger.log().unwrap();
    assert_eq!((log.newest().size, log.newest().root), (0, Hash::empty()), "there is a checkpoint from the beginning");
    for round in 1..=4u64 {
        append(&ledger, (round - 1) * 100..round * 100).await;
        integrated(&ledger, round * 100).await;
        let newest = log.newest();
        assert_eq!(newest.root, tree_of(&ledger, newest.size).root());
        let (checkpoint, _) = Checkpoint::open(&newest.text, &log.verifier_keys()[0]).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size, checkpoint.root), (ORIGIN, newest.size, newest.root));
        assert_eq!(bench.storage.contents(CHECKPOINT).unwrap(), newest.text.as_bytes());
    }
    assert_eq!(log.tile(0, 1, 144).unwrap().unwrap().len(), 144 * 32);
    assert_eq!(log.tile(1, 0, 1).unwrap().unwrap().len(), 32);
    for (level, index, width) in [(0, 1, 145), (0, 2, 1), (1, 0, 2), (2, 0, 1), (0, 0, 0), (0, 0, 257), (9, 0, 1)] {
        assert_eq!(log.tile(level, index, width).unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_was_no_log_becomes_one_and_goes_on_after_each_opening() {
    let bench = Bench::filled(quick(), 700).await;
    assert_eq!(bench.storage.contents(CHECKPOINT), None);
    for round in 0..3 {
        let ledger = bench.open_log();
        integrated(&ledger, 700 + round * 10).await;
        append(&ledger, 0..10).await;
        ledger.close().await;
        let size = 710 + round * 10;
        assert_eq!(ledger.log().unwrap().integrated(), size, "closing takes in the last ones");
        assert_eq!(ledger.log().unwrap().newest().root, tree_of(&ledger, size).root());
    }
    assert_eq!(bench.storage.contents("log/0").unwrap().len(), 730 * 32);
    assert_eq!(bench.storage.contents("log/1").unwrap().len(), 2 * 32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_refuses_what_the_log_does_not_agree_with() {
    let bench = Bench::filled(quick(), 600).await;
    bench.open_log().close().await;
    let whole = bench.storage.after_kill();
    let names: Vec<String> = whole.list().unwrap().into_iter().filter(|name| name.starts_with("log/")).collect();
    assert_eq!(names, ["log/0", "log/1", CHECKPOINT, KEYS]);
    for name in &names {
        let good = whole.contents(name).unwrap();
        for at in (0..good.len()).step_by(good.len() / 13) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            bench.storage.set_contents(name, Some(bad));
            match bench.try_open_log() {
                Err(LedgerError::Unlike { position }) => {
                    assert_eq!((name.as_str(), position.0), ("log/0", at as u64 / 32))
                }
                Err(LedgerError::File { file }) => assert_eq!(file, *name),
                other => panic!("{name} byte {at}: {other:?}"),
            }
        }
        bench.storage.set_contents(name, Some(good[..good.len() - 1].to_vec()));
        assert!(bench.try_open_log().is_err(), "{name} cut");
        bench.storage.set_contents(name, None);
        assert!(bench.try_open_log().is_err(), "{name} removed");
        bench.storage.set_contents(name, Some(good));
    }
    bench.open_log();
    let storage: Arc<dyn Storage> = Arc::new(bench.storage.clone());
    let keys: Arc<dyn AuditKeys> = Arc::<TestKeys>::clone(&bench.keys);
    let other = parts_of(ORIGIN, 2);
    let opened = Ledger::open_on(storage, SERVICE, keys, Arc::new(SystemEntropy), bench.options, Some(other));
    assert!(matches!(opened, Err(LedgerError::OtherLog)));
}

/// A deployment that is called something else from now on is known to witnesses by what it was called.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_keeps_the_name_that_it_began_with() {
    let bench = Bench::new(quick());
    drop(bench.open_log());
    let storage: Arc<dyn Storage> = Arc::new(bench.storage.clone());
    let keys: Arc<dyn AuditKeys> = Arc::<TestKeys>::clone(&bench.keys);
    let renamed = Some(parts_of("elsewhere.example/log/gateway/first", 1));
    let ledger = Ledger::open_on(storage, SERVICE, keys, Arc::new(SystemEntropy), bench.options, renamed).unwrap();
    let text = ledger.log().unwrap().newest().text.to_string();
    assert!(text.starts_with(ORIGIN), "{text}");
    drop(ledger);
    bench.open_log();
}

/// Somebody rewrites a record with everything that checks it without a key: frames and `durable`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewritten_record_is_named() {
    use crate::ledger::frame::{Batch, HEADER_BYTES};
    let bench = Bench::new(quick());
    let ledger = bench.open_log();
    append(&ledger, 0..20).await;
    let mut leaves = ledger.leaves(Position(0), 100).unwrap();
    ledger.close().await;
    leaves.swap(7, 8);
    let good = bench.storage.contents(FIRST).unwrap();
    let mut forged = Batch::new([0; 16]);
    leaves.iter().for_each(|leaf| forged.push(leaf));
    bench.storage.set_contents(FIRST, Some([&good[..HEADER_BYTES], forged.bytes()].concat()));
    bench.storage.set_contents(mark::NAME, None);
    assert!(bench.try_open().is_ok(), "frames alone don't tell");
    bench.storage.set_contents(mark::NAME, None);
    assert!(matches!(bench.try_open_log(), Err(LedgerError::Unlike { position: Position(7) })));
}

fn asked(of: &Ledger, old_size: u64) -> AddCheckpoint {
    let log = of.log().unwrap();
    let newest = log.newest();
    let proof = consistency(&log.hashes(), old_size, newest.size).unwrap_or_default();
    AddCheckpoint { old_size, proof, checkpoint: newest.text.to_string() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_cosigns_what_only_grew() {
    let (bench, other) = (Bench::new(quick()), Bench::new(quick()));
    let ledger = bench.open_log();
    let open_witness = || {
        let storage: Arc<dyn Storage> = Arc::new(other.storage.clone());
        let keys: Arc<dyn AuditKeys> = Arc::<TestKeys>::clone(&other.keys);
        let parts = parts_of("data.example/log/store/first", 2);
        Ledger::open_on(storage, SERVICE, keys, Arc::new(SystemEntropy), other.options, Some(parts)).unwrap()
    };
    let witness = open_witness();
    let (log, its) = (ledger.log().unwrap(), witness.log().unwrap());
    let key = log.verifier_keys()[0].to_string();
    let its_key = its.verifier_keys()[1].to_string();
    let mut before = 0;
    for size in [0, 10, 300, 300, 601] {
        append(&ledger, before..size).await;
        integrated(&ledger, size).await;
        let lines = its.cosign(&key, &asked(&ledger, before)).unwrap();
        log.cosigned(size, &its_key, &lines).unwrap();
        assert_eq!((log.newest().cosigned, log.newest_cosigned().unwrap().size), (1, size));
        assert_eq!(log.cosigned(size + 1, &its_key, &lines), Err(CosignatureRefused::OtherSize));
        assert_eq!(log.cosigned(size, &key, &lines), Err(CosignatureRefused::NotValid));
        before = size;
    }
    assert_eq!(its.cosign(&key, &asked(&ledger, 300)), Err(WitnessFailure::Seen { size: 601 }));
    let mut bad = asked(&ledger, 601);
    bad.proof.push(Hash::empty());
    assert_eq!(its.cosign(&key, &bad), Err(WitnessFailure::Contradicts { size: 601 }));
    assert_eq!(its.cosign(&its.verifier_keys()[0].to_string(), &asked(&ledger, 601)), Err(WitnessFailure::NotTaken));

    // Rolled back and begun again, by whoever has the key.
    let rolled = Bench::new(quick());
    let again = rolled.open_log();
    append(&again, 0..50).await;
    integrated(&again, 50).await;
    drop(witness);
    let its = open_witness().log().unwrap();
    assert_eq!(its.cosign(&key, &asked(&again, 0)), Err(WitnessFailure::Seen { size: 601 }));
    let behind = AddCheckpoint { old_size: 601, proof: Vec::new(), ..asked(&again, 0) };
    assert_eq!(its.cosign(&key, &behind), Err(WitnessFailure::Contradicts { size: 601 }), "also after a restart");
    append(&again, 50..800).await;
    integrated(&again, 800).await;
    assert_eq!(its.cosign(&key, &asked(&again, 601)), Err(WitnessFailure::Contradicts { size: 601 }));

    // The cosignature is in the file, once there is nothing newer.
    let began = Instant::now();
    while bench.storage.contents(CHECKPOINT).unwrap() != log.newest().text.as_bytes() {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut bytes = other.storage.contents(WITNESSED).unwrap();
    bytes[40] ^= 1;
    other.storage.set_contents(WITNESSED, Some(bytes));
    let storage: Arc<dyn Storage> = Arc::new(other.storage.clone());
    let parts = parts_of("data.example/log/store/first", 2);
    let keys: Arc<dyn AuditKeys> = Arc::<TestKeys>::clone(&other.keys);
    let opened = Ledger::open_on(storage, SERVICE, keys, Arc::new(SystemEntropy), other.options, Some(parts));
    assert!(matches!(opened, Err(LedgerError::File { .. })), "a witness that forgot is none");
}

/// A log takes cosignatures from anybody: that keeps nobody else's out, and puts none in the place of its own signature.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ever_new_witnesses_keep_nobody_out() {
    let bench = Bench::new(quick());
    let ledger = bench.open_log();
    let log = ledger.log().unwrap();
    let key = log.verifier_keys()[0].clone();
    let cosign = |name: &str, seed: u8| {
        let (signer, _) = Signer::new_witness(name, &SecretKey::from_bytes([seed; 32])).unwrap();
        let (checkpoint, _) = Checkpoint::open(&log.newest().text, &key).unwrap();
        let line = signer.sign(&checkpoint.to_text(), 1_780_000_000).to_string();
        log.cosigned(log.newest().size, &signer.verifier().to_string(), &line)
    };
    assert_eq!(cosign(log.origin(), 9), Err(CosignatureRefused::NotValid));
    let mut size = 0;
    for round in 0..6 {
        append(&ledger, size..size + 10).await;
        size += 10;
        integrated(&ledger, size).await;
        assert_eq!(cosign("a.example/witness", 1), Ok(()), "{round}");
        for other in 0..8 {
            let number = round * 8 + other;
            assert_eq!(cosign(&format!("w{number}.example"), 100 + number), Ok(()), "{number}");
        }
        assert_eq!(log.newest().cosigned, 9);
    }
    let began = Instant::now();
    while bench.storage.contents(CHECKPOINT).unwrap() != log.newest().text.as_bytes() {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Every line of the file can still be verified by the keys beside it.
    let keys = Keys::parse(&bench.storage.contents(KEYS).unwrap()).unwrap();
    let note: Note = log.newest().text.parse().unwrap();
    let known =
        |line| std::iter::once(&keys.own).chain(&keys.witnesses).any(|key| key.verify(note.text(), line).is_some());
    assert!(note.signatures().iter().all(known));
}
