//! Keys of data at rest.

use countersign_guard::Permit;
use countersign_model::custody::KeyControl;

use super::Done;
use crate::authority::Authority;
use crate::error::ControlFailure;

impl Authority {
    pub(super) async fn keys(&self, permit: &Permit, keys: KeyControl) -> Result<Done, ControlFailure> {
        let _ = (permit, keys);
        Err(ControlFailure::NotControl)
    }
}
