//! One client: writes records of its own one after another, and knows what it was told about each.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use countersign_testkit::{Client, Request, Response};
use serde_json::{Value, json};

/// Records in one bulk insert.
const BULK: u64 = 5;

/// What was sent and not answered when the server died.
pub enum Pending {
    /// Records made together.
    Insert(Vec<String>),
    /// A record given a new version.
    Update(String, u64),
    /// A record removed.
    Delete(String),
}

/// A client's memory. Every field of a record can be told from its id and version, so a half-written one shows.
pub struct Writer {
    number: usize,
    random: Random,
    made: u64,
    /// Acknowledged records and their versions.
    pub records: BTreeMap<String, u64>,
    /// Acknowledged deletions.
    pub gone: BTreeSet<String>,
    /// The write that was cut off, if one was.
    pub pending: Option<Pending>,
    /// Requests that were acknowledged and whose audit records were not looked up yet.
    pub requests: Vec<String>,
    /// Figures.
    pub acknowledged: u64,
    pub inserts: u64,
    pub bulk_inserts: u64,
    pub updates: u64,
    pub deletes: u64,
    pub found_whole: u64,
    pub found_absent: u64,
}

/// What the fields of a record hold at a version.
pub fn content(id: &str, version: u64) -> Value {
    let text = |field: &str| format!("{field} of {id} at {version}");
    json!({ "id": id, "company": text("company"), "contact_name": text("name"), "city": text("city"),
            "address": text("address").repeat(20), "phone": text("phone") })
}

impl Writer {
    /// A client that has written nothing.
    pub fn new(number: usize, seed: u64) -> Self {
        Self {
            number,
            random: Random::new(seed ^ ((number as u64 + 1) << 32)),
            made: 0,
            records: BTreeMap::new(),
            gone: BTreeSet::new(),
            pending: None,
            requests: Vec::new(),
            acknowledged: 0,
            inserts: 0,
            bulk_inserts: 0,
            updates: 0,
            deletes: 0,
            found_whole: 0,
            found_absent: 0,
        }
    }

    /// Writes until the server is gone. An error is an answer that should not have come.
    pub fn run(&mut self, client: &Client) -> Result<()> {
        while self.write(client)? {}
        Ok(())
    }

    fn next_id(&mut self) -> String {
        self.made += 1;
        format!("w{}-{}", self.number, self.made)
    }

    fn some_record(&mut self) -> Option<String> {
        let index = self.random.below(self.records.len() as u64) as usize;
        self.records.keys().nth(index).cloned()
    }

    /// One write. False if no answer came.
    pub fn write(&mut self, client: &Client) -> Result<bool> {
        let (pending, request) = match (self.random.below(10), self.some_record()) {
            (0 | 1, Some(id)) => {
                let version = self.records[&id] + 1;
                let mut fields = content(&id, version);
                fields.as_object_mut().map(|fields| fields.remove("id"));
                let path = format!("/rest/v1/customer?id=eq.{id}");
                (Pending::Update(id, version), Request::new("PATCH", &path).json(&fields))
            }
            (2, Some(id)) => {
                let path = format!("/rest/v1/customer?id=eq.{id}");
                (Pending::Delete(id), Request::new("DELETE", &path))
            }
            (3 | 4, _) => {
                let ids: Vec<String> = (0..BULK).map(|_| self.next_id()).collect();
                let rows: Vec<Value> = ids.iter().map(|id| content(id, 0)).collect();
                (Pending::Insert(ids), Request::new("POST", "/rest/v1/customer").json(&rows.into()))
            }
            _ => {
                let id = self.next_id();
                let row = content(&id, 0);
                (Pending::Insert(vec![id]), Request::new("POST", "/rest/v1/customer").json(&row))
            }
        };
        self.pending = Some(pending);
        let Ok(response) = client.send(&request) else { return Ok(false) };
        self.acknowledge(&response)?;
        Ok(true)
    }

    fn acknowledge(&mut self, response: &Response) -> Result<()> {
        ensure!(response.is_success(), "status {} for a write: {}", response.status, response.text());
        let Some(request) = response.header("countersign-request") else { bail!("no request id") };
        self.requests.push(request.to_owned());
        self.acknowledged += 1;
        match self.pending.take() {
            Some(Pending::Insert(ids)) => {
                if ids.len() > 1 {
                    self.bulk_inserts += 1;
                } else {
                    self.inserts += 1;
                }
                self.records.extend(ids.into_iter().map(|id| (id, 0)));
            }
            Some(Pending::Update(id, version)) => {
                self.updates += 1;
                self.records.insert(id, version);
            }
            Some(Pending::Delete(id)) => {
                self.deletes += 1;
                self.records.remove(&id);
                self.gone.insert(id);
            }
            None => bail!("an answer to nothing"),
        }
        Ok(())
    }
}

/// The splitmix64 generator, so that a seed repeats what the clients send.
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, or zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(limit).unwrap_or(0)
    }
}
