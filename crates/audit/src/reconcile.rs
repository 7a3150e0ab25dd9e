//! Holds what the services say of each request against each other.
//!
//! A release of data is countersigned: the gateway, the key service and the store each record it in a ledger of
//! their own. [`Reconciler`] takes the entries of all those ledgers, in whatever order they arrive, and says which
//! requests lack a record or have records that differ. One service that was taken over can't hide what it did
//! without the other two.
//!
//! What must hold, once a request has been quiet for the grace time:
//!
//! - What the gateway says at the end of a request is the sum of what the store says. The authority takes the
//!   gateway's place in requests that it makes itself.
//! - What the key service counted is what the store gave out. That it handed out keys (its intent) is fine without
//!   any cell given out, if the gateway knows of the request at all.
//! - Token, epoch and tenant are the same in all records of a request.
//! - A request that opened and wrote nothing needs no fellows but the gateway, where the store was asked for records
//!   with a value and had none. Refusals release nothing, so they prove nothing.
//!
//! A ledger may be late: while a database fails over, records wait to be durable. Ledgers say when they have given all
//! that they have ([`Reconciler::all`]). While one that has said so before doesn't, and for the grace time after, what
//! does not agree is not reported yet, but at the latest a minute after the request was first heard of: a service that
//! only seems to be late hides nothing for longer.
//!
//! Pure: no clock, no files. Memory is bounded by what the [`Reconciler`] was given; past it the oldest requests
//! are judged early, which may report one too many and never one too few.

mod said;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::fmt;

use countersign_model::{RequestId, Service, TenantId, UnixMs};
use serde::{Deserialize, Serialize};

use self::said::Said;
use crate::ledger::Position;
use crate::record::Reason;
use crate::tally::TallyEntry;

/// How long a request must have been quiet before it is judged, unless another time is given.
pub const GRACE_MS: u64 = 3_000;
/// How many requests are held at a time, unless another number is given.
pub const CAPACITY: usize = 131_072;
/// However busy a request keeps itself, it is judged this long after it was first heard of.
const OPEN_MAX_MS: u64 = 30_000;
/// A ledger that has not said for so long that it has given all is late.
const LATE_MS: u64 = 2_000;
/// The longest that a finding waits for ledgers that are late, from when its request was first heard of; and the longest
/// that a ledger is waited for that says nothing. Longer than a database takes to fail over.
const LATE_MAX_MS: u64 = 60_000;
/// What a request may say on average before the oldest are judged early: entries of tallies.
const WEIGHT_EACH: usize = 8;

/// A request whose records are incomplete or disagree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The request.
    pub request: RequestId,
    /// Whose data it was about, if any record says so.
    pub tenant: Option<TenantId>,
    /// What is wrong.
    pub what: What,
}

/// What is wrong with a request's records.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Data was released or changed, and these services have no record of it.
    Missing {
        /// Ascending.
        services: Vec<Service>,
    },
    /// Only this service has a record of the request at all: it was made without a gateway, or made up.
    Unknown {
        /// The service.
        service: Service,
    },
    /// The services' records say different things.
    Differs {
        /// In what.
        part: Part,
        /// The service that all others contradict, where there are enough others.
        odd: Option<Service>,
    },
}

impl What {
    /// The reason to record it under.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Missing { .. } | Self::Unknown { .. } => Reason::NoFellow,
            Self::Differs { .. } => Reason::Differs,
        }
    }
}

/// In words, for people: names services and what differs, never values.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { services } => {
                f.write_str("no record of ")?;
                for (at, service) in services.iter().enumerate() {
                    write!(f, "{}{service}", if at > 0 { ", " } else { "" })?;
                }
                Ok(())
            }
            Self::Unknown { service } => write!(f, "only {service} has a record of it"),
            Self::Differs { part, odd: Some(service) } => {
                write!(f, "{} differ: {service} against the others", part.words())
            }
            Self::Differs { part, odd: None } => write!(f, "{} differ", part.words()),
        }
    }
}

/// In what records of one request can differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Whose data.
    Tenant,
    /// The token.
    Token,
    /// The epoch of the facts.
    Epoch,
    /// Which fields of which record types were opened.
    Fields,
    /// The same fields, of another number of rows.
    Rows,
    /// How many records were changed.
    Written,
}

