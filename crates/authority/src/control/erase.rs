//! The end of data.

use countersign_guard::Permit;
use countersign_model::custody::EraseControl;

use super::Done;
use crate::authority::Authority;
use crate::error::ControlFailure;

impl Authority {
    pub(super) async fn erase(&self, permit: &Permit, erase: EraseControl) -> Result<Done, ControlFailure> {
        let _ = (permit, erase);
        Err(ControlFailure::NotControl)
    }
}
