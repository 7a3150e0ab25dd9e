//! Checkpoints: what a log says of itself (C2SP tlog-checkpoint).

use crate::hash::Hash;
use crate::key::{Signer, VerifierKey, is_name};
use crate::note::{Note, NoteError};

/// The most extension lines that are read. We write none.
pub const MAX_EXTENSIONS: usize = 16;

/// Why a note is not the checkpoint that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// No note, or not signed with the key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Not an origin, a size, a root and extension lines.
    #[error("not a checkpoint")]
    Malformed,
    /// It names another log than the key does.
    #[error("the checkpoint is another log's than its key")]
    OtherLog,
}

/// A log's size and root at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log, by the name of its key.
    pub origin: String,
    /// How many leaves, at most [`crate::MAX_SIZE`].
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
    /// What else the log says; never empty lines.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// Without extensions.
    #[must_use]
    pub fn new(origin: &str, size: u64, root: Hash) -> Self {
        Self { origin: origin.to_owned(), size, root, extensions: Vec::new() }
    }

    /// The text that is signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, self.root);
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Reads what [`Self::to_text`] wrote.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn from_text(text: &str) -> Result<Self, CheckpointError> {
        Self::read(text).ok_or(CheckpointError::Malformed)
    }

    fn read(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next().filter(|origin| is_name(origin))?.to_owned();
        let size = crate::count(lines.next()?)?;
        let root = Hash::parse(lines.next()?)?;
        let extensions: Vec<String> = lines.map(str::to_owned).take(MAX_EXTENSIONS.saturating_add(1)).collect();
        let fits = extensions.len() <= MAX_EXTENSIONS && extensions.iter().all(|line| !line.is_empty());
        fits.then_some(Self { origin, size, root, extensions })
    }

    /// The signed note. The signer's name is to be [`Self::origin`]: nobody opens it otherwise.
    #[must_use]
    pub fn sign(&self, signer: &Signer) -> String {
        let text = self.to_text();
        format!("{text}\n{}", signer.sign(&text, 0))
    }

    /// Reads a signed checkpoint and verifies that `key` has signed it and bears its name.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &str, key: &VerifierKey) -> Result<(Self, Note), CheckpointError> {
        let note: Note = note.parse()?;
        note.verify(key)?;
        let checkpoint = Self::from_text(note.text())?;
        if checkpoint.origin == key.name() { Ok((checkpoint, note)) } else { Err(CheckpointError::OtherLog) }
    }

    /// What a note says without anybody having verified it: to find out whose key it takes.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn unverified(note: &str) -> Result<Self, CheckpointError> {
        Self::from_text(note.parse::<Note>()?.text())
    }
}
