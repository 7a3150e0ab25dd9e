//! What a gateway needs of the authority.

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;
use countersign_guard::{Bearer, Peer, Refusal};
use countersign_model::{Request, RequestId};
use serde::{Deserialize, Serialize};

/// The authority, as the doors call it: in this process or elsewhere. The gateway decides nothing here; it passes on.
#[async_trait]
pub trait Front: Send + Sync {
    /// Executes a control request, which the authority's own guard admits or refuses.
    ///
    /// # Errors
    /// [`ControlRefused`].
    async fn control(
        &self,
        bearer: Option<Bearer>,
        peer: Peer,
        request: Request,
    ) -> Result<ControlReply, ControlRefused>;

    /// Answers a request to one of the authority's own endpoints: logging in, tokens, and what is public about it.
    async fn public(&self, call: PublicCall) -> PublicReply;
}

/// What a control request gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlReply {
    /// A JSON document.
    pub json: Vec<u8>,
    /// Whether it is about something new.
    pub created: bool,
    /// The epoch of the authority's facts when it answered: the caller's next request is to be decided by no older.
    pub epoch: u64,
}

/// Why a control request gave nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ControlRefused {
    /// The authority's guard refused it.
    #[error(transparent)]
    Refused(Refusal),
    /// It was admitted and can't be done. The message is for whoever asked.
    #[error("{message}")]
    Failed {
        /// What kind of answer this is.
        fault: ControlFault,
        /// What to tell the caller.
        message: String,
    },
}

/// Why an admitted control request was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlFault {
    /// What it names isn't there.
    NotFound,
    /// What it would make is there already.
    Exists,
    /// It says something that can't be.
    Invalid,
    /// It clashes with what is in force.
    Conflict,
    /// Something that is needed for it can't be reached.
    Unavailable,
    /// A mistake of ours.
    Internal,
}

/// A request to one of the authority's own endpoints, as it arrived at a gateway.
pub struct PublicCall {
    /// Names it in records.
    pub request: RequestId,
    /// `GET` or `POST`.
    pub method: String,
    /// The path, such as `/v1/token`.
    pub path: String,
    /// The query, without the question mark.
    pub query: Option<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// The bearer or DPoP token of `Authorization`, if there is one.
    pub bearer: Option<Bearer>,
    /// `DPoP`.
    pub dpop: Option<String>,
    /// The URL that the caller used, without query: what a DPoP proof is for.
    pub url: String,
    /// The body.
    pub body: Vec<u8>,
    /// The caller's address.
    pub address: Option<IpAddr>,
    /// The SHA-256 of the client certificate whose key the caller's connection proved.
    pub certificate: Option<[u8; 32]>,
}

/// Without anything that may be secret.
impl fmt::Debug for PublicCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, method, path, .. } = self;
        f.debug_struct("PublicCall")
            .field("request", request)
            .field("method", method)
            .field("path", path)
            .finish_non_exhaustive()
    }
}

/// What the authority answers.
pub struct PublicReply {
    /// The HTTP status.
    pub status: u16,
    /// Headers, such as `Content-Type` and `Cache-Control`.
    pub headers: Vec<(String, String)>,
    /// The body, which may hold a token.
    pub body: Vec<u8>,
    /// As in [`ControlReply`].
    pub epoch: u64,
}

/// Without the body.
impl fmt::Debug for PublicReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicReply").field("status", &self.status).finish_non_exhaustive()
    }
}
