use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign_model::facts::Facts;
use countersign_model::{UnixMs, UserId};
use countersign_policy::Policies;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Facts of one epoch and the policies compiled from them. A request is decided under exactly one.
#[derive(Clone)]
pub struct State {
    /// The facts.
    pub facts: Arc<Facts>,
    /// Compiled from `facts.types` and `facts.policies`.
    pub policies: Arc<Policies>,
}

/// How long a state may still decide after it was replaced: for requests that were under way, so that all services
/// on a request's path decide it under the same epoch. Revocations are looked up in the newest state in any case.
///
/// What is left of a second is for the new state to arrive and be compiled, so that a change is in force everywhere
/// within a second even where a gateway names the state of before.
pub const GRACE_MS: u64 = 700;

/// How far in the future the authority may have vouched for a state: clocks are set back by a little all the time.
pub const AHEAD_MS: u64 = 5_000;

/// How long a service waits for an epoch that its caller has already seen.
pub const CATCH_UP: Duration = Duration::from_millis(500);

/// The most replaced states that are kept.
const EARLIER_MAX: usize = 64;

/// Why there is no state of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochGap {
    /// It has not arrived.
    Behind,
    /// It was replaced more than [`GRACE_MS`] ago, or never was.
    Superseded,
}

/// Where the newest [`State`] is found. The authority publishes; guards load.
///
/// Beside the newest it keeps the states that were replaced within [`GRACE_MS`], and when the authority was last
/// heard of.
pub struct FactsCell {
    newest: ArcSwap<State>,
    earlier: Mutex<VecDeque<(Arc<State>, UnixMs)>>,
    /// Since this epoch nothing but revocations has changed, which are looked up in the newest state anyway.
    same_since: AtomicU64,
    epoch: watch::Sender<u64>,
    heard: AtomicU64,
    max_age_ms: u64,
    /// Whether the authority of this process still is one.
    vouched: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl FactsCell {
    /// A cell that holds this state, in the authority's own process: it is never out of date.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self::following(state, u64::MAX)
    }

    /// A cell that holds this state, in the authority's own process, where that is the authority only while `vouched`
    /// says so: at any other time it is out of date.
    #[must_use]
    pub fn vouched_for(state: State, vouched: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { vouched: Some(Box::new(vouched)), ..Self::new(state) }
    }

    /// A cell of a service that follows the authority from elsewhere. It is out of date until [`Self::heard`] is
    /// called, and again `max_age_ms` after the moment last named there.
    #[must_use]
    pub fn following(state: State, max_age_ms: u64) -> Self {
        let same_since = AtomicU64::new(state.facts.epoch);
        let epoch = watch::Sender::new(state.facts.epoch);
        let newest = ArcSwap::from_pointee(state);
        Self {
            newest,
            earlier: Mutex::default(),
            same_since,
            epoch,
            heard: AtomicU64::new(0),
            max_age_ms,
            vouched: None,
        }
    }

    /// The newest state.
    #[must_use]
    pub fn load(&self) -> Arc<State> {
        self.newest.load_full()
    }

    /// The state of this epoch, if it still decides anything.
    ///
    /// # Errors
    /// [`EpochGap`].
    pub fn at(&self, epoch: u64, now: UnixMs) -> Result<Arc<State>, EpochGap> {
        let newest = self.load();
        if newest.facts.epoch == epoch {
            return Ok(newest);
        }
        if newest.facts.epoch < epoch {
            return Err(EpochGap::Behind);
        }
        let earlier = self.earlier.lock();
        if epoch >= self.same_since.load(Ordering::Acquire) {
            // However long a request takes: the two decide alike. Loaded again, as that is what the lock is about.
            let newest = self.load();
            let facts = Facts { epoch, ..(*newest.facts).clone() };
            return Ok(Arc::new(State { facts: Arc::new(facts), policies: Arc::clone(&newest.policies) }));
        }
        let found = earlier.iter().find(|(state, _)| state.facts.epoch == epoch);
        let (state, replaced) = found.ok_or(EpochGap::Superseded)?;
        // A clock that was set back must not make it good for longer.
        if now.since(*replaced).max(replaced.since(now)) > GRACE_MS {
            return Err(EpochGap::Superseded);
        }
        // Whoever was revoked meanwhile is out at once, under whatever epoch; whoever was removed too: see
        // [`Self::are_known`].
        let facts = Facts { revocations: Arc::clone(&newest.facts.revocations), ..(*state.facts).clone() };
        Ok(Arc::new(State { facts: Arc::new(facts), policies: Arc::clone(&state.policies) }))
    }

