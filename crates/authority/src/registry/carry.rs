//! Taking a deployment's facts and keys from one place to another.

use std::sync::Arc;

use countersign_crypto::SealKey;
use tokio::sync::OwnedMutexGuard;

use super::db::{Db, Place};
use super::{Registry, facts_key};
use crate::error::RegistryError;

/// What was carried over. For as long as this is kept, nothing changes where it came from.
#[must_use = "what it came from may change again when this is dropped"]
pub struct Carried {
    /// How many rows there are, each compared with the one it came from.
    pub rows: usize,
    _alone: OwnedMutexGuard<()>,
}

impl Registry {
    /// Copies everything to another place, row by row as it is sealed, reads it back and compares. A place in a database
    /// gets the file by which the authority comes to it, too. What an interrupted try has left there is replaced.
    ///
    /// # Errors
    /// [`RegistryError::InUse`] if an authority is at work there; [`RegistryError::Exists`] for a file that is there;
    /// [`RegistryError::NotEmpty`] if there is another deployment, or a newer state of this one; whatever a disk or a
    /// database may meet.
    pub async fn carry_to(self: &Arc<Self>, place: Place) -> Result<Carried, RegistryError> {
        let alone = Arc::clone(&self.changing).lock_owned().await;
        let registry = Arc::clone(self);
        let epoch = self.latest().facts.epoch;
        let copy = move || -> Result<usize, RegistryError> {
            let rows = registry.db.lock().rows()?;
            let key: SealKey = facts_key(&registry.deployment_key);
            let count = Db::carry(&place, &key, epoch, &*registry.entropy, rows)?;
            if let Place::Postgres { bootstrap, .. } = &place {
                registry.write_bootstrap(bootstrap)?;
            }
            Ok(count)
        };
        let rows = tokio::task::spawn_blocking(copy).await;
        let rows = rows.map_err(|_| RegistryError::Storage("it was interrupted"))??;
        Ok(Carried { rows, _alone: alone })
    }

    /// Deletes everything from a database that the deployment has left, so that no authority elsewhere begins again with
    /// what was there. Files stay.
    ///
    /// # Errors
    /// As a change of facts.
    pub async fn clear(self: &Arc<Self>, _left: &Carried) -> Result<(), RegistryError> {
        let registry = Arc::clone(self);
        let clear = move || registry.db.lock().clear(&*registry.entropy);
        tokio::task::spawn_blocking(clear).await.map_err(|_| RegistryError::Storage("it was interrupted"))?
    }
}
