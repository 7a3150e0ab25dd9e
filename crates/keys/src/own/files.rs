//! Own keys in files of one folder, each named after its id.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use countersign_model::Entropy;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::OwnKeyId;
use crate::guarded_file::{FileFault, read, sync_folder, write_new};
use crate::kms::KmsError;

/// The folder of the own keys of the provider whose key file is at `path`: `kms.own` beside `kms.key`.
pub(crate) struct OwnFiles(PathBuf);

impl OwnFiles {
    pub(crate) fn beside(path: &Path) -> Self {
        Self(path.with_extension("own"))
    }

    fn file_of(&self, own: OwnKeyId) -> PathBuf {
        self.0.join(own.to_string())
    }

    /// Writes the file of a new own key. It appears whole or not at all.
    pub(crate) fn make(&self, own: OwnKeyId, bytes: &[u8], entropy: &dyn Entropy) -> Result<(), KmsError> {
        let made = match DirBuilder::new().mode(0o700).create(&self.0) {
            Ok(()) => sync_folder(&self.0).map_err(FileFault::Io),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(FileFault::Io(error)),
        };
        made.map_err(|fault| at(&self.0, fault))?;
        let path = self.file_of(own);
        write_new(&path, bytes, entropy).map_err(|fault| at(&path, fault))
    }

    /// What the file of an own key holds, at most `bytes_max`; [`KmsError::Destroyed`] without one.
    pub(crate) fn read(&self, own: OwnKeyId, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let path = self.file_of(own);
        match read(&path, bytes_max) {
            // Overwritten, and then the power went.
            Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => Err(KmsError::Destroyed),
            Ok(bytes) => Ok(bytes),
            Err(FileFault::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                // Without its folder nobody knows what was destroyed.
                File::open(&self.0).map_err(|error| at(&self.0, error.into()))?;
                Err(KmsError::Destroyed)
            }
            Err(fault) => Err(at(&path, fault)),
        }
    }

    /// Overwrites the file, and only then removes it.
    pub(crate) fn destroy(&self, own: OwnKeyId) -> Result<(), KmsError> {
        let path = self.file_of(own);
        destroy(&path).map_err(|error| at(&path, error.into()))
    }

    pub(crate) fn list(&self) -> Result<Vec<OwnKeyId>, KmsError> {
        let list = || {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(&self.0)? {
                // Only names as they are made here: what a crash left half written has another.
                found.extend(entry?.file_name().to_str().and_then(OwnKeyId::parse));
            }
            Ok(found)
        };
        match list() {
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(|error: io::Error| at(&self.0, error.into())),
        }
    }
}

fn destroy(path: &Path) -> io::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let length = usize::try_from(file.metadata()?.len().min(4096)).unwrap_or(4096);
    file.write_all(&vec![0; length])?;
    file.sync_all()?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_folder(path)
}

fn at(path: &Path, fault: FileFault) -> KmsError {
    KmsError::File { path: path.to_owned(), fault }
}
