//! Whom of a tenant to tell: for the monitor alone, which tells tenants of what they have to know at once.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use countersign_model::TenantId;

/// The tenants' e-mail addresses.
pub(crate) type ContactsMap = HashMap<TenantId, Arc<Vec<String>>>;

/// A tenant's addresses as the content of a part.
pub(crate) struct Emails(pub(crate) Arc<Vec<String>>);

/// The tenants' e-mail addresses, as the newest snapshot has them. Always empty where they are not sent.
#[derive(Default)]
pub struct SnapshotContacts(ArcSwap<ContactsMap>);

impl SnapshotContacts {
    /// Those of a tenant.
    #[must_use]
    pub fn of(&self, tenant: TenantId) -> Vec<String> {
        self.0.load().get(&tenant).map(|emails| emails.to_vec()).unwrap_or_default()
    }

    pub(crate) fn load(&self) -> Arc<ContactsMap> {
        self.0.load_full()
    }

    pub(crate) fn replace(&self, contacts: Arc<ContactsMap>) {
        self.0.store(contacts);
    }
}

/// Without the addresses.
impl std::fmt::Debug for SnapshotContacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotContacts").field("tenants", &self.0.load().len()).finish()
    }
}
