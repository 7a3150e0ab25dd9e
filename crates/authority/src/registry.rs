//! The deployment's facts and keys: durable, sealed, and in memory as what the guards decide by.

mod audit_keys;
mod backups;
mod carry;
pub(crate) mod change;
mod db;
pub(crate) mod erasure;
pub(crate) mod fact;
mod keys;
mod load;
mod own;
mod wrapping;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use countersign_crypto::note::NoteKey;
use countersign_crypto::spiffe::is_trust_domain;
use countersign_crypto::x509::{CertificateAuthority, ServerCertificate, X509Error};
use countersign_crypto::{Aad, SealKey, SecretKey, TenantKey, ssh};
use countersign_guard::{FactsCell, State};
use countersign_keys::{KmsSet, TenantKeys, WrappedKeys, new_tenant_key};
use countersign_model::control::Contacts;
use countersign_model::facts::{OPERATORS, Tenant, User, UserKind};
use countersign_model::{Clock, Entropy, GrantId, IncidentId, Name, Service, TenantId, UserId};
use countersign_policy::Policies;
use countersign_postgres::Held;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

pub use self::backups::{KnownBackup, Sealed, SealedRow};
pub use self::carry::Carried;
#[cfg(test)]
pub(crate) use self::change::REVOCATIONS_MAX;
use self::db::Db;
pub use self::db::{CONTROL, Place};
use self::erasure::Erasures;
use self::fact::Write;
use self::fact::{
    CertificatesFact, EpochFact, FactsKeysFact, GrantFact, Kind, PoliciesFact, ProviderFact, SecretBytes,
    SigningKeyFact, TenantFact, TypesFact,
};
use crate::control::incident::fact::IncidentFact;
use crate::error::RegistryError;
use crate::identity::DEFAULT_TRUST_DOMAIN;
use crate::identity::fact::{Roster, TrustDomainFact};
use crate::{FIRST_OPERATOR, OPERATOR_ROLE};

/// How long the deployment's own certificate authority lasts. It vouches for servers, never for callers.
const CERTIFICATE_AUTHORITY_DAYS: u32 = 3650;

/// What a [`Registry`] is made of.
pub struct RegistryParts {
    /// Where the control data are or will be.
    pub place: Place,
    /// Wraps the tenants' keys; the deployment's own wraps the deployment's key.
    pub kms: KmsSet,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// How many unwrapped keys of each kind to keep.
    pub key_capacity: usize,
    /// For how long an unwrapped key is used before the key management service is asked again, in milliseconds:
    /// [`countersign_keys::MAX_OPEN_MS`], unless the deployment says otherwise.
    pub key_open_ms: u64,
}

/// The deployment's facts and keys.
pub struct Registry {
    db: Mutex<Db>,
    /// By which this process is the only authority, where that is not a matter of a file.
    held: Option<Arc<Held>>,
    facts: Arc<FactsCell>,
    types_text: Mutex<Arc<str>>,
    wrapped: Arc<Wrapped>,
    tenant_keys: Arc<TenantKeys>,
    deployment_key: TenantKey,
    /// As the key management service wrapped it.
    wrapped_own_key: RwLock<Vec<u8>>,
    /// The file by which the authority comes to its database, where it has one.
    bootstrap: Option<PathBuf>,
    audit_key: Arc<SealKey>,
    certificates: CertificateAuthority,
    roster: RwLock<Arc<Roster>>,
    signing: Mutex<Vec<(Vec<u8>, SigningKeyFact)>>,
    providers: RwLock<HashMap<TenantId, Arc<ProviderFact>>>,
    grants: RwLock<BTreeMap<GrantId, Arc<GrantFact>>>,
    incidents: RwLock<BTreeMap<IncidentId, Arc<IncidentFact>>>,
    contacts: RwLock<HashMap<TenantId, Arc<Contacts>>>,
    backups: RwLock<BTreeMap<[u8; 16], KnownBackup>>,
    erasures: RwLock<Erasures>,
    facts_keys: Mutex<Option<FactsKeysFact>>,
    wrapping: Mutex<Option<wrapping::WrappingFact>>,
    /// Counts changes of anything.
    changes: watch::Sender<u64>,
    /// One change at a time: each is made from the facts that the one before it published.
    changing: Arc<tokio::sync::Mutex<()>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    kms: KmsSet,
}

/// The tenants' wrapped keys.
#[derive(Default)]
struct Wrapped(RwLock<Arc<HashMap<TenantId, Arc<[u8]>>>>);

impl WrappedKeys for Wrapped {
    fn wrapped(&self, tenant: TenantId) -> Option<Arc<[u8]>> {
        self.0.read().get(&tenant).cloned()
    }
}

