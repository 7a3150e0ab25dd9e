//! What is stored, and who starts again.

use countersign_crypto::{SealKey, SecretKey, SystemEntropy};

use super::*;

/// Starts again from what was stored; the desk is another one, the ledgers are the same.
fn again(world: &World, stored: &[u8]) -> World {
    let alerts = Arc::new(Alerts::default());
    let detector = Detector::restored(stored, parts(&alerts)).unwrap();
    World { detector, alerts, ends: world.ends.clone(), now: world.now, requests: world.requests }
}

#[test]
fn who_starts_again_raises_the_same_alerts_under_the_same_ids() {
    let mut world = World::new();
    let mut ledger = Vec::new();
    for at in 0..60u64 {
        let said = if at == 30 { refused(Reason::OtherTenant) } else { refused(Reason::NotPermitted) };
        ledger.push(world.entry(said));
        world.wait(100);
    }
    let play = |world: &mut World, from: usize| {
        for (name, position, entry) in ledger.iter().skip(from).cloned() {
            let now = entry.time;
            world.detector.take(name, entry.service, vec![(position, entry)], now);
        }
    };
    for stored_at in [0usize, 10, 19, 20, 25, 40, 59] {
        let mut first = World::new();
        for (name, position, entry) in ledger.iter().take(stored_at).cloned() {
            let now = entry.time;
            first.detector.take(name, entry.service, vec![(position, entry)], now);
        }
        let stored = first.detector.stored();
        first.alerts();
        play(&mut first, stored_at);
        let mut second = again(&first, &stored);
        assert_eq!(second.detector.after("gateway"), stored_at.checked_sub(1).map(|at| Position(at as u64)));
        // Given from the beginning, it passes over what it has seen.
        play(&mut second, 0);
        assert_eq!(first.alerts(), second.alerts(), "stored at {stored_at}");
    }
}

#[test]
fn the_past_outlives_a_restart() {
    let mut world = World::new();
    world.say(read(1_500));
    world.status(|_| ());
    world.wait(25 * 3_600_000);
    let mut world = again(&world, &world.detector.stored());
    world.say(Said { field: FieldId(1), ..read(7_500) });
    world.status(|status| (status.ledger_records, status.ledger_integrated) = (9, 9));
    let titles: Vec<String> = world.alerts().into_iter().map(|alert| alert.title).collect();
    assert_eq!(
        titles,
        [
            "A role reads fields of a class for the first time",
            "Somebody reads far more than they ever did",
            "Records of a ledger are missing"
        ]
    );
}

#[test]
fn what_is_written_after_a_ledger_shrank_is_seen() {
    let mut world = World::new();
    (0..10).for_each(|_| world.say(read(1)));
    world.status(|_| ());
    world.status(|status| (status.ledger_records, status.ledger_integrated) = (5, 5));
    world.alerts();
    world.ends.insert("store", 5);
    world.say(said(Service::Store, Verdict::Refused, "read", Some(Reason::OtherTenant)));
    assert_eq!(world.alerts().len(), 1);
}

#[test]
fn the_file_is_sealed_and_replaced_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let key = Arc::new(SealKey::new(&SecretKey::generate(&SystemEntropy)));
    let keep = Keep::open(&dir.path().join("monitor"), Arc::clone(&key), Arc::new(SystemEntropy)).unwrap();
    assert!(keep.read().unwrap().is_none());
    let mut world = World::new();
    world.say(read(3));
    keep.write(&world.detector.stored()).unwrap();
    let stored = keep.read().unwrap().unwrap();
    assert!(again(&world, &stored).detector.after("store").is_some());
    let path = dir.path().join("monitor/detections");
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(5).any(|part| part == b"clerk"), "nothing is in clear");
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(keep.read(), Err(StateFault::Damaged)));
    let alerts = Arc::new(Alerts::default());
    for damaged in [b"".as_slice(), b"\x01\xff"] {
        assert!(matches!(Detector::restored(damaged, parts(&alerts)), Err(StateFault::Damaged)));
    }
    let anew = Detector::restored(b"\x02of another release", parts(&alerts)).unwrap();
    assert!(anew.places().is_empty());
}