impl Part {
    /// The word used in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Token => "token",
            Self::Epoch => "epoch",
            Self::Fields => "fields",
            Self::Rows => "rows",
            Self::Written => "written",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Tenant => "tenants",
            Self::Token => "tokens",
            Self::Epoch => "epochs of the facts",
            Self::Fields => "the fields opened",
            Self::Rows => "the numbers of rows opened",
            Self::Written => "the numbers of changes",
        }
    }
}

/// What is wrong with one request, given everything that is recorded about it.
#[must_use]
pub fn judge<'a>(entries: impl IntoIterator<Item = &'a TallyEntry>) -> Vec<What> {
    let mut said = Said::default();
    entries.into_iter().for_each(|entry| said.take(entry));
    said.judge()
}

/// Follows ledgers and finds the requests whose records don't agree.
///
/// ```
/// use countersign_audit::reconcile::{Reconciler, What};
/// use countersign_audit::{Position, TallyEntry, Verdict};
/// use countersign_model::{FieldSet, RequestId, Service, Tally, TenantId, TokenId, TypeId, UnixMs};
///
/// let now = UnixMs(1_780_000_000_000);
/// let mut tally = Tally::new(TokenId::from_u128(1), 7);
/// tally.open(TypeId(1), FieldSet::first(2), 10);
/// let entry = TallyEntry {
///     request: RequestId::from_u128(2),
///     service: Service::Gateway,
///     verdict: Verdict::Released,
///     tenant: Some(TenantId::from_u128(3)),
///     time: now,
///     tally: Some(tally),
///     signal: None,
/// };
/// let mut reconciler = Reconciler::default();
/// reconciler.take(0, Position(0), &entry, now);
/// reconciler.take(1, Position(0), &TallyEntry { service: Service::Store, ..entry }, now);
/// let findings = reconciler.due(now.plus_ms(3_000));
/// assert_eq!(findings[0].what, What::Missing { services: vec![Service::Keys] });
/// ```
#[derive(Debug)]
pub struct Reconciler {
    grace_ms: u64,
    capacity: usize,
    since: UnixMs,
    open: HashMap<RequestId, Open>,
    /// Exactly one entry for each open request. When it comes up, the request may have more time by then.
    deadlines: BinaryHeap<Reverse<(UnixMs, RequestId)>>,
    weight: usize,
    /// The last position taken of each ledger.
    taken: HashMap<u32, Position>,
    /// When each ledger said last that it has given all.
    heard: HashMap<u32, UnixMs>,
    /// Until when findings wait for ledgers that are or were late.
    held_until: UnixMs,
    /// Findings of requests that had to be judged early.
    early: Vec<Finding>,
    reported: Reported,
}

/// A request that is not judged yet.
#[derive(Debug)]
struct Open {
    first: UnixMs,
    last: UnixMs,
    said: Said,
}

impl Default for Reconciler {
    fn default() -> Self {
        Self::new(GRACE_MS, CAPACITY)
    }
}

