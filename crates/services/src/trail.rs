//! A service's own audit records, for whoever may read them.

mod prove;

use std::sync::Arc;

use async_trait::async_trait;
use countersign_audit::{AuditError, Exposure, Ledger, LedgerQuery, Position, Record, Selector};
use countersign_guard::{Bearer, Guard, Judgement, Refusal};
use countersign_model::control::Control;
use countersign_model::custody::EraseControl;
use countersign_model::facts::OPERATORS;
use countersign_model::incident::IncidentControl;
use countersign_model::query::Judged;
use countersign_model::{RequestId, Service, TenantId};
use serde::{Deserialize, Serialize};

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

    /// What the records that the selector asks for came to, whoever they belong to, in the order of their positions;
    /// fewer than [`Selector::limit`] only at the end of the ledger. The request opens or contains an incident; if it reads
    /// a notice, only the records of its own tenant are given. For the authority alone.
    ///
    /// # Errors
    /// [`ServiceFailure`].
    async fn exposures(&self, call: &Call<'_>, selector: &Selector) -> Result<Vec<Exposure>, ServiceFailure> {
        let _ = (call, selector);
        Err(ServiceFailure::Unavailable)
    }

    /// The stored records of one request that belong to `owners`, each with the proof that it is in the ledger's log.
    /// The request asks for proofs; the owners are as in [`query`](Self::query). For the authority alone.
    ///
    /// # Errors
    /// [`ServiceFailure`]; [`ServiceFailure::Unavailable`] also where no checkpoint covers the newest of them yet.
    async fn prove(
        &self,
        call: &Call<'_>,
        owners: &[Option<TenantId>],
        request: RequestId,
    ) -> Result<Vec<Proved>, ServiceFailure> {
        let _ = (call, owners, request);
        Err(ServiceFailure::Unavailable)
    }
}

/// One stored record, and the proof that it is in its ledger's log (RFC 9162, section 2.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proved {
    /// Its place in the log.
    pub position: Position,
    /// The stored bytes: sealed, apart from time, request, service, verdict and tenant.
    pub leaf: Vec<u8>,
    /// How many records the checkpoint covers.
    pub size: u64,
    /// The inclusion proof in the tree of that size, from the leaf upwards.
    pub proof: Vec<[u8; 32]>,
    /// The checkpoint, a signed note with the cosignatures that the log has collected.
    pub checkpoint: String,
    /// The key that the checkpoint is signed with, as a verifier key (C2SP signed-note).
    pub key: String,
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
        // Who has an erasure proved is told a number.
        let reads = |control: &Control| {
            matches!(
                control,
                Control::AuditRead(_) | Control::Receipt { .. } | Control::Erase(EraseControl::Prove { .. })
            )
        };
        let judgement = self.judge(call, owners, reads).await?;
        if let Some(unlock) = &self.unlock {
            unlock.unlock(call.bearer, judgement.principal.tenant).await;
        }
        let (owners, query) = (owners.to_vec(), query.clone());
        self.read(move |ledger| {
            let size = ledger.size();
            let mut records = Vec::new();
            for owner in owners {
                records.extend(ledger.query(owner, &query)?);
            }
            records.retain(|(position, _)| position.0 < size);
            records.sort_by_key(|(position, _)| *position);
            Ok(TrailPage { size, records })
        })
        .await
    }

    async fn prove(
        &self,
        call: &Call<'_>,
        owners: &[Option<TenantId>],
        request: RequestId,
    ) -> Result<Vec<Proved>, ServiceFailure> {
        let asks = |control: &Control| matches!(control, Control::Prove { request: asked } if *asked == request);
        let judgement = self.judge(call, owners, asks).await?;
        if let Some(unlock) = &self.unlock {
            unlock.unlock(call.bearer, judgement.principal.tenant).await;
        }
        let owners = owners.to_vec();
        let places = self.read(move |ledger| prove::places(ledger, &owners, request)).await?;
        let Some(last) = places.last() else { return Ok(Vec::new()) };
        let log = self.ledger.log().ok_or(ServiceFailure::Unavailable)?;
        let checkpoint = prove::covering(&log, *last).await.ok_or(ServiceFailure::Unavailable)?;
        self.read(move |ledger| prove::prove(ledger, &log, &places, checkpoint)).await
    }

    async fn exposures(&self, call: &Call<'_>, selector: &Selector) -> Result<Vec<Exposure>, ServiceFailure> {
        // Who reads a notice of the own tenant is told that tenant's records; who looks into a breach, of every tenant.
        let asks = |control: &Control| match control {
            Control::Incident(asked) => matches!(
                asked,
                IncidentControl::Open { .. } | IncidentControl::Contain { .. } | IncidentControl::Receive { .. }
            ),
            _ => false,
        };
        let judgement = self.judge(call, &[], asks).await?;
        let receives = matches!(&judgement.judged, Judged::Control(Control::Incident(IncidentControl::Receive { .. })));
        let tenant = judgement.principal.tenant;
        if receives && let Some(unlock) = &self.unlock {
            unlock.unlock(call.bearer, tenant).await;
        }
        let mut selector = selector.clone();
        self.read(move |ledger| {
            if !receives {
                return ledger.exposures(&selector);
            }
            let mut found = Vec::new();
            loop {
                let page = ledger.exposures(&selector)?;
                let is_last = page.len() < selector.limit;
                selector.after = page.last().map(|exposure| exposure.position).or(selector.after);
                found.extend(page.into_iter().filter(|exposure| exposure.tenant == Some(tenant)));
                if is_last || found.len() >= selector.limit {
                    return Ok(found);
                }
            }
        })
        .await
    }
}

impl LedgerTrail {
    /// Whether the caller may have what it calls for. What it may not is on record.
    async fn judge(
        &self,
        call: &Call<'_>,
        owners: &[Option<TenantId>],
        is_asked: impl Fn(&Control) -> bool + Send,
    ) -> Result<Judgement, ServiceFailure> {
        if call.caller != Service::Authority {
            self.guard.note_refusal(&Refusal::Forbidden, call.request, call.epoch).await?;
            return Err(BEYOND);
        }
        let judgement = self.guard.judge_again(call.bearer, call.request, call.epoch).await?;
        let principal = &judgement.principal;
        let may = |owner: &Option<TenantId>| match owner {
            Some(tenant) => *tenant == principal.tenant,
            None => principal.tenant_name.as_str() == OPERATORS,
        };
        let asked = matches!(&judgement.judged, Judged::Control(control) if is_asked(control));
        if !(asked && owners.iter().all(may)) {
            self.guard.note_refusal_of(&Refusal::Forbidden, &judgement, call.request).await?;
            return Err(BEYOND);
        }
        Ok(judgement)
    }

    /// Reads the ledger with everything in it that was noted a moment ago. Reading files is no work for the threads
    /// that answer requests.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Ledger) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, ServiceFailure> {
        // A ledger that can't be written can still be read.
        drop(self.ledger.flush().await);
        let ledger = Arc::clone(&self.ledger);
        let read = tokio::task::spawn_blocking(move || read(&ledger));
        read.await.map_err(|_| ServiceFailure::Unavailable)?.map_err(|_| ServiceFailure::Unavailable)
    }
}
