//! What this process has set aside for itself of budgets that it shares.

use std::collections::{BTreeMap, HashMap};

use countersign_model::{BudgetKind, UserId};

use super::counters::{HOUR_BUCKETS, WINDOW_BUCKETS, bucket, chunk};
use super::slot::Owner;
use super::tables::Steps;
use super::{Ask, Spent};

/// Old entries are looked for when there are this many.
const SWEEP_AT: usize = 64 * 1024;
/// Limits of fewer than a hundred times this are counted to the cell in the database.
const AHEAD_MIN: u64 = 16;
/// Of what is left for all, one process sets aside no more than this part.
const OF_WHAT_IS_LEFT: u64 = 8;

/// One limit-bearing party of an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) owner: Owner,
    /// In the whole window, which no token outlives.
    window: u64,
    hour: u64,
}

impl Ask {
    pub(super) fn claims(&self) -> impl Iterator<Item = Claim> {
        let token = Claim { owner: Owner::Token(self.token), window: self.per_token, hour: u64::MAX };
        let principals = self.charges.iter().map(|charge| Claim {
            owner: Owner::Principal(charge.principal),
            window: charge.limits.per_principal,
            hour: charge.limits.per_hour,
        });
        std::iter::once(token).chain(principals)
    }
}

impl Claim {
    fn principal(&self) -> Option<UserId> {
        match self.owner {
            Owner::Token(_) => None,
            Owner::Principal(id) => Some(id),
        }
    }

    fn spent(&self, by_the_hour: bool) -> Spent {
        let which = match (self.owner, by_the_hour) {
            (Owner::Token(_), _) => BudgetKind::PerToken,
            (Owner::Principal(_), false) => BudgetKind::PerPrincipal,
            (Owner::Principal(_), true) => BudgetKind::PerHour,
        };
        Spent { which, principal: self.principal() }
    }

    /// Whether `cells` fit, where so much was used by all in the window and in the last hour.
    fn fits(&self, cells: u64, window: u64, hour: u64) -> Result<(), Spent> {
        let fits = |used: u64, limit: u64| used.checked_add(cells).is_some_and(|after| after <= limit);
        match (fits(window, self.window), fits(hour, self.hour)) {
            (true, true) => Ok(()),
            (false, _) => Err(self.spent(false)),
            (true, false) => Err(self.spent(true)),
        }
    }
}

/// What is set aside for one owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Portion {
    /// The step that it counts for and may be spent in.
    pub(super) step: u32,
    pub(super) left: u64,
    /// The limits that it was set aside under. Under smaller ones, the database is asked.
    window: u64,
    hour: u64,
}

impl Portion {
    fn covers(&self, claim: &Claim, cells: u64, current: u32) -> bool {
        self.step >= current && self.left >= cells && claim.window >= self.window && claim.hour >= self.hour
    }
}

/// All that this process has set aside.
#[derive(Default)]
pub(super) struct Portions {
    by_owner: HashMap<Owner, Portion>,
    sweep_at: usize,
}

impl Portions {
    /// Spends what is set aside, if it is enough for all that are charged; otherwise nothing.
    pub(super) fn spend(&mut self, ask: &Ask) -> Option<Result<(), Spent>> {
        let current = bucket(ask.now);
        if let Some(spent) = ask.claims().find_map(|claim| claim.fits(ask.cells, 0, 0).err()) {
            return Some(Err(spent));
        }
        let covers = |claim: &Claim| {
            self.by_owner.get(&claim.owner).is_some_and(|portion| portion.covers(claim, ask.cells, current))
        };
        if !ask.claims().all(|claim| covers(&claim)) {
            return None;
        }
        for claim in ask.claims() {
            if let Some(portion) = self.by_owner.get_mut(&claim.owner) {
                portion.left = portion.left.saturating_sub(ask.cells);
            }
        }
        Some(Ok(()))
    }

    /// Takes in hand what is set aside for an owner, so that nobody else spends it meanwhile.
    pub(super) fn withdraw(&mut self, owner: Owner) -> Portion {
        self.by_owner.remove(&owner).unwrap_or_default()
    }

