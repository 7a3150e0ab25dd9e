//! `countersign incident drill`: from a stolen token to the notices, in a demo of its own, with the time of each step.
//!
//! It goes the way that everybody goes: logins, tokens, the router, the guards. What the thief read is counted here by the
//! thief, and held against what the audit logs say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Entropy, UnixMs};
use http::{HeaderName, Method, StatusCode};
use serde_json::{Value, json};

use super::load::{caller, name};
use super::{load, place};
use crate::breach;
use crate::cli::Context;
use crate::client::{Client, Token};
use crate::compose::{self, Opening};
use crate::deployment::Deployment;
use crate::login::{Login, Signer, login, operator};
use crate::problem::{Problem, io};
use crate::query::Query;
use crate::table::plain;
use crate::terminal::Terminal;
use crate::transport::{Ask, InProcess, Transport};

/// Whose token is stolen.
const VICTIM: (&str, &str) = ("nancy", "northwind");
/// Who is told.
const ADMIN: (&str, &str) = ("andrew", "northwind");
const ELSEWHERE: &str = "chinook";

/// How long an alert is waited for. It comes within two seconds; a loaded machine may take longer.
const ALERT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// What the thief asks for: lists, conditions, embeds, counts, a second time the same, and some that are refused.
const READS: [&str; 7] = [
    "/rest/v1/customer?select=id,company,country&country=eq.Germany",
    "/rest/v1/customer?select=id,company&order=id&limit=5",
    "/rest/v1/invoice?select=id,total,customer:customer_id(id,company)&order=id&limit=6",
    "/rest/v1/customer?select=id&city=eq.London",
    "/rest/v1/customer?select=id,company,country&country=eq.Germany",
    "/rest/v1/product?select=id&limit=3",
    "/rest/v1/customer?select=id,no_such_field&limit=1",
];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Keep the folder of the demo, to look at it afterwards; without this it is removed.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let terminal = context.terminal;
    let dir = arguments.keep.clone().unwrap_or_else(temporary);
    if dir.exists() {
        return Err(Problem::usage(format!("{} is there already", dir.display())).next("name a new folder"));
    }
    let deployment = Deployment::at(&dir);
    let played = play(&terminal, &deployment).await;
    if arguments.keep.is_none() {
        std::fs::remove_dir_all(&dir).map_err(io("remove", &dir))?;
    }
    played
}

fn temporary() -> PathBuf {
    let mut random = [0u8; 8];
    countersign_crypto::SystemEntropy.fill(&mut random);
    std::env::temp_dir().join(format!("countersign-drill-{:016x}", u64::from_be_bytes(random)))
}

/// Says how long each step took.
struct Steps {
    terminal: Terminal,
    begun: Instant,
    last: Instant,
    number: usize,
}

impl Steps {
    fn new(terminal: Terminal) -> Self {
        let now = Instant::now();
        Self { terminal, begun: now, last: now, number: 0 }
    }

    fn done(&mut self, said: &str) -> Result<(), Problem> {
        self.number = self.number.saturating_add(1);
        let took = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        self.terminal.line(&format!("{took:>8.3} s  {}. {said}", self.number))
    }

    fn more(&self, text: &str) -> Result<(), Problem> {
        text.lines().try_for_each(|line| self.terminal.line(&format!("            {line}")))
    }
}

async fn play(terminal: &Terminal, deployment: &Deployment) -> Result<(), Problem> {
    let mut steps = Steps::new(*terminal);
    place::begin(deployment)?;
    compose::init(deployment, &crate::config::Config::default())?;
    let config = compose::config(deployment)?;
    let opened = Arc::new(compose::open_as(deployment, config, Opening { serves: true, ..Opening::default() }).await?);
    let transport = Arc::new(Transport::InProcess(Box::new(InProcess::new(Arc::clone(&opened), None))));
    let told = tell(&mut steps, deployment, &transport).await;
    opened.close().await;
    told
}

