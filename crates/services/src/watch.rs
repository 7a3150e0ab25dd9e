//! The monitor, as the authority calls it.

use async_trait::async_trait;

use crate::call::{Call, ServiceFailure};

/// Answers requests about alerts and measures.
#[async_trait]
pub trait Watch: Send + Sync {
    /// Does what the call's request, a [`WatchControl`](countersign_model::watch::WatchControl), asks for. The monitor's
    /// own guard judges the call again. The answer is a JSON document.
    ///
    /// # Errors
    /// [`ServiceFailure`].
    async fn watch(&self, call: &Call<'_>) -> Result<Vec<u8>, ServiceFailure>;
}
