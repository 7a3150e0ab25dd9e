//! Where a repository is: a folder or an object store, as a few operations on named objects.

use std::future::Future;
use std::io::ErrorKind;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};

use crate::error::{BackupError, Unreachable};

/// What is larger is asked of an object store with as much time as its size takes.
const LARGE: usize = (1 << 20) + 1024;
/// The fewest bytes a second that a line to an object store is taken to have.
const SLOWEST: u64 = 64 << 10;

/// How long a folder is waited for: it may be on a disk that is mounted over a network.
const FOLDER: Duration = Duration::from_secs(60);

/// More names than this below one prefix are no repository's: chunks of 2 MiB would be 20 TB. They take some 1 GB while they
/// are looked at.
const NAMES_MAX: usize = 10_000_000;

/// A folder, or a place in an object store.
#[derive(Clone)]
pub struct Place {
    objects: Arc<dyn ObjectStore>,
    /// The same, with time for what is large.
    large: Arc<dyn ObjectStore>,
    /// How long an answer may take, if that is limited.
    patience: Option<Duration>,
    /// Where it is, if it is a folder of this machine.
    folder: Option<Arc<FsPath>>,
    /// More than these are not listed.
    names_max: usize,
}

impl Place {
    /// A folder, made if it is not there, for its owner alone. Objects in it come to be whole and durable: they are written
    /// under another name, synced, and renamed, and then the folder is synced.
    ///
    /// # Errors
    /// If it can't be made or opened.
    pub fn folder(path: &FsPath) -> Result<Self, BackupError> {
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(path).map_err(|error| io_fault(error.kind()))?;
        let store = LocalFileSystem::new_with_prefix(path).map_err(|error| fault(&error))?.with_fsync(true);
        Ok(Self { folder: Some(Arc::from(path)), patience: Some(FOLDER), ..Self::of(Arc::new(store)) })
    }

    /// A folder that is there, for reading from it.
    ///
    /// # Errors
    /// [`BackupError::NoRepository`] if it is not.
    pub fn existing_folder(path: &FsPath) -> Result<Self, BackupError> {
        if !path.is_dir() {
            return Err(BackupError::NoRepository);
        }
        Self::folder(path)
    }

    /// Any object store that makes an object whole or not at all, can make one only if there is none, and lists what there
    /// is.
    #[must_use]
    pub fn of(objects: Arc<dyn ObjectStore>) -> Self {
        Self { large: Arc::clone(&objects), objects, patience: None, folder: None, names_max: NAMES_MAX }
    }

    /// An object store far away, as it is asked for what is small and for what is large. No answer is waited for longer than
    /// about twice this, and as long as what is asked for takes on a slow line.
    pub(crate) fn remote(objects: Arc<dyn ObjectStore>, large: Arc<dyn ObjectStore>, patience: Duration) -> Self {
        Self { objects, large, patience: Some(patience), folder: None, names_max: NAMES_MAX }
    }

    fn objects(&self, most: usize) -> &dyn ObjectStore {
        if most > LARGE { &*self.large } else { &*self.objects }
    }

    async fn within<T>(
        &self,
        bytes: u64,
        work: impl Future<Output = object_store::Result<T>> + Send,
    ) -> Result<object_store::Result<T>, BackupError> {
        let Some(patience) = self.patience else { return Ok(work.await) };
        let limit = patience.saturating_mul(2).saturating_add(time_of(bytes));
        tokio::time::timeout(limit, work).await.map_err(|_| Unreachable::NoAnswer.into())
    }

    /// What was just written in a folder is its owner's alone, whatever the process would have it otherwise. A file system
    /// without modes has nothing to set.
    async fn make_private(&self, name: &str) {
        let Some(folder) = self.folder.clone() else { return };
        let name = name.to_owned();
        drop(tokio::task::spawn_blocking(move || make_private(&folder, &name)).await);
    }

    /// What is stored under a name, if it is not larger than `most`.
    pub(crate) async fn get(&self, name: &str, most: usize) -> Result<Option<Bytes>, BackupError> {
        let objects = self.objects(most);
        let found = match self.within(0, objects.get(&Path::from(name))).await? {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(fault(&error).into()),
        };
        let size = usize::try_from(found.meta.size).unwrap_or(usize::MAX);
        if size <= most {
            let bytes = found.meta.size;
            return match self.within(bytes, found.bytes()).await? {
                Ok(bytes) => Ok(Some(bytes)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(fault(&error).into()),
            };
        }
        // Longer than it can be: as much as shows that.
        let most = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let (name, bytes) = (Path::from(name), most);
        let front = self.within(bytes, objects.get_range(&name, 0..most)).await?;
        front.map(Some).map_err(|error| fault(&error).into())
    }

    /// Stores under a name, in place of what there is. Durable when it returns.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), BackupError> {
        let (objects, path, size) = (self.objects(bytes.len()), Path::from(name), bytes.len() as u64);
        let put = self.within(size, objects.put(&path, bytes.into())).await?;
        put.map_err(|error| fault(&error))?;
        self.make_private(name).await;
        Ok(())
    }

