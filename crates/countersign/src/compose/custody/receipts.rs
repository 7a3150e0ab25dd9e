//! Erasures and repositories: receipts are kept there, and what is there of what was erased is looked for.

use std::collections::BTreeSet;

use countersign_authority::Finding;
use countersign_backup::{Manifest, Repository, Section};
use countersign_model::Name;
use countersign_model::erasure::{Erased, Receipt, Receipts};

use super::about::About;
use super::repository::{self, problem};
use super::{Parts, cells, lay};
use crate::problem::Problem;

/// Puts a copy into every repository. Each with what kept it from that, if anything did.
pub(super) async fn keep(parts: &Parts, receipt: &Receipt) -> Vec<(Name, Option<String>)> {
    let mut kept = Vec::new();
    for name in parts.config.backups.keys() {
        let failed = keep_in(parts, name, receipt).await.err().map(|problem| problem.to_string());
        kept.push((name.clone(), failed));
    }
    kept
}

async fn keep_in(parts: &Parts, name: &Name, receipt: &Receipt) -> Result<(), Problem> {
    // A repository that is not there yet gets all receipts with the first backup.
    let Some(repository) = repository::open_if_there(parts, name).await? else { return Ok(()) };
    let mut receipts = (*parts.registry.receipts()).clone();
    receipts.add(receipt.clone());
    put(&repository, &receipts).await
}

fn damaged() -> Problem {
    Problem::failed("a receipt of an erasure is damaged, or was taken away from the repository")
}

/// What was erased, as the repository knows it. Each copy says which one was there before it, so that one that is taken away
/// is missed, unless all that came after it are taken away too.
pub(super) async fn of(repository: &Repository) -> Result<Receipts, Problem> {
    let kept = repository.receipts().await.map_err(|error| problem(&error))?;
    let (mut ids, mut before) = (BTreeSet::from([[0; 16]]), Vec::new());
    let mut receipts = Receipts::default();
    for (id, bytes) in kept {
        let (receipt, previous) = postcard::take_from_bytes::<Receipt>(&bytes).map_err(|_| damaged())?;
        let previous: [u8; 16] = previous.try_into().map_err(|_| damaged())?;
        if *receipt.id.as_bytes() != id {
            return Err(damaged());
        }
        ids.insert(id);
        before.push(previous);
        receipts.add(receipt);
    }
    if before.iter().all(|previous| ids.contains(previous)) { Ok(receipts) } else { Err(damaged()) }
}

/// Puts those that a repository has not there.
async fn put(repository: &Repository, receipts: &Receipts) -> Result<(), Problem> {
    let there = of(repository).await?;
    let mut before = there.iter().last().map_or([0; 16], |last| *last.id.as_bytes());
    let finished = receipts.iter().filter(|receipt| receipt.finished.is_some());
    for receipt in finished.filter(|receipt| there.find(receipt.id).is_none()) {
        let mut bytes = postcard::to_allocvec(receipt).map_err(|_| Problem::failed("a receipt can't be written"))?;
        bytes.extend(before);
        before = *receipt.id.as_bytes();
        repository.keep_receipt(before, &bytes).await.map_err(|error| problem(&error))?;
    }
    Ok(())
}

/// Puts every receipt that there is into every repository, as far as they are there.
pub(super) async fn keep_all(parts: &Parts) {
    if parts.registry.receipts().iter().next().is_none() {
        return;
    }
    for name in parts.config.backups.keys() {
        let kept = async {
            let Some(repository) = repository::open_if_there(parts, name).await? else { return Ok(()) };
            put_all(parts, &repository).await
        };
        if let Err(problem) = kept.await {
            let problem: Problem = problem;
            tracing::warn!(repository = %name, %problem, "receipts of erasures are not in a repository; it is tried again");
        }
    }
}

/// Puts every receipt that there is into a repository.
pub(super) async fn put_all(parts: &Parts, repository: &Repository) -> Result<(), Problem> {
    put(repository, &parts.registry.receipts()).await
}

/// What backups still have of something that was erased.
pub(super) async fn look_for(parts: &Parts, receipt: &Receipt) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in parts.config.backups.keys() {
        let place = format!("backups in {name}");
        findings.push(match look_in(parts, name, receipt).await {
            Ok((0, _)) => Finding::nothing(place),
            Ok((found, Opens::Nothing)) => {
                let says = "sealed under keys that were destroyed: nobody opens it any more".to_owned();
                Finding { place, clean: true, found, says }
            }
            Ok((found, Opens::Something)) => {
                let says = match receipt.erased {
                    Erased::Principal { .. } => "made before; every restore leaves it out, and it is gone when these backups are removed",
                    _ => "made before; every restore leaves it out. Whoever has the repository and all keys could open it until \
                          these backups are removed, or the tenant's key of then is: keys rotate, and keys destroy when it is done",
                };
                Finding { place, clean: false, found, says: says.to_owned() }
            }
            Err(problem) => Finding { place, clean: false, found: 0, says: format!("could not be looked at: {problem}") },
        });
    }
    findings
}

/// Whether any of it still opens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opens {
    Nothing,
    Something,
}

async fn look_in(parts: &Parts, name: &Name, receipt: &Receipt) -> Result<(u64, Opens), Problem> {
    let Some(repository) = repository::open_if_there(parts, name).await? else { return Ok((0, Opens::Nothing)) };
    if receipt.finished.is_some() && of(&repository).await?.find(receipt.id).is_none() {
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
    Ok((found, opens))
}

fn has(manifest: &Manifest, receipt: &Receipt) -> bool {
    match receipt.erased {
        Erased::Tenant | Erased::Records { .. } => manifest.section(&Section::Tenant(receipt.tenant)).is_some(),
        Erased::Principal { .. } => manifest.section(&Section::Control).is_some(),
    }
}
