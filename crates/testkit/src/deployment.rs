//! A deployment folder and the program's commands on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::postgres::{Certified, DATABASE, Postgres};
use crate::server::Server;

/// A deployment in a temporary folder that goes away with this value.
pub struct Deployment {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Deployment {
    /// An empty folder; nothing is in it until [`Self::demo`] or [`Self::init`].
    ///
    /// # Errors
    /// If no temporary folder can be made.
    pub fn temporary(program: &Path) -> Result<Self> {
        Self::temporary_in(program, &std::env::temp_dir())
    }

    /// The same, in a folder of `parent`: where it matters which disk it is on.
    ///
    /// # Errors
    /// If no temporary folder can be made.
    pub fn temporary_in(program: &Path, parent: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("countersign-").tempdir_in(parent)?;
        Ok(Self { program: program.to_owned(), folder })
    }

    /// The deployment's folder.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("deployment")
    }

    /// Where the server's log goes: beside the deployment, in the folder that tests search for leaks.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// The program's own certificate authority.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir().join("ca.pem")
    }

    /// `countersign …` on this deployment, not started yet. Nothing of the caller's environment leaks into it.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--dir").arg(self.dir()).args(arguments);
        command.env_remove("COUNTERSIGN_URL").env_remove("COUNTERSIGN_CA").env_remove("COUNTERSIGN_TOKEN");
        command.env_remove("SSH_AUTH_SOCK").env("NO_COLOR", "1");
        command
    }

    /// Runs `countersign …` to its end and gives its standard output.
    ///
    /// # Errors
    /// If it fails; the message has what it wrote to standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`countersign {}` ended with {}: {said}", arguments.join(" "), output.status);
        }
        String::from_utf8(output.stdout).context("standard output is not UTF-8")
    }

    /// Makes an empty deployment.
    ///
    /// # Errors
    /// If the program refuses.
    pub fn init(&self) -> Result<()> {
        let dir = self.dir();
        let status = Command::new(&self.program).arg("init").arg(&dir).stdin(Stdio::null()).output()?;
        if !status.status.success() {
            bail!("`countersign init` ended with {}: {}", status.status, String::from_utf8_lossy(&status.stderr));
        }
        Ok(())
    }

    /// Starts the demo on a free port.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn demo(&self) -> Result<Server> {
        let mut command = self.command(&[]);
        command.args(["demo", "--listen", "127.0.0.1:0"]);
        Server::start(command, self.ca_file(), &self.log())
    }

    /// Starts the demo as four processes, on a free port for users and four others between the services.
    ///
    /// # Errors
    /// If they do not become ready.
    pub fn demo_apart(&self) -> Result<Server> {
        let mut command = self.command(&[]);
        command.args(["demo", "--apart", "--listen", "127.0.0.1:0"]);
        Server::start(command, self.ca_file(), &self.log())
    }

    /// Serves the deployment on a free port.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn serve(&self) -> Result<Server> {
        let mut command = Command::new(&self.program);
        command.arg("serve").arg(self.dir()).args(["--listen", "127.0.0.1:0"]);
        Server::start(command, self.ca_file(), &self.log())
    }

    /// Moves the deployment, which nobody serves at this moment, to a PostgreSQL server of its own, with the commands that
    /// its operator would use.
    ///
    /// # Errors
    /// If one of them fails.
    pub fn move_to_postgres(&self) -> Result<Postgres> {
        self.move_to_postgres_with("")
    }

    /// The same, with lines for the server's `postgresql.conf`.
    ///
    /// # Errors
    /// As [`Self::move_to_postgres`].
    pub fn move_to_postgres_with(&self, settings: &str) -> Result<Postgres> {
        let server = self.database_with(settings)?;
        self.run(&["move", "--to", &server.address()])?;
        Ok(server)
    }

    /// A PostgreSQL server that the deployment may be moved or restored to, with lines for its `postgresql.conf`.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn database_with(&self, settings: &str) -> Result<Postgres> {
        let tls = self.folder.path().join("database-tls");
        let out = tls.to_str().context("a path that is not UTF-8")?;
        self.run(&["postgres", "certificate", "127.0.0.1", "localhost", "--out", out])?;
        let read = |name: &str| std::fs::read_to_string(tls.join(name));
        let (ca_pem, certificate_pem, key_pem) = (read("ca.pem")?, read("cert.pem")?, read("key.pem")?);
        // Whoever searches what tests left would find the key of the server's certificate.
        std::fs::remove_dir_all(&tls)?;
        let server = Postgres::start_certified(&Certified { ca_pem, certificate_pem, key_pem }, settings)?;
        server.sql(DATABASE, &self.run(&["postgres", "sql"])?)?;
        Ok(server)
    }

    /// Gives the demo, which is being served, policies with budgets that no load uses up: one reads more than any person.
    ///
    /// # Errors
    /// If the policies are refused.
    pub fn without_budgets(&self) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/trading/policies");
        for file in std::fs::read_dir(policies).context(policies)? {
            let file = file?;
            std::fs::copy(file.path(), folder.path().join(file.file_name()))?;
        }
        let most = i64::MAX;
        let all = format!("per_token = {most}\nper_principal = {most}\nper_hour = {most}\n");
        std::fs::write(folder.path().join("budget.toml"), format!("[people]\n{all}[services]\n{all}[agents]\n{all}"))?;
        let folder = folder.path().to_str().context("a folder whose name is no text")?;
        self.run(&["policy", "apply", folder]).map(drop)
    }

    /// A token for `USER@TENANT`, with the key in the deployment's `keys` folder.
    ///
    /// # Errors
    /// If the login is refused.
    pub fn login(&self, user: &str) -> Result<String> {
        Ok(self.run(&["login", user])?.trim().to_owned())
    }
}
