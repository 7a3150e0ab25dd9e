//! `cargo xtask ha-test`: faults of whole data centres, on one machine. The program that does it is `crates/ha-test`.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Result, bail};

use crate::process::{command, have, root, run, target};
use crate::steps::{self, Outcome};

/// What it needs besides Rust, and the Debian package that brings it.
const PROGRAMS: &[(&str, &str)] = &[
    ("/usr/bin/etcd", "etcd-server"),
    ("/usr/bin/ssh-keygen", "openssh-client"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/lib/postgresql", "postgresql"),
];
/// A namespace that is made and removed to see whether this may be done.
const TRIED: &str = "csha-tried";

/// The whole of it, or with `--quick` one fault of each kind; `--only` chooses.
pub fn ha_test(arguments: &[String]) -> Result<ExitCode> {
    match go(arguments)? {
        Outcome::Skipped(why) => bail!("{why}"),
        Outcome::Passed => Ok(ExitCode::SUCCESS),
    }
}

/// One fault of each kind.
pub fn step() -> Result<Outcome> {
    go(&["--quick".to_owned()])
}

fn go(arguments: &[String]) -> Result<Outcome> {
    if let Some(why) = not_here() {
        return Ok(Outcome::Skipped(why));
    }
    for (program, package) in PROGRAMS {
        if !Path::new(program).exists() {
            bail!("{program} is missing: run `sudo apt-get install --yes {package}`");
        }
    }
    let patroni = patroni()?;
    run(&mut steps::programs())?;
    let programs = target().join("debug");
    let out = target().join("ha.json");
    run(command(programs.join("countersign-ha-test"))
        .arg("--program")
        .arg(programs.join("countersign"))
        .arg("--patroni")
        .arg(patroni)
        .arg("--out")
        .arg(out)
        .args(arguments))?;
    Ok(Outcome::Passed)
}

/// Why it can't be done here.
fn not_here() -> Option<String> {
    if !have("ip") {
        return Some("there is no `ip`: run `sudo apt-get install --yes iproute2`".to_owned());
    }
    let ip = |word: &str| command("ip").args(["netns", word, TRIED]).stderr(Stdio::null()).status();
    let is_made = ip("add").is_ok_and(|status| status.success());
    let is_removed = ip("del").is_ok_and(|status| status.success());
    let why = "this account may not make network namespaces: it takes root";
    (!is_made || !is_removed).then(|| why.to_owned())
}

/// Patroni in an environment of its own under the target folder, which the database's account must be able to read.
fn patroni() -> Result<PathBuf> {
    let environment = target().join("ha/patroni");
    if !environment.join("bin/pip").exists() {
        // Debian's: one in somebody's home folder can't be run by the database's account.
        run(command("/usr/bin/python3").args(["-m", "venv"]).arg(&environment))?;
    }
    run(command(environment.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(root().join("deploy/ha/requirements.txt")))?;
    Ok(environment.join("bin/patroni"))
}
