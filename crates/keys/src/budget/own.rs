//! Counters of this process alone, in a journal.

use std::path::Path;

use countersign_model::{TokenId, UnixMs, UserId};
use parking_lot::{Mutex, MutexGuard};

use super::counters::{PrincipalCounter, Shard, TokenCounter, bucket};
use super::journal::{self, Journal, JournalFault, Replayed};
use super::slot::{Counted, Owner, Slot};
use super::{Ask, BudgetError, Charge, Spent, Used};

pub(super) const SHARDS: usize = 64;

/// The counters of every token and principal that was active in the last 12 hours.
pub(super) struct Own {
    shards: Vec<Mutex<Shard>>,
    pub(super) journal: Journal,
}

/// What one attempt came to.
enum Attempt {
    Done,
    /// In memory; these ceilings have to be durable before the cells may leave.
    Cover(Vec<Slot>),
    /// Nothing was charged, because it would need the journal.
    NeedsJournal,
}

impl Own {
    pub(super) fn open(path: &Path, now: UnixMs) -> Result<Self, JournalFault> {
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

    pub(super) fn spend(&self, ask: &Ask) -> Result<(), BudgetError> {
        let slots = match self.attempt(ask, true)? {
            Attempt::Done | Attempt::NeedsJournal => return Ok(()),
            Attempt::Cover(slots) => slots,
        };
        self.journal.commit(&slots, &|| self.live_slots())?;
        for slot in slots {
            self.note_durable(slot);
        }
        Ok(())
    }

    /// `None` if it needs a write.
    pub(super) fn spend_now(&self, ask: &Ask) -> Option<Result<(), Spent>> {
        match self.attempt(ask, false) {
            Ok(Attempt::Done) => Some(Ok(())),
            Ok(Attempt::Cover(_) | Attempt::NeedsJournal) => None,
            Err(spent) => Some(Err(spent)),
        }
    }

    pub(super) fn used(&self, token: TokenId, principal: UserId, now: UnixMs) -> Used {
        let current = bucket(now);
        let by_token = self.shard(token.as_u128()).and_then(|shard| shard.tokens.get(&token).map(|token| token.used));
        let (in_window, hour) = self
            .shard(principal.as_u128())
            .and_then(|shard| shard.principals.get(&principal).map(|principal| principal.used(current)))
            .unwrap_or_default();
        Used { token: by_token.unwrap_or_default(), principal: in_window, hour }
    }

    pub(super) fn entries(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries()).sum()
    }

    fn attempt(&self, ask: &Ask, may_write: bool) -> Result<Attempt, Spent> {
        let Ask { token, per_token, charges, cells, now } = ask;
        let (token, cells, per_token, current) = (*token, *cells, *per_token, bucket(*now));
        let mut shards = self.lock(token, charges);
        // First look, change nothing: all or nothing.
        let mut covered = shards.token(token, current).fits(cells, per_token)?;
        for charge in charges {
            covered &= shards.principal(charge.principal, current).fits(cells, charge, current)?;
        }
        if !(covered || may_write) {
            return Ok(Attempt::NeedsJournal);
        }
        let mut slots = Vec::new();
        slots.extend(shards.token(token, current).charge(token, cells, per_token));
        for charge in charges {
            slots.extend(shards.principal(charge.principal, current).charge(charge, cells, current));
        }
        Ok(if slots.is_empty() { Attempt::Done } else { Attempt::Cover(slots) })
    }

    /// What each had, exactly: without what only its ceiling has.
    pub(super) fn counts(&self) -> Vec<Counted> {
        self.shards.iter().flat_map(|shard| shard.lock().counts().collect::<Vec<_>>()).collect()
    }

    /// Counts no less than this from now on.
    pub(super) fn raise(&self, counts: &[Counted], now: UnixMs) -> Result<(), BudgetError> {
        let current = bucket(now);
        for counted in counts {
            match counted.owner {
                Owner::Token(id) => {
                    if let Some(mut shard) = self.shard(id.as_u128()) {
                        shard.token(id, current).raise(&counted.steps);
                    }
                }
                Owner::Principal(id) => {
                    if let Some(mut shard) = self.shard(id.as_u128()) {
                        shard.principal(id, current).raise(&counted.steps, current);
                    }
                }
            }
        }
        Ok(self.journal.commit(&self.live_slots(), &|| self.live_slots())?)
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
