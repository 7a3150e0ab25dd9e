//! A session with a token, logged in, and the keys found in it.

use countersign_crypto::{Aad, SecretKey, same_bytes};
use countersign_model::Entropy;
use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use zeroize::Zeroizing;

use super::Pkcs11Config;
use super::login::log_in;
use super::module::{Loaded, Module, why};
use crate::kms::{KeyVersion, KmsError, PKCS11_AES_GCM};
use crate::outage::Outage;
use crate::own::{OwnKeyId, own_aad, with_id};

const NONCE_BYTES: usize = 12;
const TAG_BITS: u64 = 128;
const BODY_BYTES: usize = SecretKey::BYTES + 16;

/// Why a call came to nothing.
pub(super) enum Fault {
    /// As it is, whatever is tried.
    Told(KmsError),
    /// The session, the token or the way to it failed; without a reason if no slot has the token.
    Lost(Option<String>),
}

impl From<KmsError> for Fault {
    fn from(error: KmsError) -> Self {
        Self::Told(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Lost(Some(why(&error)))
    }
}

impl From<Outage> for Fault {
    fn from(outage: Outage) -> Self {
        Self::Told(KmsError::Unavailable(outage))
    }
}

/// A wrapped key, taken apart.
pub(super) struct Wrapped<'a> {
    pub(super) version: u32,
    nonce: &'a [u8; NONCE_BYTES],
    body: &'a [u8; BODY_BYTES],
}

impl<'a> Wrapped<'a> {
    pub(super) fn decode(wrapped: &'a [u8]) -> Option<Self> {
        let rest = wrapped.strip_prefix(&[PKCS11_AES_GCM])?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
        Some(Self { version: u32::from_be_bytes(*version), nonce, body: rest.try_into().ok()? })
    }
}

/// A session that is logged in.
pub(super) struct Connection {
    session: Session,
    generation: u64,
    slot: Slot,
    /// By version. Two processes that rotate at once may make two of one version: both unwrap.
    keys: Vec<(u32, ObjectHandle)>,
}

impl Connection {
    pub(super) fn open(loaded: &Loaded, module: &Module, config: &Pkcs11Config) -> Result<Self, Fault> {
        let slot = find(loaded, &config.token)?;
        can_gcm(loaded, slot, &config.token)?;
        // Not closed when dropped: after the module was started anew, its number may be another session's.
        let session = loaded.context().open_ro_session_no_drop(slot)?;
        let mut connection = Self { session, generation: loaded.generation(), slot, keys: Vec::new() };
        let ready = log_in(&connection.session, loaded, slot, module, config).and_then(|()| connection.list(config));
        match ready {
            Ok(()) => Ok(connection),
            Err(fault) => {
                connection.close();
                Err(fault)
            }
        }
    }

    /// Whether the session is of this start of the module.
    pub(super) fn is_of(&self, loaded: &Loaded) -> bool {
        self.generation == loaded.generation()
    }

    /// Only for a session of the present start of the module.
    pub(super) fn close(self) {
        let _ = self.session.close();
    }

    pub(super) fn newest(&self) -> Option<u32> {
        self.keys.last().map(|(version, _)| *version)
    }

    pub(super) fn has(&self, version: u32) -> bool {
        self.keys.iter().any(|(one, _)| *one == version)
    }

