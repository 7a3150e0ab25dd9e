//! Audit records as the server gives them, and how they are shown.

use countersign_model::Name;
use serde_json::Value;

use crate::client::Client;
use crate::problem::Problem;
use crate::query::Query;
use crate::table::{Table, plain};

/// One audit record, as the server gave it.
#[derive(Debug, Clone)]
pub struct Entry(Value);

/// Records, oldest first.
#[derive(Debug, Clone)]
pub struct Page {
    /// The records.
    pub entries: Vec<Entry>,
    /// Where to go on.
    pub next: Option<String>,
}

/// The newest records of the caller's tenant.
///
/// # Errors
/// What the server said.
pub async fn newest(client: &Client, limit: u64) -> Result<Page, Problem> {
    let mut query = Query::new(PATH.to_owned());
    query.add("limit", &limit.to_string());
    read(client, &query).await
}

/// Records after a place that an earlier page gave.
///
/// # Errors
/// What the server said.
pub async fn after(client: &Client, place: &str) -> Result<Page, Problem> {
    let mut query = Query::new(PATH.to_owned());
    query.add("after", place);
    read(client, &query).await
}

/// The newest records about one record.
///
/// # Errors
/// What the server said.
pub async fn who_saw(client: &Client, record_type: &Name, key: &str, limit: u64) -> Result<Page, Problem> {
    let mut query = Query::new(PATH.to_owned());
    query.add("record", &format!("{record_type}/{key}"));
    query.add("limit", &limit.to_string());
    read(client, &query).await
}

pub(crate) const PATH: &str = "/v1/audit";

pub(crate) async fn read(client: &Client, query: &Query) -> Result<Page, Problem> {
    let mut answer = client.get(query.text()).await?;
    let next = answer.get("next").and_then(Value::as_str).map(str::to_owned);
    match answer.get_mut("records").map(Value::take) {
        Some(Value::Array(records)) => Ok(Page { entries: records.into_iter().map(Entry).collect(), next }),
        _ => Err(Problem::failed("the server's answer has no audit records")),
    }
}

impl Entry {
    /// As the server gave it.
    #[must_use]
    pub const fn json(&self) -> &Value {
        &self.0
    }

    fn text(&self, name: &str) -> String {
        self.0.get(name).map(plain).unwrap_or_default()
    }

    /// Who asked, and for whom if for somebody else.
    fn who(&self) -> String {
        match (self.text("user"), self.text("on_behalf_of")) {
            (user, other) if other.is_empty() => user,
            (user, other) => format!("{user} for {other}"),
        }
    }

    /// The moment without the parts of a second.
    fn time(&self) -> String {
        let time = self.text("time");
        match (time.split_once('.'), time.strip_suffix('Z')) {
            (Some((seconds, _)), Some(_)) => format!("{seconds}Z"),
            _ => time,
        }
    }

    /// Whether it is what came of a request, rather than that one began.
    #[must_use]
    pub fn is_outcome(&self) -> bool {
        self.text("verdict") != "intent"
    }

    /// Whether it is the gateway's or the authority's, or a refusal: not what the services behind the gateway put on
    /// record beside it of a request that was answered.
    #[must_use]
    pub fn is_told_first(&self) -> bool {
        matches!(self.text("service").as_str(), "gateway" | "authority") || self.text("verdict") == "refused"
    }

    /// What was seen or changed, in short.
    fn what(&self) -> String {
        let accesses = self.0.get("accesses").and_then(Value::as_array).into_iter().flatten();
        let one = |access: &Value| {
            let text = |name: &str| access.get(name).map(plain).unwrap_or_default();
            let by = text("filter_fields");
            let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
            let fields = text("fields");
            let fields = if fields.is_empty() { String::new() } else { format!(": {fields}") };
            format!("{} {}{by}{fields}", text("records"), text("type"))
        };
        let all: Vec<String> = accesses.map(one).collect();
        if all.is_empty() { self.text("detail") } else { all.join("; ") }
    }

    /// One line, for following the log.
    #[must_use]
    pub fn line(&self) -> String {
        let parts =
            [self.time(), self.who(), self.text("action"), self.text("verdict"), self.text("reason"), self.what()];
        let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        crate::terminal::harmless(&parts.join("  "))
    }
}

/// Records as a table.
#[must_use]
pub fn table(entries: &[Entry]) -> Table {
    let mut table =
        Table::new(&["time", "service", "user", "action", "verdict", "reason", "purpose", "what", "request"]);
    for entry in entries {
        let cell = |name: &str| Value::from(entry.text(name));
        let (time, what) = (entry.time().into(), entry.what().into());
        let ([service, action], user) = (["service", "action"].map(cell), Value::from(entry.who()));
        let [verdict, reason, purpose, request] = ["verdict", "reason", "purpose", "request"].map(cell);
        table.push(vec![time, service, user, action, verdict, reason, purpose, what, request]);
    }
    table
}

/// Who, when and what, and nothing else.
#[must_use]
pub fn short_table(entries: &[Entry]) -> Table {
    let mut table = Table::new(&["time", "user", "action", "verdict", "what"]);
    for entry in entries {
        let cell = |name: &str| Value::from(entry.text(name));
        let ([action, verdict], user) = (["action", "verdict"].map(cell), Value::from(entry.who()));
        table.push(vec![entry.time().into(), user, action, verdict, entry.what().into()]);
    }
    table
}
