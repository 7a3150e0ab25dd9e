//! A call on its way out.

use bytes::Bytes;
use countersign_model::Request;
use countersign_services::Call;
use prost::Message;

use super::channel::Channel;
use crate::convert::request::request_out;
use crate::failure::{CallRefused, Failed};
use crate::{pb, received};

/// The request as bytes: those that came, if this is part of answering it.
pub(crate) fn request_bytes(request: &Request) -> Result<Bytes, Failed> {
    if let Some(raw) = received::raw(request) {
        return Ok(raw);
    }
    let message = request_out(request).map_err(|_| Failed::Call(CallRefused::Malformed))?;
    Ok(message.encode_to_vec().into())
}

/// What travels with every call.
pub(crate) fn call_out(channel: &Channel, call: &Call<'_>) -> Result<pb::Call, Failed> {
    Ok(pb::Call {
        token: call.bearer.as_str().to_owned(),
        request: request_bytes(call.request)?,
        epoch: call.epoch,
        sequence: channel.sequence(),
    })
}
