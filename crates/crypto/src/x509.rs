//! The deployment's own certificate authority and the certificates it issues.
//!
//! Keys are ECDSA P-256, which every TLS client reads. The authority's key never leaves the program except
//! sealed; server keys are made anew for each certificate and are never stored.

mod bundle;
mod join;
mod machine;
mod workload;

use countersign_model::UnixMs;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use zeroize::{Zeroize, Zeroizing};

pub use self::join::{JOIN_TOKEN_PREFIX, JoinToken};
pub use self::machine::MachineUse;
pub use self::workload::{
    AUTHORITY_ROLE, CertificateRequest, Issued, IssuedCertificate, MAX_WORKLOAD_LIFETIME_MS, WorkloadKey,
};

/// The longest a server certificate lasts (the seventh law).
pub const MAX_SERVER_LIFETIME_MS: u64 = 12 * 3600 * 1000;

/// Certificates begin this long before now, for clients whose clock is a little behind.
const BACKDATED_MS: u64 = 5 * 60 * 1000;
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Why a certificate was not made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum X509Error {
    /// A server name that is neither a DNS name nor an IP address, or none at all.
    #[error("a server certificate needs DNS names or IP addresses")]
    Name,
    /// A lifetime of zero or over [`MAX_SERVER_LIFETIME_MS`], or a date that can't be written.
    #[error("a server certificate lasts at most 12 hours")]
    Lifetime,
    /// A lifetime of zero or over [`MAX_WORKLOAD_LIFETIME_MS`].
    #[error("a service's certificate lasts at most one hour")]
    WorkloadLifetime,
    /// The bytes are not a certificate request that proves possession of a P-256 key.
    #[error("not a certificate request with a proof of possession of its key")]
    Request,
    /// The text is not a join token.
    #[error("not a join token: it begins with {JOIN_TOKEN_PREFIX} and comes from 'countersign service invite'")]
    JoinToken,
    /// The private key can't be read.
    #[error("the private key can't be read")]
    Key,
    /// The certificate can't be read.
    #[error("the certificate can't be read")]
    Certificate,
    /// The stored authority can't be read, or its key and certificate don't belong together.
    #[error("the certificate authority's key and certificate can't be read or don't belong together")]
    Authority,
    /// The library could not make a key or certificate.
    #[error("the certificate could not be made")]
    Generation,
}

/// What is stored of a [`CertificateAuthority`].
pub struct AuthorityParts {
    /// The private key as PKCS #8, to be sealed.
    pub key_pkcs8_der: Zeroizing<Vec<u8>>,
    /// The certificate, public.
    pub certificate_pem: String,
}

/// A certificate for a server, with its key.
pub struct ServerCertificate {
    /// The certificate (the authority's own is what clients have already).
    pub chain_der: Vec<Vec<u8>>,
    /// The private key as PKCS #8.
    pub key_pkcs8_der: Zeroizing<Vec<u8>>,
    /// When it expires.
    pub expires: UnixMs,
}

/// An authority that issues the deployment's certificates.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    key_pkcs8_der: Zeroizing<Vec<u8>>,
    certificate_pem: String,
    certificate_der: Vec<u8>,
}

