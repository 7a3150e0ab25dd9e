//! The few things a ledger needs of a folder, as a trait, so that tests can take power, space and permission
//! away at any moment, and so that something else than a folder can serve: named files that are written at a place,
//! replaced whole, and made durable.

#[cfg(any(test, feature = "conformance"))]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a broken rule is a failed test"
)]
pub mod conformance;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const OWNER_MAY_WRITE: u32 = 0o200;
/// What the name of a file ends with that is about to take the place of another.
pub(crate) const FRESH: &str = ".new";

/// A folder of files. A name may have one folder before it, `log/0`; what there is of those is made when it is needed.
pub trait Storage: Send + Sync {
    /// The names of all files, those in folders with the folder before them.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file to read.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::NotFound`] if there is none of that name.
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Opens a file to read and write, for its owner alone (0600). Makes it if there is none.
    ///
    /// # Errors
    /// What the system says.
    fn open_writable(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file other contents, all at once and durably: whatever happens, the file has the old contents or the
    /// new ones. Makes it if there is none.
    ///
    /// # Errors
    /// What the system says; the file has the old contents then, or the new ones.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable which files there are.
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&self) -> io::Result<()>;

    /// Whether the folder is there and may be written to. Files that are already open could be written to all
    /// the same, so this is asked before each batch: taking the permission away stops the service.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] if not, or what the system says.
    fn check_writable(&self) -> io::Result<()>;

    /// Whether a sync of any file, or a replacement, makes durable in one step all that was written to whatever file until
    /// then: what was written together is there together, or none of it.
    fn is_atomic(&self) -> bool {
        false
    }

    /// How long a sync may take that succeeds in the end, besides the time that a disk takes: a database that fails over
    /// is waited for.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }
}

/// An open file.
pub trait LogFile: Send + Sync {
    /// How long it is.
    ///
    /// # Errors
    /// What the system says.
    fn size(&self) -> io::Result<u64>;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::UnexpectedEof`] if there are fewer bytes.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. After an error, any part of them may have been written.
    ///
    /// # Errors
    /// What the system says.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts it to `size`.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, size: u64) -> io::Result<()>;

    /// Makes what was written durable. After an error nobody knows what is, and trying again on the same open
    /// file proves nothing: Linux reports a lost write once.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self) -> io::Result<()>;

    /// Whether the file still has its name. What is written to a file without one is lost when it is closed.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if not, or what the system says.
    fn check_linked(&self) -> io::Result<()>;
}

/// A folder on a disk, held against other processes.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: File,
}

impl Folder {
    /// Opens a folder, or makes it (0700).
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::WouldBlock`] if another process holds it.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        let handle = File::open(path)?;
        handle.try_lock().map_err(io::Error::from)?;
        Ok(Self { path: path.to_owned(), handle })
    }

    /// A folder as it lies there, to read only, and held against nobody: it may be in use.
    ///
    /// # Errors
    /// What the system says.
    pub fn look(path: &Path) -> io::Result<impl Storage + use<>> {
        let handle = File::open(path)?;
        Ok(Look(Self { path: path.to_owned(), handle }))
    }

    /// The folder inside this one that a file is in, if it is in one; made if there is none.
    fn make_parent(&self, name: &str) -> io::Result<()> {
        let Some((folder, _)) = name.split_once('/') else { return Ok(()) };
        let path = self.path.join(folder);
        if !path.is_dir() {
            std::fs::DirBuilder::new().mode(0o700).create(&path)?;
            self.handle.sync_all()?;
        }
        Ok(())
    }

    fn sync_parent(&self, name: &str) -> io::Result<()> {
        match name.split_once('/') {
            Some((folder, _)) => File::open(self.path.join(folder))?.sync_all(),
            None => self.handle.sync_all(),
        }
    }

    fn list_in(&self, folder: Option<&str>, names: &mut Vec<String>) -> io::Result<()> {
        let path = folder.map_or_else(|| self.path.clone(), |folder| self.path.join(folder));
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            // A name that is no text is none of ours; it is shown as well as it can be.
            let name = entry.file_name().to_string_lossy().into_owned();
            match folder {
                None if entry.file_type()?.is_dir() => self.list_in(Some(&name), names)?,
                None => names.push(name),
                Some(folder) => names.push(format!("{folder}/{name}")),
            }
        }
        Ok(())
    }
}

impl Storage for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        self.list_in(None, &mut names)?;
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(File::open(self.path.join(name))?))
    }

    fn open_writable(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.make_parent(name)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(Arc::new(options.open(self.path.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.make_parent(name)?;
        let (path, fresh) = (self.path.join(name), self.path.join(format!("{name}{FRESH}")));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)?;
        self.sync_parent(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
        for folder in folders {
            File::open(folder)?.sync_all()?;
        }
        self.handle.sync_all()
    }

    fn check_writable(&self) -> io::Result<()> {
        let folder = self.handle.metadata()?;
        if folder.nlink() == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        // The administrator's account passes every permission check, and means it no less when it says no.
        if folder.mode() & OWNER_MAY_WRITE == 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }
}

/// A folder that is only looked at.
struct Look(Folder);

impl Storage for Look {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.0.open(name)
    }

    fn open_writable(&self, _: &str) -> io::Result<Arc<dyn LogFile>> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn replace(&self, _: &str, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync_folder(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn check_writable(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// All bytes of a file.
pub(crate) fn read_all(file: &dyn LogFile) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.size()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// All bytes of a file, or `None` if there is none of that name.
pub(crate) fn read_if_there(storage: &dyn Storage, name: &str) -> io::Result<Option<Vec<u8>>> {
    match storage.open(name) {
        Ok(file) => read_all(&*file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl LogFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, out, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn check_linked(&self) -> io::Result<()> {
        if self.metadata()?.nlink() == 0 { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }
}
