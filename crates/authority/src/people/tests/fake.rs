//! A provider that says what a test wants it to say.

use async_trait::async_trait;
use countersign_crypto::{SystemEntropy, jws};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::people::fetch::{Answered, Ask, FetchError, Outbound};
use crate::tests::NOW;

/// The provider of tests.
pub(crate) struct Fake {
    pub issuer: String,
    inner: Mutex<Inner>,
}

struct Inner {
    published: Vec<jws::SigningKey>,
    signer: jws::SigningKey,
    typ: &'static str,
    discovery: Map<String, Value>,
    claims: Map<String, Value>,
    /// What the token endpoint answers instead of tokens.
    error: Option<&'static str>,
    down: bool,
    calls: Vec<(String, String, Option<String>)>,
}

fn key() -> jws::SigningKey {
    jws::SigningKey::generate(&SystemEntropy).unwrap()
}

fn again(key: &jws::SigningKey) -> jws::SigningKey {
    jws::SigningKey::from_pkcs8(&key.to_pkcs8()).unwrap()
}

fn members(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

impl Fake {
    pub fn new(issuer: &str) -> Self {
        let signer = key();
        let at = |path: &str| format!("{issuer}{path}");
        let inner = Inner {
            published: vec![again(&signer)],
            signer,
            typ: "JWT",
            discovery: members(json!({
                "issuer": issuer,
                "jwks_uri": at("/jwks"),
                "authorization_endpoint": at("/auth"),
                "token_endpoint": at("/token"),
                "device_authorization_endpoint": at("/device"),
                "authorization_response_iss_parameter_supported": true,
            })),
            claims: members(json!({
                "iss": issuer,
                "sub": "4711",
                "aud": "countersign",
                "iat": NOW.seconds(),
                "exp": NOW.plus_ms(300_000).seconds(),
                "preferred_username": "Margaret",
                "groups": ["Accounting", "Bowling"],
            })),
            error: None,
            down: false,
            calls: Vec::new(),
        };
        Self { issuer: issuer.into(), inner: Mutex::new(inner) }
    }

    /// What a claim is from now on; null is absent.
    pub fn says(&self, claim: &str, value: Value) {
        let claims = &mut self.inner.lock().claims;
        match value {
            Value::Null => claims.remove(claim),
            value => claims.insert(claim.into(), value),
        };
    }

    /// What it publishes about itself from now on; null is absent.
    pub fn publishes(&self, member: &str, value: Value) {
        let discovery = &mut self.inner.lock().discovery;
        match value {
            Value::Null => discovery.remove(member),
            value => discovery.insert(member.into(), value),
        };
    }

    pub fn answers(&self, error: Option<&'static str>) {
        self.inner.lock().error = error;
    }

    pub fn is_down(&self, down: bool) {
        self.inner.lock().down = down;
    }

    pub fn signs_as(&self, typ: &'static str) {
        self.inner.lock().typ = typ;
    }

    /// Signs with another key, published or not.
    pub fn rotates(&self, published: bool) {
        let mut inner = self.inner.lock();
        inner.signer = key();
        if published {
            let public = again(&inner.signer);
            inner.published.push(public);
        }
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.inner.lock().calls.iter().filter(|(asked, ..)| asked == path).count()
    }

    /// The form and the `Authorization` field of the last call to a path.
    pub fn last(&self, path: &str) -> (String, Option<String>) {
        let inner = self.inner.lock();
        let (_, form, authorization) = inner.calls.iter().rev().find(|(asked, ..)| asked == path).unwrap();
        (form.clone(), authorization.clone())
    }
}

#[async_trait]
impl Outbound for Fake {
    async fn call(&self, ask: Ask) -> Result<Answered, FetchError> {
        let mut inner = self.inner.lock();
        let path = ask.url.path_and_query().to_owned();
        let form = ask.content.map(|content| String::from_utf8(content.bytes.to_vec()).unwrap()).unwrap_or_default();
        inner.calls.push((path.clone(), form, ask.authorization.as_deref().cloned()));
        if inner.down || format!("https://{}", ask.url.authority()) != self.issuer {
            return Err(FetchError::Unreachable);
        }
        let (status, body) = match (path.as_str(), inner.error) {
            ("/.well-known/openid-configuration", _) => (200, Value::Object(inner.discovery.clone())),
            ("/jwks", _) => {
                let keys: Vec<_> = inner.published.iter().map(|key| key.public_jwk().clone()).collect();
                (200, jws::jwks(&keys))
            }
            ("/token", None) => {
                let id_token = inner.signer.sign(inner.typ, &inner.claims).unwrap();
                (200, json!({ "access_token": "theirs", "token_type": "Bearer", "id_token": id_token }))
            }
            ("/device", None) => (
                200,
                json!({
                    "device_code": "the-device-code",
                    "user_code": "WDJB-MJHT",
                    "verification_uri": format!("{}/device", self.issuer),
                    "verification_uri_complete": format!("{}/device?user_code=WDJB-MJHT", self.issuer),
                    "expires_in": 600,
                    "interval": 5,
                }),
            ),
            ("/token" | "/device", Some("")) => (500, json!({})),
            ("/token" | "/device", Some(error)) => (400, json!({ "error": error })),
            _ => (404, json!({})),
        };
        Ok(Answered { status, body: Zeroizing::new(body.to_string().into_bytes()) })
    }
}
