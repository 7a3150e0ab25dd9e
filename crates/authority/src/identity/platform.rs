//! Platforms that the deployment trusts to say which workload is calling: Kubernetes, CI systems, clouds.
//!
//! A platform gives each of its workloads a signed token (OpenID Connect). A rule says whose tokens are believed, what
//! they have to say, and which role the workload then has.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use countersign_crypto::jwt::{self, Accepted, Claims, Expected, JwkSet, JwtError, Party};
use countersign_crypto::spiffe::is_segment;
use countersign_model::{Name, UnixMs};
use serde::Deserialize;
use serde_json::Value;

use super::{IdentityRules, JOINING_ROLES, JoinRefused};
use crate::people::{Issuer, NotVerified, verify};

/// The longest that a platform's token may live, from `iat` to `exp` (the seventh law: services, one hour).
pub(super) const TOKEN_LIFETIME_MS: u64 = 3600 * 1000;

/// Whose tokens are believed, what they have to say, and what that makes of who brings one.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformRule {
    /// The rule's name, in audit records and lists of services.
    pub name: String,
    /// `iss`, exactly. Its keys are found by OpenID Connect Discovery, unless they are given here.
    pub issuer: String,
    /// The issuer's keys as a JWK set, where it can't be asked.
    #[serde(default)]
    pub jwks: Option<String>,
    /// Certificate authorities, in PEM, that are trusted for the issuer's servers besides the machine's own.
    #[serde(default)]
    pub ca_pem: Option<Arc<str>>,
    /// `aud`: the only one. A token for anybody else is worth nothing here.
    pub audience: String,
    /// `sub`: exactly, or what comes before a `*` at the end.
    pub subject: String,
    /// Other claims that must have these values, by JSON pointers (RFC 6901): `/kubernetes.io/namespace`. Values are
    /// texts, numbers or truth values.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// The role of who is recognised.
    pub role: String,
    /// Where the token says the instance's name, by a JSON pointer: `/kubernetes.io/pod/name`. It has to be a
    /// [`Name`]. Without it each join gets a new name.
    #[serde(default)]
    pub instance: Option<String>,
}

/// Without keys and certificates, which are long.
impl fmt::Debug for PlatformRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformRule")
            .field("name", &self.name)
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("subject", &self.subject)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// Why a rule can't be used. The operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("platform '{rule}': {field} must be {expected}")]
pub struct PlatformRuleError {
    rule: String,
    field: &'static str,
    expected: String,
}

impl PlatformRule {
    /// Whether the rule says all that it has to, and nothing that it must not.
    ///
    /// # Errors
    /// [`PlatformRuleError`] with the first thing that is wrong.
    pub fn check(&self) -> Result<(), PlatformRuleError> {
        let wrong = |field, expected: &str| {
            Err(PlatformRuleError { rule: self.name.clone(), field, expected: expected.to_owned() })
        };
        if !is_segment(&self.name) {
            return wrong("name", "1 to 63 letters, digits, '.', '-' or '_'");
        }
        if !self.issuer.starts_with("https://") {
            return wrong("issuer", "an https URL");
        }
        if self.jwks.as_deref().is_some_and(|jwks| JwkSet::parse(jwks).is_err()) {
            return wrong("jwks", "a JWK set with at least one key that can be used");
        }
        if self.audience.is_empty() {
            return wrong("audience", "the audience that tokens for this deployment have");
        }
        let (fixed, _) = self.subject_parts();
        if fixed.is_empty() || fixed.contains('*') {
            return wrong("subject", "a subject, or the beginning of one with '*' at its end");
        }
        let pointers = self.claims.keys().chain(&self.instance);
        if pointers.into_iter().any(|pointer| !pointer.starts_with('/')) {
            return wrong("claims and instance", "JSON pointers, which begin with '/'");
        }
        if !JOINING_ROLES.contains(&self.role.as_str()) {
            return wrong("role", &format!("one of {}", JOINING_ROLES.join(", ")));
        }
        Ok(())
    }

    /// The fixed part, and whether more may follow.
    fn subject_parts(&self) -> (&str, bool) {
        match self.subject.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (&self.subject, false),
        }
    }

    fn fits(&self, claims: &Claims, all: &Value, now: UnixMs) -> bool {
        let expected = Expected {
            issuer: &self.issuer,
            audience: &self.audience,
            party: Party::Holder,
            nonce: None,
            age_max_ms: Some(TOKEN_LIFETIME_MS),
        };
        let lives_s = claims.iat.map(|issued| claims.exp.saturating_sub(issued));
        let (fixed, more) = self.subject_parts();
        claims.check(&expected, now).is_ok()
            && lives_s.is_some_and(|seconds| seconds <= TOKEN_LIFETIME_MS / 1000)
            && (claims.sub == fixed || (more && claims.sub.starts_with(fixed)))
            && self.claims.iter().all(|(pointer, value)| says(all, pointer).is_some_and(|said| said == *value))
    }
}

/// The text, number or truth value at that place, as text.
fn says(all: &Value, pointer: &str) -> Option<String> {
    match all.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What a platform says of who is calling.
pub(super) struct Fitting {
    pub rule: String,
    pub role: String,
    pub instance: Option<String>,
}

impl IdentityRules {
    /// What the first rule for this role that fits makes of a platform's token.
    pub(super) async fn recognise(&self, token: &str, role: &str, now: UnixMs) -> Result<Fitting, JoinRefused> {
        // Chooses whom to ask only: what the token says counts once its signature was verified.
        let issuer = jwt::unverified_issuer(token).map_err(|_| JoinRefused::Refused)?;
        for rule in self.platforms.iter().filter(|rule| rule.issuer == issuer && rule.role == role) {
            let claims = match self.verified(rule, token, now).await {
                Ok(claims) => claims,
                Err(JoinRefused::Refused) => continue,
                Err(other) => return Err(other),
            };
            let all = Value::Object(claims.other.clone());
            if !rule.fits(&claims, &all, now) {
                continue;
            }
            let instance = match &rule.instance {
                None => None,
                Some(pointer) => {
                    let said = says(&all, pointer).filter(|said| Name::new(said).is_ok());
                    Some(said.ok_or(JoinRefused::Refused)?)
                }
            };
            return Ok(Fitting { rule: rule.name.clone(), role: rule.role.clone(), instance });
        }
        Err(JoinRefused::Refused)
    }

    async fn verified(&self, rule: &PlatformRule, token: &str, now: UnixMs) -> Result<Claims, JoinRefused> {
        let accepted = &Accepted::ID_TOKEN;
        if let Some(jwks) = &rule.jwks {
            let keys = JwkSet::parse(jwks).map_err(|_| JoinRefused::Unavailable)?;
            return jwt::verify(&keys, token, accepted).map_err(|_: JwtError| JoinRefused::Refused);
        }
        let source = self.platform_keys.as_ref().ok_or(JoinRefused::Unavailable)?;
        let issuer = Issuer { url: rule.issuer.clone(), ca_pem: rule.ca_pem.clone() };
        verify(&**source, &issuer, token, accepted, now).await.map_err(|error| match error {
            NotVerified::Token(_) => JoinRefused::Refused,
            NotVerified::Issuer(_) => JoinRefused::Unavailable,
        })
    }
}
