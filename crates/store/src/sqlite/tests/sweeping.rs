//! What was erased goes from the files as soon as nobody reads them as they were.

use super::*;
use crate::carry::Moments as _;
use crate::erase::Erases as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn erased_records_go_from_the_files_and_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (store, one) = (open(folder.path()), tenant(1));
    library_of(&store, one).await;
    write(&store, one, vec![insert(1, 4), insert(2, 4)]).await.unwrap();
    let log = || std::fs::metadata(file(folder.path(), one).with_extension("db-wal")).unwrap().len();
    // A backup reads it.
    let moment = store.moment(one).await.unwrap();
    write(&store, one, vec![delete(1, 1)]).await.unwrap();
    assert_eq!(store.purge(one, BOOK, &[record(1)]).await.unwrap().past, 1);
    let (swept, written) = tokio::join!(store.sweep(one), async {
        for version in 1..=20 {
            write(&store, one, vec![update(2, version, b"other")]).await.unwrap();
        }
        log()
    });
    assert!(!swept.unwrap() && written > 0, "what the backup sees is still there, and others have written");
    assert!(store.traces(one, BOOK, &[record(1)]).await.unwrap().is_none());
    drop(moment);
    let mut swept = false;
    for _ in 0..100 {
        swept = swept || store.sweep(one).await.unwrap();
    }
    assert!(swept);
    assert_eq!(log(), 0);
}
