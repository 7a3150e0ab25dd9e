//! Erasures and repositories: receipts are kept there, and what is there of what was erased is looked for.

use std::collections::{BTreeMap, BTreeSet};

use countersign_authority::Finding;
use countersign_backup::{BackupError, Manifest, ReceiptId, Repository, Section};
use countersign_model::erasure::{Erased, Receipt, Receipts};
use countersign_model::{Name, RequestId};

use super::about::About;
use super::repository::{self, problem};
use super::{Parts, cells, lay};
use crate::problem::Problem;
use crate::relocate::MOVED;

/// Puts a copy into every repository. Each with what kept it from that, if anything did.
pub(super) async fn keep(parts: &Parts, receipt: &Receipt) -> Vec<(Name, Option<String>)> {
    let mut kept = Vec::new();
    for name in parts.config.backups.keys() {
        let failed = keep_in(parts, name, receipt).await.err().map(|problem| told(name, receipt, &problem));
        kept.push((name.clone(), failed));
    }
    for (name, _) in unconfigured(parts, receipt) {
        kept.push((name, Some(NOT_CONFIGURED.to_owned())));
    }
    kept
}

/// What whoever erases or proves is told of a repository that can't be reached or read: where it is and what it lacks is the
/// operators' matter, and in their log. Only operators erase tenants.
fn told(name: &Name, receipt: &Receipt, problem: &Problem) -> String {
    tracing::warn!(repository = %name, receipt = %receipt.id, %problem, "a repository can't be asked about an erasure");
    match receipt.erased {
        Erased::Tenant => problem.to_string(),
        Erased::Records { .. } | Erased::Principal { .. } => "the log of the deployment says why".to_owned(),
    }
}

const NOT_CONFIGURED: &str = "the configuration does not name this repository any more, though backups in it are known";

/// Repositories that the configuration names no more, each with how many backups in it may have what was erased.
fn unconfigured(parts: &Parts, receipt: &Receipt) -> BTreeMap<Name, u64> {
    let mut found = BTreeMap::new();
    for known in parts.registry.backups().into_values() {
        let may_have_it = known.at <= receipt.finished.unwrap_or(receipt.begun)
            && known.tenant.is_none_or(|tenant| tenant == receipt.tenant);
        if may_have_it && !parts.config.backups.contains_key(&known.repository) {
            let count: &mut u64 = found.entry(known.repository).or_default();
            *count = count.saturating_add(1);
        }
    }
    found
}

async fn keep_in(parts: &Parts, name: &Name, receipt: &Receipt) -> Result<(), Problem> {
    // A repository that is not there yet gets all receipts with the first backup.
    let Some(repository) = repository::open_if_there(parts, name).await? else { return Ok(()) };
    let mut receipts = (*parts.registry.receipts()).clone();
    receipts.add(receipt.clone());
    put(&repository, &receipts).await
}

/// What a repository has of receipts.
#[derive(Default)]
struct There {
    receipts: Receipts,
    /// Those that do not open, or are not what they are called.
    damaged: Vec<ReceiptId>,
    /// Those that were there before others came.
    before: BTreeSet<ReceiptId>,
}

impl There {
    async fn of(repository: &Repository) -> Result<Self, Problem> {
        let mut there = Self::default();
        for (id, bytes) in repository.receipts().await.map_err(|error| problem(&error))? {
            match bytes.ok().and_then(|bytes| opened(id, &bytes)) {
                Some((receipt, before)) => {
                    there.receipts.add(receipt);
                    there.before.insert(before);
                }
                None => there.damaged.push(id),
            }
        }
        there.before.remove(&FIRST);
        Ok(there)
    }

    fn has(&self, id: &ReceiptId) -> bool {
        self.receipts.find(RequestId::from_bytes(*id)).is_some()
    }
}

/// Stands for the one before the first.
const FIRST: ReceiptId = [0; 16];

fn opened(id: ReceiptId, bytes: &[u8]) -> Option<(Receipt, ReceiptId)> {
    let (receipt, before) = postcard::take_from_bytes::<Receipt>(bytes).ok()?;
    (*receipt.id.as_bytes() == id).then_some((receipt, before.try_into().ok()?))
}

fn sealed_form(receipt: &Receipt, before: ReceiptId) -> Result<Vec<u8>, Problem> {
    let mut bytes = postcard::to_allocvec(receipt).map_err(|_| Problem::failed("a receipt can't be written"))?;
    bytes.extend(before);
    Ok(bytes)
}