    /// Finds the keys in the token.
    pub(super) fn list(&mut self, config: &Pkcs11Config) -> Result<(), Fault> {
        let had = std::mem::take(&mut self.keys);
        let label = Attribute::Label(config.key.clone().into_bytes());
        let ours = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Token(true), label];
        for handle in self.session.find_objects(&ours)? {
            let id = fit_id(&self.session.get_attributes(handle, &ASKED)?);
            let version = id.and_then(|id| id.as_slice().try_into().ok()).map(u32::from_be_bytes);
            let unfit = || Outage::KeyUnfit { token: config.token.clone(), key: config.key.clone() };
            self.keys.push((version.ok_or_else(unfit)?, handle));
        }
        self.keys.sort_by_key(|(version, _)| *version);
        // A token that is gone looks like one without keys to some modules.
        if self.keys.is_empty() && !had.is_empty() {
            return Err(Fault::Lost(Some("its keys are gone".to_owned())));
        }
        Ok(())
    }

    /// Makes a key in the token.
    pub(super) fn generate(&mut self, loaded: &Loaded, config: &Pkcs11Config, version: u32) -> Result<(), Fault> {
        self.make(loaded, &config.key, &version.to_be_bytes())?;
        self.list(config)?;
        if self.has(version) { Ok(()) } else { Err(Fault::Lost(Some("the new key is not found".to_owned()))) }
    }

    fn make(&self, loaded: &Loaded, label: &str, id: &[u8]) -> Result<(), Fault> {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen((SecretKey::BYTES as u64).into()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Modifiable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Sign(false),
            Attribute::Verify(false),
            Attribute::Derive(false),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        // Logging in once is for every session with the token.
        let writing = loaded.context().open_rw_session_no_drop(self.slot)?;
        let made = writing.generate_key(&Mechanism::AesKeyGen, &template);
        let _ = writing.close();
        made?;
        Ok(())
    }

    /// Makes an own key in the token.
    pub(super) fn make_own(&self, loaded: &Loaded, config: &Pkcs11Config, own: OwnKeyId) -> Result<(), Fault> {
        self.make(loaded, &own_label(config), &own.0)?;
        match self.find_own(config, own)?.is_empty() {
            true => Err(Fault::Lost(Some("the new key is not found".to_owned()))),
            false => Ok(()),
        }
    }

    fn find_own(&self, config: &Pkcs11Config, own: OwnKeyId) -> Result<Vec<ObjectHandle>, Fault> {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Token(true),
            Attribute::Label(own_label(config).into_bytes()),
            Attribute::Id(own.0.to_vec()),
        ];
        Ok(self.session.find_objects(&template)?)
    }

    /// The own key, which is destroyed if the token is there and it isn't.
    fn own(&mut self, config: &Pkcs11Config, own: OwnKeyId) -> Result<ObjectHandle, Fault> {
        let Some(handle) = self.find_own(config, own)?.into_iter().next() else {
            self.list(config)?;
            return Err(KmsError::Destroyed.into());
        };
        let unfit = || Outage::KeyUnfit { token: config.token.clone(), key: own_label(config) };
        fit_id(&self.session.get_attributes(handle, &ASKED)?).ok_or_else(unfit)?;
        Ok(handle)
    }

    /// The ids of the own keys in the token.
    pub(super) fn list_own(&mut self, config: &Pkcs11Config) -> Result<Vec<OwnKeyId>, Fault> {
        self.list(config)?;
        let label = Attribute::Label(own_label(config).into_bytes());
        let ours = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Token(true), label];
        let mut found = Vec::new();
        for handle in self.session.find_objects(&ours)? {
            let id = fit_id(&self.session.get_attributes(handle, &ASKED)?);
            found.extend(id.and_then(|id| id.try_into().ok()).map(OwnKeyId));
        }
        Ok(found)
    }

    pub(super) fn destroy_own(&mut self, loaded: &Loaded, config: &Pkcs11Config, own: OwnKeyId) -> Result<(), Fault> {
        let found = self.find_own(config, own)?;
        if found.is_empty() {
            // A token that is gone has no keys either, and has them again when it is back.
            return self.list(config);
        }
        let writing = loaded.context().open_rw_session_no_drop(self.slot)?;
        let destroyed: Result<(), Error> = found.into_iter().try_for_each(|handle| writing.destroy_object(handle));
        let _ = writing.close();
        destroyed?;
        match self.find_own(config, own)?.is_empty() {
            true => Ok(()),
            false => Err(Fault::Lost(Some("a destroyed key is still there".to_owned()))),
        }
    }

    pub(super) fn wrap_own(
        &mut self,
        config: &Pkcs11Config,
        own: OwnKeyId,
        version: u32,
        (entropy, aad, key): (&dyn Entropy, &Aad, &SecretKey),
    ) -> Result<Vec<u8>, Fault> {
        let handle = self.own(config, own)?;
        Ok(with_id(own, &self.wrap_by(handle, version, entropy, &own_aad(aad, own, version), key)?))
    }

    pub(super) fn unwrap_own(
        &mut self,
        config: &Pkcs11Config,
        own: OwnKeyId,
        aad: &Aad,
        wrapped: &Wrapped<'_>,
    ) -> Result<SecretKey, Fault> {
        let handle = self.own(config, own)?;
        match self.decrypt(handle, &own_aad(aad, own, wrapped.version), wrapped) {
            Ok(key) => Ok(key),
            Err(error) => {
                self.blame(handle, error)?;
                Err(KmsError::NotAuthentic.into())
            }
        }
    }

    pub(super) fn wrap(
        &self,
        version: u32,
        entropy: &dyn Entropy,
        aad: &Aad,
        key: &SecretKey,
    ) -> Result<Vec<u8>, Fault> {
        let absent = KmsError::UnknownVersion(KeyVersion(version));
        let (_, handle) = self.keys.iter().find(|(one, _)| *one == version).ok_or(absent)?;
        self.wrap_by(*handle, version, entropy, aad, key)
    }

    fn wrap_by(
        &self,
        handle: ObjectHandle,
        version: u32,
        entropy: &dyn Entropy,
        aad: &Aad,
        key: &SecretKey,
    ) -> Result<Vec<u8>, Fault> {
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce);
        let body = self.encrypt(handle, &mut nonce, aad, key.expose())?;
        let wrapped = [&[PKCS11_AES_GCM], version.to_be_bytes().as_slice(), &nonce, &body].concat();
        // A key that can't be unwrapped again is lost for ever: better to know before it is used.
        let decoded = Wrapped::decode(&wrapped).ok_or_else(|| Fault::Lost(Some("a strange ciphertext".to_owned())))?;
        match self.decrypt(handle, aad, &decoded) {
            Ok(again) if same_bytes(again.expose(), key.expose()) => Ok(wrapped),
            Ok(_) => Err(Fault::Lost(Some("it unwraps to another key".to_owned()))),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn unwrap_key(&self, aad: &Aad, wrapped: &Wrapped<'_>) -> Result<SecretKey, Fault> {
        let mut refused = KmsError::UnknownVersion(KeyVersion(wrapped.version));
        for (_, handle) in self.keys.iter().filter(|(version, _)| *version == wrapped.version) {
            match self.decrypt(*handle, aad, wrapped) {
                Ok(key) => return Ok(key),
                Err(error) => {
                    self.blame(*handle, error)?;
                    refused = KmsError::NotAuthentic;
                }
            }
        }
        Err(refused.into())
    }

    /// Whether it was the ciphertext or the token. Modules differ in how they say that a tag is wrong, and some use
    /// the same value when the token fails; a token that still encrypts has not failed.
    fn blame(&self, handle: ObjectHandle, error: Error) -> Result<(), Fault> {
        match error {
            Error::Pkcs11(RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange, _) => Ok(()),
            Error::Pkcs11(_, Function::Decrypt) => {
                let mut nonce = [0; NONCE_BYTES];
                // Never given out, and so no nonce that is used a second time.
                self.encrypt(handle, &mut nonce, &Aad::new("probe.1"), &[]).map(|_| ()).map_err(|_| error.into())
            }
            error => Err(error.into()),
        }
    }

    fn encrypt(
        &self,
        handle: ObjectHandle,
        nonce: &mut [u8; NONCE_BYTES],
        aad: &Aad,
        plain: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let gcm = GcmParams::new(nonce, aad.as_bytes(), TAG_BITS.into())?;
        self.session.encrypt(&Mechanism::AesGcm(gcm), handle, plain)
    }

    fn decrypt(&self, handle: ObjectHandle, aad: &Aad, wrapped: &Wrapped<'_>) -> Result<SecretKey, Error> {
        let mut nonce = *wrapped.nonce;
        let gcm = GcmParams::new(&mut nonce, aad.as_bytes(), TAG_BITS.into())?;
        let plain = Zeroizing::new(self.session.decrypt(&Mechanism::AesGcm(gcm), handle, wrapped.body)?);
        SecretKey::from_slice(&plain).ok_or(Error::InvalidValue)
    }
}

