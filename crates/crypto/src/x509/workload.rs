//! Certificates of services: short-lived, for a key that the service made and never shows.

use std::fmt;

use countersign_model::{Entropy, UnixMs};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use zeroize::{Zeroize, Zeroizing};

use super::{BACKDATED_MS, CertificateAuthority, ServerCertificate, X509Error, date, new_key};
use crate::SystemEntropy;
use crate::spiffe::{self, SpiffeId};

/// The longest that a service's certificate is valid, from its first moment to its last (the seventh law).
pub const MAX_WORKLOAD_LIFETIME_MS: u64 = 3600 * 1000;

/// The role whose certificate comes with the authority's own, for those that know only its fingerprint.
pub const AUTHORITY_ROLE: &str = "authority";

/// The longest certificate request that is read. Ours have about 200 bytes.
const REQUEST_MAX_BYTES: usize = 4096;

/// An uncompressed point of P-256 (SEC 1, section 2.3.3).
const POINT_BYTES: usize = 65;

/// The most names beside the service's own.
const NAMES_MAX: usize = 64;

const SERIAL_BYTES: usize = 16;

/// The private key of a service. It never leaves the service.
pub struct WorkloadKey {
    pair: KeyPair,
    pkcs8_der: Zeroizing<Vec<u8>>,
}

impl WorkloadKey {
    /// A new random key, ECDSA on P-256.
    ///
    /// # Errors
    /// [`X509Error::Generation`].
    pub fn generate() -> Result<Self, X509Error> {
        let (pair, pkcs8_der) = new_key()?;
        Ok(Self { pair, pkcs8_der })
    }

    /// Reads what [`Self::expose_pkcs8`] gave.
    ///
    /// # Errors
    /// [`X509Error::Key`].
    pub fn from_pkcs8(pkcs8_der: Zeroizing<Vec<u8>>) -> Result<Self, X509Error> {
        let der = PrivatePkcs8KeyDer::from(pkcs8_der.as_slice());
        let mut pair =
            KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(|_| X509Error::Key)?;
        pair.zeroize();
        Ok(Self { pair, pkcs8_der })
    }

    /// The key as PKCS #8, for the one place that stores it: a file of mode 0600.
    #[must_use]
    pub fn expose_pkcs8(&self) -> &[u8] {
        &self.pkcs8_der
    }

    /// Asks for a certificate, and proves possession of the key. Says nothing of who asks: whoever issues knows.
    ///
    /// # Errors
    /// [`X509Error::Generation`].
    pub fn request(&self) -> Result<CertificateRequest, X509Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.pair).map_err(|_| X509Error::Generation)?;
        CertificateRequest::from_der(request.der())
    }

    /// The key together with what was issued for it.
    ///
    /// # Errors
    /// [`X509Error::Certificate`] if there is no certificate or it can't be read. Whether it is for this key is
    /// found out by [`CertificateSlot`](crate::tls::CertificateSlot).
    pub fn with_chain(&self, chain_der: Vec<Vec<u8>>) -> Result<ServerCertificate, X509Error> {
        let leaf = chain_der.first().ok_or(X509Error::Certificate)?;
        let (_, expires) = spiffe::validity_of_certificate(leaf).map_err(|_| X509Error::Certificate)?;
        Ok(ServerCertificate { chain_der, key_pkcs8_der: self.pkcs8_der.clone(), expires })
    }
}

impl fmt::Debug for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkloadKey(..)")
    }
}

/// A request for a certificate (PKCS #10, RFC 2986), whose signature was verified.
pub struct CertificateRequest {
    der: Vec<u8>,
    public: rcgen::PublicKey,
}

