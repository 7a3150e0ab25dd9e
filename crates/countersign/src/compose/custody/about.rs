//! What a backup's manifest says besides its chunks: what a restore has to know before it opens any.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_backup::{BackupId, Damage, ReceiptId};
use countersign_model::{FieldId, RecordTypes, TenantId, TypeId, UnixMs};
use countersign_store::{CellKey, SealCount};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// A program that knows less refuses. Version 1 ends where [`More`] begins.
const VERSION: u8 = 2;

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
    #[serde(skip)]
    pub(super) more: More,
}

/// What came with version 2.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct More {
    /// The receipts of erasures that the repository had when the backup was made: one that is missing later was taken away.
    pub(super) receipts: Vec<ReceiptId>,
    /// Tenants that should be in it and are not, because their keys could not be had.
    pub(super) without: Vec<TenantId>,
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
    pub(super) fn new(of: Option<TenantId>, types: RecordTypes, tenants: Vec<TenantAbout>, more: More) -> Self {
        let records = tenants.iter().fold(0, |sum: u64, one| sum.saturating_add(one.records));
        Self { version: VERSION, of, types, tenants, records, more }
    }

    pub(super) fn to_note(&self) -> Result<Vec<u8>, Problem> {
        let written = postcard::to_allocvec(self).and_then(|note| postcard::to_extend(&self.more, note));
        written.map_err(|_| Problem::failed("what a backup is about can't be written"))
    }

    pub(super) fn of_note(note: &[u8]) -> Result<Self, Problem> {
        if note.first().is_some_and(|version| *version > VERSION) {
            return Err(Problem::failed("the backup was made by a newer program"));
        }
        let damaged = || Problem::failed("the backup's manifest is damaged: it does not say what it is about");
        let (mut about, rest) = postcard::take_from_bytes::<Self>(note).map_err(|_| damaged())?;
        if about.version < 2 {
            return if rest.is_empty() { Ok(about) } else { Err(damaged()) };
        }
        about.more = match postcard::take_from_bytes(rest) {
            Ok((more, [])) => more,
            _ => return Err(damaged()),
        };
        Ok(about)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> TenantAbout {
        TenantAbout::new(TenantId::from_bytes([7; 16]), vec![1, 2, 3], UnixMs(300), (2, &[]))
    }

    #[test]
    fn what_it_is_about_is_read_again() {
        let more = More { receipts: vec![[9; 16]], without: vec![TenantId::from_bytes([8; 16])] };
        let about = About::new(None, RecordTypes::default(), vec![one()], more.clone());
        let read = About::of_note(&about.to_note().unwrap()).unwrap();
        assert_eq!((read.more, read.tenants.len()), (more, 1));
        let mut longer = about.to_note().unwrap();
        longer.push(0);
        assert!(About::of_note(&longer).is_err());
        let newer = About { version: VERSION + 1, ..about };
        assert!(About::of_note(&newer.to_note().unwrap()).unwrap_err().to_string().contains("newer"));
    }

    /// As the program wrote it that knew nothing of receipts and of tenants that are missing.
    #[test]
    fn a_note_of_version_1_is_read() {
        let note = [
            // Version, of no tenant alone, no record types, one tenant.
            &[1, 0, 0, 0, 1][..],
            // Its id after its length; wrapped keys, epoch 2, since 300, no counts, 5 records, 1 past state; 5 records.
            &[16],
            &[7; 16],
            &[3, 1, 2, 3, 2, 0xac, 2, 0, 5, 1, 5],
        ];
        let read = About::of_note(&note.concat()).unwrap();
        assert_eq!((read.records, read.tenants[0].past, read.tenants[0].epoch), (5, 1, 2));
        assert_eq!((read.tenants[0].since, read.more), (UnixMs(300), More::default()));
    }
}