/// What was erased, as the repository knows it, if it has every receipt that it ever had. Backups name the receipts that were
/// there when they were made, and each receipt one that was there before it: so one that is taken away is missed, unless
/// everything that came after it is taken away too.
pub(super) async fn of(repository: &Repository) -> Result<Receipts, Problem> {
    let there = There::of(repository).await?;
    if !there.damaged.is_empty() {
        return Err(Problem::failed(format!(
            "{} receipts of erasures in the repository are damaged",
            there.damaged.len()
        ))
        .next("a backup by the deployment that made them writes them again"));
    }
    let mut named = there.before.clone();
    for id in repository.backups().await.map_err(|error| problem(&error))? {
        match repository.manifest(id, None).await {
            Ok((manifest, _)) => named.extend(About::of_note(&manifest.note)?.more.receipts),
            // It says nothing. Whether that is a reason to restore nothing is for whoever chooses a backup.
            Err(BackupError::Damaged(_)) => {}
            Err(error) => return Err(problem(&error)),
        }
    }
    let missing = named.iter().filter(|id| !there.has(id)).count();
    if missing > 0 {
        return Err(Problem::failed(format!("{missing} receipts of erasures were taken away from the repository"))
            .next(
                "bring the folder receipts back from where it was copied: without it what was erased would come back",
            ));
    }
    Ok(there.receipts)
}

/// Puts those that a repository has not there.
async fn put(repository: &Repository, receipts: &Receipts) -> Result<(), Problem> {
    let there = repository.receipt_ids().await.map_err(|error| problem(&error))?;
    let mut before = there.last().copied().unwrap_or(FIRST);
    let finished = receipts.iter().filter(|receipt| receipt.finished.is_some());
    for receipt in finished.filter(|receipt| !there.contains(receipt.id.as_bytes())) {
        let (id, bytes) = (*receipt.id.as_bytes(), sealed_form(receipt, before)?);
        repository.keep_receipt(id, &bytes).await.map_err(|error| problem(&error))?;
        before = id;
    }
    Ok(())
}

/// What a repository has of receipts once it has all of the deployment's.
pub(super) struct Kept {
    pub(super) ids: Vec<ReceiptId>,
    /// How many are damaged that the deployment does not know.
    pub(super) damaged: usize,
}

/// Puts every receipt that there is into a repository, also in place of those that are damaged there.
pub(super) async fn put_all(parts: &Parts, repository: &Repository) -> Result<Kept, Problem> {
    let receipts = parts.registry.receipts();
    put(repository, &receipts).await?;
    let there = There::of(repository).await?;
    let mut kept = Kept { ids: there.receipts.iter().map(|receipt| *receipt.id.as_bytes()).collect(), damaged: 0 };
    for id in there.damaged {
        let known = receipts.find(RequestId::from_bytes(id)).filter(|receipt| receipt.finished.is_some());
        match known {
            Some(receipt) => {
                let bytes = sealed_form(receipt, FIRST)?;
                repository.replace_receipt(id, &bytes).await.map_err(|error| problem(&error))?;
                kept.ids.push(id);
            }
            None => kept.damaged = kept.damaged.saturating_add(1),
        }
    }
    Ok(kept)
}

/// Puts every receipt that there is into every repository, as far as they are there.
pub(super) async fn keep_all(parts: &Parts) {
    if parts.registry.receipts().iter().next().is_none() {
        return;
    }
    for name in parts.config.backups.keys() {
        let kept = async {
            let Some(repository) = repository::open_if_there(parts, name).await? else { return Ok(()) };
            put(&repository, &parts.registry.receipts()).await
        };
        if let Err(problem) = kept.await {
            let problem: Problem = problem;
            tracing::warn!(repository = %name, %problem, "receipts of erasures are not in a repository; it is tried again");
        }
    }
}

