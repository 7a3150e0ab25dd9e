//! Clients that write and read all the time, and keep what they asked and what they were told.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use countersign_testkit::{Client, Request, Response};
use serde_json::{Value, json};

use crate::history::{Act, End, Event, Moment, Thing, Told};

/// Registers, and so writers. As many clients read.
pub const WRITERS: u32 = 6;
const READERS: u32 = 6;
/// Between two requests of one client. Two cores carry three data centres here.
const THINKS: Duration = Duration::from_millis(40);
/// The code of a change of which it is unknown whether it was made (SQL: transaction resolution unknown).
const UNKNOWN: &str = "08007";
/// Records in a page of the last look.
const PAGE: usize = 500;

/// Where the gateways are and who asks.
#[derive(Clone)]
pub struct Doors {
    /// Addresses of gateways.
    pub addresses: Vec<String>,
    /// Whom to trust.
    pub ca_pem: String,
    /// The user's token.
    pub token: String,
}

impl Doors {
    /// A client of one of them.
    ///
    /// # Errors
    /// If the certificate can't be read.
    pub fn client(&self, gateway: usize) -> Result<Client> {
        let address = self.addresses.get(gateway).context("no such gateway")?;
        Ok(Client::new(address, &self.ca_pem)?.with_token(&self.token))
    }
}

/// The running clients.
pub struct Load {
    begun: Instant,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Event>>>,
    answered: Arc<Answered>,
}

/// What is known while it runs.
#[derive(Default)]
struct Answered {
    writes: AtomicU32,
    reads: AtomicU32,
    /// Acknowledged records, to be read by others.
    made: Mutex<Vec<(u32, u32)>>,
}

