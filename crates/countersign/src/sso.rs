//! Logging in with the tenant's identity provider, in a terminal (RFC 8628).
//!
//! The server hands on a code from the provider. The person types it in wherever they have a browser, and meanwhile
//! this asks the server, as often as it may, whether they are done.

use std::sync::Arc;
use std::time::Duration;

use countersign_model::Name;
use http::Method;
use serde_json::{Value, json};

use crate::client::{Client, Token};
use crate::problem::{Exit, Problem};
use crate::proof::Holder;
use crate::terminal::{Terminal, harmless};
use crate::transport::{Ask, Transport};

/// By how much the interval grows when the server says that it was asked too often (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// The longest interval that is believed.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// What the server began.
struct Begun {
    id: String,
    interval: Duration,
}

/// A token of `tenant`, good for at most `lifetime_ms`; for as long as the deployment gives if that is `None`.
/// It is bound to the key of `holder`, if there is one.
///
/// # Errors
/// What the server said, or that the person did not log in within the time that the provider gives.
pub async fn login(
    transport: &Arc<Transport>,
    tenant: &Name,
    lifetime_ms: Option<u64>,
    terminal: &Terminal,
    holder: Option<&Arc<Holder>>,
) -> Result<Token, Problem> {
    let client = Client::new(Arc::clone(transport), None).held_by(holder.cloned());
    let asked = client.put(Method::POST, "/v1/login/oidc/device", &json!({ "tenant": tenant })).await;
    let begun = asked.map_err(|problem| match problem.exit {
        Exit::Refused => Problem::new(Exit::Refused, format!("{tenant} has no identity provider to log in with here"))
            .next("check the tenant's name, or log in with an SSH key: countersign login USER@TENANT"),
        _ => problem,
    })?;
    let Begun { id, mut interval } = tell(&begun, terminal)?;
    let mut poll = json!({ "id": id });
    if let (Some(fields), Some(ms)) = (poll.as_object_mut(), lifetime_ms) {
        fields.insert("expires_in".to_owned(), json!(ms.div_ceil(1000)));
    }
    loop {
        tokio::time::sleep(interval).await;
        let ask = Ask::new(Method::POST, "/v1/login/oidc/device/poll").body("application/json", poll.to_string());
        let reply = client.exchange(ask).await?;
        let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        match said.get("error").and_then(Value::as_str) {
            _ if reply.status.is_success() => return Token::granted(&said),
            Some("authorization_pending") => {}
            Some("slow_down") => interval = interval.saturating_add(SLOWER).min(INTERVAL_MAX),
            _ if reply.status == http::StatusCode::UNAUTHORIZED => {
                return Err(Problem::new(
                    Exit::Refused,
                    format!("the login at {tenant} was refused, or took too long"),
                )
                .next("try again; the tenant's audit log says what it was: countersign audit"));
            }
            _ => return Err(client.said_no(&reply)),
        }
    }
}

/// Tells the person where to go, on standard error: the token alone is on standard output.
fn tell(begun: &Value, terminal: &Terminal) -> Result<Begun, Problem> {
    let text = |name: &str| begun.get(name).and_then(Value::as_str);
    let missing = || Problem::failed("the server's answer is not the begin of a login");
    let (id, code) = (text("id").ok_or_else(missing)?, text("user_code").ok_or_else(missing)?);
    let uri = text("verification_uri").ok_or_else(missing)?;
    terminal.note(&format!("Open {} and enter the code {}", harmless(uri), harmless(code)));
    if let Some(complete) = text("verification_uri_complete") {
        terminal.note(&format!("or open {}", harmless(complete)));
    }
    let seconds = begun.get("interval").and_then(Value::as_u64).unwrap_or(5).max(1);
    Ok(Begun { id: id.to_owned(), interval: Duration::from_secs(seconds).min(INTERVAL_MAX) })
}
