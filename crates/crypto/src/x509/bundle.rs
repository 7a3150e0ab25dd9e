//! A key and its certificates in one text, so that both are replaced at once.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::{ServerCertificate, WorkloadKey, X509Error};

const KEY: &str = "PRIVATE KEY";
const CERTIFICATE: &str = "CERTIFICATE";

/// RFC 7468, section 2: characters in a line.
const LINE_CHARS: usize = 64;

/// More certificates than this are not a chain of ours.
const CHAIN_MAX: usize = 4;

impl ServerCertificate {
    /// The key and the certificates in PEM (RFC 7468), key first.
    #[must_use]
    pub fn expose_pem(&self) -> Zeroizing<String> {
        let bytes = self.chain_der.iter().map(Vec::len).fold(self.key_pkcs8_der.len(), usize::saturating_add);
        // Room at once, so that no copy of the key is left behind where the text was before it grew: four characters
        // for three bytes, a line's end for 64 of them, and two lines around each.
        let room = bytes.saturating_mul(3).div_ceil(2).saturating_add(256);
        let mut text = Zeroizing::new(String::with_capacity(room));
        block(&mut text, KEY, &self.key_pkcs8_der);
        for certificate in &self.chain_der {
            block(&mut text, CERTIFICATE, certificate);
        }
        text
    }

    /// The key alone in PEM, for programs that want it in a file of its own.
    #[must_use]
    pub fn expose_key_pem(&self) -> Zeroizing<String> {
        let room = self.key_pkcs8_der.len().saturating_mul(3).div_ceil(2).saturating_add(128);
        let mut text = Zeroizing::new(String::with_capacity(room));
        block(&mut text, KEY, &self.key_pkcs8_der);
        text
    }

    /// The certificates alone in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        let mut text = String::new();
        self.chain_der.iter().for_each(|certificate| block(&mut text, CERTIFICATE, certificate));
        text
    }

    /// Reads what [`Self::expose_pem`] wrote.
    ///
    /// # Errors
    /// [`X509Error::Key`], [`X509Error::Certificate`].
    pub fn from_pem(text: &str) -> Result<Self, X509Error> {
        let key = key_block(text).ok_or(X509Error::Key)?;
        let key = WorkloadKey::from_pkcs8(key)?;
        let chain = CertificateDer::pem_slice_iter(text.as_bytes()).take(CHAIN_MAX);
        let chain = chain.map(|der| der.map(|der| der.to_vec())).collect::<Result<Vec<_>, _>>();
        key.with_chain(chain.map_err(|_| X509Error::Certificate)?)
    }
}

fn block(text: &mut String, label: &str, der: &[u8]) {
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(LINE_CHARS).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
}

/// The one private key in the text.
fn key_block(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (begin, end) = (format!("-----BEGIN {KEY}-----\n"), format!("-----END {KEY}-----\n"));
    let (_, after) = text.split_once(&begin)?;
    let (lines, rest) = after.split_once(&end)?;
    if rest.contains(&begin) {
        return None;
    }
    let mut encoded = Zeroizing::new(String::with_capacity(lines.len()));
    lines.lines().for_each(|line| encoded.push_str(line));
    STANDARD.decode(encoded.as_bytes()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use countersign_model::UnixMs;

    use super::*;
    use crate::x509::CertificateAuthority;

    const NOW: UnixMs = UnixMs(1_785_000_000_000);

    fn certificate() -> ServerCertificate {
        let authority = CertificateAuthority::generate("Countersign example", NOW, 10).unwrap();
        let key = WorkloadKey::generate().unwrap();
        let id = "spiffe://countersign/authority/a".parse().unwrap();
        let issued = authority.issue_workload(&key.request().unwrap(), &id, &[], NOW, 60_000).unwrap();
        key.with_chain(issued.chain_der).unwrap()
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let one = certificate();
        let text = one.expose_pem();
        assert!(text.lines().all(|line| line.len() <= LINE_CHARS));
        assert!(text.len() <= text.capacity() && text.capacity() < 2 * text.len());
        assert_eq!(*text, format!("{}{}", *one.expose_key_pem(), one.certificate_pem()));
        let again = ServerCertificate::from_pem(&text).unwrap();
        assert_eq!((&again.chain_der, again.expires), (&one.chain_der, one.expires));
        assert_eq!(*again.key_pkcs8_der, *one.key_pkcs8_der);
        assert!(crate::tls::CertificateSlot::new(&again).is_ok());
    }

    #[test]
    fn half_of_one_is_none() {
        let text = certificate().expose_pem();
        let certificates = text.find("-----BEGIN CERTIFICATE").unwrap();
        assert_eq!(ServerCertificate::from_pem("").err(), Some(X509Error::Key));
        assert_eq!(ServerCertificate::from_pem(&text[certificates..]).err(), Some(X509Error::Key));
        assert_eq!(ServerCertificate::from_pem(&text[..certificates]).err(), Some(X509Error::Certificate));
        assert_eq!(ServerCertificate::from_pem(&text[..certificates + 100]).err(), Some(X509Error::Certificate));
        assert_eq!(ServerCertificate::from_pem(&text.repeat(2)).err(), Some(X509Error::Key));
    }
}
