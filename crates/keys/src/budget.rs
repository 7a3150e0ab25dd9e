//! How many cells were released in plain text, counted against limits: per token, per principal, per principal and
//! hour.
//!
//! A budget survives a restart and a crash, and errs towards less. It is kept in one of two places:
//!
//! - **In a journal**, by one process ([`Budgets::open`]). What is counted in memory is always covered by a *ceiling* in
//!   the journal: before a counter passes its ceiling, a higher one, by about a hundredth of the limit, is made durable.
//!   After a crash the counters stand at their ceilings, so a crash takes at most that hundredth from what is left and
//!   never adds to it. A release within the ceiling touches memory only.
//! - **In PostgreSQL**, by any number of processes together ([`Budgets::shared`]). Each sets aside a *portion* of what is
//!   left for all, of about a hundredth of the limit and of no more than is asked when little is left, and spends from it
//!   in memory. A portion is for one step of the window; what is left of it then is given back when more is needed, or
//!   when the process ends as it should. A crash loses portions, and nothing else.
//!
//! Windows slide in steps of five minutes and are never shorter than they say: *one hour* is the last 60 to 65 minutes,
//! *12 hours* the last 12 hours to 12 hours and 5 minutes. A clock that is set back charges the newest step.

mod counters;
mod journal;
mod own;
mod portions;
mod shared;
mod slot;
mod tables;

use std::path::Path;
use std::sync::Arc;

use countersign_model::{BudgetKind, BudgetLimits, TokenId, UnixMs, UserId};
use countersign_postgres::{Blocking, PgError};

pub use self::journal::JournalFault;
use self::own::Own;
use self::shared::Shared;
pub use self::tables::BUDGET;

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
    /// The operator's: the database could not be asked for more. It may have counted the charge all the same.
    #[error("the plaintext budgets in the database can't be used: {0}")]
    Database(#[from] PgError),
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
    backing: Backing,
}

enum Backing {
    Own(Own),
    Shared(Shared),
}

impl Budgets {
    /// The budgets in the journal at `path` (mode 0600), which is made if there is none. Entries older than their
    /// window by `now` are dropped.
    ///
    /// # Errors
    /// [`JournalFault`]; a last write that a crash cut off is none, damage before it is one that names the place.
    pub fn open(path: &Path, now: UnixMs) -> Result<Self, JournalFault> {
        Ok(Self { backing: Backing::Own(Own::open(path, now)?) })
    }

    /// The budgets in a database, which any number of processes share. `database` signs in as the key service's role.
    /// Entries older than their window by `now` are dropped, here and later.
    ///
    /// # Errors
    /// [`PgError`]: [`BUDGET`] must have been run.
    pub fn shared(database: Arc<Blocking>, now: UnixMs) -> Result<Self, PgError> {
        Ok(Self { backing: Backing::Shared(Shared::open(database, now)?) })
    }

    /// Charges `cells` to the token and to every principal in `charges` (with an actor: the actor and the subject), if
    /// no limit is passed; otherwise to none of them. The smallest of the token limits holds for the token.
    ///
    /// Blocks for a durable write when more is needed than is covered; see [`Self::spend_now`]. While a database can't
    /// be reached, that is for at most 25 s.
    ///
    /// # Errors
    /// [`BudgetError`].
    pub fn spend(&self, token: TokenId, charges: &[Charge], cells: u64, now: UnixMs) -> Result<(), BudgetError> {
        let Some(ask) = Ask::new(token, charges, cells, now) else { return Ok(()) };
        match &self.backing {
            Backing::Own(own) => own.spend(&ask),
            Backing::Shared(shared) => shared.spend(ask),
        }
    }

    /// As [`Self::spend`] where that needs no write, which it rarely does; `None` where it does, and then nothing was
    /// charged. For callers that must not block: they call [`Self::spend`] from where they may.
    #[must_use]
    pub fn spend_now(&self, token: TokenId, charges: &[Charge], cells: u64, now: UnixMs) -> Option<Result<(), Spent>> {
        let Some(ask) = Ask::new(token, charges, cells, now) else { return Some(Ok(())) };
        match &self.backing {
            Backing::Own(own) => own.spend_now(&ask),
            Backing::Shared(shared) => shared.spend_now(&ask),
        }
    }

    /// What was released so far: by this process, or by all that share them; what others have set aside counts as
    /// released. Blocks for the database, if they are there.
    ///
    /// # Errors
    /// [`BudgetError::Database`].
    pub fn used(&self, token: TokenId, principal: UserId, now: UnixMs) -> Result<Used, BudgetError> {
        match &self.backing {
            Backing::Own(own) => Ok(own.used(token, principal, now)),
            Backing::Shared(shared) => Ok(shared.used(token, principal, now)?),
        }
    }

    /// How many tokens and principals are counted in memory.
    #[must_use]
    pub fn entries(&self) -> usize {
        match &self.backing {
            Backing::Own(own) => own.entries(),
            Backing::Shared(shared) => shared.entries(),
        }
    }

    /// Gives back what was set aside and not used, before the process ends. They can be used afterwards. Blocks.
    ///
    /// # Errors
    /// [`BudgetError::Database`]; then some of it is lost until its window has passed.
    pub fn close(&self) -> Result<(), BudgetError> {
        match &self.backing {
            Backing::Own(_) => Ok(()),
            Backing::Shared(shared) => Ok(shared.close()?),
        }
    }

    /// Has `other` count no less than these do, for every token and principal. Doing it again changes nothing more, so
    /// that it can be repeated until nobody uses these any longer. Says for how many. Blocks.
    ///
    /// # Errors
    /// [`BudgetError`]; `other` may count some of them already.
    pub fn carry_to(&self, other: &Self, now: UnixMs) -> Result<u64, BudgetError> {
        let counts = match &self.backing {
            Backing::Own(own) => own.counts(),
            Backing::Shared(shared) => shared.counts(now)?,
        };
        let number = counts.len() as u64;
        match &other.backing {
            Backing::Own(own) => own.raise(&counts, now)?,
            Backing::Shared(shared) => shared.raise(counts)?,
        }
        Ok(number)
    }
}

impl std::fmt::Debug for Budgets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budgets").finish_non_exhaustive()
    }
}

/// What is asked to be charged.
#[derive(Debug, Clone)]
struct Ask {
    token: TokenId,
    /// The smallest of the charges' token limits.
    per_token: u64,
    /// Each principal once.
    charges: Vec<Charge>,
    cells: u64,
    now: UnixMs,
}

impl Ask {
    /// `None` if it comes to nothing.
    fn new(token: TokenId, charges: &[Charge], cells: u64, now: UnixMs) -> Option<Self> {
        let per_token = charges.iter().map(|charge| charge.limits.per_token).min().unwrap_or(0);
        (cells > 0).then(|| Self { token, per_token, charges: without_repeats(charges), cells, now })
    }
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
