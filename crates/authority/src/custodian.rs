//! Who looks after data at rest as a whole, as the authority calls it: long work in the background, a job each.

use async_trait::async_trait;
use countersign_model::erasure::Receipt;
use countersign_model::{Name, RequestId, TenantId, UnixMs, UserId};
use serde_json::Value;

use crate::control::erase::Finding;
use crate::error::ControlFailure;

/// Work that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The request that asked; the job's name from then on.
    pub job: RequestId,
    /// Who asked; `None` is nobody, but the clock.
    pub by: Option<UserId>,
    /// For what.
    pub task: Task,
}

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// A backup into a repository.
    Backup {
        /// Its name in the configuration.
        repository: Name,
        /// Of one tenant; `None` is the whole deployment.
        tenant: Option<(TenantId, Name)>,
    },
    /// A backup restored into a scratch deployment and compared.
    Verify {
        /// The repository.
        repository: Name,
        /// The backup's id; `None` is the newest.
        backup: Option<String>,
    },
    /// A backup removed.
    Remove {
        /// The repository.
        repository: Name,
        /// The backup's id; `None` is every one, which can only be forgotten.
        backup: Option<String>,
        /// Only what is known of it goes.
        forget: bool,
    },
    /// One tenant's records put back to what they were.
    Restore {
        /// The tenant.
        tenant: (TenantId, Name),
        /// From a backup, as (repository, the backup's id); `None` is from the change history.
        from: Option<(Name, String)>,
        /// To this moment; `None` is the moment of the backup.
        to: Option<UnixMs>,
    },
}

/// Why a custodian did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustodyFailure {
    /// The caller's: there is no such thing.
    #[error("there is no {what} called '{name}'")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// The name asked for.
        name: String,
    },
    /// The caller's: other work has to end first.
    #[error("job {job} is under way")]
    Busy {
        /// Which.
        job: String,
    },
    /// The caller's, or the operator's: it can't be done as it was asked for. The words are shown.
    #[error("{field}: expected {expected}")]
    Invalid {
        /// Where.
        field: &'static str,
        /// What would be right.
        expected: String,
    },
    /// The operator's: something does not answer.
    #[error("the deployment's {0} is not available")]
    Unavailable(&'static str),
}

impl From<CustodyFailure> for ControlFailure {
    fn from(failure: CustodyFailure) -> Self {
        match failure {
            CustodyFailure::NotFound { what, name } => Self::NotFound { what, name },
            CustodyFailure::Busy { job } => Self::Exists { what: "job under way", name: job },
            CustodyFailure::Invalid { field, expected } => Self::Invalid { field: field.to_owned(), expected },
            CustodyFailure::Unavailable(what) => Self::Unavailable(what),
        }
    }
}

/// Backs up, verifies and restores. One job of a kind at a time; each is on record when it begins, by the request that asked
/// for it, and when it ends.
#[async_trait]
pub trait Custodian: Send + Sync {
    /// Begins work, and answers with the job. The same work that was cut off before goes on where it was.
    ///
    /// # Errors
    /// [`CustodyFailure`]; nothing was begun then.
    async fn begin(&self, work: Work) -> Result<Value, CustodyFailure>;

    /// Every job that is known of, newest first.
    fn jobs(&self) -> Value;

    /// One of them.
    fn job(&self, job: RequestId) -> Option<Value>;

    /// Ends a job where it is, and answers with it.
    ///
    /// # Errors
    /// [`CustodyFailure::NotFound`].
    async fn cancel(&self, job: RequestId) -> Result<Value, CustodyFailure>;

    /// Puts a copy of a receipt into every repository, so that whoever restores from there heeds it without this deployment.
    /// Each with what kept it from that, if anything did.
    async fn keep_receipt(&self, receipt: &Receipt) -> Vec<(Name, Option<String>)> {
        let _ = receipt;
        Vec::new()
    }

    /// What the backups in each repository still have of something that was erased.
    async fn look_for(&self, receipt: &Receipt) -> Vec<Finding> {
        let _ = receipt;
        Vec::new()
    }

    /// The backups in a repository, each held against what the deployment knows of it.
    ///
    /// # Errors
    /// [`CustodyFailure`]
    async fn backups(&self, repository: &Name) -> Result<Value, CustodyFailure>;
}
