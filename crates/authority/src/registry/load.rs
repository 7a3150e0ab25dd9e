//! Reading all facts at the start.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use countersign_crypto::SealKey;
use countersign_crypto::spiffe::is_trust_domain;
use countersign_crypto::x509::{AuthorityParts, CertificateAuthority};
use countersign_model::control::Contacts;
use countersign_model::erasure::Erased;
use countersign_model::facts::{Facts, Revocations, Tenant, User};
use countersign_model::{Entropy, GrantId, IncidentId, Name, RequestId, SessionId, TenantId, TokenId, UserId};

use super::backups::KnownBackup;
use super::db::Db;
use super::erasure::ErasureFact;
use super::fact::{
    self, CertificatesFact, EpochFact, FactsKeysFact, GrantFact, Kind, PoliciesFact, ProviderFact, RevocationFact,
    SigningKeyFact, TenantFactsKeyFact,
};
use super::fact::{TenantFact, TypesFact, damaged};
use super::wrapping::WrappingFact;
use crate::control::incident::fact::IncidentFact;
use crate::control::incident::names::Names;
use crate::error::RegistryError;
use crate::identity::fact::{Roster, ServiceFact, TrustDomainFact, service_key};

/// Everything that is kept.
pub(super) struct Loaded {
    pub facts: Facts,
    pub types_text: String,
    pub wrapped: HashMap<TenantId, Arc<[u8]>>,
    pub signing: Vec<(Vec<u8>, SigningKeyFact)>,
    pub certificates: CertificateAuthority,
    pub facts_keys: Option<FactsKeysFact>,
    pub wrapping: Option<WrappingFact>,
    pub roster: Roster,
    pub providers: HashMap<TenantId, Arc<ProviderFact>>,
    pub grants: BTreeMap<GrantId, Arc<GrantFact>>,
    pub incidents: BTreeMap<IncidentId, Arc<IncidentFact>>,
    pub contacts: HashMap<TenantId, Arc<Contacts>>,
    pub erasures: BTreeMap<RequestId, ErasureFact>,
    pub backups: BTreeMap<[u8; 16], KnownBackup>,
}

#[derive(Default)]
struct Loading {
    epoch: Option<EpochFact>,
    tenants: HashMap<TenantId, Tenant>,
    tenant_names: HashMap<Name, TenantId>,
    users: HashMap<UserId, Arc<User>>,
    user_names: HashMap<(TenantId, Name), UserId>,
    types: Option<TypesFact>,
    policies: Option<PoliciesFact>,
    revocations: Revocations,
    wrapped: HashMap<TenantId, Arc<[u8]>>,
    signing: Vec<(Vec<u8>, SigningKeyFact)>,
    certificates: Option<CertificateAuthority>,
    facts_keys: Option<FactsKeysFact>,
    wrapping: Option<WrappingFact>,
    roster: Roster,
    providers: HashMap<TenantId, Arc<ProviderFact>>,
    grants: BTreeMap<GrantId, Arc<GrantFact>>,
    incidents: BTreeMap<IncidentId, IncidentFact>,
    incident_names: Vec<(IncidentId, TenantId, Names)>,
    contacts: HashMap<TenantId, Arc<Contacts>>,
    erasures: BTreeMap<RequestId, ErasureFact>,
    backups: BTreeMap<[u8; 16], KnownBackup>,
}

/// `is_gone` says of which tenants it is known elsewhere that they are no more.
pub(super) fn load(
    db: &mut Db,
    entropy: &dyn Entropy,
    unwrap: impl Fn(TenantId, &TenantFactsKeyFact) -> Result<Option<SealKey>, RegistryError>,
    is_gone: &dyn Fn(TenantId) -> bool,
) -> Result<Loaded, RegistryError> {
    let mut loading = Loading::default();
    let lost = db.each(unwrap, |kind, id, body| loading.take(kind, id, body))?;
    if !lost.is_empty() {
        // INVARIANT no-tenant-unnoticed: without its key a tenant was erased, or is being erased, or nothing is opened.
        let erasures = loading.erasures.values().map(|fact| &fact.receipt);
        let erased: Vec<_> =
            erasures.filter(|receipt| receipt.erased == Erased::Tenant).map(|receipt| receipt.tenant).collect();
        let unknown: Vec<_> = lost.iter().filter(|tenant| !erased.contains(tenant) && !is_gone(**tenant)).collect();
        if let Some(tenant) = unknown.first() {
            return Err(RegistryError::NoKeyOf { tenant: **tenant, others: unknown.len().saturating_sub(1) });
        }
        db.forget(entropy, &lost)?;
    }
    loading.finish()
}

fn uuid(kind: Kind, id: &[u8]) -> Result<[u8; 16], RegistryError> {
    id.try_into().map_err(|_| damaged(kind, id))
}

