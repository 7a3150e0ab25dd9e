//! Everything that can be done to a repository, and what it is called then.

use std::path::{Path, PathBuf};

use countersign_backup::*;

use crate::setting::*;

struct Made {
    folder: tempfile::TempDir,
    repository: Repository,
    /// An older backup of other content, and the one that is read.
    older: Finished,
    backup: Finished,
}

async fn made() -> Made {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path()).await;
    let older = write(&repository, keys(), &parts(0x40)).await.unwrap();
    let backup = write(&repository, keys(), &parts(0)).await.unwrap();
    Made { folder, repository, older, backup }
}

impl Made {
    fn chunk(&self, name: &ChunkName) -> PathBuf {
        let name = name.to_string();
        self.folder.path().join("chunks").join(&name[..2]).join(name)
    }

    fn manifest(&self, id: BackupId) -> PathBuf {
        self.folder.path().join("backups").join(id.to_string())
    }

    /// Reads all of it as a restore does: opened anew, held against what is on record, checked, and only then given.
    async fn restore(&self) -> Result<Parts, BackupError> {
        let place = Place::folder(self.folder.path()).unwrap();
        let header = Header::read(&place).await?;
        let repository = Repository::open(place, &header, &key(), Tools::system())?;
        repository.expect(self.repository.id())?;
        let (manifest, _) = repository.manifest(self.backup.manifest.id, Some(self.backup.digest)).await?;
        let id = manifest.id;
        read(&repository, keys(), id).await
    }

    async fn damage(&self) -> Damage {
        match self.restore().await {
            Err(BackupError::Damaged(damage)) => damage,
            other => panic!("{other:?}"),
        }
    }
}

