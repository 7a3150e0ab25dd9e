//! What was erased: kept for as long as the deployment is, so that no restore brings it back.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_crypto::{SecretKey, Tag, TagKey};
use countersign_model::erasure::{Erased, Receipt, Receipts};
use countersign_model::{FieldId, RequestId, TenantId, TypeId, UnixMs, UserId};
use countersign_services::Required;
use countersign_store::Requirement;
use serde::{Deserialize, Serialize};

use super::Registry;
use super::change::Change;
use super::own::OwnKeyRef;
use crate::error::RegistryError;

/// An erasure as it is kept. Its receipt is what others see of it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ErasureFact {
    pub receipt: Receipt,
    /// While it is under way: tags of references that must not be there. Type, field, tags.
    pub absent: Vec<(u16, u8, Vec<[u8; 16]>)>,
    /// The newest key epoch when these tags were made.
    pub epoch: u32,
    /// Of a tenant: its keys in key management services, and how many more keys were wrapped by one that others have too.
    pub keys: Vec<OwnKeyRef>,
    pub shared: u64,
    /// Of a principal: a digest of its name, by which audit views know what not to show.
    pub name: Option<[u8; 16]>,
}

impl ErasureFact {
    /// One with this receipt, and nothing else to do.
    pub(crate) fn of(receipt: &Receipt) -> Self {
        Self { receipt: receipt.clone(), absent: Vec::new(), epoch: 0, keys: Vec::new(), shared: 0, name: None }
    }

    /// What must hold for it to be done.
    pub(crate) fn required(&self) -> Required {
        let absent = self.absent.iter().map(|(record_type, field, tags)| Requirement::Absent {
            record_type: TypeId(*record_type),
            field: FieldId(*field),
            tags: tags.iter().map(|tag| Tag(*tag)).collect(),
        });
        Required { epoch: self.epoch, all: absent.collect() }
    }
}

/// All erasures.
#[derive(Clone, Default)]
pub(crate) struct Erasures {
    pub facts: BTreeMap<RequestId, ErasureFact>,
    receipts: Arc<Receipts>,
}

impl Erasures {
    pub(crate) fn new(facts: BTreeMap<RequestId, ErasureFact>) -> Self {
        let receipts = Arc::new(Receipts::new(facts.values().map(|fact| fact.receipt.clone())));
        Self { facts, receipts }
    }

    /// The receipts alone.
    pub(crate) fn receipts(&self) -> Arc<Receipts> {
        Arc::clone(&self.receipts)
    }
}

/// Names of erased principals, as far as that can be told of a name that is there to be compared.
pub(crate) struct ErasedNames {
    key: TagKey,
    /// Tenant, digest of the name, whose it was, until when.
    names: Vec<(TenantId, [u8; 16], UserId, UnixMs)>,
}

