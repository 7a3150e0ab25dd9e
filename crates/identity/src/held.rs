//! A key with its certificate, and how a service comes by the first.

use std::fmt;
use std::sync::Arc;

use countersign_crypto::spiffe::{self, SpiffeId};
use countersign_crypto::tls::{self, CertificateSlot};
use countersign_crypto::x509::{Issued, ServerCertificate, WorkloadKey};
use countersign_model::{Clock, UnixMs};
use serde::{Deserialize, Serialize};

use crate::issuer::{Ask, IssueFailure, Issuer, Proof};

/// What a service knows of its authority. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Where it can be reached: host and port.
    pub authority: String,
    /// Its certificate authority.
    pub ca_pem: String,
    /// The deployment's name in its services' names.
    pub trust_domain: String,
}

/// Why a service has no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// The authority does not accept the proof or the present certificate.
    #[error("the authority does not accept who this service says it is")]
    Refused,
    /// The authority can't be reached or can't answer now.
    #[error("the authority is not available")]
    Unavailable,
    /// The authority gave one that is not what was asked for: for another role, key, deployment or time.
    #[error("the authority gave a certificate that is not the one asked for")]
    Wrong,
    /// A key could not be made.
    #[error("a key could not be made")]
    Crypto,
}

impl From<IssueFailure> for NotIssued {
    fn from(failure: IssueFailure) -> Self {
        match failure {
            IssueFailure::Refused => Self::Refused,
            IssueFailure::Unavailable => Self::Unavailable,
        }
    }
}

/// A key with its certificate.
pub struct Held {
    pub(crate) id: SpiffeId,
    pub(crate) certificate: ServerCertificate,
    pub(crate) known: Known,
    pub(crate) slot: Arc<CertificateSlot>,
    /// Since when it is held, as far as that matters for the half of its life.
    pub(crate) since: UnixMs,
}

impl Held {
    /// From a key, its certificate, and what goes with it.
    pub(crate) fn new(certificate: ServerCertificate, known: Known, since: Option<UnixMs>) -> Option<Self> {
        let leaf = certificate.chain_der.first()?;
        let id = spiffe::of_certificate(leaf).ok()?;
        let (begins, _) = spiffe::validity_of_certificate(leaf).ok()?;
        let slot = CertificateSlot::new(&certificate).ok()?;
        let fits = id.trust_domain() == known.trust_domain;
        fits.then(|| Self { id, certificate, known, slot, since: since.unwrap_or(begins) })
    }

    /// The service's name.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// When the certificate expires.
    #[must_use]
    pub const fn expires(&self) -> UnixMs {
        self.certificate.expires
    }

    /// Whether the certificate is still good.
    #[must_use]
    pub fn is_valid(&self, now: UnixMs) -> bool {
        now < self.expires()
    }

    /// What the service shows at both ends of connections.
    #[must_use]
    pub fn slot(&self) -> Arc<CertificateSlot> {
        Arc::clone(&self.slot)
    }

    /// What is known of the authority.
    #[must_use]
    pub const fn known(&self) -> &Known {
        &self.known
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("id", &self.id).field("expires", &self.expires()).finish_non_exhaustive()
    }
}

/// The first certificate, in the role `role`, for a new key. The authority is at `authority` (host and port); with a
/// join token it must be the one that the token names.
///
/// # Errors
/// [`NotIssued`].
pub async fn join(
    issuer: &dyn Issuer,
    proof: &Proof,
    role: &str,
    authority: &str,
    clock: &dyn Clock,
) -> Result<Held, NotIssued> {
    let expected = match proof {
        Proof::Token(token) => Some(token.ca_sha256()),
        Proof::Platform(_) => None,
    };
    let (key, issued) = ask(issuer, Ask::Join { proof, role }).await?;
    let is_other = |sha256| tls::pem_sha256(&issued.ca_pem) != Some(sha256);
    if issued.id.role() != role || expected.is_some_and(is_other) {
        return Err(NotIssued::Wrong);
    }
    let known = Known {
        authority: authority.to_owned(),
        ca_pem: issued.ca_pem.clone(),
        trust_domain: issued.id.trust_domain().to_owned(),
    };
    hold(&key, issued, known, clock)
}

/// The first certificate from an issuer that needs no proof, because it is in the same process: the authority's own.
///
/// # Errors
/// [`NotIssued`].
pub async fn certify(issuer: &dyn Issuer, authority: &str, clock: &dyn Clock) -> Result<Held, NotIssued> {
    let (key, issued) = ask(issuer, Ask::Renew).await?;
    let known = Known {
        authority: authority.to_owned(),
        ca_pem: issued.ca_pem.clone(),
        trust_domain: issued.id.trust_domain().to_owned(),
    };
    hold(&key, issued, known, clock)
}

/// A new key and what the issuer gives for it.
pub(crate) async fn ask(issuer: &dyn Issuer, ask: Ask<'_>) -> Result<(WorkloadKey, Issued), NotIssued> {
    let key = WorkloadKey::generate().map_err(|_| NotIssued::Crypto)?;
    let request = key.request().map_err(|_| NotIssued::Crypto)?;
    let issued = issuer.issue(ask, &request).await?;
    Ok((key, issued))
}

/// Holds what was issued, if it is for this key, names who it says it names, and is good now.
pub(crate) fn hold(key: &WorkloadKey, issued: Issued, known: Known, clock: &dyn Clock) -> Result<Held, NotIssued> {
    let now = clock.now();
    let certificate = key.with_chain(issued.chain_der).map_err(|_| NotIssued::Wrong)?;
    let held = Held::new(certificate, known, Some(now)).ok_or(NotIssued::Wrong)?;
    let is_right = held.id == issued.id && held.is_valid(now) && held.known.ca_pem == issued.ca_pem;
    if is_right { Ok(held) } else { Err(NotIssued::Wrong) }
}
