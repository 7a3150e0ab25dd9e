//! `cargo xtask test`: the list of checks, and running them one after another.

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::{cargo, run};
use crate::{edges, files, fuzz, ha, licences, links, suites, tools};

/// How a step that did not fail ended.
pub enum Outcome {
    /// It held.
    Passed,
    /// It did not run, for this reason. Never silent: the reason stands in the final table.
    Skipped(String),
}

/// One check.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<Outcome>,
    /// The step that must have passed for this one to mean anything.
    after: Option<&'static str>,
}

const fn step(name: &'static str, about: &'static str, run: fn() -> Result<Outcome>) -> Step {
    Step { name, about, run, after: None }
}

const fn built(name: &'static str, about: &'static str, run: fn() -> Result<Outcome>) -> Step {
    Step { name, about, run, after: Some("build") }
}

/// Cheapest first, so that a slip shows before the long builds.
const STEPS: &[Step] = &[
    step("tools", "programs the other steps need are there, or get installed", tools::check),
    step("fmt", "code is formatted", fmt),
    step("edges", "no crate depends on one that xtask/edges.toml does not permit", edges::check),
    step("licences", "every dependency's licence and name is permitted by deny.toml", licences::check),
    step("deny", "cargo-deny's own check, advisories too, where it is installed", licences::deny),
    step("files", "no source file has grown past its bound", files::check),
    step("links", "relative links in Markdown files lead somewhere", links::check),
    step("rules", "sigma-cli from PyPI accepts the detection rules", suites::rules),
    step("clippy", "lints, warnings as errors", clippy),
    step("build", "everything compiles, tests too", build),
    built("test", "unit, integration, conformance, golden and compile-fail tests", unit),
    built("doctest", "examples in the documentation", doctest),
    step("rustdoc", "documentation builds without a broken link", rustdoc),
    built("fuzz", "every fuzz target over its corpus and briefly beyond", fuzz::brief),
    built(
        "demo",
        "as one process and as four: every role gets exactly its fields; tenants, tokens, a full audit disk",
        suites::demo,
    ),
    built(
        "chain",
        "three other services in a row, each with the caller's token and no power of its own",
        suites::chain,
    ),
    built(
        "apart",
        "services apart: one taken over gets nothing, wrong records are reported, certificates renew under load",
        suites::apart,
    ),
    built(
        "postgres",
        "on PostgreSQL: the doors, the engine, the matrix of roles and fields as on the embedded backend, services apart",
        suites::postgres,
    ),
    built("curl", "as one process and as four: the commands that the documentation shows, with curl", suites::curl),
    built("python", "as one process and as four: postgrest from PyPI works unchanged", suites::python),
    built("node", "as one process and as four: @supabase/postgrest-js from npm works unchanged", suites::node),
    built("oidc", "people log in with a certified OpenID Connect provider from npm", suites::oidc),
    built(
        "alerts",
        "a webhook receiver, an SMTP server and Alertmanager take alerts, as they should be",
        suites::alerts,
    ),
    built("detections", "what the demo is made to do is told of by webhook and by mail", suites::detections),
    built("leaks", "as one process and as four: no value, token or key where it should not be", suites::leaks),
    built(
        "backups",
        "a repository of backups shows nothing, and nothing of one that was damaged is restored",
        suites::backups,
    ),
    built("s3", "backups in another project's object store, cut off in the middle, go on and come back", suites::s3),
    built(
        "database",
        "PostgreSQL's administrator finds nothing of the data, roles get no more than they have, nothing leaks past a cancel",
        suites::database,
    ),
    built(
        "measures",
        "promtool reads what is measured, a request is one trace at every service, and nobody's data is in it",
        suites::measures,
    ),
    built("ports", "four processes speak only TLS, and nothing can be overheard between them", suites::ports),
    built("scan", "testssl.sh and sslyze find nothing above LOW at any of their ports", suites::scan),
    built("three-days", "what a deployment stored in three simulated days opens nothing any more", suites::three_days),
    built(
        "rotation",
        "embedded and on PostgreSQL: a tenant's key is rotated under load and ten kills, and nothing of the old one is left",
        suites::rotation,
    ),
    built("crash", "SIGKILL under write load loses nothing that was acknowledged", suites::crash),
    built("ha", "three data centres: killed, frozen, cut off, full, restarted; nothing lost, nothing stale", ha::step),
];

struct Done {
    name: &'static str,
    result: Result<Outcome>,
    took: Duration,
}

