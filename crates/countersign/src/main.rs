//! `countersign`: see `countersign --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    countersign::main()
}
