//! What acts on the registry.

use std::fmt;
use std::sync::Arc;

use countersign_audit::{AuditSink, Ledger};
use countersign_crypto::jws;
use countersign_model::facts::Facts;
use countersign_store::Store;
use countersign_token::{MAX_LIFETIME_MS, Verifier};
use serde_json::{Value, json};

use crate::challenge::Challenges;
use crate::error::RegistryError;
use crate::login::Decoy;
use crate::registry::Registry;
use crate::signing::Signing;

/// What an [`Authority`] is made of.
pub struct AuthorityParts {
    /// The facts and keys.
    pub registry: Arc<Registry>,
    /// Told of new tenants and types.
    pub store: Arc<dyn Store>,
    /// Takes the records of logins; it must take records of the service `authority`.
    pub audit: Arc<dyn AuditSink>,
    /// The ledgers that audit queries are answered from, one for each service of this process.
    pub ledgers: Vec<Arc<Ledger>>,
    /// Who issues tokens: the URL under which this deployment is known.
    pub issuer: String,
    /// For whom tokens are: mostly the same.
    pub audience: String,
    /// How long tokens live when nothing shorter is asked for; 12 hours at most.
    pub login_lifetime_ms: u64,
    /// How many verified tokens to remember.
    pub token_capacity: usize,
}

/// Lets people log in, mints tokens, and executes control requests.
pub struct Authority {
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) ledgers: Arc<[Arc<Ledger>]>,
    pub(crate) signing: Signing,
    pub(crate) challenges: Challenges,
    pub(crate) decoy: Decoy,
    pub(crate) login_lifetime_ms: u64,
}

impl Authority {
    /// An authority over these parts. Tells the store which record types are in force, and makes a signing key if
    /// there is none or the last one is a day old.
    ///
    /// # Errors
    /// [`RegistryError::Crypto`] if a stored signing key can't be used; [`RegistryError::StoreBehind`].
    pub async fn open(parts: AuthorityParts) -> Result<Self, RegistryError> {
        let AuthorityParts { registry, store, audit, ledgers, issuer, audience, .. } = parts;
        let facts = Arc::clone(&registry.latest().facts);
        store.apply_types(&facts.types).await.map_err(|_| RegistryError::StoreBehind)?;
        let signing = Signing::new(&registry, issuer, audience, parts.token_capacity)?;
        signing.minter(&registry).await?;
        let decoy = Decoy::new(registry.entropy())?;
        let login_lifetime_ms = parts.login_lifetime_ms.min(MAX_LIFETIME_MS);
        let (challenges, ledgers) = (Challenges::default(), ledgers.into());
        Ok(Self { registry, store, audit, ledgers, signing, challenges, decoy, login_lifetime_ms })
    }

    /// The registry that this authority acts on.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Verifies this authority's tokens; always knows the newest keys.
    #[must_use]
    pub fn verifier(&self) -> Arc<Verifier> {
        self.signing.verifier()
    }

    /// The keys by which anybody can verify tokens (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Value {
        jws::jwks(&self.signing.published(&self.registry))
    }

    /// What clients and services need to know about this authority (RFC 8414).
    #[must_use]
    pub fn metadata(&self) -> Value {
        let issuer = self.signing.issuer();
        json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}/v1/token"),
            "revocation_endpoint": format!("{issuer}/v1/token/revoke"),
            "jwks_uri": format!("{issuer}/v1/jwks.json"),
            "response_types_supported": [],
            "grant_types_supported": ["urn:ietf:params:oauth:grant-type:token-exchange"],
            "token_endpoint_auth_methods_supported": ["none"],
            "authorization_details_types_supported": ["countersign"],
            "countersign_challenge_endpoint": format!("{issuer}/v1/login/challenge"),
            "countersign_login_endpoint": format!("{issuer}/v1/login"),
        })
    }

    pub(crate) fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.registry.latest().facts)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("issuer", &self.signing.issuer()).finish_non_exhaustive()
    }
}
