//! Backups.

use countersign_guard::Permit;
use countersign_model::custody::BackupControl;

use super::Done;
use crate::authority::Authority;
use crate::error::ControlFailure;

impl Authority {
    pub(super) async fn backup(&self, permit: &Permit, backup: BackupControl) -> Result<Done, ControlFailure> {
        let _ = (permit, backup);
        Err(ControlFailure::NotControl)
    }
}
