//! One round: what each log shows now, held against what was seen.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use countersign_tlog::{
    AddCheckpoint, Checkpoint, CheckpointError, Fetched, Hash, NoteError, Seen, Tile, VerifierKey, consistency, root,
    tiles_for_growth, verify_consistency,
};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{Alarm, Kept, Kind, NotCosigned, Witness};
use crate::problem::Problem;
use crate::transport::{Ask, Transport};

/// The most logs that are looked at.
const MAX_LISTED: usize = 64;

/// The longest name of a log.
const MAX_NAME_BYTES: usize = 128;

/// Where logs are: a gateway, or what a test puts in its place.
#[async_trait]
pub trait Source: Send + Sync {
    /// Sends a request and gives the whole answer.
    ///
    /// # Errors
    /// If none came.
    async fn ask(&self, ask: Ask) -> Result<(StatusCode, Bytes), Problem>;
}

#[async_trait]
impl Source for Transport {
    async fn ask(&self, ask: Ask) -> Result<(StatusCode, Bytes), Problem> {
        self.send(ask).await.map(|reply| (reply.status, reply.body))
    }
}

/// Which logs are followed.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// By these names; all if there are none.
    pub names: Vec<String>,
    /// Only logs with these keys, if there are any.
    pub keys: Vec<VerifierKey>,
}

/// How a log stands.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It grew, or was seen for the first time, and was cosigned.
    Cosigned,
    /// It is as it was.
    Unchanged,
    /// It has no checkpoint yet.
    Empty,
    /// It is refused until somebody takes it out of the state.
    Refused(Alarm),
    /// It could not be verified this time; nothing was signed.
    Trouble(String),
}

/// A log after one round.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// How many records it has been verified to have.
    pub size: Option<u64>,
    /// How it stands.
    pub outcome: Outcome,
    /// Why the log did not take the cosignature, if it did not.
    pub not_taken: Option<String>,
}

#[derive(Deserialize)]
struct List {
    logs: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    key: String,
}

/// Why a log could not be cosigned.
enum Stop {
    Refused(Kind, String),
    Alarm(Alarm),
    Trouble(String),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Trouble(problem.message().to_owned())
    }
}

fn trouble<T>(what: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Trouble(what.into()))
}

impl Witness {
    /// Looks at every log once. `given` remembers which checkpoints the logs have taken the cosignatures of.
    ///
    /// # Errors
    /// If the list of logs can't be had; logs that are refused are in the state all the same ([`Witness::alarms`]).
    pub async fn round(
        &self,
        source: &dyn Source,
        wanted: &Wanted,
        given: &mut BTreeSet<(String, u64)>,
    ) -> Result<Vec<Report>, Problem> {
        let (status, body) = source.ask(Ask::new(Method::GET, "/v1/log")).await?;
        if !status.is_success() {
            return Err(Problem::new(
                crate::problem::Exit::of_status(status),
                format!("the logs: the server answered {status}"),
            ));
        }
        let list: List =
            serde_json::from_slice(&body).map_err(|_| Problem::failed("the server's list of logs can't be read"))?;
        let is_wanted = |name: &str| wanted.names.is_empty() || wanted.names.iter().any(|wanted| wanted == name);
        let mut reports = Vec::new();
        for listed in list.logs.iter().filter(|listed| is_wanted(&listed.name)).take(MAX_LISTED) {
            reports.push(self.one(source, listed, wanted, given).await);
        }
        // What was seen and is not shown any more is missed.
        let known = self.state.lock().all().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let expected = wanted.names.iter().cloned().chain(known.into_iter().filter(|name| is_wanted(name)));
        for name in expected.collect::<BTreeSet<_>>() {
            if !reports.iter().any(|report| report.name == name) {
                let outcome = match self.kept(&name).as_ref().and_then(Kept::alarm) {
                    Some(alarm) => Outcome::Refused(alarm.clone()),
                    None => Outcome::Trouble("the server does not list it".to_owned()),
                };
                reports.push(Report { size: self.size(&name), name, outcome, not_taken: None });
            }
        }
        Ok(reports)
    }

    fn size(&self, name: &str) -> Option<u64> {
        self.kept(name).map(|kept| kept.seen().size)
    }

    async fn one(
        &self,
        source: &dyn Source,
        listed: &Listed,
        wanted: &Wanted,
        given: &mut BTreeSet<(String, u64)>,
    ) -> Report {
        let name = &listed.name;
        let outcome = match self.verify(source, listed, wanted).await {
            Ok(outcome) => outcome,
            Err(Stop::Alarm(alarm)) => Outcome::Refused(alarm),
            Err(Stop::Trouble(what)) => Outcome::Trouble(what),
            Err(Stop::Refused(kind, evidence)) => match self.raise(name, kind, &evidence) {
                Ok(Some(alarm)) => Outcome::Refused(alarm),
                Ok(None) => Outcome::Trouble(format!("not followed: {kind}")),
                Err(error) => Outcome::Trouble(format!("{kind}, and that can't be kept: {error}")),
            },
        };
        let mut report = Report { name: name.clone(), size: self.size(name), outcome, not_taken: None };
        if matches!(report.outcome, Outcome::Cosigned | Outcome::Unchanged) {
            report.not_taken = self.give(source, name, given).await.err();
        }
        report
    }