    /// Whether all of these users are still there, by the newest facts: an earlier state doesn't know who was removed.
    #[must_use]
    pub fn are_known(&self, users: impl IntoIterator<Item = UserId>) -> bool {
        let newest = self.newest.load();
        users.into_iter().all(|user| newest.facts.users.contains_key(&user))
    }

    /// As [`Self::at`], but waits for [`CATCH_UP`] at most if the epoch has not arrived.
    ///
    /// # Errors
    /// [`EpochGap`].
    pub async fn at_or_soon(&self, epoch: u64, now: UnixMs) -> Result<Arc<State>, EpochGap> {
        match self.at(epoch, now) {
            Err(EpochGap::Behind) => {}
            known => return known,
        }
        let mut arrivals = self.epoch.subscribe();
        let arrived = tokio::time::timeout(CATCH_UP, arrivals.wait_for(|newest| *newest >= epoch)).await;
        if !matches!(arrived, Ok(Ok(_))) {
            return Err(EpochGap::Behind);
        }
        self.at(epoch, now)
    }

    /// Replaces the state; the next request is decided under it.
    pub fn publish(&self, state: State, now: UnixMs) {
        let epoch = state.facts.epoch;
        let mut earlier = self.earlier.lock();
        let state = Arc::new(state);
        let replaced = self.newest.swap(Arc::clone(&state));
        if !decide_alike(&replaced, &state) {
            self.same_since.store(epoch, Ordering::Release);
        }
        while earlier.front().is_some_and(|(_, at)| now.since(*at) > GRACE_MS) || earlier.len() >= EARLIER_MAX {
            earlier.pop_front();
        }
        if replaced.facts.epoch != epoch {
            earlier.push_back((replaced, now));
        }
        drop(earlier);
        self.epoch.send_replace(epoch);
    }

    /// The authority vouched at this moment, by its clock, that the state is the newest.
    pub fn heard(&self, at: UnixMs) {
        self.heard.fetch_max(at.0, Ordering::Release);
    }

    /// When the authority last vouched for the state; `None` if it is in this process.
    #[must_use]
    pub fn last_heard(&self) -> Option<UnixMs> {
        (self.max_age_ms != u64::MAX).then(|| UnixMs(self.heard.load(Ordering::Acquire)))
    }

    /// Whether the state may decide: the authority vouched for it recently enough.
    ///
    /// By a clock that was set back it vouched in the future. How long ago that was, nobody knows then, so past
    /// a few seconds the state doesn't decide until the clock is right or the service was started again.
    #[must_use]
    pub fn is_fresh(&self, now: UnixMs) -> bool {
        let recent = |heard: UnixMs| now.since(heard) <= self.max_age_ms && heard.since(now) <= AHEAD_MS;
        self.last_heard().is_none_or(recent) && self.vouched.as_ref().is_none_or(|vouched| vouched())
    }

    /// Tells of each new epoch.
    #[must_use]
    pub fn epochs(&self) -> watch::Receiver<u64> {
        self.epoch.subscribe()
    }
}

