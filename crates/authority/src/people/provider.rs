//! The settings of a tenant's provider.

use std::sync::Arc;

use countersign_crypto::jwt::Algorithm;
use countersign_crypto::tls;
use countersign_model::UnixMs;
use countersign_model::control::NewProvider;
use countersign_model::facts::{OPERATORS, Principal, User};

use super::address::HttpsUrl;
use crate::OPERATOR_ROLE;
use crate::answer::{ControlAnswer, ProviderAnswer, ProviderEntry};
use crate::authority::Authority;
use crate::control::Done;
use crate::error::{ControlFailure, RegistryError};
use crate::registry::change::Change;
use crate::registry::fact::ProviderFact;
use crate::time::rfc3339;

/// The longest URL, name or secret, in bytes.
const TEXT_MAX_BYTES: usize = 1024;

/// The most redirect URIs, scopes or algorithms.
const LIST_MAX: usize = 32;

/// The most claim values that give roles.
const ROLES_MAX: usize = 256;

/// The longest list of certificate authorities, in bytes.
const CA_MAX_BYTES: usize = 64 * 1024;

impl Authority {
    pub(crate) fn provider_read(&self, caller: &Principal) -> Done {
        let provider = self.registry.provider(caller.tenant).map(|provider| entry(&provider));
        Done::looked(ControlAnswer::Provider(ProviderAnswer { provider }))
    }

    /// Whoever was let in by a provider that is replaced by another is let out.
    pub(crate) async fn provider_put(&self, caller: &Principal, new: NewProvider) -> Result<Done, ControlFailure> {
        if caller.tenant_name.as_str() == OPERATORS {
            return Err(invalid("provider", "none: operators log in with SSH keys"));
        }
        check(&new)?;
        let mut change = self.registry.begin().await;
        let fact = ProviderFact { settings: new, set: self.registry.clock().now() };
        let before = self.registry.provider(caller.tenant);
        if let Some(old) = before.filter(|old| old.settings.issuer != fact.settings.issuer) {
            end_logins(&mut change, caller, &old, fact.set)?;
        }
        let provider = Some(entry(&fact));
        change.set_provider(caller.tenant, Some(fact))?;
        change.commit().await?;
        Ok(Done::changed(ControlAnswer::Provider(ProviderAnswer { provider })))
    }

    pub(crate) async fn provider_remove(&self, caller: &Principal) -> Result<Done, ControlFailure> {
        let mut change = self.registry.begin().await;
        let missing = || ControlFailure::NotFound { what: "provider", name: caller.tenant_name.to_string() };
        let old = self.registry.provider(caller.tenant).ok_or_else(missing)?;
        // Without the provider somebody has to be left who can log in.
        let has_key =
            |user: &Arc<User>| user.tenant == caller.tenant && !user.ssh_keys.is_empty() && user.expires.is_none();
        if !change.facts().users.values().any(has_key) {
            return Err(ControlFailure::LastPerson);
        }
        end_logins(&mut change, caller, &old, self.registry.clock().now())?;
        change.set_provider(caller.tenant, None)?;
        change.commit().await?;
        Ok(Done::changed(ControlAnswer::Provider(ProviderAnswer { provider: None })))
    }
}

/// Revokes the tokens of everybody whom `old` let in.
fn end_logins(change: &mut Change, caller: &Principal, old: &ProviderFact, at: UnixMs) -> Result<(), RegistryError> {
    let users = Arc::clone(&change.facts().users);
    for (id, user) in users.iter().filter(|(_, user)| user.tenant == caller.tenant) {
        if user.external.as_ref().is_some_and(|external| external.issuer == old.settings.issuer) {
            change.revoke_user(*id, at)?;
        }
    }
    Ok(())
}

fn entry(provider: &ProviderFact) -> ProviderEntry {
    let ProviderFact { settings, set } = provider.clone();
    ProviderEntry {
        issuer: settings.issuer,
        client_id: settings.client_id,
        has_client_secret: settings.client_secret.is_some(),
        redirect_uris: settings.redirect_uris,
        scopes: settings.scopes,
        name_claim: settings.name_claim,
        role_claim: settings.role_claim,
        roles: settings.roles,
        algorithms: settings.algorithms,
        ca_pem: settings.ca_pem,
        set: rfc3339(set),
    }
}

fn invalid(field: impl Into<String>, expected: impl Into<String>) -> ControlFailure {
    ControlFailure::Invalid { field: field.into(), expected: expected.into() }
}