impl Reconciler {
    /// A reconciler that judges a request when nothing was heard of it for `grace_ms`, and holds at most `capacity`
    /// requests (at least one) at a time.
    #[must_use]
    pub fn new(grace_ms: u64, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            grace_ms,
            capacity,
            since: UnixMs(0),
            open: HashMap::new(),
            deadlines: BinaryHeap::new(),
            weight: 0,
            taken: HashMap::new(),
            heard: HashMap::new(),
            held_until: UnixMs(0),
            early: Vec::new(),
            reported: Reported { capacity, ..Reported::default() },
        }
    }

    /// Leaves out requests that began before `since`, by the time in their ids (UUIDv7): who begins to follow ledgers
    /// in the middle doesn't have all records of those. Ledgers are read from a while before `since`.
    #[must_use]
    pub const fn since(mut self, since: UnixMs) -> Self {
        self.since = since;
        self
    }

    /// Takes what `ledger` has at `position`; `now` is when it arrived here.
    ///
    /// `ledger` is a number that the caller gives each ledger it follows. Positions of one ledger must come in
    /// order, and none may be left out; what comes again is ignored, so following may begin again anywhere before.
    /// Ledgers with much to catch up on are read side by side, in order of time, before the first call of
    /// [`due`](Self::due).
    pub fn take(&mut self, ledger: u32, position: Position, entry: &TallyEntry, now: UnixMs) {
        match self.taken.get_mut(&ledger) {
            Some(taken) if position <= *taken => return,
            Some(taken) => *taken = position,
            None => {
                self.taken.insert(ledger, position);
            }
        }
        if !Said::bears_on(entry) || began(entry.request) < self.since || self.reported.contains(entry.request) {
            return;
        }
        if !self.open.contains_key(&entry.request) {
            self.make_room();
            self.deadlines.push(Reverse((now.plus_ms(self.grace_ms), entry.request)));
            self.weight = self.weight.saturating_add(1);
        }
        let open = self.open.entry(entry.request);
        let open = open.or_insert_with(|| Open { first: now, last: now, said: Said::default() });
        let before = open.said.weight();
        open.said.take(entry);
        open.last = open.last.max(now);
        self.weight = self.weight.saturating_add(open.said.weight()).saturating_sub(before);
    }

    /// `ledger` has given all that its service recorded until about a second before `now`. To be said about once a second
    /// while it is so.
    pub fn all(&mut self, ledger: u32, now: UnixMs) {
        self.heard.insert(ledger, now);
    }

    /// Judges the requests whose time has come. Call it about once a second: what it finds is then at most the
    /// grace time and that second old, or up to a minute where a ledger is late.
    pub fn due(&mut self, now: UnixMs) -> Vec<Finding> {
        let late = |heard: &UnixMs| (LATE_MS..LATE_MAX_MS).contains(&now.since(*heard));
        if self.heard.values().any(late) {
            self.held_until = now.plus_ms(self.grace_ms.max(1));
        }
        let mut findings = std::mem::take(&mut self.early);
        while let Some(Reverse((deadline, request))) = self.deadlines.peek().copied()
            && deadline <= now
        {
            self.deadlines.pop();
            let Some(open) = self.open.get(&request) else { continue };
            let quiet = open.last.plus_ms(self.grace_ms);
            let deadline = quiet.min(open.first.plus_ms(OPEN_MAX_MS.max(self.grace_ms)));
            let held_until = self.held_until.min(open.first.plus_ms(LATE_MAX_MS.max(self.grace_ms)));
            if deadline > now {
                self.deadlines.push(Reverse((deadline, request)));
            } else if held_until > now && !open.said.judge().is_empty() {
                self.deadlines.push(Reverse((held_until, request)));
            } else {
                self.judge(request, &mut findings);
            }
        }
        findings
    }

    /// How many requests are not judged yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The last position taken of a ledger: where to go on after a break.
    #[must_use]
    pub fn taken(&self, ledger: u32) -> Option<Position> {
        self.taken.get(&ledger).copied()
    }

    fn make_room(&mut self) {
        while self.open.len() >= self.capacity || self.weight >= self.capacity.saturating_mul(WEIGHT_EACH) {
            let Some(Reverse((_, oldest))) = self.deadlines.pop() else { return };
            let mut findings = std::mem::take(&mut self.early);
            self.judge(oldest, &mut findings);
            self.early = findings;
        }
    }

    fn judge(&mut self, request: RequestId, findings: &mut Vec<Finding>) {
        let Some(open) = self.open.remove(&request) else { return };
        self.weight = self.weight.saturating_sub(open.said.weight().saturating_add(1));
        let wrong = open.said.judge();
        if !wrong.is_empty() {
            self.reported.insert(request);
        }
        let tenant = open.said.tenant();
        findings.extend(wrong.into_iter().map(|what| Finding { request, tenant, what }));
    }
}

/// When a request began: the first 48 bits of its id (RFC 9562, section 5.7).
const fn began(request: RequestId) -> UnixMs {
    UnixMs((request.as_u128() >> 80) as u64)
}

/// The requests reported last: what arrives late about one of them is no news.
#[derive(Debug, Default)]
struct Reported {
    capacity: usize,
    order: VecDeque<RequestId>,
    requests: HashSet<RequestId>,
}

impl Reported {
    fn contains(&self, request: RequestId) -> bool {
        self.requests.contains(&request)
    }

    fn insert(&mut self, request: RequestId) {
        if !self.requests.insert(request) {
            return;
        }
        self.order.push_back(request);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.requests.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