fn flipped(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[place] ^= 0x10;
    changed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_by_name() {
    let made = made().await;
    assert_eq!(made.restore().await.unwrap(), parts(0));
    let older_digests: Vec<_> = made.older.manifest.sections.iter().flat_map(|one| &one.chunks).collect();
    let all: Vec<(Section, usize, ChunkEntry)> = made
        .backup
        .manifest
        .sections
        .iter()
        .flat_map(|one| one.chunks.iter().enumerate().map(|(place, chunk)| (one.section.clone(), place, *chunk)))
        .collect();
    for (section, place, chunk) in &all {
        let (section, place, path) = (section.clone(), *place, made.chunk(&chunk.name));
        let whole = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(made.damage().await, Damage::ChunkMissing { section: section.clone(), place });
        for length in (0..whole.len()).step_by(37).chain([whole.len() - 1]) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(made.damage().await, Damage::ChunkTruncated { section: section.clone(), place });
        }
        for at in (0..whole.len()).step_by(29).chain([0, 1, 5, whole.len() - 1]) {
            std::fs::write(&path, flipped(&whole, at)).unwrap();
            assert_eq!(made.damage().await, Damage::ChunkDamaged { section: section.clone(), place });
        }
        std::fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
        assert_eq!(made.damage().await, Damage::ChunkDamaged { section: section.clone(), place });
        for (of, number, other) in &all {
            if other.name != chunk.name {
                std::fs::copy(made.chunk(&other.name), &path).unwrap();
                let (section, found) = (section.clone(), of.clone());
                let expected = match *of == section {
                    true => Damage::ChunkReordered { section, place, found: *number },
                    false => Damage::ChunkOfOtherSection { section, place, found },
                };
                assert_eq!(made.damage().await, expected);
            }
        }
        let older = older_digests.iter().find(|older| older.bytes == chunk.bytes).unwrap();
        std::fs::copy(made.chunk(&older.name), &path).unwrap();
        let found = made.damage().await;
        let is_named = matches!(&found, Damage::ChunkOfOtherBackup { found, .. } if *found == made.older.manifest.id)
            || matches!(&found, Damage::ChunkOfOtherSection { found, .. } if *found != section);
        assert!(is_named, "{found:?}");
        std::fs::write(&path, &whole).unwrap();
    }
    assert_eq!(made.restore().await.unwrap(), parts(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_by_name() {
    let made = made().await;
    let (id, path) = (made.backup.manifest.id, made.manifest(made.backup.manifest.id));
    let whole = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(made.damage().await, Damage::ManifestMissing(id));
    for length in (0..whole.len()).step_by(17).chain([whole.len() - 1]) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(made.damage().await, Damage::ManifestTruncated(id), "{length}");
    }
    for at in 0..whole.len() {
        std::fs::write(&path, flipped(&whole, at)).unwrap();
        let found = made.damage().await;
        let named = [Damage::ManifestDamaged(id), Damage::ManifestTruncated(id)];
        assert!(named.contains(&found), "{at}: {found:?}");
    }
    std::fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    assert_eq!(made.damage().await, Damage::ManifestDamaged(id));

    // Another's, an older one's under this name, and another repository's.
    std::fs::copy(made.manifest(made.older.manifest.id), &path).unwrap();
    let expected = Damage::ManifestOfAnother { backup: id, found: made.older.manifest.id };
    assert_eq!(made.damage().await, expected);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = repository(elsewhere.path()).await;
    let foreign = write(&other, keys(), &parts(0)).await.unwrap();
    let foreign = elsewhere.path().join("backups").join(foreign.manifest.id.to_string());
    std::fs::copy(foreign, &path).unwrap();
    assert_eq!(made.damage().await, Damage::ManifestOfOtherRepository { backup: id, found: other.id() });

    // One that is whole and of this name, and not the one on record.
    std::fs::write(&path, &whole).unwrap();
    let swapped = made.repository.manifest(id, Some(made.older.digest)).await.unwrap_err();
    assert_eq!(swapped, Damage::ManifestSwapped(id).into());
    assert_eq!(made.restore().await.unwrap(), parts(0));

    // What is to stay must open, or nothing is removed.
    std::fs::write(&path, flipped(&whole, 100)).unwrap();
    let before = files(made.folder.path());
    assert_eq!(made.repository.prune(&[id]).await.unwrap_err(), Damage::ManifestDamaged(id).into());
    let after: Vec<PathBuf> = files(made.folder.path()).into_iter().filter(|path| !path.ends_with("lock")).collect();
    assert_eq!(after, before);
    let listed = made.repository.list().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed[0].manifest.is_ok());
    assert_eq!(listed[1].manifest.as_ref().err(), Some(&Damage::ManifestDamaged(id)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_by_name() {
    let made = made().await;
    let path = made.folder.path().join("repository");
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(made.damage().await, Damage::Header);
    }
    for at in 0..whole.len() {
        std::fs::write(&path, flipped(&whole, at)).unwrap();
        let found = made.damage().await;
        let named = matches!(found, Damage::Header | Damage::NewerFormat { .. } | Damage::UnknownKey);
        assert!(named, "{at}: {found:?}");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(made.restore().await.unwrap_err(), BackupError::NoRepository);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = repository(elsewhere.path()).await;
    std::fs::copy(elsewhere.path().join("repository"), &path).unwrap();
    let expected = Damage::OtherRepository { expected: made.repository.id(), found: other.id() };
    assert_eq!(made.damage().await, expected);
}

/// Any two objects changed for one another: something is named, and nothing is given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_two_objects_swapped() {
    let made = made().await;
    let needed = |path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let sections = &made.backup.manifest.sections;
        name == "repository"
            || name == made.backup.manifest.id.to_string()
            || sections.iter().flat_map(|one| &one.chunks).any(|chunk| chunk.name.to_string() == name)
    };
    let all = files(made.folder.path());
    let mut swapped = 0;
    for (place, one) in all.iter().enumerate() {
        for other in &all[place + 1..] {
            if !needed(one) && !needed(other) {
                continue;
            }
            let (left, right) = (std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
            std::fs::write(one, &right).unwrap();
            std::fs::write(other, &left).unwrap();
            assert!(matches!(made.restore().await, Err(BackupError::Damaged(_))), "{one:?} {other:?}");
            std::fs::write(one, &left).unwrap();
            std::fs::write(other, &right).unwrap();
            swapped += 1;
        }
    }
    assert!(swapped > 100);
    assert_eq!(made.restore().await.unwrap(), parts(0));
}

/// What was damaged is stored again by the next backup, if it is gone or of another size; what looks the same is for a trial to
/// find.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_stored_again() {
    let made = made().await;
    let chunks = made.backup.manifest.sections.iter().flat_map(|one| &one.chunks).collect::<Vec<_>>();
    std::fs::remove_file(made.chunk(&chunks[0].name)).unwrap();
    std::fs::write(made.chunk(&chunks[1].name), b"short").unwrap();
    assert!(made.restore().await.is_err());
    let again = write(&made.repository, keys(), &parts(0)).await.unwrap();
    assert_eq!(again.new_chunks, 2);
    assert_eq!(made.restore().await.unwrap(), parts(0));
}
