//! The file `witnessed`: what a witness has seen of other logs. For each, the key that it was first told of, and the
//! newest checkpoint, a signed note. Lines of text, in order of the keys, and a check of them all at the end:
//!
//! ```text
//! countersign/witnessed/v1
//! <verifier key> <the signed note in base64>
//! check <SHA-256 of everything before, the first 16 bytes in hexadecimal>
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_tlog::{Checkpoint, Note, VerifierKey};

use super::checked;

const FIRST_LINE: &str = "countersign/witnessed/v1";

/// What was seen of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessedLog {
    /// The log's key.
    pub key: VerifierKey,
    /// What its newest checkpoint says.
    pub checkpoint: Checkpoint,
    /// That checkpoint, a signed note with the log's signature alone.
    pub note: String,
}

/// What was seen, by the logs' origins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Witnessed(pub(super) BTreeMap<String, WitnessedLog>);

impl Witnessed {
    /// What the file has; `None` if a byte of it is not as it was written, or a log has not signed what it says.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = checked::opened(bytes)?.lines();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let log = |line: &str| {
            let (key, note) = line.split_once(' ')?;
            Some((key.parse().ok()?, String::from_utf8(STANDARD.decode(note).ok()?).ok()?))
        };
        let all = Self::from_notes(lines.map(log).collect::<Option<Vec<_>>>()?)?;
        (all.to_text().as_bytes() == bytes).then_some(all)
    }

    /// What a witness that keeps it elsewhere has seen: keys, and checkpoints that they have signed.
    #[must_use]
    pub fn from_seen<'a>(seen: impl IntoIterator<Item = (&'a VerifierKey, &'a Note)>) -> Self {
        let log = |(key, note): (&VerifierKey, &Note)| {
            let own: String = note.signatures().iter().filter(|line| key.made(line)).map(ToString::to_string).collect();
            let note = format!("{}\n{own}", note.text());
            let (checkpoint, _) = Checkpoint::open(&note, key).ok()?;
            Some((key.name().to_owned(), WitnessedLog { key: key.clone(), checkpoint, note }))
        };
        Self(seen.into_iter().filter_map(log).collect())
    }

    /// Of logs' keys and signed checkpoints; `None` if one is not signed with its key.
    #[must_use]
    pub fn from_notes(logs: impl IntoIterator<Item = (VerifierKey, String)>) -> Option<Self> {
        let log = |(key, note): (VerifierKey, String)| {
            let (checkpoint, _) = Checkpoint::open(&note, &key).ok()?;
            Some((key.name().to_owned(), WitnessedLog { key, checkpoint, note }))
        };
        logs.into_iter().map(log).collect::<Option<_>>().map(Self)
    }

    /// The file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        for WitnessedLog { key, checkpoint: _, note } in self.0.values() {
            let _ = writeln!(text, "{key} {}", STANDARD.encode(note));
        }
        checked::sealed(text)
    }

    /// What was seen of each log.
    pub fn logs(&self) -> impl Iterator<Item = &WitnessedLog> + Clone {
        self.0.values()
    }

    /// What was seen of one log.
    #[must_use]
    pub fn of(&self, origin: &str) -> Option<&WitnessedLog> {
        self.0.get(origin)
    }
}
