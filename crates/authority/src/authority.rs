//! What acts on the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use countersign_audit::AuditSink;
use countersign_crypto::jws;
use countersign_crypto::spiffe::SpiffeId;
use countersign_model::UnixMs;
use countersign_model::facts::Facts;
use countersign_services::{KeyRelease, Log, LogName, Logs, Records, Trails, Watch};
use countersign_store::Store;
use countersign_token::{MAX_LIFETIME_MS, ReplayWindow, Verifier};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::challenge::Challenges;
use crate::control::incident::BreachRules;
use crate::custodian::Custodian;
use crate::error::RegistryError;
use crate::identity::IdentityRules;
use crate::keeper::KeyKeeper;
use crate::login::Decoy;
use crate::people::People;
use crate::people::fetch::{Fetcher, Outbound};
use crate::people::issuers::Issuers;
use crate::registry::Registry;
use crate::signing::Signing;

/// What an [`Authority`] is made of.
pub struct AuthorityParts {
    /// The facts and keys.
    pub registry: Arc<Registry>,
    /// The store, if it is in this process: told of new types before anybody decides by them. One that is elsewhere
    /// follows the facts.
    pub store: Option<Arc<dyn Store>>,
    /// The key service.
    pub keys: Arc<dyn KeyRelease>,
    /// The store behind its guard.
    pub records: Arc<dyn Records>,
    /// Takes the records of logins; it must take records of the service `authority`.
    pub audit: Arc<dyn AuditSink>,
    /// What audit queries are answered from: the ledgers of all services.
    pub trails: Arc<dyn Trails>,
    /// What signs tokens.
    pub signing: Signing,
    /// How long tokens live when nothing shorter is asked for; 12 hours at most.
    pub login_lifetime_ms: u64,
}

/// How many proofs of possession of the last minute are remembered.
const PROOFS: usize = 100_000;

/// What an authority has in memory for a minute and nowhere else: proofs that were used, and challenges that it has given
/// out.
pub struct Remembered {
    pub(crate) proofs: ReplayWindow,
    /// Proofs from before this moment may have been used elsewhere.
    pub(crate) since: Option<UnixMs>,
    challenges: Arc<Challenges>,
}

/// Lets people log in, mints tokens, and executes control requests.
pub struct Authority {
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) keys: Arc<dyn KeyRelease>,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) trails: Arc<dyn Trails>,
    pub(crate) signing: Signing,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) remembered: Arc<Remembered>,
    pub(crate) decoy: Decoy,
    pub(crate) login_lifetime_ms: u64,
    pub(crate) people: People,
    pub(crate) identity: IdentityRules,
    pub(crate) breach: BreachRules,
    /// The monitor, where there is one.
    pub(crate) watch: Option<Arc<dyn Watch>>,
    /// Who backs up and restores, where there is one.
    pub(crate) custodian: Option<Arc<dyn Custodian>>,
    /// Whether other services have keys and records, which this one has no way to destroy.
    pub(crate) is_apart: bool,
    /// Who seals tenants again, where there is one.
    pub(crate) keeper: Option<Arc<dyn KeyKeeper>>,
    /// When this process began to be the authority.
    pub(crate) started: UnixMs,
    /// Until when the last certificate of each service is valid.
    pub(crate) certified: Mutex<BTreeMap<SpiffeId, UnixMs>>,
    /// What is shown to everybody.
    pub(crate) logs: Arc<dyn Logs>,
    /// The witnesses whose cosignatures are taken, however many others come.
    pub(crate) witnesses: BTreeSet<String>,
}

impl Authority {
    /// An authority over these parts. Tells a store in this process which record types are in force.
    ///
    /// # Errors
    /// [`RegistryError::Crypto`]; [`RegistryError::StoreBehind`].
    pub async fn open(parts: AuthorityParts) -> Result<Self, RegistryError> {
        let AuthorityParts { registry, store, keys, records, audit, trails, signing, .. } = parts;
        if let Some(store) = &store {
            let facts = Arc::clone(&registry.latest().facts);
            store.apply_types(&facts.types).await.map_err(|_| RegistryError::StoreBehind)?;
        }
        let decoy = Decoy::new(registry.entropy())?;
        let login_lifetime_ms = parts.login_lifetime_ms.min(MAX_LIFETIME_MS);
        let challenges = Arc::<Challenges>::default();
        let people = People::new(Arc::new(Fetcher::new([])));
        let started = registry.clock().now();
        // Where there was another authority before, nobody here knows which proofs it has taken.
        let since = registry.takes_over().then_some(started);
        let proofs = ReplayWindow::new(PROOFS);
        let remembered = Arc::new(Remembered { proofs, since, challenges: Arc::clone(&challenges) });
        Ok(Self {
            registry,
            store,
            keys,
            records,
            audit,
            trails,
            signing,
            challenges,
            remembered,
            decoy,
            login_lifetime_ms,
            people,
            identity: IdentityRules::default(),
            breach: BreachRules::embedded()?,
            certified: Mutex::default(),
            watch: None,
            custodian: None,
            keeper: None,
            is_apart: false,
            logs: Arc::new(Vec::<(LogName, Arc<dyn Log>)>::new()),
            witnesses: BTreeSet::new(),
            started,
        })
    }

