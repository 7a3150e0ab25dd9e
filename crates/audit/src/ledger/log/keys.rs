//! The file `log/keys`: the verifier keys (C2SP signed-note) that the signatures of `log/checkpoint` are verified with,
//! one a line. The log's own is the first; the others are witnesses' that have cosigned. The last line is a check.
//!
//! It makes every byte of the checkpoint checkable from files alone. Whom to believe is another question, which other
//! services' `witnessed` files answer, and whoever brings a key of his own.

use std::io;

use countersign_tlog::VerifierKey;

use super::checked;
use crate::ledger::storage::Storage;

pub(crate) const KEYS: &str = "log/keys";
/// How many witnesses are remembered at most.
const WITNESSES_MAX: usize = 32;

/// The keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) own: VerifierKey,
    pub(crate) witnesses: Vec<VerifierKey>,
}

impl Keys {
    pub(super) const fn new(own: VerifierKey) -> Self {
        Self { own, witnesses: Vec::new() }
    }

    /// `None` if it is not what this program writes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut all = checked::opened(bytes)?.lines().map(|line| line.parse::<VerifierKey>().ok());
        let (own, witnesses) = (all.next()??, all.collect::<Option<Vec<_>>>()?);
        let keys = Self { own, witnesses };
        let good = !keys.own.is_witness() && keys.witnesses.iter().all(VerifierKey::is_witness);
        (good && keys.to_text().as_bytes() == bytes).then_some(keys)
    }

    fn to_text(&self) -> String {
        checked::sealed(std::iter::once(&self.own).chain(&self.witnesses).map(|key| format!("{key}\n")).collect())
    }

    pub(super) fn write(&self, storage: &dyn Storage) -> io::Result<()> {
        storage.replace(KEYS, self.to_text().as_bytes())
    }

    /// Whether there is another key whose lines look like this one's.
    pub(super) fn has_like(&self, key: &VerifierKey) -> bool {
        let is_like = |known: &VerifierKey| known != key && known.name() == key.name() && known.id() == key.id();
        std::iter::once(&self.own).chain(&self.witnesses).any(is_like)
    }

    /// Remembers a witness's. Where there are too many, the oldest is forgotten that is not in use, so that whoever brings
    /// ever new ones keeps nobody out.
    pub(super) fn add(
        &mut self,
        storage: &dyn Storage,
        key: &VerifierKey,
        in_use: impl Fn(&VerifierKey) -> bool,
    ) -> io::Result<()> {
        if self.witnesses.contains(key) {
            return Ok(());
        }
        let mut more = self.clone();
        if more.witnesses.len() >= WITNESSES_MAX {
            let idle = more.witnesses.iter().position(|known| !in_use(known));
            more.witnesses.remove(idle.ok_or(io::ErrorKind::QuotaExceeded)?);
        }
        more.witnesses.push(key.clone());
        more.write(storage)?;
        *self = more;
        Ok(())
    }
}
