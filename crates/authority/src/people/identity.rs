//! From an id token to a person: is it good, and what does the tenant's mapping make of it.

use std::collections::BTreeSet;

use countersign_crypto::jwt::{Accepted, Algorithm, Claims, ClaimsError, Expected, JwtError, Party, Typ, is_half_hash};
use countersign_model::facts::ExternalId;
use countersign_model::{Name, UnixMs};
use serde_json::Value;

use super::issuers::{Issuer, KeySource, NotVerified, verify};
use crate::registry::fact::ProviderFact;

/// How long ago an id token may have been issued: it was asked for a moment ago.
const AGE_MAX_MS: u64 = 10 * 60 * 1000;

/// The longest subject, in bytes (OpenID Connect Core, section 2).
const SUBJECT_MAX_BYTES: usize = 255;

/// What came from a provider's token endpoint, as far as it is used.
pub(super) struct Received {
    pub id_token: String,
    pub access_token: Option<String>,
}

/// Somebody whom the tenant's provider vouches for.
pub(super) struct Identity {
    pub external: ExternalId,
    /// What they would be called here; `None` if the claim makes no name.
    pub name: Option<Name>,
    /// What the mapping gives them, sorted.
    pub roles: Vec<Name>,
}

/// Why an id token is not believed: for the audit record, never for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotBelieved {
    /// The provider's keys can't be had.
    Unavailable,
    /// It is no good; what is wrong with it.
    Bad(&'static str),
}

pub(super) fn issuer_of(provider: &ProviderFact) -> Issuer {
    Issuer { url: provider.settings.issuer.clone(), ca_pem: provider.settings.ca_pem.as_deref().map(Into::into) }
}

/// Checks an id token as OpenID Connect Core, section 3.1.3.7, asks, and reads who it is about.
pub(super) async fn believe(
    source: &(impl KeySource + ?Sized),
    provider: &ProviderFact,
    received: &Received,
    nonce: Option<&str>,
    now: UnixMs,
) -> Result<Identity, NotBelieved> {
    let settings = &provider.settings;
    let named: Vec<Algorithm> = settings.algorithms.iter().filter_map(|name| Algorithm::named(name)).collect();
    let algorithms = if named.is_empty() { &Algorithm::ALL[..] } else { &named };
    let accepted = Accepted { algorithms, typ: Typ::JwtOrAbsent };
    let claims: Claims = verify(source, &issuer_of(provider), &received.id_token, &accepted, now).await.map_err(why)?;
    let expected = Expected {
        issuer: &settings.issuer,
        audience: &settings.client_id,
        party: Party::Client,
        nonce,
        age_max_ms: Some(AGE_MAX_MS),
    };
    claims.check(&expected, now).map_err(|error| NotBelieved::Bad(wrong_claim(error)))?;
    if let (Some(hash), Some(access_token)) = (claims.other.get("at_hash"), &received.access_token)
        && !hash.as_str().is_some_and(|hash| is_half_hash(&received.id_token, access_token, hash))
    {
        return Err(NotBelieved::Bad("id token: at_hash"));
    }
    if claims.sub.is_empty() || claims.sub.len() > SUBJECT_MAX_BYTES {
        return Err(NotBelieved::Bad("id token: sub"));
    }
    let name = claim(&claims, &settings.name_claim).and_then(|said| name_from(said.as_str()?));
    let roles = roles(&claims, provider);
    Ok(Identity { external: ExternalId { issuer: claims.iss, subject: claims.sub }, name, roles })
}

const fn why(error: NotVerified) -> NotBelieved {
    match error {
        NotVerified::Issuer(_) => NotBelieved::Unavailable,
        NotVerified::Token(error) => NotBelieved::Bad(match error {
            JwtError::Algorithm => "id token: algorithm",
            JwtError::UnknownKey => "id token: unknown key",
            JwtError::BadSignature => "id token: signature",
            JwtError::Claims => "id token: claims",
            _ => "id token: form",
        }),
    }
}

const fn wrong_claim(error: ClaimsError) -> &'static str {
    match error {
        ClaimsError::Issuer => "id token: iss",
        ClaimsError::Audience => "id token: aud",
        ClaimsError::Party => "id token: azp",
        ClaimsError::Expired => "id token: exp",
        ClaimsError::NotYetValid => "id token: nbf or iat",
        ClaimsError::TooOld => "id token: iat",
        ClaimsError::Nonce => "id token: nonce",
    }
}

/// A claim. An address that the provider has not verified is what its owner wrote there, so it counts as none.
fn claim(claims: &Claims, name: &str) -> Option<Value> {
    match name {
        "sub" => Some(claims.sub.clone().into()),
        "email" if claims.other.get("email_verified") != Some(&Value::Bool(true)) => None,
        _ => claims.other.get(name).cloned(),
    }
}

/// A name as we have them: in lower case, of an address what stands before the `@`, and `-` in place of what names
/// can't have.
fn name_from(text: &str) -> Option<Name> {
    let local = text.split('@').next().unwrap_or_default().to_ascii_lowercase();
    let allowed = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '-' };
    let name: String = local.chars().take(Name::MAX_BYTES).map(allowed).collect();
    Name::new(name.trim_end_matches('-')).ok()
}

/// The roles that the mapping gives for the values of the claim: a text or a list of texts.
fn roles(claims: &Claims, provider: &ProviderFact) -> Vec<Name> {
    let role = |value: &Value| provider.settings.roles.get(value.as_str()?).cloned();
    let found: BTreeSet<Name> = match claim(claims, &provider.settings.role_claim) {
        Some(Value::Array(values)) => values.iter().filter_map(role).collect(),
        Some(value) => role(&value).into_iter().collect(),
        None => BTreeSet::new(),
    };
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_what_providers_say() {
        for (said, name) in [
            ("nancy", Some("nancy")),
            ("Nancy.Davolio@northwind.example", Some("nancy-davolio")),
            ("n_d-1", Some("n_d-1")),
            ("nancy!", Some("nancy")),
            ("Zoë", Some("zo")),
            ("4711", None),
            ("@x", None),
            ("", None),
            ("..", None),
        ] {
            assert_eq!(name_from(said).as_ref().map(Name::as_str), name, "{said}");
        }
        assert_eq!(name_from(&"n".repeat(100)).unwrap().as_str().len(), Name::MAX_BYTES);
    }
}
