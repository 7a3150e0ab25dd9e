//! A server as a child process, ended by its own process id and never by name.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::client::Client;

/// How long a server may take until it is ready. A demo loads both companies first.
const START_WITHIN: Duration = Duration::from_secs(180);
/// How long a server may take to end after it was asked to.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A running server. Dropping it kills the process.
pub struct Server {
    child: Child,
    address: String,
    ca_file: PathBuf,
    lines: Vec<String>,
}

impl Server {
    /// Starts a server and waits for its line `ready https://ADDRESS`. What it logs is appended to `log`.
    ///
    /// # Errors
    /// If it ends, or is not ready in time; the message has its last words.
    pub fn start(mut command: Command, ca_file: PathBuf, log: &Path) -> Result<Self> {
        let log_file =
            OpenOptions::new().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file);
        let mut child = command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, receiver) = mpsc::channel();
        // The thread goes on reading after `ready`, so that the server never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut server = Self { child, address: String::new(), ca_file, lines: Vec::new() };
        let deadline = Instant::now().checked_add(START_WITHIN).context("no such moment")?;
        loop {
            match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let ready =
                        line.trim().strip_prefix("ready https://").map(|rest| rest.trim_end_matches('/').into());
                    server.lines.push(line);
                    if let Some(address) = ready {
                        server.address = address;
                        return Ok(server);
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("not ready after {START_WITHIN:?}: {}", server.last_words(log)),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = server.child.wait()?;
                    bail!("ended with {status} before it was ready: {}", server.last_words(log));
                }
            }
        }
    }

    fn last_words(&self, log: &Path) -> String {
        let log = std::fs::read_to_string(log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(15).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        format!("\n{}\n{}", self.lines.join("\n"), tail.join("\n"))
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it printed until it was ready.
    #[must_use]
    pub fn story(&self) -> &[String] {
        &self.lines
    }

    /// The process id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// A client of this server, without a token.
    ///
    /// # Errors
    /// If the certificate file can't be read.
    pub fn client(&self) -> Result<Client> {
        let ca = std::fs::read_to_string(&self.ca_file).with_context(|| self.ca_file.display().to_string())?;
        Client::new(&self.address, &ca)
    }

    /// Asks it to end, as Ctrl-C does, and waits.
    ///
    /// # Errors
    /// If it does not end in time or ends with a failure.
    pub fn stop(mut self) -> Result<()> {
        signal("INT", self.child.id())?;
        let deadline = Instant::now().checked_add(STOP_WITHIN).context("no such moment")?;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("the server ended with {status}");
                }
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the server did not end within {STOP_WITHIN:?}")
    }

    /// Ends it at once, as a power cut would for the process: no handler runs (SIGKILL).
    ///
    /// # Errors
    /// If it had ended by itself before.
    pub fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server had already ended with {status}");
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to one process. Through the shell's built-in `kill`, because the workspace has no unsafe code.
pub(crate) fn signal(name: &str, process: u32) -> Result<()> {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status()?;
    if !status.success() {
        bail!("could not send {name} to process {process}");
    }
    Ok(())
}
