//! Measures Countersign, each figure beside a limit that is measured in the same run on the same machine: a bare
//! HTTPS server, the bare cipher, bare SQLite. Run it with `cargo xtask bench`.
//!
//! It is not a test: it fails only if something can't be measured. Whether a target was met stands in the table.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to a terminal")]
#![expect(clippy::arithmetic_side_effects, reason = "figures, not decisions; overflow would show as nonsense")]

mod apart;
mod cipher;
mod custody;
mod durable;
mod facts;
mod guard;
mod hello;
mod ledger;
mod load;
mod log;
mod postgres;
mod questions;
mod report;
mod scale;
mod setting;
mod stack;
mod timing;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::report::Report;

/// The program's allocator, so that the bare server differs from it in what it does and in nothing else.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the command line asks for.
pub struct Options {
    /// The `countersign` program, built as it would be shipped.
    pub program: PathBuf,
    /// Where the figures go as JSON.
    out: PathBuf,
    /// A folder on the disk that durable writes are measured on.
    pub disk: PathBuf,
    /// A twentieth of the time, to try the bench itself.
    pub quick: bool,
    /// Only groups whose name contains one of these.
    only: Vec<String>,
}

/// A group of rows, measured together because they share what has to be set up.
type Group = (&'static str, fn(&Options, &mut Report) -> Result<()>);

const GROUPS: &[Group] = &[
    ("https", stack::measure),
    ("apart", apart::measure),
    ("guard", guard::measure),
    ("facts", facts::measure),
    ("wire", wire::measure),
    ("cipher", cipher::measure),
    ("durable", durable::measure),
    ("postgres", postgres::measure),
    ("ledger", ledger::measure),
    ("log", log::measure),
    ("questions", questions::measure),
    ("scale", scale::measure),
    ("custody", custody::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((verb, rest)) if verb == "hello" => hello::serve(rest),
        _ => options(&arguments).and_then(|options| measure(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: &[String]) -> Result<Options> {
    let mut options = Options {
        program: "target/release/countersign".into(),
        out: "target/bench.json".into(),
        disk: "target".into(),
        quick: false,
        only: Vec::new(),
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--program" => options.program = value()?.into(),
            "--out" => options.out = value()?.into(),
            "--disk" => options.disk = value()?.into(),
            "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
            "--quick" => options.quick = true,
            other => bail!("unknown argument {other:?}"),
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<()> {
    let mut report = Report::new(options.quick);
    for (name, group) in GROUPS {
        if !options.only.is_empty() && !options.only.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        eprintln!("measuring {name} …");
        group(options, &mut report).with_context(|| format!("measuring {name}"))?;
    }
    std::fs::write(&options.out, report.json()).with_context(|| options.out.display().to_string())?;
    print!("{}", report.table());
    println!("written to {}", options.out.display());
    Ok(())
}
