//! Private key files (OpenSSH's PROTOCOL.key), as far as the `ssh-key` crate doesn't read them itself.
//!
//! Up to version 0.6 it refuses ECDSA keys whose secret number begins with a zero byte, which OpenSSH leaves
//! out: one key in 256, and every second one on P-521. Such a key is written anew with its zero bytes, in the
//! form that the crate reads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::wire::{Reader, put_string};

const MAGIC: &[u8] = b"openssh-key-v1\0";

/// The longest file that is read here; an ECDSA key has under 1,000 bytes.
const MAX_BYTES: usize = 16 * 1024;

const UNENCRYPTED_BLOCK_BYTES: usize = 8;

/// Reads a file that is not encrypted; `None` for any other.
pub(super) fn read(text: &str) -> Option<ssh_key::PrivateKey> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let text = text.trim();
    let text = text.strip_prefix("-----BEGIN OPENSSH PRIVATE KEY-----")?;
    let text = text.strip_suffix("-----END OPENSSH PRIVATE KEY-----")?;
    let text: Zeroizing<Vec<u8>> = Zeroizing::new(text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
    let file = Zeroizing::new(STANDARD.decode(&*text).ok()?);
    let mut reader = Reader(file.strip_prefix(MAGIC)?);
    let (cipher, derivation, options, count) = (reader.string()?, reader.string()?, reader.string()?, reader.u32()?);
    if (cipher, derivation, options, count) != (b"none", b"none", b"", 1) {
        return None;
    }
    let _public = reader.string()?;
    with_zero_bytes(reader.string()?)
}

/// Decrypts a file that the crate couldn't read after decrypting it.
pub(super) fn decrypt(key: &ssh_key::PrivateKey, passphrase: &str) -> Option<ssh_key::PrivateKey> {
    let cipher = key.cipher();
    // The tag is kept private by the crate; OpenSSH itself encrypts with AES-CTR, which has none.
    if cipher.has_tag() {
        return None;
    }
    let (secret, iv) = key.kdf().derive_key_and_iv(cipher, passphrase).ok()?;
    let mut content = Zeroizing::new(key.key_data().encrypted()?.to_vec());
    cipher.decrypt(&secret, &iv, &mut content, None).ok()?;
    with_zero_bytes(&content)
}

/// From the secret part of a file with one ECDSA key.
fn with_zero_bytes(content: &[u8]) -> Option<ssh_key::PrivateKey> {
    let mut reader = Reader(content);
    let check = reader.u32()?;
    if reader.u32()? != check {
        return None;
    }
    let (algorithm, curve, point) = (reader.string()?, reader.string()?, reader.string()?);
    let size = match (algorithm, curve) {
        (b"ecdsa-sha2-nistp256", b"nistp256") => 32usize,
        (b"ecdsa-sha2-nistp384", b"nistp384") => 48,
        (b"ecdsa-sha2-nistp521", b"nistp521") => 66,
        _ => return None,
    };
    let number = reader.integer()?;
    let comment = reader.string()?;

    let mut whole = Zeroizing::new(vec![0; size.checked_sub(number.len())?]);
    whole.reserve_exact(number.len());
    whole.extend_from_slice(number);

    let mut public = Vec::new();
    for part in [algorithm, curve, point] {
        put_string(&mut public, part);
    }
    // Large enough from the start, so that growing leaves no copy behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(content.len().saturating_add(size)));
    secret.extend_from_slice(&check.to_be_bytes());
    secret.extend_from_slice(&check.to_be_bytes());
    secret.extend_from_slice(&public);
    put_string(&mut secret, &whole);
    put_string(&mut secret, comment);
    let padding = secret.len().next_multiple_of(UNENCRYPTED_BLOCK_BYTES).saturating_sub(secret.len());
    secret.extend((1u8..).take(padding));

    let length = secret.len().saturating_add(public.len()).saturating_add(64);
    let mut file = Zeroizing::new(Vec::with_capacity(length));
    file.extend_from_slice(MAGIC);
    for part in [&b"none"[..], b"none", b""] {
        put_string(&mut file, part);
    }
    file.extend_from_slice(&1u32.to_be_bytes());
    put_string(&mut file, &public);
    put_string(&mut file, &secret);
    ssh_key::PrivateKey::from_bytes(&file).ok()
}