async fn tell(steps: &mut Steps, deployment: &Deployment, transport: &Arc<Transport>) -> Result<(), Problem> {
    load::load(&steps.terminal, deployment, transport).await?;
    place::finish(deployment)?;
    steps.done("a deployment with two companies is there")?;

    let owner = unbound(deployment, transport, VICTIM).await?;
    // What the owner does with another token is not the thief's.
    let other = unbound(deployment, transport, VICTIM).await?;
    other.get("/rest/v1/customer?select=id,company&limit=50").await?;
    let since = SystemClock.now();
    let stolen = owner.with_token(owner.token().cloned().ok_or_else(|| Problem::failed("no token"))?);
    let token = breach::text(&stolen.get("/v1/token").await?, "token");
    steps.done(&format!("{}@{}'s token {token} is stolen: it is bound to no key", VICTIM.0, VICTIM.1))?;

    let loot = Loot::take(&stolen).await?;
    steps.done(&format!("the thief reads {}, and is refused {} times", loot.said(), loot.refused))?;

    let operator = caller(deployment, transport, &operator()?).await?;
    match alert(&operator, since).await? {
        Some(title) => steps.done(&format!("the monitor alerts: {title}"))?,
        None => steps.done("no monitor alerted in time; somebody noticed")?,
    }

    let incident = breach::open(&operator, &json!({ "token": token }), since, None).await?;
    let id = breach::id(&incident);
    steps.done(&format!("incident {id} is opened: {}", reach(&incident)))?;

    let path = format!("/v1/incidents/{id}/containment");
    let contained = operator.put(Method::POST, &path, &json!({})).await?;
    let refused = stolen.exchange(Ask::new(Method::GET, "/rest/v1/customer?limit=1")).await?;
    if breach::failed(&contained) || refused.status != StatusCode::UNAUTHORIZED {
        return Err(Problem::failed("the stolen token is still good"));
    }
    other.get("/rest/v1/customer?select=id&limit=1").await?;
    steps.done("it is contained: the stolen token is refused, the owner's other login is not")?;

    let path = format!("/v1/incidents/{id}/notices");
    let drafted = operator.put(Method::POST, &path, &json!({ "send": false })).await?;
    steps.done("the notice is drafted; nothing is sent yet")?;
    steps.more(&breach::notices(&drafted))?;
    operator.put(Method::POST, &path, &json!({ "send": true })).await?;
    steps.done("the notice is given out")?;

    let admin = caller(deployment, transport, &Login { user: name(ADMIN.0)?, tenant: name(ADMIN.1)? }).await?;
    let notice = admin.put(Method::POST, &format!("/v1/notices/{id}/delivery"), &json!({})).await?;
    steps.done(&format!("{}@{} reads it, with the records", ADMIN.0, ADMIN.1))?;
    let compared = loot.compare(&admin, &token, &notice).await?;
    steps.done(&format!("record by record, the notice has what the thief read: {compared}"))?;
    admin.put(Method::POST, &format!("/v1/notices/{id}/acknowledgement"), &json!({})).await?;
    steps.done("it is acknowledged")?;
    let whole = steps.begun.elapsed().as_secs_f64();
    steps.terminal.line(&format!("{whole:>8.3} s  in all"))
}

/// A login whose token is bound to no key, so that whoever has it can use it.
async fn unbound(deployment: &Deployment, transport: &Arc<Transport>, who: (&str, &str)) -> Result<Client, Problem> {
    let who = Login { user: name(who.0)?, tenant: name(who.1)? };
    let signer = Signer::from_file(&deployment.ssh_key(&who.to_string()), None)?;
    let token: Token = login(transport, &who, &signer, None, None).await?;
    Ok(Client::new(Arc::clone(transport), Some(token)))
}

