//! The key management service that somebody unlocks: keys in a file, sealed under a passphrase that is asked for at
//! start and never stored.
//!
//! The file (mode 0600), numbers big-endian:
//!
//! ```text
//! "CSpass" 0 1                              magic and version
//! memory KiB (u32) ‖ passes (u32) ‖ lanes (u32)
//! salt (16)
//! how many keys (u32)
//! per key: version (u32) ‖ sealed (65)      sealed under Argon2id(passphrase, salt)
//! check (16)                                of all before it: SHA-256, cut
//! ```
//!
//! The keys are random and rotate without the passphrase; the passphrase changes without them. That the first one
//! opens is what tells that the passphrase is the right one.
//!
//! Own keys are in files of the folder `kms.own` beside it, sealed under the newest of these keys. Destroying one
//! overwrites and removes its file; whoever has an old copy of that file, and the passphrase, still has the key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::passphrase::{PassphraseCost, SALT_BYTES, key_from_passphrase};
use countersign_crypto::{Aad, KeyEncryptionKey, SecretKey, sealed_epoch, sha256};
use countersign_model::Entropy;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::guarded_file::{FileFault, read, replace, write_new};
use crate::kms::{KeyVersion, KmsError, KmsProvider};
use crate::own::{OwnFiles, OwnKeyId, by_own, unwrap_by, wrap_by};

const MAGIC: &[u8; 8] = b"CSpass\x00\x01";
const CHECK_BYTES: usize = 16;
const SEALED_BYTES: usize = 65;
const VERSIONS_MAX: usize = 1000;
const FILE_BYTES_MAX: u64 = 128 * 1024;
const FIRST_VERSION: u32 = 1;

/// The shortest passphrase that a new file is made with, in bytes.
pub const PASSPHRASE_BYTES_MIN: usize = 12;

/// What is wrong with a passphrase or its file.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseFault {
    /// The file can't be used.
    #[error("{0}")]
    File(#[from] FileFault),
    /// It doesn't unlock the keys.
    #[error("wrong passphrase")]
    Wrong,
    /// Too short for a new one.
    #[error("a passphrase has at least {PASSPHRASE_BYTES_MIN} characters; several random words are best")]
    Short,
    /// The file was changed or cut.
    #[error("is damaged; restore it from its copy")]
    Damaged,
    /// Another process wrote it since it was opened.
    #[error("was changed by another process since it was opened; nothing was written")]
    Changed,
}

/// Key encryption keys in a file that a passphrase unlocks.
pub struct PassphraseKms {
    path: PathBuf,
    own: OwnFiles,
    makes_own: bool,
    state: Mutex<State>,
}

struct State {
    salt: [u8; SALT_BYTES],
    cost: PassphraseCost,
    /// From the passphrase: seals the keys in the file.
    lock: Arc<KeyEncryptionKey>,
    keys: BTreeMap<u32, Version>,
}

#[derive(Clone)]
struct Version {
    key: Arc<KeyEncryptionKey>,
    sealed: Vec<u8>,
}

impl PassphraseKms {
    /// Makes a new random key and the file `path`, sealed under `passphrase`. Takes a good part of a second.
    ///
    /// # Errors
    /// [`KmsError::Passphrase`]; with [`FileFault::Exists`] if there is anything at `path`.
    pub fn create(path: &Path, passphrase: &Zeroizing<String>, entropy: &dyn Entropy) -> Result<Self, KmsError> {
        let make = || {
            let mut state = State::locked_by(passphrase, entropy)?;
            let secret = SecretKey::generate(entropy);
            state.add(FIRST_VERSION, &secret, entropy);
            write_new(path, &state.encode(), entropy)?;
            Ok(state)
        };
        make().map(|state| Self::with(path, state)).map_err(at(path))
    }

    /// Opens the file that [`Self::create`] made. Takes a good part of a second.
    ///
    /// # Errors
    /// [`KmsError::Passphrase`]: with [`PassphraseFault::Wrong`] if the passphrase is another, and with the others if
    /// the file can't be used.
    pub fn open(path: &Path, passphrase: &Zeroizing<String>) -> Result<Self, KmsError> {
        let open = || State::decode(&read(path, FILE_BYTES_MAX)?, passphrase);
        open().map(|state| Self::with(path, state)).map_err(at(path))
    }

