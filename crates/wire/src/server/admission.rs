//! Whether a call is accepted at all: before anybody judges what it asks for.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use countersign_crypto::tls::Peer;
use countersign_guard::Bearer;
use countersign_model::{Clock, Request, RequestId, Service, UnixMs};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{Extensions, Status};

use crate::codec;
use crate::convert::Malformed;
use crate::convert::request::request_in;
use crate::failure::{CallRefused, Failed};
use crate::methods::Method;
use crate::{deadline, pb};

/// How old a request may be, in milliseconds.
pub const REQUEST_AGE_MAX_MS: u64 = 30_000;
/// How far a request may be ahead of this machine's clock, in milliseconds.
pub const REQUEST_EARLY_MAX_MS: u64 = 5_000;

/// How long a generation of calls is filled: a call is remembered for at least as long as its request is fresh.
const GENERATION_MS: u64 = REQUEST_AGE_MAX_MS + REQUEST_EARLY_MAX_MS;
/// The most calls of one generation in one shard: with all shards two million calls in 35 seconds.
const SHARD_CALLS_MAX: usize = 131_072;
const SHARDS: usize = 16;

/// Who is at the other end of the connection that a call came by.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) peer: Option<Arc<Peer>>,
    pub(crate) address: IpAddr,
    pub(crate) method: &'static Method,
}

/// A call that was not accepted.
#[derive(Debug)]
pub struct RefusedCall<'a> {
    /// Who called; `None` without a certificate.
    pub peer: Option<&'a Peer>,
    /// What was called, as a path; empty if there is no such call.
    pub method: &'static str,
    /// Why it was not accepted.
    pub why: CallRefused,
    /// What was asked, if that could be read, and the epoch that the caller named.
    pub request: Option<(&'a Request, u64)>,
}

/// Takes note of calls that were not accepted.
#[async_trait::async_trait]
pub trait Note: Send + Sync {
    /// Called before the caller is told.
    async fn refused(&self, refused: &RefusedCall<'_>);
}

/// A call that was accepted, with what it carries.
pub(crate) struct Accepted {
    pub(crate) bearer: Bearer,
    pub(crate) request: Request,
    /// The request as it came, to be passed on.
    pub(crate) raw: Bytes,
    pub(crate) epoch: u64,
    pub(crate) caller: Service,
    pub(crate) deadline: Instant,
}

impl Accepted {
    pub(crate) const fn call(&self) -> countersign_services::Call<'_> {
        countersign_services::Call {
            bearer: &self.bearer,
            request: &self.request,
            epoch: self.epoch,
            caller: self.caller,
            deadline: self.deadline,
        }
    }
}

/// What decides whether calls are accepted.
pub(crate) struct Admission {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) note: Arc<dyn Note>,
    pub(crate) seen: Seen,
}

impl Admission {
    /// Reads and checks what a call carries.
    pub(crate) async fn accept(&self, caller: &Caller, call: Option<pb::Call>) -> Result<Accepted, Failed> {
        let Some(call) = call else {
            return Err(self.refuse(caller, CallRefused::Malformed, None).await);
        };
        let Some(request) = codec::decode(call.request.clone()).and_then(|message| request_in(message).ok()) else {
            return Err(self.refuse(caller, CallRefused::Malformed, None).await);
        };
        let role = self.fresh(caller, &request, call.epoch, call.sequence).await?;
        // Without a token it is refused as well, on record: by the guard that judges all tokens.
        let bearer = Bearer::new(call.token);
        let (raw, epoch, deadline) = (call.request, call.epoch, deadline::current());
        Ok(Accepted { bearer, request, raw, epoch, caller: role, deadline })
    }

    /// What an accepted call carries besides the request, if it could be read; refuses the call, on record, if not.
    pub(crate) async fn understood<T>(
        &self,
        caller: &Caller,
        accepted: &Accepted,
        read: Result<T, Malformed>,
    ) -> Result<T, Failed> {
        match read {
            Ok(read) => Ok(read),
            Err(Malformed) => {
                let asked = Some((&accepted.request, accepted.epoch));
                Err(self.refuse(caller, CallRefused::Malformed, asked).await)
            }
        }
    }

