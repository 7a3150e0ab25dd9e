//! A tenant's key is rotated while everybody reads and writes: nobody is refused, reading hardly slows, and however often
//! the program is killed meanwhile, nothing of the old key is left at the end.
//!
//! `COUNTERSIGN_ROTATION_CELLS=1000000` makes the tenant large, and then reading is held to its bound;
//! `COUNTERSIGN_ROTATION_PROGRAM` names the program, a release build for instance.

mod load;
mod stored;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_testkit::{Client, Deployment, Postgres, Server};
use serde_json::{Value, json};

use crate::crash::check;
use crate::crash::writer::{Random, Writer};
use load::{Load, Tally};
use stored::Stored;

/// Cells that are there to be sealed again, at the least.
const CELLS: usize = 20_000;
/// From so many on the figures mean something.
const MANY: usize = 200_000;
/// Fields of a record.
const FIELDS: usize = 13;
/// How often the program is killed.
const KILLS: u32 = 10;
const WRITERS: usize = 2;
/// Records in one request.
const BATCH: usize = 100;
/// Longer than any rotation takes.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// Reading while a rotation goes on, of reading otherwise.
const LEAST: f64 = 0.8;
const TENANT: &str = "northwind";
const SETTINGS: &str = "fsync = on\nshared_buffers = '256MB'\nmax_wal_size = '4GB'";

#[test]
#[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
fn nobody_notices_a_rotation_and_no_kill_stops_it() -> Result<()> {
    rotation(false)
}

#[test]
#[ignore = "starts a demo and a database; a step of `cargo xtask test` runs it"]
fn nobody_notices_a_rotation_and_no_kill_stops_it_on_postgres() -> Result<()> {
    rotation(true)
}

fn rotation(on_postgres: bool) -> Result<()> {
    let tenant = Tenant::filled(on_postgres)?;
    let before = tenant.stored()?.census()?;
    let ratio = tenant.beside_requests()?;
    tenant.through_kills()?;

    let newest = tenant.newest()?;
    let after = tenant.stored()?.census()?;
    for (what, cells) in [("records", &after.cells), ("what they were", &after.past)] {
        let epochs: Vec<u32> = cells.keys().copied().collect();
        ensure!(epochs == [newest], "{what} have cells of epochs {epochs:?}, not of {newest} alone");
    }
    ensure!(!after.past.is_empty(), "nothing of what was is stored");
    let old_tags = after.tags.intersection(&before.tags).count();
    ensure!(old_tags == 0, "{old_tags} tags are of a key from before");
    ensure!(before.tags.len() > tenant.records && after.tags.len() >= before.tags.len(), "there are too few tags");
    println!(
        "{}: {} cells of records and {} of what they were, {} tags: all of epoch {newest}",
        tenant.kept(),
        after.cells.values().sum::<u64>(),
        after.past.values().sum::<u64>(),
        after.tags.len(),
    );
    tenant.without_old_keys(newest)?;
    ensure!(!tenant.is_large || ratio >= LEAST, "reading beside a rotation is {ratio:.2} of what it is otherwise");
    Ok(())
}

/// A deployment with a tenant that has much.
struct Tenant {
    deployment: Deployment,
    postgres: Option<Postgres>,
    records: usize,
    is_large: bool,
}

impl Tenant {
    fn filled(on_postgres: bool) -> Result<Self> {
        let program = std::env::var_os("COUNTERSIGN_ROTATION_PROGRAM");
        let program = program.map_or_else(|| crate::program().to_owned(), PathBuf::from);
        let cells = match std::env::var_os("COUNTERSIGN_ROTATION_CELLS") {
            Some(cells) => cells.to_str().and_then(|cells| cells.parse().ok()).context("no number of cells")?,
            None => CELLS,
        };
        let records = cells.div_ceil(FIELDS);
        let deployment = Deployment::temporary(&program)?;
        let server = deployment.demo()?;
        deployment.without_budgets()?;
        let began = Instant::now();
        let file = deployment.dir().with_file_name("rows.ndjson");
        let lines: Vec<String> = (0..records).map(|number| row(number).to_string()).collect();
        std::fs::write(&file, lines.join("\n"))?;
        let path = file.to_str().context("a path that is not UTF-8")?;
        deployment.run(&["--as", "andrew@northwind", "import", "customer", path, "--batch", "1000"])?;
        server.stop()?;
        let postgres = if on_postgres { Some(deployment.move_to_postgres_with(SETTINGS)?) } else { None };
        let tenant = Self { deployment, postgres, records, is_large: cells >= MANY };
        println!("{}: {records} records of {FIELDS} cells stored in {:.0?}", tenant.kept(), began.elapsed());
        Ok(tenant)
    }

