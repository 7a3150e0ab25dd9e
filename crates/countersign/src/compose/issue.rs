//! Certificates: from the authority in this process to its own services, and over the wire to others.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use countersign_authority::Authority;
use countersign_authority::identity::{JoinProof, JoinRefused, JoinRequest};
use countersign_crypto::tls::Peer;
use countersign_crypto::x509::{CertificateRequest, Issued};
use countersign_guard::Refusal;
use countersign_identity::{Ask, IssueFailure, Issuer, Proof};
use countersign_model::{Clock, Entropy, RequestId, Service};
use countersign_wire::{CallRefused, Failed, Issue, Joining};

/// The authority, as it certifies the services that are one process with it.
pub(super) struct Inside<'a> {
    pub(super) authority: &'a Authority,
    pub(super) service: Service,
    pub(super) instance: &'a str,
    pub(super) clock: &'a dyn Clock,
    pub(super) entropy: &'a dyn Entropy,
}

#[async_trait]
impl Issuer for Inside<'_> {
    async fn issue(&self, _: Ask<'_>, request: &CertificateRequest) -> Result<Issued, IssueFailure> {
        let id = RequestId::new(self.clock.now(), self.entropy);
        let der = request.as_der();
        let issued = if self.service == Service::Authority {
            self.authority.own_certificate(id, self.instance, der).await
        } else {
            self.authority.inside_certificate(id, self.service.as_str(), self.instance, der).await
        };
        issued.map_err(|refused| match refused {
            JoinRefused::Refused | JoinRefused::Request => IssueFailure::Refused,
            JoinRefused::Unavailable => IssueFailure::Unavailable,
        })
    }
}

/// The same for as long as the process runs.
pub(super) struct Kept {
    pub(super) authority: Arc<Authority>,
    pub(super) service: Service,
    pub(super) instance: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

#[async_trait]
impl Issuer for Kept {
    async fn issue(&self, ask: Ask<'_>, request: &CertificateRequest) -> Result<Issued, IssueFailure> {
        let Self { authority, service, instance, clock, entropy } = self;
        let (clock, entropy) = (&**clock, &**entropy);
        Inside { authority, service: *service, instance, clock, entropy }.issue(ask, request).await
    }
}

/// The authority, as the wire asks it for certificates.
pub(super) struct Outside {
    pub(super) authority: Arc<Authority>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

impl Outside {
    fn request(&self) -> RequestId {
        RequestId::new(self.clock.now(), &*self.entropy)
    }
}

const fn failed(refused: JoinRefused) -> Failed {
    match refused {
        JoinRefused::Refused => Failed::Refused(Refusal::Forbidden),
        JoinRefused::Request => Failed::Call(CallRefused::Malformed),
        JoinRefused::Unavailable => Failed::Unavailable,
    }
}

#[async_trait]
impl Issue for Outside {
    async fn join(&self, joining: Joining) -> Result<Issued, Failed> {
        let Joining { proof, role, certificate_request, address } = joining;
        let proof = match proof {
            Proof::Token(token) => JoinProof::Token(token),
            Proof::Platform(token) => JoinProof::Platform(token),
        };
        let join = JoinRequest { request: self.request(), proof, role, certificate_request, address };
        self.authority.join(join).await.map_err(failed)
    }

    async fn renew(
        &self,
        peer: &Peer,
        certificate_request: Vec<u8>,
        address: Option<IpAddr>,
    ) -> Result<Issued, Failed> {
        self.authority.renew(self.request(), peer, &certificate_request, address).await.map_err(failed)
    }
}
