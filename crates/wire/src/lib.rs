//! Calls between services that run apart: gRPC over mutual TLS 1.3.
//!
//! A call carries the user's token and the whole request, exactly as asked, and the epoch under which the caller
//! decided. Who calls is in the certificate of the connection and nowhere else. The receiving end refuses roles that
//! may not call, identities that were removed, requests that are not of now and calls that it has seen; what it lets
//! through, the service behind it judges again.
//!
//! What it is not: it decides nothing about data, keeps nothing but connections, and holds no keys of its own. The
//! TLS settings come from `crypto`, the services' traits from `services`.
//!
//! The messages are in `proto/countersign/v1`; the code made of them is committed, and a test holds the two together.
//! Everything that a peer sends is bounded before it is decoded ([`MESSAGE_BYTES_MAX`], nesting, memory), as a peer
//! may be taken over.
//!
//! ```
//! // Work for a request says how long it may take; every call in it passes that on.
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use std::time::Duration;
//! use countersign_wire::deadline;
//! use tokio::time::Instant;
//! let ends = Instant::now() + Duration::from_secs(2);
//! let left = deadline::within(ends, async { deadline::current() }).await;
//! assert_eq!(left, ends);
//! # }
//! ```

mod client;
mod codec;
mod convert;
pub mod deadline;
mod failure;
mod methods;
mod received;
mod server;
mod skim;

#[expect(clippy::all, clippy::pedantic, reason = "generated")]
mod pb {
    include!("generated/countersign.v1.rs");
}

use bytes::Bytes;
use countersign_model::Request;
use prost::Message;

pub use client::{
    Channel, ChannelParts, ChannelSettings, FactsStream, RemoteFront, RemoteIssuer, RemoteKeys, RemoteLog,
    RemoteRecords, RemoteReport, RemoteTrail, RemoteWatch, TallyStream,
};
pub use convert::Malformed;
pub use convert::request::NESTING_MAX;
pub use failure::{CallRefused, Failed};
pub use server::{
    FactsFeed, IsIt, Issue, Joining, MESSAGE_BYTES_MAX, Note, Parts, REQUEST_AGE_MAX_MS, REQUEST_EARLY_MAX_MS,
    RefusedCall, Settings, Surroundings, server,
};

/// The descriptors of all messages, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// The request that a peer's bytes say, or `None` if they are not one within bounds.
#[must_use]
pub fn read_request(bytes: &[u8]) -> Option<Request> {
    let message = codec::decode(Bytes::copy_from_slice(bytes))?;
    convert::request::request_in(message).ok()
}

/// A request as it travels, or `None` if it nests deeper than [`NESTING_MAX`].
#[must_use]
pub fn write_request(request: &Request) -> Option<Vec<u8>> {
    Some(convert::request::request_out(request).ok()?.encode_to_vec())
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers of the tests")]
mod tests;
