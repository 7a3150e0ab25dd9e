//! The key management service for one machine: a key in a file that only the program's user can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use countersign_crypto::{Aad, KeyEncryptionKey, SecretKey};
use countersign_model::Entropy;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::kms::{KmsError, KmsProvider};

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
    #[error("does not hold exactly {} bytes", SecretKey::BYTES)]
    Length,
}

/// A key encryption key in a file of 32 bytes with mode 0600.
pub struct FileKms(KeyEncryptionKey);

impl FileKms {
    /// Makes a new random key and the file `path` for it.
    ///
    /// The file appears whole or not at all: a crash leaves no half of a key.
    ///
    /// # Errors
    /// [`KmsError::File`]; with [`FileFault::Exists`] if there is anything at `path`.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, KmsError> {
        let key = SecretKey::generate(entropy);
        write_new(path, key.expose(), entropy).map_err(at(path))?;
        Ok(Self(KeyEncryptionKey::new(&key)))
    }

    /// Opens the key that [`Self::create`] made.
    ///
    /// # Errors
    /// [`KmsError::File`] if it can't be read, is a link, belongs to another user, is open to group or others,
    /// or doesn't hold exactly one key.
    pub fn open(path: &Path) -> Result<Self, KmsError> {
        let key = read_guarded(path).map_err(at(path))?;
        Ok(Self(KeyEncryptionKey::new(&key)))
    }
}

impl KmsProvider for FileKms {
    fn wrap(&self, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        Ok(self.0.wrap(entropy, aad, key))
    }

    fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        self.0.unwrap_key(aad, wrapped).map_err(|_| KmsError::NotAuthentic)
    }

    fn name(&self) -> &'static str {
        "file"
    }
}

fn at(path: &Path) -> impl FnOnce(FileFault) -> KmsError {
    move |fault| KmsError::File { path: path.to_owned(), fault }
}

/// Writes the key beside `path` and then gives it its name: linking fails where renaming would overwrite.
fn write_new(path: &Path, key: &[u8], entropy: &dyn Entropy) -> Result<(), FileFault> {
    let beside = beside(path, entropy);
    let written = write_and_link(&beside, path, key);
    let removed = fs::remove_file(&beside);
    written?;
    removed?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn write_and_link(beside: &Path, path: &Path, key: &[u8]) -> Result<(), FileFault> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(beside)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::hard_link(beside, path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => FileFault::Exists,
        _ => FileFault::Io(error),
    })
}

fn beside(path: &Path, entropy: &dyn Entropy) -> PathBuf {
    let mut random = [0u8; 8];
    entropy.fill(&mut random);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}.new", u64::from_be_bytes(random)));
    PathBuf::from(name)
}

fn read_guarded(path: &Path) -> Result<SecretKey, FileFault> {
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
    if metadata.len() != SecretKey::BYTES as u64 {
        return Err(FileFault::Length);
    }
    let mut bytes = Zeroizing::new([0u8; SecretKey::BYTES]);
    file.read_exact(bytes.as_mut())?;
    Ok(SecretKey::from_bytes(*bytes))
}

#[cfg(test)]
mod tests;
