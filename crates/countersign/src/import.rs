//! Bringing rows of a CSV or NDJSON file into a record type.
//!
//! The file is read twice: once to check every row against the record type, once to send them in batches. So a bad
//! row is found before anything is stored. Each batch is stored whole or not at all; the file as a whole is not one
//! transaction, and what is said when a batch fails says so.

mod check;
mod csv_rows;
mod exported_csv;
mod folder;
mod json_rows;
mod late;
mod lines;
mod order;
mod source;

use std::collections::BTreeMap;
use std::time::Duration;

use countersign_crypto::SystemEntropy;
use countersign_model::Entropy as _;
use http::Method;

pub use check::Checker;
pub use folder::{Folder, Planned};
pub use late::link;
pub use order::{Step, order};
pub use source::{Format, Source};

use crate::client::Client;
use crate::problem::{Exit, Problem};
use crate::progress::Progress;
use crate::terminal::harmless;
use crate::transport::{Ask, Reply};

/// A row that may be sent.
pub struct Good {
    /// Where it begins in the file, from 1.
    pub line: u64,
    /// The row as a JSON object.
    pub json: String,
    /// Which fields it has.
    pub fields: String,
}

/// A row that may not, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Where it begins in the file, from 1.
    pub line: u64,
    /// The column at fault: its place from 1, or its name, or both.
    pub column: Option<String>,
    /// What was expected there. Never what was found.
    pub expected: String,
    /// The row as it stands in the file.
    pub original: Vec<u8>,
}

/// A row of the file, judged.
pub type Row = Result<Good, Bad>;

/// How to send.
#[derive(Debug, Clone, Copy)]
pub struct Sending {
    /// Rows in a request.
    pub batch: usize,
    /// What becomes of records that are there already, found by the type's key.
    pub existing: Existing,
}

/// What becomes of records that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// The batch is refused.
    Refused,
    /// They get the row's values.
    Changed,
    /// They stay as they are.
    Left,
}

/// What checking found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Rows that may be sent.
    pub good: u64,
    /// Rows that may not.
    pub bad: Vec<Bad>,
}

/// Bytes after which a batch is sent whatever its number of rows.
const BATCH_BYTES: usize = 1 << 20;

/// How long to wait before a batch is sent again.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Batches of different fields that are filled at a time.
const BATCHES: usize = 16;

/// Reads the whole file and judges every row, keeping the bad ones: all of them, or the first `keep`.
///
/// # Errors
/// If the file can't be read or its header row names a field that the type doesn't have.
pub fn check(
    source: &Source,
    checker: &mut Checker<'_>,
    keep: usize,
    progress: &mut Progress,
) -> Result<Checked, Problem> {
    const BETWEEN: usize = 1000;
    let mut checked = Checked::default();
    checker.restart();
    for (place, row) in source.rows(checker)?.enumerate() {
        if place % BETWEEN == 0 {
            progress.reached(place as u64);
        }
        match row? {
            Ok(_) => checked.good = checked.good.saturating_add(1),
            Err(bad) => {
                checked.bad.push(bad);
                if checked.bad.len() >= keep {
                    break;
                }
            }
        }
    }
    Ok(checked)
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Rows.
    pub rows: u64,
    /// How many of them made or changed a record. The others are of records that were there already and were left.
    pub stored: u64,
}

/// Sends every good row.
///
/// # Errors
/// What the server said about a batch, with what is stored by then.
pub async fn send(
    client: &Client,
    record_type: &str,
    source: &Source,
    checker: &mut Checker<'_>,
    sending: Sending,
    progress: &mut Progress,
) -> Result<Sent, Problem> {
    let mut sender = Sender { client, record_type, source, sending, sent: 0, stored: 0 };
    // The rows of one request all have the same fields: a field that is left out is not one that is null.
    let mut batches: BTreeMap<String, Batch> = BTreeMap::new();
    checker.restart();
    for row in source.rows(checker)? {
        let Ok(good) = row? else { continue };
        let batch = batches.entry(good.fields.clone()).or_default();
        batch.add(&good);
        if batch.rows >= sending.batch || batch.json.len() >= BATCH_BYTES {
            sender.send(std::mem::take(batch)).await?;
            progress.reached(sender.sent);
        } else if batches.len() > BATCHES {
            sender.send_all(&mut batches).await?;
            progress.reached(sender.sent);
        }
    }
    sender.send_all(&mut batches).await?;
    progress.reached(sender.sent);
    Ok(Sent { rows: sender.sent, stored: sender.stored })
}

/// Rows with the same fields, to be stored together.
#[derive(Default)]
struct Batch {
    json: String,
    rows: usize,
    first_line: u64,
    last_line: u64,
}