impl Loading {
    fn take(&mut self, kind: Kind, id: &[u8], body: &[u8]) -> Result<(), RegistryError> {
        match kind {
            Kind::DeploymentKey | Kind::TenantFactsKey => {}
            Kind::Epoch => self.epoch = Some(fact::read(kind, id, body)?),
            Kind::Tenant => {
                let stored: TenantFact = fact::read(kind, id, body)?;
                let tenant = TenantId::from_bytes(uuid(kind, id)?);
                if self.tenant_names.insert(stored.tenant.name.clone(), tenant).is_some() {
                    return Err(damaged(kind, id));
                }
                self.tenants.insert(tenant, stored.tenant);
                self.wrapped.insert(tenant, stored.wrapped_key.into());
            }
            Kind::User => {
                let user = fact::read_user(id, body)?;
                let user_id = UserId::from_bytes(uuid(kind, id)?);
                if self.user_names.insert((user.tenant, user.name.clone()), user_id).is_some() {
                    return Err(damaged(kind, id));
                }
                self.users.insert(user_id, Arc::new(user));
            }
            Kind::Types => self.types = Some(fact::read(kind, id, body)?),
            Kind::Policies => self.policies = Some(fact::read(kind, id, body)?),
            Kind::RevokedToken | Kind::RevokedSession => {
                let RevocationFact { at } = fact::read(kind, id, body)?;
                let (tenant, subject) = id.split_at_checked(16).ok_or_else(|| damaged(kind, id))?;
                let (tenant, subject) = (TenantId::from_bytes(uuid(kind, tenant)?), uuid(kind, subject)?);
                if kind == Kind::RevokedToken {
                    self.revocations.tokens.insert((tenant, TokenId::from_bytes(subject)), at);
                } else {
                    self.revocations.sessions.insert((tenant, SessionId::from_bytes(subject)), at);
                }
            }
            Kind::RevokedUser => {
                let RevocationFact { at } = fact::read(kind, id, body)?;
                self.revocations.users.insert(UserId::from_bytes(uuid(kind, id)?), at);
            }
            Kind::SigningKey => self.signing.push((id.to_vec(), fact::read(kind, id, body)?)),
            Kind::WrappingKey => self.wrapping = Some(fact::read(kind, id, body)?),
            Kind::FactsKeys => self.facts_keys = Some(fact::read(kind, id, body)?),
            Kind::Provider => {
                self.providers.insert(TenantId::from_bytes(uuid(kind, id)?), Arc::new(fact::read(kind, id, body)?));
            }
            Kind::Grant => {
                self.grants.insert(GrantId::from_bytes(uuid(kind, id)?), Arc::new(fact::read(kind, id, body)?));
            }
            Kind::Incident => {
                self.incidents.insert(IncidentId::from_bytes(uuid(kind, id)?), fact::read(kind, id, body)?);
            }
            Kind::IncidentNames => {
                let (incident, tenant) = id.split_at_checked(16).ok_or_else(|| damaged(kind, id))?;
                let (incident, tenant) = (uuid(kind, incident)?, uuid(kind, tenant)?);
                let names = fact::read(kind, id, body)?;
                self.incident_names.push((IncidentId::from_bytes(incident), TenantId::from_bytes(tenant), names));
            }
            Kind::Contacts => {
                self.contacts.insert(TenantId::from_bytes(uuid(kind, id)?), Arc::new(fact::read(kind, id, body)?));
            }
            Kind::Backup => {
                self.backups.insert(uuid(kind, id)?, fact::read(kind, id, body)?);
            }
            Kind::Erasure => {
                self.erasures.insert(RequestId::from_bytes(uuid(kind, id)?), fact::read(kind, id, body)?);
            }
            Kind::Invitation => {
                self.roster.invitations.insert(uuid(kind, id)?, fact::read(kind, id, body)?);
            }
            Kind::Service => {
                let stored: ServiceFact = fact::read(kind, id, body)?;
                if service_key(&stored.place()) != id {
                    return Err(damaged(kind, id));
                }
                self.roster.services.insert(stored.place(), stored);
            }
            Kind::TrustDomain => {
                let stored: TrustDomainFact = fact::read(kind, id, body)?;
                if !is_trust_domain(&stored.trust_domain) {
                    return Err(damaged(kind, id));
                }
                self.roster.trust_domain = stored.trust_domain.into();
            }
            Kind::Certificates => {
                let stored: CertificatesFact = fact::read(kind, id, body)?;
                let parts = AuthorityParts { key_pkcs8_der: stored.key.0, certificate_pem: stored.certificate };
                let authority = CertificateAuthority::from_parts(parts).map_err(|_| damaged(kind, id))?;
                self.certificates = Some(authority);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Loaded, RegistryError> {
        let missing = |kind: Kind| RegistryError::Missing(kind.name());
        if let Some((id, _)) = self.users.iter().find(|(_, user)| !self.tenants.contains_key(&user.tenant)) {
            return Err(damaged(Kind::User, id.as_bytes()));
        }
        for (incident, tenant, names) in self.incident_names {
            if let Some(incident) = self.incidents.get_mut(&incident) {
                incident.put_names(tenant, names);
            }
        }
        let epoch = self.epoch.ok_or(missing(Kind::Epoch))?;
        let types = self.types.ok_or(missing(Kind::Types))?;
        let policies = self.policies.ok_or(missing(Kind::Policies))?;
        self.signing.sort_by_key(|(_, key)| std::cmp::Reverse(key.created));
        Ok(Loaded {
            facts: Facts {
                epoch: epoch.epoch,
                policy_epoch: epoch.policy_epoch,
                types: Arc::new(types.types),
                policies: Arc::new(policies.files),
                tenants: Arc::new(self.tenants),
                tenant_names: Arc::new(self.tenant_names),
                users: Arc::new(self.users),
                user_names: Arc::new(self.user_names),
                revocations: Arc::new(self.revocations),
            },
            types_text: types.text,
            wrapped: self.wrapped,
            signing: self.signing,
            certificates: self.certificates.ok_or(missing(Kind::Certificates))?,
            roster: self.roster,
            facts_keys: self.facts_keys,
            wrapping: self.wrapping,
            providers: self.providers,
            grants: self.grants,
            incidents: self.incidents.into_iter().map(|(id, incident)| (id, Arc::new(incident))).collect(),
            contacts: self.contacts,
            erasures: self.erasures,
            backups: self.backups,
        })
    }
}
