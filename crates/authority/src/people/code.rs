//! The authorization code flow with PKCE (OpenID Connect Core, section 3.1; RFC 7636; RFC 9207).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_crypto::{same_bytes, sha256};
use countersign_model::{Name, TenantId};
use countersign_token::Minted;
use zeroize::Zeroizing;

use super::identity::issuer_of;
use super::pending::{Flow, LOGIN_MS, Waiting, secret_text};
use super::provider::is_allowed_redirect;
use super::token_endpoint::{Denied, form, tokens};
use super::{Attempt, NotLetIn, entry, refused, unavailable};
use crate::authority::Authority;
use crate::error::LoginRefused;

/// A login that was begun.
pub struct CodeLogin {
    /// By which whoever began it goes on: a secret, never part of a URL.
    pub id: String,
    /// Where the person logs in.
    pub authorization_url: String,
    /// How long the person has, in seconds.
    pub expires_in: u64,
}

/// What came back with the person's browser.
pub struct CodeReturn {
    /// Which login.
    pub id: String,
    /// The code.
    pub code: Zeroizing<String>,
    /// The state.
    pub state: String,
    /// Who says so (RFC 9207).
    pub iss: Option<String>,
}

impl Authority {
    /// Begins to log in with the provider of `tenant`, in a browser that is sent back to `redirect_uri`.
    ///
    /// # Errors
    /// [`LoginRefused`]; a tenant that doesn't exist, one without provider, and a place that people may not be sent to
    /// are one answer. Refusals are on record.
    pub async fn code_login(
        &self,
        attempt: &Attempt,
        tenant: &Name,
        redirect_uri: &str,
    ) -> Result<CodeLogin, LoginRefused> {
        match self.begin_code(tenant, redirect_uri).await {
            Ok(begun) => Ok(begun),
            Err(not) => {
                let tenant = self.facts().tenant_names.get(tenant).copied();
                Err(self.record_not_let_in(attempt, tenant, not).await.unwrap_or_else(|failed| failed))
            }
        }
    }

    async fn begin_code(&self, tenant: &Name, redirect_uri: &str) -> Result<CodeLogin, NotLetIn> {
        let (tenant, provider) = self.provider_of(tenant)?;
        let settings = &provider.settings;
        if !is_allowed_redirect(&settings.redirect_uris, redirect_uri) {
            return Err(refused("not an allowed redirect URI"));
        }
        let (now, entropy) = (self.registry.clock().now(), self.registry.entropy());
        let metadata = self.people.issuers.metadata(&issuer_of(&provider), now).await;
        let metadata = metadata.map_err(|_| unavailable("it can't be reached"))?;
        let endpoint = metadata.authorization_endpoint.as_ref().ok_or(unavailable("it has no such flow"))?;
        let (state, nonce) = (secret_text(entropy), secret_text(entropy));
        let verifier = Zeroizing::new(secret_text(entropy));
        let challenge = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
        let query = form([
            ("response_type", "code"),
            ("client_id", &settings.client_id),
            ("redirect_uri", redirect_uri),
            ("scope", &scope(&settings.scopes)),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let joint = if endpoint.has_query() { '&' } else { '?' };
        let authorization_url = format!("{endpoint}{joint}{}", *query);
        let flow = Flow::Code { redirect_uri: redirect_uri.to_owned(), state, nonce, verifier };
        let waiting = Waiting { tenant, set: provider.set, expires: now.plus_ms(LOGIN_MS), flow };
        let id = self.people.pending.keep(waiting, now, entropy).ok_or(unavailable("too many begin to log in"))?;
        Ok(CodeLogin { id, authorization_url, expires_in: LOGIN_MS / 1000 })
    }

    /// A token for whoever began the login and comes back from the provider. On record before the token leaves.
    ///
    /// # Errors
    /// [`LoginRefused`]; every reason that lies in what came back is [`LoginRefused::Refused`]. A login can be finished
    /// once, well or badly.
    pub async fn code_return(&self, attempt: &Attempt, back: CodeReturn) -> Result<Minted, LoginRefused> {
        let now = self.registry.clock().now();
        let is_code = |waiting: &Waiting| matches!(waiting.flow, Flow::Code { .. });
        let Some(waiting) = self.people.pending.take(&back.id, now, is_code) else {
            return self.conclude(attempt, None, Err(refused("no such login"))).await;
        };
        let tenant = waiting.tenant;
        let outcome = self.finish_code(attempt, tenant, waiting, &back).await;
        self.conclude(attempt, Some(tenant), outcome).await
    }

    async fn finish_code(
        &self,
        attempt: &Attempt,
        tenant: TenantId,
        waiting: Waiting,
        back: &CodeReturn,
    ) -> Result<entry::LetIn, NotLetIn> {
        let Flow::Code { redirect_uri, state, nonce, verifier } = &waiting.flow else {
            return Err(refused("no such login"));
        };
        if !same_bytes(state.as_bytes(), back.state.as_bytes()) {
            return Err(refused("state"));
        }
        let provider = self.same_provider(tenant, waiting.set)?;
        let now = self.registry.clock().now();
        let metadata = self.people.issuers.metadata(&issuer_of(&provider), now).await;
        let metadata = metadata.map_err(|_| unavailable("it can't be reached"))?;
        // RFC 9207, section 2.4: the code of another provider goes nowhere.
        match &back.iss {
            Some(iss) if *iss != provider.settings.issuer => return Err(refused("iss")),
            None if metadata.names_itself => return Err(refused("iss is missing")),
            _ => {}
        }
        let pairs = [
            ("grant_type", "authorization_code"),
            ("code", back.code.as_str()),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ];
        let received =
            tokens(&self.people.issuers, &provider, &metadata, &pairs).await.map_err(|denied| match denied {
                Denied::Unavailable => unavailable("it gave no id token"),
                Denied::Error(_) => refused("it refused the code"),
            })?;
        self.let_in(attempt, tenant, &provider, &received, Some(nonce)).await
    }
}

/// `openid` and what else is asked for.
pub(super) fn scope(more: &[String]) -> String {
    let more = more.iter().map(String::as_str).filter(|scope| *scope != "openid");
    std::iter::once("openid").chain(more).collect::<Vec<_>>().join(" ")
}