    /// Seals the keys under another passphrase. The old one no longer opens the file; copies of the file from before
    /// it still does.
    ///
    /// # Errors
    /// [`KmsError::Passphrase`]; nothing has changed then.
    pub fn change_passphrase(&self, new: &Zeroizing<String>, entropy: &dyn Entropy) -> Result<(), KmsError> {
        let mut state = self.state.lock();
        let change = || {
            let mut changed = State::locked_by(new, entropy)?;
            for (version, old) in &state.keys {
                let secret = state.lock.unwrap_key(&state.aad(*version), &old.sealed);
                changed.add(*version, &secret.map_err(|_| PassphraseFault::Damaged)?, entropy);
            }
            self.write_over(&state, &changed, entropy)?;
            Ok(changed)
        };
        *state = change().map_err(at(&self.path))?;
        Ok(())
    }

    /// A key that another process added would be lost, and with it what it wrapped: so the file must be what this
    /// process last saw.
    fn write_over(&self, before: &State, after: &State, entropy: &dyn Entropy) -> Result<(), PassphraseFault> {
        if *read(&self.path, FILE_BYTES_MAX)? != before.encode() {
            return Err(PassphraseFault::Changed);
        }
        Ok(replace(&self.path, &after.encode(), entropy)?)
    }

    fn own_secret(&self, own: OwnKeyId) -> Result<SecretKey, KmsError> {
        let sealed = self.own.read(own, SEALED_BYTES as u64)?;
        self.unwrap_by_version(&own_file_aad(own), &sealed)
    }

    fn unwrap_by_version(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        let version = sealed_epoch(wrapped).ok_or(KmsError::NotAuthentic)?;
        let key = self.state.lock().keys.get(&version).map(|version| Arc::clone(&version.key));
        let key = key.ok_or(KmsError::UnknownVersion(KeyVersion(version)))?;
        key.unwrap_key(aad, wrapped).map_err(|_| KmsError::NotAuthentic)
    }

    fn with(path: &Path, state: State) -> Self {
        Self { path: path.to_owned(), own: OwnFiles::beside(path), makes_own: true, state: Mutex::new(state) }
    }

    /// As [`FileKms::without_new_own_keys`](crate::FileKms::without_new_own_keys).
    #[must_use]
    pub fn without_new_own_keys(mut self) -> Self {
        self.makes_own = false;
        self
    }
}

impl State {
    fn locked_by(passphrase: &Zeroizing<String>, entropy: &dyn Entropy) -> Result<Self, PassphraseFault> {
        if passphrase.len() < PASSPHRASE_BYTES_MIN {
            return Err(PassphraseFault::Short);
        }
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        Self::derived(passphrase, salt, PassphraseCost::RFC_9106)
    }

    fn derived(
        passphrase: &Zeroizing<String>,
        salt: [u8; SALT_BYTES],
        cost: PassphraseCost,
    ) -> Result<Self, PassphraseFault> {
        let key = key_from_passphrase(passphrase.as_bytes(), &salt, cost).map_err(|_| PassphraseFault::Damaged)?;
        Ok(Self { salt, cost, lock: Arc::new(KeyEncryptionKey::new(&key)), keys: BTreeMap::new() })
    }

    /// A key moved to another version, or under other parameters, doesn't open.
    fn aad(&self, version: u32) -> Aad {
        Aad::new("passphrase-kms.1").part(&self.header()).part(&version.to_be_bytes())
    }

    fn header(&self) -> Vec<u8> {
        let PassphraseCost { memory_kib, passes, lanes } = self.cost;
        let cost = [memory_kib, passes, lanes].map(u32::to_be_bytes);
        [MAGIC.as_slice(), cost.as_flattened(), &self.salt].concat()
    }

    fn add(&mut self, version: u32, secret: &SecretKey, entropy: &dyn Entropy) {
        let sealed = self.lock.wrap(entropy, &self.aad(version), secret);
        let key = Arc::new(KeyEncryptionKey::with_version(secret, version));
        self.keys.insert(version, Version { key, sealed });
    }

    fn newest(&self) -> u32 {
        self.keys.last_key_value().map_or(0, |(version, _)| *version)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = self.header();
        let count = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for (version, Version { sealed, .. }) in &self.keys {
            out.extend_from_slice(&version.to_be_bytes());
            out.extend_from_slice(sealed);
        }
        let check = sha256(&out);
        out.extend_from_slice(check.first_chunk::<CHECK_BYTES>().map_or(&[], |check| check.as_slice()));
        out
    }