    /// Everything.
    pub(super) fn withdraw_all(&mut self) -> Vec<(Owner, Portion)> {
        self.by_owner.drain().collect()
    }

    /// What may be spent from now on.
    pub(super) fn put(&mut self, owner: Owner, portion: Portion, current: u32) {
        if portion.left == 0 || portion.step < current {
            return;
        }
        if self.by_owner.len() >= self.sweep_at.max(SWEEP_AT) {
            self.by_owner.retain(|_, portion| portion.step >= current);
            self.sweep_at = self.by_owner.len().saturating_mul(2);
        }
        self.by_owner.insert(owner, portion);
    }

    pub(super) fn len(&self) -> usize {
        self.by_owner.len()
    }

    /// What is left for an owner at this step.
    pub(super) fn left(&self, owner: Owner, current: u32) -> u64 {
        self.by_owner.get(&owner).filter(|portion| portion.step >= current).map_or(0, |portion| portion.left)
    }
}

/// One owner's portion beside what all have, while the owner is locked in the database.
pub(super) struct Desk<'a> {
    steps: &'a mut Steps,
    portion: &'a mut Portion,
    /// The smallest limits that were asked under, of those that were charged.
    smallest: Option<Claim>,
}

impl<'a> Desk<'a> {
    /// Gives back what is left of a step that is over.
    pub(super) fn open(steps: &'a mut Steps, portion: &'a mut Portion) -> Self {
        if portion.step != steps.newest {
            if portion.left > 0
                && let Some(used) = steps.used.get(&portion.step).copied()
            {
                steps.set(portion.step, used.saturating_sub(portion.left));
            }
            *portion = Portion { step: steps.newest, ..Portion::default() };
        }
        Self { steps, portion, smallest: None }
    }

    /// Gives back all.
    pub(super) fn give_back(self) {
        let (newest, left) = (self.steps.newest, std::mem::take(&mut self.portion.left));
        if let Some(used) = self.steps.used.get(&newest).copied().filter(|_| left > 0) {
            self.steps.set(newest, used.saturating_sub(left));
        }
    }

    pub(super) fn fits(&self, claim: &Claim, cells: u64) -> Result<(), Spent> {
        let others = |steps| self.steps.since(steps).saturating_sub(self.portion.left);
        claim.fits(cells, others(WINDOW_BUCKETS), others(HOUR_BUCKETS))
    }

    /// After it was found to fit.
    pub(super) fn charge(&mut self, claim: &Claim, cells: u64) {
        let lacking = cells.saturating_sub(self.portion.left);
        self.portion.left = self.portion.left.saturating_sub(cells);
        self.take(lacking);
        let smallest = self.smallest.get_or_insert(*claim);
        smallest.window = smallest.window.min(claim.window);
        smallest.hour = smallest.hour.min(claim.hour);
    }

    /// Sets some aside for what will be asked next.
    pub(super) fn look_ahead(&mut self) {
        let Some(claim) = self.smallest else { return };
        (self.portion.window, self.portion.hour) = (claim.window, claim.hour);
        let ahead = chunk(claim.window.min(claim.hour));
        if self.portion.left > 0 || ahead < AHEAD_MIN {
            return;
        }
        let room = |limit: u64, steps| limit.saturating_sub(self.steps.since(steps));
        let room = room(claim.window, WINDOW_BUCKETS).min(room(claim.hour, HOUR_BUCKETS));
        let ahead = ahead.min(room / OF_WHAT_IS_LEFT);
        self.portion.left = ahead;
        self.take(ahead);
    }

    fn take(&mut self, cells: u64) {
        if cells > 0 {
            let newest = self.steps.newest;
            let used = self.steps.used.get(&newest).copied().unwrap_or_default();
            self.steps.set(newest, used.saturating_add(cells));
        }
    }
}

/// Whose rows some asks concern, with the step that each is charged in by this process's clock.
pub(super) fn concerned(asks: &[Ask]) -> BTreeMap<Owner, u32> {
    let mut owners: BTreeMap<Owner, u32> = BTreeMap::new();
    for ask in asks {
        for claim in ask.claims() {
            let step = owners.entry(claim.owner).or_default();
            *step = (*step).max(bucket(ask.now));
        }
    }
    owners
}