pub(crate) fn deployment_key_aad() -> Aad {
    Aad::new("deployment-key.1")
}

fn facts_key(deployment_key: &TenantKey) -> SealKey {
    deployment_key.seal_key("facts", 1)
}

impl Registry {
    /// A new deployment: its key, its certificate authority, and the tenant `operators` with one operator who
    /// logs in with `operator_key`.
    ///
    /// # Errors
    /// [`RegistryError::Exists`] if there is a file already, and whatever a disk or key service may meet.
    pub fn create(parts: RegistryParts, operator_key: &ssh::PublicKey) -> Result<Arc<Self>, RegistryError> {
        Self::create_in(parts, operator_key, DEFAULT_TRUST_DOMAIN)
    }

    /// As [`Self::create`], for a deployment whose services have names in this trust domain. It stays the same.
    ///
    /// # Errors
    /// As [`Self::create`], and [`RegistryError::TrustDomain`].
    pub fn create_in(
        parts: RegistryParts,
        operator_key: &ssh::PublicKey,
        trust_domain: &str,
    ) -> Result<Arc<Self>, RegistryError> {
        if !is_trust_domain(trust_domain) {
            return Err(RegistryError::TrustDomain);
        }
        let (now, entropy) = (parts.clock.now(), &*parts.entropy);
        let secret = SecretKey::generate(entropy);
        let kms = parts.kms.default_provider();
        let wrapped = kms.wrap(entropy, &deployment_key_aad(), &secret)?;
        let deployment_key = TenantKey::new(secret);
        let certificates = CertificateAuthority::generate("Countersign deployment", now, CERTIFICATE_AUTHORITY_DAYS)
            .map_err(|_| RegistryError::Crypto)?;
        let stored = certificates.to_parts();
        let (tenant, user) = (TenantId::new(now, entropy), UserId::new(now, entropy));
        let name = |text| Name::new(text).map_err(|_| RegistryError::Missing("name"));
        let operators = TenantFact {
            tenant: Tenant { name: name(OPERATORS)?, created: now },
            wrapped_key: new_tenant_key(kms, entropy, tenant, now)?,
        };
        let operator = User {
            tenant,
            name: name(FIRST_OPERATOR)?,
            roles: vec![name(OPERATOR_ROLE)?],
            attributes: Default::default(),
            ssh_keys: vec![operator_key.to_line()],
            changed: now,
            kind: UserKind::Person,
            external: None,
            expires: None,
        };
        let writes = [
            Write::put(Kind::Epoch, &[], &EpochFact { epoch: 1, policy_epoch: 1 })?,
            Write::put(Kind::Types, &[], &TypesFact::default())?,
            Write::put(Kind::Policies, &[], &PoliciesFact::default())?,
            Write::put(Kind::TrustDomain, &[], &TrustDomainFact { trust_domain: trust_domain.to_owned() })?,
            Write::put(Kind::Tenant, tenant.as_bytes(), &operators)?,
            Write::put(Kind::User, user.as_bytes(), &operator)?,
            Write::put(
                Kind::Certificates,
                &[],
                &CertificatesFact { key: SecretBytes(stored.key_pkcs8_der), certificate: stored.certificate_pem },
            )?,
        ];
        let db = Db::create(&parts.place, &wrapped, facts_key(&deployment_key), entropy, &writes)?;
        Self::load(parts, db, deployment_key, wrapped, &|_| false)
    }

    /// The deployment at `parts.place`. If the wrapping key was rotated, the deployment's key is wrapped by the newest
    /// version from now on.
    ///
    /// In a database this process is the only one that has it, from now until it says so or can't say so any more: see
    /// [`Self::is_held`].
    ///
    /// # Errors
    /// [`RegistryError::InUse`] if another process has it; [`RegistryError::Kms`] if the key service is not the one that wrapped the deployment's key;
    /// [`RegistryError::Damaged`] names the first fact that does not open; [`RegistryError::NoKeyOf`] the first tenant of which
    /// none opens, and which was not erased.
    pub fn open(parts: RegistryParts) -> Result<Arc<Self>, RegistryError> {
        Self::open_without(parts, &|_| false)
    }

