//! Disks that are full, read-only or failing: refused at once, and as before when they are well again.

use super::*;

async fn refused(ledger: &Ledger) {
    let outcome = ledger.append(sample(SERVICE, Some(tenant(1)), 99)).await;
    assert!(matches!(outcome, Err(AuditError::Unavailable)), "{outcome:?}");
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers_at_every_amount_of_space() {
    for space in (0..400).step_by(7) {
        let bench = Bench::new(Options::default());
        let ledger = bench.open();
        append(&ledger, 0..2).await;
        bench.storage.limit_space(Some(space));
        if ledger.append(sample(SERVICE, Some(tenant(1)), 2)).await.is_ok() {
            // The first failure may come with the next record.
            assert!(space > 250);
            bench.storage.limit_space(None);
            append(&ledger, 3..4).await;
        } else {
            refused(&ledger).await;
            bench.storage.limit_space(None);
            append(&ledger, 2..4).await;
        }
        drop(ledger);
        assert_eq!(numbers(&bench.open()), [0, 1, 2, 3], "space for {space} bytes");
    }
}

#[tokio::test]
async fn a_full_disk_at_the_end_of_a_segment_refuses_and_recovers() {
    for space in (0..700).step_by(13) {
        let bench = Bench::new(Options { segment_bytes: 1, ..Options::default() });
        let ledger = bench.open();
        append(&ledger, 0..1).await;
        bench.storage.limit_space(Some(space));
        let mut next = 1;
        while ledger.append(sample(SERVICE, Some(tenant(1)), next)).await.is_ok() {
            next += 1;
        }
        bench.storage.limit_space(None);
        append(&ledger, next..next + 2).await;
        drop(ledger);
        assert_eq!(numbers(&bench.open()), (0..next + 2).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_read_only_disk_and_a_read_only_folder_refuse_and_recover() {
    let bench = Bench::new(Options::default());
    let ledger = bench.open();
    append(&ledger, 0..2).await;
    for kind in [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::Other] {
        bench.storage.fail_writes(Some(kind));
        refused(&ledger).await;
        bench.storage.fail_writes(None);
        append(&ledger, 2..3).await;
    }
    bench.storage.set_read_only(true);
    refused(&ledger).await;
    assert_eq!(numbers(&ledger), [0, 1, 2, 2], "reading goes on");
    bench.storage.set_read_only(false);
    append(&ledger, 3..4).await;
    drop(ledger);
    assert_eq!(numbers(&bench.open()), [0, 1, 2, 2, 3]);
}

/// A failed sync is never followed by an acknowledgement that rests on the bytes it lost.
#[tokio::test]
async fn a_failed_sync_acknowledges_nothing_that_could_be_lost() {
    let bench = Bench::new(Options::default());
    let ledger = bench.open();
    append(&ledger, 0..2).await;
    // The second failure meets the repair.
    bench.storage.fail_syncs(2);
    refused(&ledger).await;
    refused(&ledger).await;
    append(&ledger, 2..3).await;
    let bench = Bench { storage: bench.storage.after_power_loss(&mut || false), ..bench };
    assert_eq!(numbers(&bench.open()), [0, 1, 2]);
}

#[tokio::test]
async fn a_file_that_was_taken_away_is_not_written_to() {
    let bench = Bench::new(Options::default());
    let ledger = bench.open();
    append(&ledger, 0..2).await;
    let file = bench.storage.contents(FIRST);
    bench.storage.set_contents(FIRST, None);
    refused(&ledger).await;
    refused(&ledger).await;
    bench.storage.set_contents(FIRST, file);
    append(&ledger, 2..3).await;
    drop(ledger);
    assert_eq!(numbers(&bench.open()), [0, 1, 2]);
}

#[tokio::test]
async fn without_any_key_a_record_is_not_written() {
    let bench = Bench::new(Options::default());
    let ledger = bench.open();
    bench.keys.withhold(Some(tenant(1)));
    bench.keys.withhold(None);
    let outcome = ledger.append(sample(SERVICE, Some(tenant(1)), 1)).await;
    assert!(matches!(outcome, Err(AuditError::NoKey)));
    assert_eq!(ledger.size(), 0);
}
