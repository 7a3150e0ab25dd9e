//! Counters in memory, each covered by a durable ceiling.

use std::collections::{BTreeMap, HashMap, VecDeque};

use countersign_model::{BudgetKind, TokenId, UnixMs, UserId};

use super::slot::{Counted, Owner, Slot};
use super::{Charge, Spent};

/// One step of the sliding windows.
pub(super) const BUCKET_MS: u64 = 5 * 60 * 1000;
pub(super) const HOUR_BUCKETS: u32 = 12;
pub(super) const WINDOW_BUCKETS: u32 = 12 * HOUR_BUCKETS;

/// A ceiling rises by this part of the limit, but by no more than [`CHUNK_MAX`], so that a limit that is set later
/// means something after a crash.
const CHUNKS: u64 = 100;
const CHUNK_MAX: u64 = 1_000_000;

/// Old entries are looked for when a shard has grown to this.
const SWEEP_AT: usize = 1024;

/// The step that a moment is in.
pub(super) fn bucket(now: UnixMs) -> u32 {
    now.0.checked_div(BUCKET_MS).and_then(|bucket| u32::try_from(bucket).ok()).unwrap_or(u32::MAX)
}

/// How far ahead of what is used something is set aside.
pub(super) fn chunk(limit: u64) -> u64 {
    (limit / CHUNKS).clamp(1, CHUNK_MAX)
}

/// Counters whose ids end alike.
#[derive(Default)]
pub(super) struct Shard {
    pub(super) tokens: HashMap<TokenId, TokenCounter>,
    pub(super) principals: HashMap<UserId, PrincipalCounter>,
    sweep_at: usize,
}

impl Shard {
    pub(super) fn token(&mut self, id: TokenId, current: u32) -> &mut TokenCounter {
        if !self.tokens.contains_key(&id) {
            self.sweep(current);
        }
        self.tokens.entry(id).or_insert_with(|| TokenCounter::new(current))
    }

    pub(super) fn principal(&mut self, id: UserId, current: u32) -> &mut PrincipalCounter {
        if !self.principals.contains_key(&id) {
            self.sweep(current);
        }
        self.principals.entry(id).or_default()
    }

    pub(super) fn entries(&self) -> usize {
        self.tokens.len().saturating_add(self.principals.len())
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        let tokens = self.tokens.iter().map(|(id, counter)| counter.slot(*id));
        tokens.chain(self.principals.iter().flat_map(|(id, counter)| counter.slots(*id)))
    }

    /// What was used, without ceilings.
    pub(super) fn counts(&self) -> impl Iterator<Item = Counted> {
        let tokens = self
            .tokens
            .iter()
            .map(|(id, counter)| Counted { owner: Owner::Token(*id), steps: vec![(counter.first, counter.used)] });
        tokens.chain(self.principals.iter().map(|(id, counter)| Counted {
            owner: Owner::Principal(*id),
            steps: counter.buckets.iter().copied().collect(),
        }))
    }

    /// Drops what no limit counts any more, each time the shard has doubled.
    fn sweep(&mut self, current: u32) {
        if self.entries() >= self.sweep_at.max(SWEEP_AT) {
            self.tokens.retain(|_, counter| counter.is_live(current));
            self.principals.retain(|_, counter| counter.is_live(current));
            self.sweep_at = self.entries().saturating_mul(2);
        }
    }
}

/// What one token had, all its life long.
#[derive(Clone, Copy)]
pub(super) struct TokenCounter {
    pub(super) used: u64,
    /// What the journal has for certain.
    durable: u64,
    /// The highest ceiling that was sent to the journal.
    asked: u64,
    /// The step of its first use. No token lives for longer than the window from then on.
    first: u32,
}

impl TokenCounter {
    fn new(first: u32) -> Self {
        Self { used: 0, durable: 0, asked: 0, first }
    }

    /// As the journal has it.
    pub(super) fn replayed(ceiling: u64, first: u32) -> Self {
        Self { used: ceiling, durable: ceiling, asked: ceiling, first }
    }

    /// With another slot of the journal.
    pub(super) fn merge(&mut self, ceiling: u64, first: u32) {
        *self = Self::replayed(self.used.max(ceiling), self.first.max(first));
    }

    /// Counts no less than this. It is durable once the journal has this counter's slot.
    pub(super) fn raise(&mut self, steps: &[(u32, u64)]) {
        let sum = steps.iter().fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        self.used = self.used.max(sum);
        self.first = steps.iter().map(|(step, _)| *step).fold(self.first, u32::max);
    }

    pub(super) fn is_live(&self, current: u32) -> bool {
        self.first.saturating_add(WINDOW_BUCKETS) >= current
    }

    /// Whether `cells` more need no write.
    pub(super) fn fits(&self, cells: u64, limit: u64) -> Result<bool, Spent> {
        match self.used.checked_add(cells).filter(|after| *after <= limit) {
            Some(after) => Ok(after <= self.durable),
            None => Err(Spent { which: BudgetKind::PerToken, principal: None }),
        }
    }

    /// Gives the ceiling that must be durable first, if one is needed.
    pub(super) fn charge(&mut self, id: TokenId, cells: u64, limit: u64) -> Option<Slot> {
        let before = self.used;
        self.used = self.used.saturating_add(cells);
        if self.used <= self.durable {
            return None;
        }
        self.asked = self.asked.max(self.used).max(before.saturating_add(chunk(limit)).min(limit));
        Some(self.slot(id))
    }

