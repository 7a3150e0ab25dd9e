//! The fuzz targets: briefly as a step of `test`, and as long as asked by `cargo xtask fuzz`.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::process::{cargo, command, root, run, target};
use crate::steps::Outcome;

/// How long each target runs in `test`, beyond its corpus.
const BRIEF_SECONDS: u64 = 5;

/// Every target, briefly, always with the same seed: a failure here is one that everybody can repeat.
pub fn brief() -> Result<Outcome> {
    let seconds = BRIEF_SECONDS.to_string();
    run(command(target().join("debug/mutate")).args(["--seconds", &seconds, "--seed", "1"]))?;
    Ok(Outcome::Passed)
}

/// Runs targets for longer.
pub fn fuzz(arguments: &[String]) -> Result<ExitCode> {
    if arguments.iter().any(|argument| argument == "--coverage") {
        return coverage(arguments);
    }
    run(cargo().args(["run", "--quiet", "--package", "countersign-fuzz", "--bin", "mutate", "--"]).args(arguments))?;
    Ok(ExitCode::SUCCESS)
}

/// Coverage-guided, by libFuzzer, on the stable compiler: only the workspace's own crates are instrumented (through
/// the wrapper), so nothing that they depend on is built again.
fn coverage(arguments: &[String]) -> Result<ExitCode> {
    let mut arguments = arguments.iter().filter(|argument| *argument != "--coverage");
    let target = arguments.next().context("name one target; `ls fuzz/fuzz_targets`")?;
    if !root().join(format!("fuzz/fuzz_targets/{target}.rs")).exists() {
        bail!("no target {target:?}; `ls fuzz/fuzz_targets`");
    }
    let mut seconds = "60".to_owned();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => seconds = arguments.next().context("--seconds needs a number")?.clone(),
            other => bail!("{other:?} does not go with --coverage"),
        }
    }
    let findings = root().join(format!("target/fuzz/{target}"));
    std::fs::create_dir_all(&findings)?;
    run(cargo()
        .env("RUSTC_WORKSPACE_WRAPPER", root().join("fuzz/instrument.sh"))
        .args(["run", "--package", "countersign-fuzz", "--bin", target, "--"])
        .arg(&findings)
        .arg(root().join(format!("fuzz/corpus/{target}")))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", findings.display())))?;
    Ok(ExitCode::SUCCESS)
}
