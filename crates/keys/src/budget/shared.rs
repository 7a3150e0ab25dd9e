//! Counters that any number of processes share, in a database.
//!
//! Whoever needs more than is set aside stands in line. One of those who wait asks the database for all of them, in one
//! transaction that locks the owners concerned, adds up what all processes have, decides each ask, and takes what is
//! charged and a portion ahead. So one process has one such transaction at a time, however many ask.
//!
//! A transaction whose outcome is not known is done again; what the first may have taken is lost until its window has
//! passed: INVARIANT crash-takes-never-gives.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_model::{TokenId, UnixMs, UserId};
use countersign_postgres::{Blocking, PgError, Pool};
use parking_lot::{Condvar, Mutex};

use super::counters::{HOUR_BUCKETS, WINDOW_BUCKETS, bucket};
use super::portions::{Desk, Portion, Portions, concerned};
use super::slot::{Counted, Owner};
use super::tables::{self, Locked};
use super::{Ask, BudgetError, Spent, Used};

/// For how long a database that can't be reached is asked again.
const PATIENCE: Duration = Duration::from_secs(25);
const PAUSE: Duration = Duration::from_millis(100);
/// As many asks as one transaction decides.
const ASKS_MAX: usize = 256;
/// As many owners as are written at a time where nobody waits.
const OWNERS_MAX: usize = 500;

/// What one ask came to.
type Answer = Result<(), BudgetError>;

pub(super) struct Shared {
    database: Arc<Blocking>,
    portions: Mutex<Portions>,
    line: Mutex<Line>,
    answered: Condvar,
    patience: Duration,
}

/// Those who wait.
#[derive(Default)]
struct Line {
    waiting: Vec<(u64, Instant, Ask)>,
    next: u64,
    answers: HashMap<u64, Answer>,
    /// Somebody is asking the database.
    led: bool,
    /// The step up to which old rows are removed.
    purged: u32,
}

/// Portions in hand, and what is left to do with them.
struct Work {
    asks: Vec<Ask>,
    portions: BTreeMap<Owner, Portion>,
}

impl Shared {
    pub(super) fn open(database: Arc<Blocking>, now: UnixMs) -> Result<Self, PgError> {
        database.run(|pool| async move {
            tables::check(&pool).await?;
            tables::purge(&pool, bucket(now)).await
        })?;
        let (portions, line) = (Mutex::default(), Mutex::new(Line { purged: bucket(now), ..Line::default() }));
        Ok(Self { database, portions, line, answered: Condvar::new(), patience: PATIENCE })
    }

