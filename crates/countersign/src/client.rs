//! One caller's conversation with a deployment: adds the token, reads JSON, turns refusals into problems.

use std::sync::Arc;

use http::Method;
use http::header::{ACCEPT, AUTHORIZATION};
use serde_json::Value;

use crate::problem::{Exit, Problem};
use crate::transport::{Ask, Reply, Transport};

/// An access token. Never shown by `Debug`.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Takes a token as it was given; spaces and line ends around it are not part of it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The token in a server's answer.
    ///
    /// # Errors
    /// If there is none, or one that no header could carry.
    pub fn granted(answer: &Value) -> Result<Self, Problem> {
        let token = answer.get("access_token").and_then(Value::as_str);
        let usable = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()) && !token.is_empty());
        usable.map(Self::new).ok_or_else(|| Problem::failed("the server's answer has no token"))
    }

    /// The token itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
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
}

impl Client {
    /// Talks through `transport` with `token`.
    #[must_use]
    pub const fn new(transport: Arc<Transport>, token: Option<Token>) -> Self {
        Self { transport, token }
    }

    /// The token.
    #[must_use]
    pub const fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// The same way to the same deployment, with another token.
    #[must_use]
    pub fn with_token(&self, token: Token) -> Self {
        Self { transport: Arc::clone(&self.transport), token: Some(token) }
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
        if let Some(token) = &self.token {
            ask = ask.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
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
            401 => problem
                .or_next("the token may have expired or been revoked; log in again: countersign login USER@TENANT"),
            403 => problem.or_next("see what this token may do: countersign token inspect"),
            500 | 502 => problem.or_next("the server's log has the reason under that request id"),
            429 | 503 | 504 => {
                problem.or_next("try again in a moment; the server's log has the reason under the request id")
            }
            _ => problem,
        }
    }
}
