//! A service's own audit records, for whoever may read them.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_audit::{Ledger, LedgerQuery, Position, Record};
use countersign_guard::{Bearer, Guard, Refusal};
use countersign_model::control::Control;
use countersign_model::facts::OPERATORS;
use countersign_model::query::Judged;
use countersign_model::{Service, TenantId};

use crate::call::{BEYOND, Call, ServiceFailure};

/// Answers from one service's ledger.
#[async_trait]
pub trait Trail: Send + Sync {
    /// The records of `owners` that the query asks for, in the order of their positions. The request is an audit
    /// query of somebody who may ask it: about the token's own tenant, and for operators also the deployment
    /// (`None`). For the authority alone.
    ///
    /// # Errors
    /// [`ServiceFailure`].
    async fn query(
        &self,
        call: &Call<'_>,
        owners: &[Option<TenantId>],
        query: &LedgerQuery,
    ) -> Result<TrailPage, ServiceFailure>;
}

/// Records of one ledger.
#[derive(Debug, Default)]
pub struct TrailPage {
    /// How many records the ledger had when it was asked; nothing at or past this place is among the records.
    pub size: u64,
    /// The records.
    pub records: Vec<(Position, Record)>,
}

/// The ledgers of a deployment's services as they are now, each by a name that stays.
pub trait Trails: Send + Sync {
    /// All of them.
    fn all(&self) -> Vec<(String, Arc<dyn Trail>)>;
}

impl Trails for Vec<(String, Arc<dyn Trail>)> {
    fn all(&self) -> Vec<(String, Arc<dyn Trail>)> {
        self.clone()
    }
}

/// Gets hold of the key that a tenant's records are sealed under, by the token of somebody who may read them: a
/// service that has served nobody of that tenant for a while doesn't have it.
#[async_trait]
pub trait Unlock: Send + Sync {
    /// Has the key at hand afterwards, if it can be had.
    async fn unlock(&self, bearer: &Bearer, tenant: TenantId);
}

/// The ledger of this process's service, behind the service's guard.
pub struct LedgerTrail {
    guard: Arc<Guard>,
    ledger: Arc<Ledger>,
    unlock: Option<Arc<dyn Unlock>>,
}

impl LedgerTrail {
    /// What the service with this guard has recorded.
    #[must_use]
    pub const fn new(guard: Arc<Guard>, ledger: Arc<Ledger>) -> Self {
        Self { guard, ledger, unlock: None }
    }

    /// The same, where tenants' keys have to be got first.
    #[must_use]
    pub fn unlocked_by(self, unlock: Arc<dyn Unlock>) -> Self {
        Self { unlock: Some(unlock), ..self }
    }
}

#[async_trait]
impl Trail for LedgerTrail {
    async fn query(
        &self,
        call: &Call<'_>,
        owners: &[Option<TenantId>],
        query: &LedgerQuery,
    ) -> Result<TrailPage, ServiceFailure> {
        if call.caller != Service::Authority {
            self.guard.note_refusal(&Refusal::Forbidden, call.request, call.epoch).await?;
            return Err(BEYOND);
        }
        let judgement = self.guard.judge_again(call.bearer, call.request, call.epoch).await?;
        let reads = matches!(judgement.judged, Judged::Control(Control::AuditRead(_) | Control::Receipt { .. }));
        let principal = &judgement.principal;
        let may = |owner: &Option<TenantId>| match owner {
            Some(tenant) => *tenant == principal.tenant,
            None => principal.tenant_name.as_str() == OPERATORS,
        };
        if !(reads && owners.iter().all(may)) {
            self.guard.note_refusal_of(&Refusal::Forbidden, &judgement, call.request).await?;
            return Err(BEYOND);
        }
        if let Some(unlock) = &self.unlock {
            unlock.unlock(call.bearer, principal.tenant).await;
        }
        // Whoever asks for a request's records finds those too that were noted a moment ago. A ledger that can't be
        // written can still be read.
        drop(self.ledger.flush().await);
        // Reading files is no work for the threads that answer requests.
        let (ledger, owners, query) = (Arc::clone(&self.ledger), owners.to_vec(), query.clone());
        let read = tokio::task::spawn_blocking(move || {
            let size = ledger.size();
            let mut records = Vec::new();
            for owner in owners {
                records.extend(ledger.query(owner, &query)?);
            }
            records.retain(|(position, _)| position.0 < size);
            records.sort_by_key(|(position, _)| *position);
            Ok::<_, countersign_audit::AuditError>(TrailPage { size, records })
        });
        read.await.map_err(|_| ServiceFailure::Unavailable)?.map_err(|_| ServiceFailure::Unavailable)
    }
}
