use std::time::Instant;

use super::*;

#[tokio::test]
async fn a_log_that_grows_is_cosigned_at_every_step() {
    let server = Server::new(70_000);
    let mut house = House::new();
    let own = house.witness().verifier();
    let sizes = [1u64, 2, 3, 255, 256, 257, 511, 512, 1000, 4096, 65_535, 65_536, 65_537, 69_999, 70_000];
    let begun = Instant::now();
    let mut most = 0;
    for size in sizes {
        server.grows_to(size);
        let before = server.with(|log| log.tiles);
        let report = house.look(&server).await;
        most = most.max(server.with(|log| log.tiles) - before);
        assert!(matches!(report.outcome, Outcome::Cosigned) && report.size == Some(size), "{report:?}");
        assert!(report.not_taken.is_none() && server.with(|log| log.cosigned.contains_key(&size)));
        let kept = house.witness().kept(NAME).unwrap();
        assert!(kept.note().unwrap().verify(&own).unwrap().at_s.is_some());
        assert!(matches!(house.look(&server).await.outcome, Outcome::Unchanged));
    }
    let took = begun.elapsed();
    println!("{} steps to 70,000 records: at most {most} tiles a step, {took:?} in all", sizes.len());
    // Two to find again, and the same witness after a restart.
    house.restarted();
    assert_eq!(house.witness().verifier(), own);
    assert_eq!(house.witness().kept(NAME).unwrap().seen().size, 70_000);
    server.with(|log| log.cosigned.clear());
    assert!(matches!(house.look(&server).await.outcome, Outcome::Unchanged));
    assert!(server.with(|log| log.cosigned.contains_key(&70_000)), "given again by the new process");
}

#[tokio::test]
async fn what_was_seen_is_shown_without_secrets() {
    let server = Server::new(10);
    server.grows_to(7);
    let mut house = House::new();
    house.look(&server).await;
    let text = house.witness().seen().to_text();
    let seen = countersign_audit::ledger::log::Witnessed::parse(text.as_bytes()).unwrap();
    assert_eq!(seen.of(ORIGIN).unwrap().checkpoint.size, 7);
    assert!(!text.contains("PRIVATE"));
}

#[tokio::test]
async fn every_step_between_two_small_sizes_is_provable() {
    for old in 1..=34u64 {
        let server = Server::new(40);
        let mut house = House::new();
        for size in [old, old + 1, 36, 40] {
            server.grows_to(size);
            let report = house.look(&server).await;
            assert!(report.size == Some(size) && refused(&report).is_none(), "{old} {size}: {report:?}");
        }
    }
}

#[tokio::test]
async fn a_partial_tile_that_is_gone_is_found_in_the_full_one() {
    let server = Server::new(1024);
    let mut house = House::new();
    server.grows_to(300);
    house.look(&server).await;
    // The checkpoint is of 400, the log has grown past its tiles.
    let note = server.with(|log| checkpoint(&log.signer, &log.levels, 400));
    server.with(|log| {
        log.size = 1024;
        log.checkpoint = Some(note);
        log.tile = |tile, bytes| (tile.is_full() || tile.level > 0).then_some(bytes);
    });
    let report = house.look(&server).await;
    assert!(matches!(report.outcome, Outcome::Cosigned) && report.size == Some(400), "{report:?}");
}

#[tokio::test]
async fn only_what_is_wanted_is_followed() {
    let server = Server::new(10);
    server.grows_to(5);
    let house = House::new();
    let mut given = BTreeSet::new();
    let other = Wanted { names: vec!["keys/first".to_owned()], keys: Vec::new() };
    let reports = house.witness().round(&server, &other, &mut given).await.unwrap();
    assert!(reports.len() == 1 && matches!(reports[0].outcome, Outcome::Trouble(_)));
    let wrong_key = Wanted { names: Vec::new(), keys: vec![signer(2).verifier()] };
    let reports = house.witness().round(&server, &wrong_key, &mut given).await.unwrap();
    assert!(matches!(&reports[0].outcome, Outcome::Trouble(_)), "{reports:?}");
    assert!(house.witness().kept(NAME).is_none(), "nothing is pinned that --key does not name");
    let right_key = Wanted { names: vec![NAME.to_owned()], keys: vec![signer(1).verifier()] };
    let reports = house.witness().round(&server, &right_key, &mut given).await.unwrap();
    assert!(matches!(reports[0].outcome, Outcome::Cosigned));
}
