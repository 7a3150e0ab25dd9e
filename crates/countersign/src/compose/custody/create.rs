//! A backup: each tenant of one moment, then the facts, and the ledgers last, so that they have every record of what is in
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_audit::ledger::carry::SEEN;
use countersign_authority::KnownBackup;
use countersign_backup::{Finished, ReceiptId, Section, Writer, tenant};
use countersign_keys::{KeyError, KmsError};
use countersign_model::{Name, TenantId};
use countersign_store::StoreError;

use super::about::{About, More, TenantAbout};
use super::jobs::{Ended, Reach};
use super::records::failed;
use super::repository::{self, problem};
use super::{Parts, facts, ledgers, list, prune, receipts};
use crate::problem::{Exit, Problem, io};

/// How often it is begun again because keys or types have changed under it.
const TRIES: usize = 4;

pub(super) async fn run(
    parts: &Parts,
    name: &Name,
    of: Option<TenantId>,
    reach: &Arc<Reach>,
) -> Result<Ended, Problem> {
    reach.phase("opening the repository", 0);
    let repository = repository::open_or_make(parts, name).await?;
    // So that whoever restores from here heeds them without this deployment.
    let erasures = receipts::put_all(parts, &repository).await?;
    for _ in 0..TRIES {
        let (keys, watch) = (repository::keys(parts.registry.tenant_keys()), repository::watch(reach));
        let begun = match is_doubted(&list::known(parts, name)) {
            true => repository.begin_checking(keys, watch).await,
            false => repository.begin(keys, watch).await,
        };
        let writer = begun.map_err(|error| problem(&error))?;
        let made = write(parts, writer, (of, &erasures.ids), reach).await?;
        let Some(Made { finished, about, without, destroyed }) = made else { continue };
        let (id, digest) = (finished.manifest.id, finished.digest);
        let known = KnownBackup {
            repository: name.clone(),
            repository_id: repository.id().0,
            digest,
            at: id.at(),
            tenant: of,
            // One that is without a tenant is good for nothing that the last one was good for.
            verified: (!without.is_empty()).then_some((id.at(), false)),
        };
        let kept = parts.registry.know_backup(id.0, Some(known)).await;
        kept.map_err(|error| Problem::failed(format!("backup {id} was made, but it is not on record: {error}")))?;
        let mut said = format!(
            "backup {id} into {name}: {} records of {} tenants, manifest {}",
            about.records,
            about.tenants.len(),
            hex(&digest),
        );
        if !destroyed.is_empty() {
            said = format!("{said}; nothing of tenants whose keys were destroyed: {}", list::named(&destroyed));
        }
        if erasures.damaged > 0 {
            said =
                format!("{said}; {} damaged receipts of erasures are there that nobody here knows", erasures.damaged);
        }
        if !without.is_empty() {
            let names: Vec<String> = without.iter().map(|(tenant, why)| format!("{tenant} ({why})")).collect();
            return Err(Problem::failed(format!("{said}; WITHOUT the tenants {}", names.join(", "))));
        }
        reach.phase("removing old backups", 0);
        let removed = prune::run(parts, name, &repository).await?;
        if removed > 0 {
            said = format!("{said}; {removed} old ones removed");
        }
        return Ok(Ended { said, backup: Some(id.to_string()) });
    }
    Err(Problem::new(Exit::Unavailable, "keys or record types change faster than a backup is made").next("try again"))
}

/// Whether a trial has found a backup bad since the last one was made: what is in the repository is looked at then before it
/// is counted on.
fn is_doubted(known: &BTreeMap<[u8; 16], KnownBackup>) -> bool {
    let newest = known.values().map(|known| known.at).max();
    let bad = known.values().filter_map(|known| known.verified).filter(|(_, good)| !good).map(|(at, _)| at).max();
    bad > newest
}

/// In hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Made {
    finished: Finished,
    about: About,
    /// Tenants whose keys can't be had, and why.
    without: BTreeMap<TenantId, String>,
    /// Tenants of whom there is nothing to back up any more.
    destroyed: Vec<TenantId>,
}