/// Whether the two decide alike, but for revocations. May say no where they do.
fn decide_alike(one: &State, other: &State) -> bool {
    let (a, b) = (&*one.facts, &*other.facts);
    Arc::ptr_eq(&one.policies, &other.policies)
        && Arc::ptr_eq(&a.types, &b.types)
        && Arc::ptr_eq(&a.tenants, &b.tenants)
        && Arc::ptr_eq(&a.tenant_names, &b.tenant_names)
        && Arc::ptr_eq(&a.users, &b.users)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(epoch: u64) -> State {
        let facts = Facts { epoch, ..Facts::default() };
        let policies = Policies::compile(&facts.types, &facts.policies).unwrap();
        State { facts: Arc::new(facts), policies: Arc::new(policies) }
    }

    #[test]
    fn a_replaced_state_decides_for_a_moment_longer_and_with_the_newest_revocations() {
        let cell = FactsCell::new(state(1));
        let now = UnixMs(10_000);
        let mut second = state(2);
        let mut facts = (*second.facts).clone();
        let user = countersign_model::UserId::from_u128(5);
        facts.revocations =
            Arc::new(countersign_model::facts::Revocations { users: [(user, now)].into(), ..Default::default() });
        second.facts = Arc::new(facts);
        cell.publish(second, now);
        let earlier = cell.at(1, now.plus_ms(GRACE_MS)).unwrap();
        assert_eq!(earlier.facts.epoch, 1);
        assert!(earlier.facts.revocations.users.contains_key(&user));
        assert_eq!(cell.at(1, now.plus_ms(GRACE_MS + 1)).err(), Some(EpochGap::Superseded));
        assert_eq!(cell.at(3, now).err(), Some(EpochGap::Behind));
        assert_eq!(cell.at(0, now).err(), Some(EpochGap::Superseded), "one that never was");
    }

    #[test]
    fn what_decides_alike_is_not_superseded_however_long_a_request_takes() {
        let cell = FactsCell::new(state(1));
        let user = countersign_model::UserId::from_u128(5);
        for epoch in 2..200 {
            let newest = cell.load();
            let mut revocations = (*newest.facts.revocations).clone();
            revocations.users.insert(user, UnixMs(epoch));
            let facts = Facts { epoch, revocations: Arc::new(revocations), ..(*newest.facts).clone() };
            cell.publish(
                State { facts: Arc::new(facts), policies: Arc::clone(&newest.policies) },
                UnixMs(epoch * 1000),
            );
        }
        let first = cell.at(1, UnixMs(1_000_000)).unwrap();
        assert_eq!((first.facts.epoch, first.facts.revocations.users.get(&user)), (1, Some(&UnixMs(199))));
        cell.publish(state(200), UnixMs(1_000_000));
        let soon = UnixMs(1_000_000 + GRACE_MS + 1);
        assert_eq!(cell.at(1, soon).err(), Some(EpochGap::Superseded));
        assert_eq!(cell.at(199, soon).err(), Some(EpochGap::Superseded));
        assert!(cell.at(200, soon).is_ok());
    }

    #[tokio::test]
    async fn who_is_a_little_behind_waits() {
        let cell = Arc::new(FactsCell::new(state(1)));
        let waiting = tokio::spawn({
            let cell = Arc::clone(&cell);
            async move { cell.at_or_soon(2, UnixMs(0)).await.map(|state| state.facts.epoch) }
        });
        tokio::task::yield_now().await;
        cell.publish(state(2), UnixMs(0));
        assert_eq!(waiting.await.unwrap(), Ok(2));
    }

    #[test]
    fn who_has_not_heard_from_the_authority_is_out_of_date() {
        let here = FactsCell::new(state(1));
        assert!(here.is_fresh(UnixMs(u64::MAX)));
        let elsewhere = FactsCell::following(state(1), 30_000);
        assert!(!elsewhere.is_fresh(UnixMs(1_000_000)));
        elsewhere.heard(UnixMs(1_000_000));
        elsewhere.heard(UnixMs(900_000));
        assert!(elsewhere.is_fresh(UnixMs(1_030_000)));
        assert!(!elsewhere.is_fresh(UnixMs(1_030_001)));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_good_for_longer() {
        let now = UnixMs(10_000_000);
        let cell = FactsCell::following(state(1), 30_000);
        cell.heard(now);
        cell.publish(state(2), now);
        let hour_ago = now.minus_ms(3_600_000);
        assert!(cell.is_fresh(now.minus_ms(AHEAD_MS)), "clocks are set by a little all the time");
        assert!(!cell.is_fresh(hour_ago), "it may have been heard an hour ago");
        assert_eq!(cell.at(1, hour_ago).err(), Some(EpochGap::Superseded));
        assert_eq!(cell.at(1, now.minus_ms(100)).map(|state| state.facts.epoch), Ok(1));
    }
}
