//! Keys that were released for one request.

use std::sync::Arc;

use countersign_crypto::{Tag, cell_aad, sealed_epoch};
use countersign_keys::LiveKeys;
use countersign_model::{Entropy, FieldId, Kind, RecordId, TenantId, TypeId, Value};

use crate::reach::Use;

/// Data keys released for one request, of one tenant, each for the uses that the request has for its field.
///
/// A field that is not in it can't be opened, sealed or tagged: there is nothing to do it with. Of each field it has the keys
/// of every epoch that its cells may be of. Cells are opened by their own, sealed and tagged under the newest, and searched
/// for by the tags of all.
pub struct Keyring {
    tenant: TenantId,
    epoch: u32,
    types: Vec<(TypeId, Vec<Option<Slot>>)>,
}

/// The keys of one field in a [`Keyring`].
pub struct Slot {
    /// The keys, by epoch.
    pub keys: Arc<LiveKeys>,
    /// What they are for.
    pub uses: Use,
}

/// Why a cell was not opened, sealed or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// The keys for that were not released.
    #[error("the key was not released")]
    NoKey,
    /// The cell is of an epoch whose key was not released: there is a newer one since, or there never was.
    #[error("sealed under a key of another epoch")]
    Epoch,
    /// The cell is not one that was sealed there.
    #[error("stored data is damaged")]
    Damaged,
}

impl Keyring {
    /// An empty ring for this tenant, whose newest epoch, of all its fields, is `epoch`; 0 for a ring that stays empty.
    #[must_use]
    pub const fn new(tenant: TenantId, epoch: u32) -> Self {
        Self { tenant, epoch, types: Vec::new() }
    }

    /// Adds the keys of one field for these uses.
    pub fn add(&mut self, type_id: TypeId, field: FieldId, keys: Arc<LiveKeys>, uses: Use) {
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

    /// Whose keys they are.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The tenant's newest epoch when they were released, of all its fields.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Every field in it, with its keys.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, FieldId, &Slot)> + '_ {
        self.types.iter().flat_map(|(type_id, slots)| {
            let numbered = (0u8..=u8::MAX).zip(slots);
            numbered.filter_map(|(place, slot)| Some((*type_id, FieldId(place), slot.as_ref()?)))
        })
    }

    fn slot(&self, type_id: TypeId, field: FieldId) -> Option<&Slot> {
        let (_, slots) = self.types.iter().find(|(known, _)| *known == type_id)?;
        slots.get(usize::from(field.0))?.as_ref()
    }

    /// Opens a cell of `record`. `plain` is a buffer to work in.
    ///
    /// # Errors
    /// [`CellError`].
    pub fn open(
        &self,
        type_id: TypeId,
        field: FieldId,
        kind: Kind,
        record: RecordId,
        sealed: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Value, CellError> {
        let slot = self.slot(type_id, field).filter(|slot| slot.uses.open).ok_or(CellError::NoKey)?;
        let epoch = sealed_epoch(sealed).ok_or(CellError::Damaged)?;
        let keys = slot.keys.of(epoch).ok_or(CellError::Epoch)?;
        let aad = cell_aad(self.tenant, type_id, field, record);
        keys.cell.open_into(&aad, sealed, plain).map_err(|_| CellError::Damaged)?;
        Value::from_bytes(kind, plain).map_err(|_| CellError::Damaged)
    }

    /// Seals a value as a cell of `record`; null is an absent cell.
    ///
    /// # Errors
    /// [`CellError::NoKey`].
    pub fn seal(
        &self,
        type_id: TypeId,
        field: FieldId,
        record: RecordId,
        value: &Value,
        entropy: &dyn Entropy,
    ) -> Result<Option<Vec<u8>>, CellError> {
        if value.is_null() {
            return Ok(None);
        }
        let slot = self.slot(type_id, field).filter(|slot| slot.uses.seal).ok_or(CellError::NoKey)?;
        let aad = cell_aad(self.tenant, type_id, field, record);
        Ok(Some(slot.keys.newest().cell.seal(entropy, &aad, &value.to_bytes())))
    }

    /// The tag that a record with this value gets now; `None` for null, which has none.
    ///
    /// # Errors
    /// [`CellError::NoKey`].
    pub fn tag(&self, type_id: TypeId, field: FieldId, value: &Value) -> Result<Option<Tag>, CellError> {
        if value.is_null() {
            return Ok(None);
        }
        Ok(Some(self.tagging(type_id, field)?.newest().tag.tag(&value.to_tag_bytes())))
    }

    /// The tags by which records with this value are found: that of each epoch that its cells may be of, the newest first.
    /// None for null.
    ///
    /// # Errors
    /// [`CellError::NoKey`].
    pub fn tags(
        &self,
        type_id: TypeId,
        field: FieldId,
        value: &Value,
    ) -> Result<impl Iterator<Item = Tag> + use<'_>, CellError> {
        let keys = if value.is_null() { None } else { Some(self.tagging(type_id, field)?) };
        let bytes = value.to_tag_bytes();
        Ok(keys.into_iter().flat_map(LiveKeys::iter).map(move |keys| keys.tag.tag(&bytes)))
    }

    /// Whether cells of a field may be of other epochs than the newest.
    ///
    /// # Errors
    /// [`CellError::NoKey`].
    pub fn is_mixed(&self, type_id: TypeId, field: FieldId) -> Result<bool, CellError> {
        Ok(!self.slot(type_id, field).ok_or(CellError::NoKey)?.keys.older().is_empty())
    }

    fn tagging(&self, type_id: TypeId, field: FieldId) -> Result<&LiveKeys, CellError> {
        Ok(&self.slot(type_id, field).filter(|slot| slot.uses.tag).ok_or(CellError::NoKey)?.keys)
    }
}
