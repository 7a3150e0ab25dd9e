//! Removing backups: those whose time is over, and those that somebody names.

use std::collections::BTreeMap;

use countersign_authority::KnownBackup;
use countersign_backup::{BackupError, BackupId, Repository};
use countersign_model::{Name, TenantId, UnixMs};

use super::jobs::Ended;
use super::repository::{self, problem};
use super::{Parts, list};
use crate::problem::{Exit, Problem};

const DAY_MS: u64 = 86_400_000;

/// Removes what the configuration lets go, and says how many those are; and chunks that no backup has. What the deployment did
/// not make stays.
pub(super) async fn run(parts: &Parts, name: &Name, repository: &Repository) -> Result<usize, Problem> {
    let Some(section) = parts.config.backups.get(name) else { return Ok(0) };
    let there = repository.backups().await.map_err(|error| problem(&error))?;
    // One that is known and not there stands for no other either.
    let is_there = |id: &[u8; 16]| there.iter().any(|there| there.0 == *id);
    let known = parts.registry.backups().into_iter();
    let here: BTreeMap<_, _> = known.filter(|(id, known)| known.repository == *name && is_there(id)).collect();
    let over = over(&here, parts.clock.now(), section.keep.size(), section.keep_days.number());
    let gone: Vec<BackupId> = over.iter().copied().map(BackupId).collect();
    match repository.discard(&gone).await {
        Ok(_) => {}
        // Nothing has to go but what was left by backups that were cut off, and that stays until it is known whose it is.
        Err(error @ BackupError::Damaged(_)) if over.is_empty() => {
            tracing::warn!(repository = %name, %error, "chunks that no backup has are not removed");
        }
        Err(error) => return Err(problem(&error).during("old backups are not removed")),
    }
    forget(parts, over.iter()).await?;
    Ok(over.len())
}

/// Removes one backup, whatever it is, and the chunks that it alone has. With `forgets`, nothing is looked for: what is known of
/// it is forgotten, or of all in the repository.
pub(super) async fn remove(parts: &Parts, name: &Name, backup: Option<&str>, forgets: bool) -> Result<Ended, Problem> {
    let named = backup.map(repository::id).transpose()?;
    let mut known = list::known(parts, name);
    known.retain(|id, _| named.is_none_or(|named| named.0 == *id));
    if forgets {
        if known.is_empty() {
            return Err(Problem::new(Exit::NotFound, format!("nothing is known of it in {name}")));
        }
        forget(parts, known.keys()).await?;
        return Ok(Ended { said: format!("{} backups in {name} are forgotten", known.len()), backup: None });
    }
    let id = named.ok_or_else(|| Problem::usage("no backup is named"))?;
    let repository = repository::open(parts, name).await?;
    let is_there = repository.backups().await.map_err(|error| problem(&error))?.contains(&id);
    if !is_there && known.is_empty() {
        return Err(Problem::new(Exit::NotFound, format!("there is no backup {id} in {name}")));
    }
    let said = match repository.discard(&[id]).await {
        Ok(pruned) => format!("backup {id} is removed from {name}, and {} chunks", pruned.chunks),
        // Another does not open, so nobody knows which chunks that one has: they go once it is removed too.
        Err(error @ BackupError::Damaged(_)) => {
            repository.remove(id).await.map_err(|error| problem(&error))?;
            format!("backup {id} is removed from {name}; its chunks are not yet: {error}")
        }
        Err(error) => return Err(problem(&error)),
    };
    forget(parts, known.keys()).await?;
    Ok(Ended { said, backup: Some(id.to_string()) })
}

async fn forget(parts: &Parts, ids: impl Iterator<Item = &[u8; 16]>) -> Result<(), Problem> {
    for id in ids {
        let forgotten = parts.registry.know_backup(*id, None).await;
        forgotten.map_err(|error| Problem::failed(format!("a backup is not forgotten: {error}")))?;
    }
    Ok(())
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