    /// Stores under a name if there is nothing. Whether it did.
    pub(crate) async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool, BackupError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let (objects, path, size) = (self.objects(bytes.len()), Path::from(name), bytes.len() as u64);
        match self.within(size, objects.put_opts(&path, bytes.into(), options)).await? {
            Ok(_) => {
                self.make_private(name).await;
                Ok(true)
            }
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(fault(&error).into()),
        }
    }

    /// Removes; what is not there is removed already.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), BackupError> {
        match self.within(0, self.objects.delete(&Path::from(name))).await? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(fault(&error).into()),
        }
    }

    /// The last part of the name and the size of everything below a prefix, in the order of the names.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, BackupError> {
        let path = Path::from(prefix);
        let mut found = self.objects.list(Some(&path));
        let mut names = Vec::new();
        while let Some(meta) = self.within(0, found.try_next()).await?.map_err(|error| fault(&error))? {
            if names.len() >= self.names_max {
                return Err(Unreachable::TooMany.into());
            }
            names.extend(meta.location.filename().map(|name| (name.to_owned(), meta.size)));
        }
        names.sort_unstable();
        Ok(names)
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

/// How long so much takes on a slow line.
pub(crate) const fn time_of(bytes: u64) -> Duration {
    Duration::from_secs(bytes.div_ceil(SLOWEST))
}

#[cfg(unix)]
fn make_private(root: &FsPath, name: &str) -> std::io::Result<()> {
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    // Whoever can write to the folder could have put a link there, to something that is nobody's repository.
    let set = |path: &FsPath, mode: u32| {
        let there = std::fs::symlink_metadata(path)?;
        if there.is_symlink() || there.mode() & 0o077 == 0 {
            return Ok(());
        }
        let opened = std::fs::File::open(path)?;
        let found = opened.metadata()?;
        match (found.dev(), found.ino()) == (there.dev(), there.ino()) {
            true => opened.set_permissions(Permissions::from_mode(mode)),
            false => Ok(()),
        }
    };
    set(&root.join(name), 0o600)?;
    let above = FsPath::new(name).ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
    above.map(|folder| root.join(folder)).try_for_each(|folder| set(&folder, 0o700))
}

#[cfg(not(unix))]
fn make_private(_: &FsPath, _: &str) -> std::io::Result<()> {
    Ok(())
}

const fn io_fault(kind: ErrorKind) -> Unreachable {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Unreachable::Full,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Unreachable::Refused,
        ErrorKind::NotFound | ErrorKind::NotADirectory => Unreachable::NoPlace,
        _ => Unreachable::NoAnswer,
    }
}

/// What went wrong, without what the other side said of it.
pub(crate) fn fault(error: &object_store::Error) -> Unreachable {
    use object_store::Error;
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Unreachable::Refused,
        Error::NotFound { .. } => Unreachable::NoPlace,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => Unreachable::Lacking,
        Error::InvalidPath { .. } | Error::UnknownConfigurationKey { .. } => Unreachable::Settings,
        _ => {
            let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
            while let Some(one) = cause {
                if let Some(io) = one.downcast_ref::<std::io::Error>() {
                    return io_fault(io.kind());
                }
                cause = one.source();
            }
            Unreachable::NoAnswer
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    /// A store that never comes to an end is not listened to for ever.
    #[tokio::test]
    async fn no_more_names_are_listed_than_a_repository_can_have() {
        let place = Place { names_max: 3, ..Place::of(Arc::new(InMemory::new())) };
        for number in 0..3 {
            place.put(&format!("chunks/{number}"), vec![1]).await.unwrap();
        }
        assert_eq!(place.list("chunks").await.unwrap().len(), 3);
        place.put("chunks/3", vec![1]).await.unwrap();
        assert_eq!(place.list("chunks").await.unwrap_err(), Unreachable::TooMany.into());
    }

    #[tokio::test]
    async fn what_is_large_gets_more_time_and_nothing_gets_all() {
        assert_eq!(time_of(32 << 20), Duration::from_secs(512));
        let store = Arc::new(InMemory::new());
        let place = Place::remote(Arc::clone(&store) as _, store, Duration::from_millis(20));
        let never = || std::future::pending::<object_store::Result<()>>();
        assert_eq!(place.within(0, never()).await.unwrap_err(), Unreachable::NoAnswer.into());
        let slow = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok::<_, object_store::Error>(())
        };
        assert!(place.within(32 << 20, slow).await.is_ok(), "32 MiB on a slow line");
    }
}
