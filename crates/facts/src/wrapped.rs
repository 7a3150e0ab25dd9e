use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use countersign_keys::WrappedKeys;
use countersign_model::TenantId;

/// The tenants' wrapped keys. What wrapped each, its bytes say.
pub(crate) type WrappedMap = HashMap<TenantId, Arc<[u8]>>;

/// A wrapped key as the content of a part.
pub(crate) struct WrappedKey(pub(crate) Arc<[u8]>);

/// The tenants' wrapped keys, as the newest snapshot has them. Always empty where they are not sent.
#[derive(Default)]
pub struct SnapshotKeys(ArcSwap<WrappedMap>);

impl SnapshotKeys {
    /// All of them.
    #[must_use]
    pub fn load(&self) -> Arc<HashMap<TenantId, Arc<[u8]>>> {
        self.0.load_full()
    }

    pub(crate) fn replace(&self, keys: Arc<WrappedMap>) {
        self.0.store(keys);
    }
}

impl WrappedKeys for SnapshotKeys {
    fn wrapped(&self, tenant: TenantId) -> Option<Arc<[u8]>> {
        self.0.load().get(&tenant).map(Arc::clone)
    }
}

impl std::fmt::Debug for SnapshotKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotKeys").field("tenants", &self.0.load().len()).finish()
    }
}
