//! A trial: a backup laid out as a scratch deployment, every cell of it opened, and all of it held against the manifest and
//! against what is stored now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use countersign_audit::ledger::storage::Folder;
use countersign_audit::verify::{Against, storage as check_ledger};
use countersign_authority::{KnownBackup, Registry};
use countersign_backup::BackupId;
use countersign_crypto::sealed_epoch;
use countersign_keys::TenantKeys;
use countersign_model::beside::{Beside, Served};
use countersign_model::erasure::Receipts;
use countersign_model::{Name, TenantId};
use countersign_store::SqliteStore;
use countersign_store::carry::{CarriedRow, Moments as _};

use super::about::About;
use super::cells::{self, Cells};
use super::jobs::{Ended, Reach};
use super::records::{Records, failed};
use super::repository::{self, problem};
use super::scratch::Scratch;
use super::{Parts, lay, list};
use crate::deployment::Deployment;
use crate::problem::{Exit, Problem, io};

pub(super) async fn run(
    parts: &Parts,
    name: &Name,
    backup: Option<&str>,
    reach: &Arc<Reach>,
) -> Result<Ended, Problem> {
    let known = list::known(parts, name);
    let id = match backup {
        Some(text) => repository::id(text)?,
        None => {
            let newest = known
                .iter()
                .filter(|(_, known)| known.tenant.is_none() && !list::is_incomplete(known))
                .max_by_key(|(_, known)| known.at);
            let none = || Problem::new(Exit::NotFound, format!("there is no backup in {name} to try"));
            newest.map(|(id, _)| BackupId(*id)).ok_or_else(none)?
        }
    };
    let tried = {
        let folder = Scratch::make(&parts.deployment, "verify", id)?;
        let tried = try_it(parts, name, id, known.get(&id.0), &folder, reach).await;
        drop(folder);
        tried
    };
    // What could not be reached, or was ended, says nothing of the backup.
    let is_judged = tried.as_ref().err().is_none_or(|problem| problem.exit == Exit::Failed);
    let tried_now = known.get(&id.0).filter(|known| !list::is_incomplete(known));
    if tried_now.is_some() && is_judged && !reach.is_stopped() {
        let kept = parts.registry.judge_backup(id.0, parts.clock.now(), tried.is_ok()).await;
        let is_there = kept.map_err(|error| Problem::failed(format!("what came of it is not kept: {error}")))?;
        // What is missing of one that was removed meanwhile is no damage, and nobody need be woken.
        if !is_there {
            return Ok(Ended { said: format!("backup {id} of {name} was removed while it was tried"), backup: None });
        }
    }
    let Tried { cells, records, tenants, compared } =
        tried.map_err(|problem| problem.during(&format!("backup {id}")))?;
    let said = format!(
        "backup {id} of {name} is good: {records} records of {tenants} tenants, {cells} cells opened, {compared} records \
         the same as now"
    );
    Ok(Ended { said, backup: Some(id.to_string()) })
}

/// What a trial came to.
#[derive(Default)]
struct Tried {
    cells: u64,
    records: u64,
    tenants: u64,
    compared: u64,
}

async fn try_it(
    parts: &Parts,
    name: &Name,
    id: BackupId,
    known: Option<&KnownBackup>,
    folder: &Scratch,
    reach: &Arc<Reach>,
) -> Result<Tried, Problem> {
    let repository = repository::open(parts, name).await?;
    let on_record = known.map(|known| known.digest);
    let (manifest, _) = repository.manifest(id, on_record).await.map_err(|error| problem(&error))?;
    let about = About::of_note(&manifest.note)?;
    let keys = cells::keys(&parts.kms, about.wrapped());
    let without = lay::without_keys(&about, &keys).await?;
    reach.phase("reading every chunk, in bytes", manifest.bytes());
    let reader = repository.reader(manifest, repository::keys(Arc::clone(&keys)), repository::watch(reach));
    reader.verify_all().await.map_err(|error| problem(&error))?;

    let deployment = folder.deployment();
    // Every record, also those that were erased since: they are here for as long as this takes.
    let receipts = Receipts::default();
    let mut watch = super::tenant::watch(reach);
    if about.of.is_none() {
        lay::facts(&reader, &deployment).await?;
        lay::ledgers(&reader, &deployment, &mut watch).await?;
        facts_open(parts, &deployment)?;
        let beside = reach.beside();
        tokio::task::block_in_place(|| ledgers_are_whole(&deployment, &beside))?;
    }
    let laid = lay::records(&reader, &about, &deployment, (&receipts, &without), &mut watch).await?;
    let mut tried = Tried { records: laid.records, tenants: laid.tenants, ..Tried::default() };
    reach.phase("opening every cell", laid.records);
    for tenant in about.tenants.iter().filter(|tenant| !without.contains_key(&tenant.id)) {
        let counted = open_all(parts, &laid.store, &about, tenant.id, &keys, reach, &mut tried).await?;
        if counted != (tenant.records, tenant.past) {
            return Err(Problem::failed(format!("damaged: tenant {} has not as many records as it says", tenant.id)));
        }
    }
    if !about.more.without.is_empty() {
        let names = list::named(&about.more.without);
        return Err(Problem::failed(format!("what is in it is good, but it is without the tenants {names}")));
    }
    Ok(tried)
}

