//! Looking for credentials in bytes, whatever they are part of.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign_model::UnixMs;

/// What a credential is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A JWT in compact form.
    Jwt,
    JoinToken,
    /// An X.509 certificate: PEM, or DER as it is.
    Certificate,
    /// A private key in clear: PEM, PKCS #8, SEC 1 or OpenSSH.
    PrivateKey,
}

/// One credential.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub kind: Kind,
    /// What it is, decoded where it is known how.
    pub bytes: Vec<u8>,
    /// When it says that it ends.
    pub expires: Option<UnixMs>,
}

/// How private keys begin, in DER and in OpenSSH's format.
const KEYS: &[&[u8]] = &[
    // PKCS #8 of Ed25519: version 1, and version 2 with the public key.
    b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70",
    b"\x30\x51\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x70",
    b"\x30\x53\x02\x01\x01\x30\x05\x06\x03\x2b\x65\x70",
    // PKCS #8 of ECDSA: version, then the OID of elliptic curve keys.
    b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
    b"\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
    // SEC 1 of P-256.
    b"\x30\x77\x02\x01\x01\x04\x20",
    // PKCS #8 of RSA.
    b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
    b"openssh-key-v1\0",
    b"PRIVATE KEY-----",
];

/// How the same begin in base64, where that begins with the key.
const ENCODED_KEYS: &[&[u8]] = &[
    b"MC4CAQAwBQYDK2Vw",
    b"MFECAQEwBQYDK2Vw",
    b"MFMCAQEwBQYDK2Vw",
    b"MIGHAgEAMBMGByqGSM49AgEG",
    b"MIG2AgEAMBAGByqGSM49AgEG",
    b"MHcCAQEEI",
    b"b3BlbnNzaC1rZXktdjEA",
];

/// Every credential in `content`, each once.
pub fn search(content: &[u8]) -> BTreeSet<Found> {
    let mut found = BTreeSet::new();
    // PEM in JSON has its ends of line written out.
    let unescaped = replaced(content, b"\\n", b"\n");
    for text in [content, &unescaped] {
        jwts(text, &mut found);
        join_tokens(text, &mut found);
        certificates(text, &mut found);
        keys(text, &mut found);
    }
    found
}

/// Whether `needle` occurs.
pub fn contains(content: &[u8], needle: &[u8]) -> bool {
    positions(content, needle).next().is_some()
}

/// Where `needle` occurs.
fn positions<'a>(content: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let (first, mut from) = (needle[0], 0);
    std::iter::from_fn(move || {
        loop {
            let at = from + content.get(from..)?.iter().position(|byte| *byte == first)?;
            from = at + 1;
            if content[at..].starts_with(needle) {
                return Some(at);
            }
        }
    })
}

