//! The keys of one field that are in use together.

use std::sync::Arc;

use countersign_crypto::FieldKeys;

/// The keys of one field in every epoch that its cells may be of: what is new is sealed and tagged under the newest, and
/// what is searched for may have the tag of any.
pub struct LiveKeys {
    newest: Arc<FieldKeys>,
    /// Newest first; none, unless cells are being sealed anew.
    older: Vec<Arc<FieldKeys>>,
    tenant_epoch: u32,
}

impl LiveKeys {
    /// Of keys of falling epochs, as they are while `tenant_epoch` is the tenant's newest epoch of all its fields. `None` if
    /// there are none, or they don't fall from there.
    #[must_use]
    pub fn new(keys: Vec<Arc<FieldKeys>>, tenant_epoch: u32) -> Option<Self> {
        let falling = keys.is_sorted_by(|newer, older| newer.secrets().epoch > older.secrets().epoch);
        let mut keys = keys.into_iter();
        let newest = keys.next().filter(|newest| falling && newest.secrets().epoch <= tenant_epoch)?;
        Some(Self { newest, older: keys.collect(), tenant_epoch })
    }

    /// The tenant's newest epoch of all its fields, as long as these are the field's keys. Keys of several fields belong
    /// together only if they say the same.
    #[must_use]
    pub const fn tenant_epoch(&self) -> u32 {
        self.tenant_epoch
    }

    /// Those under which values are sealed and tagged now.
    #[must_use]
    pub const fn newest(&self) -> &Arc<FieldKeys> {
        &self.newest
    }

    /// The others, newest first.
    #[must_use]
    pub fn older(&self) -> &[Arc<FieldKeys>] {
        &self.older
    }

    /// All, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<FieldKeys>> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// Those of one epoch.
    #[must_use]
    pub fn of(&self, epoch: u32) -> Option<&Arc<FieldKeys>> {
        self.iter().find(|keys| keys.secrets().epoch == epoch)
    }
}
