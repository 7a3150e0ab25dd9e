use std::sync::Arc;

use countersign_crypto::{FieldKeys, Tag, cell_aad};
use countersign_model::{Entropy, FieldId, Kind, RecordId, TenantId, TypeId, Value};

use crate::answer::Failure;
use crate::reach::Use;

/// Data keys released for one request, of one tenant, each for the uses that the request has for its field.
///
/// A field that is not in it can't be opened, sealed or tagged: there is nothing to do it with.
pub struct Keyring {
    tenant: TenantId,
    types: Vec<(TypeId, Vec<Option<Slot>>)>,
}

struct Slot {
    keys: Arc<FieldKeys>,
    uses: Use,
}

impl Keyring {
    /// An empty ring for this tenant.
    #[must_use]
    pub const fn new(tenant: TenantId) -> Self {
        Self { tenant, types: Vec::new() }
    }

    /// Adds the keys of one field for these uses.
    pub fn add(&mut self, type_id: TypeId, field: FieldId, keys: Arc<FieldKeys>, uses: Use) {
        let index = match self.types.iter().position(|(known, _)| *known == type_id) {
            Some(index) => index,
            None => {
                self.types.push((type_id, Vec::new()));
                self.types.len().saturating_sub(1)
            }
        };
        let Some((_, slots)) = self.types.get_mut(index) else { return };
        let place = usize::from(field.0);
        if slots.len() <= place {
            slots.resize_with(place.saturating_add(1), || None);
        }
        if let Some(slot) = slots.get_mut(place) {
            *slot = Some(Slot { keys, uses });
        }
    }

    fn slot(&self, type_id: TypeId, field: FieldId) -> Option<&Slot> {
        let (_, slots) = self.types.iter().find(|(known, _)| *known == type_id)?;
        slots.get(usize::from(field.0))?.as_ref()
    }

    /// Opens a cell of `record`. `plain` is a buffer to work in.
    pub(crate) fn open(
        &self,
        type_id: TypeId,
        field: FieldId,
        kind: Kind,
        record: RecordId,
        sealed: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Value, Failure> {
        let slot = self.slot(type_id, field).filter(|slot| slot.uses.open).ok_or(Failure::Unavailable)?;
        let aad = cell_aad(self.tenant, type_id, field, record);
        slot.keys.cell.open_into(&aad, sealed, plain).map_err(|_| Failure::Damaged)?;
        Value::from_bytes(kind, plain).map_err(|_| Failure::Damaged)
    }

    /// Seals a value as a cell of `record`; null is an absent cell.
    pub(crate) fn seal(
        &self,
        type_id: TypeId,
        field: FieldId,
        record: RecordId,
        value: &Value,
        entropy: &dyn Entropy,
    ) -> Result<Option<Vec<u8>>, Failure> {
        if value.is_null() {
            return Ok(None);
        }
        let slot = self.slot(type_id, field).filter(|slot| slot.uses.seal).ok_or(Failure::Unavailable)?;
        let aad = cell_aad(self.tenant, type_id, field, record);
        Ok(Some(slot.keys.cell.seal(entropy, &aad, &value.to_bytes())))
    }

    /// The tag by which records with this value are found; `None` for null, which has none.
    pub(crate) fn tag(&self, type_id: TypeId, field: FieldId, value: &Value) -> Result<Option<Tag>, Failure> {
        if value.is_null() {
            return Ok(None);
        }
        let slot = self.slot(type_id, field).filter(|slot| slot.uses.tag).ok_or(Failure::Unavailable)?;
        Ok(Some(slot.keys.tag.tag(&value.to_tag_bytes())))
    }
}
