//! What is really there after a restart, against what each client was told.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use countersign_testkit::Client;
use serde_json::Value;

use super::writer::{Pending, Writer, content};

/// Records asked for at once.
const BATCH: usize = 100;
/// Audit records asked for at once.
const PAGE: usize = 1000;

/// The audit records read so far.
#[derive(Default)]
pub struct Trail {
    /// Where the last answer ended; empty before the first.
    after: String,
    completed: BTreeSet<String>,
    /// How many.
    pub read: u64,
}

/// Every record that the writer was told of, and the write that was cut off.
pub fn records(client: &Client, writer: &mut Writer) -> Result<()> {
    let pending = writer.pending.take();
    let mut ids: Vec<String> = writer.records.keys().chain(&writer.gone).cloned().collect();
    if let Some(Pending::Insert(more)) = &pending {
        ids.extend(more.iter().cloned());
    }
    let found = fetch(client, &ids)?;
    let uncertain: &[String] = match &pending {
        Some(Pending::Insert(ids)) => ids,
        Some(Pending::Update(id, _) | Pending::Delete(id)) => std::slice::from_ref(id),
        None => &[],
    };
    for (id, version) in &writer.records {
        if !uncertain.contains(id) {
            let row = found.get(id).with_context(|| format!("{id} was acknowledged and is not there"))?;
            ensure!(*row == content(id, *version), "{id} is not what was acknowledged at {version}: {row}");
        }
    }
    if let Some(id) = writer.gone.iter().find(|id| found.contains_key(*id)) {
        bail!("{id} was deleted, acknowledged, and is there again");
    }
    let whole = match pending {
        None => return Ok(()),
        Some(Pending::Insert(ids)) => {
            let there: Vec<&String> = ids.iter().filter(|id| found.contains_key(*id)).collect();
            ensure!(there.is_empty() || there.len() == ids.len(), "a bulk insert is there by half: {there:?}");
            for id in there {
                ensure!(found.get(id) == Some(&content(id, 0)), "{id} is there by half");
                writer.records.insert(id.clone(), 0);
            }
            ids.first().is_some_and(|id| found.contains_key(id))
        }
        Some(Pending::Update(id, version)) => {
            let row = found.get(&id).with_context(|| format!("{id} is gone after an update"))?;
            let old = writer.records.get(&id).copied().unwrap_or(0);
            let updated = *row == content(&id, version);
            ensure!(updated || *row == content(&id, old), "{id} is updated by half: {row}");
            writer.records.insert(id, if updated { version } else { old });
            updated
        }
        Some(Pending::Delete(id)) => {
            let version = writer.records.get(&id).copied().unwrap_or(0);
            match found.get(&id) {
                Some(row) => ensure!(*row == content(&id, version), "{id} is deleted by half: {row}"),
                None => {
                    writer.records.remove(&id);
                    writer.gone.insert(id.clone());
                }
            }
            !found.contains_key(&id)
        }
    };
    if whole {
        writer.found_whole += 1;
    } else {
        writer.found_absent += 1;
    }
    Ok(())
}

fn fetch(client: &Client, ids: &[String]) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for batch in ids.chunks(BATCH) {
        let path = "/rest/v1/customer?select=id,company,contact_name,city,address,phone";
        let answer = client.get(&format!("{path}&id=in.({})", batch.join(",")))?;
        for row in answer.rows()? {
            let id = row.get("id").and_then(Value::as_str).context("a row without id")?.to_owned();
            ensure!(found.insert(id.clone(), row).is_none(), "{id} is there twice");
        }
    }
    Ok(found)
}

/// Every acknowledged request has an audit record that says it changed something.
pub fn audit(client: &Client, writers: &mut [Writer], trail: &mut Trail) -> Result<()> {
    loop {
        let after = if trail.after.is_empty() { String::new() } else { format!("&after={}", trail.after) };
        let answer = client.get(&format!("/v1/audit?limit={PAGE}{after}"))?.success()?.json()?;
        let records = answer.get("records").and_then(Value::as_array).context("no audit records")?;
        for record in records {
            trail.read += 1;
            if record.get("verdict").and_then(Value::as_str) == Some("changed") {
                let request = record.get("request").and_then(Value::as_str).context("no request")?;
                trail.completed.insert(request.to_owned());
            }
        }
        answer.get("next").and_then(Value::as_str).context("no place to go on")?.clone_into(&mut trail.after);
        if records.len() < PAGE {
            break;
        }
    }
    for writer in writers {
        for request in writer.requests.drain(..) {
            ensure!(trail.completed.remove(&request), "request {request} was acknowledged and has no audit record");
        }
    }
    Ok(())
}
