//! Questions to a provider's token endpoint, and to its device endpoint, which clients prove themselves to alike.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::address::HttpsUrl;
use super::fetch::{Ask, Content};
use super::identity::{Received, issuer_of};
use super::issuers::{Issuers, Metadata};
use crate::registry::fact::ProviderFact;

/// What needs no escape in a form (RFC 3986, section 2.3).
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a provider gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denied {
    /// It can't be asked, or answered with something other than what it should.
    Unavailable,
    /// It said no, with this word of RFC 6749, section 5.2, or RFC 8628, section 3.5.
    Error(String),
}

#[derive(Deserialize)]
struct OauthError {
    error: String,
}

/// The token response of OpenID Connect Core, section 3.1.3.3, as far as it is used.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string()
}

/// Pairs as `application/x-www-form-urlencoded`, or as a query.
pub(super) fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(1024));
    for (key, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(key);
        out.push('=');
        out.extend(utf8_percent_encode(value, FORM));
    }
    out
}

/// Asks an endpoint with the client's proof (RFC 6749, section 2.3.1).
pub(super) async fn ask<T: DeserializeOwned>(
    issuers: &Issuers,
    provider: &ProviderFact,
    metadata: &Metadata,
    url: &HttpsUrl,
    pairs: &[(&str, &str)],
) -> Result<T, Denied> {
    let settings = &provider.settings;
    let client_id = ("client_id", settings.client_id.as_str());
    let (authorization, form) = match &settings.client_secret {
        Some(secret) if metadata.takes_basic => {
            let (id, secret) = (encoded(&settings.client_id), Zeroizing::new(encoded(secret.expose())));
            let both = Zeroizing::new(format!("{id}:{}", *secret));
            (Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(both.as_bytes())))), form(pairs.iter().copied()))
        }
        Some(secret) => {
            let proof = [client_id, ("client_secret", secret.expose())];
            (None, form(pairs.iter().copied().chain(proof)))
        }
        None => (None, form(pairs.iter().copied().chain([client_id]))),
    };
    let ca_pem = issuer_of(provider).ca_pem;
    let call = Ask { ca_pem, authorization, ..Ask::post(url.clone(), Content::form(form)) };
    let answered = issuers.http().call(call).await.map_err(|_| Denied::Unavailable)?;
    match answered.status {
        200 => serde_json::from_slice(&answered.body).map_err(|_| Denied::Unavailable),
        400..=499 => {
            let said: Result<OauthError, _> = serde_json::from_slice(&answered.body);
            Err(said.map_or(Denied::Unavailable, |said| Denied::Error(said.error)))
        }
        _ => Err(Denied::Unavailable),
    }
}

/// Exchanges a grant for an id token.
pub(super) async fn tokens(
    issuers: &Issuers,
    provider: &ProviderFact,
    metadata: &Metadata,
    pairs: &[(&str, &str)],
) -> Result<Received, Denied> {
    let endpoint = metadata.token_endpoint.as_ref().ok_or(Denied::Unavailable)?;
    let Tokens { id_token, access_token } = ask(issuers, provider, metadata, endpoint, pairs).await?;
    Ok(Received { id_token, access_token })
}