fn check(new: &NewProvider) -> Result<(), ControlFailure> {
    if HttpsUrl::parse(&new.issuer).is_none_or(|url| url.has_query()) {
        return Err(invalid("issuer", "an https URL without query and fragment"));
    }
    let secret = new.client_secret.as_ref().map(|secret| secret.expose());
    for (field, text) in [
        ("client_id", Some(new.client_id.as_str())),
        ("client_secret", secret),
        ("name_claim", Some(new.name_claim.as_str())),
        ("role_claim", Some(new.role_claim.as_str())),
    ] {
        if text.is_some_and(|text| !is_plain(text)) {
            return Err(invalid(field, format!("1 to {TEXT_MAX_BYTES} printable ASCII characters")));
        }
    }
    let lists = [("redirect_uris", &new.redirect_uris), ("scopes", &new.scopes), ("algorithms", &new.algorithms)];
    for (field, list) in lists {
        if list.len() > LIST_MAX {
            return Err(invalid(field, format!("at most {LIST_MAX}")));
        }
    }
    if !new.redirect_uris.iter().all(|uri| is_redirect(uri)) {
        return Err(invalid("redirect_uris", "https URLs, or http ones of 127.0.0.1 or [::1], without fragment"));
    }
    if !new.scopes.iter().all(|scope| is_plain(scope) && !scope.contains([' ', '"', '\\'])) {
        return Err(invalid("scopes", "a list of scopes, one word each"));
    }
    if !new.algorithms.iter().all(|name| Algorithm::named(name).is_some()) {
        let known = Algorithm::ALL.map(Algorithm::as_str).join(", ");
        return Err(invalid("algorithms", format!("some of {known}")));
    }
    if new.roles.is_empty() || new.roles.len() > ROLES_MAX {
        return Err(invalid(
            "roles",
            format!("1 to {ROLES_MAX} values of the claim, each with the role that it gives"),
        ));
    }
    if new.roles.values().any(|role| role.as_str() == OPERATOR_ROLE) {
        return Err(invalid("roles", "any role but the operators'"));
    }
    if new.roles.keys().any(|value| value.is_empty() || value.len() > TEXT_MAX_BYTES) {
        return Err(invalid("roles", format!("values of 1 to {TEXT_MAX_BYTES} bytes")));
    }
    match &new.ca_pem {
        Some(pem) if pem.len() > CA_MAX_BYTES || !tls::public::are_authorities(pem) => {
            Err(invalid("ca_pem", "certificates of certificate authorities in PEM"))
        }
        _ => Ok(()),
    }
}

fn is_plain(text: &str) -> bool {
    (1..=TEXT_MAX_BYTES).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

/// What a browser may be sent back to: a server that proves who it is, or a program on the person's own machine.
fn is_redirect(uri: &str) -> bool {
    let is_short = uri.len() <= TEXT_MAX_BYTES;
    is_short && (HttpsUrl::parse(uri).is_some() || Loopback::parse(uri).is_some())
}

/// A redirect URI on the person's own machine, taken apart.
#[derive(PartialEq, Eq)]
struct Loopback {
    host: String,
    port: Option<u16>,
    rest: String,
}

impl Loopback {
    fn parse(uri: &str) -> Option<Self> {
        let parsed: http::Uri = uri.parse().ok()?;
        let is_plain = is_plain(uri) && !uri.contains(['#', '@', '\\', ' ']);
        let host = parsed.host().filter(|host| matches!(*host, "127.0.0.1" | "[::1]"))?.to_owned();
        if !is_plain || !uri.starts_with("http://") {
            return None;
        }
        let rest = parsed.path_and_query().map(ToString::to_string).unwrap_or_default();
        Some(Self { host, port: parsed.port_u16(), rest })
    }
}

/// Whether `asked` is among the allowed redirect URIs: the same text, or on the person's own machine the same but
/// for a port that was left open (RFC 8252, section 7.3).
pub(super) fn is_allowed_redirect(allowed: &[String], asked: &str) -> bool {
    let own_machine = Loopback::parse(asked);
    allowed.iter().any(|allowed| {
        allowed == asked
            || matches!((&own_machine, Loopback::parse(allowed)), (Some(asked), Some(open))
                if open.port.is_none() && asked.port.is_some() && open.host == asked.host && open.rest == asked.rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_sent_back_only_to_where_they_may_be() {
        let allowed =
            ["https://app.example/back", "http://127.0.0.1/back", "http://[::1]:7777/back"].map(str::to_owned);
        for good in ["https://app.example/back", "http://127.0.0.1:49152/back", "http://[::1]:7777/back"] {
            assert!(is_allowed_redirect(&allowed, good), "{good}");
        }
        for bad in [
            "https://app.example/back?x=1",
            "https://app.example/backwards",
            "https://app.example:8443/back",
            "https://app.example.evil/back",
            "http://127.0.0.1:49152/other",
            "http://127.0.0.1:49152/back?next=1",
            "http://127.0.0.1.evil:80/back",
            "http://127.0.0.1:80@evil/back",
            "http://localhost:49152/back",
            "http://[::1]:7778/back",
            "",
        ] {
            assert!(!is_allowed_redirect(&allowed, bad), "{bad}");
        }
        for uri in ["http://app.example/back", "https://a/#x", "javascript:alert(1)", "http://localhost/x", "/back"] {
            assert!(!is_redirect(uri), "{uri}");
        }
    }
}
