use super::*;

/// A witness that has seen `size` records of a server's log.
async fn seen(size: u64) -> (Server, House) {
    let server = Server::new(600);
    server.grows_to(size);
    let mut house = House::new();
    assert!(matches!(house.look(&server).await.outcome, Outcome::Cosigned));
    server.with(|log| log.cosigned.clear());
    (server, house)
}

/// That it is refused for `kind`, now and for good, that nothing was cosigned and that the state has not moved.
async fn stays_refused(server: &Server, house: &mut House, kind: Kind, size: u64) {
    let before = house.witness().kept(NAME).unwrap().seen();
    let report = house.look(server).await;
    assert_eq!(refused(&report), Some(kind), "{report:?}");
    // Also when the log shows its old face again, and over a restart.
    server.with(|log| {
        log.signer = signer(1);
        log.levels = history(1, 600);
        log.size = 600;
        (log.checkpoint, log.listed) = (None, None);
    });
    assert_eq!(refused(&house.look(server).await), Some(kind));
    house.restarted();
    let report = house.look(server).await;
    assert_eq!(refused(&report), Some(kind));
    assert_eq!(report.size, Some(size));
    assert_eq!(house.witness().kept(NAME).unwrap().seen(), before);
    assert!(server.with(|log| log.cosigned.is_empty()));
    assert_eq!(house.witness().alarms().len(), 1);
    // Until somebody takes it out.
    assert!(house.witness().forget(NAME).unwrap() && !house.witness().forget(NAME).unwrap());
    assert!(matches!(house.look(server).await.outcome, Outcome::Cosigned));
}

#[tokio::test]
async fn a_fork_is_refused_at_every_size() {
    // Powers of two are proved in another way than the rest.
    for size in [1, 2, 7, 8, 255, 256, 300] {
        for grown in [size, size + 1, 512, 600] {
            let (server, mut house) = seen(size).await;
            server.with(|log| (log.levels, log.size) = (history(2, 600), grown));
            stays_refused(&server, &mut house, Kind::Fork, size).await;
        }
    }
}

#[tokio::test]
async fn a_fork_of_the_newest_record_alone_is_refused() {
    let (server, mut house) = seen(300).await;
    let mut levels = history(1, 299);
    levels.append(0, Hash::leaf(b"another record"));
    for index in 300..600u64 {
        levels.append(0, Hash::leaf(&index.to_be_bytes()));
    }
    // Above it the hashes of what is there now.
    let leaves = levels.0[0].clone();
    server.with(|log| (log.levels, log.size) = (Levels::of(leaves), 600));
    stays_refused(&server, &mut house, Kind::Fork, 300).await;
}

#[tokio::test]
async fn a_rollback_is_refused() {
    for size in [299, 256, 1, 0] {
        let (server, mut house) = seen(300).await;
        server.grows_to(size);
        stays_refused(&server, &mut house, Kind::Rollback, 300).await;
    }
}

#[tokio::test]
async fn an_old_checkpoint_over_a_log_that_has_grown_is_a_rollback_too() {
    let (server, mut house) = seen(300).await;
    let old = server.with(|log| checkpoint(&log.signer, &log.levels, 299));
    server.with(|log| (log.checkpoint, log.size) = (Some(old), 600));
    stays_refused(&server, &mut house, Kind::Rollback, 300).await;
}

#[tokio::test]
async fn another_key_is_refused_whether_it_is_told_or_not() {
    let (server, mut house) = seen(300).await;
    server.with(|log| (log.signer, log.size) = (signer(2), 301));
    stays_refused(&server, &mut house, Kind::ChangedKey, 300).await;
    // The list has the old key, the checkpoint is signed with another.
    let (server, mut house) = seen(300).await;
    let old = signer(1).verifier().to_string();
    server.with(|log| (log.signer, log.listed, log.size) = (signer(2), Some(old), 301));
    stays_refused(&server, &mut house, Kind::ChangedKey, 300).await;
}

#[tokio::test]
async fn a_log_that_is_cut_off_is_not_verified() {
    let (server, mut house) = seen(300).await;
    // It says that it has 600 and gives no tile beyond the 300th record.
    let note = server.with(|log| checkpoint(&log.signer, &log.levels, 600));
    server.with(|log| (log.checkpoint, log.levels, log.size) = (Some(note), history(1, 300), 300));
    let report = house.look(&server).await;
    assert!(matches!(report.outcome, Outcome::Trouble(_)), "{report:?}");
    assert_eq!(report.size, Some(300));
    assert!(server.with(|log| log.cosigned.is_empty()));
}

/// What becomes of a tile on its way out.
type Lie = fn(Tile, Vec<u8>) -> Option<Vec<u8>>;

/// The faults of tiles that lie.
const LIES: &[Lie] = &[
    |_, mut bytes| {
        bytes[0] ^= 1;
        Some(bytes)
    },
    |_, mut bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 0x80;
        Some(bytes)
    },
    |_, bytes| Some(bytes[..bytes.len() - 32].to_vec()),
    |_, bytes| Some(bytes[..bytes.len() - 1].to_vec()),
    |_, bytes| Some([&bytes[..], &[0; 8193]].concat()),
    |_, mut bytes| {
        bytes.rotate_left(32);
        Some(bytes)
    },
    |tile, _| history(2, 600).tile(tile),
    |_, bytes| Some(vec![0; bytes.len()]),
    |_, _| Some(Vec::new()),
    |_, _| None,
];

#[tokio::test]
async fn tiles_that_lie_prove_nothing_and_no_fork_either() {
    for (number, lie) in LIES.iter().enumerate() {
        for (old, size) in [(300, 600), (256, 600), (7, 9)] {
            let (server, mut house) = seen(old).await;
            server.with(|log| (log.size, log.tile) = (size, *lie));
            let report = house.look(&server).await;
            assert!(matches!(report.outcome, Outcome::Trouble(_)), "{number} {old}: {report:?}");
            assert!(server.with(|log| log.cosigned.is_empty()));
            // It was the way, not the log: once the tiles are right again all is well.
            server.with(|log| log.tile = |_, bytes| Some(bytes));
            let report = house.look(&server).await;
            assert!(matches!(report.outcome, Outcome::Cosigned) && report.size == Some(size), "{number}: {report:?}");
        }
    }
}

#[tokio::test]
async fn what_was_seen_and_is_gone_is_missed() {
    let (server, mut house) = seen(300).await;
    server.with(|log| log.is_listed = false);
    let report = house.look(&server).await;
    assert!(matches!(&report.outcome, Outcome::Trouble(what) if what.contains("does not list")), "{report:?}");
    for broken in ["", "no checkpoint\n", "\u{fffd}"] {
        server.with(|log| (log.is_listed, log.checkpoint) = (true, Some(broken.to_owned())));
        assert!(matches!(house.look(&server).await.outcome, Outcome::Trouble(_)));
    }
}