/// Runs the checks.
pub fn test(arguments: &[String]) -> Result<ExitCode> {
    let mut only = BTreeSet::new();
    let mut skip = BTreeSet::new();
    let mut fail_fast = false;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => {
                list();
                return Ok(ExitCode::SUCCESS);
            }
            "--help" | "-h" => {
                print!("{}", crate::USAGE);
                println!("\nSteps, in this order:\n");
                list();
                return Ok(ExitCode::SUCCESS);
            }
            "--only" => only.extend(names(arguments.next())?),
            "--skip" => skip.extend(names(arguments.next())?),
            "--fail-fast" => fail_fast = true,
            other => bail!("unknown argument {other:?}; see `cargo xtask help`"),
        }
    }
    let chosen: Vec<&Step> = STEPS
        .iter()
        .filter(|step| (only.is_empty() || only.contains(step.name)) && !skip.contains(step.name))
        .collect();
    let mut done: Vec<Done> = Vec::new();
    for (index, step) in chosen.iter().enumerate() {
        println!("\n── {}/{} {} · {}", index.saturating_add(1), chosen.len(), step.name, step.about);
        let began = Instant::now();
        let needed = step.after.and_then(|needed| done.iter().find(|earlier| earlier.name == needed));
        let result = match needed {
            Some(Done { name, result: Err(_), .. }) => Ok(Outcome::Skipped(format!("needs {name}, which failed"))),
            _ => (step.run)(),
        };
        if let Err(error) = &result {
            println!("FAILED {}: {error:#}", step.name);
        }
        let failed = result.is_err();
        done.push(Done { name: step.name, result, took: began.elapsed() });
        if failed && fail_fast {
            break;
        }
    }
    Ok(summary(&done))
}

fn list() {
    for step in STEPS {
        println!("{:<11} {}", step.name, step.about);
    }
}

fn names(argument: Option<&String>) -> Result<Vec<&'static str>> {
    let Some(argument) = argument else { bail!("a step's name is missing; `cargo xtask test --list` gives them") };
    let find = |name: &str| STEPS.iter().map(|step| step.name).find(|known| *known == name);
    argument
        .split(',')
        .map(|name| find(name).ok_or_else(|| anyhow::anyhow!("no step {name:?}; `cargo xtask test --list` gives them")))
        .collect()
}

fn summary(done: &[Done]) -> ExitCode {
    let (mut passed, mut failed, mut skipped) = (0u32, 0u32, 0u32);
    println!("\n{:<11} {:<8} {:>8}", "step", "result", "seconds");
    for Done { name, result, took } in done {
        let (word, why) = match result {
            Ok(Outcome::Passed) => ("passed", String::new()),
            Ok(Outcome::Skipped(why)) => ("skipped", format!("  {why}")),
            Err(error) => ("FAILED", format!("  {error:#}")),
        };
        match result {
            Ok(Outcome::Passed) => passed = passed.saturating_add(1),
            Ok(Outcome::Skipped(_)) => skipped = skipped.saturating_add(1),
            Err(_) => failed = failed.saturating_add(1),
        }
        println!("{name:<11} {word:<8} {:>8.1}{why}", took.as_secs_f64());
    }
    let total: Duration = done.iter().map(|one| one.took).sum();
    println!("{:<11} {:<8} {:>8.1}\n", "all", "", total.as_secs_f64());
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fmt() -> Result<Outcome> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Outcome::Passed)
}

fn clippy() -> Result<Outcome> {
    run(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]))?;
    Ok(Outcome::Passed)
}

/// The same selection in every later step: another one would switch features and build half of the tree again.
fn build() -> Result<Outcome> {
    run(&mut programs())?;
    run(cargo().args(["test", "--quiet", "--workspace", "--all-features", "--no-run"]))?;
    Ok(Outcome::Passed)
}

/// What steps start. Not every fuzz target: each links everything, and `mutate` has them all.
pub(crate) fn programs() -> Command {
    let mut cargo = cargo();
    cargo.args(["build", "--quiet", "--workspace", "--all-features"]);
    cargo.args(
        ["countersign", "countersign-bench", "countersign-ha-test", "mutate"].iter().flat_map(|bin| ["--bin", bin]),
    );
    cargo
}

fn unit() -> Result<Outcome> {
    run(cargo().args(["test", "--workspace", "--all-features", "--tests", "--no-fail-fast"]))?;
    Ok(Outcome::Passed)
}

fn doctest() -> Result<Outcome> {
    run(cargo().args(["test", "--quiet", "--workspace", "--all-features", "--doc", "--no-fail-fast"]))?;
    Ok(Outcome::Passed)
}

fn rustdoc() -> Result<Outcome> {
    run(cargo().env("RUSTDOCFLAGS", "-D warnings").args([
        "doc",
        "--quiet",
        "--workspace",
        "--all-features",
        "--no-deps",
        "--document-private-items",
    ]))?;
    Ok(Outcome::Passed)
}
