//! SSH keys and the signatures that `ssh-keygen -Y sign` makes (OpenSSH's PROTOCOL.sshsig), used to log in.
//!
//! Keys and signatures are parsed by the `ssh-key` crate; signing and verifying is AWS-LC's. Accepted for
//! login: Ed25519, ECDSA on the three NIST curves, RSA from 2,048 bits with SHA-2, and the security-key
//! (FIDO) forms of Ed25519 and P-256. This program itself signs with Ed25519 and ECDSA; other keys sign
//! through [`agent`].

pub mod agent;
mod check;
mod file;
mod wire;

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature as raw;
use aws_lc_rs::signature::KeyPair;
use countersign_model::Entropy;
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::{Ed25519PublicKey, KeyData};
use ssh_key::{HashAlg, LineEnding, SshSig};
use zeroize::Zeroizing;

/// The longest signature text that is read; one by the largest RSA key has about 6,000 bytes.
pub const MAX_SIGNATURE_BYTES: usize = 8 * 1024;

/// The longest public key line that is read.
pub const MAX_PUBLIC_KEY_BYTES: usize = 8 * 1024;

/// Why a key or signature was not accepted. Carries nothing of either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// Not a public key line.
    #[error("not an SSH public key (expected a line such as `ssh-ed25519 AAAA… comment`)")]
    PublicKey,
    /// A kind of key that is not accepted.
    #[error("this kind of SSH key is not accepted: use ssh-ed25519, ecdsa-sha2-nistp256/384/521 or RSA from 2048 bits")]
    Unsupported,
    /// Not a private key file in OpenSSH's format.
    #[error("not an OpenSSH private key")]
    PrivateKey,
    /// The private key is encrypted and no passphrase was given.
    #[error("the private key needs a passphrase: give it, or add the key to ssh-agent")]
    Encrypted,
    /// The passphrase doesn't open the private key.
    #[error("the passphrase is wrong")]
    Passphrase,
    /// A private key that can sign only through ssh-agent.
    #[error("keys of this kind sign through ssh-agent only")]
    AgentOnly,
    /// Not a signature text, too long, or of a version other than 1.
    #[error("not an SSH signature")]
    Signature,
    /// The signature was made for another purpose.
    #[error("the SSH signature is for another namespace")]
    Namespace,
    /// The signature was made by another key.
    #[error("the SSH signature was made by another key")]
    OtherKey,
    /// The signature is not that key's over this message.
    #[error("the SSH signature is not valid")]
    BadSignature,
}

/// A public key that logins can be verified with.
#[derive(Clone)]
pub struct PublicKey(ssh_key::PublicKey);

impl PublicKey {
    /// Reads a line such as `ssh-ed25519 AAAA… comment`.
    ///
    /// # Errors
    /// [`SshError::PublicKey`], or [`SshError::Unsupported`] for a kind or size of key that is not accepted.
    pub fn parse(line: &str) -> Result<Self, SshError> {
        let line = line.trim();
        if line.len() > MAX_PUBLIC_KEY_BYTES || line.contains(char::is_control) {
            return Err(SshError::PublicKey);
        }
        let key = Self::accepted(ssh_key::PublicKey::from_openssh(line).map_err(|_| SshError::PublicKey)?)?;
        // One text per key, as for signatures: the parser lets some changed lengths pass.
        let written =
            ssh_key::PublicKey::new(key.0.key_data().clone(), "").to_openssh().map_err(|_| SshError::PublicKey)?;
        if line.split_whitespace().take(2).eq(written.split_whitespace()) { Ok(key) } else { Err(SshError::PublicKey) }
    }

    fn accepted(key: ssh_key::PublicKey) -> Result<Self, SshError> {
        if check::is_accepted(key.key_data()) { Ok(Self(key)) } else { Err(SshError::Unsupported) }
    }

    /// From the binary form that agents use.
    fn from_blob(blob: &[u8], comment: &str) -> Result<Self, SshError> {
        let key = ssh_key::PublicKey::from_bytes(blob).map_err(|_| SshError::Unsupported)?;
        Self::accepted(ssh_key::PublicKey::new(key.key_data().clone(), comment))
    }

