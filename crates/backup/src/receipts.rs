//! Receipts of erasures, kept beside the backups so that whoever restores from there heeds them.

use countersign_crypto::{Aad, SealKey};

use crate::error::{BackupError, Damage};
use crate::repository::{Inner, Repository};

/// The longest receipt.
const RECEIPT_MAX: usize = 1 << 20;

fn aad(inner: &Inner, id: [u8; 16]) -> Aad {
    Aad::new("backup-receipt.1").part(&inner.id.0).part(&id)
}

impl Repository {
    /// Keeps a receipt under its id. One that is there already stays.
    ///
    /// # Errors
    /// If the repository can't be written.
    pub async fn keep_receipt(&self, id: [u8; 16], receipt: &[u8]) -> Result<(), BackupError> {
        if receipt.len() > RECEIPT_MAX {
            return Err(BackupError::Misuse("a receipt is too long"));
        }
        let sealed = self.inner.keys.receipt.seal(&*self.inner.tools.entropy, &aad(&self.inner, id), receipt);
        self.inner.place.put_new(&format!("receipts/{}", hex::encode(id)), sealed).await.map(drop)
    }

    /// All receipts, in the order of their ids.
    ///
    /// # Errors
    /// [`Damage::Receipt`] if one was changed: a restore that does not know what was erased must not be made.
    pub async fn receipts(&self) -> Result<Vec<([u8; 16], Vec<u8>)>, BackupError> {
        let mut receipts = Vec::new();
        for (name, _) in self.inner.place.list("receipts").await? {
            let mut id = [0; 16];
            hex::decode_to_slice(&name, &mut id).map_err(|_| Damage::Receipt)?;
            let most = RECEIPT_MAX.saturating_add(SealKey::OVERHEAD_BYTES);
            let Some(sealed) = self.inner.place.get(&format!("receipts/{name}"), most).await? else { continue };
            let opened = self.inner.keys.receipt.open(&aad(&self.inner, id), &sealed).map_err(|_| Damage::Receipt)?;
            receipts.push((id, opened));
        }
        Ok(receipts)
    }
}