fn find(loaded: &Loaded, token: &str) -> Result<Slot, Fault> {
    let context = loaded.context();
    let slots = context.get_slots_with_token()?;
    // A slot that doesn't answer is none of ours, or ours and lost.
    let ours = |slot: &Slot| context.get_token_info(*slot).is_ok_and(|info| info.label() == token);
    let mut ours = slots.into_iter().filter(ours);
    match (ours.next(), ours.next()) {
        (Some(slot), None) => Ok(slot),
        (Some(_), Some(_)) => Err(Outage::TokenAmbiguous { token: token.to_owned() }.into()),
        (None, _) => Err(Fault::Lost(None)),
    }
}

fn can_gcm(loaded: &Loaded, slot: Slot, token: &str) -> Result<(), Fault> {
    match loaded.context().get_mechanism_info(slot, MechanismType::AES_GCM) {
        Ok(info) if info.encrypt() && info.decrypt() => Ok(()),
        Ok(_) | Err(Error::Pkcs11(RvError::MechanismInvalid, _)) => {
            Err(Outage::Mechanism { token: token.to_owned() }.into())
        }
        Err(error) => Err(error.into()),
    }
}

const ASKED: [AttributeType; 5] = [
    AttributeType::Id,
    AttributeType::KeyType,
    AttributeType::ValueLen,
    AttributeType::Sensitive,
    AttributeType::Extractable,
];

/// Own keys have a label of their own, so that they are not taken for versions.
fn own_label(config: &Pkcs11Config) -> String {
    format!("{}.own", config.key)
}

/// The CKA_ID of a key that is as it has to be.
fn fit_id(attributes: &[Attribute]) -> Option<Vec<u8>> {
    let mut found = None;
    let mut fit = 0usize;
    for attribute in attributes {
        let good = match attribute {
            Attribute::Id(id) => {
                found = Some(id.clone());
                true
            }
            Attribute::KeyType(kind) => *kind == KeyType::AES,
            Attribute::ValueLen(length) => u64::from(*length) == SecretKey::BYTES as u64,
            Attribute::Sensitive(sensitive) => *sensitive,
            Attribute::Extractable(extractable) => !*extractable,
            _ => false,
        };
        fit = fit.saturating_add(usize::from(good));
    }
    found.filter(|_| fit == ASKED.len())
}
