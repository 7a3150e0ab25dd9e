//! Alerts delivered to real receivers: a webhook receiver whose signatures Python's own library verifies, an SMTP server
//! with TLS and a login, and Alertmanager.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_testkit::{Deployment, Hook, MailServer, MailTls, Receiver};
use serde_json::{Value, json};

use crate::{program, root, target};

const PATIENCE: Duration = Duration::from_secs(60);

/// The Python that has `tests/mail/requirements.txt`.
fn python() -> PathBuf {
    target().join("clients/mail/bin/python")
}

/// A file that only its owner can read.
fn secret_file(deployment: &Deployment, name: &str, text: &str) -> Result<PathBuf> {
    let path = deployment.dir().join(name);
    std::fs::write(&path, text)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// Puts sections into a deployment's configuration in place of those of the same name.
fn configure(deployment: &Deployment, sections: &str) -> Result<()> {
    let path = deployment.dir().join("countersign.toml");
    let named: Vec<&str> = sections.lines().filter(|line| line.starts_with('[')).collect();
    let mut kept = String::new();
    let mut keeps = true;
    for line in std::fs::read_to_string(&path)?.lines() {
        if line.starts_with('[') {
            keeps = !named.contains(&line);
        }
        if keeps {
            writeln!(kept, "{line}")?;
        }
    }
    std::fs::write(&path, format!("{kept}\n{sections}"))?;
    Ok(())
}

fn mail_section(deployment: &Deployment, server: &MailServer, tls: MailTls) -> Result<String> {
    let (user, password) = MailServer::LOGIN;
    let ca = secret_file(deployment, "mail-ca.pem", server.ca_pem())?;
    let password = secret_file(deployment, "mail.password", password)?;
    let mut section = format!(
        "[mail]\nserver = \"localhost:{}\"\ntls = \"{}\"\nfrom = \"Countersign <countersign@example.com>\"\nca_file = {ca:?}\n",
        server.port(),
        tls.as_str(),
    );
    if tls != MailTls::None {
        write!(section, "user = \"{user}\"\npassword_file = {password:?}\n")?;
    }
    Ok(section)
}

/// Whether Python's own library finds the signature good.
fn is_signed(hook: &Hook) -> Result<bool> {
    let field = |name: &str| hook.fields.get(name).cloned().unwrap_or_default();
    let said = json!({
        "secret": Receiver::SECRET,
        "id": field("webhook-id"),
        "timestamp": field("webhook-timestamp"),
        "signature": field("webhook-signature"),
        "body": hook.body,
    });
    let mut child = Command::new("python3").arg(root().join("tests/mail/verify.py")).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().context("no input")?.write_all(said.to_string().as_bytes())?;
    Ok(child.wait()?.success())
}

#[test]
#[ignore = "needs aiosmtpd; a step of `cargo xtask test` runs it"]
fn a_test_alert_arrives_everywhere() -> Result<()> {
    let deployment = Deployment::temporary(program())?;
    deployment.init()?;
    let (receiver, broken) = (Receiver::start()?, Receiver::start()?);
    broken.answer(500);
    let secret = secret_file(&deployment, "hook.secret", Receiver::SECRET)?;
    for tls in [MailTls::StartTls, MailTls::Implicit, MailTls::None] {
        let server = MailServer::start(&python(), &root(), tls)?;
        let mail = mail_section(&deployment, &server, tls)?;
        let sinks = format!(
            "[alerts]\nallow = [\"{}\"]\n[alerts.hook]\nkind = \"webhook\"\nurl = \"{}\"\nsecret_file = {secret:?}\n\
             [alerts.mail]\nkind = \"smtp\"\nto = [\"ops@example.com\", \"oncall@example.com\"]\n",
            receiver.place(),
            receiver.url()
        );
        configure(&deployment, &format!("{mail}{sinks}"))?;
        let before = receiver.hooks().len();
        let said = deployment.run(&["alert", "test"])?;
        let said: Value = serde_json::from_str(&said)?;
        ensure!(said["sinks"].as_array().context("no sinks")?.iter().all(|sink| sink["delivered"] == true), "{said}");
        let taken = server.wait_for(1, PATIENCE);
        ensure!(taken.len() == 1, "{taken:?}");
        let message = &taken[0];
        ensure!(message["to"] == json!(["ops@example.com", "oncall@example.com"]), "{message}");
        ensure!(message["tls"] == (tls != MailTls::None), "{message}");
        ensure!(message["user"].as_str() == (tls != MailTls::None).then_some(MailServer::LOGIN.0), "{message}");
        let alert = said["alert"].as_str().context("no alert")?;
        ensure!(message["content"].as_str().is_some_and(|text| text.contains(alert)), "{message}");
        let hooks = receiver.hooks();
        ensure!(hooks.len() == before + 1 && is_signed(&hooks[before])?, "{hooks:?}");
    }
    // Signed by another secret, or altered: Python would say so.
    let mut altered = receiver.hooks().remove(0);
    altered.body = altered.body.replace("informational", "critical");
    ensure!(!is_signed(&altered)?, "an altered body has a good signature");
    // One that is down, and one that may not be called.
    for (url, allow, why) in [
        (broken.url(), broken.place(), "the receiver answers with status 500"),
        (format!("https://{}/", broken.place()), String::new(), "the address is not a public one"),
        ("https://169.254.169.254/latest".to_owned(), String::new(), "the address is not a public one"),
        (format!("https://localhost:{}/", broken.port()), String::new(), "the address is not a public one"),
    ] {
        let allow = if allow.is_empty() { String::new() } else { format!("\"{allow}\"") };
        let sinks = format!(
            "[alerts]\nallow = [{allow}]\n[alerts.hook]\nkind = \"webhook\"\nurl = \"{url}\"\nsecret_file = {secret:?}\n[alerts.mail]\nkind = \"smtp\"\nto = [\"nobody@example.com\"]\n"
        );
        let server = MailServer::start(&python(), &root(), MailTls::StartTls)?;
        configure(&deployment, &format!("{}{sinks}", mail_section(&deployment, &server, MailTls::StartTls)?))?;
        let output = deployment.command(&["alert", "test"]).stdin(Stdio::null()).output()?;
        let said: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(!output.status.success() && said["sinks"][0]["problem"] == why, "{url}: {said}");
        ensure!(said["sinks"][1]["problem"] == "the mail server refuses the message", "{said}");
    }
    ensure!(broken.hooks().len() == 1, "a call that was not allowed was made");
    Ok(())
}

/// A mail server that can't prove who it is, or that has no TLS where it must, gets no message and no password.
#[test]
#[ignore = "needs aiosmtpd; a step of `cargo xtask test` runs it"]
fn mail_servers_have_to_prove_who_they_are() -> Result<()> {
    let deployment = Deployment::temporary(program())?;
    deployment.init()?;
    let (good, other) = (
        MailServer::start(&python(), &root(), MailTls::StartTls)?,
        MailServer::start(&python(), &root(), MailTls::StartTls)?,
    );
    let plain = MailServer::start(&python(), &root(), MailTls::None)?;
    let sink = "[alerts.mail]\nkind = \"smtp\"\nto = [\"ops@example.com\"]\n";
    let section = mail_section(&deployment, &good, MailTls::StartTls)?;
    let at = |port: u16| section.replace(&format!("localhost:{}", good.port()), &format!("localhost:{port}"));
    for wrong in [at(other.port()), at(plain.port()), section.replace("\"starttls\"", "\"implicit\"")] {
        configure(&deployment, &format!("{wrong}{sink}"))?;
        let output = deployment.command(&["alert", "test"]).stdin(Stdio::null()).output()?;
        let said: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(said["sinks"][0]["problem"] == "the mail server does not take the message now", "{said}");
    }
    ensure!(other.taken().is_empty() && plain.taken().is_empty() && good.taken().is_empty());
    configure(&deployment, &format!("{section}{sink}"))?;
    deployment.run(&["alert", "test"])?;
    ensure!(good.wait_for(1, PATIENCE).len() == 1);
    Ok(())
}

/// Alertmanager of Debian, as a process on loopback.
struct Alertmanager {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Alertmanager {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("alertmanager.yml");
        std::fs::write(&config, "route: {receiver: none}\nreceivers: [{name: none}]\n")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.path().display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("prometheus-alertmanager")?;
        let began = Instant::now();
        let started = Self { child, port, _folder: folder };
        while started.alerts().is_err() {
            ensure!(began.elapsed() < PATIENCE, "Alertmanager did not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(started)
    }

    /// What it knows of alerts that go on.
    fn alerts(&self) -> Result<Vec<Value>> {
        use std::io::Read as _;
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"GET /api/v2/alerts HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (_, body) = text.split_once("\r\n\r\n").context("no body")?;
        Ok(serde_json::from_str(body)?)
    }

    fn wait_for(&self, is_so: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
        let began = Instant::now();
        loop {
            let alerts = self.alerts()?;
            if is_so(&alerts) {
                return Ok(alerts);
            }
            ensure!(began.elapsed() < PATIENCE, "{alerts:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
#[ignore = "needs Alertmanager; a step of `cargo xtask test` runs it"]
fn alertmanager_takes_alerts() -> Result<()> {
    let (deployment, alertmanager) = (Deployment::temporary(program())?, Alertmanager::start()?);
    deployment.init()?;
    let port = alertmanager.port;
    configure(
        &deployment,
        &format!(
            "[alerts]\nallow = [\"127.0.0.1:{port}\"]\n[alerts.am]\nkind = \"alertmanager\"\nurl = \"http://127.0.0.1:{port}\"\n"
        ),
    )?;
    let said: Value = serde_json::from_str(&deployment.run(&["alert", "test"])?)?;
    ensure!(said["sinks"][0]["delivered"] == true, "{said}");
    let alerts = alertmanager.wait_for(|alerts| alerts.len() == 1)?;
    let labels = &alerts[0]["labels"];
    ensure!(labels["alert"] == said["alert"] && labels["severity"] == "informational", "{labels}");
    ensure!(labels["alertname"] == "Test of the alert sinks" && labels["job"] == "countersign", "{labels}");
    ensure!(alerts[0]["status"]["state"] == "active", "{alerts:?}");
    Ok(())
}
