//! Who the deployment's own services are: letting them join, renewing their certificates, and sending them away.
//!
//! A service makes a key of its own and asks for a certificate of at most an hour. At first contact it proves who it
//! is with a join token, which an operator asked for, or with a token of a platform that the deployment trusts; after
//! that, with the certificate that it has. Nothing that is kept here lets anybody join: of a join token there is a
//! digest, and that only until it is used or ten minutes old.
//!
//! INVARIANT no-second-authority: nobody can join or be renewed in the role `authority`. The authority makes its own
//! certificate ([`Authority::own_certificate`]).

pub(crate) mod fact;
mod invite;
mod join;
mod platform;
mod registry;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use countersign_audit::{Body, Reason, Record, Service, Verdict};
use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::tls;
use countersign_crypto::x509::{
    AUTHORITY_ROLE, CertificateRequest, Issued, JoinToken, MAX_WORKLOAD_LIFETIME_MS, X509Error,
};
use countersign_model::{RequestId, UnixMs};
use zeroize::Zeroizing;

pub use self::platform::{PlatformRule, PlatformRuleError};
use crate::authority::Authority;
use crate::people::KeySource;

/// The roles that services can join in. `monitor` does not exist yet.
pub const JOINING_ROLES: [&str; 4] = ["gateway", "keys", "store", "monitor"];

/// The trust domain of a deployment that was given none.
pub const DEFAULT_TRUST_DOMAIN: &str = "countersign";

/// How long a join token is good.
pub const JOIN_TOKEN_MS: u64 = 10 * 60 * 1000;

/// How long a certificate lasts if nothing else is said: less than the hour that is allowed, so that there is room for
/// clocks that are behind.
pub const DEFAULT_CERTIFICATE_MS: u64 = 55 * 60 * 1000;

/// How services come by their certificates.
pub struct IdentityRules {
    /// How long a certificate lasts; at most an hour, at least a second.
    pub certificate_ms: u64,
    /// DNS names and IP addresses under which clients reach the gateways; they are in the certificates of gateways.
    pub gateway_names: Vec<String>,
    /// Those under which the monitor's port is reached; they are in its certificate.
    pub monitor_names: Vec<String>,
    /// The platforms whose tokens are believed. The first that fits counts.
    pub platforms: Vec<PlatformRule>,
    /// Where the platforms' keys come from; `None` is from where those of identity providers do.
    pub platform_keys: Option<Arc<dyn KeySource>>,
}

impl Default for IdentityRules {
    fn default() -> Self {
        Self {
            certificate_ms: DEFAULT_CERTIFICATE_MS,
            gateway_names: Vec::new(),
            monitor_names: Vec::new(),
            platforms: Vec::new(),
            platform_keys: None,
        }
    }
}

impl fmt::Debug for IdentityRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityRules")
            .field("certificate_ms", &self.certificate_ms)
            .field("gateway_names", &self.gateway_names)
            .field("monitor_names", &self.monitor_names)
            .field("platforms", &self.platforms)
            .finish_non_exhaustive()
    }
}

/// How a service proves who it is at first contact.
pub enum JoinProof {
    /// With what an operator gave it.
    Token(JoinToken),
    /// With a token of the platform that runs it.
    Platform(Zeroizing<String>),
}

/// Which way of proving, and of what: never the secret.
impl fmt::Debug for JoinProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token) => token.fmt(f),
            Self::Platform(_) => f.write_str("Platform(..)"),
        }
    }
}

/// A service that wants to join.
#[derive(Debug)]
pub struct JoinRequest {
    /// Names this attempt in the audit record.
    pub request: RequestId,
    /// Who it says it is.
    pub proof: JoinProof,
    /// What it wants to be. Where that is not what the proof is good for, it is refused, and a join token stays good.
    pub role: String,
    /// A certificate request (PKCS #10) in DER.
    pub certificate_request: Vec<u8>,
    /// Where it calls from, for the audit record.
    pub address: Option<IpAddr>,
}

/// Why a service did not get a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefused {
    /// The proof is no good. An unknown token, a used one, an old one, a wrong one, a service that was removed: all
    /// one answer.
    #[error("the service was not recognised: its join token was used, is older than ten minutes, or is not known here")]
    Refused,
    /// The caller's: the certificate request is no good. A join token is good for another try.
    #[error("not a certificate request with a proof of possession of its key")]
    Request,
    /// The operator's: a disk, a key or the audit record can't be written, or a platform's keys can't be fetched.
    #[error("services can't be certified at the moment")]
    Unavailable,
}

