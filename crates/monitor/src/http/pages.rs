//! What is answered.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use countersign_guard::{Bearer, Guard, Peer, Refusal, Settlement};
use countersign_model::control::Control;
use countersign_model::request::{Door, Operation};
use countersign_model::watch::WatchControl;
use countersign_model::{Entropy, Request, RequestId};
use http::header::{ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request};
use http_body_util::Full;

use crate::measure::{Collector, Format, Known};

/// What pages are made of.
pub struct PagesParts {
    /// Asks the services how they are.
    pub collector: Collector,
    /// Decides who may read measures, and records it; `None` if everybody who reaches the port may.
    pub guard: Option<Arc<Guard>>,
    /// For ids of requests.
    pub entropy: Arc<dyn Entropy>,
}

/// Answers requests.
pub struct Pages {
    parts: PagesParts,
}

type Page = Response<Full<Bytes>>;

impl Pages {
    /// Pages made of these.
    #[must_use]
    pub fn new(parts: PagesParts) -> Arc<Self> {
        Arc::new(Self { parts })
    }

    /// Answers one request. Its body, which none of the pages takes, is not read.
    pub async fn answer(&self, head: &request::Parts, from: Option<IpAddr>) -> Page {
        let path = head.uri.path();
        if !matches!(path, "/healthz" | "/readyz" | "/metrics") {
            return plain(StatusCode::NOT_FOUND, "not found\n");
        }
        if !matches!(head.method, Method::GET | Method::HEAD) {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match path {
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => ready(&self.parts.collector.ask().await),
            _ => self.metrics(&head.headers, from).await,
        }
    }

    async fn metrics(&self, headers: &HeaderMap, from: Option<IpAddr>) -> Page {
        if let Some(guard) = &self.parts.guard
            && let Err(refusal) = self.may_read(guard, headers, from).await
        {
            return refused(&refusal);
        }
        let format = Format::accepted(headers.get(ACCEPT).and_then(|value| value.to_str().ok()));
        let mut page = plain(StatusCode::OK, self.parts.collector.text(format).await);
        page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        page
    }

    /// Asks the guard. That somebody read measures is on record, before they are given out.
    async fn may_read(&self, guard: &Guard, headers: &HeaderMap, from: Option<IpAddr>) -> Result<(), Refusal> {
        let id = RequestId::new(guard.clock().now(), &*self.parts.entropy);
        let operation = Operation::Control(Control::Watch(WatchControl::Metrics));
        let request = Request { id, door: Door::Http, tenant: None, purpose: None, operation };
        let peer = Peer { address: from, ..Peer::default() };
        let permit = guard.admit(bearer(headers), &peer, request).await?;
        permit.settle(Settlement::default()).await.map(|_| ())
    }
}

/// The token of an `Authorization` header (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Option<Bearer> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Bearer::new(token.trim().to_owned()))
}

fn refused(refusal: &Refusal) -> Page {
    let (status, challenge) = match refusal {
        Refusal::NoToken => (StatusCode::UNAUTHORIZED, Some("Bearer")),
        Refusal::Token(_) | Refusal::Revoked | Refusal::UnknownPrincipal | Refusal::Unbound => {
            (StatusCode::UNAUTHORIZED, Some("Bearer error=\"invalid_token\""))
        }
        Refusal::Stale | Refusal::Superseded | Refusal::PolicyFault | Refusal::AuditUnavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, None)
        }
        Refusal::Forbidden | Refusal::OtherTenant | Refusal::Invalid(_) | Refusal::Budget => {
            (StatusCode::FORBIDDEN, Some("Bearer error=\"insufficient_scope\""))
        }
    };
    let mut page = plain(status, format!("{refusal}\n"));
    if let Some(challenge) = challenge {
        page.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    page
}

/// Each service and whether it is ready.
fn ready(all: &[Known]) -> Page {
    let is_ready = crate::measure::is_ready(all);
    let mut text = String::from(if is_ready { "ready\n" } else { "not ready\n" });
    for known in all {
        let word = match (&known.status, known.is_ready()) {
            (None, _) => "can't be asked",
            (Some(_), true) => "ready",
            (Some(status), false) if status.is_ready => "can't write its audit log",
            (Some(_), false) => "refuses everything",
        };
        text.push_str(&format!("{}: {word}\n", known.name));
    }
    plain(if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Page {
    let mut page = Response::new(Full::new(text.into()));
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}
