//! Against a server that is made to be honest, to forget, to fork and to lie.

mod growth;
mod refused;
mod serve;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use countersign_crypto::note::NoteKey;
use countersign_crypto::{SecretKey, SystemEntropy};
use countersign_model::UnixMs;
use countersign_model::clock::ManualClock;
use countersign_tlog::{Frontier, Hash, Levels, Note, Signer, Tile, root, signature_lines};
use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::problem::Problem;
use crate::transport::Ask;

pub(super) const NAME: &str = "store/first";
const ORIGIN: &str = "data.example/log/store/first";

/// A log's server.
pub(super) struct Server {
    log: Mutex<Log>,
}

/// What it shows.
pub(super) struct Log {
    pub(super) signer: Signer,
    pub(super) levels: Levels,
    pub(super) size: u64,
    /// In place of the checkpoint of what is there.
    pub(super) checkpoint: Option<String>,
    /// In place of the key that signs.
    pub(super) listed: Option<String>,
    pub(super) is_listed: bool,
    /// Changes a tile on its way out; `None` for none there.
    pub(super) tile: fn(Tile, Vec<u8>) -> Option<Vec<u8>>,
    /// Cosignatures that it took, by size.
    pub(super) cosigned: BTreeMap<u64, String>,
    /// How many tiles it gave.
    pub(super) tiles: usize,
}

pub(super) fn signer(seed: u8) -> Signer {
    Signer::log(ORIGIN, NoteKey::from_seed(&SecretKey::from_bytes([seed; 32]))).unwrap()
}

/// The hashes of a history that is told apart by `history`.
pub(super) fn history(history: u8, size: u64) -> Levels {
    let (mut levels, mut tree) = (Levels::default(), Frontier::default());
    for index in 0..size {
        let leaf = Hash::leaf(&[&[history], &index.to_be_bytes()[..]].concat());
        tree.push(leaf, &mut |level, hash| levels.append(level, hash));
    }
    levels
}

pub(super) fn checkpoint(signer: &Signer, levels: &Levels, size: u64) -> String {
    Checkpoint::new(ORIGIN, size, root(levels, size).unwrap()).sign(signer)
}

impl Server {
    /// With a history of so many records, of which none are shown yet.
    pub(super) fn new(records: u64) -> Self {
        let log = Log {
            signer: signer(1),
            levels: history(1, records),
            size: 0,
            checkpoint: None,
            listed: None,
            is_listed: true,
            tile: |_, bytes| Some(bytes),
            cosigned: BTreeMap::new(),
            tiles: 0,
        };
        Self { log: Mutex::new(log) }
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        change(&mut self.log.lock())
    }

    pub(super) fn grows_to(&self, size: u64) {
        self.with(|log| log.size = size);
    }
}

#[async_trait]
impl Source for Server {
    async fn ask(&self, ask: Ask) -> Result<(StatusCode, Bytes), Problem> {
        let mut log = self.log.lock();
        let answer = |status: u16, body: Vec<u8>| Ok((StatusCode::from_u16(status).unwrap(), Bytes::from(body)));
        if ask.path == "/v1/log" {
            let key = log.listed.clone().unwrap_or_else(|| log.signer.verifier().to_string());
            let all = if log.is_listed { vec![json!({ "name": NAME, "origin": ORIGIN, "key": key })] } else { vec![] };
            return answer(200, json!({ "logs": all }).to_string().into_bytes());
        }
        let rest = ask.path.strip_prefix("/v1/log/store/first/").unwrap();
        match rest {
            "checkpoint" => {
                let made = || checkpoint(&log.signer, &log.levels, log.size);
                answer(200, log.checkpoint.clone().unwrap_or_else(made).into_bytes())
            }
            "cosignature" => {
                let body: Value = serde_json::from_slice(&ask.body).unwrap();
                let (size, lines) = (body["size"].as_u64().unwrap(), body["lines"].as_str().unwrap());
                let key: VerifierKey = body["key"].as_str().unwrap().parse().unwrap();
                let note: Note = checkpoint(&log.signer, &log.levels, size).parse().unwrap();
                let [line] = signature_lines(lines).unwrap().try_into().unwrap();
                assert!(key.verify(note.text(), &line).unwrap().at_s.is_some());
                log.cosigned.insert(size, lines.to_owned());
                answer(200, Vec::new())
            }
            path => {
                let tile: Tile = path.parse().unwrap();
                log.tiles = log.tiles.saturating_add(1);
                let bytes = log.levels.tile(tile).filter(|_| Tile::of(log.size, tile.level, tile.index).is_some());
                match bytes.and_then(|bytes| (log.tile)(tile, bytes)) {
                    Some(bytes) => answer(200, bytes),
                    None => answer(404, Vec::new()),
                }
            }
        }
    }
}

/// A witness and where its state is.
pub(super) struct House {
    pub(super) _folder: tempfile::TempDir,
    pub(super) path: PathBuf,
    pub(super) witness: Option<Witness>,
    pub(super) given: BTreeSet<(String, u64)>,
}

impl House {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness.json");
        let witness = Some(open(&path).unwrap());
        Self { _folder: folder, path, witness, given: BTreeSet::new() }
    }

    pub(super) fn witness(&self) -> &Witness {
        self.witness.as_ref().unwrap()
    }

    /// Stops the witness and starts it again.
    pub(super) fn restarted(&mut self) {
        drop(self.witness.take());
        self.witness = Some(open(&self.path).unwrap());
        self.given.clear();
    }

    /// One round over the one log.
    pub(super) async fn look(&mut self, server: &Server) -> Report {
        let witness = self.witness.as_ref().unwrap();
        let reports = witness.round(server, &Wanted::default(), &mut self.given).await.unwrap();
        let [report] = reports.try_into().unwrap();
        report
    }
}

pub(super) fn open(path: &std::path::Path) -> Result<Witness, StateError> {
    let clock = Arc::new(ManualClock::at(UnixMs::from_seconds(1_800_000_000)));
    Witness::open(path, None, clock, &SystemEntropy)
}

pub(super) fn refused(report: &Report) -> Option<Kind> {
    match &report.outcome {
        Outcome::Refused(alarm) => Some(alarm.kind),
        _ => None,
    }
}