impl From<X509Error> for JoinRefused {
    fn from(error: X509Error) -> Self {
        if error == X509Error::Request { Self::Request } else { Self::Unavailable }
    }
}

impl JoinRefused {
    const fn reason(self) -> Reason {
        match self {
            Self::Refused => Reason::BadProof,
            Self::Request => Reason::Invalid,
            Self::Unavailable => Reason::Unavailable,
        }
    }
}

/// What is put on record of a join or renewal.
struct Attempt {
    request: RequestId,
    action: &'static str,
    /// The service, once it is known.
    id: Option<SpiffeId>,
    /// How it proved who it is, and from where: no secret.
    detail: String,
}

impl Authority {
    /// This authority with these rules for its services.
    ///
    /// # Errors
    /// [`PlatformRuleError`] for the first rule that can't be used.
    pub fn with_identity(mut self, mut rules: IdentityRules) -> Result<Self, PlatformRuleError> {
        rules.platforms.iter().try_for_each(PlatformRule::check)?;
        let issuers = || Arc::clone(&self.people.issuers) as Arc<dyn KeySource>;
        rules.platform_keys.get_or_insert_with(issuers);
        rules.certificate_ms = rules.certificate_ms.clamp(1000, MAX_WORKLOAD_LIFETIME_MS);
        self.identity = rules;
        Ok(self)
    }

    /// The name of the deployment in its services' names.
    #[must_use]
    pub fn trust_domain(&self) -> Arc<str> {
        self.registry.trust_domain()
    }

    /// A certificate for this authority itself. On record before it is given out.
    ///
    /// # Errors
    /// [`JoinRefused::Request`], [`JoinRefused::Unavailable`].
    pub async fn own_certificate(
        &self,
        request: RequestId,
        instance: &str,
        certificate_request: &[u8],
    ) -> Result<Issued, JoinRefused> {
        let now = self.registry.clock().now();
        let id = SpiffeId::new(&self.registry.trust_domain(), AUTHORITY_ROLE, instance);
        let issued = match id {
            Ok(id) => self.certify(&id, certificate_request, now),
            Err(_) => Err(JoinRefused::Request),
        };
        let id = issued.as_ref().ok().map(|issued| issued.id.clone());
        let attempt = Attempt { request, action: "renew_certificate", id, detail: "the authority's own".to_owned() };
        self.on_record(attempt, issued, now).await
    }

    /// The certificate, for a service that was recognised.
    fn certify(&self, id: &SpiffeId, request: &[u8], now: UnixMs) -> Result<Issued, JoinRefused> {
        let request = CertificateRequest::from_der(request)?;
        let names = match id.role() {
            "gateway" => self.identity.gateway_names.as_slice(),
            "monitor" => self.identity.monitor_names.as_slice(),
            _ => &[],
        };
        Ok(self.registry.issue(&request, id, names, now, self.identity.certificate_ms)?)
    }

    /// Puts what came of it on record, and gives it on only if that worked.
    async fn on_record(
        &self,
        attempt: Attempt,
        outcome: Result<Issued, JoinRefused>,
        now: UnixMs,
    ) -> Result<Issued, JoinRefused> {
        let reason = outcome.as_ref().err().map(|refused| refused.reason());
        let verdict = match reason {
            None => Verdict::Released,
            Some(Reason::Unavailable) => Verdict::Failed,
            Some(_) => Verdict::Refused,
        };
        let mut detail = attempt.detail;
        if let Ok(issued) = &outcome {
            let leaf = issued.chain_der.first().map(Vec::as_slice).unwrap_or_default();
            let sha256 = hex::encode(tls::certificate_sha256(leaf));
            detail = format!("{detail}; certificate {sha256} until {}", crate::time::rfc3339(issued.expires));
        }
        let record = Record {
            time: now,
            request: attempt.request,
            service: Service::Authority,
            door: None,
            verdict,
            tenant: None,
            tally: None,
            body: Body {
                user_name: attempt.id.map(String::from),
                action: attempt.action.to_owned(),
                reason,
                epoch: self.facts().epoch,
                detail: Some(detail),
                ..Body::default()
            },
        };
        self.audit.append(record).await.map_err(|_| JoinRefused::Unavailable)?;
        // INVARIANT no-stale-authority: another may have removed the service since, and this process not have heard of it.
        if self.registry.is_held() { outcome } else { Err(JoinRefused::Unavailable) }
    }
}

#[cfg(test)]
mod tests;
