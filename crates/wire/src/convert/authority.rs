//! What a gateway passes to the authority and back, and the facts that the authority hands out.

use std::net::IpAddr;

use countersign_facts::{Message, Part, PartId};
use countersign_guard::{Bearer, Dpop, Peer};
use countersign_model::RequestId;
use countersign_services::{ControlFault, ControlRefused, ControlReply, PublicCall, PublicReply};

use super::{Malformed, sixteen};
use crate::failure::Failed;
use crate::pb::control_reply::Outcome;
use crate::{deadline, pb};

fn digest_in(digest: Option<Vec<u8>>) -> Result<Option<[u8; 32]>, Malformed> {
    digest.map(|digest| digest.as_slice().try_into().map_err(|_| Malformed)).transpose()
}

fn address_in(address: Option<String>) -> Result<Option<IpAddr>, Malformed> {
    address.map(|text| text.parse().map_err(|_| Malformed)).transpose()
}

pub(crate) fn peer_out(peer: Peer) -> pb::Peer {
    pb::Peer {
        address: peer.address.map(|address| address.to_string()),
        certificate: peer.certificate.map(|digest| digest.to_vec()),
        dpop: peer.dpop.map(|Dpop { proof, method, url }| pb::Dpop { proof, method, url }),
    }
}

pub(crate) fn peer_in(peer: Option<pb::Peer>) -> Result<Peer, Malformed> {
    let peer = peer.ok_or(Malformed)?;
    Ok(Peer {
        deadline: Some(deadline::current()),
        address: address_in(peer.address)?,
        certificate: digest_in(peer.certificate)?,
        dpop: peer.dpop.map(|pb::Dpop { proof, method, url }| Dpop { proof, method, url }),
    })
}

/// An outcome of the authority, or the refusal of its guard.
pub(crate) fn control_out(outcome: Result<ControlReply, ControlRefused>) -> Result<pb::ControlReply, Failed> {
    let outcome = match outcome {
        Ok(ControlReply { json, created, epoch }) => Outcome::Done(pb::ControlDone { json, created, epoch }),
        Err(ControlRefused::Failed { fault, message }) => {
            Outcome::Failed(pb::ControlFailed { fault: fault_out(fault).into(), message })
        }
        Err(ControlRefused::Refused(refusal)) => return Err(Failed::Refused(refusal)),
    };
    Ok(pb::ControlReply { outcome: Some(outcome) })
}

pub(crate) fn control_in(reply: pb::ControlReply) -> Result<Result<ControlReply, ControlRefused>, Malformed> {
    Ok(match reply.outcome.ok_or(Malformed)? {
        Outcome::Done(pb::ControlDone { json, created, epoch }) => Ok(ControlReply { json, created, epoch }),
        Outcome::Failed(pb::ControlFailed { fault, message }) => {
            Err(ControlRefused::Failed { fault: fault_in(fault)?, message })
        }
    })
}

const fn fault_out(fault: ControlFault) -> pb::ControlFault {
    match fault {
        ControlFault::NotFound => pb::ControlFault::NotFound,
        ControlFault::Exists => pb::ControlFault::Exists,
        ControlFault::Invalid => pb::ControlFault::Invalid,
        ControlFault::Conflict => pb::ControlFault::Conflict,
        ControlFault::Unavailable => pb::ControlFault::Unavailable,
        ControlFault::Internal => pb::ControlFault::Internal,
    }
}

fn fault_in(fault: i32) -> Result<ControlFault, Malformed> {
    Ok(match pb::ControlFault::try_from(fault).map_err(|_| Malformed)? {
        pb::ControlFault::Unspecified => return Err(Malformed),
        pb::ControlFault::NotFound => ControlFault::NotFound,
        pb::ControlFault::Exists => ControlFault::Exists,
        pb::ControlFault::Invalid => ControlFault::Invalid,
        pb::ControlFault::Conflict => ControlFault::Conflict,
        pb::ControlFault::Unavailable => ControlFault::Unavailable,
        pb::ControlFault::Internal => ControlFault::Internal,
    })
}

pub(crate) fn public_call_out(call: PublicCall, sequence: u64) -> pb::PublicCall {
    pb::PublicCall {
        request: call.request.as_bytes().to_vec(),
        method: call.method,
        path: call.path,
        query: call.query,
        content_type: call.content_type,
        bearer: call.bearer.map(|bearer| bearer.as_str().to_owned()),
        dpop: call.dpop,
        url: call.url,
        body: call.body,
        address: call.address.map(|address| address.to_string()),
        sequence,
        certificate: call.certificate.map(|digest| digest.to_vec()),
    }
}

pub(crate) fn public_call_in(call: pb::PublicCall) -> Result<PublicCall, Malformed> {
    Ok(PublicCall {
        request: RequestId::from_bytes(sixteen(&call.request)?),
        method: call.method,
        path: call.path,
        query: call.query,
        content_type: call.content_type,
        bearer: call.bearer.map(Bearer::new),
        dpop: call.dpop,
        url: call.url,
        body: call.body,
        address: address_in(call.address)?,
        certificate: digest_in(call.certificate)?,
    })
}

pub(crate) fn public_reply_out(reply: PublicReply) -> pb::PublicReply {
    let headers = reply.headers.into_iter().map(|(name, value)| pb::Header { name, value }).collect();
    pb::PublicReply { status: reply.status.into(), headers, body: reply.body, epoch: reply.epoch }
}

pub(crate) fn public_reply_in(reply: pb::PublicReply) -> Result<PublicReply, Malformed> {
    let headers = reply.headers.into_iter().map(|pb::Header { name, value }| (name, value)).collect();
    let status = u16::try_from(reply.status).map_err(|_| Malformed)?;
    Ok(PublicReply { status, headers, body: reply.body, epoch: reply.epoch })
}

pub(crate) fn facts_out(message: Message) -> pb::FactsMessage {
    let part = |part: Part| pb::FactsPart { id: part.id.number().into(), content: part.bytes };
    pb::FactsMessage {
        manifest: message.manifest,
        index: message.index,
        parts: message.parts.into_iter().map(part).collect(),
        last: message.last,
        keys: None,
    }
}

pub(crate) fn facts_in(message: pb::FactsMessage) -> Result<Message, Malformed> {
    let part = |part: pb::FactsPart| {
        let id = u16::try_from(part.id).ok().and_then(PartId::from_number).ok_or(Malformed)?;
        Ok(Part { id, bytes: part.content })
    };
    Ok(Message {
        manifest: message.manifest,
        index: message.index,
        parts: message.parts.into_iter().map(part).collect::<Result<_, _>>()?,
        last: message.last,
    })
}
