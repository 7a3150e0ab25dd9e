//! The life of tenants' keys, beside requests: what is sealed under older keys is sealed again, and a key that has sealed
//! almost as much as it may gets a successor.
//!
//! Only a process that is all services does this: it has the records and the keys at hand.

mod periods;
mod successors;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign_audit::{AuditSink, Body, Reason, Record, Verdict};
use countersign_authority::Registry;
use countersign_authority::keeper::{KeyKeeper, KeyPeriods};
use countersign_keys::KeySet;
use countersign_model::beside::Served;
use countersign_model::facts::OPERATORS;
use countersign_model::{Clock, Entropy, FieldId, RequestId, Service, TenantId, TypeId};
use countersign_services::reseal::{CellKeys, Outcome, Pace, ResealError, ResealStatus, Resealer};
use countersign_store::{SealCount, StoreError};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::side::Moving;

/// After so long everything is looked through again, although nobody said that there is something to do: what was not
/// possible before may be now.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How soon work that other keys came in between of is begun again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// A key is not given a successor, although it has sealed almost all that it may.
const LIMIT_REACHED: &str = "key_limit_reached";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What it is done with.
pub(crate) struct Parts {
    pub(crate) registry: Arc<Registry>,
    pub(crate) moving: Moving,
    /// The authority's.
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// How many records are sealed again in a second, at the most.
    pub(crate) rows_per_second: u32,
    pub(crate) served: Served,
}

/// Who does it.
pub(crate) struct KeyLife {
    parts: Parts,
    resealer: Resealer,
    /// What was left of tenants because it does not open.
    left: Mutex<BTreeMap<TenantId, u64>>,
    /// Fields whose keys are not rotated any more until somebody has done something, and on which day that was last said.
    stopped: Mutex<BTreeMap<(TenantId, TypeId, FieldId), u64>>,
    woken: Notify,
}

