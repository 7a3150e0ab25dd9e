//! Help, completions, and the pages that are written from the program itself.

use std::path::Path;

use crate::bench::{program, run};

#[test]
fn help_has_examples_and_exit_codes() {
    let help = run(program(&["help"])).expect(0).out;
    assert!(help.contains("Exit codes:") && help.contains("countersign demo"), "{help}");
    assert!(run(program(&["-h"])).expect(0).out.contains("Exit codes:"));
    assert!(run(program(&["import", "--help"])).expect(0).out.contains("not one transaction"));
    run(program(&[])).expect(2);
    assert!(run(program(&["--version"])).expect(0).out.starts_with("countersign "));
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(run(program(&["completions", shell])).expect(0).out.contains("countersign"), "{shell}");
    }
}

/// Pages between whose marks the program's own text stands. Run with `UPDATE_PAGES=1` to write them anew.
#[test]
fn pages_say_what_the_program_says() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for (page, text) in [
        ("cli.md", countersign::reference()),
        ("configuration.md", countersign::config::Config::default().to_markdown()),
    ] {
        const MARK: &str =
            "<!-- written by the program from here on; see crates/countersign/tests/program/pages.rs -->\n";
        let path = docs.join(page);
        let whole = std::fs::read_to_string(&path).unwrap();
        let (before, after) = whole.split_once(MARK).unwrap_or((&whole, ""));
        let expected = format!("\n{}\n", text.trim());
        if after != expected {
            let update = std::env::var_os("UPDATE_PAGES").is_some();
            assert!(update, "docs/{page} is not what the program says; run this test with UPDATE_PAGES=1");
            std::fs::write(&path, format!("{before}{MARK}{expected}")).unwrap();
        }
    }
}