    /// Gives the log the cosignature of what was seen last, unless it has it.
    async fn give(&self, source: &dyn Source, name: &str, given: &mut BTreeSet<(String, u64)>) -> Result<(), String> {
        let Some(kept) = self.kept(name) else { return Ok(()) };
        let place = (name.to_owned(), kept.seen().size);
        let own = self.verifier();
        let Some(note) = kept.note().filter(|_| !given.contains(&place)) else { return Ok(()) };
        let lines: String = note.signatures().iter().filter(|line| own.made(line)).map(ToString::to_string).collect();
        let body = json!({ "size": place.1, "key": own.to_string(), "lines": lines }).to_string();
        let ask = Ask::new(Method::POST, format!("/v1/log/{name}/cosignature")).body("application/json", body);
        let (status, _) = source.ask(ask).await.map_err(|problem| problem.message().to_owned())?;
        match status {
            status if status.is_success() => {
                given.retain(|(of, _)| of != name);
                given.insert(place);
                Ok(())
            }
            // The log has grown meanwhile; the next round brings the cosignature of that.
            StatusCode::NOT_FOUND => Ok(()),
            status => Err(format!("the server answered {status}")),
        }
    }

    async fn verify(&self, source: &dyn Source, listed: &Listed, wanted: &Wanted) -> Result<Outcome, Stop> {
        let name = listed.name.as_str();
        if !is_path(name) {
            return trouble("its name is not one that a log can have");
        }
        let kept = self.kept(name);
        if let Some(alarm) = kept.as_ref().and_then(Kept::alarm) {
            return Err(Stop::Alarm(alarm.clone()));
        }
        let Ok(key) = listed.key.parse::<VerifierKey>() else { return trouble("its key can't be read") };
        if kept.as_ref().is_some_and(|kept| *kept.key() != key) {
            return Err(Stop::Refused(Kind::ChangedKey, listed.key.clone()));
        }
        if key.is_witness() || (!wanted.keys.is_empty() && !wanted.keys.contains(&key)) {
            return trouble("its key is not one of those that --key names");
        }
        let (status, body) = source.ask(Ask::new(Method::GET, format!("/v1/log/{name}/checkpoint"))).await?;
        match (status, &kept) {
            (status, _) if status.is_success() => {}
            (StatusCode::NOT_FOUND, None) => return Ok(Outcome::Empty),
            (StatusCode::NOT_FOUND, Some(_)) => return trouble("it has no checkpoint any more"),
            (status, _) => return trouble(format!("its checkpoint: the server answered {status}")),
        }
        let Ok(text) = std::str::from_utf8(&body) else { return trouble("its checkpoint can't be read") };
        let checkpoint = match Checkpoint::open(text, &key) {
            Ok((checkpoint, _)) => checkpoint,
            // Whoever can change what is shown but not sign is not the log.
            Err(CheckpointError::Note(NoteError::Unsigned | NoteError::BadSignature) | CheckpointError::OtherLog)
                if kept.is_some() =>
            {
                return Err(Stop::Refused(Kind::ChangedKey, text.to_owned()));
            }
            Err(error) => return trouble(format!("its checkpoint: {error}")),
        };
        let seen = kept.as_ref().map_or_else(Seen::nothing, Kept::seen);
        if checkpoint.size < seen.size {
            return Err(Stop::Refused(Kind::Rollback, text.to_owned()));
        }
        if checkpoint.size == seen.size && kept.is_some() {
            return if checkpoint.root == seen.root {
                Ok(Outcome::Unchanged)
            } else {
                Err(Stop::Refused(Kind::Fork, text.to_owned()))
            };
        }
        let proof = if seen.size == 0 { Vec::new() } else { growth(source, name, &seen, &checkpoint, text).await? };
        let asked = AddCheckpoint { old_size: seen.size, proof, checkpoint: text.to_owned() };
        match self.cosign(name, &key, &asked) {
            Ok(_) => Ok(Outcome::Cosigned),
            Err(NotCosigned::Alarm(kind)) => Err(Stop::Refused(kind, text.to_owned())),
            Err(other) => trouble(other.to_string()),
        }
    }
}

/// The proof that the log at this checkpoint continues what was seen, out of the log's tiles.
async fn growth(
    source: &dyn Source,
    name: &str,
    seen: &Seen,
    checkpoint: &Checkpoint,
    text: &str,
) -> Result<Vec<Hash>, Stop> {
    let (old, size) = (seen.size, checkpoint.size);
    let Ok(tiles) = tiles_for_growth(old, size) else { return trouble("its size is not one that a log can have") };
    let mut fetched = Fetched::default();
    for tile in tiles {
        let bytes = tile_bytes(source, name, tile).await?;
        if fetched.insert(tile, &bytes).is_err() {
            return trouble(format!("{tile} does not have the hashes that it should"));
        }
    }
    let (Ok(proof), Ok(old_root)) = (consistency(&fetched, old, size), root(&fetched, old)) else {
        return trouble("its tiles don't have the hashes that they should");
    };
    // First that the tiles are those of the tree that is signed. Then that tree is the one seen, grown, or it is another.
    if verify_consistency(old, &old_root, size, &checkpoint.root, &proof).is_err() {
        return trouble("its tiles are not those of the tree that it has signed");
    }
    if old_root != seen.root {
        return Err(Stop::Refused(Kind::Fork, text.to_owned()));
    }
    Ok(proof)
}

/// A tile, or the full one where the log has grown past the partial one.
async fn tile_bytes(source: &dyn Source, name: &str, tile: Tile) -> Result<Bytes, Stop> {
    for tile in [tile, tile.full()] {
        let (status, body) = source.ask(Ask::new(Method::GET, format!("/v1/log/{name}/{tile}"))).await?;
        match status {
            status if status.is_success() => return Ok(body),
            StatusCode::NOT_FOUND if !tile.is_full() => {}
            status => return trouble(format!("{tile}: the server answered {status}")),
        }
    }
    trouble(format!("{tile} is not there"))
}

/// Whether a log's name can stand in a path as it is.
fn is_path(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
    name.len() <= MAX_NAME_BYTES && name.split('/').all(part)
}
