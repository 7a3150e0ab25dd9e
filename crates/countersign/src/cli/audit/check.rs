//! `countersign audit check`: what a file of proofs proves, from the file alone.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use countersign_audit::LeafHeader;
use countersign_model::RequestId;
use countersign_tlog::{LogProof, Note, NoteError, VerifierKey};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::context::Context;
use crate::problem::{Problem, io};
use crate::table::{Output, Table};
use crate::terminal::harmless;

/// The version of files of proofs that is read.
const VERSION: u8 = 1;

/// The longest file that is read.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// The file, as `countersign audit prove` has written it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A log's verifier key as you know it; no other is taken then. May be repeated.
    #[arg(long = "key", value_name = "VKEY")]
    keys: Vec<VerifierKey>,
    /// A witness's verifier key: one of those named must have cosigned every proof. May be repeated.
    #[arg(long = "witness", value_name = "VKEY")]
    witnesses: Vec<VerifierKey>,
}

/// The file; see *Files of proofs* in `docs/formats.md`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofFile {
    version: u8,
    request: RequestId,
    records: Vec<ProofEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofEntry {
    log: String,
    key: String,
    leaf: String,
    proof: String,
}

/// A record whose proof holds.
struct Proved {
    log: String,
    key: VerifierKey,
    index: u64,
    size: u64,
    header: LeafHeader,
    /// The named witnesses that have cosigned, and when, in seconds since 1970.
    cosigned: Vec<(String, u64)>,
    /// Who else has signed, by the name in the file. Not verified.
    others: Vec<String>,
}

/// Why a file proves nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unproved {
    #[error("not a file of proofs of version {VERSION}")]
    File,
    #[error("there is no record in it")]
    Empty,
    #[error("its log's key can't be read")]
    Key,
    #[error("its log's key is not one of those that --key names")]
    OtherKey,
    #[error("the record can't be read")]
    Leaf,
    #[error("it is a record of another request")]
    OtherRequest,
    #[error("{0}")]
    Proof(#[from] countersign_tlog::ProofTextError),
    #[error("none of the witnesses named has cosigned it")]
    NotCosigned,
    #[error("a cosignature in the name of {0} is false")]
    FalseCosignature(String),
}

/// What is asked of the proofs.
#[derive(Default)]
struct Asked<'a> {
    keys: &'a [VerifierKey],
    witnesses: &'a [VerifierKey],
}

pub(super) fn run(context: &Context, asked: &Check) -> Result<(), Problem> {
    let text = read(&asked.file)?;
    let named = Asked { keys: &asked.keys, witnesses: &asked.witnesses };
    let (request, records) = check(&text, &named).map_err(|(place, why)| {
        let place = place.map(|place| format!("record {}: ", place.saturating_add(1))).unwrap_or_default();
        Problem::failed(format!("{} proves nothing: {place}{why}", asked.file.display()))
    })?;
    match context.output() {
        Output::Json => context.terminal.line(&document(request, &records).to_string())?,
        output => table(&records).write(&context.terminal, output)?,
    }
    for line in meaning(request, &records, &named) {
        context.terminal.note(&line);
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, Problem> {
    let length = std::fs::metadata(file).map_err(io("read", file))?.len();
    if length > MAX_BYTES {
        return Err(Problem::input(format!("{} is longer than a file of proofs can be", file.display())));
    }
    std::fs::read_to_string(file).map_err(io("read", file))
}

/// Checks all of it, or says which record is wrong.
fn check(text: &str, asked: &Asked<'_>) -> Result<(RequestId, Vec<Proved>), (Option<usize>, Unproved)> {
    let file: ProofFile = serde_json::from_str(text).map_err(|_| (None, Unproved::File))?;
    if file.version != VERSION {
        return Err((None, Unproved::File));
    }
    if file.records.is_empty() {
        return Err((None, Unproved::Empty));
    }
    let one = |(place, entry)| check_one(file.request, entry, asked).map_err(|why| (Some(place), why));
    Ok((file.request, file.records.iter().enumerate().map(one).collect::<Result<_, _>>()?))
}

fn check_one(request: RequestId, entry: &ProofEntry, asked: &Asked<'_>) -> Result<Proved, Unproved> {
    let key: VerifierKey = entry.key.parse().map_err(|_| Unproved::Key)?;
    if key.is_witness() {
        return Err(Unproved::Key);
    }
    if !asked.keys.is_empty() && !asked.keys.contains(&key) {
        return Err(Unproved::OtherKey);
    }
    let leaf = STANDARD.decode(&entry.leaf).map_err(|_| Unproved::Leaf)?;
    let header = LeafHeader::read(&leaf).ok_or(Unproved::Leaf)?;
    if header.request != request {
        return Err(Unproved::OtherRequest);
    }
    let proof = LogProof::from_text(&entry.proof)?;
    let (checkpoint, note) = proof.verify(&leaf, &key)?;
    let cosigned = cosigned(&note, asked.witnesses)?;
    if cosigned.is_empty() && !asked.witnesses.is_empty() {
        return Err(Unproved::NotCosigned);
    }
    let is_named = |name: &str| name == key.name() || cosigned.iter().any(|(witness, _)| witness == name);
    let names = note.signatures().iter().map(|signature| signature.name.clone());
    let others = names.filter(|name| !is_named(name)).collect();
    Ok(Proved { log: entry.log.clone(), index: proof.index, size: checkpoint.size, header, cosigned, others, key })
}

fn cosigned(note: &Note, witnesses: &[VerifierKey]) -> Result<Vec<(String, u64)>, Unproved> {
    let mut found = Vec::new();
    for witness in witnesses {
        match note.verify(witness) {
            Ok(signed) => found.push((witness.name().to_owned(), signed.at_s.unwrap_or_default())),
            Err(NoteError::BadSignature) => return Err(Unproved::FalseCosignature(witness.name().to_owned())),
            Err(_) => {}
        }
    }
    Ok(found)
}

fn moment(ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms).saturating_mul(1_000_000)).ok();
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| ms.to_string())
}

