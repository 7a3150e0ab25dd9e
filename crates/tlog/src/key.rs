//! Keys of signed notes: who signs under which name, and in which of two ways.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_crypto::note::{self, NoteKey};
use countersign_crypto::{SecretKey, sha256};
use zeroize::Zeroizing;

use crate::note::{NoteSignature, Signed};

/// The longest name of a key.
pub const MAX_NAME_BYTES: usize = 255;

/// The signature type of logs (C2SP signed-note).
const ED25519: u8 = 0x01;

/// The signature type of witnesses (C2SP tlog-cosignature).
const COSIGNATURE_V1: u8 = 0x04;

/// What a private key's text begins with.
const PRIVATE: &str = "PRIVATE+KEY+";

const SIGNATURE_BYTES: usize = 64;

/// Why a key can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A name has 1 to [`MAX_NAME_BYTES`] bytes and neither spaces, nor `+`, nor control characters.
    #[error("not a name that a key can have")]
    Name,
    /// Not `NAME+HASH+KEY` as [`VerifierKey`] writes it.
    #[error("not a verifier key (NAME+HASH+KEY)")]
    Malformed,
    /// Neither Ed25519 (1) nor Ed25519 cosignatures (4).
    #[error("a verifier key of a kind that is not supported")]
    Kind,
}

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Ed25519,
    CosignatureV1,
}

impl Kind {
    const fn of(byte: u8) -> Result<Self, KeyError> {
        match byte {
            ED25519 => Ok(Self::Ed25519),
            COSIGNATURE_V1 => Ok(Self::CosignatureV1),
            _ => Err(KeyError::Kind),
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => ED25519,
            Self::CosignatureV1 => COSIGNATURE_V1,
        }
    }
}

/// Whether a key can have that name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// The public half of a key that signs notes. Text form (C2SP signed-note): `NAME+HASH+KEY`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerifierKey {
    name: String,
    kind: Kind,
    public: [u8; 32],
}

impl VerifierKey {
    /// Its name: a log's origin, or whatever a witness calls itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the two are one key, whatever their names.
    #[must_use]
    pub fn is_same_key(&self, other: &Self) -> bool {
        (self.kind, self.public) == (other.kind, other.public)
    }

    /// Whether it is a witness's, whose signatures bear a time.
    #[must_use]
    pub fn is_witness(&self) -> bool {
        self.kind == Kind::CosignatureV1
    }

    /// The four bytes that stand for it in signature lines, together with its name.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let bytes = [self.name.as_bytes(), b"\n", &[self.kind.byte()], &self.public].concat();
        let [a, b, c, d, ..] = sha256(&bytes);
        [a, b, c, d]
    }

    /// Whether a signature line claims to be of this key.
    #[must_use]
    pub fn made(&self, signature: &NoteSignature) -> bool {
        signature.name == self.name && signature.id == self.id()
    }

    /// Verifies a signature over a note's text.
    #[must_use]
    pub fn verify(&self, text: &str, signature: &NoteSignature) -> Option<Signed> {
        if !self.made(signature) {
            return None;
        }
        match self.kind {
            Kind::Ed25519 => {
                note::verify(&self.public, text.as_bytes(), &signature.bytes).then_some(Signed { at_s: None })
            }
            Kind::CosignatureV1 => {
                let (time, bytes) = signature.bytes.split_first_chunk()?;
                let at_s = u64::from_be_bytes(*time);
                let said = at_s <= i64::MAX.unsigned_abs() && bytes.len() == SIGNATURE_BYTES;
                (said && note::verify(&self.public, cosigned(at_s, text).as_bytes(), bytes))
                    .then_some(Signed { at_s: Some(at_s) })
            }
        }
    }
}

/// What a witness signs.
fn cosigned(at_s: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {at_s}\n{text}")
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+", self.name)?;
        for byte in self.id() {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "+{}", STANDARD.encode([&[self.kind.byte()], &self.public[..]].concat()))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        // Base64 may have `+` in it, names and hashes have not.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Malformed);
        };
        if !is_name(name) {
            return Err(KeyError::Name);
        }
        if key.len() != 44 {
            return Err(KeyError::Malformed);
        }
        let bytes = STANDARD.decode(key).map_err(|_| KeyError::Malformed)?;
        let (kind, public) = bytes.split_first().ok_or(KeyError::Malformed)?;
        let kind = Kind::of(*kind)?;
        let public = public.try_into().map_err(|_| KeyError::Malformed)?;
        let key = Self { name: name.to_owned(), kind, public };
        if key.to_string() == text { Ok(key) } else { Err(KeyError::Malformed) }
    }
}

