//! Sealing records again: under a tenant's newest keys, after a rotation or in a restore.
//!
//! A row is opened cell by cell, each under the key of the epoch that it names, and sealed under the one under which its
//! field is sealed now, with a new tag. Nobody sees a value: this is for the key service's own side of a deployment, where the
//! keys are, and no request reaches it.

mod place;
mod resealer;

use std::sync::Arc;

use countersign_crypto::{FieldKeys, cell_aad, sealed_epoch};
use countersign_keys::{KeyError, KmsError, TenantKeys};
use countersign_model::{Entropy, FieldId, RecordType, TenantId, TypeId, Value};
use countersign_store::StoreError;
use countersign_store::carry::{CarriedRow, Resealed};

pub use resealer::{Outcome, Pace, ResealStatus, Resealer};

/// The keys of cells, by epoch. May block while a key management service is asked.
pub trait CellKeys: Send + Sync {
    /// The newest epoch of a tenant, of all of its fields.
    ///
    /// # Errors
    /// [`KeyError`].
    fn newest(&self, tenant: TenantId) -> Result<u32, KeyError>;

    /// The keys under which a field is sealed now.
    ///
    /// # Errors
    /// [`KeyError`].
    fn field(&self, tenant: TenantId, record_type: TypeId, field: FieldId) -> Result<Arc<FieldKeys>, KeyError>;

    /// The keys of a field in the epoch that a cell names.
    ///
    /// # Errors
    /// [`KeyError`]; [`KmsError::Destroyed`] for a key that was destroyed.
    fn field_at(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        field: FieldId,
        epoch: u32,
    ) -> Result<Arc<FieldKeys>, KeyError>;
}

impl CellKeys for TenantKeys {
    fn newest(&self, tenant: TenantId) -> Result<u32, KeyError> {
        let stored = self.set(tenant)?.newest();
        if self.newest_epoch(tenant)? != stored {
            // What is at hand is of before.
            self.forget(tenant);
        }
        Ok(stored)
    }

    fn field(&self, tenant: TenantId, record_type: TypeId, field: FieldId) -> Result<Arc<FieldKeys>, KeyError> {
        Self::field(self, tenant, record_type, field)
    }

    fn field_at(
        &self,
        tenant: TenantId,
        record_type: TypeId,
        field: FieldId,
        epoch: u32,
    ) -> Result<Arc<FieldKeys>, KeyError> {
        Self::field_at(self, tenant, record_type, field, epoch)
    }
}

/// Why something was not sealed again. Carries no value and no record.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// The operator's: the key was destroyed, and what is sealed under it is gone with it. Or there never was one.
    #[error("the key of epoch {epoch} of field {field} of type {record_type} is destroyed, or never was")]
    Destroyed {
        /// The type's number.
        record_type: u16,
        /// The field's number.
        field: u8,
        /// The epoch.
        epoch: u32,
    },
    /// The operator's: keys can't be had at the moment, or the tenant has none.
    #[error(transparent)]
    Keys(KeyError),
    /// The operator's: a cell is not what was sealed there.
    #[error("a cell of field {field} of type {record_type} is damaged")]
    Damaged {
        /// The type's number.
        record_type: u16,
        /// The field's number.
        field: u8,
    },
    /// Ours: the record types don't have what the row has.
    #[error("the record types in force do not have this type or this field")]
    UnknownField,
    /// Nobody's: the tenant has got a newer key meanwhile, or one of its keys has sealed all that it may. To be begun again
    /// once there are other keys.
    #[error("other keys are needed: the tenant has got newer ones, or one of these has sealed all that it may")]
    Superseded,
    /// The operator's: so many values at once may be sealed by no key.
    #[error("more values of one field than any key may seal: the limit (seals_max) is too low for that")]
    Limit,
    /// What the storage met.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The program is ending.
    #[error("the work was interrupted")]
    Interrupted,
}