fn table(records: &[Proved]) -> Table {
    let mut table = Table::new(&["log", "position", "time", "service", "verdict", "tenant", "cosigned by"]);
    for record in records {
        let witnesses: Vec<&str> = record.cosigned.iter().map(|(name, _)| name.as_str()).collect();
        table.push(vec![
            harmless(&record.log).into(),
            record.index.into(),
            moment(record.header.time.0).into(),
            record.header.service.as_str().into(),
            record.header.verdict.as_str().into(),
            record.header.tenant.map(|tenant| tenant.to_string()).unwrap_or_default().into(),
            witnesses.join(", ").into(),
        ]);
    }
    table
}

fn document(request: RequestId, records: &[Proved]) -> Value {
    let witness = |(name, at): &(String, u64)| json!({ "name": name, "time": moment(at.saturating_mul(1000)) });
    let record = |record: &Proved| {
        json!({
            "log": record.log,
            "key": record.key.to_string(),
            "position": record.index,
            "size": record.size,
            "time": moment(record.header.time.0),
            "service": record.header.service,
            "verdict": record.header.verdict.as_str(),
            "tenant": record.header.tenant,
            "cosigned": record.cosigned.iter().map(witness).collect::<Vec<_>>(),
            "signed_by_others": record.others,
        })
    };
    json!({ "request": request, "holds": true, "records": records.iter().map(record).collect::<Vec<_>>() })
}

/// What is proved and what is not, in words.
fn meaning(request: RequestId, records: &[Proved], asked: &Asked<'_>) -> Vec<String> {
    let mut keys: Vec<String> = records.iter().map(|record| record.key.to_string()).collect();
    keys.sort_unstable();
    keys.dedup();
    let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut lines = vec![format!(
        "proved: {} of request {request}, each at its place in a log of {} that was signed with the log's key; \
         time, service, verdict and tenant are as the service wrote them",
        many(records.len(), "record"),
        records.iter().map(|record| record.size.to_string()).collect::<Vec<_>>().join(", "),
    )];
    if asked.keys.is_empty() {
        lines.push(
            "on trust: that these keys, which stand in the file, are the logs' own; name them with --key".to_owned(),
        );
        lines.extend(keys.into_iter().map(|key| format!("  {}", harmless(&key))));
    }
    let mut others: Vec<&str> = records.iter().flat_map(|record| &record.others).map(String::as_str).collect();
    others.sort_unstable();
    others.dedup();
    if asked.witnesses.is_empty() {
        lines.push(
            "on trust: that the logs show everybody the same history; name a witness that you believe with --witness"
                .to_owned(),
        );
    }
    if !others.is_empty() {
        lines.push(format!("not looked at: signatures in the names of {}", harmless(&others.join(", "))));
    }
    lines.push(
        "not proved: what was seen or changed, which is sealed for the tenant, and that there is no other record"
            .to_owned(),
    );
    lines
}

#[cfg(test)]
mod tests;