/// A key that signs notes under a name.
///
/// A service of a deployment has two, derived from its own secret: see `countersign_crypto::TenantKey::note_key` and the
/// labels `LOG_SIGN` and `LOG_WITNESS` beside it.
#[derive(Debug)]
pub struct Signer {
    verifier: VerifierKey,
    key: NoteKey,
}

impl Signer {
    /// Of a log whose origin is `name`: Ed25519 over the text.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn log(name: &str, key: NoteKey) -> Result<Self, KeyError> {
        Self::new(name, key, Kind::Ed25519)
    }

    /// Of a witness: Ed25519 over the text and the time of signing. The same key must not sign under two names.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn witness(name: &str, key: NoteKey) -> Result<Self, KeyError> {
        Self::new(name, key, Kind::CosignatureV1)
    }

    /// Reads a private key in text form, `PRIVATE+KEY+NAME+HASH+SEED`, as golang.org/x/mod/sumdb/note has it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.strip_prefix(PRIVATE).ok_or(KeyError::Malformed)?.splitn(3, '+');
        let (Some(name), Some(_), Some(seed)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Malformed);
        };
        let bytes = Zeroizing::new(STANDARD.decode(seed).map_err(|_| KeyError::Malformed)?);
        let (kind, seed) = bytes.split_first().ok_or(KeyError::Malformed)?;
        let kind = Kind::of(*kind)?;
        let seed = SecretKey::from_slice(seed).ok_or(KeyError::Malformed)?;
        let signer = Self::new(name, NoteKey::from_seed(&seed), kind)?;
        if *signer.private_text(&seed) == text { Ok(signer) } else { Err(KeyError::Malformed) }
    }

    /// A witness under that name with this seed, and the text that [`Self::read`] makes it from again. The text is a secret.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn new_witness(name: &str, seed: &SecretKey) -> Result<(Self, Zeroizing<String>), KeyError> {
        let signer = Self::witness(name, NoteKey::from_seed(seed))?;
        let text = signer.private_text(seed);
        Ok((signer, text))
    }

    fn private_text(&self, seed: &SecretKey) -> Zeroizing<String> {
        let bytes = Zeroizing::new([&[self.verifier.kind.byte()], &seed.expose()[..]].concat());
        let encoded = Zeroizing::new(STANDARD.encode(&*bytes));
        let [a, b, c, d] = self.verifier.id();
        Zeroizing::new(format!("{PRIVATE}{}+{a:02x}{b:02x}{c:02x}{d:02x}+{}", self.name(), *encoded))
    }

    fn new(name: &str, key: NoteKey, kind: Kind) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name);
        }
        Ok(Self { verifier: VerifierKey { name: name.to_owned(), kind, public: key.public() }, key })
    }

    /// The same key under another key's name: a log keeps the name that it began with.
    #[must_use]
    pub fn named_as(mut self, other: &VerifierKey) -> Self {
        self.verifier.name.clone_from(&other.name);
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.verifier.name
    }

    /// Its public half.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        self.verifier.clone()
    }

    /// Signs a note's text, which ends with a newline. `now_s` is the time in seconds since 1970, which a witness's signature
    /// bears and a log's doesn't.
    #[must_use]
    pub fn sign(&self, text: &str, now_s: u64) -> NoteSignature {
        let bytes = match self.verifier.kind {
            Kind::Ed25519 => self.key.sign(text.as_bytes()).to_vec(),
            Kind::CosignatureV1 => {
                let at_s = now_s.min(i64::MAX.unsigned_abs());
                [&at_s.to_be_bytes()[..], &self.key.sign(cosigned(at_s, text).as_bytes())].concat()
            }
        };
        NoteSignature { name: self.verifier.name.clone(), id: self.verifier.id(), bytes }
    }
}
