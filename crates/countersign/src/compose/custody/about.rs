//! What a backup's manifest says besides its chunks: what a restore has to know before it opens any.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_backup::{BackupId, Damage};
use countersign_model::{FieldId, RecordTypes, TenantId, TypeId, UnixMs};
use countersign_store::{CellKey, SealCount};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// A program that knows less refuses.
const VERSION: u8 = 1;

/// A backup as a whole, in the manifest's note. No name of a tenant or a person is in it: those are in facts, which die with
/// their tenant's key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct About {
    version: u8,
    /// Of one tenant; `None` is the deployment.
    pub(super) of: Option<TenantId>,
    /// The record types by which everything is stored.
    pub(super) types: RecordTypes,
    pub(super) tenants: Vec<TenantAbout>,
    /// How many records there are, past states not counted.
    pub(super) records: u64,
}

/// One tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TenantAbout {
    pub(super) id: TenantId,
    /// The tenant's wrapped keys when the moment was that everything is of.
    pub(super) wrapped: Vec<u8>,
    /// The key epoch that the store was at.
    pub(super) epoch: u32,
    /// Since when all that changed is in it.
    pub(super) since: UnixMs,
    /// How many values each key had sealed: type, field, epoch, number.
    counts: Vec<(u16, u8, u32, u64)>,
    pub(super) records: u64,
    pub(super) past: u64,
}

impl TenantAbout {
    pub(super) fn new(id: TenantId, wrapped: Vec<u8>, since: UnixMs, (epoch, counts): (u32, &[SealCount])) -> Self {
        let count = |one: &SealCount| {
            let CellKey { record_type, field, epoch } = one.key;
            (record_type.0, field.0, epoch, one.sealed)
        };
        Self { id, wrapped, epoch, since, counts: counts.iter().map(count).collect(), records: 0, past: 0 }
    }

    /// As the store takes them.
    pub(super) fn counts(&self) -> Vec<SealCount> {
        let count = |(record_type, field, epoch, sealed): &(u16, u8, u32, u64)| SealCount {
            key: CellKey { record_type: TypeId(*record_type), field: FieldId(*field), epoch: *epoch },
            sealed: *sealed,
            limit: countersign_store::SEALS_MAX,
        };
        self.counts.iter().map(count).collect()
    }
}

impl About {
    pub(super) fn new(of: Option<TenantId>, types: RecordTypes, tenants: Vec<TenantAbout>) -> Self {
        let records = tenants.iter().fold(0, |sum: u64, one| sum.saturating_add(one.records));
        Self { version: VERSION, of, types, tenants, records }
    }

    pub(super) fn to_note(&self) -> Result<Vec<u8>, Problem> {
        postcard::to_allocvec(self).map_err(|_| Problem::failed("what a backup is about can't be written"))
    }

    pub(super) fn of_note(note: &[u8]) -> Result<Self, Problem> {
        if note.first().is_some_and(|version| *version > VERSION) {
            return Err(Problem::failed("the backup was made by a newer program"));
        }
        match postcard::take_from_bytes::<Self>(note) {
            Ok((about, [])) => Ok(about),
            _ => Err(Problem::failed("the backup's manifest is damaged: it does not say what it is about")),
        }
    }

    /// The wrapped keys of every tenant in it.
    pub(super) fn wrapped(&self) -> HashMap<TenantId, Arc<[u8]>> {
        self.tenants.iter().map(|one| (one.id, one.wrapped.clone().into())).collect()
    }

    /// What it has of a tenant. One of another tenant is refused by name.
    pub(super) fn of(&self, tenant: TenantId, backup: BackupId) -> Result<&TenantAbout, Problem> {
        if let Some(found) = self.of.filter(|of| *of != tenant) {
            return Err(Problem::failed(Damage::OtherTenant { expected: tenant, found }.to_string()));
        }
        let none = || Problem::failed(format!("backup {backup} has nothing of tenant {tenant}"));
        self.tenants.iter().find(|one| one.id == tenant).ok_or_else(none)
    }
}
