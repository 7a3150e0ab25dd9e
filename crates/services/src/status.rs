//! How a service is, for the monitor.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_model::{Service, UnixMs};
use serde::{Deserialize, Serialize};

use crate::log::LogFailure;

/// How a service is at one moment. No value, token, key or person is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// What it is.
    pub service: Service,
    /// By its own clock.
    pub now: UnixMs,
    /// When it began.
    pub started: UnixMs,
    /// The epoch of the facts that it decides by.
    pub epoch: u64,
    /// How old those facts are, in milliseconds; 0 where they are made.
    pub facts_age_ms: u64,
    /// Whether it decides anything at present.
    pub is_ready: bool,
    /// How many records its ledger has that are durable.
    pub ledger_records: u64,
    /// How many of them its newest checkpoint covers.
    pub ledger_integrated: u64,
    /// How many witnesses have cosigned that checkpoint.
    pub ledger_cosigned: u64,
    /// Whether the ledger takes records.
    pub ledger_is_writable: bool,
    /// When its certificate ends; `None` where it has none, in one process with the others.
    pub certificate_expires: Option<UnixMs>,
    /// By name, whether each key management service answers; empty where it has none.
    pub kms: Vec<(String, bool)>,
    /// What it counts and measures, in the form that the monitor's crate gives it.
    pub measures: Vec<u8>,
}

/// A service that says how it is.
#[async_trait]
pub trait Report: Send + Sync {
    /// How it is now.
    ///
    /// # Errors
    /// [`LogFailure::Unavailable`] if it can't be reached.
    async fn status(&self) -> Result<ServiceStatus, LogFailure>;
}

/// The services of a deployment as they are now, each by a name that stays.
pub trait Statuses: Send + Sync {
    /// All of them.
    fn all(&self) -> Vec<(String, Arc<dyn Report>)>;
}

impl Statuses for Vec<(String, Arc<dyn Report>)> {
    fn all(&self) -> Vec<(String, Arc<dyn Report>)> {
        self.clone()
    }
}