    /// As [`Self::open`], for facts that are older than what is known elsewhere: a tenant whose key is no more, and which is
    /// gone as far as `is_gone` knows, is left out, and what was sealed under its key is deleted.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_without(parts: RegistryParts, is_gone: &dyn Fn(TenantId) -> bool) -> Result<Arc<Self>, RegistryError> {
        let (mut db, mut wrapped) = Db::open(&parts.place, &*parts.entropy)?;
        let (kms, aad) = (parts.kms.default_provider(), deployment_key_aad());
        let secret = kms.unwrap_key(&aad, &wrapped)?;
        let is_current = parts.kms.is_current(&wrapped)?;
        if !is_current {
            wrapped = kms.wrap(&*parts.entropy, &aad, &secret)?;
            db.rewrap(&*parts.entropy, &wrapped)?;
        }
        let deployment_key = TenantKey::new(secret);
        db.unlock(facts_key(&deployment_key));
        if !is_current {
            // Cut off before this, it counts as older than it is, and somebody is told too early.
            let fact = wrapping::WrappingFact::of(&wrapped, parts.clock.now());
            db.write(&*parts.entropy, &[fact.to_write()?])?;
        }
        Self::load(parts, db, deployment_key, wrapped, is_gone)
    }

    fn load(
        parts: RegistryParts,
        mut db: Db,
        deployment_key: TenantKey,
        wrapped_own_key: Vec<u8>,
        is_gone: &dyn Fn(TenantId) -> bool,
    ) -> Result<Arc<Self>, RegistryError> {
        let unwrap = |tenant, fact: &_| own::unwrap(&parts.kms, tenant, fact);
        let loaded = load::load(&mut db, &*parts.entropy, unwrap, is_gone)?;
        let policies =
            Policies::compile(&loaded.facts.types, &loaded.facts.policies).map_err(RegistryError::Policies)?;
        let wrapped = Arc::new(Wrapped(RwLock::new(Arc::new(loaded.wrapped))));
        let kms = parts.kms.clone();
        let tenant_keys =
            TenantKeys::new(parts.kms, Arc::<Wrapped>::clone(&wrapped) as Arc<dyn WrappedKeys>, parts.key_capacity)
                .bounded(Arc::clone(&parts.clock), parts.key_open_ms);
        let state = State { facts: Arc::new(loaded.facts), policies: Arc::new(policies) };
        let held = db.held();
        let facts = match held.clone() {
            // What this process has in memory decides nothing once another may have taken its place.
            Some(held) => FactsCell::vouched_for(state, move || held.is_held()),
            None => FactsCell::new(state),
        };
        let bootstrap = match parts.place {
            Place::Postgres { bootstrap, .. } => Some(bootstrap),
            Place::File(_) => None,
        };
        let registry = Arc::new(Self {
            db: Mutex::new(db),
            held,
            facts: Arc::new(facts),
            types_text: Mutex::new(loaded.types_text.into()),
            wrapped,
            tenant_keys: Arc::new(tenant_keys),
            audit_key: Arc::new(deployment_key.seal_key("audit", 1)),
            deployment_key,
            wrapped_own_key: RwLock::new(wrapped_own_key),
            bootstrap,
            certificates: loaded.certificates,
            roster: RwLock::new(Arc::new(loaded.roster)),
            signing: Mutex::new(loaded.signing),
            providers: RwLock::new(loaded.providers),
            grants: RwLock::new(loaded.grants),
            incidents: RwLock::new(loaded.incidents),
            contacts: RwLock::new(loaded.contacts),
            backups: RwLock::new(loaded.backups),
            erasures: RwLock::new(Erasures::new(loaded.erasures)),
            facts_keys: Mutex::new(loaded.facts_keys),
            wrapping: Mutex::new(loaded.wrapping),
            changes: watch::Sender::default(),
            changing: Arc::default(),
            clock: parts.clock,
            entropy: parts.entropy,
            kms,
        });
        registry.own_facts()?;
        if let Some(path) = &registry.bootstrap {
            registry.keep_bootstrap(path)?;
        }
        Ok(registry)
    }

    /// Whether this process may act as the authority at this moment. In a database that is a matter of a lease: it may
    /// until shortly before another can take its place, and again if none has. A file has nobody else.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.is_held())
    }

    /// Lets another process be the authority at once. Nothing can be changed or answered here afterwards. Blocks.
    pub fn let_go(&self) {
        self.db.lock().let_go();
    }

    /// Whether another process may have been the authority until now.
    pub(crate) const fn takes_over(&self) -> bool {
        self.held.is_some()
    }

    /// Waits until another process is the authority, and this one has to end: for ever, where the control data are a
    /// file.
    pub async fn until_lost(&self) {
        let Some(held) = &self.held else { return std::future::pending().await };
        // It ends with what it is of.
        drop(held.lost().wait_for(|lost| *lost).await);
    }

    /// Becomes `true` when another process is the authority, or this one has let it go; `None` where the control data are a
    /// file. It keeps nothing open.
    #[must_use]
    pub fn losing(&self) -> Option<watch::Receiver<bool>> {
        self.held.as_ref().map(|held| held.lost())
    }

    pub(crate) const fn own_key(&self) -> &TenantKey {
        &self.deployment_key
    }

    pub(crate) fn wrapped_own_key(&self) -> Vec<u8> {
        self.wrapped_own_key.read().clone()
    }

    /// Where the newest facts are found.
    #[must_use]
    pub fn facts(&self) -> Arc<FactsCell> {
        Arc::clone(&self.facts)
    }

    /// The tenants' keys.
    #[must_use]
    pub fn tenant_keys(&self) -> Arc<TenantKeys> {
        Arc::clone(&self.tenant_keys)
    }

    /// A key of the deployment itself, told apart by `label`; for what belongs to no tenant.
    #[must_use]
    pub fn deployment_key(&self, label: &'static str) -> SealKey {
        self.deployment_key.seal_key(label, 1)
    }

    /// The certificate that clients trust.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.certificates.ca_pem()
    }

    /// A new certificate for a server known by these DNS names and IP addresses.
    ///
    /// # Errors
    /// [`X509Error`] for names that are none and for lifetimes over 12 hours.
    pub fn server_certificate(&self, names: &[String], lifetime_ms: u64) -> Result<ServerCertificate, X509Error> {
        self.certificates.issue_server(names, self.clock.now(), lifetime_ms)
    }

    pub(crate) const fn certificates(&self) -> &CertificateAuthority {
        &self.certificates
    }

    /// The services and invitations.
    pub(crate) fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.read())
    }

    pub(crate) fn set_roster(&self, roster: Roster) {
        *self.roster.write() = Arc::new(roster);
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Tells of every change that is in force, whether or not decisions depend on it.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The tenants' wrapped keys: at least those of the tenants in the newest facts, if those were loaded before.
    pub(crate) fn wrapped_keys(&self) -> Arc<HashMap<TenantId, Arc<[u8]>>> {
        Arc::clone(&self.wrapped.0.read())
    }

    pub(crate) fn facts_keys(&self) -> Option<FactsKeysFact> {
        self.facts_keys.lock().clone()
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// The key that a service of this process signs texts with: checkpoints of its log, or cosignatures.
    #[must_use]
    pub fn note_key(&self, label: &'static str, service: Service) -> NoteKey {
        self.deployment_key.note_key(label, service.as_str())
    }

    pub(crate) fn types_text(&self) -> Arc<str> {
        Arc::clone(&self.types_text.lock())
    }

    /// The identity provider of a tenant.
    pub(crate) fn provider(&self, tenant: TenantId) -> Option<Arc<ProviderFact>> {
        self.providers.read().get(&tenant).cloned()
    }

    /// Operators' access to tenants, asked for and given, oldest first.
    pub(crate) fn grants(&self) -> Vec<(GrantId, Arc<GrantFact>)> {
        self.grants.read().iter().map(|(id, grant)| (*id, Arc::clone(grant))).collect()
    }

    /// One of them.
    pub(crate) fn grant(&self, id: GrantId) -> Option<Arc<GrantFact>> {
        self.grants.read().get(&id).cloned()
    }

    /// Incidents, oldest first.
    pub(crate) fn incidents(&self) -> Vec<(IncidentId, Arc<IncidentFact>)> {
        self.incidents.read().iter().map(|(id, incident)| (*id, Arc::clone(incident))).collect()
    }

    /// One of them.
    pub(crate) fn incident(&self, id: IncidentId) -> Option<Arc<IncidentFact>> {
        self.incidents.read().get(&id).cloned()
    }

    /// The e-mail addresses by which a tenant is told; none if it has given none.
    #[must_use]
    pub fn emails_of(&self, tenant: TenantId) -> Vec<String> {
        self.contacts(tenant).map(|contacts| contacts.emails.clone()).unwrap_or_default()
    }

    /// The same of every tenant that has given any.
    pub(crate) fn all_emails(&self) -> Arc<HashMap<TenantId, Arc<Vec<String>>>> {
        let contacts = self.contacts.read();
        let given = contacts.iter().filter(|(_, contacts)| !contacts.emails.is_empty());
        Arc::new(given.map(|(tenant, contacts)| (*tenant, Arc::new(contacts.emails.clone()))).collect())
    }

    /// Whom a tenant is told by.
    pub(crate) fn contacts(&self, tenant: TenantId) -> Option<Arc<Contacts>> {
        self.contacts.read().get(&tenant).cloned()
    }

    /// The token signing keys, newest first, with the ids under which they are stored.
    pub(crate) fn signing_keys(&self) -> Vec<(Vec<u8>, SigningKeyFact)> {
        self.signing.lock().clone()
    }

    /// From now on no change can be made durable; for tests.
    #[cfg(test)]
    pub(crate) fn stop_writing(&self) {
        self.db.lock().stop_writing();
    }

    pub(crate) fn latest(&self) -> Arc<State> {
        self.facts.load()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