impl CertificateRequest {
    /// Reads a request. Nothing of it counts but the public key and the proof that the sender has the private one:
    /// names, uses and lifetimes that it may ask for are not looked at.
    ///
    /// # Errors
    /// [`X509Error::Request`] unless it is signed by the P-256 key that it is about.
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        if der.len() > REQUEST_MAX_BYTES {
            return Err(X509Error::Request);
        }
        let parsed = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
            .map_err(|_| X509Error::Request)?;
        // The library would pass over what comes after the request.
        let (rest, _) = X509CertificationRequest::from_der(der).map_err(|_| X509Error::Request)?;
        let public = parsed.public_key;
        // The library tells curves apart by the signature's digest alone.
        if !rest.is_empty() || public.algorithm() != &PKCS_ECDSA_P256_SHA256 || public.der_bytes().len() != POINT_BYTES
        {
            return Err(X509Error::Request);
        }
        Ok(Self { der: der.to_vec(), public })
    }

    /// The public key: an uncompressed point (SEC 1, section 2.3.3).
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.public.der_bytes()
    }

    /// The request in DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }
}

impl fmt::Debug for CertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateRequest(..)")
    }
}

/// A certificate that was issued to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The certificate in DER; for the role `authority` followed by the certificate authority's own.
    pub chain_der: Vec<Vec<u8>>,
    /// When it expires.
    pub expires: UnixMs,
}

/// Everything that a service gets when it joins or renews: nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The service's name, as the authority chose it.
    pub id: SpiffeId,
    /// The certificate in DER, and what comes after it in the chain.
    pub chain_der: Vec<Vec<u8>>,
    /// When it expires.
    pub expires: UnixMs,
    /// The certificate authority to trust.
    pub ca_pem: String,
}

impl CertificateAuthority {
    /// A certificate for the service `id` with the key of `request`, that is good for both ends of a connection.
    /// `names` (DNS names and IP addresses) are only for a gateway, whose public door shows it to clients.
    ///
    /// # Errors
    /// [`X509Error::WorkloadLifetime`] for a lifetime of zero or over [`MAX_WORKLOAD_LIFETIME_MS`];
    /// [`X509Error::Name`]; [`X509Error::Generation`].
    pub fn issue_workload(
        &self,
        request: &CertificateRequest,
        id: &SpiffeId,
        names: &[String],
        now: UnixMs,
        lifetime_ms: u64,
    ) -> Result<IssuedCertificate, X509Error> {
        if lifetime_ms == 0 || lifetime_ms > MAX_WORKLOAD_LIFETIME_MS {
            return Err(X509Error::WorkloadLifetime);
        }
        if names.len() > NAMES_MAX {
            return Err(X509Error::Name);
        }
        let expires = UnixMs::from_seconds(now.plus_ms(lifetime_ms).seconds());
        let begins = now.minus_ms(BACKDATED_MS).max(expires.minus_ms(MAX_WORKLOAD_LIFETIME_MS));
        let mut params = CertificateParams::new(names).map_err(|_| X509Error::Name)?;
        let uri = id.to_string().as_str().try_into().map_err(|_| X509Error::Name)?;
        params.subject_alt_names.push(SanType::URI(uri));
        let mut subject = DistinguishedName::new();
        // What PostgreSQL maps to a role of its own; which instance it is stands in the SPIFFE ID.
        subject.push(DnType::CommonName, id.role());
        params.distinguished_name = subject;
        params.not_before = date(begins)?;
        params.not_after = date(expires)?;
        params.serial_number = Some(serial(&SystemEntropy));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&request.public, &self.issuer).map_err(|_| X509Error::Generation)?;
        let mut chain_der = vec![certificate.der().to_vec()];
        if id.role() == AUTHORITY_ROLE {
            chain_der.push(self.certificate_der.clone());
        }
        Ok(IssuedCertificate { chain_der, expires })
    }
}

/// Random, as the same key may be certified again; positive and not zero (RFC 5280, section 4.1.2.2).
fn serial(entropy: &dyn Entropy) -> SerialNumber {
    let mut bytes = [0u8; SERIAL_BYTES];
    entropy.fill(&mut bytes);
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    SerialNumber::from_slice(&bytes)
}

#[cfg(test)]
mod tests;
