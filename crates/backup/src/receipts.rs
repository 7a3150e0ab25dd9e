//! Receipts of erasures, kept beside the backups so that whoever restores from there heeds them.

use std::collections::BTreeSet;

use countersign_crypto::{Aad, SealKey};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::error::{BackupError, Damage};
use crate::repository::{Inner, Repository};

/// The longest receipt.
const RECEIPT_MAX: usize = 1 << 20;
/// So many are fetched at a time.
const AT_ONCE: usize = 8;

/// The id of a receipt.
pub type ReceiptId = [u8; 16];

fn aad(inner: &Inner, id: ReceiptId) -> Aad {
    Aad::new("backup-receipt.1").part(&inner.id.0).part(&id)
}

fn name(id: ReceiptId) -> String {
    format!("receipts/{}", hex::encode(id))
}

impl Repository {
    fn seal_receipt(&self, id: ReceiptId, receipt: &[u8]) -> Result<Vec<u8>, BackupError> {
        if receipt.len() > RECEIPT_MAX {
            return Err(BackupError::Misuse("a receipt is too long"));
        }
        Ok(self.inner.keys.receipt.seal(&*self.inner.tools.entropy, &aad(&self.inner, id), receipt))
    }

    /// Keeps a receipt under its id. One that is there already stays.
    ///
    /// # Errors
    /// If the repository can't be written.
    pub async fn keep_receipt(&self, id: ReceiptId, receipt: &[u8]) -> Result<(), BackupError> {
        let sealed = self.seal_receipt(id, receipt)?;
        self.inner.place.put_new(&name(id), sealed).await.map(drop)
    }

    /// Keeps a receipt in place of one that is damaged.
    ///
    /// # Errors
    /// If the repository can't be written.
    pub async fn replace_receipt(&self, id: ReceiptId, receipt: &[u8]) -> Result<(), BackupError> {
        let sealed = self.seal_receipt(id, receipt)?;
        self.inner.place.put(&name(id), sealed).await
    }

    /// The ids of all receipts. Names that are no receipt's are passed over.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn receipt_ids(&self) -> Result<BTreeSet<ReceiptId>, BackupError> {
        let found = self.inner.place.list("receipts").await?;
        let parsed = found.iter().filter_map(|(name, _)| {
            let mut id = [0; 16];
            hex::decode_to_slice(name, &mut id).ok()?;
            (hex::encode(id) == *name).then_some(id)
        });
        Ok(parsed.collect())
    }

    /// All receipts, in the order of their ids; [`Damage::Receipt`] in the place of each that does not open. A restore that
    /// does not know what was erased must not be made.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn receipts(&self) -> Result<Vec<(ReceiptId, Result<Vec<u8>, Damage>)>, BackupError> {
        let ids = futures_util::stream::iter(self.receipt_ids().await?);
        let read = ids.map(|id| async move {
            let most = RECEIPT_MAX.saturating_add(SealKey::OVERHEAD_BYTES);
            let Some(sealed) = self.inner.place.get(&name(id), most).await? else { return Ok(None) };
            let opened = self.inner.keys.receipt.open(&aad(&self.inner, id), &sealed);
            Ok::<_, BackupError>(Some((id, opened.map_err(|_| Damage::Receipt))))
        });
        read.buffered(AT_ONCE).try_filter_map(|found| async move { Ok(found) }).try_collect().await
    }
}
