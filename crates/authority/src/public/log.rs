//! The services' logs, for everybody: checkpoints and hash tiles (C2SP tlog-tiles), and cosignatures from witnesses.
//!
//! A log is at `/v1/log/SERVICE/INSTANCE`. What is shown there has no content and names nobody, so no token is asked
//! for. The records themselves, which are sealed, are not among it: there is no `tile/entries/`.

use std::collections::BTreeSet;
use std::sync::Arc;

use countersign_services::{Log, LogName, PublicCall, PublicReply, TileName};
use countersign_tlog::{MAX_PATH_BYTES, Tile};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::reply::{self, Trouble};
use super::{Public, json_body, no_query};

/// What the paths of all logs begin with.
pub(super) const PREFIX: &str = "/v1/log/";

/// How many witnesses may cosign one log that are no services of the deployment, besides those that it expects.
const WITNESSES_MAX: usize = 8;

/// The longest texts of a cosignature: its witness's key, and its lines.
const KEY_MAX_BYTES: usize = 512;
const LINES_MAX_BYTES: usize = 4096;

/// For how long the list of logs is good, in milliseconds: it takes a call to each service.
const LIST_MS: u64 = 1_000;

/// What never changes: a tile's hashes are those of records that are there.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// A checkpoint is made every second.
const MOMENT: &str = "public, max-age=1";

/// What was shown, and who came to cosign.
#[derive(Default)]
pub(super) struct Shown {
    list: Mutex<Option<(u64, Value)>>,
    witnesses: Mutex<BTreeSet<(LogName, String)>>,
}

/// What of a log.
enum Part<'a> {
    Checkpoint,
    Tile(&'a str),
    Cosignature,
}

fn part(text: &str) -> Option<Part<'_>> {
    match text {
        "checkpoint" => Some(Part::Checkpoint),
        "cosignature" => Some(Part::Cosignature),
        tile if tile.starts_with("tile/") => Some(Part::Tile(tile)),
        _ => None,
    }
}

/// `SERVICE/INSTANCE`, and the rest.
fn split(path: &str) -> Option<(LogName, &str)> {
    let rest = path.strip_prefix(PREFIX)?;
    let mut slashes = rest.match_indices('/').map(|(at, _)| at);
    let (_, second) = (slashes.next()?, slashes.next()?);
    let (name, rest) = rest.split_at_checked(second)?;
    Some((LogName(name.to_owned()), rest.strip_prefix('/')?))
}

impl Public {
    pub(super) async fn log_list(&self, call: &PublicCall) -> Result<PublicReply, Trouble> {
        no_query(call)?;
        let now = self.now().0;
        let fresh = self.logs.list.lock().as_ref().filter(|(at, _)| now.abs_diff(*at) < LIST_MS).cloned();
        let list = match fresh {
            Some((_, list)) => list,
            None => {
                let list = self.listed().await;
                *self.logs.list.lock() = Some((now, list.clone()));
                list
            }
        };
        Ok(public(reply::json(200, &list), MOMENT))
    }

    async fn listed(&self) -> Value {
        let mut logs = Vec::new();
        for (name, log) in self.authority.logs.all() {
            // Who can't be asked at present is left out.
            if let Ok([key, witness]) = log.keys().await {
                let origin = key.split('+').next().unwrap_or_default();
                logs.push(json!({ "name": name, "origin": origin, "key": key, "witness": witness }));
            }
        }
        json!({ "logs": logs })
    }

    pub(super) async fn log(&self, method: &str, call: &PublicCall) -> Result<PublicReply, Trouble> {
        let (name, rest) = split(&call.path).ok_or_else(Trouble::no_such_path)?;
        let part = part(rest).ok_or_else(Trouble::no_such_path)?;
        let found = self.authority.logs.all().into_iter().find(|(known, _)| *known == name);
        let (_, log) = found.ok_or_else(Trouble::no_such_path)?;
        match (method, part) {
            ("GET", Part::Checkpoint) => {
                no_query(call)?;
                let note = log.checkpoint().await?;
                Ok(content("text/plain; charset=utf-8", note.into_bytes(), MOMENT))
            }
            ("GET", Part::Tile(path)) => {
                no_query(call)?;
                let tile = tile(path).ok_or_else(Trouble::no_such_path)?;
                Ok(content("application/octet-stream", log.tile(tile).await?, FOREVER))
            }
            ("POST", Part::Cosignature) => self.cosignature(&name, &log, call).await,
            (_, Part::Cosignature) => Err(Trouble::method("POST")),
            _ => Err(Trouble::method("GET")),
        }
    }

    /// Takes the cosignature of a witness. The log takes none that is not good for its checkpoint.
    async fn cosignature(&self, name: &LogName, log: &Arc<dyn Log>, call: &PublicCall) -> Result<PublicReply, Trouble> {
        let mut fields = json_body(call)?;
        let size = fields.number("size")?.ok_or_else(|| Trouble::missing_key("size"))?;
        let (key, lines) = (fields.text("key")?, fields.text("lines")?);
        fields.finish("size, key, lines")?;
        if key.len() > KEY_MAX_BYTES || lines.len() > LINES_MAX_BYTES {
            return Err(Trouble::request("the key is at most 512 bytes long, and the lines 4096"));
        }
        let who = (name.clone(), key);
        let is_expected = self.authority.witnesses.contains(&who.1);
        let is_known = is_expected || self.logs.witnesses.lock().contains(&who);
        if !is_known && self.logs.witnesses.lock().iter().filter(|(of, _)| of == name).count() >= WITNESSES_MAX {
            return Err(Trouble::too_many_witnesses());
        }
        log.cosigned(size, &who.1, &lines).await?;
        if !is_expected {
            self.logs.witnesses.lock().insert(who);
        }
        Ok(reply::json(200, &json!({ "log": name, "size": size })))
    }
}

/// A path below the log's: `tile/0/x001/067` or, with fewer than 256 hashes, `tile/0/x001/067.p/112`.
fn tile(path: &str) -> Option<TileName> {
    let tile: Tile = path.parse().ok().filter(|_| path.len() <= MAX_PATH_BYTES)?;
    Some(TileName { level: tile.level, index: tile.index, width: tile.width })
}

fn content(media: &str, body: Vec<u8>, cache: &str) -> PublicReply {
    let headers = vec![("content-type".to_owned(), media.to_owned())];
    public(PublicReply { status: 200, headers, body, epoch: 0 }, cache)
}

/// An answer that anybody may keep for a while.
fn public(mut reply: PublicReply, cache: &str) -> PublicReply {
    reply.headers.retain(|(name, _)| name != "cache-control");
    reply.headers.push(("cache-control".to_owned(), cache.to_owned()));
    reply
}

#[cfg(test)]
mod tests;