/// Every fact opens, but for those of tenants that were erased since.
fn facts_open(parts: &Parts, deployment: &Deployment) -> Result<(), Problem> {
    let receipts = parts.registry.receipts();
    let parts = crate::compose::registry_parts(deployment, &parts.config, parts.kms.clone());
    let opened = Registry::open_without(parts, &|tenant| receipts.is_tenant_erased(tenant));
    opened.map(drop).map_err(|error| Problem::failed(format!("damaged: the facts do not open: {error}")))
}

fn ledgers_are_whole(deployment: &Deployment, beside: &Served) -> Result<(), Problem> {
    let audit = deployment.audit();
    for entry in std::fs::read_dir(&audit).map_err(io("read", &audit))? {
        let path = entry.map_err(io("read", &audit))?.path();
        let storage = Folder::open(&path).map_err(io("open", &path))?;
        let against = Against { at_rest: false, ..Against::default() };
        let mut piece = Beside::begin(beside, Instant::now());
        let mut rest = |_, _| {
            std::thread::sleep(piece.rest(Instant::now()));
            piece = Beside::begin(beside, Instant::now());
        };
        let report = check_ledger(Arc::new(storage), &against, &mut rest);
        let report = report.map_err(|error| Problem::failed(format!("damaged: a ledger: {error}")))?;
        if let Some(finding) = report.findings.first() {
            return Err(Problem::failed(format!("damaged: a ledger: {finding}")));
        }
    }
    Ok(())
}

/// Opens every cell of a tenant, and compares what has not changed since. Gives how many records and past states there are.
async fn open_all(
    parts: &Parts,
    store: &SqliteStore,
    about: &About,
    tenant: TenantId,
    keys: &Arc<TenantKeys>,
    reach: &Arc<Reach>,
    tried: &mut Tried,
) -> Result<(u64, u64), Problem> {
    let mut moment = store.moment(tenant).await.map_err(|error| failed(&error))?;
    let (mut rows, mut past, mut plain) = (0u64, 0u64, Vec::new());
    let beside = reach.beside();
    let mut piece = Beside::begin(&beside, Instant::now());
    for (record_type, _) in about.types.iter() {
        let mut records = Records::of(&mut *moment, record_type);
        let mut page: BTreeMap<_, CarriedRow> = BTreeMap::new();
        loop {
            let next = records.next().await?;
            let is_last = next.is_none();
            if let Some(whole) = next {
                reach.add(1);
                reach.go_on()?;
                let cells = Cells { tenant, types: &about.types, keys };
                let all = whole.past.iter().map(|past| &past.row).chain(&whole.now);
                // A key management service may have to be asked, and that blocks.
                let opened = tokio::task::block_in_place(|| {
                    all.map(|row| cells.check(record_type, row, &mut plain)).sum::<Result<u64, Problem>>()
                })?;
                tried.cells = tried.cells.saturating_add(opened);
                past = past.saturating_add(whole.past.len() as u64);
                if let Some(row) = whole.now {
                    rows = rows.saturating_add(1);
                    page.insert(row.record, row);
                }
            }
            if page.len() >= 500 || (is_last && !page.is_empty()) {
                let page = std::mem::take(&mut page);
                let ids: Vec<_> = page.keys().copied().collect();
                // A tenant that is no more has nothing to compare with.
                let live = parts.stored.carry.these(tenant, record_type, &ids).await.unwrap_or_default();
                for stored in live {
                    let Some(was) = page.get(&stored.record) else { continue };
                    if stored.version != was.version || stored.at != was.at {
                        continue;
                    }
                    if !is_same(was, &stored) {
                        let message =
                            format!("record {} is stored otherwise, though it has not changed", stored.record);
                        return Err(Problem::failed(message));
                    }
                    tried.compared = tried.compared.saturating_add(1);
                }
                tokio::time::sleep(piece.rest(Instant::now())).await;
                piece = Beside::begin(&beside, Instant::now());
            }
            if is_last {
                break;
            }
        }
    }
    Ok((rows, past))
}

/// Whether two rows of one version have the same cells, as far as they are of one key epoch: others were sealed again.
fn is_same(was: &CarriedRow, now: &CarriedRow) -> bool {
    let fields = |row: &CarriedRow| row.cells.iter().map(|(field, _)| *field).collect::<Vec<_>>();
    let is_one =
        |((_, was), (_, now)): (&(_, Vec<u8>), &(_, Vec<u8>))| was == now || sealed_epoch(was) != sealed_epoch(now);
    fields(was) == fields(now) && was.cells.iter().zip(&now.cells).all(is_one)
}
