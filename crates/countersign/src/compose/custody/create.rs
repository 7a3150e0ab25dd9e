//! A backup: each tenant of one moment, then the facts, and the ledgers last, so that they have every record of what is in
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_audit::ledger::carry::SEEN;
use countersign_authority::KnownBackup;
use countersign_backup::{Finished, Section, Writer, tenant};
use countersign_model::{Name, TenantId};
use countersign_store::StoreError;

use super::about::{About, TenantAbout};
use super::jobs::{Ended, Reach};
use super::records::failed;
use super::repository::{self, problem};
use super::{Parts, facts, ledgers, prune, receipts};
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
    receipts::put_all(parts, &repository).await?;
    for _ in 0..TRIES {
        let writer = repository
            .begin(repository::keys(parts.registry.tenant_keys()), repository::watch(reach))
            .await
            .map_err(|error| problem(&error))?;
        let Some(Made { finished, about, without }) = write(parts, writer, of, reach).await? else { continue };
        let (id, digest) = (finished.manifest.id, finished.digest);
        let known = KnownBackup {
            repository: name.clone(),
            repository_id: repository.id().0,
            digest,
            at: id.at(),
            tenant: of,
            verified: None,
        };
        let kept = parts.registry.know_backup(id.0, Some(known)).await;
        kept.map_err(|error| Problem::failed(format!("backup {id} was made, but it is not on record: {error}")))?;
        reach.phase("removing old backups", 0);
        let removed = prune::run(parts, name, &repository).await?;
        let mut said = format!(
            "backup {id} into {name}: {} records of {} tenants, manifest {}",
            about.records,
            about.tenants.len(),
            hex(&digest),
        );
        if removed > 0 {
            said = format!("{said}; {removed} old ones removed");
        }
        if !without.is_empty() {
            let names: Vec<String> = without.iter().map(|(tenant, why)| format!("{tenant} ({why})")).collect();
            return Err(Problem::failed(format!("{said}; WITHOUT the tenants {}", names.join(", "))));
        }
        return Ok(Ended { said, backup: Some(id.to_string()) });
    }
    Err(Problem::new(Exit::Unavailable, "keys or record types change faster than a backup is made").next("try again"))
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
}

/// Writes all of it; `None` if what belongs together has changed meanwhile.
async fn write(
    parts: &Parts,
    mut writer: Writer,
    of: Option<TenantId>,
    reach: &Arc<Reach>,
) -> Result<Option<Made>, Problem> {
    let before = Arc::clone(&parts.registry.facts().load().facts);
    let types = Arc::clone(&before.types);
    let mut ids: Vec<TenantId> = match of {
        Some(tenant) => vec![tenant],
        None => before.tenants.keys().copied().collect(),
    };
    ids.sort_unstable();
    let (mut tenants, mut without) = (Vec::new(), BTreeMap::new());
    reach.phase("backing records up, in bytes", 0);
    for id in ids {
        reach.go_on()?;
        let Some(wrapped) = parts.registry.wrapped_key(id) else { continue };
        let keys = parts.registry.tenant_keys();
        // The key management service may have to be asked, and that blocks.
        if let Err(error) = tokio::task::spawn_blocking(move || keys.open(id)).await.map_err(|_| interrupted())? {
            without.insert(id, error.to_string());
            continue;
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
        if sealed.facts.tenants.len() != before.tenants.len() {
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
    let about = About::new(of, (*types).clone(), tenants);
    let finished = writer.finish(about.to_note()?).await.map_err(|error| problem(&error))?;
    Ok(Some(Made { finished, about, without }))
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
