//! Licences and banned packages, from `deny.toml`, over every package that a build can contain.
//!
//! The same rules as cargo-deny's for these two sections, checked here because cargo-deny takes longer to build than
//! the project does. Advisories need its database, so they are only checked where cargo-deny is installed.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};

use crate::process::{cargo, have, read, root, run};
use crate::steps::Outcome;

/// What `deny.toml` says.
struct Rules {
    licences: BTreeSet<String>,
    banned: BTreeSet<String>,
}

/// Fails on a package with a licence that is not allowed, and on a banned package.
pub fn check() -> Result<Outcome> {
    let text = std::fs::read_to_string(root().join("deny.toml")).context("deny.toml")?;
    let rules = parse(&text)?;
    // `cargo tree`, not `cargo metadata`: only the former leaves out optional packages that no feature turns on.
    let tree = read(cargo().args(["tree", "--workspace", "--all-features", "--locked", "--prefix", "none"]).args([
        "--edges",
        "normal,build,dev",
        "--no-dedupe",
        "--format",
        "{p}|{l}",
    ]))?;
    let packages: BTreeSet<&str> = tree.lines().filter(|line| !line.is_empty()).collect();
    let mut wrong = Vec::new();
    for package in &packages {
        let (package, expression) = package.split_once('|').context("an unexpected line from cargo tree")?;
        // A package whose tests use a package that uses it: cargo marks the second of them all the same.
        let expression = expression.trim_end_matches(" (*)");
        let name = package.split(' ').next().unwrap_or_default();
        if rules.banned.contains(name) {
            wrong.push(format!("{name}: banned"));
        }
        if !permitted(expression, &rules.licences) {
            wrong.push(format!("{name}: licence {expression:?}"));
        }
    }
    let checked = packages.len();
    println!("{checked} packages");
    if !wrong.is_empty() {
        bail!("not permitted by deny.toml:\n  {}", wrong.join("\n  "));
    }
    Ok(Outcome::Passed)
}

/// cargo-deny itself, with advisories if their database is on this machine.
pub fn deny() -> Result<Outcome> {
    if !have("cargo-deny") {
        return Ok(Outcome::Skipped(
            "cargo-deny isn't installed (`cargo install --locked cargo-deny`): advisories were not looked at; \
             licences and bans were, by the step `licences`"
                .into(),
        ));
    }
    let checks = ["bans", "licenses", "sources"];
    run(cargo().args(["deny", "--offline", "check"]).args(checks))?;
    let database = std::env::home_dir().unwrap_or_default().join(".cargo/advisory-dbs");
    if !database.is_dir() {
        return Ok(Outcome::Skipped(format!(
            "no advisory database in {} (`cargo deny fetch`): advisories were not looked at; {} were",
            database.display(),
            checks.join(", ")
        )));
    }
    run(cargo().args(["deny", "--offline", "check", "advisories"]))?;
    Ok(Outcome::Passed)
}

fn parse(text: &str) -> Result<Rules> {
    let file: toml::Table = text.parse()?;
    let list = |section: &str, key: &str| {
        let section = file.get(section).and_then(toml::Value::as_table);
        section.and_then(|section| section.get(key)).and_then(toml::Value::as_array).cloned()
    };
    let licences = list("licenses", "allow").context("no [licenses] allow")?;
    let banned = list("bans", "deny").context("no [bans] deny")?;
    let word = |value: &toml::Value| value.as_str().map(str::to_owned);
    Ok(Rules {
        licences: licences.iter().filter_map(word).collect(),
        banned: banned.iter().filter_map(|entry| word(entry).or_else(|| word(entry.get("crate")?))).collect(),
    })
}

/// Whether an SPDX expression can be met with allowed licences. `/` is how old manifests write OR.
fn permitted(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = either(&mut rest, allowed);
    met && rest.is_empty()
}

fn either(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = all(words, allowed);
    while let Some((&"OR", rest)) = words.split_first() {
        *words = rest;
        met |= all(words, allowed);
    }
    met
}

fn all(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, allowed);
    while let Some((&"AND", rest)) = words.split_first() {
        *words = rest;
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let Some((&first, rest)) = words.split_first() else { return false };
    *words = rest;
    if first == "(" {
        let met = either(words, allowed);
        let closed = words.split_first().is_some_and(|(&word, _)| word == ")");
        *words = words.get(1..).unwrap_or_default();
        return met && closed;
    }
    if let [first_word, exception, rest @ ..] = *words
        && *first_word == "WITH"
    {
        *words = rest;
        return allowed.contains(&format!("{first} WITH {exception}"));
    }
    allowed.contains(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_by_what_is_allowed() {
        let allowed: BTreeSet<String> =
            ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "ISC"].map(String::from).into();
        for fine in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "ISC AND (MIT OR GPL-2.0)",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(permitted(fine, &allowed), "{fine}");
        }
        for wrong in ["GPL-3.0", "MIT AND GPL-3.0", "ISC AND (GPL-2.0 OR LGPL-3.0)", "MIT WITH x", "", "MIT )", "(MIT"]
        {
            assert!(!permitted(wrong, &allowed), "{wrong}");
        }
    }
}
