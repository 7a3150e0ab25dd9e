//! Requests that hold together, at random, and ledgers that bring them in every order.

use std::collections::HashMap;

use countersign_model::{FieldSet, RequestId, Service, Tally, TenantId, TokenId, TypeId, UnixMs};

use crate::ledger::Position;
use crate::reconcile::{Finding, GRACE_MS, Reconciler};
use crate::record::Verdict;
use crate::tally::TallyEntry;
use crate::testing::Dice;

pub(super) const NOW: UnixMs = UnixMs(1_780_000_000_000);

/// One request and everything that is recorded of it.
pub(super) struct Request {
    pub(super) id: RequestId,
    pub(super) entries: Vec<TallyEntry>,
}

impl Request {
    fn new(dice: &mut Dice, reads: u64, writes: u64) -> Self {
        let id = RequestId::from_u128(u128::from(dice.roll()));
        let tenant = Some(TenantId::from_u128(u128::from(dice.below(3))));
        let none = Tally::new(TokenId::from_u128(u128::from(dice.roll())), 7);
        let say = |service, verdict, tally: &Tally| TallyEntry {
            request: id,
            service,
            verdict,
            tenant,
            time: NOW,
            tally: Some(tally.clone()),
            signal: None,
        };
        let mut entries = vec![say(Service::Keys, Verdict::Intent, &none)];
        let mut sum = none.clone();
        for _ in 0..reads {
            let mut part = none.clone();
            for _ in 0..=dice.below(3) {
                part.open(TypeId(dice.below(2) as u16), FieldSet::first(1 + dice.below(4) as usize), 1 + dice.below(9));
            }
            sum.add(&part);
            entries.push(say(Service::Keys, Verdict::Released, &part));
            entries.push(say(Service::Store, Verdict::Released, &part));
        }
        let verdict = if writes > 0 { Verdict::Changed } else { Verdict::Released };
        if writes > 0 {
            entries.push(say(Service::Gateway, Verdict::Intent, &none));
        }
        for _ in 0..writes {
            let part = Tally { written: 1 + dice.below(5), ..none.clone() };
            sum.add(&part);
            entries.push(say(Service::Store, Verdict::Changed, &part));
        }
        let ended = if dice.below(5) == 0 { Verdict::Failed } else { verdict };
        entries.push(say(Service::Gateway, ended, &sum));
        Self { id, entries }
    }

    /// A request that read something, and may have changed something.
    pub(super) fn full(dice: &mut Dice) -> Self {
        let (reads, writes) = (1 + dice.below(3), dice.below(2));
        Self::new(dice, reads, writes)
    }

    /// Any request: one of those, or one that changed without reading, found nothing, or was refused.
    fn any(dice: &mut Dice) -> Self {
        match dice.below(6) {
            0 => Self::new(dice, 0, 1),
            1 => {
                let mut nothing = Self::new(dice, 0, 0);
                let last = nothing.entries.last().unwrap().clone();
                nothing.entries.push(TallyEntry { service: Service::Store, verdict: Verdict::Released, ..last });
                nothing
            }
            2 => {
                let mut refused = Self::new(dice, 0, 0);
                for entry in &mut refused.entries {
                    (entry.verdict, entry.tally) = (Verdict::Refused, None);
                }
                refused
            }
            _ => Self::full(dice),
        }
    }

    /// One of a service's entries that count something.
    pub(super) fn any_of(&mut self, dice: &mut Dice, service: Service) -> &mut TallyEntry {
        let counts = |entry: &&mut TallyEntry| {
            entry.service == service && entry.tally.as_ref().is_some_and(|tally| !tally.opened.is_empty())
        };
        let mut all: Vec<_> = self.entries.iter_mut().filter(counts).collect();
        let at = dice.below(all.len() as u64) as usize;
        all.remove(at)
    }
}

/// Requests that went on at the same time.
pub(super) struct World {
    pub(super) requests: Vec<Request>,
}

impl World {
    pub(super) fn new(dice: &mut Dice, requests: usize) -> Self {
        Self { requests: (0..requests).map(|_| Request::any(dice)).collect() }
    }

    /// All findings, if each service writes what it says in some order and the ledgers arrive in any interleaving,
    /// some parts of them twice.
    pub(super) fn play(self, dice: &mut Dice) -> Vec<Finding> {
        let mut ledgers: Vec<Vec<TallyEntry>> = vec![Vec::new(); Service::ALL.len()];
        let mut left: Vec<TallyEntry> = self.requests.into_iter().flat_map(|request| request.entries).collect();
        while !left.is_empty() {
            let entry = left.swap_remove(dice.below(left.len() as u64) as usize);
            ledgers[entry.service as usize].push(entry);
        }
        let mut reconciler = Reconciler::new(GRACE_MS, 1_000);
        let (mut next, mut now, mut findings) = (vec![0usize; ledgers.len()], NOW, Vec::new());
        while next.iter().zip(&ledgers).any(|(next, ledger)| *next < ledger.len()) {
            let at = dice.below(ledgers.len() as u64) as usize;
            if dice.below(20) == 0 {
                next[at] = next[at].saturating_sub(dice.below(10) as usize);
            }
            let Some(entry) = ledgers[at].get(next[at]) else { continue };
            reconciler.take(at as u32, Position(next[at] as u64), entry, now);
            next[at] += 1;
            now = now.plus_ms(dice.below(3));
            findings.extend(reconciler.due(now));
        }
        assert!(now.since(NOW) < GRACE_MS, "this test is about order, not about time");
        findings.extend(reconciler.due(now.plus_ms(GRACE_MS)));
        assert_eq!(reconciler.open(), 0);
        findings
    }

    /// As [`Self::play`], in time: with how long each finding came after the last that arrived of its request, and
    /// how many requests were open at most.
    pub(super) fn live(self, dice: &mut Dice) -> (Vec<(Finding, u64)>, usize) {
        let mut arriving = Vec::new();
        for request in self.requests {
            let begun = dice.below(20_000);
            arriving.extend(request.entries.into_iter().map(|entry| (begun + dice.below(1_500), entry)));
        }
        arriving.sort_by_key(|(at, _)| *at);
        let mut reconciler = Reconciler::new(GRACE_MS, 1_000);
        let (mut positions, mut last) = (vec![0u64; Service::ALL.len()], HashMap::new());
        let (mut arriving, mut found, mut most) = (arriving.into_iter().peekable(), Vec::new(), 0);
        for now in (0..30_000).step_by(1_000) {
            while let Some((at, entry)) = arriving.next_if(|(at, _)| *at <= now) {
                let position = &mut positions[entry.service as usize];
                reconciler.take(entry.service as u32, Position(*position), &entry, NOW.plus_ms(at));
                *position += 1;
                last.insert(entry.request, at);
            }
            most = most.max(reconciler.open());
            let due = reconciler.due(NOW.plus_ms(now));
            found.extend(
                due.into_iter().map(|finding| (now - last[&finding.request], finding)).map(|(ms, one)| (one, ms)),
            );
        }
        assert!(arriving.next().is_none() && reconciler.open() == 0);
        (found, most)
    }
}
