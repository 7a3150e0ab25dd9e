//! `cargo xtask bench`: builds optimised, then hands over to `crates/bench`.

use std::process::ExitCode;

use anyhow::Result;

use crate::process::{cargo, command, run, target};

/// Builds the program and the bench, and runs the bench with the arguments given.
pub fn bench(arguments: &[String]) -> Result<ExitCode> {
    run(cargo().args(["build", "--quiet", "--release", "--package", "countersign", "--package", "countersign-bench"]))?;
    let folder = target().join("release");
    run(command(folder.join("countersign-bench"))
        .arg("--program")
        .arg(folder.join("countersign"))
        .arg("--out")
        .arg(target().join("bench.json"))
        .arg("--disk")
        .arg(target())
        .args(arguments))?;
    Ok(ExitCode::SUCCESS)
}