/// Writes all of it; `None` if what belongs together has changed meanwhile.
async fn write(
    parts: &Parts,
    mut writer: Writer,
    (of, receipts): (Option<TenantId>, &[ReceiptId]),
    reach: &Arc<Reach>,
) -> Result<Option<Made>, Problem> {
    let before = Arc::clone(&parts.registry.facts().load().facts);
    let types = Arc::clone(&before.types);
    let mut ids: Vec<TenantId> = match of {
        Some(tenant) => vec![tenant],
        None => before.tenants.keys().copied().collect(),
    };
    ids.sort_unstable();
    let (mut tenants, mut without, mut destroyed) = (Vec::new(), BTreeMap::new(), Vec::new());
    reach.phase("backing records up, in bytes", 0);
    for id in ids {
        reach.go_on()?;
        let Some(wrapped) = parts.registry.wrapped_key(id) else { continue };
        let keys = parts.registry.tenant_keys();
        // The key management service may have to be asked, and that blocks.
        match tokio::task::spawn_blocking(move || keys.open(id)).await.map_err(|_| interrupted())? {
            Ok(()) => {}
            Err(KeyError::Kms(KmsError::Destroyed)) => {
                destroyed.push(id);
                continue;
            }
            Err(error) => {
                without.insert(id, error.to_string());
                continue;
            }
        }
        let mut moment = match parts.stored.moments.moment(id).await {
            Ok(moment) => moment,
            // Operators have no records.
            Err(StoreError::UnknownTenant) => continue,
            Err(error) => return Err(failed(&error)),
        };
        writer.section(Section::Tenant(id)).await.map_err(|error| problem(&error))?;
        let all = types.iter().map(|(record_type, _)| record_type);
        // Answers of a day and more ago are nobody's any more.
        let since = parts.clock.now().minus_ms(countersign_store::ONCE_MS);
        let counted = tenant::write(&mut *moment, all, since, &mut writer).await.map_err(|error| problem(&error))?;
        drop(moment);
        let epoch = parts.stored.carry.epoch(id).await.map_err(|error| failed(&error))?;
        let counts = parts.stored.carry.counts(id).await.map_err(|error| failed(&error))?;
        let since = parts.stored.histories.since(id).await.map_err(|error| failed(&error))?;
        let mut about = TenantAbout::new(id, wrapped.to_vec(), since, (epoch, &counts));
        (about.records, about.past) = (counted.rows, counted.past);
        tenants.push(about);
    }
    let sealed = parts.registry.sealed().await;
    let sealed = sealed.map_err(|error| Problem::failed(format!("facts can't be read: {error}")))?;
    let is_same = |one: &TenantAbout| sealed.wrapped.get(&one.id).is_some_and(|now| **now == *one.wrapped);
    if *sealed.facts.types != *types || !tenants.iter().all(is_same) {
        return Ok(None);
    }
    if of.is_none() {
        // Tenants that came since would be facts without records.
        let (now, then) = (&sealed.facts.tenants, &before.tenants);
        if now.len() != then.len() || !now.keys().all(|tenant| then.contains_key(tenant)) {
            return Ok(None);
        }
        reach.phase("backing facts and ledgers up, in bytes", 0);
        writer.section(Section::Control).await.map_err(|error| problem(&error))?;
        for piece in facts::pieces(sealed.rows)? {
            writer.chunk(piece).await.map_err(|error| problem(&error))?;
        }
        let path = parts.deployment.config();
        let config = std::fs::read(&path).map_err(io("read", &path))?;
        writer.section(Section::File(CONFIG.to_owned())).await.map_err(|error| problem(&error))?;
        writer.bytes(&config).await.map_err(|error| problem(&error))?;
        if !write_ledgers(parts, &mut writer, reach).await? {
            return Ok(None);
        }
    }
    let more = More { receipts: receipts.to_vec(), without: without.keys().copied().collect() };
    let about = About::new(of, (*types).clone(), tenants, more);
    let finished = writer.finish(about.to_note()?).await.map_err(|error| problem(&error))?;
    Ok(Some(Made { finished, about, without, destroyed }))
}

/// The section of the configuration file.
pub(super) const CONFIG: &str = "countersign.toml";

fn interrupted() -> Problem {
    Problem::failed("it was interrupted")
}

/// Every ledger of this process; `false` if records were removed from one meanwhile.
async fn write_ledgers(parts: &Parts, writer: &mut Writer, reach: &Arc<Reach>) -> Result<bool, Problem> {
    let unread = |error: std::io::Error| Problem::failed(format!("a ledger can't be read: {}", error.kind()));
    for (service, seen) in ledgers::seen(&parts.ledgers).map_err(unread)? {
        writer.section(Section::Ledger(format!("{service}/{SEEN}"))).await.map_err(|error| problem(&error))?;
        writer.bytes(&seen).await.map_err(|error| problem(&error))?;
    }
    for ledger in &parts.ledgers {
        let before = ledgers::removed(ledger).map_err(unread)?;
        let storage = ledger.storage();
        for name in ledgers::names(&*storage) {
            let name = name.map_err(unread)?;
            let Some(mut file) = ledgers::open(&*storage, &name).map_err(unread)? else { return Ok(false) };
            let section = Section::Ledger(format!("{}/{name}", ledger.service()));
            writer.section(section).await.map_err(|error| problem(&error))?;
            while let Some(piece) = file.next().map_err(unread)? {
                reach.go_on()?;
                writer.bytes(&piece).await.map_err(|error| problem(&error))?;
            }
        }
        if ledgers::removed(ledger).map_err(unread)? != before {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use countersign_model::UnixMs;

    use super::*;

    #[test]
    fn a_bad_trial_is_a_reason_to_look_until_the_next_backup() {
        let known = |at: u64, verified: Option<(u64, bool)>| KnownBackup {
            repository: Name::new("r").unwrap(),
            repository_id: [0; 16],
            digest: [0; 32],
            at: UnixMs(at),
            tenant: None,
            verified: verified.map(|(at, good)| (UnixMs(at), good)),
        };
        let mut all = BTreeMap::new();
        assert!(!is_doubted(&all));
        all.insert([1; 16], known(10, Some((15, true))));
        assert!(!is_doubted(&all));
        all.insert([2; 16], known(20, Some((20, false))));
        assert!(!is_doubted(&all), "it was made without a tenant");
        all.insert([1; 16], known(10, Some((25, false))));
        assert!(is_doubted(&all));
        all.insert([3; 16], known(30, None));
        assert!(!is_doubted(&all));
    }
}
