//! What a repository gets right again, and what is removed from it.

use std::path::Path;
use std::sync::Arc;

use countersign_backup::*;

use crate::setting::*;

async fn write_checking(repository: &Repository, parts: &Parts) -> Finished {
    let mut writer = repository.begin_checking(keys(), Arc::new(())).await.unwrap();
    for (section, chunks) in parts {
        writer.section(section.clone()).await.unwrap();
        for chunk in chunks {
            writer.chunk(chunk.clone()).await.unwrap();
        }
    }
    writer.finish(Vec::new()).await.unwrap()
}

fn chunk(folder: &Path, name: &ChunkName) -> std::path::PathBuf {
    let name = name.to_string();
    folder.join("chunks").join(&name[..2]).join(name)
}

/// A bit of a chunk is another, its length is not: a backup that reads what it counts on stores it again, and every backup that
/// has it is whole again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_of_the_same_length_is_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let first = write(&repository, keys(), &parts(0)).await.unwrap();
    let path = chunk(folder.path(), &first.manifest.sections[1].chunks[1].name);
    let whole = std::fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[20] ^= 1;
    std::fs::write(&path, &changed).unwrap();
    let second = write(&repository, keys(), &parts(0)).await.unwrap();
    assert_eq!(second.new_chunks, 0);
    assert!(read(&repository, keys(), second.manifest.id).await.is_err());
    let third = write_checking(&repository, &parts(0)).await;
    assert_eq!(third.new_chunks, 1, "that one and no other");
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    for one in [&first, &second, &third] {
        assert_eq!(read(&repository, keys(), one.manifest.id).await.unwrap(), parts(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_does_not_open_is_removed_and_chunks_that_no_backup_has_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let first = write(&repository, keys(), &parts(0x40)).await.unwrap();
    let second = write(&repository, keys(), &parts(0)).await.unwrap();
    assert_eq!(repository.unlisted().await.unwrap(), 0);
    let path = folder.path().join("backups").join(first.manifest.id.to_string());
    std::fs::write(&path, b"nothing").unwrap();
    assert!(repository.unlisted().await.is_err(), "nobody knows which chunks it has");
    repository.remove(first.manifest.id).await.unwrap();
    assert!(!path.exists());
    assert_eq!(repository.unlisted().await.unwrap(), first.new_chunks);
    let third = write(&repository, keys(), &parts(7)).await.unwrap();
    repository.discard(&[]).await.unwrap();
    assert_eq!(repository.unlisted().await.unwrap(), 0);
    let pruned = repository.discard(&[third.manifest.id, first.manifest.id]).await.unwrap();
    assert_eq!((pruned.backups, pruned.chunks), (1, third.new_chunks), "one was not there any more");
    assert_eq!(repository.backups().await.unwrap(), [second.manifest.id]);
    assert_eq!(read(&repository, keys(), second.manifest.id).await.unwrap(), parts(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_that_are_damaged_or_none_stop_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    repository.keep_receipt([1; 16], b"one").await.unwrap();
    repository.keep_receipt([2; 16], b"two").await.unwrap();
    let receipts = folder.path().join("receipts");
    std::fs::write(receipts.join("notes.txt"), b"a stray one").unwrap();
    std::fs::write(receipts.join("01".repeat(16)), b"cut").unwrap();
    let found = repository.receipts().await.unwrap();
    assert_eq!(found, [([1; 16], Err(Damage::Receipt)), ([2; 16], Ok(b"two".to_vec()))]);
    repository.replace_receipt([1; 16], b"one").await.unwrap();
    assert_eq!(repository.receipts().await.unwrap()[0], ([1; 16], Ok(b"one".to_vec())));
    assert_eq!(repository.receipt_ids().await.unwrap().len(), 2);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_a_folder_is_its_owners_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("repository");
    let repository = repository(&folder).await;
    write(&repository, keys(), &parts(0)).await.unwrap();
    repository.keep_receipt([1; 16], b"one").await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in files(&folder) {
        assert_eq!(mode(&file), 0o600, "{file:?}");
        assert_eq!(mode(file.parent().unwrap()), 0o700, "{file:?}");
    }
    // A link in the place of a folder leads to what is none of its business.
    let elsewhere = above.path().join("elsewhere");
    std::fs::rename(folder.join("receipts"), &elsewhere).unwrap();
    std::fs::set_permissions(&elsewhere, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(&elsewhere, folder.join("receipts")).unwrap();
    repository.keep_receipt([2; 16], b"two").await.unwrap();
    assert_eq!(mode(&elsewhere), 0o755);
}