    #[cfg(test)]
    pub(super) const fn be_patient_for(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub(super) fn spend_now(&self, ask: &Ask) -> Option<Result<(), Spent>> {
        self.portions.lock().spend(ask)
    }

    pub(super) fn spend(&self, ask: Ask) -> Answer {
        if let Some(done) = self.spend_now(&ask) {
            return Ok(done?);
        }
        let mut line = self.line.lock();
        let mine = line.next;
        line.next = mine.saturating_add(1);
        line.waiting.push((mine, Instant::now(), ask));
        loop {
            if let Some(answer) = line.answers.remove(&mine) {
                return answer;
            }
            if line.led {
                self.answered.wait(&mut line);
                continue;
            }
            line.led = true;
            let number = line.waiting.len().min(ASKS_MAX);
            let batch: Vec<_> = line.waiting.drain(..number).collect();
            let newest = batch.iter().map(|(.., ask)| bucket(ask.now)).max().unwrap_or_default();
            let purge = newest > line.purged;
            drop(line);
            let answers = self.answer(batch);
            // Also if it fails: the next step's turn comes.
            let more =
                purge && self.database.run(move |pool| async move { tables::purge(&pool, newest).await }) == Ok(true);
            line = self.line.lock();
            line.purged = if more { line.purged } else { line.purged.max(newest) };
            line.answers.extend(answers);
            line.led = false;
            self.answered.notify_all();
        }
    }

    fn answer(&self, batch: Vec<(u64, Instant, Ask)>) -> Vec<(u64, Answer)> {
        let (mut answers, mut numbers) = (Vec::with_capacity(batch.len()), Vec::new());
        let mut work = Work { asks: Vec::new(), portions: BTreeMap::new() };
        {
            let mut portions = self.portions.lock();
            for (number, since, mut ask) in batch {
                // Cells are charged to the moment at which they are let go, not to that before the wait.
                ask.now = ask.now.plus_ms(millis(since.elapsed()));
                match portions.spend(&ask) {
                    Some(done) => answers.push((number, done.map_err(BudgetError::Spent))),
                    None => {
                        numbers.push(number);
                        work.asks.push(ask);
                    }
                }
            }
            let owners = concerned(&work.asks);
            work.portions = owners.into_keys().map(|owner| (owner, portions.withdraw(owner))).collect();
        }
        if work.asks.is_empty() {
            return answers;
        }
        let newest = work.asks.iter().map(|ask| bucket(ask.now)).max().unwrap_or_default();
        let patience = self.patience;
        match self.database.run(move |pool| async move { Ok(work.until_done(&pool, patience).await) }) {
            Ok((portions, decided)) => {
                let mut held = self.portions.lock();
                for (owner, portion) in portions {
                    held.put(owner, portion, newest);
                }
                drop(held);
                match decided {
                    Ok(decided) => {
                        let decided = decided.into_iter().map(|one| one.map_err(BudgetError::Spent));
                        answers.extend(numbers.into_iter().zip(decided));
                    }
                    Err(error) => answers.extend(numbers.into_iter().map(|number| (number, Err(error.clone().into())))),
                }
            }
            Err(error) => answers.extend(numbers.into_iter().map(|number| (number, Err(error.clone().into())))),
        }
        answers
    }

    pub(super) fn used(&self, token: TokenId, principal: UserId, now: UnixMs) -> Result<Used, PgError> {
        let (token, principal) = (Owner::Token(token), Owner::Principal(principal));
        let current = bucket(now);
        let found =
            self.database.run(move |pool| async move { tables::look(&pool, &[token, principal], current).await })?;
        let portions = self.portions.lock();
        let used = |owner: Owner, steps| {
            let all = found.get(&owner).map_or(0, |found| found.since(steps));
            all.saturating_sub(portions.left(owner, current))
        };
        Ok(Used {
            token: used(token, WINDOW_BUCKETS),
            principal: used(principal, WINDOW_BUCKETS),
            hour: used(principal, HOUR_BUCKETS),
        })
    }

    pub(super) fn entries(&self) -> usize {
        self.portions.lock().len()
    }

    pub(super) fn close(&self) -> Result<(), PgError> {
        let all = self.portions.lock().withdraw_all();
        for some in all.chunks(OWNERS_MAX) {
            let mut portions: BTreeMap<Owner, Portion> = some.iter().copied().collect();
            self.database.run(|pool| async move {
                let wanted = portions.iter().map(|(owner, portion)| (*owner, portion.step)).collect();
                let mut locked = Locked::begin(&pool, &wanted).await?;
                for (owner, portion) in &mut portions {
                    Desk::open(locked.owners.get_mut(owner).ok_or(PgError::Damaged)?, portion).give_back();
                }
                locked.commit().await
            })?;
        }
        Ok(())
    }

    pub(super) fn counts(&self, now: UnixMs) -> Result<Vec<Counted>, PgError> {
        self.database.run(move |pool| async move { tables::all(&pool, bucket(now)).await })
    }

    pub(super) fn raise(&self, counts: Vec<Counted>) -> Result<(), PgError> {
        for some in counts.chunks(OWNERS_MAX) {
            let some: BTreeMap<Owner, Vec<(u32, u64)>> =
                some.iter().map(|counted| (counted.owner, counted.steps.clone())).collect();
            self.database.run(|pool| async move {
                let newest = |steps: &[(u32, u64)]| steps.iter().map(|(step, _)| *step).max().unwrap_or_default();
                let wanted = some.iter().map(|(owner, steps)| (*owner, newest(steps))).collect();
                let mut locked = Locked::begin(&pool, &wanted).await?;
                for (owner, steps) in &some {
                    let there = locked.owners.get_mut(owner).ok_or(PgError::Damaged)?;
                    for (step, count) in steps {
                        if there.used.get(step).is_none_or(|used| used < count) {
                            there.set(*step, *count);
                        }
                    }
                }
                locked.commit().await
            })?;
        }
        Ok(())
    }
}

impl Work {
    /// Tries until the database has decided, or for as long as is worth waiting. What is left in hand comes back.
    async fn until_done(
        mut self,
        pool: &Arc<Pool>,
        patience: Duration,
    ) -> (BTreeMap<Owner, Portion>, Result<Vec<Result<(), Spent>>, PgError>) {
        let began = Instant::now();
        loop {
            let tried = Instant::now();
            let mut portions = self.portions.clone();
            let error = match self.once(pool, &mut portions).await {
                Ok(decided) => return (portions, Ok(decided)),
                Err(error) => error,
            };
            if error == PgError::Unknown {
                // What was left of a step before may have been given back: never twice. What is left of this one is
                // counted in either case.
                self.portions.retain(|owner, portion| portions.get(owner).is_some_and(|now| now.step == portion.step));
                for owner in portions.into_keys() {
                    self.portions.entry(owner).or_default();
                }
            }
            let again = error.is_retryable() || matches!(error, PgError::Unknown | PgError::TimedOut);
            if !again || began.elapsed() >= patience {
                return (self.portions, Err(error));
            }
            tokio::time::sleep(PAUSE.min(patience)).await;
            for ask in &mut self.asks {
                ask.now = ask.now.plus_ms(millis(tried.elapsed()));
            }
        }
    }

    /// One transaction.
    async fn once(
        &self,
        pool: &Arc<Pool>,
        portions: &mut BTreeMap<Owner, Portion>,
    ) -> Result<Vec<Result<(), Spent>>, PgError> {
        let mut locked = Locked::begin(pool, &concerned(&self.asks)).await?;
        let mut desks: BTreeMap<Owner, Desk<'_>> = BTreeMap::new();
        for ((owner, steps), portion) in locked.owners.iter_mut().zip(portions.values_mut()) {
            desks.insert(*owner, Desk::open(steps, portion));
        }
        let decided = self.asks.iter().map(|ask| decide(ask, &mut desks)).collect();
        for desk in desks.values_mut() {
            desk.look_ahead();
        }
        drop(desks);
        locked.commit().await?;
        Ok(decided)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// All or nothing.
fn decide(ask: &Ask, desks: &mut BTreeMap<Owner, Desk<'_>>) -> Result<(), Spent> {
    for claim in ask.claims() {
        if let Some(desk) = desks.get(&claim.owner) {
            desk.fits(&claim, ask.cells)?;
        }
    }
    for claim in ask.claims() {
        if let Some(desk) = desks.get_mut(&claim.owner) {
            desk.charge(&claim, ask.cells);
        }
    }
    Ok(())
}