    /// Checks that a request is of now and the call was not seen before. Gives the role that it came from.
    pub(crate) async fn fresh(
        &self,
        caller: &Caller,
        request: &Request,
        epoch: u64,
        sequence: u64,
    ) -> Result<Service, Failed> {
        let checked = self.fresh_id(caller, request.id, sequence);
        match checked {
            Ok(role) => Ok(role),
            Err(why) => Err(self.refuse(caller, why, Some((request, epoch))).await),
        }
    }

    /// As [`Self::fresh`], without note.
    pub(crate) fn fresh_id(&self, caller: &Caller, id: RequestId, sequence: u64) -> Result<Service, CallRefused> {
        let peer = caller.peer.as_deref().ok_or(CallRefused::Role)?;
        let role: Service = peer.id.role().parse().map_err(|_| CallRefused::Role)?;
        let now = self.clock.now();
        let made = made(id);
        if now.since(made) > REQUEST_AGE_MAX_MS {
            return Err(CallRefused::Old);
        }
        if made.since(now) > REQUEST_EARLY_MAX_MS {
            return Err(CallRefused::Early);
        }
        self.seen.first_time(role, id, sequence, now)?;
        Ok(role)
    }

    /// Takes note and makes the answer.
    pub(crate) async fn refuse(&self, caller: &Caller, why: CallRefused, request: Option<(&Request, u64)>) -> Failed {
        let peer = caller.peer.as_deref();
        self.note.refused(&RefusedCall { peer, method: caller.method.path, why, request }).await;
        Failed::Call(why)
    }
}

/// Who called. The connection put it there; without it nothing is done.
pub(crate) fn caller(extensions: &Extensions) -> Result<Caller, Status> {
    extensions.get::<Caller>().cloned().ok_or_else(|| Failed::Unavailable.to_status())
}

/// When an id of version 7 was made (RFC 9562, section 5.7).
fn made(id: RequestId) -> UnixMs {
    UnixMs(u64::try_from(id.as_u128() >> 80).unwrap_or_default())
}

/// The calls of the last 35 to 70 seconds. INVARIANT once: a pair of request and sequence is taken once from a role.
pub(crate) struct Seen {
    hasher: RandomState,
    shards: [Mutex<Generations>; SHARDS],
}

struct Generations {
    current: HashSet<u64>,
    previous: HashSet<u64>,
    /// When the current one began.
    began: UnixMs,
}

impl Default for Generations {
    fn default() -> Self {
        Self { current: HashSet::new(), previous: HashSet::new(), began: UnixMs(0) }
    }
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), shards: Default::default() }
    }

    /// Remembers a call. A digest stands for it: that two calls have the same is as likely as guessing 64 bits.
    fn first_time(&self, role: Service, id: RequestId, sequence: u64, now: UnixMs) -> Result<(), CallRefused> {
        let digest = self.hasher.hash_one((role, id, sequence));
        let shard = usize::try_from(digest >> 60).unwrap_or_default();
        let Some(generations) = self.shards.get(shard) else { return Err(CallRefused::Busy) };
        let Generations { current, previous, began } = &mut *generations.lock();
        // By a clock that was set back it began in the future: it goes on, but from now.
        *began = now.min(*began);
        if now.since(*began) > GENERATION_MS {
            // Of what is older than two generations nothing can be fresh.
            let stale = now.since(*began) > GENERATION_MS.saturating_mul(2);
            *previous = if stale { HashSet::new() } else { std::mem::take(current) };
            current.clear();
            *began = now;
        }
        if previous.contains(&digest) || current.contains(&digest) {
            return Err(CallRefused::Replay);
        }
        if current.len() >= SHARD_CALLS_MAX {
            return Err(CallRefused::Busy);
        }
        current.insert(digest);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