    fn blob(&self) -> Result<Vec<u8>, SshError> {
        self.0.to_bytes().map_err(|_| SshError::PublicKey)
    }

    /// The key as one line, with its comment.
    #[must_use]
    pub fn to_line(&self) -> String {
        self.0.to_openssh().unwrap_or_default()
    }

    /// `SHA256:` and the digest, as `ssh-keygen -l` shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The comment, often who and where.
    #[must_use]
    pub fn comment(&self) -> &str {
        self.0.comment()
    }

    /// The kind of key, such as `ssh-ed25519`.
    #[must_use]
    pub fn algorithm(&self) -> String {
        self.0.algorithm().to_string()
    }
}

/// The same key, whatever its comment.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key_data() == other.0.key_data()
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// A private key, decrypted. Wiped when dropped.
pub struct PrivateKey(ssh_key::PrivateKey);

impl PrivateKey {
    /// A new Ed25519 key.
    ///
    /// # Errors
    /// [`SshError::PrivateKey`] if the library refuses the key.
    pub fn generate_ed25519(entropy: &dyn Entropy, comment: &str) -> Result<Self, SshError> {
        let mut seed = Zeroizing::new([0u8; Ed25519PrivateKey::BYTE_SIZE]);
        entropy.fill(seed.as_mut());
        let pair = raw::Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| SshError::PrivateKey)?;
        let public = Ed25519PublicKey::try_from(pair.public_key().as_ref()).map_err(|_| SshError::PrivateKey)?;
        let pair = Ed25519Keypair { public, private: Ed25519PrivateKey::from_bytes(&seed) };
        let key = ssh_key::PrivateKey::new(pair.into(), comment).map_err(|_| SshError::PrivateKey)?;
        Ok(Self(key))
    }

    /// Reads a key file in OpenSSH's format.
    ///
    /// # Errors
    /// [`SshError::PrivateKey`]; [`SshError::Encrypted`] if a passphrase is needed; [`SshError::Passphrase`].
    pub fn read(text: &str, passphrase: Option<&str>) -> Result<Self, SshError> {
        let key = ssh_key::PrivateKey::from_openssh(text.trim_start()).ok().or_else(|| file::read(text));
        let key = key.ok_or(SshError::PrivateKey)?;
        if !key.is_encrypted() {
            return Ok(Self(key));
        }
        let passphrase = passphrase.ok_or(SshError::Encrypted)?;
        let key = key.decrypt(passphrase).ok().or_else(|| file::decrypt(&key, passphrase));
        Ok(Self(key.ok_or(SshError::Passphrase)?))
    }

    /// The key in OpenSSH's format, not encrypted. The caller gives the file mode 0600.
    ///
    /// # Errors
    /// [`SshError::PrivateKey`] if it can't be written.
    pub fn write(&self) -> Result<Zeroizing<String>, SshError> {
        self.0.to_openssh(LineEnding::LF).map_err(|_| SshError::PrivateKey)
    }

    /// The public half.
    ///
    /// # Errors
    /// [`SshError::Unsupported`] if no login would be accepted with it.
    pub fn public(&self) -> Result<PublicKey, SshError> {
        PublicKey::accepted(self.0.public_key().clone())
    }

    /// The signature over `data` in SSH's binary form.
    fn sign_raw(&self, data: &[u8]) -> Result<Vec<u8>, SshError> {
        let key_error = |_| SshError::PrivateKey;
        let algorithm = self.0.algorithm().to_string();
        match self.0.key_data() {
            KeypairData::Ed25519(pair) => {
                let public = pair.public.as_ref();
                let pair = raw::Ed25519KeyPair::from_seed_and_public_key(pair.private.as_ref(), public)
                    .map_err(|_| SshError::PrivateKey)?;
                Ok(wire::signature(&algorithm, pair.sign(data).as_ref()))
            }
            KeypairData::Ecdsa(pair) => {
                let method = match pair {
                    EcdsaKeypair::NistP256 { .. } => &raw::ECDSA_P256_SHA256_FIXED_SIGNING,
                    EcdsaKeypair::NistP384 { .. } => &raw::ECDSA_P384_SHA384_FIXED_SIGNING,
                    EcdsaKeypair::NistP521 { .. } => &raw::ECDSA_P521_SHA512_FIXED_SIGNING,
                };
                let (private, public) = (pair.private_key_bytes(), pair.public_key_bytes());
                let pair = raw::EcdsaKeyPair::from_private_key_and_public_key(method, private, public)
                    .map_err(|_| SshError::PrivateKey)?;
                let fixed = pair.sign(&SystemRandom::new(), data).map_err(key_error)?;
                Ok(wire::signature(&algorithm, &wire::two_integers(fixed.as_ref())))
            }
            _ => Err(SshError::AgentOnly),
        }
    }
}

