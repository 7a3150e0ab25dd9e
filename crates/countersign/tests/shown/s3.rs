//! Backups in an object store that others made, moto's server: the real program makes, lists, tries and restores them, and
//! goes on when the store was away in the middle.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_testkit::{Deployment, ObjectStore, Proxy, Server};
use serde_json::Value;

use crate::{Layout, program, target};

const PATIENCE: Duration = Duration::from_secs(60);

/// The demo with three repositories in one bucket, behind a wire that can be cut.
struct Away {
    store: ObjectStore,
    deployment: Deployment,
    server: Server,
}

impl Away {
    fn start(wire: &mut Wire) -> Result<Self> {
        let store = ObjectStore::start(&target().join("clients/s3/bin/moto_server"))?;
        wire.mend(store.port())?;
        let (deployment, server) = Layout::Whole.start()?;
        server.stop()?;
        let config = deployment.dir().join("countersign.toml");
        let mut text = std::fs::read_to_string(&config)?;
        for name in ["first", "second", "third"] {
            text += &format!(
                "\n[backup.{name}]\nurl = \"s3://{}/deployments/{name}\"\nendpoint = \"{}\"\ncredentials_file = \"s3\"\n",
                ObjectStore::BUCKET,
                wire.endpoint()
            );
        }
        std::fs::write(&config, text)?;
        let credentials = deployment.dir().join("s3");
        std::fs::write(&credentials, "an id\na secret\n")?;
        private(&credentials)?;
        let server = deployment.serve()?;
        Ok(Self { store, deployment, server })
    }

    fn begin(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = self.deployment.command(arguments);
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    /// A whole restore into a folder that is not there.
    fn restore(&self, wire: &Wire) -> Result<(Output, PathBuf)> {
        let new = self.deployment.dir().with_file_name("restored");
        let mut command = Command::new(program());
        command.arg("--dir").arg(&new).args(["backup", "restore", "--from", "s3://bucket/deployments/third"]);
        command.args(["--endpoint", &wire.endpoint(), "--kms-from"]).arg(self.deployment.dir());
        command.arg("--credentials-file").arg(self.deployment.dir().join("s3"));
        Ok((command.stdin(Stdio::null()).env("NO_COLOR", "1").output()?, new))
    }
}

/// The way to the store, always on the same port.
#[derive(Default)]
struct Wire {
    port: u16,
    proxy: Option<Proxy>,
}

impl Wire {
    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn mend(&mut self, store: u16) -> Result<()> {
        let proxy = Proxy::at(self.port, store)?;
        self.port = proxy.port();
        self.proxy = Some(proxy);
        Ok(())
    }

    /// From now on nobody listens.
    fn cut(&mut self) -> Result<()> {
        self.proxy = None;
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            ensure!(Instant::now() < deadline, "somebody listens still");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The same once so many more bytes went to the store.
    fn cut_after(&mut self, bytes: u64) -> Result<()> {
        let proxy = self.proxy.as_ref().context("no wire")?;
        let enough = proxy.carried() + bytes;
        proxy.cut_after(enough);
        let deadline = Instant::now() + PATIENCE;
        while proxy.carried() < enough {
            ensure!(Instant::now() < deadline, "only {} bytes were sent", proxy.carried());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.cut()
    }

    fn carried(&self) -> Result<u64> {
        Ok(self.proxy.as_ref().context("no wire")?.carried())
    }
}

fn private(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every record of both companies' customers and invoices or their lines, as their admins see them.
fn rows(dir: &Path) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    for (who, kind) in
        [("andrew@northwind", "customer"), ("andrew@northwind", "invoice_line"), ("andrew@chinook", "invoice")]
    {
        let mut command = Command::new(program());
        command.arg("--dir").arg(dir).args(["--as", who, "get", kind, "--limit", "100000", "--output", "csv"]);
        let output = command.env("NO_COLOR", "1").output()?;
        ensure!(output.status.success(), "{}", said(&output));
        let mut of_kind: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
        of_kind.sort();
        ensure!(of_kind.len() > 50, "{kind}: only {} rows", of_kind.len());
        rows.append(&mut of_kind);
    }
    Ok(rows)
}

#[test]
#[ignore = "needs moto_server; a step of `cargo xtask test` runs it"]
fn backups_go_on_when_the_store_was_away() -> Result<()> {
    let mut wire = Wire::default();
    let away = Away::start(&mut wire)?;
    let deployment = &away.deployment;
    let before = rows(&deployment.dir())?;
    deployment.run(&["backup", "create", "first"])?;
    let all = wire.carried()?;
    let began = Instant::now();

    // For a few seconds: nobody has to do anything.
    let job = away.begin(&["backup", "create", "second"])?;
    wire.cut_after(all / 3)?;
    std::thread::sleep(Duration::from_secs(3));
    wire.mend(away.store.port())?;
    let output = job.wait_with_output()?;
    ensure!(output.status.success(), "{}", said(&output));
    println!("away for 3 seconds: made in {:.1} s, of {all} bytes", began.elapsed().as_secs_f64());

    // For longer than the program waits: it says so, how far it came, and goes on from there when it is begun again.
    let began = Instant::now();
    let job = away.begin(&["backup", "create", "third"])?;
    wire.cut_after(all * 2 / 3)?;
    let output = job.wait_with_output()?;
    let said_then = said(&output);
    // It waits for half a minute, so less would be giving up early; the last pause may be cut short.
    ensure!(began.elapsed() > Duration::from_secs(20), "given up after {:?}: {said_then}", began.elapsed());
    println!("away for good: given up after {:.1} s:\n{said_then}", began.elapsed().as_secs_f64());
    ensure!(output.status.code() == Some(6), "{:?}: {said_then}", output.status);
    let is_progress = |line: &str| {
        let far = line.strip_prefix("backing ")?.split_once(": ")?.1;
        let (done, total) = far.split_once(" of ").unwrap_or((far, far));
        Some(done.parse::<u64>().ok()? <= total.parse::<u64>().ok()?)
    };
    ensure!(said_then.lines().any(|line| is_progress(line) == Some(true)), "nothing of how far it is: {said_then}");
    let (output, new) = away.restore(&wire)?;
    println!("no restore meanwhile: {}", said(&output));
    ensure!(output.status.code() == Some(6) && !new.exists(), "{:?}: {}", output.status, said(&output));
    wire.mend(away.store.port())?;
    deployment.run(&["backup", "create", "third"])?;
    let rest = wire.carried()?;
    println!("begun again: {rest} of {all} bytes were left to send");
    ensure!(rest < all * 2 / 3, "{rest} of {all} bytes were sent again");

    // What is there is good, and comes back.
    for name in ["first", "second", "third"] {
        let listed: Value = serde_json::from_str(&deployment.run(&["backup", "list", name, "--output", "json"])?)?;
        let backups = listed["backups"].as_array().context("no backups")?;
        ensure!(backups.len() == 1 && backups[0]["state"] == "good", "{name}: {listed}");
        deployment.run(&["backup", "verify", name])?;
    }
    let (output, new) = away.restore(&wire)?;
    ensure!(output.status.success(), "{}", said(&output));
    for entry in std::fs::read_dir(deployment.dir().join("keys"))? {
        let entry = entry?;
        std::fs::copy(entry.path(), new.join("keys").join(entry.file_name()))?;
    }
    assert_eq!(rows(&new)?, before);
    away.server.stop()
}
