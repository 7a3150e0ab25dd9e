//! Programs that end without closing anything.

use super::*;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// Where the child that is to be killed works; set for it alone.
const FOLDER: &str = "COUNTERSIGN_STORE_CRASH_TEST";

#[tokio::test]
async fn what_a_crash_left_in_the_log_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = with_records(folder.path(), 20).await;
    // The files as they are at this moment: what a crash would leave.
    std::fs::create_dir(copy.path().join("tenants")).unwrap();
    for suffix in ["db", "db-wal", "db-shm"] {
        let from = file(folder.path(), tenant(1)).with_extension(suffix);
        std::fs::copy(&from, file(copy.path(), tenant(1)).with_extension(suffix)).unwrap();
    }
    let survivor = open(copy.path());
    survivor.apply_types(&library()).await.unwrap();
    assert_eq!(everything(&survivor, tenant(1)).await, everything(&store, tenant(1)).await);
    assert!(!file(copy.path(), tenant(1)).with_extension("db-wal").exists(), "opening settled it");
    // The same with the end of the log torn off: the transactions before it are there.
    for suffix in ["db", "db-wal"] {
        let from = file(folder.path(), tenant(1)).with_extension(suffix);
        std::fs::copy(&from, file(copy.path(), tenant(2)).with_extension(suffix)).unwrap();
    }
    store.write(tenant(1), batch(vec![insert(100, 1)])).await.unwrap().unwrap();
    let mut log = std::fs::read(file(folder.path(), tenant(1)).with_extension("db-wal")).unwrap();
    log.truncate(log.len() - 100);
    std::fs::write(file(copy.path(), tenant(2)).with_extension("db-wal"), log).unwrap();
    assert_eq!(everything(&survivor, tenant(2)).await.len(), 20);
}

/// A child writes and says what was acknowledged, until it is killed; everything it said must be there, and
/// nothing by half.
#[test]
fn what_was_acknowledged_survives_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut acknowledged = std::collections::BTreeSet::new();
    for round in 0..6u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sqlite::tests::crash::child", "--nocapture", "--include-ignored"])
            .env(FOLDER, folder.path())
            .env("COUNTERSIGN_STORE_CRASH_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut count = 0;
        for line in said.lines().map_while(Result::ok) {
            if let Some(number) = line.split("done ").nth(1).and_then(|number| number.parse::<u64>().ok()) {
                acknowledged.insert(number);
                count += 1;
            }
            if count == 20 + round * 17 {
                // What it says after this and before it dies is read and counted too.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(count >= 20, "the child said too little");
        runtime.block_on(async {
            let store = open(folder.path());
            store.apply_types(&library()).await.unwrap();
            let rows = everything(&store, tenant(1)).await;
            let there: std::collections::BTreeSet<u64> =
                rows.iter().map(|row| (row.record.as_u128() & 0xffff_ffff) as u64).collect();
            for number in &acknowledged {
                assert!(there.contains(number) && there.contains(&(number + 1)), "round {round}: {number} was lost");
            }
            assert!(there.iter().all(|number| there.contains(&(number ^ 1))), "half a batch");
        });
    }
}

#[test]
#[ignore = "the program that the test above kills"]
#[expect(clippy::disallowed_methods, reason = "the only way to tell a test that it is the child")]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let round: u64 = std::env::var("COUNTERSIGN_STORE_CRASH_ROUND").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Arc::new(open(Path::new(&folder)));
        library_of(&*store, tenant(1)).await;
        let tasks: Vec<_> = (0..8u64)
            .map(|writer| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for turn in 0..100_000u64 {
                        let number = ((round * 8 + writer) * 100_000 + turn) * 2;
                        let both = batch(vec![insert(number, 0), insert(number + 1, 0)]);
                        store.write(tenant(1), both).await.unwrap().unwrap();
                        println!("done {number}");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}
