//! A real SMTP server on loopback: `aiosmtpd` from PyPI, as a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign_crypto::x509::CertificateAuthority;
use countersign_model::Clock as _;
use countersign_model::clock::SystemClock;
use serde_json::{Value, json};

use crate::oidc::pem;

/// How the server wants to be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// `STARTTLS` before anything else, and a login.
    StartTls,
    /// TLS from the first byte, and a login.
    Implicit,
    /// In clear, without a login.
    None,
}

impl MailTls {
    /// The word in the program's configuration, too.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
            Self::None => "none",
        }
    }
}

/// A server that ends with this value. Mail to `nobody@…` is refused for good, mail to `busy@…` for now.
pub struct MailServer {
    child: Child,
    _input: ChildStdin,
    port: u16,
    ca_pem: String,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // Nothing is left to do about either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl MailServer {
    /// The user that may log in, and the password.
    pub const LOGIN: (&str, &str) = ("alerts", "password with signs: +/=&%");

    /// Starts one with the Python of an environment that has `tests/mail/requirements.txt`; `root` is the repository.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(python: &Path, root: &Path, tls: MailTls) -> Result<Self> {
        Self::start_on(python, root, tls, 0)
    }

    /// The same on a port that is known before.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_on(python: &Path, root: &Path, tls: MailTls, port: u16) -> Result<Self> {
        let now = SystemClock.now();
        let authority = CertificateAuthority::generate("a mail server's", now, 1)?;
        let certificate = authority.issue_server(&["localhost".to_owned()], now, 3_600_000)?;
        let chain = certificate.chain_der.first().context("no certificate")?;
        let login = (tls != MailTls::None).then_some(Self::LOGIN);
        let said = json!({
            "key": pem("PRIVATE KEY", &certificate.key_pkcs8_der)?,
            "cert": pem("CERTIFICATE", chain)?,
            "tls": tls.as_str(),
            "user": login.map(|(user, _)| user),
            "password": login.map(|(_, password)| password),
            "port": port,
        });
        let mut child = Command::new(python)
            .arg(root.join("tests/mail/server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{}", python.display()))?;
        let mut input = child.stdin.take().context("no input")?;
        writeln!(input, "{said}")?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let first = lines.next().context("the mail server did not start; is aiosmtpd installed?")??;
        let first: Value = serde_json::from_str(&first)?;
        let port = first.get("port").and_then(Value::as_u64).context("no port")?;
        let taken = Arc::new(Mutex::new(Vec::new()));
        let also = Arc::clone(&taken);
        std::thread::spawn(move || {
            for message in lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()) {
                also.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
        });
        let ca_pem = authority.ca_pem().to_owned();
        Ok(Self { child, _input: input, port: u16::try_from(port)?, ca_pem, taken })
    }

    /// Where it listens, on `localhost`.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The authority that vouches for it.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// What it has taken: `from`, `to`, `tls`, `user` and `content` of each.
    #[must_use]
    pub fn taken(&self) -> Vec<Value> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has taken once that is `count` or more messages, or `time` is over.
    #[must_use]
    pub fn wait_for(&self, count: usize, time: Duration) -> Vec<Value> {
        let began = Instant::now();
        while self.taken().len() < count && began.elapsed() < time {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.taken()
    }
}
