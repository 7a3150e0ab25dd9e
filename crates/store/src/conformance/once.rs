use std::sync::Arc;

use countersign_model::{TenantId, UnixMs};

use super::*;
use crate::{Done, ONCE_MS, Once};

const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn once(id: u8, at: UnixMs, request: u8) -> Option<Once> {
    Some(Once { id: [id; 32], at, done: done(request) })
}

fn done(request: u8) -> Done {
    Done { request: [request; 32], answer: vec![request; 3] }
}

async fn make(
    store: &impl Store,
    tenant: TenantId,
    changes: Vec<SealedChange>,
    once: Option<Once>,
) -> Result<(), Rejected> {
    store.write(tenant, Batch { once, ..batch(changes) }).await.unwrap()
}

/// A batch of an id is made once, in each tenant, and what is to be known of it is known for a day.
pub(super) async fn at_most_once(store: &impl Store) {
    let (one, two) = (tenant(1), tenant(2));
    library_of(store, one).await;
    library_of(store, two).await;
    let known = async |tenant, id: u8, now| store.done(tenant, [id; 32], now).await.unwrap();
    assert_eq!(known(one, 1, NOW).await, None);
    make(store, one, vec![insert(1, 0)], once(1, NOW, 7)).await.unwrap();
    assert_eq!(known(one, 1, NOW).await, Some(done(7)));
    assert_eq!(known(two, 1, NOW).await, None, "an id is of one tenant");
    assert_eq!(known(one, 2, NOW).await, None);
    // Whatever comes under that id changes nothing, and what is known stays.
    assert_eq!(make(store, one, vec![insert(2, 0)], once(1, NOW, 8)).await, Err(Rejected::Done));
    assert_eq!(make(store, one, vec![], once(1, NOW, 8)).await, Err(Rejected::Done));
    assert_eq!(make(store, one, vec![update(9, 1, b"no")], once(1, NOW, 7)).await, Err(Rejected::Done));
    assert_eq!(numbers(store, one, &scan(Access::All)).await, [1]);
    assert_eq!(known(one, 1, NOW).await, Some(done(7)));
    make(store, two, vec![insert(1, 0)], once(1, NOW, 9)).await.unwrap();
    assert_eq!(known(two, 1, NOW).await, Some(done(9)));
    // One that was not made is not known.
    assert_eq!(make(store, one, vec![insert(3, 0), insert(1, 0)], once(2, NOW, 1)).await.map_err(|_| ()), Err(()));
    assert_eq!(known(one, 2, NOW).await, None);
    make(store, one, vec![insert(3, 0)], once(2, NOW, 1)).await.unwrap();
    // One that changes nothing is.
    make(store, one, vec![], once(3, NOW, 4)).await.unwrap();
    assert_eq!(known(one, 3, NOW).await, Some(done(4)));
    let later = NOW.plus_ms(ONCE_MS);
    assert_eq!(known(one, 1, NOW.plus_ms(ONCE_MS - 1)).await, Some(done(7)));
    assert_eq!(known(one, 1, later).await, None);
    make(store, one, vec![insert(4, 0)], once(1, later, 5)).await.unwrap();
    assert_eq!(known(one, 1, later).await, Some(done(5)));
    assert_eq!(known(one, 2, NOW).await, None, "what is too old is gone");
    assert_eq!(store.done(tenant(77), [1; 32], NOW).await, Err(StoreError::UnknownTenant));
}

/// Of many under one id that come at once, one is made, and the others see what is known of it.
pub(super) async fn of_many_at_once_one<S: Store + 'static>(store: S) {
    let one = tenant(1);
    library_of(&store, one).await;
    let store = Arc::new(store);
    for round in 0..5u8 {
        let tasks: Vec<_> = (0..8u8)
            .map(|task| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let number = u64::from(round) * 100 + u64::from(task);
                    let made = make(&*store, one, vec![insert(number, 0)], once(round, NOW, task)).await;
                    (task, made, store.done(one, [round; 32], NOW).await.unwrap())
                })
            })
            .collect();
        let (mut made, mut known) = (Vec::new(), Vec::new());
        for task in tasks {
            let (task, verdict, done) = task.await.unwrap();
            match verdict {
                Ok(()) => made.push(task),
                other => assert_eq!(other, Err(Rejected::Done)),
            }
            known.push(done);
        }
        let [winner] = made[..] else { panic!("{made:?} were made") };
        assert!(known.iter().all(|known| *known == Some(done(winner))), "{known:?}");
    }
    assert_eq!(store.count(one, BOOK).await, Ok(5));
}

/// It is known after the store was closed and opened again.
pub(super) async fn kept<S: Store>(open: &impl AsyncFn(u32) -> S) {
    const PLACE: u32 = 41;
    let one = tenant(1);
    {
        let store = open(PLACE).await;
        library_of(&store, one).await;
        make(&store, one, vec![insert(1, 0)], once(1, NOW, 7)).await.unwrap();
    }
    let store = open(PLACE).await;
    store.apply_types(&library()).await.unwrap();
    assert_eq!(store.done(one, [1; 32], NOW).await, Ok(Some(done(7))));
    assert_eq!(make(&store, one, vec![insert(2, 0)], once(1, NOW, 7)).await, Err(Rejected::Done));
}
