//! Counts of seals beside transactions of others.

use countersign_crypto::SealKey;

use super::*;
use crate::carry::{Moments as _, Reseals as _};
use crate::{CellKey, SealCount};

const SHELVES: CellKey = CellKey { record_type: BOOK, field: SHELF, epoch: 1 };

fn counted(counts: &[SealCount]) -> u64 {
    counts.iter().find(|count| count.key == SHELVES).map_or(0, |count| count.sealed)
}

/// What a replacement brings is counted with it, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_counts_what_it_brings() {
    let folder = tempfile::tempdir().unwrap();
    let (one, store) = (tenant(1), with_records(folder.path(), 3).await);
    store.limit_seals(1000);
    let rejected = {
        let mut new = store.replacement(one).await.unwrap();
        assert_eq!(new.charge(vec![(SHELVES, 900)]).await, Ok(Ok(())));
        new.charge(vec![(SHELVES, 101)]).await
    };
    assert_eq!(rejected, Ok(Err(Rejected::Epoch)));
    assert_eq!(counted(&store.counts(one).await.unwrap()), 0, "dropped, it never was");
    let mut new = store.replacement(one).await.unwrap();
    assert_eq!(new.charge(vec![(SHELVES, 900)]).await, Ok(Ok(())));
    new.commit().await.unwrap();
    assert_eq!(counted(&store.counts(one).await.unwrap()), 900);
    assert_eq!(store.nearing().wait().await, [(one, [SHELVES].into())].into());
    // Blocks that were set aside before are not counted away.
    assert_eq!(store.charge(one, vec![(SHELVES, 100)]).await, Ok(Ok(())));
    assert_eq!(store.charge(one, vec![(SHELVES, 1)]).await, Ok(Err(Rejected::Epoch)));
}

/// A group of batches of which some are rejected leaves counts and epoch as they are stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_rejected_in_a_group_leaves_epoch_and_counts_right() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(with_records(folder.path(), 0).await);
    let mut all = tokio::task::JoinSet::new();
    for number in 0..60_u64 {
        let store = Arc::clone(&store);
        all.spawn(async move {
            let epoch = 1 + u32::try_from(number).unwrap() / 20;
            let mut sealed = vec![1];
            sealed.extend(epoch.to_be_bytes());
            sealed.resize(SealKey::OVERHEAD_BYTES, 7);
            let change = SealedChange::Insert {
                record_type: BOOK,
                record: record(number),
                cells: vec![(KEY, sealed)],
                // Every third has a key that another has.
                tags: vec![(KEY, tag(if number % 3 == 0 { 1000 } else { number }))],
            };
            let batch = Batch { changes: vec![change], epoch, ..Batch::default() };
            (epoch, store.write(tenant(1), batch).await.unwrap())
        });
    }
    let mut made = [0_u64; 4];
    while let Some(one) = all.join_next().await {
        match one.unwrap() {
            (epoch, Ok(())) => made[usize::try_from(epoch).unwrap()] += 1,
            (3, rejected) => assert!(matches!(rejected, Err(Rejected::Unique { .. }))),
            (_, rejected) => assert!(matches!(rejected, Err(Rejected::Unique { .. } | Rejected::Epoch))),
        }
    }
    let known = (store.epoch(tenant(1)).await.unwrap(), store.counts(tenant(1)).await.unwrap());
    assert_eq!((known.0, store.count(tenant(1), BOOK).await), (3, Ok(made.iter().sum())));
    assert!(made[3] >= 13);
    for count in &known.1 {
        assert!(count.sealed >= made[usize::try_from(count.key.epoch).unwrap()]);
    }
    drop(store);
    let again = open(folder.path());
    again.apply_types(&library()).await.unwrap();
    assert_eq!((again.epoch(tenant(1)).await, again.counts(tenant(1)).await), (Ok(known.0), Ok(known.1)));
}
