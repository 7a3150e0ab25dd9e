//! The key management service for one machine: keys in files that only the program's user can read.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::{Aad, KeyEncryptionKey, SecretKey, sealed_epoch};
use countersign_model::Entropy;
use parking_lot::RwLock;

use crate::guarded_file::{FileFault, folder, read, write_new};
use crate::kms::{KeyVersion, KmsError, KmsProvider};
use crate::own::{OwnFiles, OwnKeyId, by_own, unwrap_by, wrap_by};

/// Key encryption keys, each in a file of 32 bytes with mode 0600: version 0 in `kms.key`, version N in `kms.key.N`
/// beside it. What a version wrapped unwraps while its file is there. Own keys are in files of the same kind in the folder
/// `kms.own` beside it, and are destroyed by overwriting and removing the file: a copy of that folder is a copy of the keys.
pub struct FileKms {
    path: PathBuf,
    own: OwnFiles,
    makes_own: bool,
    keys: RwLock<BTreeMap<u32, Arc<KeyEncryptionKey>>>,
}

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
        let keys = BTreeMap::from([(0, Arc::new(KeyEncryptionKey::new(&key)))]);
        Ok(Self { path: path.to_owned(), own: OwnFiles::beside(path), makes_own: true, keys: RwLock::new(keys) })
    }

    /// Opens the key that [`Self::create`] made, with every version that rotations made since.
    ///
    /// # Errors
    /// [`KmsError::File`] if one of the files can't be read, is a link, belongs to another user, is open to group or
    /// others, or doesn't hold exactly one key; or if there is none.
    pub fn open(path: &Path) -> Result<Self, KmsError> {
        let kms = Self { path: path.to_owned(), own: OwnFiles::beside(path), makes_own: true, keys: RwLock::default() };
        kms.look()?;
        if kms.keys.read().is_empty() {
            // Says why.
            read_key(path).map_err(at(path))?;
        }
        Ok(kms)
    }

    /// One that makes no own keys, for files of which others have copies: they would not have what is made here. Those that
    /// there are go on being used.
    #[must_use]
    pub fn without_new_own_keys(mut self) -> Self {
        self.makes_own = false;
        self
    }

    fn file_of(&self, version: u32) -> PathBuf {
        if version == 0 {
            return self.path.clone();
        }
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{version}"));
        PathBuf::from(name)
    }

    /// Reads the versions that are in the folder and not in memory, and gives the newest of all.
    fn look(&self) -> Result<u32, KmsError> {
        for version in self.versions_there().map_err(|error| at(&self.path)(error.into()))? {
            if !self.keys.read().contains_key(&version) {
                let path = self.file_of(version);
                let key = KeyEncryptionKey::with_version(&read_key(&path).map_err(at(&path))?, version);
                self.keys.write().entry(version).or_insert_with(|| Arc::new(key));
            }
        }
        Ok(self.keys.read().last_key_value().map_or(0, |(version, _)| *version))
    }

    fn versions_there(&self) -> io::Result<Vec<u32>> {
        let Some(base) = self.path.file_name().and_then(|name| name.to_str()) else { return Ok(vec![0]) };
        let mut found = Vec::new();
        let entries = match fs::read_dir(folder(&self.path)) {
            Ok(entries) => entries,
            // The file itself says better what is wrong.
            Err(_) => return Ok(vec![0]),
        };
        for entry in entries {
            let name = entry?.file_name();
            let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(base)) else { continue };
            match rest.strip_prefix('.').map(str::parse::<u32>) {
                None if rest.is_empty() => found.push(0),
                // Only names as `file_of` makes them: no sign, no leading zero.
                Some(Ok(version)) if version > 0 && rest.get(1..) == Some(version.to_string().as_str()) => {
                    found.push(version);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn own_secret(&self, own: OwnKeyId) -> Result<SecretKey, KmsError> {
        let bytes = self.own.read(own, SecretKey::BYTES as u64)?;
        SecretKey::from_slice(&bytes).ok_or_else(|| at(&self.path.with_extension("own"))(FileFault::Length))
    }

    fn key(&self, version: u32) -> Result<Arc<KeyEncryptionKey>, KmsError> {
        if let Some(key) = self.keys.read().get(&version) {
            return Ok(Arc::clone(key));
        }
        // Another process may have rotated.
        self.look()?;
        self.keys.read().get(&version).cloned().ok_or(KmsError::UnknownVersion(KeyVersion(version)))
    }
}

impl KmsProvider for FileKms {
    fn wrap(&self, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        let newest = self.keys.read().last_key_value().map(|(_, key)| Arc::clone(key));
        Ok(newest.ok_or(KmsError::UnknownVersion(KeyVersion(0)))?.wrap(entropy, aad, key))
    }

    fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        if let Some((own, inner)) = by_own(wrapped) {
            return unwrap_by(&self.own_secret(own)?, own, aad, inner);
        }
        let version = sealed_epoch(wrapped).ok_or(KmsError::NotAuthentic)?;
        self.key(version)?.unwrap_key(aad, wrapped).map_err(|_| KmsError::NotAuthentic)
    }

    fn name(&self) -> &'static str {
        "file"
    }

    fn version(&self) -> Result<KeyVersion, KmsError> {
        Ok(KeyVersion(self.keys.read().last_key_value().map_or(0, |(version, _)| *version)))
    }

    /// Makes the file of the next version. Two that rotate at once don't overwrite each other: one gets
    /// [`FileFault::Exists`].
    fn rotate(&self, entropy: &dyn Entropy) -> Result<KeyVersion, KmsError> {
        let version = self.look()?.checked_add(1).ok_or(KmsError::CannotRotate)?;
        let (key, path) = (SecretKey::generate(entropy), self.file_of(version));
        write_new(&path, key.expose(), entropy).map_err(at(&path))?;
        self.keys.write().insert(version, Arc::new(KeyEncryptionKey::with_version(&key, version)));
        Ok(KeyVersion(version))
    }

    fn make_own(&self, entropy: &dyn Entropy) -> Result<OwnKeyId, KmsError> {
        if !self.makes_own {
            return Err(KmsError::NoOwnKeys);
        }
        let own = OwnKeyId::new(entropy);
        self.own.make(own, SecretKey::generate(entropy).expose(), entropy)?;
        Ok(own)
    }

    fn wrap_own(&self, own: OwnKeyId, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        Ok(wrap_by(&self.own_secret(own)?, own, self.version()?, (entropy, aad, key)))
    }

    fn destroy_own(&self, own: OwnKeyId) -> Result<(), KmsError> {
        self.own.destroy(own)
    }

    fn own(&self) -> Result<Vec<OwnKeyId>, KmsError> {
        self.own.list()
    }

    fn probe(&self) -> Result<(), KmsError> {
        self.look().map(|_| ())
    }
}

fn at(path: &Path) -> impl FnOnce(FileFault) -> KmsError {
    move |fault| KmsError::File { path: path.to_owned(), fault }
}

fn read_key(path: &Path) -> Result<SecretKey, FileFault> {
    let bytes = read(path, SecretKey::BYTES as u64).map_err(|fault| match fault {
        FileFault::Size => FileFault::Length,
        other => other,
    })?;
    SecretKey::from_slice(&bytes).ok_or(FileFault::Length)
}

#[cfg(test)]
mod tests;
