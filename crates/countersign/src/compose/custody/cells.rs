//! Opening cells out of a backup, all of them.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_crypto::{FieldKeys, cell_aad, sealed_epoch};
use countersign_keys::{KeyError, KmsError, KmsSet, TenantKeys, WrappedKeys};
use countersign_model::{FieldId, RecordTypes, TenantId, TypeId, Value};
use countersign_store::carry::CarriedRow;

use crate::problem::{Exit, Problem};

/// Tenants' wrapped keys, as a backup has them.
pub(super) struct Wrapped(pub(super) HashMap<TenantId, Arc<[u8]>>);

impl WrappedKeys for Wrapped {
    fn wrapped(&self, tenant: TenantId) -> Option<Arc<[u8]>> {
        self.0.get(&tenant).cloned()
    }
}

/// Keys by tenant, field and epoch, out of what a backup has and the key management services.
pub(super) fn keys(kms: &KmsSet, wrapped: HashMap<TenantId, Arc<[u8]>>) -> Arc<TenantKeys> {
    const KEPT: usize = 4_096;
    Arc::new(TenantKeys::new(kms.clone(), Arc::new(Wrapped(wrapped)), KEPT))
}

/// One tenant's cells.
pub(super) struct Cells<'a> {
    pub(super) tenant: TenantId,
    pub(super) types: &'a RecordTypes,
    /// What they were sealed with.
    pub(super) keys: &'a TenantKeys,
}

fn damaged(what: &str, record_type: TypeId, row: &CarriedRow) -> Problem {
    Problem::failed(format!("damaged: {what} of record {} of type {}", row.record, record_type.0))
}

impl Cells<'_> {
    /// Opens every cell of a row and looks whether its tags are those of what is in them. Gives how many there are.
    ///
    /// # Errors
    /// If one does not open, or a tag is another's. Blocks if a key management service has to be asked.
    pub(super) fn check(&self, record_type: TypeId, row: &CarriedRow, plain: &mut Vec<u8>) -> Result<u64, Problem> {
        for (field, sealed) in &row.cells {
            let (value, keys) = self.open(record_type, row, *field, sealed, plain)?;
            let tag = row.tags.iter().find(|(of, _)| of == field);
            if tag.is_some_and(|(_, tag)| *tag != keys.tag.tag(&value.to_tag_bytes())) {
                return Err(damaged("a tag", record_type, row));
            }
        }
        Ok(row.cells.len() as u64)
    }

    fn open(
        &self,
        record_type: TypeId,
        row: &CarriedRow,
        field: FieldId,
        sealed: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(Value, Arc<FieldKeys>), Problem> {
        let damaged = || damaged("a cell", record_type, row);
        let kind = self.types.record_type(record_type).and_then(|known| known.field(field)).map(|known| known.kind);
        let epoch = sealed_epoch(sealed).ok_or_else(damaged)?;
        let keys = self.keys.field_at(self.tenant, record_type, field, epoch).map_err(|error| no_key(&error))?;
        let aad = cell_aad(self.tenant, record_type, field, row.record);
        keys.cell.open_into(&aad, sealed, plain).map_err(|_| damaged())?;
        let value = Value::from_bytes(kind.ok_or_else(damaged)?, plain).map_err(|_| damaged())?;
        Ok((value, keys))
    }
}

/// What it means that a tenant's key can't be had.
pub(super) fn no_key(error: &KeyError) -> Problem {
    let exit = if matches!(error, KeyError::Kms(KmsError::Unavailable(_))) { Exit::Unavailable } else { Exit::Failed };
    Problem::new(exit, format!("a tenant's key can't be had: {error}"))
}
