//! Who is calling.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign_token::{Presented, Verified};
use http::Request;
use http::header::HeaderValue;
use uuid::Uuid;

use crate::trusted::bearer_header;
use crate::{Action, Authority, ForwardError, Limits, Permissions, Refused, Trusted};

tokio::task_local! {
    static CURRENT: Caller;
}

/// Whose request this is: a token that was verified, for as long as the request lasts. Cheap to clone.
///
/// The token itself can't be read out of it, only be sent on: [`ForwardLayer`](crate::ForwardLayer),
/// [`Self::authorize`]. And nobody but this crate makes one, from a token that it verified:
///
/// ```compile_fail,E0451
/// let forged = countersign_client::Caller { parts: todo!() };
/// ```
///
/// ```compile_fail,E0616
/// fn steal(caller: &countersign_client::Caller) {
///     let _ = &caller.parts;
/// }
/// ```
#[derive(Clone)]
pub struct Caller {
    parts: Arc<Parts>,
}

struct Parts {
    authority: Authority,
    verified: Arc<Verified>,
    token: Presented,
    limits: Limits,
}

impl Caller {
    pub(crate) fn new(authority: Authority, verified: Arc<Verified>, token: Presented) -> Self {
        let limits = Limits::of(verified.narrowing());
        Self { parts: Arc::new(Parts { authority, verified, token, limits }) }
    }

    /// The user: unique over all tenants, and never used again.
    #[must_use]
    pub fn user(&self) -> Uuid {
        self.parts.verified.user().uuid()
    }

    /// The user that acts for [`Self::user`], if the token is one of delegation (RFC 8693): a service or an agent.
    #[must_use]
    pub fn actor(&self) -> Option<Uuid> {
        self.parts.verified.actor().map(|user| user.uuid())
    }

    /// The tenant, the only one that the token can reach.
    #[must_use]
    pub fn tenant(&self) -> Uuid {
        self.parts.verified.tenant().uuid()
    }

    /// The login that the token comes from, also after narrowing.
    #[must_use]
    pub fn session(&self) -> Uuid {
        self.parts.verified.session().uuid()
    }

    /// The token's identifier, which is no secret: the same in each service's log and in Countersign's audit records.
    #[must_use]
    pub fn token(&self) -> Uuid {
        self.parts.verified.token().uuid()
    }

    /// The first moment at which the token is no longer good.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        let since = Duration::from_millis(self.parts.verified.expires().0);
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }

    /// The limits that the token carries beyond its user's own.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.parts.limits
    }

    /// Whether the caller may do that with all of these fields of a record type, on *some* record at least.
    ///
    /// Use it to decide what to offer or to begin. Which records those are, only Countersign judges: policies may set
    /// conditions on them, and [`Permission::records`](crate::Permission::records) says whether there are any. A type
    /// or field that doesn't exist is one that the caller may not see. Without fields it asks whether there is any
    /// field; deleting needs every field of the type, so name them all.
    ///
    /// # Errors
    /// [`Refused`] if the token has expired or was revoked, or Countersign can't say. All of them mean no.
    pub async fn may(&self, action: Action, record_type: &str, fields: &[&str]) -> Result<bool, Refused> {
        Ok(self.permissions().await?.may(action, record_type, fields))
    }

    /// Everything that the caller may do with records, and its name, as of [a few seconds](crate::Builder::remember)
    /// ago at most.
    ///
    /// # Errors
    /// As [`Self::may`].
    pub async fn permissions(&self) -> Result<Arc<Permissions>, Refused> {
        self.parts.authority.permissions(&self.parts.verified, &self.parts.token).await
    }

    /// Puts the caller's token on a request to one of the servers that are trusted with it.
    ///
    /// # Errors
    /// See [`Trusted::authorize`].
    pub fn authorize<B>(&self, trusted: &Trusted, request: &mut Request<B>) -> Result<(), ForwardError> {
        trusted.authorize(self, request)
    }

    /// Runs a future as this caller: what it sends through a [`Forward`](crate::Forward) carries this caller's token.
    /// [`CountersignLayer`](crate::CountersignLayer) does this for a request's own task; a task that is spawned from
    /// there needs it again.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// As [`Self::scope`], for a function that isn't async.
    pub fn scope_sync<T>(self, function: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, function)
    }

    /// The caller that this task runs as.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    pub(crate) fn header(&self) -> Result<HeaderValue, ForwardError> {
        bearer_header(self.parts.token.as_str())
    }

    /// Whether the token is in there.
    pub(crate) fn token_is_in(&self, bytes: &[u8]) -> bool {
        let token = self.parts.token.as_str().as_bytes();
        bytes.windows(token.len().max(1)).any(|part| part == token)
    }
}

/// Identifiers only.
impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("tenant", &self.tenant())
            .field("user", &self.user())
            .field("token", &self.token())
            .finish_non_exhaustive()
    }
}
