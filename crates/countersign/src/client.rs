//! One caller's conversation with a deployment: adds the token, reads JSON, turns refusals into problems.

use std::sync::Arc;

use countersign_model::clock::SystemClock;
use countersign_model::{Clock, UnixMs};
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderName, Method};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::problem::{Exit, Problem};
use crate::proof::Holder;
use crate::transport::{Ask, Reply, Transport};

/// RFC 9449, section 4.1.
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// An access token. Never shown by `Debug`.
#[derive(Clone)]
pub struct Token {
    text: String,
    expires: Option<UnixMs>,
    bound: bool,
}

impl Token {
    /// Takes a token as it was given; spaces and line ends around it are not part of it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.trim().to_owned(), expires: None, bound: false }
    }

    /// The token in a server's answer.
    ///
    /// # Errors
    /// If there is none, or one that no header could carry.
    pub fn granted(answer: &Value) -> Result<Self, Problem> {
        let token = answer.get("access_token").and_then(Value::as_str);
        let usable = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()) && !token.is_empty());
        let text = usable.ok_or_else(|| Problem::failed("the server's answer has no token"))?.to_owned();
        let seconds = answer.get("expires_in").and_then(Value::as_u64);
        let expires = seconds.map(|seconds| SystemClock.now().plus_ms(seconds.saturating_mul(1000)));
        let bound = answer.get("token_type").and_then(Value::as_str) == Some("DPoP");
        Ok(Self { text, expires, bound })
    }

    /// The token itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl Token {
    /// Whether the server said that it is bound to a key.
    #[must_use]
    pub const fn is_bound(&self) -> bool {
        self.bound
    }

    /// When it ends, to the second, in UTC, if that was said.
    #[must_use]
    pub fn expires(&self) -> Option<String> {
        let seconds = i64::try_from(self.expires?.seconds()).ok()?;
        OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// A deployment, and the token to come with.
pub struct Client {
    transport: Arc<Transport>,
    token: Option<Token>,
    holder: Option<Arc<Holder>>,
}

impl Client {
    /// Talks through `transport` with `token`.
    #[must_use]
    pub const fn new(transport: Arc<Transport>, token: Option<Token>) -> Self {
        Self { transport, token, holder: None }
    }

    /// Proves with every request that `holder` sent it; nothing more if there is none.
    #[must_use]
    pub fn held_by(mut self, holder: Option<Arc<Holder>>) -> Self {
        self.holder = holder;
        self
    }

    /// The token.
    #[must_use]
    pub const fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// The same way to the same deployment, with another token.
    #[must_use]
    pub fn with_token(&self, token: Token) -> Self {
        Self { transport: Arc::clone(&self.transport), token: Some(token), holder: self.holder.clone() }
    }

    /// The way to the deployment.
    #[must_use]
    pub const fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// Sends and gives whatever is answered.
    ///
    /// # Errors
    /// If nothing is answered.
    pub async fn exchange(&self, mut ask: Ask) -> Result<Reply, Problem> {
        let proof = match (&self.holder, self.transport.url(&ask.path)) {
            (Some(holder), Some(url)) => Some(holder.prove(&ask.method, &url, self.token.as_ref())?),
            _ => None,
        };
        if let Some(token) = &self.token {
            let scheme = if proof.is_some() { "DPoP" } else { "Bearer" };
            ask = ask.header(AUTHORIZATION, format!("{scheme} {}", token.reveal()));
        }
        if let Some(proof) = proof {
            ask = ask.header(DPOP, proof);
        }
        self.transport.send(ask).await
    }

    /// Sends, and fails unless the answer is a yes.
    ///
    /// # Errors
    /// What the server said.
    pub async fn send(&self, ask: Ask) -> Result<Reply, Problem> {
        let reply = self.exchange(ask).await?;
        if reply.status.is_success() { Ok(reply) } else { Err(self.said_no(&reply)) }
    }

    /// Sends and reads JSON. An answer without content is null.
    ///
    /// # Errors
    /// What the server said, or that it was not JSON.
    pub async fn json(&self, ask: Ask) -> Result<Value, Problem> {
        let reply = self.send(ask.header(ACCEPT, "application/json")).await?;
        if reply.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&reply.body).map_err(|_| Problem::failed("the server's answer is not JSON"))
    }

    /// Reads JSON at a path.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub async fn get(&self, path: &str) -> Result<Value, Problem> {
        self.json(Ask::new(Method::GET, path)).await
    }

    /// Sends JSON to a path.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub async fn put(&self, method: Method, path: &str, body: &Value) -> Result<Value, Problem> {
        self.json(Ask::new(method, path).body("application/json", body.to_string())).await
    }

    /// The problem that an answer other than a yes is.
    #[must_use]
    pub fn said_no(&self, reply: &Reply) -> Problem {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let part = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let said = part("message").or_else(|| part("error_description")).or_else(|| part("error"));
        let mut message = said.map_or_else(|| format!("the server answered {}", reply.status), str::to_owned);
        if let Some(details) = part("details") {
            message = format!("{message} ({details})");
        }
        let request = reply.header("countersign-request").filter(|_| reply.status.is_server_error());
        if let Some(request) = request {
            message = format!("{message} (request {request})");
        }
        let problem = Problem::new(Exit::of_status(reply.status), crate::terminal::harmless(&message));
        let problem = match part("hint") {
            Some(hint) => problem.next(crate::terminal::harmless(hint)),
            None => problem,
        };
        match reply.status.as_u16() {
            401 if self.token.is_none() => problem
                .or_next("log in: COUNTERSIGN_TOKEN=$(countersign login USER@TENANT), or --dir DIR --as USER@TENANT"),
            401 if reply.header("www-authenticate").is_some_and(|value| value.starts_with("DPoP")) => problem.or_next(
                "the token is bound to a key: name the file with --proof-key or COUNTERSIGN_PROOF_KEY, and see that \
                 this machine's clock is right",
            ),
            401 => problem
                .or_next("the token may have expired or been revoked; log in again: countersign login USER@TENANT"),
            403 => problem.or_next(
                "see what this token may do: countersign token inspect; or come as somebody else: --as USER@TENANT",
            ),
            500 | 502 => problem.or_next("the server's log has the reason under that request id"),
            429 => problem.or_next(
                "ask for less, or later: budget.toml, beside the policies, says how many cells in an hour, in twelve hours \
                 and with one token",
            ),
            503 if self.transport.is_alone() => problem.next(
                "that needs services that run apart: start them all, then ask through their gateway, with --url \
                 https://GATEWAY beside --dir",
            ),
            503 | 504 => {
                problem.or_next("try again in a moment; the server's log has the reason under the request id")
            }
            _ => problem,
        }
    }
}
