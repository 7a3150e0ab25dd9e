//! Checks that start the real program: they live in `crates/countersign/tests/shown/`, and this runs them by name.
//!
//! They are marked `ignore` there, because plain `cargo test` should take seconds.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::process::{cargo, command, have, read, root, run, target};
use crate::steps::Outcome;

/// Runs one module of the test binary, in the same build that the step `build` made.
fn shown(module: &str) -> Result<Outcome> {
    run(cargo()
        .env("RUST_BACKTRACE", "1")
        .env("RUST_LIB_BACKTRACE", "0")
        .args(["test", "--quiet", "--workspace", "--all-features"])
        .args(["--test", "shown", "--", "--ignored", "--nocapture", "--test-threads=1", &format!("{module}::")]))?;
    Ok(Outcome::Passed)
}

/// Roles, tenants, tokens, revocation, a full audit disk.
pub fn demo() -> Result<Outcome> {
    shown("roles")?;
    shown("audit")
}

/// The example of other people's services, as processes of their own.
pub fn chain() -> Result<Outcome> {
    run(cargo()
        .env("RUST_BACKTRACE", "1")
        .env("RUST_LIB_BACKTRACE", "0")
        .args(["test", "--quiet", "--workspace", "--all-features"])
        .args(["--test", "chain", "--", "--ignored", "--nocapture"]))?;
    Ok(Outcome::Passed)
}

/// Services apart in one test process: taken-over services, lost and made-up records, renewal under load. Everything, with
/// the figures; plain `cargo test` leaves the longest out.
pub fn apart() -> Result<Outcome> {
    run(cargo()
        .env("RUST_BACKTRACE", "1")
        .env("RUST_LIB_BACKTRACE", "0")
        .args(["test", "--quiet", "--workspace", "--all-features"])
        .args([
            "--test",
            "apart",
            "--",
            "--include-ignored",
            "--nocapture",
            "--test-threads=1",
            // A step of its own.
            "--skip",
            "three_days::",
        ]))?;
    Ok(Outcome::Passed)
}

/// What holds on the embedded backend, on PostgreSQL: the doors' and the engine's tests, the matrix of roles and fields
/// answered by both, services apart. The program itself on it is among its own tests.
pub fn postgres() -> Result<Outcome> {
    let on_postgres = || {
        let mut cargo = cargo();
        cargo.env("COUNTERSIGN_BACKEND", "postgres").env("RUST_BACKTRACE", "1").env("RUST_LIB_BACKTRACE", "0");
        cargo.args(["test", "--quiet", "--workspace", "--all-features"]);
        cargo
    };
    run(on_postgres().args(["--no-fail-fast", "--test", "door", "--test", "engine", "--"]).args(DOORS))?;
    run(on_postgres().args(["--test", "apart", "--", "--include-ignored", "--test-threads=1"]).args(APART))?;
    Ok(Outcome::Passed)
}

/// Tests of the doors and of the engine, which take their backend from the environment.
const DOORS: &[&str] =
    &["whole::", "endpoints::", "incidents::", "matrix::", "hidden_is_absent::", "writing::", "counted::"];
/// Tests of services apart that show most of what they share.
const APART: &[&str] = &["audit_across_services::"];

/// The documented commands.
pub fn curl() -> Result<Outcome> {
    if !have("curl") {
        bail!("curl is missing; `cargo xtask test --only tools` installs it");
    }
    shown("curl")
}

/// The Python client, and exported events by the schema of OCSF, each in an environment of its own under the target
/// folder.
pub fn python() -> Result<Outcome> {
    environment("clients/python", "tests/clients/python/requirements.txt")?;
    environment("clients/ocsf", "tests/clients/ocsf/requirements.txt")?;
    shown("python")
}

/// Detection rules, by the reference implementation of Sigma.
pub fn rules() -> Result<Outcome> {
    environment("clients/rules", "tests/rules/requirements.txt")?;
    run(command(target().join("clients/rules/bin/sigma"))
        .args(["check", "--fail-on-issues"])
        .arg(root().join("rules")))?;
    Ok(Outcome::Passed)
}

/// Rules provoked on the running demo; alerts arrive at a webhook and in a mailbox.
pub fn detections() -> Result<Outcome> {
    environment("clients/mail", "tests/mail/requirements.txt")?;
    shown("detections")
}

