//! Services that this process neither is nor has a way to.

use async_trait::async_trait;
use countersign_audit::LedgerQuery;
use countersign_guard::Bearer;
use countersign_model::{Opened, Service, TenantId, TypeId};
use countersign_services::{
    AddCheckpoint, Call, KeyRelease, Keyring, Log, LogFailure, Records, SealGrant, SealPurpose, ServiceFailure,
    TileName, Trail, TrailPage,
};
use countersign_store::{Batch, Rejected, Scan, SealedRow};

/// Nobody to call: every call fails. What an authority has until it has a certificate to call others with, and what a
/// command has that opens the authority's folder while nothing is served.
pub(super) struct Absent;

const ABSENT: ServiceFailure = ServiceFailure::Unavailable;

#[async_trait]
impl KeyRelease for Absent {
    async fn release(&self, _: &Call<'_>) -> Result<Keyring, ServiceFailure> {
        Err(ABSENT)
    }

    async fn count(&self, _: &Call<'_>, _: &[Opened]) -> Result<(), ServiceFailure> {
        Err(ABSENT)
    }

    async fn seal_key(&self, _: &Bearer, _: Service, _: SealPurpose) -> Result<SealGrant, ServiceFailure> {
        Err(ABSENT)
    }

    async fn new_tenant_key(&self, _: &Call<'_>, _: TenantId) -> Result<Vec<u8>, ServiceFailure> {
        Err(ABSENT)
    }

    async fn rewrap_tenant_key(&self, _: &Call<'_>, _: TenantId) -> Result<Vec<u8>, ServiceFailure> {
        Err(ABSENT)
    }
}

#[async_trait]
impl Records for Absent {
    async fn read(&self, _: &Call<'_>, _: &Scan) -> Result<Vec<SealedRow>, ServiceFailure> {
        Err(ABSENT)
    }

    async fn write(&self, _: &Call<'_>, _: Batch) -> Result<Result<(), Rejected>, ServiceFailure> {
        Err(ABSENT)
    }

    async fn create_tenant(&self, _: &Call<'_>, _: TenantId) -> Result<(), ServiceFailure> {
        Err(ABSENT)
    }

    async fn any_records(&self, _: &Call<'_>, _: TypeId) -> Result<bool, ServiceFailure> {
        Err(ABSENT)
    }
}

/// What the others recorded isn't known, so that nothing is answered rather than a part.
#[async_trait]
impl Trail for Absent {
    async fn query(&self, _: &Call<'_>, _: &[Option<TenantId>], _: &LedgerQuery) -> Result<TrailPage, ServiceFailure> {
        Err(ABSENT)
    }
}

/// A ledger that is no log.
#[async_trait]
impl Log for Absent {
    async fn keys(&self) -> Result<[String; 2], LogFailure> {
        Err(LogFailure::NotFound)
    }

    async fn checkpoint(&self) -> Result<String, LogFailure> {
        Err(LogFailure::NotFound)
    }

    async fn tile(&self, _: TileName) -> Result<Vec<u8>, LogFailure> {
        Err(LogFailure::NotFound)
    }

    async fn cosign(&self, _: &str, _: &AddCheckpoint) -> Result<String, LogFailure> {
        Err(LogFailure::Unavailable)
    }

    async fn cosigned(&self, _: u64, _: &str, _: &str) -> Result<(), LogFailure> {
        Err(LogFailure::Unavailable)
    }
}