    pub(super) fn note_durable(&mut self, ceiling: u64) {
        self.durable = self.durable.max(ceiling);
    }

    fn slot(&self, id: TokenId) -> Slot {
        let ceiling = self.asked.max(self.used);
        Slot { owner: Owner::Token(id), bucket: self.first, ceiling, closed: None }
    }
}

/// What one principal had, by step.
#[derive(Default)]
pub(super) struct PrincipalCounter {
    /// Oldest first; the last one is charged.
    buckets: VecDeque<(u32, u64)>,
    /// Of the last bucket: what the journal has for certain.
    durable: u64,
    /// Of the last bucket: the highest ceiling that was sent to the journal.
    asked: u64,
}

impl PrincipalCounter {
    pub(super) fn replayed(buckets: BTreeMap<u32, u64>, current: u32) -> Self {
        let buckets: VecDeque<_> = buckets.into_iter().filter(|(bucket, _)| in_window(*bucket, current)).collect();
        let last = buckets.back().map_or(0, |(_, count)| *count);
        Self { buckets, durable: last, asked: last }
    }

    /// Counts no less than this. It is durable once the journal has this counter's slots.
    pub(super) fn raise(&mut self, steps: &[(u32, u64)], current: u32) {
        let last = self.buckets.back().map(|(step, _)| *step);
        let mut merged: BTreeMap<u32, u64> = self.buckets.iter().copied().collect();
        for (step, count) in steps.iter().filter(|(step, _)| in_window(*step, current)) {
            let highest = merged.entry(*step).or_default();
            *highest = (*highest).max(*count);
        }
        self.buckets = merged.into_iter().collect();
        if self.buckets.back().map(|(step, _)| *step) != last {
            (self.durable, self.asked) = (0, 0);
        }
    }

    pub(super) fn is_live(&self, current: u32) -> bool {
        self.buckets.back().is_some_and(|(bucket, _)| in_window(*bucket, current))
    }

    /// In 12 hours, and in one.
    pub(super) fn used(&self, current: u32) -> (u64, u64) {
        let since = |steps: u32| {
            let counted = self.buckets.iter().rev().take_while(|(bucket, _)| bucket.saturating_add(steps) >= current);
            counted.fold(0u64, |sum, (_, count)| sum.saturating_add(*count))
        };
        (since(WINDOW_BUCKETS), since(HOUR_BUCKETS))
    }

    /// Whether `cells` more need no write.
    pub(super) fn fits(&self, cells: u64, charge: &Charge, current: u32) -> Result<bool, Spent> {
        let (in_window, hour) = self.used(current);
        let spent = |which| Spent { which, principal: Some(charge.principal) };
        let fits = |used: u64, limit: u64| used.checked_add(cells).is_some_and(|after| after <= limit);
        if !fits(in_window, charge.limits.per_principal) {
            return Err(spent(BudgetKind::PerPrincipal));
        }
        if !fits(hour, charge.limits.per_hour) {
            return Err(spent(BudgetKind::PerHour));
        }
        let last = self.buckets.back().filter(|(bucket, _)| *bucket >= current);
        Ok(last.is_some_and(|(_, count)| count.saturating_add(cells) <= self.durable))
    }

    /// Gives the ceiling that must be durable first, if one is needed.
    pub(super) fn charge(&mut self, charge: &Charge, cells: u64, current: u32) -> Option<Slot> {
        if self.buckets.back().is_none_or(|(bucket, _)| *bucket < current) {
            while self.buckets.front().is_some_and(|(bucket, _)| !in_window(*bucket, current)) {
                self.buckets.pop_front();
            }
            self.buckets.push_back((current, 0));
            (self.durable, self.asked) = (0, 0);
        }
        let (_, count) = self.buckets.back_mut()?;
        let before = *count;
        *count = count.saturating_add(cells);
        if *count <= self.durable {
            return None;
        }
        let limit = charge.limits.per_hour.min(charge.limits.per_principal);
        self.asked = self.asked.max(*count).max(before.saturating_add(chunk(limit)).min(limit));
        self.slots(charge.principal).last()
    }

    pub(super) fn note_durable(&mut self, bucket: u32, ceiling: u64) {
        if self.buckets.back().is_some_and(|(last, _)| *last == bucket) {
            self.durable = self.durable.max(ceiling);
        }
    }

    /// A closed step with what it came to, the last one with its ceiling. Each names the one before it and what that
    /// came to, so that its unused ceiling is not lost.
    fn slots(&self, id: UserId) -> impl DoubleEndedIterator<Item = Slot> {
        let last = self.buckets.len().saturating_sub(1);
        self.buckets.iter().enumerate().map(move |(index, (bucket, count))| Slot {
            owner: Owner::Principal(id),
            bucket: *bucket,
            ceiling: if index == last { self.asked.max(*count) } else { *count },
            closed: index.checked_sub(1).and_then(|before| self.buckets.get(before)).copied(),
        })
    }
}

pub(super) fn in_window(bucket: u32, current: u32) -> bool {
    bucket.saturating_add(WINDOW_BUCKETS) >= current
}