impl CertificateAuthority {
    /// A new authority, named `common_name`, that lasts `days`.
    ///
    /// # Errors
    /// [`X509Error::Authority`] for a name that isn't 1 to 64 bytes long; [`X509Error::Lifetime`];
    /// [`X509Error::Generation`].
    pub fn generate(common_name: &str, now: UnixMs, days: u32) -> Result<Self, X509Error> {
        let (key, key_pkcs8_der) = new_key()?;
        let mut params = authority_params(common_name)?;
        params.not_before = date(now.minus_ms(BACKDATED_MS))?;
        params.not_after = date(now.plus_ms(u64::from(days).saturating_mul(DAY_MS)))?;
        let certificate = params.self_signed(&key).map_err(|_| X509Error::Generation)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
            key_pkcs8_der,
        })
    }

    /// Reads what [`Self::to_parts`] gave.
    ///
    /// # Errors
    /// [`X509Error::Authority`] if either can't be read, the certificate isn't one that
    /// [`Self::generate`] made, or the key isn't the certificate's.
    pub fn from_parts(parts: AuthorityParts) -> Result<Self, X509Error> {
        let key_der = PrivatePkcs8KeyDer::from(parts.key_pkcs8_der.as_slice());
        let mut key = KeyPair::from_pkcs8_der_and_sign_algo(&key_der, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| X509Error::Authority)?;
        key.zeroize();
        let certificate =
            CertificateDer::from_pem_slice(parts.certificate_pem.as_bytes()).map_err(|_| X509Error::Authority)?;
        let certificate_der = certificate.to_vec();
        let mut store = RootCertStore::empty();
        store.add(certificate).map_err(|_| X509Error::Authority)?;
        let anchor = store.roots.first().ok_or(X509Error::Authority)?;
        let spki = anchor.subject_public_key_info.as_ref();
        if spki.is_empty() || !key.subject_public_key_info().ends_with(spki) {
            return Err(X509Error::Authority);
        }
        let name = common_name(anchor.subject.as_ref()).ok_or(X509Error::Authority)?;
        let issuer = Issuer::new(authority_params(name)?, key);
        let AuthorityParts { key_pkcs8_der, certificate_pem } = parts;
        Ok(Self { issuer, key_pkcs8_der, certificate_pem, certificate_der })
    }

    /// The key and certificate, to be stored.
    #[must_use]
    pub fn to_parts(&self) -> AuthorityParts {
        AuthorityParts { key_pkcs8_der: self.key_pkcs8_der.clone(), certificate_pem: self.certificate_pem.clone() }
    }

    /// The authority's certificate, for clients to trust.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The SHA-256 digest of the authority's certificate in DER: short enough to be handed on with an invitation.
    #[must_use]
    pub fn ca_sha256(&self) -> [u8; 32] {
        crate::sha256(&self.certificate_der)
    }

    /// A certificate for a server known by `names` (DNS names and IP addresses), with a new key.
    ///
    /// # Errors
    /// [`X509Error`].
    pub fn issue_server(
        &self,
        names: &[String],
        now: UnixMs,
        lifetime_ms: u64,
    ) -> Result<ServerCertificate, X509Error> {
        self.issue_machine(names, MachineUse::Server, now, lifetime_ms)
    }

    fn issue_named(
        &self,
        names: &[String],
        purposes: Vec<ExtendedKeyUsagePurpose>,
        now: UnixMs,
        lifetime_ms: u64,
    ) -> Result<ServerCertificate, X509Error> {
        if lifetime_ms == 0 || lifetime_ms > MAX_SERVER_LIFETIME_MS {
            return Err(X509Error::Lifetime);
        }
        let first = names.first().ok_or(X509Error::Name)?;
        let expires = UnixMs::from_seconds(now.plus_ms(lifetime_ms).seconds());
        let mut params = CertificateParams::new(names).map_err(|_| X509Error::Name)?;
        params.distinguished_name = named(first);
        params.not_before = date(now.minus_ms(BACKDATED_MS))?;
        params.not_after = date(expires)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        params.use_authority_key_identifier_extension = true;
        let (key, key_pkcs8_der) = new_key()?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|_| X509Error::Generation)?;
        Ok(ServerCertificate { chain_der: vec![certificate.der().to_vec()], key_pkcs8_der, expires })
    }
}

/// A new key that signs, and its PKCS #8 form. The signing key keeps a copy of that form, which is wiped here:
/// it signs without.
fn new_key() -> Result<(KeyPair, Zeroizing<Vec<u8>>), X509Error> {
    let mut key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| X509Error::Generation)?;
    let pkcs8_der = Zeroizing::new(key.serialize_der());
    key.zeroize();
    Ok((key, pkcs8_der))
}

fn authority_params(common_name: &str) -> Result<CertificateParams, X509Error> {
    if common_name.is_empty() || common_name.len() > COMMON_NAME_MAX_BYTES {
        return Err(X509Error::Authority);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = named(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn date(moment: UnixMs) -> Result<OffsetDateTime, X509Error> {
    let seconds = i64::try_from(moment.seconds()).map_err(|_| X509Error::Lifetime)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| X509Error::Lifetime)
}

/// RFC 5280, appendix A: `ub-common-name`. Also keeps every length in [`common_name`] in one byte.
const COMMON_NAME_MAX_BYTES: usize = 64;

/// The name in a subject that [`named`] wrote: one SET of one SEQUENCE of the identifier 2.5.4.3 and a UTF8String.
/// An issued certificate must repeat the authority's subject exactly.
fn common_name(subject: &[u8]) -> Option<&str> {
    let rest = element(subject, 0x31)?;
    let rest = element(rest, 0x30)?;
    let rest = rest.strip_prefix(&[0x06, 0x03, 0x55, 0x04, 0x03])?;
    str::from_utf8(element(rest, 0x0c)?).ok()
}

/// The content of the one DER element with this tag and a length of one byte that `bytes` is.
fn element(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let (header, content) = bytes.split_first_chunk::<2>()?;
    (header[0] == tag && header[1] < 0x80 && usize::from(header[1]) == content.len()).then_some(content)
}

#[cfg(test)]
mod tests;
