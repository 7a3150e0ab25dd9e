//! A deployment with a tenant of a million cells, and what is done with it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use countersign_testkit::{Deployment, Postgres, Server};
use serde_json::{Value, json};

use super::{CELLS, records};
use crate::Options;
use crate::load::{Load, request};
use crate::stack::POINT_FIELDS;

/// Repositories that are configured; each first backup needs one of its own.
const REPOSITORIES: usize = 60;
/// Longer than any rotation takes.
const PATIENCE: Duration = Duration::from_secs(1800);

pub struct Side {
    program: PathBuf,
    pub deployment: Deployment,
    server: Option<Server>,
    postgres: Option<Postgres>,
    ca_pem: String,
    token: String,
    used: AtomicUsize,
}

impl Side {
    /// In files.
    pub fn embedded(options: &Options) -> Result<Self> {
        Self::start(options, false)
    }

    /// In PostgreSQL.
    pub fn postgres(options: &Options) -> Result<Self> {
        Self::start(options, true)
    }

    fn start(options: &Options, is_moved: bool) -> Result<Self> {
        let deployment = Deployment::temporary_in(&options.program, &options.disk)?;
        let server = deployment.demo()?;
        deployment.without_budgets()?;
        let rows = deployment.dir().with_file_name("rows.ndjson");
        std::fs::write(&rows, customers(records(options)))?;
        let rows_text = rows.to_str().context("a path that is not UTF-8")?;
        deployment.run(&["--as", "andrew@northwind", "import", "customer", rows_text, "--batch", "1000"])?;
        std::fs::remove_file(rows)?;
        server.stop()?;
        let config = deployment.dir().join("countersign.toml");
        let mut text = std::fs::read_to_string(&config)?;
        for number in 0..REPOSITORIES {
            let folder = deployment.dir().with_file_name(format!("backup-{number}"));
            writeln!(text, "\n[backup.bench{number}]\nfolder = {:?}", folder.display().to_string())?;
        }
        std::fs::write(&config, text)?;
        let postgres = if is_moved { Some(deployment.move_to_postgres_with(super::rivals::SETTINGS)?) } else { None };
        let ca_pem = std::fs::read_to_string(deployment.ca_file()).context("ca.pem")?;
        let mut side = Self {
            program: options.program.clone(),
            deployment,
            server: None,
            postgres,
            ca_pem,
            token: String::new(),
            used: AtomicUsize::new(0),
        };
        side.serve()?;
        Ok(side)
    }

    /// Serves, after a change of the configuration.
    pub fn serve(&mut self) -> Result<()> {
        if let Some(server) = self.server.take() {
            server.stop()?;
        }
        self.server = Some(self.deployment.serve()?);
        self.token = self.deployment.login("andrew@northwind")?;
        Ok(())
    }

    pub fn stop(mut self) -> Result<()> {
        if let Some(server) = self.server.take() {
            server.stop()?;
        }
        drop(self.postgres.take());
        Ok(())
    }

    fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("not served")
    }

    /// The largest file below `data`, which is the tenant's.
    pub fn largest_file(&self) -> Result<PathBuf> {
        let mut largest = (0, PathBuf::new());
        let mut folders = vec![self.deployment.dir().join("data")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                let about = entry.metadata()?;
                if about.is_dir() {
                    folders.push(entry.path());
                } else if about.len() > largest.0 {
                    largest = (about.len(), entry.path());
                }
            }
        }
        ensure!(largest.0 > 0, "there is no data");
        Ok(largest.1)
    }

    pub fn megabytes(&self) -> Result<f64> {
        Ok(std::fs::metadata(self.largest_file()?)?.len() as f64 / 1e6)
    }

    /// One that nothing is in yet.
    pub fn new_repository(&self) -> usize {
        self.used.fetch_add(1, Ordering::Relaxed)
    }

    /// Seconds that a backup takes.
    pub fn backup(&self, repository: usize) -> Result<f64> {
        ensure!(repository < REPOSITORIES, "no repository is left");
        let began = Instant::now();
        self.deployment.run(&["backup", "create", &format!("bench{repository}")])?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Seconds that it takes to make the newest backup of the first repository a deployment again.
    pub fn restore_whole(&self) -> Result<f64> {
        let (new, from) = (self.beside("restored"), self.beside("backup-0"));
        let began = Instant::now();
        let mut command = Command::new(&self.program);
        command.arg("--dir").arg(&new).args(["backup", "restore", "--from"]).arg(from);
        command.arg("--kms-from").arg(self.deployment.dir()).stdin(Stdio::null());
        let output = command.output()?;
        if !output.status.success() {
            bail!("backup restore: {}", String::from_utf8_lossy(&output.stderr));
        }
        let seconds = began.elapsed().as_secs_f64();
        std::fs::remove_dir_all(new)?;
        Ok(seconds)
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.deployment.dir().with_file_name(name)
    }

    /// Seconds that it takes to put the tenant back to a moment so many seconds ago.
    pub fn restore_tenant(&self, ago: u64) -> Result<f64> {
        let began = Instant::now();
        self.deployment.run(&["backup", "restore", "--tenant", "northwind", "--to", &format!("{ago}s")])?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Point reads a second.
    pub fn reads(&self, options: &Options) -> Result<f64> {
        let count = records(options);
        let paths = (0..2000).map(|number| {
            let id = number * (count / 2000).max(1) % count;
            format!("/rest/v1/customer?select={POINT_FIELDS}&id=eq.b{id}")
        });
        self.load(options, paths.map(|path| request("GET", &path, &self.token, "", "")).collect())
    }

    /// The same while `work` is done again and again; and how often it was.
    pub fn reads_beside(&self, options: &Options, work: impl Fn(&Self) -> Result<()> + Sync) -> Result<(f64, usize)> {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let mut count = 0usize;
                while !is_over.load(Ordering::Relaxed) {
                    work(self)?;
                    count += 1;
                }
                Ok::<_, anyhow::Error>(count)
            });
            let measured = self.reads(options);
            is_over.store(true, Ordering::Relaxed);
            let count = worker.join().map_err(|_| anyhow::anyhow!("the work stopped"))??;
            Ok((measured?, count))
        })
    }

    /// Changes of records that are there, a second; each names another record of all.
    pub fn updates(&self, options: &Options, round: usize) -> Result<f64> {
        let count = records(options);
        let changes = (0..20_000usize).map(|number| {
            let body = json!({ "city": format!("Ulm {round}-{number}"), "phone": format!("0731 {number}") });
            let path = format!("/rest/v1/customer?id=eq.b{}", number * 7919 % count);
            request("PATCH", &path, &self.token, "Content-Type: application/json\r\n", &body.to_string())
        });
        self.load(options, changes.collect())
    }

    /// New records a second.
    pub fn inserts(&self, options: &Options, round: usize) -> Result<f64> {
        let seconds = super::history::turn(options).as_secs().max(1);
        let rows = (0..seconds * 20_000).map(|number| {
            let body = json!({ "id": format!("n{round}-{number}"), "company": "Bench & Sons", "city": "Ulm" });
            request("POST", "/rest/v1/customer", &self.token, "Content-Type: application/json\r\n", &body.to_string())
        });
        self.load(options, rows.collect())
    }

    fn load(&self, options: &Options, requests: Vec<Vec<u8>>) -> Result<f64> {
        let server = self.server()?;
        let load = Load {
            address: server.address(),
            ca_pem: &self.ca_pem,
            requests: Arc::new(requests),
            connections: 64,
            process: server.process_id(),
            duration: super::history::turn(options),
        };
        Ok(load.run()?.rate)
    }

    /// Begins a rotation of the tenant's key.
    pub fn rotate(&self) -> Result<()> {
        self.deployment.run(&["keys", "rotate", "northwind"]).map(drop)
    }

    /// Waits until no cell of an older epoch is left.
    pub fn wait_for_rotation(&self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let text = self.deployment.run(&["keys", "list", "--output", "json"])?;
            let status: Value = serde_json::from_str(&text).context("keys list")?;
            if !is_resealing(&status) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("not over after {PATIENCE:?}")
    }

    /// Changes a section of the configuration, and serves again.
    pub fn configure(&mut self, section: &str, line: &str) -> Result<()> {
        let config: &Path = &self.deployment.dir().join("countersign.toml");
        let text = std::fs::read_to_string(config)?;
        let name = line.split(' ').next().unwrap_or_default();
        let mut out = String::new();
        let (mut is_inside, mut is_set) = (false, false);
        for old in text.lines() {
            if old.starts_with('[') {
                is_inside = old == section;
            }
            if is_inside && old.trim_start_matches("# ").starts_with(&format!("{name} =")) {
                continue;
            }
            writeln!(out, "{old}")?;
            if old == section {
                writeln!(out, "{line}")?;
                is_set = true;
            }
        }
        if !is_set {
            writeln!(out, "\n{section}\n{line}")?;
        }
        std::fs::write(config, out)?;
        self.serve()
    }
}

/// Whether any key is in the state of being replaced in what is stored.
fn is_resealing(keys: &Value) -> bool {
    match keys {
        Value::Object(fields) => {
            fields.get("state").and_then(Value::as_str) == Some("resealing") || fields.values().any(is_resealing)
        }
        Value::Array(items) => items.iter().any(is_resealing),
        _ => false,
    }
}

fn customers(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let row = json!({
            "id": format!("b{number}"), "company": format!("Bench & Sons {number}"), "contact_name": "B. Ench",
            "contact_title": "Owner", "address": format!("Lane {number}"), "city": "Ulm", "region": "BW",
            "country": "Germany", "postal_code": "89073", "phone": format!("0731 {number}"), "fax": "0731 1",
            "email": format!("b{number}@example.org"), "support_rep_id": 1,
        });
        debug_assert!(row.as_object().is_some_and(|row| row.len() == CELLS));
        text.push_str(&row.to_string());
        text.push('\n');
    }
    text
}
