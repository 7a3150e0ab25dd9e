//! Remembering which proofs were used, for as long as each could be used again.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use countersign_model::UnixMs;

/// A proof that can't be used, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Replay {
    /// It was used before, or is so old that nobody can say whether it was.
    #[error("the proof was used before")]
    Used,
    /// More proofs were used within a minute than are remembered. Nothing is forgotten to make room: a client that
    /// sends many could make the window forget the one it wants to use again.
    #[error("too many proofs are in use")]
    Full,
}

/// The proofs of the last moments, each by a digest that stands for its key and its identifier.
///
/// Each is remembered until it would be refused for its age anyway, so memory is bounded twice: by that time and by
/// `capacity`. A window belongs to one process: a proof for an address behind which two gateways answer can be used
/// once at each.
#[derive(Debug)]
pub struct ReplayWindow {
    capacity: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    /// By the second in which they expire.
    by_expiry: BTreeMap<u64, HashSet<[u8; 32]>>,
    count: usize,
    /// What expired up to here is forgotten. Kept, so that a clock that is set back brings none of it to life.
    forgotten_up_to: u64,
}

impl ReplayWindow {
    /// A window for `capacity` proofs: for each request with one within about a minute, some 50 bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, used: Mutex::default() }
    }

    /// Uses a proof, once. `expires` is the first moment at which it would be refused for its age.
    ///
    /// # Errors
    /// [`Replay::Used`] the second time, [`Replay::Full`] if there is no room.
    pub fn spend(&self, digest: [u8; 32], expires: UnixMs, now: UnixMs) -> Result<(), Replay> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.forget_up_to(now.seconds());
        // Rounded up: a proof is remembered for the whole second in which it expires.
        let second = expires.plus_ms(999).seconds();
        if second <= used.forgotten_up_to {
            return Err(Replay::Used);
        }
        if used.by_expiry.get(&second).is_some_and(|proofs| proofs.contains(&digest)) {
            return Err(Replay::Used);
        }
        if used.count >= self.capacity {
            return Err(Replay::Full);
        }
        used.by_expiry.entry(second).or_default().insert(digest);
        used.count = used.count.saturating_add(1);
        Ok(())
    }

    /// How many proofs are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}

impl Used {
    fn forget_up_to(&mut self, second: u64) {
        if second <= self.forgotten_up_to {
            return;
        }
        self.forgotten_up_to = second;
        let kept = self.by_expiry.split_off(&second.saturating_add(1));
        self.by_expiry = kept;
        self.count = self.by_expiry.values().map(HashSet::len).sum();
    }
}
