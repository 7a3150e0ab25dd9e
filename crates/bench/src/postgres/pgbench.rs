//! PostgreSQL's own load program: what the same statements come to with nothing of ours.

use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::x509::{CertificateAuthority, WorkloadKey};
use countersign_model::clock::SystemClock;
use countersign_model::{Clock as _, Service};
use countersign_postgres::role_of;
use countersign_testkit::Postgres;

const HOUR_MS: u64 = 3_600_000;

/// `pgbench`, signed in as the store is: over TLS, by a certificate of the same authority.
pub struct Pgbench<'a> {
    server: &'a Postgres,
    /// Certificate and key in one file.
    own: PathBuf,
    authority: PathBuf,
    /// Of every script, as `NAME=VALUE`.
    variables: Vec<String>,
}

impl<'a> Pgbench<'a> {
    /// `server_ca` is whose certificate the server has.
    pub fn new(server: &'a Postgres, server_ca: &str, variables: Vec<String>) -> Result<Self> {
        // The server is made to trust an authority of the bench's too.
        let own_ca = CertificateAuthority::generate("Bench", SystemClock.now(), 1)?;
        let trusted = server.folder().join("data/ca.pem");
        let key = WorkloadKey::generate()?;
        let id = SpiffeId::new("bench.internal", Service::Store.as_str(), "pgbench")?;
        let issued = own_ca.issue_workload(&key.request()?, &id, &[], SystemClock.now(), HOUR_MS)?;
        let own = server.folder().join("pgbench.pem");
        let authority = server.folder().join("pgbench-ca.pem");
        let this = Self { server, own, authority, variables };
        this.write(&this.own, &key.with_chain(issued.chain_der)?.expose_pem())?;
        this.write(&this.authority, server_ca)?;
        this.write(&trusted, &format!("{}{}", std::fs::read_to_string(&trusted)?, own_ca.ca_pem()))?;
        server.sql("postgres", "SELECT pg_reload_conf()")?;
        // The server does that when it comes to it.
        std::thread::sleep(Duration::from_millis(500));
        Ok(this)
    }

    /// A file that the account of the server can read, and nobody else.
    fn write(&self, path: &Path, text: &str) -> Result<()> {
        std::fs::write(path, text)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let owner = std::fs::metadata(self.server.folder())?;
        Ok(chown(path, Some(owner.uid()), Some(owner.gid()))?)
    }

    /// Transactions a second of a script with prepared statements: so many clients, each with a connection of its own.
    pub fn run(&self, script: &str, clients: usize, seconds: u64) -> Result<f64> {
        let file = self.server.folder().join("pgbench.sql");
        self.write(&file, script)?;
        let mut command = self.server.tool("pgbench")?;
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGUSER", role_of(Service::Store))
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLCERT", &self.own)
            .env("PGSSLKEY", &self.own)
            .env("PGSSLROOTCERT", &self.authority)
            .args(["-n", "-M", "prepared", "-j", "2", "-c", &clients.to_string(), "-T", &seconds.to_string(), "-f"])
            .arg(&file);
        for variable in &self.variables {
            command.args(["-D", variable]);
        }
        let output = command.output().context("pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("pgbench ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let figure = |before: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(before));
            line.and_then(|line| line.split(' ').next()?.parse::<f64>().ok())
        };
        let failed = figure("number of failed transactions: ").unwrap_or(0.0);
        ensure!(failed == 0.0, "pgbench: {failed} transactions failed");
        figure("tps = ").with_context(|| format!("pgbench said {said}"))
    }
}

/// A script of these statements as one transaction of one tenant, as the store makes it.
pub fn transaction(statements: &[String], end: &str, is_pipelined: bool) -> String {
    let mut script = String::new();
    let (first, last) = if is_pipelined { ("\\startpipeline\n", "\\endpipeline\n") } else { ("", "") };
    let _ = write!(script, "{first}BEGIN;\nSELECT set_config('countersign.tenant', :tenant, true);\n");
    for statement in statements {
        let _ = writeln!(script, "{statement};");
    }
    let _ = write!(script, "{end};\n{last}");
    script
}
