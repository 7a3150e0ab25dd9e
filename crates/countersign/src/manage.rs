//! Control requests by name: one function for each, over whichever transport.

use countersign_model::control::{NewProvider, NewUser, PolicyFile};
use countersign_model::request::Narrowing;
use countersign_model::{Name, RecordTypes, SessionId, TokenId};
use countersign_store::types_file;
use http::Method;
use serde_json::{Value, json};

use crate::client::{Client, Token};
use crate::login::Login;
use crate::problem::Problem;
use crate::query::{Query, segment};
use crate::table::plain;

/// Adds a tenant, whose key is wrapped by the key management service of that name, by the deployment's own for `None`.
///
/// # Errors
/// What the server said.
pub async fn tenant_add(client: &Client, name: &Name, kms: Option<&Name>) -> Result<(), Problem> {
    let mut body = json!({ "name": name });
    if let (Some(fields), Some(kms)) = (body.as_object_mut(), kms) {
        fields.insert("kms".to_owned(), json!(kms));
    }
    client.put(Method::POST, "/v1/tenants", &body).await.map(|_| ())
}

/// Wraps the key of a tenant again, or of every tenant; with `kms`, by the key management service of that name.
///
/// # Errors
/// What the server said.
pub async fn tenant_rewrap(client: &Client, tenant: Option<&Name>, kms: Option<&Name>) -> Result<Value, Problem> {
    let mut body = serde_json::Map::new();
    if let Some(tenant) = tenant {
        body.insert("tenant".to_owned(), json!(tenant));
    }
    if let Some(kms) = kms {
        body.insert("kms".to_owned(), json!(kms));
    }
    client.put(Method::POST, "/v1/tenants/rewrap", &Value::Object(body)).await
}

/// The tenants.
///
/// # Errors
/// What the server said.
pub async fn tenants(client: &Client) -> Result<Vec<Value>, Problem> {
    list(client.get("/v1/tenants").await?, "tenants")
}

/// Adds or replaces a user of a tenant. Gives the roles that no policy names, which are probably misspelt.
///
/// # Errors
/// What the server said.
pub async fn user_put(client: &Client, tenant: &Name, user: &NewUser) -> Result<Vec<String>, Problem> {
    let mut query = Query::new(format!("/v1/users/{}", segment(user.name.as_str())));
    query.add("tenant", tenant.as_str());
    let body =
        json!({ "roles": user.roles, "attributes": user.attributes, "ssh_keys": user.ssh_keys, "kind": user.kind });
    let answer = client.put(Method::PUT, query.text(), &body).await?;
    Ok(texts(&answer, "unknown_roles"))
}

/// The users of a tenant, of the caller's own for `None`.
///
/// # Errors
/// What the server said.
pub async fn users(client: &Client, tenant: Option<&Name>) -> Result<Vec<Value>, Problem> {
    let mut query = Query::new("/v1/users".to_owned());
    if let Some(tenant) = tenant {
        query.add("tenant", tenant.as_str());
    }
    list(client.get(query.text()).await?, "users")
}

/// Sets the provider of the caller's tenant.
///
/// # Errors
/// What the server said.
pub async fn provider_put(client: &Client, provider: &NewProvider) -> Result<(), Problem> {
    client.put(Method::PUT, "/v1/provider", &json!(provider)).await.map(|_| ())
}

/// The provider of the caller's tenant, without its secret; null if there is none.
///
/// # Errors
/// What the server said.
pub async fn provider(client: &Client) -> Result<Value, Problem> {
    Ok(client.get("/v1/provider").await?.get("provider").cloned().unwrap_or_default())
}

/// Removes the provider of the caller's tenant.
///
/// # Errors
/// What the server said.
pub async fn provider_remove(client: &Client) -> Result<(), Problem> {
    client.json(crate::transport::Ask::new(Method::DELETE, "/v1/provider")).await.map(|_| ())
}

/// Ends a user's access.
///
/// # Errors
/// What the server said.
pub async fn user_remove(client: &Client, login: &Login) -> Result<(), Problem> {
    let mut query = Query::new(format!("/v1/users/{}", segment(login.user.as_str())));
    query.add("tenant", login.tenant.as_str());
    client.json(crate::transport::Ask::new(Method::DELETE, query.text())).await.map(|_| ())
}

