//! For callers that are threads of their own: a ledger's writer, the control database.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::PgError;
use crate::pool::Pool;
use crate::settings::{Identity, Settings};

/// A pool with a thread of its own to run on.
pub struct Blocking {
    pool: Arc<Pool>,
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Blocking {
    /// Starts the thread. No connection is made yet.
    ///
    /// # Errors
    /// [`PgError::Settings`] if the system gives no thread.
    pub fn start(settings: Settings, identity: Identity) -> Result<Arc<Self>, PgError> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("postgres").enable_all().build();
        let runtime = runtime.map_err(|_| PgError::Settings)?;
        let handle = runtime.handle().clone();
        Ok(Arc::new(Self { pool: Pool::new(settings, identity), handle, runtime: Some(runtime) }))
    }

    /// The pool, whose connections live on this object's thread. Use it within [`Self::run`] alone.
    #[must_use]
    pub const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Runs `work` there and waits for it. Blocks the calling thread, whatever that is.
    ///
    /// # Errors
    /// What `work` gives; [`PgError::Lost`] if it panicked.
    pub fn run<T, F>(&self, work: impl FnOnce(Arc<Pool>) -> F) -> Result<T, PgError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, PgError>> + Send + 'static,
    {
        let (done, result) = mpsc::sync_channel(1);
        let work = work(Arc::clone(&self.pool));
        self.handle.spawn(async move {
            // Whoever asked waits below.
            let _ = done.send(work.await);
        });
        result.recv().unwrap_or(Err(PgError::Lost))
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped where blocking is not allowed.
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Blocking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocking").field("pool", &self.pool).finish_non_exhaustive()
    }
}
