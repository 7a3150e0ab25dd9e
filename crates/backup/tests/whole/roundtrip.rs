use std::sync::Arc;

use countersign_backup::*;
use countersign_crypto::SecretKey;

use crate::setting::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_in_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let finished = write(&repository, keys(), &parts(0)).await.unwrap();
    assert_eq!(finished.new_chunks, 8);
    assert_eq!(read(&repository, keys(), finished.manifest.id).await.unwrap(), parts(0));
    let (manifest, digest) = repository.manifest(finished.manifest.id, Some(finished.digest)).await.unwrap();
    assert_eq!((&manifest, digest), (&finished.manifest, finished.digest));
    assert_eq!(manifest.note, b"all of it");
    let note = &manifest.section(&Section::Tenant(tenant(1))).unwrap().note;
    assert!(note.starts_with(b"tenant "), "{note:?}");
    assert_eq!(repository.backups().await.unwrap(), [manifest.id]);
    assert!(!folder.path().join("lock").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_not_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let first = write(&repository, keys(), &parts(0)).await.unwrap();
    let before = files(folder.path());
    let second = write(&repository, keys(), &parts(0)).await.unwrap();
    assert_eq!((second.new_chunks, second.manifest.sections.clone()), (0, first.manifest.sections.clone()));
    let after = files(folder.path());
    assert_eq!(after.len(), before.len() + 1, "only a manifest");
    assert!(second.manifest.id > first.manifest.id);
    assert_eq!(read(&repository, keys(), second.manifest.id).await.unwrap(), parts(0));

    // One chunk is changed: that one is new.
    let mut changed = parts(0);
    changed[1].1[1] = b"something else".to_vec();
    assert_eq!(write(&repository, keys(), &changed).await.unwrap().new_chunks, 1);

    // Under a new key of the tenants', nothing of theirs is as it was.
    let newer = Arc::new(Keys { epoch: 2, ..Keys::default() });
    let finished = write(&repository, Arc::clone(&newer), &parts(0)).await.unwrap();
    assert_eq!(finished.new_chunks, 5);
    assert_eq!(read(&repository, newer, finished.manifest.id).await.unwrap(), parts(0));

    // Backups that go take with them what no other has.
    let keep = [second.manifest.id, finished.manifest.id];
    let pruned = repository.prune(&keep).await.unwrap();
    assert_eq!((pruned.backups, pruned.chunks), (2, 1));
    for id in keep {
        assert_eq!(read(&repository, keys(), id).await.unwrap(), parts(0));
    }
    assert_eq!(repository.backups().await.unwrap(), keep);
    assert_eq!(repository.prune(&keep[1..]).await.unwrap().chunks, 5);
    let gone = repository.prune(&[first.manifest.id]).await.unwrap_err();
    assert_eq!(gone, Damage::ManifestMissing(first.manifest.id).into());
    assert_eq!(repository.prune(&[]).await.unwrap().backups, 1);
    assert_eq!(files(folder.path()).len(), 1, "the header");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_cut_at_fixed_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let log: Vec<u8> = (0..5_300_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (length, new) in [(5_000_000, 3), (5_300_000, 1), (5_300_000, 0)] {
        let mut writer = repository.begin(keys(), Arc::new(())).await.unwrap();
        writer.section(Section::Ledger("keys".into())).await.unwrap();
        for piece in log[..length].chunks(700_001) {
            writer.bytes(piece).await.unwrap();
        }
        let finished = writer.finish(vec![]).await.unwrap();
        assert_eq!(finished.new_chunks, new, "{length}");
        let parts = read(&repository, keys(), finished.manifest.id).await.unwrap();
        assert_eq!(parts[0].1.concat(), log[..length]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_wrong_or_gone() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let id = write(&repository, keys(), &parts(0)).await.unwrap().manifest.id;
    let place = Place::folder(folder.path()).unwrap();
    let header = Header::read(&place).await.unwrap();
    assert_eq!(header.wrapped_key, b"wrapped");
    let other = SecretKey::from_bytes([8; 32]);
    let opened = Repository::open(place.clone(), &header, &other, Tools::system());
    assert_eq!(opened.unwrap_err(), Damage::UnknownKey.into());
    let again = Repository::create(place, &key(), b"", Tools::system()).await;
    assert_eq!(again.unwrap_err(), BackupError::Exists);
    repository.expect(header.id).unwrap();
    let expected = RepositoryId([3; 16]);
    assert_eq!(repository.expect(expected), Err(Damage::OtherRepository { expected, found: header.id }.into()));

    // An erased tenant's chunks are looked at and not opened; the others are as they were.
    let erased = keys();
    erased.destroyed.lock().insert(tenant(2));
    let (manifest, _) = repository.manifest(id, None).await.unwrap();
    let reader = repository.reader(manifest, Arc::clone(&erased) as Arc<dyn SectionKeys>, Arc::new(()));
    assert_eq!(reader.verify_all().await.unwrap().destroyed, [tenant(2)]);
    let section = Section::Tenant(tenant(2));
    let refused = reader.section(&section).await.unwrap_err();
    assert_eq!(refused, BackupError::Keys { section: section.clone(), why: KeysFailed::Destroyed });
    assert!(reader.section(&Section::Tenant(tenant(1))).await.is_ok());
    let missing = Section::Tenant(tenant(3));
    let refused = reader.section(&missing).await.unwrap_err();
    assert_eq!(refused, Damage::SectionMissing { backup: id, section: missing }.into());

    // A backup goes on without a tenant whose key can't be had.
    let mut writer = repository.begin(erased, Arc::new(())).await.unwrap();
    assert!(matches!(writer.section(section).await, Err(BackupError::Keys { .. })));
    writer.section(Section::Control).await.unwrap();
    writer.chunk(b"facts".to_vec()).await.unwrap();
    assert_eq!(writer.finish(vec![]).await.unwrap().manifest.sections.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    assert!(repository.receipts().await.unwrap().is_empty());
    repository.keep_receipt([2; 16], b"two").await.unwrap();
    repository.keep_receipt([1; 16], b"one").await.unwrap();
    repository.keep_receipt([1; 16], b"not this").await.unwrap();
    let expected = vec![([1; 16], Ok(b"one".to_vec())), ([2; 16], Ok(b"two".to_vec()))];
    assert_eq!(repository.receipts().await.unwrap(), expected);
    let path = folder.path().join("receipts").join("01".repeat(16));
    std::fs::copy(&path, folder.path().join("receipts").join("03".repeat(16))).unwrap();
    assert_eq!(repository.receipts().await.unwrap()[2], ([3; 16], Err(Damage::Receipt)), "another's");
}