    /// The same authority, which calls identity providers by means of `outbound`. Without this it calls them on the
    /// public internet only.
    #[must_use]
    pub fn calling(mut self, outbound: Arc<dyn Outbound>) -> Self {
        self.people = People::new(outbound);
        self
    }

    /// What it remembers, for the authority that takes its place in this process.
    #[must_use]
    pub fn remembered(&self) -> Arc<Remembered> {
        Arc::clone(&self.remembered)
    }

    /// The same authority, which remembers what the one before it in this process does: then nobody notices.
    #[must_use]
    pub fn remembering(mut self, remembered: Arc<Remembered>) -> Self {
        self.challenges = Arc::clone(&remembered.challenges);
        self.remembered = remembered;
        self
    }

    /// The same authority, which passes requests about alerts and measures on to this monitor.
    #[must_use]
    pub fn watched_by(mut self, monitor: Arc<dyn Watch>) -> Self {
        self.watch = Some(monitor);
        self
    }

    /// The same authority, which has this one back up and restore.
    #[must_use]
    pub fn kept_by(mut self, custodian: Arc<dyn Custodian>) -> Self {
        self.custodian = Some(custodian);
        self
    }

    /// The same authority, which has this one seal tenants again under newer keys.
    #[must_use]
    pub fn resealing_by(mut self, keeper: Arc<dyn KeyKeeper>) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// The same authority with these other services: one that runs apart gets its certificate, by which it calls
    /// them, from itself.
    #[must_use]
    pub fn with_services(
        mut self,
        keys: Arc<dyn KeyRelease>,
        records: Arc<dyn Records>,
        trails: Arc<dyn Trails>,
    ) -> Self {
        (self.keys, self.records, self.trails) = (keys, records, trails);
        self.is_apart = true;
        self
    }

    /// The same authority, which shows these logs to everybody.
    #[must_use]
    pub fn with_logs(mut self, logs: Arc<dyn Logs>) -> Self {
        self.logs = logs;
        self
    }

    /// The same authority, which takes the cosignatures of these witnesses, by their verifier keys, however many others
    /// come.
    #[must_use]
    pub fn expecting_witnesses(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.witnesses = keys.into_iter().collect();
        self
    }

    /// What is known of identity providers: where their keys come from.
    #[must_use]
    pub const fn issuers(&self) -> &Arc<Issuers> {
        &self.people.issuers
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

    /// What clients and services need to know about this authority (RFC 8414). The device flow is not the one of RFC
    /// 8628 towards our own clients, so its endpoints have names of our own.
    #[must_use]
    pub fn metadata(&self) -> Value {
        let issuer = self.signing.issuer();
        let at = |path: &str| format!("{issuer}{path}");
        json!({
            "issuer": issuer,
            "token_endpoint": at("/v1/token"),
            "revocation_endpoint": at("/v1/token/revoke"),
            "introspection_endpoint": at("/v1/token/introspect"),
            "jwks_uri": at("/v1/jwks.json"),
            "response_types_supported": [],
            "grant_types_supported": ["urn:ietf:params:oauth:grant-type:token-exchange"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "introspection_endpoint_auth_methods_supported": ["Bearer", "DPoP"],
            "dpop_signing_alg_values_supported": ["ES256", "EdDSA"],
            "authorization_details_types_supported": ["countersign"],
            "countersign_challenge_endpoint": at("/v1/login/challenge"),
            "countersign_login_endpoint": at("/v1/login"),
            "countersign_oidc_start_endpoint": at("/v1/login/oidc/start"),
            "countersign_oidc_finish_endpoint": at("/v1/login/oidc/finish"),
            "countersign_oidc_device_endpoint": at("/v1/login/oidc/device"),
            "countersign_oidc_device_poll_endpoint": at("/v1/login/oidc/device/poll"),
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
