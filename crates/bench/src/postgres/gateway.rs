//! The whole program: over HTTPS, with decisions, keys, budgets, sealed cells opened, and a durable audit record for each
//! request. Its ledgers are in the database too, or in files.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use countersign_testkit::{DATABASE, Deployment, Postgres, Server};
use serde_json::json;

use super::{Bare, CLIENTS, Place, READS, SETTINGS, Turns, WRITES, turn, turns};
use crate::Options;
use crate::load::{Load, Measured, request};
use crate::report::{Report, Row, Target};
use crate::stack::POINT_FIELDS;
use crate::timing::median;

/// More than can be written in one turn.
const WRITES_A_SECOND: u64 = 20_000;

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let embedded = Side::start(options, Kept::Folder)?;
    let whole = Side::start(options, Kept::Database)?;
    let records = Side::start(options, Kept::DatabaseButLedgers)?;
    let place = Place::new()?;
    for postgres in [&whole, &records].into_iter().filter_map(|side| side.postgres.as_ref()) {
        postgres.sql(DATABASE, "ANALYZE")?;
    }
    let server = whole.postgres.as_ref().context("no database")?;
    let bare = Bare::new(options, server, &whole.ca_pem, &place)?;
    for (what, unit, target, scripts, load) in [
        ("point read", "reads/s", READS, [&bare.read, &bare.read_pipelined], Side::reads as Loading),
        ("insert", "writes/s", WRITES, [&bare.write, &bare.write_pipelined], Side::writes),
    ] {
        let (mut with, mut without) = (Turns::default(), Turns::default());
        let (mut of_whole, mut of_records, mut of_embedded) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..turns(options) {
            for (side, all) in [(&whole, &mut of_whole), (&records, &mut of_records), (&embedded, &mut of_embedded)] {
                all.push(load(side, options, number)?);
            }
            let (plain, pipelined) = (bare.run(scripts[0])?, bare.run(scripts[1])?);
            for turns in [&mut with, &mut without] {
                turns.bare.push(plain);
                turns.pipelined.push(pipelined);
            }
        }
        with.ours = of_whole.iter().map(|one| one.rate).collect();
        without.ours = of_records.iter().map(|one| one.rate).collect();
        let name = |kept: &str| format!("HTTPS {what}, PostgreSQL, {CLIENTS} connections, ledgers in {kept}");
        report.add(with.row(name("PostgreSQL"), unit, target, &told(&of_whole)));
        report.add(without.row(name("files"), unit, target, &told(&of_records)));
        report.add(Row {
            name: format!("HTTPS {what}, embedded, {CLIENTS} connections, same run"),
            figure: middle(&of_embedded, |one| one.rate),
            unit,
            limit: None,
            target: Target::Unset,
            note: told(&of_embedded),
        });
    }
    for side in [embedded, whole, records] {
        side.server.stop()?;
    }
    Ok(())
}

type Loading = fn(&Side, &Options, usize) -> Result<Measured>;

fn middle(all: &[Measured], of: fn(&Measured) -> f64) -> f64 {
    median(&mut all.iter().map(of).collect::<Vec<_>>())
}

fn told(all: &[Measured]) -> String {
    let (p50, p99) = (middle(all, |one| one.p50_us), middle(all, |one| one.p99_us));
    format!("p50 {p50:.0} µs, p99 {p99:.0} µs; our processor {:.0} µs a request", middle(all, |one| one.server_us))
}

/// Where things are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Folder,
    Database,
    /// Records, control data and budgets in the database, ledgers in files.
    DatabaseButLedgers,
}

/// A demo, moved to a database of its own or not.
struct Side {
    deployment: Deployment,
    server: Server,
    /// Ended after the server.
    postgres: Option<Postgres>,
    ca_pem: String,
    token: String,
}

impl Side {
    fn start(options: &Options, kept: Kept) -> Result<Self> {
        let deployment = Deployment::temporary_in(&options.program, &options.disk)?;
        let mut server = deployment.demo()?;
        deployment.without_budgets()?;
        let mut postgres = None;
        if kept != Kept::Folder {
            server.stop()?;
            if kept == Kept::DatabaseButLedgers {
                let config = deployment.dir().join("countersign.toml");
                let text = std::fs::read_to_string(&config)?;
                std::fs::write(&config, with_ledgers_in_files(&text)?)?;
            }
            postgres = Some(deployment.move_to_postgres_with(SETTINGS)?);
            server = deployment.serve()?;
        }
        let token = deployment.login("andrew@northwind")?;
        let ca_pem = std::fs::read_to_string(deployment.ca_file()).context("ca.pem")?;
        Ok(Self { deployment, server, postgres, ca_pem, token })
    }

    fn load(&self, options: &Options, requests: Vec<Vec<u8>>) -> Result<Measured> {
        let (address, process, duration) = (self.server.address(), self.server.process_id(), turn(options));
        let requests = Arc::new(requests);
        let load = Load { address, ca_pem: &self.ca_pem, requests, connections: CLIENTS, process, duration };
        load.run().with_context(|| self.deployment.dir().display().to_string())
    }

    fn reads(&self, options: &Options, _: usize) -> Result<Measured> {
        let client = self.server.client()?.with_token(&self.token);
        let customers = client.get("/rest/v1/customer?select=id&id=not.like.b*&limit=91")?.rows()?;
        let ids = customers.iter().filter_map(|row| row.get("id")?.as_str());
        let path = |id| format!("/rest/v1/customer?select={POINT_FIELDS}&id=eq.{id}");
        self.load(options, ids.map(|id| request("GET", &path(id), &self.token, "", "")).collect())
    }

    fn writes(&self, options: &Options, turn_number: usize) -> Result<Measured> {
        let count = turn(options).as_secs() * WRITES_A_SECOND;
        let requests = (0..count).map(|number| {
            let id = format!("b{turn_number}-{number}");
            let body = json!({ "id": id, "company": "Bench & Sons", "contact_name": "B. Ench", "city": "Ulm",
                               "country": "Germany", "phone": "0731 1234567", "email": "b@example.org" });
            request("POST", "/rest/v1/customer", &self.token, "Content-Type: application/json\r\n", &body.to_string())
        });
        self.load(options, requests.collect())
    }
}

/// The configuration with `[postgres] ledger = false`.
fn with_ledgers_in_files(text: &str) -> Result<String> {
    let wanted = "[postgres]\nledger = false\n";
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter().position(|line| *line == "[postgres]") {
        None => Ok(format!("{text}\n{wanted}")),
        Some(section) => {
            let after =
                lines.iter().skip(section).position(|line| line.trim_start_matches("# ").starts_with("ledger ="));
            let at = after.context("[postgres] has no ledger")? + section;
            *lines.get_mut(at).context("no line")? = "ledger = false";
            Ok(lines.join("\n") + "\n")
        }
    }
}
