//! Copying and comparing records while requests go on.

use std::collections::BTreeSet;
use std::sync::Arc;

use countersign_model::{RecordTypes, TenantId, TypeId, UnixMs};
use countersign_store::carry::{Brought, Noted, bring, bring_counts, bring_known, bring_noted, bring_past};

use super::files::Phase;
use crate::compose::side::{Moving, Stored};
use crate::problem::{Exit, Problem};

/// So few changes are left for the moment when requests wait.
const FEW: usize = 500;
/// So often it is tried to have few.
const ROUNDS: usize = 20;

/// A batch that is made at most once has the time at which it was asked for, and may be made this much later.
const UNDER_WAY_MS: u64 = 120_000;

/// The time from which on batches may be made after `now`.
pub(crate) const fn since(now: UnixMs) -> UnixMs {
    UnixMs(now.0.saturating_sub(UNDER_WAY_MS))
}

/// Hears how far the passes are: phase, records done, records altogether. Says whether to go on.
pub(crate) type Watch<'a> = &'a (dyn Fn(Phase, u64, u64) -> bool + Send + Sync);

/// Both sides of records.
pub(crate) struct Passes<'a> {
    /// Where they are.
    pub(crate) from: Stored,
    /// Where they are to be.
    pub(crate) to: Stored,
    /// What notes changes, if requests go on.
    pub(crate) moving: Option<Moving>,
    /// The record types in force, now.
    pub(crate) types: &'a (dyn Fn() -> Arc<RecordTypes> + Send + Sync),
    /// Before it began.
    pub(crate) since: UnixMs,
    /// Whoever waits.
    pub(crate) watch: Watch<'a>,
}

fn failed(error: &countersign_store::StoreError) -> Problem {
    use countersign_store::StoreError::{Unavailable, Unknown};
    let exit = if matches!(error, Unavailable(_) | Unknown) { Exit::Unavailable } else { Exit::Failed };
    Problem::new(exit, format!("records could not be carried: {error}"))
}

fn given_up() -> Problem {
    Problem::new(Exit::Conflict, "the move was given up")
}