/// What backups still have of something that was erased.
pub(super) async fn look_for(parts: &Parts, receipt: &Receipt) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in parts.config.backups.keys() {
        let place = format!("backups in {name}");
        findings.push(match look_in(parts, name, receipt).await {
            Ok(Seen { found: 0, unlisted: 0, .. }) => Finding::nothing(place),
            // How many there are depends on what others have changed.
            Ok(Seen { found: 0, .. }) => {
                let says = "chunks are in no backup, and may be of what was erased: the next backup removes them";
                Finding { place, clean: false, found: 0, says: says.to_owned() }
            }
            Ok(Seen { found, opens: Opens::Nothing, .. }) => {
                let says = "sealed under keys that were destroyed: nobody opens it any more".to_owned();
                Finding { place, clean: true, found, says }
            }
            Ok(Seen { found, opens: Opens::Something, .. }) => {
                let says = match receipt.erased {
                    Erased::Principal { .. } => "made before; every restore leaves it out, and it is gone when these backups are removed",
                    _ => "made before; every restore leaves it out. Whoever has the repository and all keys could open it until \
                          these backups are removed, or the tenant's key of then is: keys rotate, and keys destroy when it is done",
                };
                Finding { place, clean: false, found, says: says.to_owned() }
            }
            Err(problem) => {
                let says = format!("could not be looked at: {}", told(name, receipt, &problem));
                Finding { place, clean: false, found: 0, says }
            }
        });
    }
    for (name, backups) in unconfigured(parts, receipt) {
        let says = format!("could not be looked at: {NOT_CONFIGURED}");
        findings.push(Finding { place: format!("backups in {name}"), clean: false, found: backups, says });
    }
    findings.extend(left_by_moves(parts, receipt));
    findings
}

/// What the deployment had before it moved elsewhere, until somebody deletes it. An erased tenant's keys are destroyed there too.
fn left_by_moves(parts: &Parts, receipt: &Receipt) -> Option<Finding> {
    let place = "what a move has left in the deployment's folder";
    if receipt.erased == Erased::Tenant {
        return None;
    }
    let found = match std::fs::read_dir(parts.deployment.dir()) {
        Ok(entries) => entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(MOVED)).count(),
        Err(error) => return Some(Finding::unknown(place, &error.kind().to_string())),
    };
    let says = "sealed under keys that are in use: delete the folders moved-* (docs/postgres.md)";
    (found > 0).then(|| Finding::count(place, found as u64, says))
}

/// What was found in a repository.
struct Seen {
    /// Backups that have it.
    found: u64,
    opens: Opens,
    /// Chunks that no backup has, if they could be of it.
    unlisted: u64,
}

/// Whether any of it still opens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opens {
    Nothing,
    Something,
}

async fn look_in(parts: &Parts, name: &Name, receipt: &Receipt) -> Result<Seen, Problem> {
    let none = Seen { found: 0, opens: Opens::Nothing, unlisted: 0 };
    let Some(repository) = repository::open_if_there(parts, name).await? else { return Ok(none) };
    if receipt.finished.is_some() && !There::of(&repository).await?.has(receipt.id.as_bytes()) {
        return Err(Problem::failed(
            "it has no copy of the receipt, so restores elsewhere would not heed it: make a backup",
        ));
    }
    let (mut found, mut opens) = (0u64, Opens::Nothing);
    let end = receipt.finished.unwrap_or(receipt.begun);
    for id in repository.backups().await.map_err(|error| problem(&error))? {
        let (manifest, _) = repository.manifest(id, None).await.map_err(|error| problem(&error))?;
        if manifest.at > end || !has(&manifest, receipt) {
            continue;
        }
        found = found.saturating_add(1);
        let mut about = About::of_note(&manifest.note)?;
        about.tenants.retain(|one| one.id == receipt.tenant);
        let keys = cells::keys(&parts.kms, about.wrapped());
        // Facts of a tenant are under a key that dies with the tenant; of a principal alone they stay as they are.
        let without = lay::without_keys(&about, &keys).await?;
        if matches!(receipt.erased, Erased::Principal { .. }) || !without.contains_key(&receipt.tenant) {
            opens = Opens::Something;
        }
    }
    // What is in them is sealed under keys that went with the tenant.
    let unlisted = match receipt.erased {
        Erased::Tenant => 0,
        _ => repository.unlisted().await.map_err(|error| problem(&error))?,
    };
    Ok(Seen { found, opens, unlisted })
}

fn has(manifest: &Manifest, receipt: &Receipt) -> bool {
    match receipt.erased {
        Erased::Tenant | Erased::Records { .. } => manifest.section(&Section::Tenant(receipt.tenant)).is_some(),
        Erased::Principal { .. } => manifest.section(&Section::Control).is_some(),
    }
}
