//! What every [`Store`] must do. An implementation's tests call [`run`].
//!
//! ```ignore
//! let folder = tempfile::tempdir()?;
//! conformance::run(async |place| MyStore::open(&folder.path().join(place.to_string()))).await;
//! ```

mod batches;
mod carrying;
mod crowds;
mod epochs;
mod erasing;
pub(crate) mod fixture;
mod history;
mod moments;
mod once;
mod reading;
mod types;

use countersign_model::{FieldId, FieldSet, TypeId};

pub use self::carrying::carries;
pub use self::epochs::reseals;
use self::fixture::*;
pub use self::history::remembers;
pub use self::moments::moments;
use crate::{Access, Batch, Rejected, Scan, SealedChange, SealedRow, Store, StoreError};

/// Runs the whole suite; panics with what was expected at the first thing that is not so.
///
/// `make` opens a store at a place of that number, empty the first time, and with what was stored there when it is
/// called again after the first one was dropped. It must run on a Tokio runtime of several threads.
///
/// # Panics
/// If the store does not do what it must.
pub async fn run<S: Store + 'static>(make: impl AsyncFn(u32) -> S) {
    reading::cells_and_nulls(&make(0).await).await;
    reading::by_records(&make(1).await).await;
    reading::by_tags(&make(2).await).await;
    reading::pages(&make(3).await).await;
    reading::what_is_not_there(&make(4).await).await;
    reading::tenants_are_separate(&make(5).await).await;
    batches::versions(&make(10).await).await;
    batches::all_or_nothing(&make(11).await).await;
    batches::uniqueness(&make(12).await).await;
    batches::requirements(&make(13).await).await;
    batches::empty_and_unknown(&make(14).await).await;
    once::at_most_once(&make(15).await).await;
    once::of_many_at_once_one(make(16).await).await;
    history::every_change(&make(17).await).await;
    history::retention(&make(18).await).await;
    history::rewinding(&make(19).await).await;
    erasing::records(&make(25).await).await;
    erasing::tenants(&make(26).await).await;
    types::types_grow(&make(20).await).await;
    types::indexes_come_and_go(&make(21).await).await;
    types::any_records(&make(22).await).await;
    crowds::one_winner(make(30).await).await;
    crowds::references_hold(make(31).await).await;
    crowds::no_half_batches(make(32).await).await;
    crowds::given_up(make(33).await).await;
    reopened(&make).await;
    once::kept(&make).await;
}

/// A store that was closed and opened again gives the same.
async fn reopened<S: Store>(make: &impl AsyncFn(u32) -> S) {
    const PLACE: u32 = 40;
    let tenants = [tenant(1), tenant(2)];
    let mut before = Vec::new();
    {
        let store = make(PLACE).await;
        for one in tenants {
            store.create_tenant(one).await.unwrap();
        }
        store.apply_types(&library()).await.unwrap();
        for one in tenants {
            for number in 1..=300 {
                write(&store, one, vec![insert(number, number % 7)]).await.unwrap();
            }
            write(&store, one, vec![update(5, 1, b"changed"), delete(6, 1)]).await.unwrap();
            before.push(everything(&store, one).await);
        }
    }
    let store = make(PLACE).await;
    store.apply_types(&library()).await.unwrap();
    for (one, before) in tenants.into_iter().zip(before) {
        assert_eq!(before.len(), 299);
        assert_eq!(everything(&store, one).await, before, "a reopened store must give what was stored");
    }
}