impl Passes<'_> {
    /// Refuses a place that has another deployment's records.
    ///
    /// # Errors
    /// If it has, or a storage does not work.
    pub(crate) async fn check(&self) -> Result<(), Problem> {
        self.go_on(Phase::Checking, 0, 0)?;
        let known = self.from.carry.tenants().await.map_err(|error| failed(&error))?;
        let there = self.to.carry.tenants().await.map_err(|error| failed(&error))?;
        if there.iter().any(|tenant| known.binary_search(tenant).is_err()) {
            return Err(Problem::new(Exit::Conflict, "there are records of another deployment in the new place")
                .next("name a database that has none, or a folder without data"));
        }
        Ok(())
    }

    /// Copies all records and compares them all. What comes back is what changed meanwhile and is still to be carried.
    ///
    /// # Errors
    /// If a storage does not work. It can be begun again; what was carried stays.
    pub(crate) async fn run(&self) -> Result<Noted, Problem> {
        if let Some(moving) = &self.moving {
            moving.noting.begin();
        }
        self.to.store.apply_types(&(self.types)()).await.map_err(|error| failed(&error))?;
        let mut left = Noted::default();
        self.all(Phase::Copying, &mut Noted::default()).await?;
        self.all(Phase::Comparing, &mut left).await?;
        for _ in 0..ROUNDS {
            self.add_noted(&mut left);
            if left.types {
                // Every record may be kept in another way now.
                left.types = false;
                self.to.store.apply_types(&(self.types)()).await.map_err(|error| failed(&error))?;
                self.all(Phase::Comparing, &mut left).await?;
            }
            let (few, total) = (left.changed.len() <= FEW, left.changed.len());
            self.go_on(Phase::Following, 0, u64::try_from(total).unwrap_or(u64::MAX))?;
            if few && left.tenants.is_empty() {
                break;
            }
            left = self.carry(left).await?;
        }
        Ok(left)
    }

    /// Carries what is left once nothing changes any more at the source, to the last of it.
    ///
    /// # Errors
    /// If a storage does not work, or both sides do not become the same.
    pub(crate) async fn rest(&self, mut left: Noted) -> Result<(), Problem> {
        self.add_noted(&mut left);
        if left.types {
            let message = "the record types were replaced at the last moment";
            return Err(Problem::new(Exit::Unavailable, message).next("it is tried again"));
        }
        // A record whose unique tag another had comes in the second round.
        for _ in 0..3 {
            if left.is_empty() {
                return self.same_tenants().await;
            }
            left = self.carry(left).await?;
        }
        Err(Problem::failed("records are not the same in both places, and do not become it"))
    }

    fn add_noted(&self, left: &mut Noted) {
        let Some(moving) = &self.moving else { return };
        let Noted { changed, tenants, known, types } = moving.noting.take();
        left.changed.extend(changed);
        left.known.extend(known);
        left.tenants.extend(tenants);
        left.types |= types;
    }

    async fn carry(&self, noted: Noted) -> Result<Noted, Problem> {
        for tenant in &noted.tenants {
            self.to.store.create_tenant(*tenant).await.map_err(|error| failed(&error))?;
        }
        for tenant in &noted.known {
            let known = bring_known(&*self.from.carry, &*self.to.carry, *tenant, self.since).await;
            known.map_err(|error| failed(&error))?;
        }
        // Of tenants whose records change, so do the counts of what their keys have sealed.
        for tenant in noted.changed.iter().map(|(tenant, ..)| *tenant).collect::<BTreeSet<_>>() {
            let counts = bring_counts(&*self.from.carry, &*self.to.carry, tenant).await;
            counts.map_err(|error| failed(&error))?;
        }
        let carried = bring_noted(&*self.from.carry, &*self.to.carry, &noted).await;
        let (_, changed) = carried.map_err(|error| failed(&error))?;
        Ok(Noted { changed, ..Noted::default() })
    }

    /// One pass over all records. What it had to store is still to be compared.
    async fn all(&self, phase: Phase, stored: &mut Noted) -> Result<Brought, Problem> {
        let types = (self.types)();
        let tenants = self.from.carry.tenants().await.map_err(|error| failed(&error))?;
        let total = self.total(&tenants, types.types.len()).await?;
        let mut brought = Brought::default();
        for tenant in tenants {
            self.to.store.create_tenant(tenant).await.map_err(|error| failed(&error))?;
            let counts = bring_counts(&*self.from.carry, &*self.to.carry, tenant).await;
            counts.map_err(|error| failed(&error))?;
            if phase == Phase::Copying {
                let known = bring_known(&*self.from.carry, &*self.to.carry, tenant, UnixMs(0)).await;
                known.map_err(|error| failed(&error))?;
            }
            for record_type in all_types(types.types.len()) {
                let before = brought.rows;
                self.go_on(phase, before, total)?;
                let more = bring(&*self.from.carry, &*self.to.carry, (tenant, record_type), |step| {
                    (self.watch)(phase, before.saturating_add(step.rows), total);
                    if phase == Phase::Comparing {
                        let records = step.put.iter().map(|row| row.record).chain(step.gone.iter().copied());
                        stored.changed.extend(records.map(|record| (tenant, record_type, record)));
                    }
                })
                .await
                .map_err(|error| failed(&error))?;
                let past = bring_past(&*self.from.carry, &*self.to.carry, (tenant, record_type)).await;
                past.map_err(|error| failed(&error))?;
                brought.add(more);
            }
        }
        Ok(brought)
    }

    async fn total(&self, tenants: &[TenantId], types: usize) -> Result<u64, Problem> {
        let mut total = 0u64;
        for tenant in tenants {
            for record_type in all_types(types) {
                let count = self.from.store.count(*tenant, record_type).await.map_err(|error| failed(&error))?;
                total = total.saturating_add(count);
            }
        }
        Ok(total)
    }

    async fn same_tenants(&self) -> Result<(), Problem> {
        let tenants = self.from.carry.tenants().await.map_err(|error| failed(&error))?;
        let there = self.to.carry.tenants().await.map_err(|error| failed(&error))?;
        if tenants == there { Ok(()) } else { Err(Problem::failed("the tenants are not the same in both places")) }
    }

    fn go_on(&self, phase: Phase, done: u64, total: u64) -> Result<(), Problem> {
        if (self.watch)(phase, done, total) { Ok(()) } else { Err(given_up()) }
    }
}

fn all_types(count: usize) -> impl Iterator<Item = TypeId> {
    (0..=u16::MAX).map(TypeId).take(count)
}
