//! Removing backups whose time is over.

use std::collections::BTreeMap;

use countersign_authority::KnownBackup;
use countersign_backup::Repository;
use countersign_model::{Name, TenantId, UnixMs};

use super::Parts;
use super::repository::problem;
use crate::problem::Problem;

const DAY_MS: u64 = 86_400_000;

/// Removes what the configuration lets go, and says how many those are. What the deployment did not make stays.
pub(super) async fn run(parts: &Parts, name: &Name, repository: &Repository) -> Result<usize, Problem> {
    let Some(section) = parts.config.backups.get(name) else { return Ok(0) };
    let mut keep = repository.backups().await.map_err(|error| problem(&error))?;
    // One that is known and not there stands for no other either.
    let is_there = |id: &[u8; 16]| keep.iter().any(|there| there.0 == *id);
    let known = parts.registry.backups().into_iter();
    let here: BTreeMap<_, _> = known.filter(|(id, known)| known.repository == *name && is_there(id)).collect();
    let over = over(&here, parts.clock.now(), section.keep.size(), section.keep_days.number());
    if over.is_empty() {
        return Ok(0);
    }
    keep.retain(|id| !over.contains(&id.0));
    repository.prune(&keep).await.map_err(|error| problem(&error).during("old backups are not removed"))?;
    for id in &over {
        let forgotten = parts.registry.know_backup(*id, None).await;
        forgotten.map_err(|error| Problem::failed(format!("an old backup is not forgotten: {error}")))?;
    }
    Ok(over.len())
}

/// Those of the whole deployment and of each tenant alone are counted apart.
fn over(known: &BTreeMap<[u8; 16], KnownBackup>, now: UnixMs, keep: usize, keep_days: u64) -> Vec<[u8; 16]> {
    let mut newer: BTreeMap<Option<TenantId>, usize> = BTreeMap::new();
    let mut all: Vec<_> = known.iter().collect();
    all.sort_by_key(|(_, known)| std::cmp::Reverse(known.at));
    let mut over = Vec::new();
    for (id, known) in all {
        let count = newer.entry(known.tenant).or_default();
        let is_young = now.since(known.at) < keep_days.saturating_mul(DAY_MS);
        if *count >= keep && !is_young {
            over.push(*id);
        }
        // One that a trial has found bad stands for no other.
        if known.verified.is_none_or(|(_, good)| good) {
            *count = count.saturating_add(1);
        }
    }
    over
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_the_young() {
        let known = |day: u64, tenant: Option<u8>| KnownBackup {
            repository: Name::new("r").unwrap(),
            repository_id: [0; 16],
            digest: [0; 32],
            at: UnixMs(day * DAY_MS),
            tenant: tenant.map(|number| TenantId::from_bytes([number; 16])),
            verified: None,
        };
        let mut all: BTreeMap<[u8; 16], KnownBackup> =
            (1..=9u8).map(|day| ([day; 16], known(day.into(), None))).collect();
        all.insert([20; 16], known(1, Some(1)));
        let days = |over: Vec<[u8; 16]>| over.into_iter().map(|id| id[0]).collect::<Vec<_>>();
        let now = UnixMs(10 * DAY_MS);
        assert_eq!(days(over(&all, now, 3, 0)), [6, 5, 4, 3, 2, 1], "and the tenant's only one stays");
        assert_eq!(days(over(&all, now, 3, 7)), [3, 2, 1]);
        all.get_mut(&[9; 16]).unwrap().verified = Some((now, false));
        assert_eq!(days(over(&all, now, 3, 0)), [5, 4, 3, 2, 1]);
    }
}
