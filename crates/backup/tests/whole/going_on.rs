//! Cut off, taken over, ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use countersign_backup::*;
use countersign_model::{Clock, UnixMs};

use crate::setting::*;

/// The machine's time and so much more.
struct Shifted(AtomicU64);

impl Clock for Shifted {
    fn now(&self) -> UnixMs {
        countersign_model::clock::SystemClock.now().plus_ms(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_cut_off_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let mut writer = repository.begin(keys(), Arc::new(())).await.unwrap();
    let all = parts(0);
    let (section, chunks) = &all[1];
    writer.section(section.clone()).await.unwrap();
    for chunk in chunks {
        writer.chunk(chunk.clone()).await.unwrap();
    }
    // Whoever ends the section knows that all of it is stored.
    writer.section(Section::Control).await.unwrap();
    std::mem::forget(writer);
    // What a crash leaves of an object that was being written counts for nothing.
    std::fs::write(folder.path().join("chunks").join("half#1"), b"half").unwrap();
    assert!(repository.backups().await.unwrap().is_empty(), "it was never a backup");

    let busy = repository.begin(keys(), Arc::new(())).await.unwrap_err();
    assert_eq!(busy, BackupError::InUse { minutes: 15 });
    let later = Tools { clock: Arc::new(Shifted(AtomicU64::new(16 * 60_000))), ..Tools::system() };
    let place = Place::folder(folder.path()).unwrap();
    let header = Header::read(&place).await.unwrap();
    let later = Repository::open(place, &header, &key(), later).unwrap();
    let finished = write(&later, keys(), &parts(0)).await.unwrap();
    assert_eq!(finished.new_chunks, 5, "three are there");
    assert_eq!(read(&repository, keys(), finished.manifest.id).await.unwrap(), parts(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stood_still_for_too_long_stops() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let mut writer = repository.begin(keys(), Arc::new(())).await.unwrap();
    writer.section(Section::Control).await.unwrap();
    writer.chunk(vec![1; 100]).await.unwrap();
    let place = Place::folder(folder.path()).unwrap();
    let header = Header::read(&place).await.unwrap();
    let later = Tools { clock: Arc::new(Shifted(AtomicU64::new(3_600_000))), ..Tools::system() };
    let other = Repository::open(place, &header, &key(), later).unwrap();
    other.prune(&[]).await.unwrap();
    assert_eq!(writer.finish(vec![]).await.unwrap_err(), BackupError::TakenOver);
    assert!(repository.backups().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_removed_while_a_backup_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let writer = repository.begin(keys(), Arc::new(())).await.unwrap();
    let busy = repository.prune(&[]).await;
    assert!(matches!(busy, Err(BackupError::InUse { .. })), "{busy:?}");
    drop(writer);
    for _ in 0..500 {
        if repository.prune(&[]).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("a lock that nobody holds stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_go_while_a_backup_counts_on_them_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    write(&repository, keys(), &parts(0)).await.unwrap();
    let mut writer = repository.begin(keys(), Arc::new(())).await.unwrap();
    writer.section(Section::Control).await.unwrap();
    writer.chunk(parts(0)[0].1[0].clone()).await.unwrap();
    std::fs::remove_dir_all(folder.path().join("chunks")).unwrap();
    assert_eq!(writer.finish(vec![]).await.unwrap_err(), Damage::Removed.into());
}

#[derive(Default)]
struct Ending {
    bytes: AtomicU64,
    ends: AtomicBool,
}

impl Watch for Ending {
    fn reached(&self, bytes: u64, _: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_watched_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let watch = Arc::new(Ending::default());
    let mut writer = repository.begin(keys(), Arc::clone(&watch) as Arc<dyn Watch>).await.unwrap();
    writer.section(Section::Control).await.unwrap();
    for number in 0..10u8 {
        writer.chunk(vec![number; 1000]).await.unwrap();
    }
    writer.section(Section::File("x".into())).await.unwrap();
    assert_eq!(watch.bytes.load(Ordering::Relaxed), 10_000);
    watch.ends.store(true, Ordering::Relaxed);
    assert_eq!(writer.chunk(vec![1]).await.unwrap_err(), BackupError::Cancelled);
    assert_eq!(writer.finish(vec![]).await.unwrap_err(), BackupError::Cancelled);
    assert!(repository.backups().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let mut writer = repository.begin(keys(), Arc::new(())).await.unwrap();
    let misuse = |error| matches!(error, BackupError::Misuse(_));
    assert!(misuse(writer.chunk(vec![1]).await.unwrap_err()), "no section");
    assert!(misuse(writer.note(vec![]).unwrap_err()));
    writer.section(Section::Control).await.unwrap();
    assert!(misuse(writer.section(Section::Control).await.unwrap_err()));
    assert!(misuse(writer.section(Section::File(String::new())).await.unwrap_err()));
    assert!(misuse(writer.section(Section::File("x".repeat(256))).await.unwrap_err()));
    assert!(misuse(writer.chunk(vec![]).await.unwrap_err()));
    assert!(misuse(writer.chunk(vec![0; CHUNK_MAX + 1]).await.unwrap_err()));
}
