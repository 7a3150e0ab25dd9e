//! Who seals tenants again under their newer keys, as the authority calls it: in the background, as long as it takes.

use async_trait::async_trait;
use countersign_model::TenantId;
pub use countersign_policy::KeyPeriods;
use countersign_services::reseal::ResealStatus;
use countersign_store::SealCount;

/// Seals what is sealed under older keys again, and knows how much each key has sealed.
#[async_trait]
pub trait KeyKeeper: Send + Sync {
    /// How many values each key of a tenant has sealed; `None` if the store does not say.
    async fn counts(&self, tenant: TenantId) -> Option<Vec<SealCount>>;

    /// How far it has come with a tenant; `None` if it is not at it at the moment.
    fn progress(&self, tenant: TenantId) -> Option<ResealStatus>;

    /// Records, and states that records had, that it has left as they are because cells of them do not open; as long as there
    /// are any, older keys stay in use.
    fn left(&self, tenant: TenantId) -> u64;

    /// There are new keys: looks for what is to be done.
    fn wake(&self);
}
