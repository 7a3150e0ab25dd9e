//! Where a repository is: a folder or an object store, as a few operations on named objects.

use std::io::ErrorKind;
use std::path::Path as FsPath;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};

use crate::error::{BackupError, Unreachable};

/// A folder, or a place in an object store.
#[derive(Clone)]
pub struct Place {
    objects: Arc<dyn ObjectStore>,
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
        Ok(Self::of(Arc::new(store)))
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
        Self { objects }
    }

    /// What is stored under a name, if it is not larger than `most`.
    pub(crate) async fn get(&self, name: &str, most: usize) -> Result<Option<Bytes>, BackupError> {
        let found = match self.objects.get(&Path::from(name)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(fault(&error).into()),
        };
        let size = usize::try_from(found.meta.size).unwrap_or(usize::MAX);
        if size <= most {
            return match found.bytes().await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(fault(&error).into()),
            };
        }
        // Longer than it can be: as much as shows that.
        let most = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let front = self.objects.get_range(&Path::from(name), 0..most).await;
        front.map(Some).map_err(|error| fault(&error).into())
    }

    /// Stores under a name, in place of what there is. Durable when it returns.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), BackupError> {
        let put = self.objects.put(&Path::from(name), bytes.into()).await;
        put.map(drop).map_err(|error| fault(&error).into())
    }

    /// Stores under a name if there is nothing. Whether it did.
    pub(crate) async fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool, BackupError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects.put_opts(&Path::from(name), bytes.into(), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(fault(&error).into()),
        }
    }

    /// Removes; what is not there is removed already.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), BackupError> {
        match self.objects.delete(&Path::from(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(fault(&error).into()),
        }
    }

    /// The last part of the name and the size of everything below a prefix, in the order of the names.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, BackupError> {
        let path = Path::from(prefix);
        let found: Vec<_> = self.objects.list(Some(&path)).try_collect().await.map_err(|error| fault(&error))?;
        let mut names: Vec<_> =
            found.into_iter().filter_map(|meta| Some((meta.location.filename()?.to_owned(), meta.size))).collect();
        names.sort_unstable();
        Ok(names)
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
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
