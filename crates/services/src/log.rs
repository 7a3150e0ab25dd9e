//! A service's ledger as a transparency log: what anybody may see of it, and what witnesses say of it.
//!
//! Checkpoints and hash tiles hold no content and name nobody, so no token is asked for. The stored records themselves
//! are not given out here.

mod ledger;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use self::ledger::LedgerLog;

/// Which service's log: `gateway`, or `gateway/a` where there are several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogName(pub String);

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tile of hashes (C2SP tlog-tiles).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TileName {
    /// 0 is the level of the records' own hashes; each level above has one hash for 256 of the one below.
    pub level: u8,
    /// Its place in the level.
    pub index: u64,
    /// How many hashes: 256, or fewer for the last one.
    pub width: u16,
}

/// What a log asks of a witness: the body of C2SP tlog-witness's `add-checkpoint`, in parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddCheckpoint {
    /// The size that the witness is known to have seen.
    pub old_size: u64,
    /// The consistency proof from that size to the checkpoint's, 32 bytes each.
    pub proof: Vec<[u8; 32]>,
    /// The checkpoint, a signed note.
    pub checkpoint: String,
}

/// Why a log or a witness did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum LogFailure {
    /// There is no such log, tile or checkpoint yet.
    #[error("there is nothing by that name")]
    NotFound,
    /// The log can't be read or written at present.
    #[error("the log is not available")]
    Unavailable,
    /// The witness has seen another size than the one named.
    #[error("the witness has seen the log at size {size}")]
    Seen {
        /// What it has seen.
        size: u64,
    },
    /// The checkpoint is older than one that the witness has seen, or contradicts it: a rollback or a fork.
    #[error("the checkpoint contradicts one of size {size} that the witness has seen")]
    Contradicts {
        /// What it has seen.
        size: u64,
    },
    /// The checkpoint or its signature is not one of a log that the witness knows.
    #[error("the checkpoint is not one of a known log")]
    NotTaken,
}

/// One service's log, and the witness that the same service is to others' logs.
#[async_trait]
pub trait Log: Send + Sync {
    /// The public key that its checkpoints are signed with, as a verifier key in text form (C2SP signed-note), and the
    /// one of the same service as a witness.
    ///
    /// # Errors
    /// [`LogFailure`].
    async fn keys(&self) -> Result<[String; 2], LogFailure>;

    /// The newest checkpoint, a signed note with the cosignatures that the log has collected for it.
    ///
    /// # Errors
    /// [`LogFailure::NotFound`] while there is none.
    async fn checkpoint(&self) -> Result<String, LogFailure>;

    /// A tile of hashes.
    ///
    /// # Errors
    /// [`LogFailure`].
    async fn tile(&self, name: TileName) -> Result<Vec<u8>, LogFailure>;

    /// As a witness: cosigns another log's checkpoint if it is consistent with all that was seen of that log before.
    /// What it answers is signature lines. `key` is the other log's verifier key; the first one seen for a log's origin is
    /// kept, and no other is taken.
    ///
    /// # Errors
    /// [`LogFailure`].
    async fn cosign(&self, key: &str, asked: &AddCheckpoint) -> Result<String, LogFailure>;

    /// Gives the log a witness's signature lines for its checkpoint of that size. `key` is the witness's verifier key.
    ///
    /// # Errors
    /// [`LogFailure`].
    async fn cosigned(&self, size: u64, key: &str, lines: &str) -> Result<(), LogFailure>;
}

/// The logs of a deployment's services as they are now.
pub trait Logs: Send + Sync {
    /// All of them.
    fn all(&self) -> Vec<(LogName, Arc<dyn Log>)>;
}

impl Logs for Vec<(LogName, Arc<dyn Log>)> {
    fn all(&self) -> Vec<(LogName, Arc<dyn Log>)> {
        self.clone()
    }
}