impl Batch {
    fn add(&mut self, row: &Good) {
        self.json.push(if self.rows == 0 { '[' } else { ',' });
        self.json.push_str(&row.json);
        if self.rows == 0 {
            self.first_line = row.line;
        }
        self.last_line = row.line;
        self.rows = self.rows.saturating_add(1);
    }
}

struct Sender<'a> {
    client: &'a Client,
    record_type: &'a str,
    source: &'a Source,
    sending: Sending,
    sent: u64,
    stored: u64,
}

impl Sender<'_> {
    async fn send_all(&mut self, batches: &mut BTreeMap<String, Batch>) -> Result<(), Problem> {
        for (_, batch) in std::mem::take(batches) {
            if batch.rows > 0 {
                self.send(batch).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, batch: Batch) -> Result<(), Problem> {
        let Batch { mut json, rows, first_line, last_line } = batch;
        json.push(']');
        let existing = self.sending.existing;
        let prefer = match existing {
            Existing::Refused => "return=minimal",
            Existing::Changed => "return=minimal,resolution=merge-duplicates",
            Existing::Left => "return=minimal,resolution=ignore-duplicates,count=exact",
        };
        let ask = Ask::new(Method::POST, format!("/rest/v1/{}", self.record_type))
            .body("application/json", json)
            .header(http::HeaderName::from_static("prefer"), prefer);
        let problem = match send_once(self.client, ask).await {
            Ok(reply) => {
                let told = reply.header("content-range").and_then(|range| range.rsplit('/').next()?.parse().ok());
                let stored = told.filter(|_| existing == Existing::Left).unwrap_or(rows as u64);
                self.sent = self.sent.saturating_add(rows as u64);
                self.stored = self.stored.saturating_add(stored);
                return Ok(());
            }
            Err(problem) => problem,
        };
        let lines = if first_line == last_line {
            format!("line {first_line}")
        } else {
            format!("{rows} rows of lines {first_line} to {last_line}")
        };
        let (source, sent) = (self.source.name(), self.sent);
        let place = match (problem.exit, first_line == last_line) {
            // Whether the last try arrived, nobody says.
            (Exit::Unavailable, _) => format!("{source}: {lines} may not have been stored, {sent} rows were"),
            (_, true) => format!("{source}: {lines} was not stored, {sent} rows were"),
            (_, false) => format!("{source}: {lines} were not stored, {sent} rows were"),
        };
        let next = match (self.sent, existing) {
            (_, Existing::Refused) if problem.exit == Exit::Conflict => {
                "put it right, or change the records that are there already with --upsert"
            }
            (0, _) => "put it right and run the same command again",
            (_, Existing::Changed) => "put it right and run the same command again; --upsert makes that safe",
            (_, Existing::Left) => "put it right and run the same command again; what is there is left as it is",
            (_, Existing::Refused) => {
                "put it right and run the same command again with --upsert, so that repeating is safe"
            }
        };
        Err(problem.or_next(next).during(&place))
    }
}

/// Sends a change under a key of its own until it is answered, for some seconds. It is made once, however often it
/// arrives.
async fn send_once(client: &Client, ask: Ask) -> Result<Reply, Problem> {
    let mut key = [0; 16];
    SystemEntropy.fill(&mut key);
    let key = format!("\"{:032x}\"", u128::from_be_bytes(key));
    let ask = ask.header(http::HeaderName::from_static("idempotency-key"), key);
    for pause in PAUSES {
        match client.exchange(ask.clone()).await {
            Ok(reply) if reply.status.is_success() => return Ok(reply),
            Ok(reply) if ![409, 502, 503, 504].contains(&reply.status.as_u16()) => {
                return Err(client.said_no(&reply));
            }
            // A row that is there already is there the next time, too; a request under way is over then.
            Ok(reply) if reply.status == http::StatusCode::CONFLICT && !is_under_way(&reply) => {
                return Err(client.said_no(&reply));
            }
            Err(problem) if problem.exit != Exit::Unavailable => return Err(problem),
            Ok(_) | Err(_) => tokio::time::sleep(pause).await,
        }
    }
    client.send(ask).await
}

/// Whether the same request, under the same key, is being answered.
fn is_under_way(reply: &Reply) -> bool {
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    body.get("code").and_then(serde_json::Value::as_str) == Some("55006")
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.column {
            Some(column) => write!(f, "line {}, column {}: {}", self.line, harmless(column), self.expected),
            None => write!(f, "line {}: {}", self.line, self.expected),
        }
    }
}

#[cfg(test)]
mod tests;
