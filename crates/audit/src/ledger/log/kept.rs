//! The file `log/kept`: from which record on a ledger's records are kept. A signed note, so that records that somebody
//! removed don't look like records whose time was over:
//!
//! ```text
//! countersign/kept/v1
//! <origin>
//! <position of the first record that is kept>
//! ```

use countersign_tlog::{Note, Signer, VerifierKey};

pub(crate) const KEPT: &str = "log/kept";
/// No origin is named so, so that this note is never taken for a checkpoint.
const FIRST_LINE: &str = "countersign/kept/v1";

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) origin: String,
    pub(crate) first: u64,
}

impl Kept {
    fn to_text(&self) -> String {
        format!("{FIRST_LINE}\n{}\n{}\n", self.origin, self.first)
    }

    pub(super) fn sign(&self, signer: &Signer) -> String {
        let text = self.to_text();
        format!("{text}\n{}", signer.sign(&text, 0))
    }

    /// `None` if it is not what the log with this key signed, and nothing else.
    pub(crate) fn open(bytes: &[u8], key: &VerifierKey) -> Option<Self> {
        let note: Note = std::str::from_utf8(bytes).ok()?.parse().ok()?;
        note.verify(key).ok()?;
        let first = note.text().strip_suffix('\n')?.rsplit('\n').next()?.parse().ok()?;
        let kept = Self { origin: key.name().to_owned(), first };
        (kept.to_text() == note.text() && note.signatures().len() == 1).then_some(kept)
    }
}
