//! Key encryption keys that never leave a PKCS#11 token (a hardware security module, a smart card, SoftHSM).
//!
//! The keys are AES-256, made inside the token, sensitive and never extractable. They have the label that the
//! configuration names, and their version as CKA_ID (u32, big-endian). Wrapping is AES-256-GCM inside the token
//! (`CKM_AES_GCM`, OASIS PKCS #11 3.1, section 6.13.3), with the associated data given to it. A wrapped key is
//!
//! ```text
//! 1   2: by a PKCS#11 token with CKM_AES_GCM
//! 4   version of the key (u32)
//! 12  nonce, random; read back after the call, because some tokens make their own
//! 48  ciphertext and tag
//! ```
//!
//! Own keys are made alike, with `.own` after that label and their id as CKA_ID, and destroyed with C_DestroyObject.
//!
//! One session serves all calls, one after another: they are rare, because unwrapped keys are kept. When the token is
//! lost, calls fail with [`KmsError::Unavailable`], and each later call tries to log in anew; nothing has to be
//! restarted. A PIN that the token refused is never tried a second time.

mod connection;
mod login;
mod module;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::{Aad, SecretKey};
use countersign_model::{Clock, Entropy};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use self::connection::{Connection, Fault};
use self::module::{Loaded, Module};
use crate::kms::{KeyVersion, KmsError, KmsProvider};
use crate::outage::Outage;
use crate::own::{OwnKeyId, by_own};

/// How long a call waits for those before it.
const WAIT: Duration = Duration::from_secs(5);

/// Once as it is, once after logging in anew, once after starting the module anew.
const ATTEMPTS: usize = 3;

const FIRST_VERSION: u32 = 1;

/// Where a token's PIN comes from.
pub enum PinSource {
    /// A file with the PIN as its one line, readable by its owner alone. Read again at each login.
    File(PathBuf),
    /// The PIN itself, from the environment of the process. Wiped when the provider is dropped.
    Given(Zeroizing<String>),
}

/// Which key of which token.
pub struct Pkcs11Config {
    /// The vendor's PKCS#11 module, such as `/usr/lib/softhsm/libsofthsm2.so`. Its code runs in this process.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The PIN of the token's user.
    pub pin: PinSource,
    /// The label of the keys.
    pub key: String,
}

/// Keys in a token.
pub struct Pkcs11Kms {
    config: Pkcs11Config,
    module: Arc<Module>,
    clock: Arc<dyn Clock>,
    connection: Mutex<Option<Connection>>,
}

impl Pkcs11Kms {
    /// The key that the configuration names. Talks to the token only when it is first used, so that a token that is
    /// absent at start stops only those who need it.
    #[must_use]
    pub fn new(config: Pkcs11Config, clock: Arc<dyn Clock>) -> Self {
        let module = Module::at(&config.module);
        Self { config, module, clock, connection: Mutex::new(None) }
    }

    /// As [`Self::new`], and logs in to see that the key is there.
    ///
    /// # Errors
    /// [`KmsError::Unavailable`], which says what is missing.
    pub fn open(config: Pkcs11Config, clock: Arc<dyn Clock>) -> Result<Self, KmsError> {
        let kms = Self::new(config, clock);
        kms.probe()?;
        Ok(kms)
    }

    /// Makes the first version of the key in the token.
    ///
    /// # Errors
    /// [`KmsError::Unavailable`]; with [`Outage::KeyExists`] if the token has a key of that label.
    pub fn create(config: Pkcs11Config, clock: Arc<dyn Clock>) -> Result<Self, KmsError> {
        let kms = Self::new(config, clock);
        let made = kms.with(|loaded, connection| {
            if connection.newest().is_some() {
                return Err(kms.outage(|token, key| Outage::KeyExists { token, key }));
            }
            connection.generate(loaded, &kms.config, FIRST_VERSION)
        });
        made.map(|()| kms)
    }

    fn outage(&self, outage: impl FnOnce(String, String) -> Outage) -> Fault {
        KmsError::Unavailable(outage(self.config.token.clone(), self.config.key.clone())).into()
    }

    fn newest(&self, connection: &Connection) -> Result<u32, Fault> {
        connection.newest().ok_or_else(|| self.outage(|token, key| Outage::KeyAbsent { token, key }))
    }

