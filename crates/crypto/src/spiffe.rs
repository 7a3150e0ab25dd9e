//! Names of services: SPIFFE IDs of the form `spiffe://<trust domain>/<role>/<instance>`, and reading them from
//! certificates (X.509-SVID).
//!
//! What it is not: it verifies no certificate. A name that was read from one counts only after the chain was
//! verified, as [`crate::tls`] does.
//!
//! Follows the SPIFFE-ID and X509-SVID specifications, and accepts less: there are always exactly two path
//! segments.

use std::fmt;
use std::str::FromStr;

use countersign_model::UnixMs;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// SPIFFE-ID, section 2.1: the longest trust domain.
const TRUST_DOMAIN_MAX_BYTES: usize = 255;

/// The longest role or instance: as a DNS label, so that a whole name stays far below the 2,048 bytes of SPIFFE-ID,
/// section 2.3.
const SEGMENT_MAX_BYTES: usize = 63;

const SCHEME: &str = "spiffe://";

/// Why something is not the name of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// The text is not `spiffe://<trust domain>/<role>/<instance>`.
    #[error("a service's name has the form spiffe://TRUST-DOMAIN/ROLE/INSTANCE")]
    Form,
    /// A trust domain of other characters than lower-case letters, digits, `.`, `-` and `_`, or of no or over 255.
    #[error("a trust domain is 1 to 255 lower-case letters, digits, '.', '-' or '_'")]
    TrustDomain,
    /// A role or instance of other characters than letters, digits, `.`, `-` and `_`, or of no or over 63, or one
    /// that is `.` or `..`.
    #[error("a role or instance is 1 to 63 letters, digits, '.', '-' or '_'")]
    Segment,
    /// The bytes are not one certificate, or one of a certificate authority.
    #[error("not the certificate of a service")]
    Certificate,
    /// The certificate has no URI, or more than one.
    #[error("the certificate does not name exactly one service")]
    NotOne,
}

/// The name of one running service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    trust_domain: String,
    role: String,
    instance: String,
}

impl SpiffeId {
    /// The service `instance` in the role `role` of the deployment `trust_domain`.
    ///
    /// # Errors
    /// [`SpiffeError::TrustDomain`], [`SpiffeError::Segment`].
    pub fn new(trust_domain: &str, role: &str, instance: &str) -> Result<Self, SpiffeError> {
        if !is_trust_domain(trust_domain) {
            return Err(SpiffeError::TrustDomain);
        }
        if !is_segment(role) || !is_segment(instance) {
            return Err(SpiffeError::Segment);
        }
        Ok(Self { trust_domain: trust_domain.into(), role: role.into(), instance: instance.into() })
    }

    /// The deployment.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// What the service is: `gateway`, `keys`, `store`, `authority` or `monitor`.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Which of the services of that role.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

/// Whether `text` can be a trust domain.
#[must_use]
pub fn is_trust_domain(text: &str) -> bool {
    (1..=TRUST_DOMAIN_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}

/// Whether `text` can be a role or an instance.
#[must_use]
pub fn is_segment(text: &str) -> bool {
    (1..=SEGMENT_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
        && text != "."
        && text != ".."
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.trust_domain, self.role, self.instance)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;

    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeError::Form)?;
        let mut parts = rest.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(trust_domain), Some(role), Some(instance), None) => Self::new(trust_domain, role, instance),
            _ => Err(SpiffeError::Form),
        }
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = SpiffeError;

    fn try_from(text: String) -> Result<Self, SpiffeError> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.to_string()
    }
}

/// The service that a certificate in DER names. The caller has verified its chain, or made it.
///
/// # Errors
/// [`SpiffeError::NotOne`] unless there is exactly one URI among its names (X509-SVID, section 2);
/// [`SpiffeError::Certificate`] for a certificate that may sign others (section 5.2).
pub fn of_certificate(der: &[u8]) -> Result<SpiffeId, SpiffeError> {
    let certificate = parsed(der)?;
    let mut found = None;
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => return Err(SpiffeError::Certificate),
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
                return Err(SpiffeError::Certificate);
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    match name {
                        GeneralName::URI(uri) if found.is_none() => found = Some(*uri),
                        GeneralName::URI(_) | GeneralName::Invalid(..) => return Err(SpiffeError::NotOne),
                        _ => {}
                    }
                }
            }
            ParsedExtension::ParseError { .. } => return Err(SpiffeError::Certificate),
            _ => {}
        }
    }
    found.ok_or(SpiffeError::NotOne)?.parse()
}

/// When a certificate in DER begins and ends to be valid.
///
/// # Errors
/// [`SpiffeError::Certificate`].
pub fn validity_of_certificate(der: &[u8]) -> Result<(UnixMs, UnixMs), SpiffeError> {
    let certificate = parsed(der)?;
    let moment = |seconds: i64| u64::try_from(seconds).map(UnixMs::from_seconds).map_err(|_| SpiffeError::Certificate);
    let validity = certificate.validity();
    Ok((moment(validity.not_before.timestamp())?, moment(validity.not_after.timestamp())?))
}

fn parsed(der: &[u8]) -> Result<X509Certificate<'_>, SpiffeError> {
    match X509Certificate::from_der(der) {
        Ok((&[], certificate)) => Ok(certificate),
        _ => Err(SpiffeError::Certificate),
    }
}

#[cfg(test)]
mod tests;