/// The first alert since then, by its title.
async fn alert(operator: &Client, since: UnixMs) -> Result<Option<String>, Problem> {
    let waiting = Instant::now();
    while waiting.elapsed() < ALERT {
        let reply = operator.exchange(Ask::new(Method::GET, "/v1/alerts")).await?;
        if !reply.status.is_success() {
            return Ok(None);
        }
        let alerts: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let ours = |alert: &&Value| {
            let last = breach::text(alert, "last");
            breach::text(alert, "title").to_lowercase().contains("tenant")
                && last >= countersign_authority::rfc3339(since)
        };
        let all = alerts.as_array().or_else(|| alerts.get("alerts").and_then(Value::as_array));
        if let Some(alert) = all.into_iter().flatten().find(ours) {
            return Ok(Some(breach::text(alert, "title")));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(None)
}

/// What an incident came to, in a line.
fn reach(incident: &Value) -> String {
    let of_type = |one: &Value| format!("{} {} records", breach::text(one, "type"), breach::number(one, "records"));
    let of_tenant = |tenant: &Value| {
        let types: Vec<_> = breach::list(tenant, "types").iter().map(of_type).collect();
        format!(
            "{}, {} requests: {}",
            breach::text(tenant, "tenant"),
            breach::number(tenant, "requests"),
            types.join(", ")
        )
    };
    breach::list(incident, "concerned").iter().map(of_tenant).collect::<Vec<_>>().join("; ")
}

/// What the thief has read: the keys of records, by type.
#[derive(Debug, Default)]
struct Loot {
    keys: BTreeMap<String, BTreeSet<String>>,
    refused: usize,
}

impl Loot {
    async fn take(stolen: &Client) -> Result<Self, Problem> {
        let mut loot = Self::default();
        for path in READS {
            let reply = stolen.exchange(Ask::new(Method::GET, path)).await?;
            let record_type = path.trim_start_matches("/rest/v1/").split('?').next().unwrap_or_default();
            if reply.status.is_success() {
                let rows: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
                loot.rows(record_type, &rows);
            } else {
                loot.refused = loot.refused.saturating_add(1);
            }
        }
        // And another company's records, which nobody asks for by accident.
        let ask = Ask::new(Method::GET, "/rest/v1/customer?limit=1")
            .header(HeaderName::from_static("accept-profile"), ELSEWHERE);
        if stolen.exchange(ask).await?.status.is_success() {
            return Err(Problem::failed("another tenant's records were answered"));
        }
        loot.refused = loot.refused.saturating_add(1);
        Ok(loot)
    }

    /// Takes the keys of rows, and of what is embedded in them.
    fn rows(&mut self, record_type: &str, rows: &Value) {
        for row in rows.as_array().into_iter().flatten().chain(rows.as_object().map(|_| rows)) {
            if let Some(key) = row.get("id") {
                self.keys.entry(record_type.to_owned()).or_default().insert(plain(key));
            }
            for (embedded, inside) in row.as_object().into_iter().flatten() {
                if inside.is_object() || inside.is_array() {
                    self.rows(embedded, inside);
                }
            }
        }
    }

    fn said(&self) -> String {
        let of = self.keys.iter().map(|(record_type, keys)| format!("{} {record_type}", keys.len()));
        of.collect::<Vec<_>>().join(", ")
    }

    /// Whether the notice has exactly these records. Their identifiers are asked for by their keys.
    async fn compare(&self, admin: &Client, token: &str, notice: &Value) -> Result<String, Problem> {
        let mut compared = 0usize;
        for (record_type, keys) in &self.keys {
            let mut read = BTreeSet::new();
            for key in keys {
                let mut query = Query::new("/v1/audit".to_owned());
                query.add("record", &format!("{record_type}/{key}"));
                query.add("token", token);
                let page = admin.get(query.text()).await?;
                let of_entry = breach::list(&page, "records").iter().flat_map(|entry| breach::list(entry, "accesses"));
                let of_type = of_entry.filter(|access| breach::text(access, "type") == *record_type);
                read.extend(of_type.flat_map(|access| breach::list(access, "record_ids")).map(plain));
            }
            let told = breach::list(notice, "records").iter().find(|one| breach::text(one, "type") == *record_type);
            let told: BTreeSet<String> =
                told.map(|one| breach::list(one, "read")).unwrap_or_default().iter().map(plain).collect();
            if read != told || read.len() != keys.len() {
                return Err(Problem::failed(format!(
                    "{record_type}: the thief read {}, the audit logs have {}, and the notice has {}",
                    keys.len(),
                    read.len(),
                    told.len()
                )));
            }
            compared = compared.saturating_add(told.len());
        }
        let types = breach::list(notice, "records").iter().filter(|one| !breach::list(one, "read").is_empty()).count();
        if types != self.keys.len() {
            return Err(Problem::failed("the notice has records of types that the thief did not read"));
        }
        Ok(format!("{compared} of {compared}"))
    }
}