fn replaced(content: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let (mut out, mut last) = (Vec::with_capacity(content.len()), 0);
    for at in positions(content, from) {
        out.extend_from_slice(&content[last..at]);
        out.extend_from_slice(to);
        last = at + from.len();
    }
    out.extend_from_slice(&content[last..]);
    out
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn run(content: &[u8]) -> &[u8] {
    let length = content.iter().position(|byte| !is_base64url(*byte)).unwrap_or(content.len());
    &content[..length]
}

/// Three parts, the first of which is JSON: `{"` in base64url begins with `eyJ`, with blanks after the brace with `ey`.
fn jwts(content: &[u8], found: &mut BTreeSet<Found>) {
    for at in positions(content, b"ey") {
        let header = run(&content[at..]);
        let Some(rest) = content[at + header.len()..].strip_prefix(b".") else { continue };
        let payload = run(rest);
        let Some(rest) = rest[payload.len()..].strip_prefix(b".") else { continue };
        let signature = run(rest);
        let json = |part: &[u8]| {
            let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
            serde_json::from_slice::<serde_json::Value>(&bytes).ok()
        };
        if signature.len() < 20 || json(header).is_none() {
            continue;
        }
        let expires = json(payload).and_then(|claims| claims["exp"].as_u64()).map(UnixMs::from_seconds);
        let bytes = content[at..at + header.len() + payload.len() + signature.len() + 2].to_vec();
        found.insert(Found { kind: Kind::Jwt, bytes, expires });
    }
}

fn join_tokens(content: &[u8], found: &mut BTreeSet<Found>) {
    for at in positions(content, b"csj1.") {
        let rest = run(&content[at + 5..]);
        if rest.len() >= 20 {
            found.insert(Found { kind: Kind::JoinToken, bytes: rest.to_vec(), expires: None });
        }
    }
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fn certificates(content: &[u8], found: &mut BTreeSet<Found>) {
    let mut take = |der: &[u8]| {
        if let Some((length, expires)) = certificate(der) {
            found.insert(Found { kind: Kind::Certificate, bytes: der[..length].to_vec(), expires: Some(expires) });
        }
    };
    for at in positions(content, BEGIN) {
        take(&pem_body(&content[at + BEGIN.len()..]));
    }
    // In base64 without a frame, as in JSON: a sequence with two bytes of length.
    for at in positions(content, b"MII") {
        take(&pem_body(&content[at..]));
    }
    for at in positions(content, b"\x30\x82") {
        take(&content[at..]);
    }
}

/// The bytes of a body in base64, up to what is none.
fn pem_body(content: &[u8]) -> Vec<u8> {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(byte);
    let mut text: Vec<u8> = content.iter().take_while(is_part).copied().filter(|b| !b"\r\n=".contains(b)).collect();
    // What is left over of four digits is the end of a body, or of another text.
    match text.len() % 4 {
        0 => {}
        1 => drop(text.pop()),
        more => text.extend(&b"=="[..4 - more]),
    }
    STANDARD.decode(&text).unwrap_or_default()
}

fn keys(content: &[u8], found: &mut BTreeSet<Found>) {
    for mark in KEYS.iter().chain(ENCODED_KEYS) {
        for at in positions(content, mark) {
            // PEM is decoded, so that the key itself can be looked for elsewhere.
            let bytes = match content[at..].strip_prefix(b"PRIVATE KEY-----") {
                // The line that ends a key.
                Some(_) if content[..at].ends_with(b"-----END ") || content[..at].ends_with(b"-----END OPENSSH ") => {
                    continue;
                }
                Some(body) => pem_body(body),
                None => content[at..].iter().take(64).copied().collect(),
            };
            found.insert(Found { kind: Kind::PrivateKey, bytes, expires: None });
        }
    }
}

/// A value in DER: its tag, its content, and what comes after it.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..]),
        _ => return None,
    };
    Some((*tag, rest.get(..length)?, rest.get(length..)?))
}

/// How long a certificate is and when it expires (RFC 5280, section 4.1); `None` if it is none.
fn certificate(der: &[u8]) -> Option<(usize, UnixMs)> {
    let (0x30, whole, after) = value(der)? else { return None };
    let (0x30, signed, _) = value(whole)? else { return None };
    let (0xa0, _, rest) = value(signed)? else { return None };
    let (0x02, _, rest) = value(rest)? else { return None };
    let (0x30, _, rest) = value(rest)? else { return None };
    let (0x30, _, rest) = value(rest)? else { return None };
    let (0x30, validity, _) = value(rest)? else { return None };
    let (_, _, rest) = value(validity)?;
    let (tag, text, _) = value(rest)?;
    Some((der.len() - after.len(), time(tag, std::str::from_utf8(text).ok()?)?))
}

/// UTCTime or GeneralizedTime.
fn time(tag: u8, text: &str) -> Option<UnixMs> {
    let text = match tag {
        0x17 => format!("20{text}"),
        0x18 => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let seconds = part(8, 10)? * 3600 + part(10, 12)? * 60 + part(12, 14)?;
    // Days since 1970-01-01, counting years from March.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    Some(UnixMs::from_seconds((days.checked_sub(719_468)?) * 86_400 + seconds))
}
