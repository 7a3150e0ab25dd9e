//! The authority, elsewhere.

use async_trait::async_trait;
use countersign_crypto::x509::{CertificateRequest, Issued};
use countersign_guard::{Bearer, Peer, Refusal};
use countersign_identity::{Ask, IssueFailure, Issuer, Proof};
use countersign_model::{Request, UnixMs};
use countersign_services::{ControlFault, ControlRefused, ControlReply, Front, PublicCall, PublicReply};

use super::channel::Channel;
use super::outgoing::request_bytes;
use crate::convert::authority::{control_in, peer_out, public_call_out, public_reply_in};
use crate::failure::{CallRefused, Failed};
use crate::pb::join_request::Proof as ProofPart;
use crate::{deadline, methods, pb};

/// Calls the authority over a channel.
pub struct RemoteFront {
    channel: Channel,
}

impl RemoteFront {
    /// The authority at the other end.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// As [`Front::control`], saying more about why not.
    ///
    /// # Errors
    /// [`Failed`] if the authority did not get to an outcome.
    pub async fn try_control(
        &self,
        bearer: Option<&Bearer>,
        peer: Peer,
        request: &Request,
    ) -> Result<Result<ControlReply, ControlRefused>, Failed> {
        let message = pb::ControlRequest {
            token: bearer.map(|bearer| bearer.as_str().to_owned()),
            peer: Some(peer_out(peer)),
            request: request_bytes(request)?,
            sequence: self.channel.sequence(),
        };
        let reply = self.channel.unary(&methods::CONTROL, &message).await?;
        control_in(reply).map_err(|_| Failed::Unavailable)
    }

    /// As [`Front::public`].
    ///
    /// # Errors
    /// [`Failed`] if the authority did not answer.
    pub async fn try_public(&self, call: PublicCall) -> Result<PublicReply, Failed> {
        let message = public_call_out(call, self.channel.sequence());
        let reply = self.channel.unary(&methods::PUBLIC, &message).await?;
        public_reply_in(reply).map_err(|_| Failed::Unavailable)
    }
}

#[async_trait]
impl Front for RemoteFront {
    async fn control(
        &self,
        bearer: Option<Bearer>,
        peer: Peer,
        request: Request,
    ) -> Result<ControlReply, ControlRefused> {
        let until = peer.deadline.unwrap_or_else(deadline::current);
        match deadline::within(until, self.try_control(bearer.as_ref(), peer, &request)).await {
            Ok(outcome) => outcome,
            Err(Failed::Refused(refusal)) => Err(ControlRefused::Refused(refusal)),
            Err(Failed::Damaged | Failed::Unavailable | Failed::Unknown | Failed::Kms(_) | Failed::Call(_)) => {
                Err(ControlRefused::Failed {
                    fault: ControlFault::Unavailable,
                    message: "the authority is not available".to_owned(),
                })
            }
        }
    }

    async fn public(&self, call: PublicCall) -> PublicReply {
        let json = |status, title: &str| PublicReply {
            status,
            headers: vec![("content-type".into(), "application/json".into()), ("retry-after".into(), "1".into())],
            body: format!("{{\"error\":\"temporarily_unavailable\",\"error_description\":\"{title}\"}}").into_bytes(),
            epoch: 0,
        };
        match self.try_public(call).await {
            Ok(reply) => reply,
            Err(Failed::Refused(Refusal::Stale)) => json(503, "the facts to decide by are out of date"),
            Err(_) => json(503, "the authority is not available"),
        }
    }
}

/// Gets certificates over a channel: one that shows the certificate in force, for renewals, or one made with
/// [`join_client_config`](countersign_crypto::tls::join_client_config), for joining.
pub struct RemoteIssuer {
    channel: Channel,
}

impl RemoteIssuer {
    /// The issuer at the other end.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// As [`Issuer::issue`], saying more about why not. Not tried again once it is sent: a join token is good for one
    /// use.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn try_issue(&self, ask: Ask<'_>, request: &CertificateRequest) -> Result<Issued, Failed> {
        let certificate_request = request.as_der().to_vec();
        let reply = match ask {
            Ask::Join { proof, role } => {
                let proof = match proof {
                    Proof::Token(token) => ProofPart::JoinToken(token.expose().to_string()),
                    Proof::Platform(token) => ProofPart::PlatformToken(token.to_string()),
                };
                let message = pb::JoinRequest { proof: Some(proof), role: role.to_owned(), certificate_request };
                self.channel.unary(&methods::JOIN, &message).await?
            }
            Ask::Renew => {
                let message = pb::RenewRequest { certificate_request };
                self.channel.unary(&methods::RENEW, &message).await?
            }
        };
        let pb::CertificateReply { id, chain, expires, authority } = reply;
        let id = id.parse().map_err(|_| Failed::Unavailable)?;
        Ok(Issued { id, chain_der: chain, expires: UnixMs(expires), ca_pem: authority })
    }
}

#[async_trait]
impl Issuer for RemoteIssuer {
    async fn issue(&self, ask: Ask<'_>, request: &CertificateRequest) -> Result<Issued, IssueFailure> {
        self.try_issue(ask, request).await.map_err(|failed| match failed {
            Failed::Refused(_) | Failed::Call(CallRefused::Role | CallRefused::Removed | CallRefused::Malformed) => {
                IssueFailure::Refused
            }
            Failed::Call(_) | Failed::Unavailable | Failed::Unknown | Failed::Kms(_) | Failed::Damaged => {
                IssueFailure::Unavailable
            }
        })
    }
}