impl Load {
    /// Starts them. `begun` is when moments begin.
    ///
    /// # Errors
    /// If a client can't be made.
    pub fn start(doors: &Doors, begun: Instant) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(Answered::default());
        let mut threads = Vec::new();
        for number in 0..WRITERS.saturating_add(READERS) {
            let mut one = One::new(doors, number, begun)?;
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if number < WRITERS {
                        one.writes(&answered)
                    } else {
                        one.reads(&answered)
                    }
                    std::thread::sleep(THINKS);
                }
                one.events
            }));
        }
        Ok(Self { begun, stop, threads, answered })
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.begun.elapsed()
    }

    /// Waits until this many more writes and reads were answered well.
    #[must_use]
    pub fn goes_on(&self, many: u32, patience: Duration) -> bool {
        let count = || (self.answered.writes.load(Ordering::Relaxed), self.answered.reads.load(Ordering::Relaxed));
        let (first, begun) = (count(), Instant::now());
        while begun.elapsed() < patience {
            let now = count();
            if now.0.saturating_sub(first.0) >= many && now.1.saturating_sub(first.1) >= many {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Ends them and gives what they kept.
    #[must_use]
    pub fn end(self) -> Vec<Event> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    }
}

/// One client.
struct One {
    number: u32,
    begun: Instant,
    clients: Vec<Client>,
    /// The gateway that it asks first.
    first: usize,
    /// What it writes next.
    next: u32,
    /// For choosing.
    seed: u64,
    events: Vec<Event>,
}

impl One {
    fn new(doors: &Doors, number: u32, begun: Instant) -> Result<Self> {
        let count = doors.addresses.len();
        let clients = (0..count).map(|gateway| doors.client(gateway)).collect::<Result<Vec<_>>>()?;
        let first = usize::try_from(number)?.checked_rem(count).unwrap_or(0);
        let seed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
        Ok(Self { number, begun, clients, first, next: 0, seed, events: Vec::new() })
    }

    /// A number below `bound`: xorshift64.
    fn below(&mut self, bound: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        usize::try_from(self.seed >> 16).unwrap_or(0).checked_rem(bound).unwrap_or(0)
    }

    /// One write: a new number in its register, or a new record; and now and then a look at its own register.
    fn writes(&mut self, answered: &Answered) {
        self.next = self.next.saturating_add(1);
        let (own, next) = (self.number, self.next);
        if next == 1 || next.is_multiple_of(2) {
            let thing = Thing::Record(own, next);
            let body = json!({ "id": id(&thing), "number": next });
            let request = Request::new("POST", "/rest/v1/probe").json(&body);
            if self.write(thing, next, request, answered) {
                answered.made.lock().unwrap_or_else(PoisonError::into_inner).push((own, next));
            }
        } else if next.is_multiple_of(9) {
            self.read(Thing::Register(own), answered);
        } else {
            let thing = Thing::Register(own);
            let path = format!("/rest/v1/probe?id=eq.{}", id(&thing));
            let request = Request::new("PATCH", &path).json(&json!({ "number": next }));
            self.write(thing, next, request, answered);
        }
    }

    /// One read: of a register, or of a record that was acknowledged to somebody.
    fn reads(&mut self, answered: &Answered) {
        let made = {
            let made = answered.made.lock().unwrap_or_else(PoisonError::into_inner);
            // The newest are the likeliest to be missing.
            let (count, back) = (made.len(), self.below(40));
            made.get(count.saturating_sub(1).saturating_sub(back)).copied()
        };
        let thing = match made.filter(|_| self.below(2) == 0) {
            Some((maker, number)) => Thing::Record(maker, number),
            None => Thing::Register(u32::try_from(self.below(WRITERS as usize)).unwrap_or(0)),
        };
        self.read(thing, answered);
    }

    fn write(&mut self, thing: Thing, number: u32, request: Request, answered: &Answered) -> bool {
        // The same key at every gateway: whoever got it first, it is done once.
        let key = format!("\"{}-{number}\"", id(&thing));
        let request = request.header("Idempotency-Key", &key);
        let begun = self.begun.elapsed();
        let (gateway, answer) = self.send(&request);
        let told = match answer {
            Ok(answer) if (200..300).contains(&answer.status) => Told::Done,
            Ok(answer) => refused_or_unknown(&answer),
            Err(error) if is_not_sent(&error) => Told::Refused(format!("{error:#}")),
            Err(error) => Told::Unknown(format!("{error:#}")),
        };
        let is_done = told == Told::Done;
        if is_done {
            answered.writes.fetch_add(1, Ordering::Relaxed);
        }
        let (client, ended) = (self.number, self.begun.elapsed());
        self.events.push(Event { client, gateway, thing, act: Act::Write(number.into()), begun, ended, told });
        is_done
    }

    fn read(&mut self, thing: Thing, answered: &Answered) {
        let request = Request::new("GET", &format!("/rest/v1/probe?select=number&id=eq.{}", id(&thing)));
        let begun = self.begun.elapsed();
        let (gateway, answer) = self.send(&request);
        let told = match answer {
            Ok(answer) if answer.status == 200 => number_in(&answer).map_or_else(
                |error| Told::Refused(format!("an answer that can't be read: {error:#}")),
                |number| {
                    answered.reads.fetch_add(1, Ordering::Relaxed);
                    Told::Value(number)
                },
            ),
            Ok(answer) => Told::Refused(said(&answer)),
            Err(error) => Told::Refused(format!("{error:#}")),
        };
        let (client, ended) = (self.number, self.begun.elapsed());
        self.events.push(Event { client, gateway, thing, act: Act::Read, begun, ended, told });
    }

    /// Asks its gateway, and where there is none the next one, as any balancer in front of them does: where a connection
    /// can't be made, or is closed before an answer. A write carries its idempotency key everywhere.
    fn send(&mut self, request: &Request) -> (usize, Result<Response>) {
        let count = self.clients.len();
        let mut last = (self.first, Err(anyhow::anyhow!("no gateway")));
        for turn in 0..count.saturating_mul(2) {
            let gateway = self.first.saturating_add(turn).checked_rem(count).unwrap_or(0);
            let Some(client) = self.clients.get(gateway) else { break };
            let answer = client.send(request);
            match answer {
                Ok(answer) => {
                    self.first = gateway;
                    return (gateway, Ok(answer));
                }
                Err(error) => {
                    // That an earlier one may have got it is not forgotten because a later one was not there.
                    let is_unknown = matches!(&last.1, Err(before) if turn > 0 && !is_not_sent(before));
                    if !is_unknown {
                        last = (gateway, Err(error));
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        last
    }
}

/// What the testing client says where it could not even connect.
fn is_not_sent(error: &anyhow::Error) -> bool {
    error.to_string().starts_with("connecting to")
}

/// The problem's type or title with the status.
fn said(answer: &Response) -> String {
    let body: Value = answer.json().unwrap_or_default();
    let word = ["code", "title", "message"].into_iter().find_map(|name| body.get(name).and_then(Value::as_str));
    format!("{} {}", answer.status, word.unwrap_or_default())
}

fn refused_or_unknown(answer: &Response) -> Told {
    let said = said(answer);
    // The door's code for an outcome that nobody knows.
    if said.ends_with(UNKNOWN) { Told::Unknown(said) } else { Told::Refused(said) }
}

fn number_in(answer: &Response) -> Result<Option<i64>> {
    let rows: Value = answer.json()?;
    let rows = rows.as_array().context("not a list")?;
    if rows.len() > 1 {
        bail!("{} records of one id", rows.len());
    }
    rows.first().map(|row| row.get("number").and_then(Value::as_i64).context("no number")).transpose()
}

fn id(thing: &Thing) -> String {
    match thing {
        Thing::Register(number) => format!("register-{number}"),
        Thing::Record(maker, number) => format!("record-{maker}-{number}"),
    }
}

fn thing(id: &str) -> Option<Thing> {
    let mut parts = id.split('-');
    let kind = parts.next()?;
    let mut number = || parts.next()?.parse().ok();
    match kind {
        "register" => Some(Thing::Register(number()?)),
        "record" => Some(Thing::Record(number()?, number()?)),
        _ => None,
    }
}

/// Makes the registers, each with number 0, and gives what was told of that.
///
/// # Errors
/// If one is refused.
pub fn make_registers(doors: &Doors) -> Result<Vec<Event>> {
    let client = doors.client(0)?;
    let mut events = Vec::new();
    for number in 0..WRITERS {
        let body = json!({ "id": id(&Thing::Register(number)), "number": 0 });
        let answer = client.post("/rest/v1/probe", &body)?;
        if answer.status != 201 {
            bail!("a register was refused: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        let (begun, ended, told) = (Moment::ZERO, Moment::ZERO, Told::Done);
        let (thing, act) = (Thing::Register(number), Act::Write(0));
        events.push(Event { client: number, gateway: 0, thing, act, begun, ended, told });
    }
    Ok(events)
}

/// Everything that is there, read page by page through one gateway.
///
/// # Errors
/// If a page is refused.
pub fn everything(doors: &Doors, gateway: usize) -> Result<End> {
    let client = doors.client(gateway)?;
    let mut end = End::new();
    loop {
        let offset = end.len();
        let path = format!("/rest/v1/probe?select=id,number&order=id.asc&limit={PAGE}&offset={offset}");
        let answer = client.get(&path)?;
        if answer.status != 200 && answer.status != 206 {
            bail!("reading all: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        let rows: Value = answer.json()?;
        let rows = rows.as_array().context("not a list")?;
        for row in rows {
            let key = row.get("id").and_then(Value::as_str).and_then(thing).context("a record of nobody's")?;
            end.insert(key, row.get("number").and_then(Value::as_i64).context("no number")?);
        }
        if rows.len() < PAGE {
            return Ok(end);
        }
        if end.len() == offset {
            bail!("a page without anything new");
        }
    }
}
