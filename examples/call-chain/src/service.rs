//! What each of the services does.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use bytes::Bytes;
use countersign_client::{Action, Authority, Caller, CountersignLayer, Forward, ForwardLayer, Https, Trusted};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use serde_json::{Value, json};
use tower_layer::Layer;
use tower_service::Service;

/// The longest answer of the next service that is read.
const ANSWER_MAX_BYTES: usize = 8 * 1024 * 1024;

/// A client that puts the caller's token on what it sends, where that is trusted.
type Client = Forward<Https<Empty<Bytes>>>;

/// Which service.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The first one.
    Front,
    /// The one in the middle.
    Orders,
    /// The last one.
    Records,
}

impl Role {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Orders => "orders",
            Self::Records => "records",
        }
    }
}

/// What a service has: whose tokens it accepts, and whom it calls.
pub struct Chain {
    role: Role,
    authority: Authority,
    next: Client,
    /// What the next service's URLs begin with.
    next_url: String,
    partner: Option<(Client, String)>,
}

impl Chain {
    /// A service that calls another one, and a partner besides.
    pub fn to_service(
        authority: Authority,
        role: Role,
        next: &str,
        partner: Option<&str>,
        services_ca: &str,
    ) -> Result<Self> {
        // The partner is not named here, so no token goes there, although the client is made in the same way.
        let forward = ForwardLayer::new(Trusted::new([next])?);
        let client = |url: &str| anyhow::Ok(forward.layer(Https::new(url, services_ca)?));
        let partner = partner.map(|url| anyhow::Ok((client(url)?, url.to_owned()))).transpose()?;
        Ok(Self { role, authority, next: client(next)?, next_url: next.to_owned(), partner })
    }

    /// The last service, which asks Countersign.
    pub fn to_countersign(authority: Authority, url: &str, ca: &str) -> Result<Self> {
        let next = ForwardLayer::new(Trusted::new([url])?).layer(Https::new(url, ca)?);
        Ok(Self { role: Role::Records, authority, next, next_url: format!("{url}/rest/v1"), partner: None })
    }
}

/// One of the three services: `GET /TYPE?QUERY` reads records.
pub fn router(chain: Chain) -> Router {
    let layer = CountersignLayer::new(chain.authority.clone());
    Router::new().route("/{type}", get(read)).with_state(Arc::new(chain)).layer(layer)
}

async fn read(
    State(chain): State<Arc<Chain>>,
    Extension(caller): Extension<Caller>,
    Path(record_type): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failed> {
    let name = chain.role.name();
    println!("{name}: token {} asks for {record_type}", caller.token());
    let query = query.unwrap_or_default();
    let permissions = caller.permissions().await?;
    let fields: Vec<&str> =
        permissions.on(Action::Read, &record_type).into_iter().flat_map(|may| may.fields()).collect();
    let mut hop = json!({
        "service": name,
        "token": caller.token().to_string(),
        "user": permissions.user(),
        "may_read": fields,
    });
    if let (Some((partner, url)), Some(hop)) = (&chain.partner, hop.as_object_mut()) {
        let (_, got) = ask(partner, &format!("{url}/rates")).await?;
        hop.insert("partner_got".to_owned(), got);
    }

    let (status, answer) = ask(&chain.next, &format!("{}/{record_type}?{query}", chain.next_url)).await?;
    // Countersign answers with rows; the services before it with what they did and those rows.
    let (mut hops, rows) = match (chain.role, answer) {
        (Role::Records, rows) => (Vec::new(), rows),
        (_, Value::Object(mut answer)) => {
            let hops = answer.remove("hops").and_then(|hops| hops.as_array().cloned());
            (hops.unwrap_or_default(), answer.remove("rows").unwrap_or_default())
        }
        (_, other) => (Vec::new(), other),
    };
    hops.insert(0, hop);
    Ok((status, Json(json!({ "hops": hops, "rows": rows }))).into_response())
}

/// GET, as whoever is calling.
async fn ask(client: &Client, url: &str) -> Result<(StatusCode, Value)> {
    let request = Request::get(url).body(Empty::new())?;
    let response = client.clone().call(request).await.map_err(anyhow::Error::from_boxed)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
    let answer = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).context("not JSON")? };
    Ok((status, answer))
}

/// The company outside. What it is sent, it tells: names of headers, and whether any of them looks like a token.
pub fn partner() -> Router {
    Router::new().route(
        "/rates",
        get(async |headers: HeaderMap| {
            let names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
            let token = headers.values().any(|value| value.as_bytes().windows(3).any(|part| part == b"eyJ"));
            println!("partner: got {names:?}");
            Json(json!({ "headers": names, "token": token }))
        }),
    )
}

/// What went wrong on the way; the caller hears no more than that.
struct Failed;

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        println!("failed: {error:#}");
        Self
    }
}

impl From<countersign_client::Refused> for Failed {
    fn from(error: countersign_client::Refused) -> Self {
        Self::from(anyhow::Error::from(error))
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        StatusCode::BAD_GATEWAY.into_response()
    }
}