/// Makes a Python environment below the target folder and installs there what a file names.
fn environment(folder: &str, requirements: &str) -> Result<()> {
    let environment = target().join(folder);
    if !environment.join("bin/pip").exists() {
        run(command("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    run(command(environment.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(root().join(requirements)))
}

/// Alerts delivered to a webhook receiver, an SMTP server and Alertmanager.
pub fn alerts() -> Result<Outcome> {
    environment("clients/mail", "tests/mail/requirements.txt")?;
    if !have("prometheus-alertmanager") {
        bail!("prometheus-alertmanager is missing; `cargo xtask test --only tools` installs it");
    }
    shown("alerts")
}

/// The JavaScript client, in a copy of its suite under the target folder, so that nothing is installed in the tree.
pub fn node() -> Result<Outcome> {
    installed("tests/clients/node", "clients/node")?;
    println!("node {}", read(command("node").arg("--version"))?.trim());
    shown("node")
}

/// Copies a Node.js project to below the target folder and installs there what it depends on.
fn installed(project: &str, copy: &str) -> Result<PathBuf> {
    let (project, copy) = (root().join(project), target().join(copy));
    std::fs::create_dir_all(&copy)?;
    for entry in std::fs::read_dir(&project)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), copy.join(entry.file_name()))?;
        }
    }
    run(command("npm").current_dir(&copy).args(["ci", "--silent", "--no-audit", "--no-fund"]))?;
    Ok(copy)
}

/// A certified OpenID Connect provider, in a copy of its project under the target folder.
pub fn oidc() -> Result<Outcome> {
    let copy = installed("tests/oidc", "clients/oidc")?;
    run(cargo()
        .env("COUNTERSIGN_OIDC", copy)
        .args(["test", "--quiet", "--workspace", "--all-features", "--lib", "--", "--ignored"])
        .arg("people::tests::certified::"))?;
    shown("oidc")
}

/// 500 values of the data, looked for in every byte of a stopped deployment.
pub fn leaks() -> Result<Outcome> {
    shown("leaks")
}

/// A repository of backups in the hands of strangers.
pub fn backups() -> Result<Outcome> {
    shown("backups")
}

/// A tenant's key, rotated while everybody works and the program is killed.
pub fn rotation() -> Result<Outcome> {
    shown("rotation")
}

/// Backups in an object store that others made, moto's server from PyPI: the repository's own test, then the program's.
pub fn s3() -> Result<Outcome> {
    environment("clients/s3", "tests/s3/requirements.txt")?;
    run(cargo().args(["test", "--quiet", "--workspace", "--all-features"]).args([
        "--test",
        "whole",
        "--",
        "--ignored",
        "s3::",
    ]))?;
    shown("s3")
}

/// What a database's administrator finds, what a service's role may do in it, and callers who go away in mid-query.
pub fn database() -> Result<Outcome> {
    run(cargo()
        .env("RUST_BACKTRACE", "1")
        .env("RUST_LIB_BACKTRACE", "0")
        .args(["test", "--quiet", "--workspace", "--all-features"])
        .args(["--test", "cancel", "--", "--ignored", "--nocapture"]))?;
    shown("database")
}

/// Prometheus's tool and an OpenTelemetry collector.
pub fn measures() -> Result<Outcome> {
    shown("measures")
}

/// Every port of the four processes, spoken to in clear, and what goes between them.
pub fn ports() -> Result<Outcome> {
    shown("ports")
}

/// Two scanners against every port of the four processes.
pub fn scan() -> Result<Outcome> {
    environment("clients/scan", "tests/scan/requirements.txt")?;
    shown("scan")
}

/// A deployment on a clock of its own, and everything that it stored.
pub fn three_days() -> Result<Outcome> {
    run(cargo()
        .env("RUST_BACKTRACE", "1")
        .env("RUST_LIB_BACKTRACE", "0")
        .args(["test", "--quiet", "--workspace", "--all-features"])
        .args(["--test", "apart", "--", "--ignored", "--nocapture", "three_days::"]))?;
    Ok(Outcome::Passed)
}

/// The SIGKILL loop.
pub fn crash() -> Result<Outcome> {
    shown("crash")
}