    /// Does `call` with a session that is logged in. If the token is lost, once more with another session.
    fn with<T>(&self, mut call: impl FnMut(&Loaded, &mut Connection) -> Result<T, Fault>) -> Result<T, KmsError> {
        let Some(mut held) = self.connection.try_lock_for(WAIT) else {
            return Err(KmsError::Unavailable(Outage::Busy));
        };
        let mut failed = None;
        for _ in 0..ATTEMPTS {
            let loaded = self.module.loaded(self.clock.now()).map_err(KmsError::Unavailable)?;
            let connected = match held.take().filter(|connection| connection.is_of(&loaded)) {
                Some(connection) => Ok(connection),
                None => Connection::open(&loaded, &self.module, &self.config),
            };
            let fault = match connected {
                Err(fault) => fault,
                Ok(mut connection) => match call(&loaded, &mut connection) {
                    Err(fault @ Fault::Lost(_)) => {
                        connection.close();
                        fault
                    }
                    done => {
                        match connection.newest() {
                            Some(_) => *held = Some(connection),
                            // Looked for again next time: somebody may have made it by then.
                            None => connection.close(),
                        }
                        return done.map_err(|fault| self.told(fault));
                    }
                },
            };
            let generation = loaded.generation();
            drop(loaded);
            // What a new start of the module can't change is told at once.
            let Fault::Lost(_) = fault else { return Err(self.told(fault)) };
            let first = failed.replace(fault).is_none();
            // The first time, logging in anew may be enough.
            if !first && !self.module.start_anew(generation, self.clock.now()) {
                break;
            }
        }
        Err(failed.map_or(KmsError::Unavailable(Outage::NoAnswer), |fault| self.told(fault)))
    }

    fn told(&self, fault: Fault) -> KmsError {
        match fault {
            Fault::Told(error) => error,
            Fault::Lost(None) => KmsError::Unavailable(Outage::TokenAbsent { token: self.config.token.clone() }),
            Fault::Lost(Some(why)) => KmsError::Unavailable(Outage::Lost { token: self.config.token.clone(), why }),
        }
    }
}

impl Drop for Pkcs11Kms {
    /// Closing the last session with a token logs out.
    fn drop(&mut self) {
        let connection = self.connection.get_mut().take();
        if let Some((connection, loaded)) = connection.zip(self.module.as_it_is())
            && connection.is_of(&loaded)
        {
            connection.close();
        }
    }
}

impl KmsProvider for Pkcs11Kms {
    fn wrap(&self, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        self.with(|_, connection| {
            let newest = self.newest(connection)?;
            connection.wrap(newest, entropy, aad, key)
        })
    }

    fn unwrap_key(&self, aad: &Aad, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        if let Some((own, inner)) = by_own(wrapped) {
            let wrapped = connection::Wrapped::decode(inner).ok_or(KmsError::NotAuthentic)?;
            return self.with(|_, connection| {
                self.newest(connection)?;
                connection.unwrap_own(&self.config, own, aad, &wrapped)
            });
        }
        let wrapped = connection::Wrapped::decode(wrapped).ok_or(KmsError::NotAuthentic)?;
        self.with(|_, connection| {
            self.newest(connection)?;
            if !connection.has(wrapped.version) {
                // Another process may have rotated.
                connection.list(&self.config)?;
            }
            connection.unwrap_key(aad, &wrapped)
        })
    }

    fn name(&self) -> &'static str {
        "pkcs11"
    }

    fn version(&self) -> Result<KeyVersion, KmsError> {
        self.with(|_, connection| self.newest(connection)).map(KeyVersion)
    }

    /// Makes the next version in the token. The randomness is the token's own.
    fn rotate(&self, _entropy: &dyn Entropy) -> Result<KeyVersion, KmsError> {
        self.with(|loaded, connection| {
            connection.list(&self.config)?;
            let next = self.newest(connection)?.checked_add(1).ok_or(KmsError::CannotRotate)?;
            connection.generate(loaded, &self.config, next)?;
            Ok(KeyVersion(next))
        })
    }

    fn make_own(&self, entropy: &dyn Entropy) -> Result<OwnKeyId, KmsError> {
        let own = OwnKeyId::new(entropy);
        self.with(|loaded, connection| {
            self.newest(connection)?;
            connection.make_own(loaded, &self.config, own)
        })?;
        Ok(own)
    }

    fn wrap_own(&self, own: OwnKeyId, entropy: &dyn Entropy, aad: &Aad, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        self.with(|_, connection| {
            let newest = self.newest(connection)?;
            connection.wrap_own(&self.config, own, newest, (entropy, aad, key))
        })
    }

    fn destroy_own(&self, own: OwnKeyId) -> Result<(), KmsError> {
        self.with(|loaded, connection| {
            self.newest(connection)?;
            connection.destroy_own(loaded, &self.config, own)
        })
    }

    fn own(&self) -> Result<Vec<OwnKeyId>, KmsError> {
        self.with(|_, connection| {
            self.newest(connection)?;
            connection.list_own(&self.config)
        })
    }

    /// Looks for the keys in the token.
    fn probe(&self) -> Result<(), KmsError> {
        self.with(|_, connection| {
            connection.list(&self.config)?;
            self.newest(connection).map(|_| ())
        })
    }
}

#[cfg(test)]
mod tests;
