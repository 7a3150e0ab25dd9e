//! What is in a repository, held against what the deployment knows.

use std::collections::{BTreeMap, BTreeSet};

use countersign_authority::{KnownBackup, rfc3339};
use countersign_backup::BackupId;
use countersign_model::{Name, TenantId};
use serde_json::{Value, json};

use super::Parts;
use super::about::About;
use super::repository::{self, problem};
use crate::problem::Problem;

/// Newest first.
pub(super) async fn run(parts: &Parts, name: &Name) -> Result<Value, Problem> {
    let known = known(parts, name);
    let Some(repository) = repository::find(parts, name).await? else {
        let all = known.iter().rev().map(|(id, known)| entry(BackupId(*id), Some(known), "missing"));
        return Ok(json!({ "repository": name, "backups": all.collect::<Vec<_>>() }));
    };
    let there: BTreeSet<BackupId> = repository.backups().await.map_err(|error| problem(&error))?.into_iter().collect();
    let ids: BTreeSet<BackupId> = there.iter().copied().chain(known.keys().copied().map(BackupId)).collect();
    let mut all = Vec::new();
    for id in ids.into_iter().rev() {
        let known = known.get(&id.0);
        if !there.contains(&id) {
            all.push(entry(id, known, "missing"));
            continue;
        }
        let (manifest, digest) = match repository.manifest(id, None).await {
            Ok(read) => read,
            Err(error) => {
                // Something whole that is another's is in its place; or what is there does not open.
                let state = if repository::is_swapped(&error) { "swapped" } else { "damaged" };
                let mut entry = entry(id, known, state);
                add(&mut entry, "problem", json!(error.to_string()));
                all.push(entry);
                continue;
            }
        };
        let state = match known {
            Some(known) if known.digest == digest => "good",
            Some(_) => "swapped",
            None => "unknown",
        };
        let (mut entry, mut without) = (entry(id, known, state), Vec::new());
        add(&mut entry, "bytes", json!(manifest.bytes()));
        match About::of_note(&manifest.note) {
            Ok(about) => {
                add(&mut entry, "records", json!(about.records));
                if let Some(tenant) = about.of {
                    add(&mut entry, "tenant", json!(tenant));
                }
                without = about.more.without;
            }
            Err(problem) => add(&mut entry, "problem", json!(problem.to_string())),
        }
        if !without.is_empty() && state == "good" {
            add(&mut entry, "state", json!("incomplete"));
            add(&mut entry, "problem", json!(format!("it is without the tenants {}", named(&without))));
        } else if let (Some((_, false)), "good") = (known.and_then(|known| known.verified), state) {
            add(&mut entry, "state", json!("damaged"));
            add(&mut entry, "problem", json!("a trial has found it bad"));
        }
        all.push(entry);
    }
    Ok(json!({ "repository": name, "backups": all }))
}

/// Tenants by their ids.
pub(super) fn named(tenants: &[TenantId]) -> String {
    tenants.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a backup has been without a tenant from the beginning, so that it stands for no other.
pub(super) fn is_incomplete(known: &KnownBackup) -> bool {
    known.verified == Some((known.at, false))
}

/// What the deployment knows of a repository.
pub(super) fn known(parts: &Parts, name: &Name) -> BTreeMap<[u8; 16], KnownBackup> {
    let known = parts.registry.backups();
    known.into_iter().filter(|(_, known)| known.repository == *name).collect()
}

fn entry(id: BackupId, known: Option<&KnownBackup>, state: &str) -> Value {
    let mut entry = json!({ "id": id.to_string(), "at": rfc3339(id.at()), "state": state });
    if let Some(known) = known {
        if let Some(tenant) = known.tenant {
            add(&mut entry, "tenant", json!(tenant));
        }
        if let Some((at, good)) = known.verified {
            add(&mut entry, "verified", json!(rfc3339(at)));
            add(&mut entry, "verified_good", json!(good));
        }
    }
    entry
}

fn add(entry: &mut Value, key: &str, value: Value) {
    if let Some(object) = entry.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}
