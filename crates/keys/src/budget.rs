//! How many cells were released in plain text, counted against limits: per token, per principal, per principal and
//! hour.
//!
//! A budget survives a restart and a crash, and errs towards less. What is counted in memory is always covered by a
//! *ceiling* in the journal: before a counter passes its ceiling, a higher one, by about a hundredth of the limit, is
//! made durable. After a crash the counters stand at their ceilings, so a crash takes at most that hundredth from what
//! is left and never adds to it. A release within the ceiling touches memory only.
//!
//! Windows slide in steps of five minutes and are never shorter than they say: *one hour* is the last 60 to 65 minutes,
//! *12 hours* the last 12 hours to 12 hours and 5 minutes. A clock that is set back charges the newest step.

mod counters;
mod journal;
mod slot;

use std::path::Path;

use countersign_model::{BudgetKind, BudgetLimits, TokenId, UnixMs, UserId};
use parking_lot::{Mutex, MutexGuard};

use self::counters::{PrincipalCounter, Shard, TokenCounter, bucket};
pub use self::journal::JournalFault;
use self::journal::{Journal, Replayed};
use self::slot::{Owner, Slot};

const SHARDS: usize = 64;

/// A principal whose budget a release is charged to, and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// Who.
    pub principal: UserId,
    /// How much it may have.
    pub limits: BudgetLimits,
}

/// A limit that a release would go past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the plaintext budget {} is spent", which.as_str())]
pub struct Spent {
    /// Which limit.
    pub which: BudgetKind,
    /// Whose, except for [`BudgetKind::PerToken`].
    pub principal: Option<UserId>,
}

/// Why cells may not be released.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// A limit would be passed. Nothing was charged.
    #[error(transparent)]
    Spent(#[from] Spent),
    /// The charge could not be made durable. It counts in memory all the same.
    #[error("the budget journal can't be written: {0}")]
    Journal(#[from] JournalFault),
}

/// What was released so far, as the limits count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// By the token.
    pub token: u64,
    /// By the principal in 12 hours.
    pub principal: u64,
    /// By the principal in one hour.
    pub hour: u64,
}

/// The counters of every token and principal that was active in the last 12 hours.
pub struct Budgets {
    shards: Vec<Mutex<Shard>>,
    journal: Journal,
}

/// What one attempt came to.
enum Attempt {
    Done,
    /// In memory; these ceilings have to be durable before the cells may leave.
    Cover(Vec<Slot>),
    /// Nothing was charged, because it would need the journal.
    NeedsJournal,
}

impl Budgets {
    /// The budgets in the journal at `path` (mode 0600), which is made if there is none. Entries older than their
    /// window by `now` are dropped.
    ///
    /// # Errors
    /// [`JournalFault`]; a last write that a crash cut off is none, damage before it is one that names the place.
    pub fn open(path: &Path, now: UnixMs) -> Result<Self, JournalFault> {
        let before = journal::open(path)?;
        let Replayed { tokens, principals } = before.as_ref().map(journal::replay).transpose()?.unwrap_or_default();
        let current = bucket(now);
        let mut shards: Vec<Shard> = std::iter::repeat_with(Shard::default).take(SHARDS).collect();
        for (token, counter) in tokens {
            if let Some(shard) = shards.get_mut(shard_of(token.as_u128())).filter(|_| counter.is_live(current)) {
                shard.tokens.insert(token, counter);
            }
        }
        for (principal, buckets) in principals {
            let counter = PrincipalCounter::replayed(buckets, current);
            if let Some(shard) = shards.get_mut(shard_of(principal.as_u128())).filter(|_| counter.is_live(current)) {
                shard.principals.insert(principal, counter);
            }
        }
        let live: Vec<Slot> = shards.iter().flat_map(Shard::slots).collect();
        let journal = Journal::create(path, &live)?;
        Ok(Self { shards: shards.into_iter().map(Mutex::new).collect(), journal })
    }

    /// Charges `cells` to the token and to every principal in `charges` (with an actor: the actor and the subject), if
    /// no limit is passed; otherwise to none of them. The smallest of the token limits holds for the token.
    ///
    /// Blocks for a durable write when a counter passes its ceiling; see [`Self::spend_now`].
    ///
    /// # Errors
    /// [`BudgetError`].
    pub fn spend(&self, token: TokenId, charges: &[Charge], cells: u64, now: UnixMs) -> Result<(), BudgetError> {
        let slots = match self.attempt(token, charges, cells, now, true)? {
            Attempt::Done | Attempt::NeedsJournal => return Ok(()),
            Attempt::Cover(slots) => slots,
        };
        self.journal.commit(&slots, &|| self.live_slots())?;
        for slot in slots {
            self.note_durable(slot);
        }
        Ok(())
    }

    /// As [`Self::spend`] where that needs no write, which it rarely does; `None` where it does, and then nothing was
    /// charged. For callers that must not block: they call [`Self::spend`] from where they may.
    #[must_use]
    pub fn spend_now(&self, token: TokenId, charges: &[Charge], cells: u64, now: UnixMs) -> Option<Result<(), Spent>> {
        match self.attempt(token, charges, cells, now, false) {
            Ok(Attempt::Done) => Some(Ok(())),
            Ok(Attempt::Cover(_) | Attempt::NeedsJournal) => None,
            Err(spent) => Some(Err(spent)),
        }
    }

