//! The two services that the engine calls. Each call carries the user's token and the whole request, and each callee
//! judges them again by a guard of its own: in one process these are function calls, apart they are remote calls.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_guard::{Bearer, Guard, Judgement, Refusal};
use countersign_keys::TenantKeys;
use countersign_model::query::Judged;
use countersign_model::{FieldSet, Request};
use countersign_store::{Access, Batch, Rejected, Requirement, Scan, SealedChange, SealedRow, Store, StoreError};

use crate::answer::Failure;
use crate::keyring::Keyring;
use crate::reach::Reach;

/// What travels with every call between services: the same token, the same request.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The user's token.
    pub bearer: &'a Bearer,
    /// What the user asked.
    pub request: &'a Request,
}

/// Why a service did not do what it was called for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ServiceFailure {
    /// Its own guard refused the request, or what was called for goes beyond it.
    #[error(transparent)]
    Refused(Refusal),
    /// It can't work at present.
    #[error("the service is not available")]
    Unavailable,
    /// What it keeps is damaged.
    #[error("stored data is damaged")]
    Damaged,
}

impl From<ServiceFailure> for Failure {
    fn from(failure: ServiceFailure) -> Self {
        match failure {
            ServiceFailure::Refused(refusal) => refusal.into(),
            ServiceFailure::Unavailable => Self::Unavailable,
            ServiceFailure::Damaged => Self::Damaged,
        }
    }
}

/// Releases data keys.
#[async_trait]
pub trait KeyRelease: Send + Sync {
    /// The keys of the fields that the request may use, in the token's tenant, and no others.
    async fn release(&self, call: &Call<'_>) -> Result<Keyring, ServiceFailure>;
}

/// Reads and writes sealed records.
#[async_trait]
pub trait Records: Send + Sync {
    /// Sealed rows of the token's tenant, within what the request may use.
    async fn read(&self, call: &Call<'_>, scan: &Scan) -> Result<Vec<SealedRow>, ServiceFailure>;

    /// Changes sealed rows of the token's tenant, within what the request may change. Durable when it returns.
    async fn write(&self, call: &Call<'_>, batch: Batch) -> Result<Result<(), Rejected>, ServiceFailure>;
}

/// The key service.
pub struct KeyService {
    guard: Arc<Guard>,
    keys: Arc<TenantKeys>,
}

impl KeyService {
    /// A key service with its own guard.
    #[must_use]
    pub const fn new(guard: Arc<Guard>, keys: Arc<TenantKeys>) -> Self {
        Self { guard, keys }
    }
}

#[async_trait]
impl KeyRelease for KeyService {
    async fn release(&self, call: &Call<'_>) -> Result<Keyring, ServiceFailure> {
        let judgement = self.guard.judge(call.bearer, call.request).map_err(ServiceFailure::Refused)?;
        let tenant = judgement.principal.tenant;
        let mut ring = Keyring::new(tenant);
        for (type_id, field, uses) in reach(&judgement).iter() {
            let keys = self.keys.field(tenant, type_id, field).map_err(|_| ServiceFailure::Unavailable)?;
            ring.add(type_id, field, keys, uses);
        }
        Ok(ring)
    }
}

/// The store, behind its own guard.
pub struct StoreService {
    guard: Arc<Guard>,
    store: Arc<dyn Store>,
}

impl StoreService {
    /// A store service with its own guard.
    #[must_use]
    pub fn new(guard: Arc<Guard>, store: Arc<dyn Store>) -> Self {
        Self { guard, store }
    }

    fn judge(&self, call: &Call<'_>) -> Result<(Judgement, Reach), ServiceFailure> {
        let judgement = self.guard.judge(call.bearer, call.request).map_err(ServiceFailure::Refused)?;
        let reach = reach(&judgement);
        Ok((judgement, reach))
    }
}

const BEYOND: ServiceFailure = ServiceFailure::Refused(Refusal::Forbidden);

#[async_trait]
impl Records for StoreService {
    async fn read(&self, call: &Call<'_>, scan: &Scan) -> Result<Vec<SealedRow>, ServiceFailure> {
        let (judgement, reach) = self.judge(call)?;
        let by_tag_within = match &scan.access {
            Access::Tags { field, .. } => reach.tagged(scan.record_type).contains(*field),
            Access::Records(_) | Access::All => true,
        };
        let within = reach.touches(scan.record_type) && scan.cells.is_subset(reach.opened(scan.record_type));
        if !(within && by_tag_within) {
            return Err(BEYOND);
        }
        self.store.read(judgement.principal.tenant, scan).await.map_err(failure)
    }

    async fn write(&self, call: &Call<'_>, batch: Batch) -> Result<Result<(), Rejected>, ServiceFailure> {
        let (judgement, reach) = self.judge(call)?;
        let within = batch.changes.iter().all(|change| change_within(change, &judgement, &reach))
            && batch.requires.iter().all(|requirement| requirement_within(requirement, &reach));
        if !within {
            return Err(BEYOND);
        }
        self.store.write(judgement.principal.tenant, batch).await.map_err(failure)
    }
}

fn reach(judgement: &Judgement) -> Reach {
    Reach::of(&judgement.judged, &judgement.state.facts.types)
}

fn change_within(change: &SealedChange, judgement: &Judgement, reach: &Reach) -> bool {
    let judged = &judgement.judged;
    let own = match judged {
        Judged::Insert(insertion) => insertion.record_type,
        Judged::Change(change) => change.record_type,
        Judged::Read(_) | Judged::Control(_) => return false,
    };
    // The reach says which fields. That says nothing about a change without any, so the type is compared first.
    let (record_type, permitted, written): (_, _, FieldSet) = match change {
        SealedChange::Insert { record_type, cells, tags, .. } => {
            let written = cells.iter().map(|(field, _)| *field).chain(tags.iter().map(|(field, _)| *field));
            (*record_type, matches!(judged, Judged::Insert(_)), written.collect())
        }
        SealedChange::Update { record_type, cells, tags, .. } => {
            let written = cells.iter().map(|(field, _)| *field).chain(tags.iter().map(|(field, _)| *field));
            let permitted = match judged {
                Judged::Insert(insertion) => insertion.on_conflict.is_some_and(|conflict| conflict.merge),
                Judged::Change(change) => change.set.is_some(),
                Judged::Read(_) | Judged::Control(_) => false,
            };
            (*record_type, permitted, written.collect())
        }
        SealedChange::Delete { record_type, .. } => {
            let permitted = matches!(judged, Judged::Change(change) if change.set.is_none());
            (*record_type, permitted, FieldSet::EMPTY)
        }
    };
    permitted && record_type == own && written.is_subset(reach.sealed(own))
}

fn requirement_within(requirement: &Requirement, reach: &Reach) -> bool {
    let (Requirement::Exists { record_type, field, .. } | Requirement::Absent { record_type, field, .. }) = requirement;
    reach.tagged(*record_type).contains(*field)
}

fn failure(error: StoreError) -> ServiceFailure {
    match error {
        StoreError::Damaged => ServiceFailure::Damaged,
        _ => ServiceFailure::Unavailable,
    }
}
