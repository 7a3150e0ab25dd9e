//! Countersign, as another service sees it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use countersign_model::{TokenId, UnixMs};
use countersign_token::{Presented, TokenError, Verified};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use quick_cache::sync::Cache;

use crate::builder::{Builder, ConnectError, Metadata, Settings};
use crate::https::Https;
use crate::keys::Keys;
use crate::permissions::{Permissions, Slot};
use crate::trusted::bearer_header;
use crate::{BoxError, Caller, Refused};

pub(crate) type NoBody = Empty<Bytes>;

const METADATA: &str = "/.well-known/oauth-authorization-server";
const WHO_AM_I: &str = "/v1/token";

/// The longest answer that is read.
const ANSWER_MAX_BYTES: usize = 1024 * 1024;

/// One deployment of Countersign: verifies its tokens and asks it about them. Cheap to clone.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

struct Inner {
    source: Box<dyn Source>,
    settings: Settings,
    keys: Keys,
    answers: Cache<TokenId, Arc<Slot>>,
}

/// What is asked of Countersign. A trait, so that tests need no network.
pub(crate) trait Source: Send + Sync {
    /// GET. An error is that no whole answer came.
    fn get<'a>(&'a self, path: &'static str, authorization: Option<HeaderValue>) -> Answered<'a>;
}

pub(crate) type Answered<'a> = Pin<Box<dyn Future<Output = Result<(StatusCode, Bytes), BoxError>> + Send + 'a>>;

/// The real one.
pub(crate) struct Network(pub Https<NoBody>);

impl Source for Network {
    fn get<'a>(&'a self, path: &'static str, authorization: Option<HeaderValue>) -> Answered<'a> {
        Box::pin(async move {
            match self.attempt(path, authorization.clone()).await {
                // The server may have closed the kept connection just then. Reading again changes nothing.
                Err(_) => self.attempt(path, authorization).await,
                answered => answered,
            }
        })
    }
}