    /// What was released so far.
    #[must_use]
    pub fn used(&self, token: TokenId, principal: UserId, now: UnixMs) -> Used {
        let current = bucket(now);
        let by_token = self.shard(token.as_u128()).and_then(|shard| shard.tokens.get(&token).map(|token| token.used));
        let (in_window, hour) = self
            .shard(principal.as_u128())
            .and_then(|shard| shard.principals.get(&principal).map(|principal| principal.used(current)))
            .unwrap_or_default();
        Used { token: by_token.unwrap_or_default(), principal: in_window, hour }
    }

    /// How many tokens and principals are counted.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries()).sum()
    }

    fn attempt(
        &self,
        token: TokenId,
        charges: &[Charge],
        cells: u64,
        now: UnixMs,
        may_write: bool,
    ) -> Result<Attempt, Spent> {
        if cells == 0 {
            return Ok(Attempt::Done);
        }
        let current = bucket(now);
        let charges = without_repeats(charges);
        let per_token = charges.iter().map(|charge| charge.limits.per_token).min().unwrap_or(0);
        let mut shards = self.lock(token, &charges);
        // First look, change nothing: all or nothing.
        let mut covered = shards.token(token, current).fits(cells, per_token)?;
        for charge in &charges {
            covered &= shards.principal(charge.principal, current).fits(cells, charge, current)?;
        }
        if !(covered || may_write) {
            return Ok(Attempt::NeedsJournal);
        }
        let mut slots = Vec::new();
        slots.extend(shards.token(token, current).charge(token, cells, per_token));
        for charge in &charges {
            slots.extend(shards.principal(charge.principal, current).charge(charge, cells, current));
        }
        Ok(if slots.is_empty() { Attempt::Done } else { Attempt::Cover(slots) })
    }

    fn lock(&self, token: TokenId, charges: &[Charge]) -> Locked<'_> {
        let principals = charges.iter().map(|charge| shard_of(charge.principal.as_u128()));
        let mut wanted: Vec<usize> = std::iter::once(shard_of(token.as_u128())).chain(principals).collect();
        // In one order everywhere, so that two never wait for each other.
        wanted.sort_unstable();
        wanted.dedup();
        let lock = |index: usize| self.shards.get(index).map(|shard| (index, shard.lock()));
        Locked { shards: wanted.into_iter().filter_map(lock).collect() }
    }

    fn shard(&self, id: u128) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(shard_of(id)).map(Mutex::lock)
    }

    fn note_durable(&self, slot: Slot) {
        match slot.owner {
            Owner::Token(id) => {
                if let Some(counter) = self.shard(id.as_u128()).as_mut().and_then(|shard| shard.tokens.get_mut(&id)) {
                    counter.note_durable(slot.ceiling);
                }
            }
            Owner::Principal(id) => {
                let mut shard = self.shard(id.as_u128());
                if let Some(counter) = shard.as_mut().and_then(|shard| shard.principals.get_mut(&id)) {
                    counter.note_durable(slot.bucket, slot.ceiling);
                }
            }
        }
    }

    /// Everything that has to be in the journal, for writing it anew.
    fn live_slots(&self) -> Vec<Slot> {
        self.shards.iter().flat_map(|shard| shard.lock().slots().collect::<Vec<_>>()).collect()
    }
}

/// The shards that one release concerns.
struct Locked<'a> {
    shards: Vec<(usize, MutexGuard<'a, Shard>)>,
}

impl Locked<'_> {
    fn token(&mut self, id: TokenId, current: u32) -> &mut TokenCounter {
        self.of(id.as_u128()).token(id, current)
    }

    fn principal(&mut self, id: UserId, current: u32) -> &mut PrincipalCounter {
        self.of(id.as_u128()).principal(id, current)
    }

    #[expect(clippy::expect_used, reason = "`lock` takes the shard of every id that is asked for here")]
    fn of(&mut self, id: u128) -> &mut Shard {
        let wanted = shard_of(id);
        let found = self.shards.iter_mut().find(|(index, _)| *index == wanted);
        &mut found.expect("locked").1
    }
}

/// By the end of the id, which is random.
fn shard_of(id: u128) -> usize {
    id.checked_rem(SHARDS as u128).and_then(|shard| usize::try_from(shard).ok()).unwrap_or_default()
}

/// A principal named twice is charged once, within the smaller limits.
fn without_repeats(charges: &[Charge]) -> Vec<Charge> {
    let mut once: Vec<Charge> = Vec::with_capacity(charges.len());
    for charge in charges {
        match once.iter_mut().find(|earlier| earlier.principal == charge.principal) {
            Some(earlier) => earlier.limits = earlier.limits.min(charge.limits),
            None => once.push(*charge),
        }
    }
    once
}

#[cfg(test)]
mod tests;