/// Signs `message` for the purpose `namespace`, as `ssh-keygen -Y sign -n NAMESPACE` does.
///
/// # Errors
/// [`SshError::AgentOnly`] for kinds of key that this program doesn't sign with; [`SshError::PrivateKey`].
pub fn sign(key: &PrivateKey, namespace: &str, message: &[u8]) -> Result<String, SshError> {
    let signature = key.sign_raw(&signed_data(namespace, message)?)?;
    assemble(&key.public()?, namespace, &signature)
}

/// What a key really signs for [`sign`]: a preamble, the namespace and the SHA-512 digest of `message`.
///
/// # Errors
/// [`SshError::Namespace`] if it is empty.
pub fn signed_data(namespace: &str, message: &[u8]) -> Result<Vec<u8>, SshError> {
    SshSig::signed_data(namespace, HashAlg::Sha512, message).map_err(|_| SshError::Namespace)
}

/// Makes the signature text from a signature over [`signed_data`] in SSH's binary form, as an agent gives it.
///
/// # Errors
/// [`SshError::Signature`] if that isn't one; [`SshError::Namespace`] if the namespace is empty.
pub fn assemble(key: &PublicKey, namespace: &str, signature: &[u8]) -> Result<String, SshError> {
    let signature = ssh_key::Signature::try_from(signature).map_err(|_| SshError::Signature)?;
    SshSig::new(key.0.key_data().clone(), namespace, HashAlg::Sha512, signature)
        .map_err(|_| SshError::Namespace)?
        .to_pem(LineEnding::LF)
        .map_err(|_| SshError::Signature)
}

/// Verifies that `signature` was made by `key` over `message` for the purpose `namespace`.
///
/// # Errors
/// [`SshError`].
pub fn verify(key: &PublicKey, namespace: &str, message: &[u8], signature: &str) -> Result<(), SshError> {
    if signature.len() > MAX_SIGNATURE_BYTES {
        return Err(SshError::Signature);
    }
    let parsed = SshSig::from_pem(signature.trim()).map_err(|_| SshError::Signature)?;
    if parsed.version() != SshSig::VERSION || !parsed.reserved().is_empty() || !is_canonical(&parsed, signature) {
        return Err(SshError::Signature);
    }
    if parsed.namespace() != namespace {
        return Err(SshError::Namespace);
    }
    let data: &KeyData = key.0.key_data();
    if parsed.public_key() != data {
        return Err(SshError::OtherKey);
    }
    let signed = SshSig::signed_data(namespace, parsed.hash_alg(), message).map_err(|_| SshError::Namespace)?;
    if check::is_signed_by(data, &signed, parsed.signature()) { Ok(()) } else { Err(SshError::BadSignature) }
}

/// Whether `text` is how `signature` is written, but for white space: the parser lets some changed lengths pass.
fn is_canonical(signature: &SshSig, text: &str) -> bool {
    let written = signature.to_pem(LineEnding::LF).unwrap_or_default();
    let visible = |text: &'_ str| text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>();
    visible(&written) == visible(text)
}

#[cfg(test)]
mod tests;