    fn decode(bytes: &[u8], passphrase: &Zeroizing<String>) -> Result<Self, PassphraseFault> {
        const DAMAGED: PassphraseFault = PassphraseFault::Damaged;
        let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(DAMAGED)?;
        if !sha256(body).starts_with(check) {
            return Err(DAMAGED);
        }
        let (magic, rest) = body.split_first_chunk::<8>().ok_or(DAMAGED)?;
        let (memory_kib, rest) = number(rest)?;
        let (passes, rest) = number(rest)?;
        let (lanes, rest) = number(rest)?;
        let (salt, rest) = rest.split_first_chunk::<SALT_BYTES>().ok_or(DAMAGED)?;
        let (count, mut rest) = number(rest)?;
        let count = usize::try_from(count).map_err(|_| DAMAGED)?;
        if magic != MAGIC || count == 0 || count > VERSIONS_MAX {
            return Err(DAMAGED);
        }
        let mut state = Self::derived(passphrase, *salt, PassphraseCost { memory_kib, passes, lanes })?;
        for _ in 0..count {
            let (version, after) = number(rest)?;
            let (sealed, after) = after.split_first_chunk::<SEALED_BYTES>().ok_or(DAMAGED)?;
            let secret = state.lock.unwrap_key(&state.aad(version), sealed).map_err(|_| PassphraseFault::Wrong)?;
            let key = Arc::new(KeyEncryptionKey::with_version(&secret, version));
            state.keys.insert(version, Version { key, sealed: sealed.to_vec() });
            rest = after;
        }
        if rest.is_empty() { Ok(state) } else { Err(DAMAGED) }
    }
}

fn number(bytes: &[u8]) -> Result<(u32, &[u8]), PassphraseFault> {
    let (number, rest) = bytes.split_first_chunk::<4>().ok_or(PassphraseFault::Damaged)?;
    Ok((u32::from_be_bytes(*number), rest))
}

impl KmsProvider for PassphraseKms {
    fn wrap(&self, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        let newest = self.state.lock().keys.last_key_value().map(|(_, version)| Arc::clone(&version.key));
        Ok(newest.ok_or(KmsError::UnknownVersion(KeyVersion(FIRST_VERSION)))?.wrap(entropy, aad, key))
    }

    fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        match by_own(wrapped) {
            Some((own, inner)) => unwrap_by(&self.own_secret(own)?, own, aad, inner),
            None => self.unwrap_by_version(aad, wrapped),
        }
    }

    fn make_own(&self, entropy: &dyn Entropy) -> Result<OwnKeyId, KmsError> {
        if !self.makes_own {
            return Err(KmsError::NoOwnKeys);
        }
        let own = OwnKeyId::new(entropy);
        let sealed = self.wrap(entropy, &own_file_aad(own), &SecretKey::generate(entropy))?;
        self.own.make(own, &sealed, entropy)?;
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

    fn name(&self) -> &'static str {
        "passphrase"
    }

    fn version(&self) -> Result<KeyVersion, KmsError> {
        Ok(KeyVersion(self.state.lock().newest()))
    }

    /// Writes the file anew with one key more. To be called by the process that serves: another that has the file
    /// open doesn't see the new key until it opens the file again.
    fn rotate(&self, entropy: &dyn Entropy) -> Result<KeyVersion, KmsError> {
        let mut state = self.state.lock();
        let version = state.newest().checked_add(1).filter(|_| state.keys.len() < VERSIONS_MAX);
        let version = version.ok_or(KmsError::CannotRotate)?;
        let mut rotated = State { lock: Arc::clone(&state.lock), keys: state.keys.clone(), ..*state };
        rotated.add(version, &SecretKey::generate(entropy), entropy);
        self.write_over(&state, &rotated, entropy).map_err(at(&self.path))?;
        *state = rotated;
        Ok(KeyVersion(version))
    }
}

/// An own key's file is not another's.
fn own_file_aad(own: OwnKeyId) -> Aad {
    Aad::new("own-key-file.1").part(&own.0)
}

fn at(path: &Path) -> impl FnOnce(PassphraseFault) -> KmsError {
    move |fault| KmsError::Passphrase { path: path.to_owned(), fault }
}

#[cfg(test)]
mod tests;
