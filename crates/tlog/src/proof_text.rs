//! A proof that can be checked without the log: index, audit path and checkpoint in one text (C2SP tlog-proof).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::Hash;
use crate::key::VerifierKey;
use crate::note::{MAX_NOTE_BYTES, Note};
use crate::proof::{MAX_PROOF, ProofError, verify_inclusion};

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The longest proof that is read.
pub const MAX_PROOF_BYTES: usize = MAX_NOTE_BYTES + 16 * 1024;

/// Why a text is no proof, or one that proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofTextError {
    /// Not the lines of a proof, or longer than [`MAX_PROOF_BYTES`].
    #[error("not a proof of inclusion in a log")]
    Malformed,
    /// Its checkpoint is not signed with the log's key.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The leaf is not shown to be in the log.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// That a log has a leaf at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProof {
    /// What else goes with it. Nobody has signed that.
    pub extra: Option<Vec<u8>>,
    /// The leaf's place in the log.
    pub index: u64,
    /// From the leaf's sibling up to the child of the root.
    pub path: Vec<Hash>,
    /// The signed checkpoint, as the log gave it, with cosignatures.
    pub checkpoint: String,
}

impl LogProof {
    /// The text form.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        if let Some(extra) = &self.extra {
            text.push_str(&format!("extra {}\n", STANDARD.encode(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.path {
            text.push_str(&format!("{hash}\n"));
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// [`ProofTextError::Malformed`].
    pub fn from_text(text: &str) -> Result<Self, ProofTextError> {
        Self::read(text).ok_or(ProofTextError::Malformed)
    }

    fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_PROOF_BYTES {
            return None;
        }
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        if lines.next()? != HEADER {
            return None;
        }
        let mut line = lines.next()?;
        let mut extra = None;
        if let Some(said) = line.strip_prefix("extra ") {
            extra = Some(STANDARD.decode(said).ok()?);
            line = lines.next()?;
        }
        let index = crate::count(line.strip_prefix("index ")?)?;
        let path: Vec<Hash> = lines.take(MAX_PROOF.saturating_add(1)).map(Hash::parse).collect::<Option<_>>()?;
        checkpoint.parse::<Note>().ok()?;
        (path.len() <= MAX_PROOF).then(|| Self { extra, index, path, checkpoint: checkpoint.to_owned() })
    }

    /// Verifies that the log with this key has `entry` (the leaf itself, not its hash). Who else has signed the checkpoint
    /// is for the caller to ask, with [`Note::verify`] and the witnesses' keys.
    ///
    /// # Errors
    /// [`ProofTextError`].
    pub fn verify(&self, entry: &[u8], key: &VerifierKey) -> Result<(Checkpoint, Note), ProofTextError> {
        let (checkpoint, note) = Checkpoint::open(&self.checkpoint, key)?;
        verify_inclusion(self.index, &Hash::leaf(entry), checkpoint.size, &checkpoint.root, &self.path)?;
        Ok((checkpoint, note))
    }
}
