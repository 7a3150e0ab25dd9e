//! Checks that start the real program: they live in `crates/countersign/tests/shown/`, and this runs them by name.
//!
//! They are marked `ignore` there, because plain `cargo test` should take seconds.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::process::{cargo, command, have, read, root, run, target};
use crate::steps::Outcome;

/// Runs one module of the test binary, in the same build that the step `build` made.
fn shown(module: &str) -> Result<Outcome> {
    run(cargo().env("RUST_BACKTRACE", "1").args(["test", "--quiet", "--workspace", "--all-features"]).args([
        "--test",
        "shown",
        "--",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
        &format!("{module}::"),
    ]))?;
    Ok(Outcome::Passed)
}

/// Roles, tenants, tokens, revocation, a full audit disk.
pub fn demo() -> Result<Outcome> {
    shown("roles")?;
    shown("audit")
}

/// The example of other people's services, as processes of their own.
pub fn chain() -> Result<Outcome> {
    run(cargo().env("RUST_BACKTRACE", "1").args(["test", "--quiet", "--workspace", "--all-features"]).args([
        "--test",
        "chain",
        "--",
        "--ignored",
        "--nocapture",
    ]))?;
    Ok(Outcome::Passed)
}

/// The documented commands.
pub fn curl() -> Result<Outcome> {
    if !have("curl") {
        bail!("curl is missing; `cargo xtask test --only tools` installs it");
    }
    shown("curl")
}

/// The Python client, in an environment of its own under the target folder.
pub fn python() -> Result<Outcome> {
    let environment = target().join("clients/python");
    if !environment.join("bin/pip").exists() {
        run(command("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    run(command(environment.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(root().join("tests/clients/python/requirements.txt")))?;
    shown("python")
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

/// The SIGKILL loop.
pub fn crash() -> Result<Outcome> {
    shown("crash")
}