impl ErasedNames {
    /// Whose name this was in a record of that time, if that is a principal which was erased.
    pub(crate) fn whose(&self, tenant: TenantId, name: &str, time: UnixMs) -> Option<UserId> {
        if self.names.is_empty() {
            return None;
        }
        let digest = digest(&self.key, tenant, name);
        let found = self.names.iter().find(|(of, known, _, until)| *of == tenant && *known == digest && time <= *until);
        found.map(|(_, _, user, _)| *user)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

fn digest(key: &TagKey, tenant: TenantId, name: &str) -> [u8; 16] {
    key.tag(&[tenant.as_bytes().as_slice(), name.as_bytes()].concat()).0
}

impl Registry {
    /// What was erased. Whoever restores anything leaves that out.
    #[must_use]
    pub fn receipts(&self) -> Arc<Receipts> {
        self.erasures.read().receipts()
    }

    /// One erasure.
    pub(crate) fn erasure(&self, id: RequestId) -> Option<ErasureFact> {
        self.erasures.read().facts.get(&id).cloned()
    }

    /// Erasures that a crash has cut off, oldest first.
    pub(crate) fn unfinished_erasures(&self) -> Vec<ErasureFact> {
        let erasures = self.erasures.read();
        erasures.facts.values().filter(|fact| fact.receipt.finished.is_none()).cloned().collect()
    }

    fn name_key(&self) -> TagKey {
        let secret: SecretKey = self.deployment_key.seal_secret("erased-names", 1);
        TagKey::new(&secret)
    }

    /// By what a principal's name is known once it is erased. Whoever has the deployment's key can try names, as they can
    /// open the records that say it, until those are too old to be kept.
    pub(crate) fn erased_name(&self, tenant: TenantId, name: &str) -> [u8; 16] {
        digest(&self.name_key(), tenant, name)
    }

    /// Names that audit views must not show.
    pub(crate) fn erased_names(&self) -> ErasedNames {
        let erasures = self.erasures.read();
        let names = erasures.facts.values().filter_map(|fact| match (&fact.receipt.erased, fact.name) {
            (Erased::Principal { user }, Some(name)) => {
                let until = fact.receipt.finished.unwrap_or(fact.receipt.begun);
                Some((fact.receipt.tenant, name, *user, until))
            }
            _ => None,
        });
        ErasedNames { key: self.name_key(), names: names.collect() }
    }

    /// Takes in receipts that are known elsewhere, as in a repository of backups, and erases anew what they are about from
    /// the facts: for a deployment that was restored from before. Keys that an erased tenant has here are destroyed, as they
    /// were when it was erased: whoever restores may have an older copy of the key management service. Records are left out
    /// by whoever restores them. Gives how many were news.
    ///
    /// # Errors
    /// As a change of facts; [`RegistryError::Kms`]. Keys that could not be destroyed are destroyed when erasures are next
    /// finished.
    pub async fn replay(self: &Arc<Self>, receipts: &Receipts) -> Result<usize, RegistryError> {
        let mut change = self.begin().await;
        let (mut news, mut tenants) = (0_usize, Vec::new());
        for receipt in receipts.iter() {
            let known = self.erasure(receipt.id);
            news = news.saturating_add(usize::from(known.is_none()));
            let mut fact = ErasureFact::of(receipt);
            match &receipt.erased {
                Erased::Tenant if change.facts().tenants.contains_key(&receipt.tenant) => {
                    fact.keys = known.map(|known| known.keys).unwrap_or_default();
                    self.gather_keys(&mut fact);
                    tenants.push(fact.clone());
                    // A crash from here on leaves an erasure to be finished.
                    fact.receipt.finished = None;
                    change.put_erasure(fact)?;
                    continue;
                }
                Erased::Principal { user } => {
                    self.end_grants(&mut change, *user, receipt.by)?;
                    if let Some(known) = change.facts().users.get(user).cloned() {
                        fact.name = Some(self.erased_name(known.tenant, known.name.as_str()));
                        change.remove_user(*user);
                        change.forget_names(known.tenant, *user, &known.name)?;
                    }
                }
                _ => {}
            }
            if known.is_none() {
                change.put_erasure(fact)?;
            }
        }
        change.commit().await?;
        for fact in tenants {
            let (registry, gone) = (Arc::clone(self), fact.clone());
            let destroy = move || registry.destroy_keys(gone.receipt.tenant, &gone.keys);
            let destroyed = tokio::task::spawn_blocking(destroy).await;
            destroyed.map_err(|_| RegistryError::Storage("it was interrupted"))??;
            let mut change = self.begin().await;
            change.erase_tenant(fact.receipt.tenant)?;
            change.put_erasure(fact)?;
            change.commit().await?;
        }
        Ok(news)
    }

    /// Ends all access that somebody has who is erased: each is a user of its own, with the same keys.
    fn end_grants(&self, change: &mut Change, operator: UserId, by: UserId) -> Result<(), RegistryError> {
        for (id, _) in self.grants().into_iter().filter(|(_, grant)| grant.operator == operator) {
            change.end_grant(id, &by, self.clock().now())?;
        }
        Ok(())
    }

    /// Adds the keys that a tenant has now to those that are to be destroyed with it.
    pub(crate) fn gather_keys(&self, fact: &mut ErasureFact) {
        let (keys, shared) = self.own_keys(fact.receipt.tenant);
        for key in keys {
            if !fact.keys.contains(&key) {
                fact.keys.push(key);
            }
        }
        fact.shared = fact.shared.max(shared);
    }
}

impl Change {
    /// Keeps an erasure as it now is.
    pub(crate) fn put_erasure(&mut self, fact: ErasureFact) -> Result<(), RegistryError> {
        self.keep_erasure(fact.receipt.id, Some(fact))
    }

    /// Keeps one no longer that came to nothing.
    pub(crate) fn forget_erasure(&mut self, id: RequestId) -> Result<(), RegistryError> {
        self.keep_erasure(id, None)
    }
}
