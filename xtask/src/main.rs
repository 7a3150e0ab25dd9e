//! The project's own commands, run as `cargo xtask …`.
//!
//! It holds no logic of Countersign and depends on none of its crates, so that it compiles in seconds and can
//! judge a tree that does not compile.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to a terminal")]

mod bench;
mod edges;
mod files;
mod fuzz;
mod ha;
mod licences;
mod links;
mod process;
mod steps;
mod suites;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test [--list] [--only STEP[,STEP…]] [--skip STEP[,STEP…]] [--fail-fast]
    Every check of the project. Ends with `N passed, N failed`; exit code 1 if any failed.
cargo xtask bench [--quick] [--only ROW[,ROW…]]
    Measures, prints one table and writes target/bench.json.
cargo xtask fuzz [TARGET…] [--seconds N] [--seed N] [--coverage]
    Runs the fuzz targets for longer than `test` does. --coverage builds them with libFuzzer.
cargo xtask ha-test [--quick] [--only FAULT[,FAULT…]] [--keep]
    Three data centres on this machine, and everything that can happen to one of them, while a checker keeps every
    acknowledged write and every answer. Prints one table and writes target/ha.json. As root.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verb = arguments.first().map(String::as_str);
    let rest = arguments.get(1..).unwrap_or_default();
    let result = match verb {
        Some("test") => steps::test(rest),
        Some("bench") => bench::bench(rest),
        Some("fuzz") => fuzz::fuzz(rest),
        Some("ha-test") => ha::ha_test(rest),
        Some("help" | "--help" | "-h") | None => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => {
            eprint!("no command {other:?}\n\n{USAGE}");
            Ok(ExitCode::from(2))
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
