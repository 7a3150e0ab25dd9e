//! Facts and keys as a backup has them, and what is known of backups.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use countersign_model::facts::Facts;
use countersign_model::{Name, TenantId, UnixMs};
use serde::{Deserialize, Serialize};

use super::Registry;
use super::db::Db;
use crate::error::RegistryError;

/// A fact as it is stored: sealed under the deployment's key, which is itself among them, wrapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedRow {
    /// The number of its kind.
    pub kind: i16,
    /// Its id.
    pub id: Vec<u8>,
    /// Its sealed body.
    pub body: Vec<u8>,
}

/// All facts and keys at one moment.
pub struct Sealed {
    /// The rows, in the order of their kinds and ids.
    pub rows: Vec<SealedRow>,
    /// What they say.
    pub facts: Arc<Facts>,
    /// The tenants' wrapped keys among them.
    pub wrapped: Arc<HashMap<TenantId, Arc<[u8]>>>,
}

/// A backup that was made, as the deployment knows it: what is in the repository is held against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownBackup {
    /// The repository's name in the configuration when it was made.
    pub repository: Name,
    /// The repository's own id.
    pub repository_id: [u8; 16],
    /// SHA-256 of the manifest as it is stored.
    pub digest: [u8; 32],
    /// When it was made.
    pub at: UnixMs,
    /// The tenant that it is of; `None` is the whole deployment.
    pub tenant: Option<TenantId>,
    /// When it was last restored into a scratch deployment and compared, and whether that succeeded.
    pub verified: Option<(UnixMs, bool)>,
}

impl Registry {
    /// Everything that is kept, sealed as it is. No change comes in between.
    ///
    /// # Errors
    /// What a disk or a database may meet.
    pub async fn sealed(self: &Arc<Self>) -> Result<Sealed, RegistryError> {
        let _alone = Arc::clone(&self.changing).lock_owned().await;
        let registry = Arc::clone(self);
        let rows = tokio::task::spawn_blocking(move || registry.db.lock().rows()).await;
        let mut rows = rows.map_err(|_| RegistryError::Storage("it was interrupted"))??;
        rows.sort();
        let rows = rows.into_iter().map(|(kind, id, body)| SealedRow { kind, id, body }).collect();
        Ok(Sealed { rows, facts: Arc::clone(&self.latest().facts), wrapped: self.wrapped_keys() })
    }

    /// A tenant's wrapped keys.
    #[must_use]
    pub fn wrapped_key(&self, tenant: TenantId) -> Option<Arc<[u8]>> {
        self.wrapped_keys().get(&tenant).cloned()
    }

    /// No fact and no key changes for as long as this is kept.
    pub async fn unchanging(self: &Arc<Self>) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.changing).lock_owned().await
    }

    /// Makes a control database out of such rows.
    ///
    /// # Errors
    /// [`RegistryError::Exists`]; what a disk may meet.
    pub fn restore(path: &Path, rows: Vec<SealedRow>) -> Result<(), RegistryError> {
        let rows: Vec<_> = rows.into_iter().map(|SealedRow { kind, id, body }| (kind, id, body)).collect();
        Db::restore(path, &rows)
    }

    /// The backups that are known, by their ids.
    #[must_use]
    pub fn backups(&self) -> BTreeMap<[u8; 16], KnownBackup> {
        self.backups.read().clone()
    }

    /// Keeps what is known of a backup; with `None`, forgets it.
    ///
    /// # Errors
    /// As every change of facts.
    pub async fn know_backup(self: &Arc<Self>, id: [u8; 16], backup: Option<KnownBackup>) -> Result<(), RegistryError> {
        let mut change = self.begin().await;
        change.put_backup(id, backup)?;
        change.commit().await.map(drop)
    }

    /// Keeps what a trial of a backup came to, and when. `false` if that backup is known no more, because it was removed.
    ///
    /// # Errors
    /// As every change of facts.
    pub async fn judge_backup(
        self: &Arc<Self>,
        id: [u8; 16],
        at: UnixMs,
        is_good: bool,
    ) -> Result<bool, RegistryError> {
        let mut change = self.begin().await;
        let Some(known) = self.backups.read().get(&id).cloned() else { return Ok(false) };
        change.put_backup(id, Some(KnownBackup { verified: Some((at, is_good)), ..known }))?;
        change.commit().await.map(|_| true)
    }
}