/// A row of `from`'s keys as one of `to`'s newest, each cell sealed anew and each tag made anew. For restores: whoever stores it
/// has the store count it ([`Reseals::charge`](countersign_store::carry::Reseals::charge)).
///
/// # Errors
/// [`ResealError`]: the first cell that can't be opened.
pub fn row(
    (from, to): (&dyn CellKeys, &dyn CellKeys),
    entropy: &dyn Entropy,
    tenant: TenantId,
    record_type: (TypeId, &RecordType),
    row: CarriedRow,
) -> Result<CarriedRow, ResealError> {
    let mut sealer = Sealer::new((from, to), entropy, tenant, record_type);
    let mut out = CarriedRow { cells: Vec::with_capacity(row.cells.len()), tags: Vec::new(), ..row };
    for (field, cell) in &row.cells {
        let to = sealer.newest(*field)?;
        sealer.cell(&mut out.cells, &mut out.tags, (row.record, *field), cell, &to)?;
    }
    Ok(out)
}

/// What of a row is of another epoch than the newest of its field, sealed under that; `None` if nothing is. Cells that can't be
/// opened are left out; the first reason why is given beside.
fn stale(
    keys: &dyn CellKeys,
    entropy: &dyn Entropy,
    tenant: TenantId,
    record_type: (TypeId, &RecordType),
    row: &CarriedRow,
    past: bool,
) -> (Option<Resealed>, Option<ResealError>) {
    let mut sealer = Sealer::new((keys, keys), entropy, tenant, record_type);
    let (record, version) = (row.record, row.version);
    let mut out = Resealed { record, version, past, cells: Vec::new(), tags: Vec::new() };
    let mut trouble = None;
    for (field, cell) in &row.cells {
        let sealed = sealer.newest(*field).and_then(|to| {
            if sealed_epoch(cell) == Some(to.cell.epoch()) {
                return Ok(());
            }
            sealer.cell(&mut out.cells, &mut out.tags, (record, *field), cell, &to)
        });
        if let Err(error) = sealed {
            trouble.get_or_insert(error);
        }
    }
    (Some(out).filter(|out| !out.cells.is_empty()), trouble)
}

struct Sealer<'a> {
    from: &'a dyn CellKeys,
    to: &'a dyn CellKeys,
    entropy: &'a dyn Entropy,
    tenant: TenantId,
    record_type: (TypeId, &'a RecordType),
    /// A buffer to work in.
    plain: Vec<u8>,
}

impl<'a> Sealer<'a> {
    const fn new(
        (from, to): (&'a dyn CellKeys, &'a dyn CellKeys),
        entropy: &'a dyn Entropy,
        tenant: TenantId,
        record_type: (TypeId, &'a RecordType),
    ) -> Self {
        Self { from, to, entropy, tenant, record_type, plain: Vec::new() }
    }

    fn newest(&self, field: FieldId) -> Result<Arc<FieldKeys>, ResealError> {
        let (id, _) = self.record_type;
        self.to.field(self.tenant, id, field).map_err(|error| self.fault(error, field, 0))
    }

    fn fault(&self, error: KeyError, FieldId(field): FieldId, epoch: u32) -> ResealError {
        let (TypeId(record_type), _) = self.record_type;
        match error {
            KeyError::Kms(KmsError::Destroyed) | KeyError::UnknownEpoch => {
                ResealError::Destroyed { record_type, field, epoch }
            }
            other => ResealError::Keys(other),
        }
    }

    fn cell(
        &mut self,
        cells: &mut Vec<(FieldId, Vec<u8>)>,
        tags: &mut Vec<(FieldId, countersign_crypto::Tag)>,
        (record, field): (countersign_model::RecordId, FieldId),
        cell: &[u8],
        to: &FieldKeys,
    ) -> Result<(), ResealError> {
        let (id, fields) = self.record_type;
        let known = fields.field(field).ok_or(ResealError::UnknownField)?;
        let damaged = ResealError::Damaged { record_type: id.0, field: field.0 };
        let Some(epoch) = sealed_epoch(cell) else { return Err(damaged) };
        let from = self.from.field_at(self.tenant, id, field, epoch);
        let from = from.map_err(|error| self.fault(error, field, epoch))?;
        let aad = cell_aad(self.tenant, id, field, record);
        if from.cell.open_into(&aad, cell, &mut self.plain).is_err() {
            return Err(damaged);
        }
        if known.indexed || known.unique {
            let Ok(value) = Value::from_bytes(known.kind, &self.plain) else { return Err(damaged) };
            tags.push((field, to.tag.tag(&value.to_tag_bytes())));
        }
        cells.push((field, to.cell.seal(self.entropy, &aad, &self.plain)));
        Ok(())
    }
}