/// The types file in force.
///
/// # Errors
/// What the server said.
pub async fn types_text(client: &Client) -> Result<String, Problem> {
    let answer = client.get("/v1/types").await?;
    let text = answer.get("text").and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| Problem::failed("the server's answer has no types file"))
}

/// The record types in force.
///
/// # Errors
/// What the server said.
pub async fn types(client: &Client) -> Result<RecordTypes, Problem> {
    let text = types_text(client).await?;
    types_file::parse(&text).map_err(|error| Problem::failed(format!("the server's types file can't be read: {error}")))
}

/// Applies a types file, and says what changed.
///
/// # Errors
/// What the server said: where the file is wrong, or what would be lost.
pub async fn types_apply(client: &Client, text: &str, dry_run: bool) -> Result<Vec<String>, Problem> {
    let body = json!({ "text": text, "dry_run": dry_run });
    Ok(texts(&client.put(Method::PUT, "/v1/types", &body).await?, "changes"))
}

/// The policies in force.
///
/// # Errors
/// What the server said.
pub async fn policies(client: &Client) -> Result<Vec<PolicyFile>, Problem> {
    let files = list(client.get("/v1/policies").await?, "files")?;
    let read =
        |file: Value| serde_json::from_value(file).map_err(|_| Problem::failed("the server's policies are not files"));
    files.into_iter().map(read).collect()
}

/// Applies policies in place of all that are in force, and gives the roles that they name.
///
/// # Errors
/// What the server said: the file, line and column that is wrong.
pub async fn policies_apply(client: &Client, files: &[PolicyFile], dry_run: bool) -> Result<Vec<String>, Problem> {
    let body = json!({ "files": files, "dry_run": dry_run });
    Ok(texts(&client.put(Method::PUT, "/v1/policies", &body).await?, "roles"))
}

/// A token with these limits more.
///
/// # Errors
/// What the server said.
pub async fn narrow(client: &Client, narrowing: &Narrowing, lifetime_ms: Option<u64>) -> Result<Token, Problem> {
    let mut details = json!({ "type": "countersign" });
    let mut set = |name: &str, value: Option<Value>| {
        if let (Some(fields), Some(value)) = (details.as_object_mut(), value) {
            fields.insert(name.to_owned(), value);
        }
    };
    set("actions", narrowing.actions.as_ref().map(|actions| json!(actions)));
    set("datatypes", narrowing.types.as_ref().map(|types| json!(types)));
    set("fields", narrowing.fields.as_ref().map(|fields| json!(fields)));
    set("purpose", narrowing.purpose.as_ref().map(|purpose| json!(purpose)));
    let own = client.token().map(Token::reveal).unwrap_or_default();
    let mut body = json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": own,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "authorization_details": [details],
    });
    if let (Some(fields), Some(ms)) = (body.as_object_mut(), lifetime_ms) {
        fields.insert("expires_in".to_owned(), json!(ms.div_ceil(1000)));
    }
    let granted = client.put(Method::POST, "/v1/token", &body).await?;
    Token::granted(&granted)
}

/// What to revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// The caller's token.
    Own,
    /// The login that the caller's token comes from, and everything narrowed from it.
    OwnSession,
    /// A token of the caller's tenant.
    Token(TokenId),
    /// A login of the caller's tenant.
    Session(SessionId),
    /// Everything that a user of the caller's tenant holds now.
    User(Name),
}

/// Revokes.
///
/// # Errors
/// What the server said.
pub async fn revoke(client: &Client, what: &Revoked) -> Result<(), Problem> {
    let body = match what {
        Revoked::Own => json!({}),
        Revoked::OwnSession => json!({ "session": true }),
        Revoked::Token(id) => json!({ "token_id": id }),
        Revoked::Session(id) => json!({ "session_id": id }),
        Revoked::User(name) => json!({ "user": name }),
    };
    client.put(Method::POST, "/v1/token/revoke", &body).await.map(|_| ())
}

/// The texts in a list of an answer.
fn texts(answer: &Value, name: &str) -> Vec<String> {
    answer.get(name).and_then(Value::as_array).into_iter().flatten().map(plain).collect()
}

/// The list in an answer, which may be the answer itself.
fn list(answer: Value, name: &str) -> Result<Vec<Value>, Problem> {
    let list = match answer {
        Value::Object(mut fields) => fields.remove(name).unwrap_or_default(),
        other => other,
    };
    match list {
        Value::Array(items) => Ok(items),
        _ => Err(Problem::failed(format!("the server's answer has no list of {name}"))),
    }
}