impl Network {
    async fn attempt(&self, path: &str, bearer: Option<HeaderValue>) -> Result<(StatusCode, Bytes), BoxError> {
        let mut request = Request::get(self.0.url(path)).body(NoBody::new())?;
        if let Some(bearer) = bearer {
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        let response = self.0.send(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await?;
        Ok((status, body.to_bytes()))
    }
}

impl Authority {
    /// The deployment at `url`, such as `https://countersign.internal:8443`, which has a certificate of the authority
    /// in `ca_pem`: the deployment's `ca.pem`.
    ///
    /// # Errors
    /// [`ConnectError::Settings`].
    pub fn builder(url: &str, ca_pem: &str) -> Result<Builder, ConnectError> {
        Builder::new(url, ca_pem)
    }

    /// As [`Self::builder`], with everything as it is by default.
    ///
    /// # Errors
    /// [`ConnectError`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn connect(url: &str, ca_pem: &str) -> Result<Self, ConnectError> {
        Self::builder(url, ca_pem)?.connect().await
    }

    pub(crate) async fn open(
        source: Box<dyn Source>,
        issuer: Option<String>,
        audience: String,
        settings: Settings,
    ) -> Result<Self, ConnectError> {
        let asked = tokio::time::timeout(settings.answer_within, source.get(METADATA, None)).await;
        let Ok(Ok((status, body))) = asked else { return Err(ConnectError::Unreachable) };
        let metadata: Option<Metadata> = status.is_success().then(|| serde_json::from_slice(&body).ok()).flatten();
        let found = metadata.ok_or(ConnectError::NotCountersign)?.issuer;
        if issuer.is_some_and(|expected| expected != found) {
            return Err(ConnectError::OtherIssuer);
        }
        let keys = Keys::fetch(&*source, &settings, found, audience).await?;
        let answers = Cache::new(settings.tokens);
        Ok(Self { inner: Arc::new(Inner { source, settings, keys, answers }) })
    }

    /// Refreshes the keys for as long as anybody holds this.
    pub(crate) fn keep_fresh(&self) {
        let every = Duration::from_millis(self.inner.settings.refresh_ms);
        let weak = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(inner) = Weak::upgrade(&weak) else { return };
                inner.keys.refresh(&*inner.source, &inner.settings).await;
            }
        });
    }

    /// Who sends a request with these headers: exactly one `Authorization: Bearer`, whose token is good and, as far as
    /// Countersign said within the last seconds, still accepted.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let caller = self.verify_presented(bearer(headers)?).await?;
        caller.permissions().await?;
        Ok(caller)
    }

    /// As [`Self::authenticate`], but doesn't ask whether the token was revoked: it is accepted until it expires.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn authenticate_offline(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        self.verify_presented(bearer(headers)?).await
    }

    async fn verify_presented(&self, token: Presented) -> Result<Caller, Refused> {
        let Inner { source, settings, keys, .. } = &*self.inner;
        if !keys.are_fresh(settings) {
            keys.refresh(&**source, settings).await;
            if !keys.are_fresh(settings) {
                return Err(Refused::Unavailable);
            }
        }
        let verified = match keys.verifier.verify_presented(&token, self.now()) {
            Err(TokenError::UnknownKey) => {
                keys.refresh(&**source, settings).await;
                keys.verifier.verify_presented(&token, self.now())?
            }
            other => other?,
        };
        // Whoever holds the key proved it to the first service, perhaps; here, anybody could have sent the token.
        if verified.binding().is_some() {
            return Err(Refused::Bound);
        }
        Ok(Caller::new(self.clone(), verified, token))
    }

    /// What Countersign says of a token, at most as long ago as answers are remembered.
    pub(crate) async fn permissions(
        &self,
        verified: &Verified,
        token: &Presented,
    ) -> Result<Arc<Permissions>, Refused> {
        let Inner { source, settings, answers, .. } = &*self.inner;
        let slot = answers.get_or_insert_with(&verified.token(), || Ok::<_, Refused>(Arc::default()))?;
        let ask = || async {
            let header = bearer_header(token.as_str()).map_err(|_| Refused::Unavailable)?;
            let (status, body) = source.get(WHO_AM_I, Some(header)).await.map_err(|_| Refused::Unavailable)?;
            Permissions::read(status, &body, verified)
        };
        let outcome = slot.recent_or(settings, ask);
        let outcome = tokio::time::timeout(settings.answer_within, outcome).await.map_err(|_| Refused::Unavailable)?;
        // Last, because waiting for the answer took time.
        if self.now() >= verified.expires() {
            return Err(Refused::Expired);
        }
        outcome
    }

    #[cfg(test)]
    pub(crate) fn verified(&self, token: &str) -> Result<Arc<Verified>, TokenError> {
        self.inner.keys.verifier.verify(token, self.now())
    }

    #[cfg(test)]
    pub(crate) async fn refresh(&self) {
        self.inner.keys.refresh(&*self.inner.source, &self.inner.settings).await;
    }

    fn now(&self) -> UnixMs {
        self.inner.settings.clock.now()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("verifier", &self.inner.keys.verifier).finish_non_exhaustive()
    }
}

/// The token of a request (RFC 6750, section 2.1). No other place is looked at.
fn bearer(headers: &HeaderMap) -> Result<Presented, Refused> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next().ok_or(Refused::NoToken)?;
    if values.next().is_some() {
        return Err(Refused::Repeated);
    }
    let malformed = || Refused::from(TokenError::Malformed);
    let text = first.to_str().map_err(|_| malformed())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(malformed)?;
    if scheme.eq_ignore_ascii_case("dpop") {
        return Err(Refused::Bound);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refused::NoToken);
    }
    let is_token68 = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_token68) {
        return Err(malformed());
    }
    Ok(Presented::new(token.to_owned()))
}
