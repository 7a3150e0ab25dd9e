//! Files with secrets: only their owner may use them, and they appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use countersign_model::Entropy;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

const OWNER_ONLY: u32 = 0o600;
const GROUP_AND_OTHERS: u32 = 0o077;

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A file is there already; a key is never overwritten.
    #[error("exists already, and a key is never overwritten")]
    Exists,
    /// A symbolic link, folder, pipe or device.
    #[error("is not a regular file (links are not followed)")]
    NotRegular,
    /// Somebody other than its owner may read or change it.
    #[error("has mode {mode:o}: group and others must have no access (chmod 600)")]
    Access {
        /// The permission bits.
        mode: u32,
    },
    /// It belongs to another user than the one running the program.
    #[error("belongs to user {owner}, but the program runs as user {user}")]
    Owner {
        /// The file's owner.
        owner: u32,
        /// Who the program runs as.
        user: u32,
    },
    /// It doesn't hold exactly one key.
    #[error("does not hold exactly {} bytes", countersign_crypto::SecretKey::BYTES)]
    Length,
    /// It holds nothing, or far more than it should.
    #[error("is empty or too large")]
    Size,
    /// It holds something other than text.
    #[error("does not hold text in UTF-8")]
    NotText,
}

/// Writes a new file beside `path` and then gives it its name: linking fails where renaming would overwrite.
pub(crate) fn write_new(path: &Path, bytes: &[u8], entropy: &dyn Entropy) -> Result<(), FileFault> {
    let beside = beside(path, entropy);
    let linked = write(&beside, bytes).and_then(|()| {
        fs::hard_link(&beside, path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => FileFault::Exists,
            _ => FileFault::Io(error),
        })
    });
    let removed = fs::remove_file(&beside);
    linked?;
    removed?;
    Ok(sync_folder(path)?)
}

/// Replaces the file at `path`: afterwards, crash or not, there is the old one or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8], entropy: &dyn Entropy) -> Result<(), FileFault> {
    let beside = beside(path, entropy);
    if let Err(fault) = write(&beside, bytes).and_then(|()| Ok(fs::rename(&beside, path)?)) {
        let _ = fs::remove_file(&beside);
        return Err(fault);
    }
    Ok(sync_folder(path)?)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FileFault> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}

/// The folder that `path` is in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn beside(path: &Path, entropy: &dyn Entropy) -> PathBuf {
    let mut random = [0u8; 8];
    entropy.fill(&mut random);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}.new", u64::from_be_bytes(random)));
    PathBuf::from(name)
}

/// What the file holds, at most `bytes_max`; refused unless it is a regular file that its owner alone can use.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, FileFault> {
    // Everything is asked of the file that was opened, so that nothing can be exchanged in between. Opening
    // must not follow a link, nor wait for the other end of a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| {
        match error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            true => FileFault::NotRegular,
            false => FileFault::Io(error),
        }
    })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileFault::NotRegular);
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(FileFault::Owner { owner: metadata.uid(), user });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & GROUP_AND_OTHERS != 0 {
        return Err(FileFault::Access { mode });
    }
    let length = usize::try_from(metadata.len()).map_err(|_| FileFault::Size)?;
    if length == 0 || metadata.len() > bytes_max {
        return Err(FileFault::Size);
    }
    // The buffer never grows, so that no copy of a secret is left behind.
    let mut bytes = Zeroizing::new(vec![0; length]);
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