impl KeyLife {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let pace = Pace { rows_per_second: parts.rows_per_second, ..Pace::default() };
        let (carry, keys) = (Arc::clone(&parts.moving.stored.carry), parts.registry.tenant_keys());
        let resealer = Resealer::new(carry, keys as Arc<dyn CellKeys>, Arc::clone(&parts.entropy), pace);
        let resealer = resealer.noted_by(Arc::clone(&parts.moving.noting)).beside(Arc::clone(&parts.served));
        let life =
            Arc::new(Self { parts, resealer, left: Mutex::default(), stopped: Mutex::default(), woken: Notify::new() });
        life.limit();
        life
    }

    /// Both go on until they are aborted. Cut off anywhere, they go on at the next start.
    pub(crate) fn start(self: &Arc<Self>) -> [JoinHandle<()>; 2] {
        let (resealing, succeeding) = (Arc::clone(self), Arc::clone(self));
        [
            tokio::spawn(async move { resealing.reseal_all().await }),
            tokio::spawn(async move { succeeding.succeed_all().await }),
        ]
    }

    /// The limit that the policies in force set.
    fn limit(&self) {
        self.parts.moving.stored.carry.set_seal_limit(self.periods().seals_max);
    }

    fn periods(&self) -> KeyPeriods {
        KeyPeriods::of(&self.parts.registry.facts().load().facts.policies)
    }

    fn set(&self, tenant: TenantId) -> Option<KeySet> {
        self.parts.registry.wrapped_key(tenant).and_then(|blob| KeySet::decode(&blob).ok())
    }

    fn is_operators(&self, tenant: TenantId) -> bool {
        let facts = Arc::clone(&self.parts.registry.facts().load().facts);
        facts.tenant_names.iter().any(|(name, id)| *id == tenant && name.as_str() == OPERATORS)
    }

    fn tenants(&self) -> Vec<TenantId> {
        let facts = Arc::clone(&self.parts.registry.facts().load().facts);
        let mut tenants: Vec<TenantId> = facts.tenants.keys().copied().collect();
        tenants.sort_unstable();
        tenants
    }

    async fn reseal_all(&self) {
        // How far a tenant's work that could not be finished had come, so that it is on record once.
        let mut said: BTreeMap<TenantId, (u32, bool)> = BTreeMap::new();
        loop {
            self.limit();
            let mut again = LOOK_EVERY;
            for tenant in self.tenants() {
                let Some(set) = self.set(tenant).filter(KeySet::is_mixed) else { continue };
                if said.get(&tenant) == Some(&(set.newest(), true)) {
                    continue;
                }
                if said.insert(tenant, (set.newest(), false)).is_none_or(|(epoch, _)| epoch != set.newest()) {
                    self.record(
                        tenant,
                        "reseal",
                        Verdict::Intent,
                        format!("sealing again under epoch {}", set.newest()),
                    )
                    .await;
                }
                match self.reseal(tenant).await {
                    Ok(true) => {}
                    Ok(false) => drop(said.insert(tenant, (set.newest(), true))),
                    Err(ResealError::Superseded) => {
                        self.put_down(tenant).await;
                        if !self.is_stopped(tenant) {
                            again = AGAIN_AFTER;
                        }
                    }
                    Err(error) => {
                        tracing::error!(%tenant, %error, "records could not be sealed again; this is tried again");
                    }
                }
            }
            drop(tokio::time::timeout(again, self.woken.notified()).await);
        }
    }

    /// Whether nothing older is left.
    async fn reseal(&self, tenant: TenantId) -> Result<bool, ResealError> {
        let types = Arc::clone(&self.parts.registry.facts().load().facts.types);
        self.left.lock().remove(&tenant);
        let newest = self.set(tenant).map(|set| set.newest());
        let outcome = match (self.resealer.tenant(tenant, &types).await, newest) {
            // The operators' own tenant has no records, and so no place in the store.
            (Err(ResealError::Store(StoreError::UnknownTenant)), Some(epoch)) if self.is_operators(tenant) => {
                Outcome::Clean { epoch }
            }
            (outcome, _) => outcome?,
        };
        match outcome {
            Outcome::Clean { epoch } => {
                match self.parts.registry.resealed(tenant, epoch).await {
                    Ok(_) => {
                        let said = format!("everything is sealed under epoch {epoch} or newer; nothing older is left");
                        self.record(tenant, "reseal", Verdict::Changed, said).await;
                    }
                    Err(error) => {
                        tracing::error!(%tenant, %error, "older keys could not be retired; this is tried again")
                    }
                }
                Ok(true)
            }
            Outcome::Left { epoch, rows } => {
                self.left.lock().insert(tenant, rows);
                tracing::error!(%tenant, epoch, rows, "records have cells that do not open; their keys stay in use");
                let said = format!(
                    "{rows} records have cells that do not open: what is older than epoch {epoch} stays in use"
                );
                self.record(tenant, "reseal", Verdict::Failed, said).await;
                Ok(false)
            }
        }
    }

    async fn succeed_all(&self) {
        let nearing = self.parts.moving.stored.carry.nearing();
        let mut said: BTreeMap<TenantId, u64> = BTreeMap::new();
        loop {
            self.limit();
            for tenant in self.tenants() {
                self.succeed(tenant, &BTreeSet::new()).await;
                let today = self.parts.clock.now().0 / DAY_MS;
                if said.insert(tenant, today) != Some(today) {
                    self.put_down(tenant).await;
                    self.judge_age(tenant).await;
                }
            }
            tokio::select! {
                near = nearing.wait() => {
                    for (tenant, keys) in near {
                        self.succeed(tenant, &keys).await;
                    }
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Puts the store down to the newest epoch that was issued, if somebody brought it further: nothing could be stored any
    /// more. A store that does not look at it can be brought there, and a backup or a move brings it along.
    async fn put_down(&self, tenant: TenantId) {
        let carry = &self.parts.moving.stored.carry;
        let Ok(found) = carry.epoch(tenant).await else { return };
        if self.set(tenant).is_none_or(|set| found <= set.newest()) {
            return;
        }
        // INVARIANT epoch-floor: no newer one is issued until it is done.
        let alone = self.parts.registry.unchanging().await;
        let Some(newest) = self.set(tenant).map(|set| set.newest()) else { return };
        let lowered = carry.lower(tenant, newest).await;
        drop(alone);
        match lowered {
            Ok(true) => {
                tracing::error!(%tenant, found, newest, "the store was at a key epoch that nobody issued; it was put down");
                let said = format!("the store was at epoch {found}, which nobody issued; it is at {newest} again");
                self.record(tenant, "epoch_put_down", Verdict::Changed, said).await;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%tenant, %error, "a store at a key epoch that nobody issued is kept as it is")
            }
        }
    }

    fn name(&self, record_type: TypeId, field: FieldId) -> String {
        let types = Arc::clone(&self.parts.registry.facts().load().facts.types);
        let known = types.record_type(record_type);
        let name = known.and_then(|known| Some(format!("{}.{}", known.name, known.field(field)?.name)));
        name.unwrap_or_else(|| format!("{}.{}", record_type.0, field.0))
    }

    /// In the tenant's own audit log.
    async fn record(&self, tenant: TenantId, action: &str, verdict: Verdict, detail: String) {
        let reason = if action == LIMIT_REACHED { Reason::Limit } else { Reason::Unavailable };
        let request = RequestId::new(self.parts.clock.now(), &*self.parts.entropy);
        let record = Record {
            time: self.parts.clock.now(),
            request,
            service: Service::Authority,
            door: None,
            verdict,
            tenant: Some(tenant),
            tally: None,
            body: Body {
                action: action.to_owned(),
                reason: (verdict == Verdict::Failed).then_some(reason),
                epoch: self.parts.registry.facts().load().facts.epoch,
                detail: Some(detail),
                ..Body::default()
            },
        };
        if let Err(error) = self.parts.audit.append(record).await {
            tracing::error!(%tenant, %error, "what was done to keys could not be put on record");
        }
    }
}

#[async_trait]
impl KeyKeeper for KeyLife {
    async fn counts(&self, tenant: TenantId) -> Option<Vec<SealCount>> {
        self.parts.moving.stored.carry.counts(tenant).await.ok()
    }

    fn progress(&self, tenant: TenantId) -> Option<ResealStatus> {
        self.resealer.status(tenant)
    }

    fn left(&self, tenant: TenantId) -> u64 {
        self.left.lock().get(&tenant).copied().unwrap_or_default()
    }

    fn wake(&self) {
        self.woken.notify_one();
    }
}
