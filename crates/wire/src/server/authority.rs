//! The authority's receiving end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use countersign_crypto::x509::Issued;
use countersign_facts::{Index, Message, Snapshot};
use countersign_guard::Bearer;
use countersign_identity::Proof;
use countersign_model::Service;
use countersign_model::request::Operation;
use countersign_services::Front;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::watch;
use tokio::task::JoinError;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::admission::{Admission, caller};
use super::{FactsFeed, Issue, Joining, leaving};
use crate::codec;
use crate::convert::authority::{control_out, facts_out, peer_in, public_call_in, public_reply_out};
use crate::convert::request::request_in;
use crate::failure::{CallRefused, Failed};
use crate::pb;
use crate::pb::authority_server::Authority;
use crate::pb::join_request::Proof as ProofPart;

pub(crate) struct AuthorityEnd {
    pub(crate) front: Option<Arc<dyn Front>>,
    pub(crate) facts: Option<Arc<dyn FactsFeed>>,
    pub(crate) issuer: Option<Arc<dyn Issue>>,
    pub(crate) admission: Arc<Admission>,
}

const NOT_HERE: Failed = Failed::Call(CallRefused::NotHere);

#[tonic::async_trait]
impl Authority for AuthorityEnd {
    type FactsStream = Pin<Box<dyn Stream<Item = Result<pb::FactsMessage, Status>> + Send>>;

    async fn control(&self, request: Request<pb::ControlRequest>) -> Result<Response<pb::ControlReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let front = self.front.clone().ok_or(NOT_HERE)?;
        let caller = caller(&extensions)?;
        let asked = codec::decode(message.request).and_then(|request| request_in(request).ok());
        let (Some(asked), Ok(peer)) = (asked, peer_in(message.peer)) else {
            return Err(self.admission.refuse(&caller, CallRefused::Malformed, None).await.into());
        };
        self.admission.fresh(&caller, &asked, 0, message.sequence).await?;
        if !matches!(asked.operation, Operation::Control(_)) {
            return Err(self.admission.refuse(&caller, CallRefused::Malformed, Some((&asked, 0))).await.into());
        }
        let bearer = message.token.map(Bearer::new);
        // What changes the deployment goes on to its end, as a write does.
        let outcome = tokio::spawn(async move { front.control(bearer, peer, asked).await }).await;
        Ok(Response::new(control_out(outcome.map_err(|_| Failed::Unavailable)?)?))
    }

    async fn public(&self, request: Request<pb::PublicCall>) -> Result<Response<pb::PublicReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let front = self.front.clone().ok_or(NOT_HERE)?;
        let caller = caller(&extensions)?;
        let sequence = message.sequence;
        let Ok(call) = public_call_in(message) else {
            return Err(self.admission.refuse(&caller, CallRefused::Malformed, None).await.into());
        };
        if let Err(why) = self.admission.fresh_id(&caller, call.request, sequence) {
            return Err(self.admission.refuse(&caller, why, None).await.into());
        }
        let reply = tokio::spawn(async move { front.public(call).await }).await;
        Ok(Response::new(public_reply_out(reply.map_err(|_| Failed::Unavailable)?)))
    }

    async fn facts(&self, request: Request<pb::FactsRequest>) -> Result<Response<Self::FactsStream>, Status> {
        let (_, extensions, message) = request.into_parts();
        let feed = self.facts.as_ref().ok_or(NOT_HERE)?;
        let caller = caller(&extensions)?;
        let peer = caller.peer.as_deref().ok_or(Failed::Call(CallRefused::Role))?;
        let have = if message.have.is_empty() { Ok(Index::default()) } else { Index::decode(&message.have) };
        let Ok(have) = have else {
            return Err(self.admission.refuse(&caller, CallRefused::Malformed, None).await.into());
        };
        // A monitor is given what a gateway is given.
        let service = peer.id.role().parse().unwrap_or(Service::Gateway);
        let follows = feed.follows(peer, message.address.as_deref());
        let mut snapshots = feed.snapshots();
        snapshots.mark_changed();
        let keys = Some(serde_json::to_vec(&feed.keys()).map_err(|_| Failed::Unavailable)?);
        let following = Following { snapshots, have, service, keys, waiting: VecDeque::new(), _follows: follows };
        let following = stream::unfold(following, Following::next).take_until(leaving(&extensions)?);
        Ok(Response::new(Box::pin(following)))
    }

    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::CertificateReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let issuer = self.issuer.clone().ok_or(NOT_HERE)?;
        let caller = caller(&extensions)?;
        let proof = match message.proof {
            Some(ProofPart::JoinToken(token)) => Zeroizing::new(token).parse().ok().map(Proof::Token),
            Some(ProofPart::PlatformToken(token)) => Some(Proof::Platform(Zeroizing::new(token))),
            None => None,
        };
        let Some(proof) = proof else {
            return Err(self.admission.refuse(&caller, CallRefused::Malformed, None).await.into());
        };
        let pb::JoinRequest { role, certificate_request, .. } = message;
        let joining = Joining { proof, role, certificate_request, address: Some(caller.address) };
        // To its end: a token is used up even if its bearer hangs up.
        issued(tokio::spawn(async move { issuer.join(joining).await }).await)
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::CertificateReply>, Status> {
        let (_, extensions, message) = request.into_parts();
        let issuer = self.issuer.clone().ok_or(NOT_HERE)?;
        let caller = caller(&extensions)?;
        let peer = caller.peer.ok_or(Failed::Call(CallRefused::Role))?;
        let address = Some(caller.address);
        let renewed = async move { issuer.renew(&peer, message.certificate_request, address).await };
        issued(tokio::spawn(renewed).await)
    }
}

fn issued(issued: Result<Result<Issued, Failed>, JoinError>) -> Result<Response<pb::CertificateReply>, Status> {
    let Issued { id, chain_der, expires, ca_pem } = issued.map_err(|_| Failed::Unavailable)??;
    let reply = pb::CertificateReply { id: id.to_string(), chain: chain_der, expires: expires.0, authority: ca_pem };
    Ok(Response::new(reply))
}

/// One service's stream of facts.
struct Following {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What the service has, or will have with the messages that wait.
    have: Index,
    service: Service,
    /// Until they are sent.
    keys: Option<Vec<u8>>,
    waiting: VecDeque<Message>,
    _follows: Box<dyn Send + Sync>,
}

impl Following {
    async fn next(mut self) -> Option<(Result<pb::FactsMessage, Status>, Self)> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                let mut message = facts_out(message);
                message.keys = self.keys.take();
                return Some((Ok(message), self));
            }
            // A slow service skips snapshots: it is sent what it lacks of the newest.
            self.snapshots.changed().await.ok()?;
            let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
            self.waiting = snapshot.messages_since(&self.have, self.service).into();
            self.have = snapshot.index().clone();
        }
    }
}