    const fn kept(&self) -> &'static str {
        if self.postgres.is_some() { "PostgreSQL" } else { "embedded" }
    }

    fn stored(&self) -> Result<Stored<'_>> {
        let tenants: Vec<Value> = serde_json::from_str(&self.deployment.run(&["--output", "json", "tenant", "list"])?)?;
        let found = tenants.iter().find(|one| one["name"] == TENANT).and_then(|one| one["id"].as_str());
        Ok(Stored::open(&self.deployment, self.postgres.as_ref(), found.context("no such tenant")?))
    }

    fn client(&self, server: &Server, user: &str) -> Result<Client> {
        Ok(server.client()?.with_token(&self.deployment.login(user)?))
    }

    fn rotate(&self) -> Result<()> {
        self.deployment.run(&["keys", "rotate", TENANT]).map(drop)
    }

    /// Rotations with readers and writers, and reading without one between them. Nothing may fail. In a small tenant one is
    /// begun, and not waited for. Gives the middle of the ratios.
    fn beside_requests(&self) -> Result<f64> {
        let (turns, window) = if self.is_large { (2, 15) } else { (1, 3) };
        let window = Duration::from_secs(window);
        let server = self.deployment.serve()?;
        let process = server.process_id();
        let client = self.client(&server, "andrew@northwind")?;
        let operator = self.client(&server, "operator@operators")?;
        let mut writers: Vec<Writer> = (0..WRITERS).map(|number| Writer::new(number, 1)).collect();
        let load = Load { client: &client, records: self.records, pause: Duration::from_millis(50) };
        let (ratios, tally) = load.beside(&mut writers, |tally| {
            std::thread::sleep(Duration::from_secs(1));
            let mut ratios = Vec::new();
            let pass = || {
                std::thread::sleep(window);
                Ok(())
            };
            let quiet = || tally.reading(process, pass);
            let mut before = quiet()?;
            for _ in 0..turns {
                self.rotate()?;
                let began = Instant::now();
                let during = || if self.is_large { wait(&operator) } else { pass() };
                let beside = tally.reading(process, during)?;
                let took = began.elapsed().as_secs_f64();
                let after = if self.is_large { quiet()? } else { before };
                let otherwise = before.between(after);
                let ratio = beside.rate / otherwise.rate;
                println!(
                    "{}: rotation, {took:.1} s of it; {:.0} reads/s beside it, {:.0} otherwise: {ratio:.2}; processor {:.0} and \
                     {:.0} us a read: {:.2}",
                    self.kept(),
                    beside.rate,
                    otherwise.rate,
                    beside.processor_us,
                    otherwise.processor_us,
                    otherwise.processor_us / beside.processor_us,
                );
                ratios.push(ratio);
                before = after;
            }
            Ok(ratios)
        })?;
        tally.ensure_right()?;
        tally.ensure_some()?;
        for writer in &mut writers {
            check::records(&client, writer)?;
        }
        let median = median(ratios);
        println!("{}: {tally}; median ratio {median:.2}", self.kept());
        server.stop()?;
        Ok(median)
    }

    /// One rotation, or as many as it takes, killed again and again under load.
    fn through_kills(&self) -> Result<()> {
        // Slowly enough that all kills are on the way.
        let pace = if self.is_large { 2_000 } else { 150 };
        self.pace(pace)?;
        let mut random = Random::new(7);
        let mut writers: Vec<Writer> = (WRITERS..WRITERS * 2).map(|number| Writer::new(number, 2)).collect();
        let (began, total) = (Instant::now(), Tally::default());
        let mut rotations = 0_u32;
        for kill in 1..=KILLS {
            let server = self.deployment.serve().with_context(|| format!("start before kill {kill}"))?;
            let client = self.client(&server, "andrew@northwind")?;
            for writer in &mut writers {
                check::records(&client, writer).with_context(|| format!("before kill {kill}"))?;
            }
            if !is_resealing(&self.client(&server, "operator@operators")?)? {
                self.rotate()?;
                rotations += 1;
            }
            let lives = Duration::from_millis(200 + random.below(if self.is_large { 2_000 } else { 800 }));
            let load = Load { client: &client, records: self.records, pause: Duration::ZERO };
            let ((), tally) = load.beside(&mut writers, |tally| {
                std::thread::sleep(lives);
                tally.killing();
                server.kill()
            })?;
            tally.ensure_right().with_context(|| format!("before kill {kill}"))?;
            total.add(&tally);
        }
        total.ensure_some()?;
        self.pace(2_000)?;
        let server = self.deployment.serve()?;
        wait(&self.client(&server, "operator@operators")?)?;
        let client = self.client(&server, "andrew@northwind")?;
        for writer in &mut writers {
            check::records(&client, writer).context("after the last kill")?;
        }
        println!(
            "{}: {KILLS} kills in {rotations} rotations, over after {:.1} s; {total}; every acknowledged write is there",
            self.kept(),
            began.elapsed().as_secs_f64()
        );
        server.stop()
    }

    fn pace(&self, per_second: u32) -> Result<()> {
        let path = self.deployment.dir().join("countersign.toml");
        let text = std::fs::read_to_string(&path)?;
        let (head, rest) = text.split_once("reseal_per_second = ").context("no reseal_per_second")?;
        let (_, tail) = rest.split_once('\n').context("no end of the line")?;
        Ok(std::fs::write(path, format!("{head}reseal_per_second = {per_second}\n{tail}"))?)
    }

    /// The tenant's own keys and their states, as an operator sees them.
    fn states(&self) -> Result<Vec<(u32, String)>> {
        let listed = self.deployment.run(&["--output", "json", "keys", "list", "--tenant", TENANT])?;
        let keys: Vec<Value> = serde_json::from_str(&listed)?;
        let own = keys.iter().filter(|key| key["key"] == "tenant");
        own.map(|key| {
            let epoch = key["epoch"].as_u64().and_then(|epoch| u32::try_from(epoch).ok()).context("no epoch")?;
            Ok((epoch, key["state"].as_str().context("no state")?.to_owned()))
        })
        .collect()
    }

    /// The epoch that is in use; every other is retired.
    fn newest(&self) -> Result<u32> {
        let status = self.deployment.run(&["--output", "json", "keys", "status"])?;
        let status: Vec<Value> = serde_json::from_str(&status)?;
        ensure!(!status.is_empty() && status.iter().all(|key| key["state"] == "retired"), "keys status: {status:?}");
        let states = self.states()?;
        let (newest, _) = states.iter().find(|(_, state)| state == "current").context("no current key")?;
        let others = states.iter().filter(|(epoch, _)| epoch != newest);
        ensure!(others.clone().count() > 0 && others.clone().all(|(_, state)| state == "retired"), "{states:?}");
        Ok(*newest)
    }

    /// Destroys every key but the newest, and reads everything.
    fn without_old_keys(&self, newest: u32) -> Result<()> {
        let server = self.deployment.serve()?;
        for (epoch, _) in self.states()?.iter().filter(|(epoch, _)| *epoch != newest) {
            self.deployment.run(&["keys", "destroy", TENANT, "--epoch", &epoch.to_string(), "--confirm", TENANT])?;
        }
        server.stop()?;
        let states = self.states()?;
        ensure!(states.iter().all(|(epoch, state)| *epoch == newest || state == "destroyed"), "{states:?}");
        let server = self.deployment.serve()?;
        let client = self.client(&server, "andrew@northwind")?;
        let names: Vec<String> = row(0).as_object().context("no fields")?.keys().cloned().collect();
        let numbers: Vec<usize> = (0..self.records).collect();
        for batch in numbers.chunks(BATCH) {
            let ids: Vec<String> = batch.iter().map(|number| format!("b{number}")).collect();
            let path = format!("/rest/v1/customer?select={}&id=in.({})", names.join(","), ids.join(","));
            let mut found = client.get(&path)?.rows()?;
            found.sort_by_key(number_of);
            let wanted: Vec<Value> = batch.iter().map(|number| row(*number)).collect();
            ensure!(found == wanted, "records from {:?} on are not what they were", batch.first());
        }
        let some = self.records / 50;
        for number in numbers.iter().step_by(some.max(1)) {
            let path = format!("/rest/v1/customer?select=id&email=eq.b{number}@example.org");
            ensure!(client.get(&path)?.rows()? == [json!({ "id": format!("b{number}") })], "b{number} is not found");
        }
        println!("{}: older keys destroyed; all {} records are read", self.kept(), self.records);
        server.stop()
    }
}

/// Until nothing is to be sealed again.
fn wait(operator: &Client) -> Result<()> {
    let began = Instant::now();
    while is_resealing(operator)? {
        ensure!(began.elapsed() < PATIENCE, "a rotation does not come to its end");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn is_resealing(operator: &Client) -> Result<bool> {
    let keys = operator.get(&format!("/v1/keys?tenant={TENANT}"))?.rows()?;
    ensure!(!keys.is_empty(), "there are no keys");
    Ok(keys.iter().any(|key| key["state"] == "resealing"))
}

/// A record with a value in each field.
fn row(number: usize) -> Value {
    json!({
        "id": format!("b{number}"), "company": format!("Bench & Sons {number}"), "contact_name": "B. Ench",
        "contact_title": "Owner", "address": format!("Lane {number}"), "city": "Ulm", "region": "BW",
        "country": "Germany", "postal_code": "89073", "phone": format!("0731 {number}"), "fax": "0731 1",
        "email": format!("b{number}@example.org"), "support_rep_id": 1,
    })
}

fn number_of(row: &Value) -> usize {
    row["id"].as_str().and_then(|id| id.strip_prefix('b')?.parse().ok()).unwrap_or(usize::MAX)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
