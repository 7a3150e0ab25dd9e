//! The configuration file with another place in it; everything else stays as its operator wrote it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::files::{Goal, replace};
use crate::config::{Config, Text};
use crate::deployment::Deployment;
use crate::problem::{Problem, io};

const SECTION: &str = "[postgres]";

/// A configuration with that place.
pub(crate) fn configure(config: &Config, goal: &Goal) -> Config {
    let mut config = config.clone();
    let (address, server_ca) = words(goal);
    config.postgres.address = Text::of(address);
    config.postgres.server_ca = Text::of(server_ca);
    config
}

fn words(goal: &Goal) -> (&str, &str) {
    match goal {
        Goal::Embedded => ("", ""),
        Goal::Postgres { address, server_ca } => (address, server_ca),
    }
}

/// Replaces the file by one with that place. It is the moment at which the deployment has moved: INVARIANT one-in-charge.
pub(super) fn put_in_charge(deployment: &Deployment, goal: &Goal) -> Result<(), Problem> {
    let path = deployment.config();
    let old = fs::read_to_string(&path).map_err(io("read", &path))?;
    let mode = fs::metadata(&path).map_err(io("read", &path))?.permissions().mode();
    let parse = |text: &str| Config::parse(&path, text).map_err(|error| Problem::usage(error.to_string()));
    let new = text(&old, goal);
    // Nothing else may be changed by it.
    if parse(&new)? != configure(&parse(&old)?, goal) {
        let message = format!("[postgres] in {} is not written in a way that can be changed", path.display());
        return Err(Problem::usage(message).next("give it address and server_ca on lines of their own, or remove it"));
    }
    replace(&path, new.as_bytes()).map_err(io("write", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(io("write", &path))
}

fn text(old: &str, goal: &Goal) -> String {
    let (address, server_ca) = words(goal);
    let lines = [("address", address), ("server_ca", server_ca)];
    let lines = lines.map(|(key, value)| (key, format!("{key} = {}", toml::Value::String(value.to_owned()))));
    let mut out = String::new();
    let mut wanted: Vec<&(&str, String)> = lines.iter().collect();
    let mut inside = false;
    for line in old.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with('[') {
            if inside {
                wanted.drain(..).for_each(|(_, line)| push(&mut out, line));
            }
            inside = trimmed == SECTION;
        }
        let key = trimmed.split('=').next().map(str::trim);
        match wanted.iter().position(|(wanted, _)| inside && key == Some(wanted)) {
            Some(place) => push(&mut out, &wanted.remove(place).1),
            None => push(&mut out, line),
        }
    }
    if !wanted.is_empty() && !inside {
        push(&mut out, &format!("\n{SECTION}"));
    }
    wanted.into_iter().for_each(|(_, line)| push(&mut out, line));
    out
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there() -> Goal {
        Goal::Postgres { address: "postgres://db/app".to_owned(), server_ca: "/etc/ca \"x\".pem".to_owned() }
    }

    #[test]
    fn only_the_place_is_changed() {
        let file = std::path::Path::new("x");
        let parse = |text: &str| Config::parse(file, text).unwrap();
        let whole = Config::default().to_text();
        for old in [
            whole.as_str(),
            "",
            "[server]\nlisten = \"127.0.0.1:1\"",
            "[postgres]\n",
            "# mine\n[postgres] # here\n[audit]\nlog = false\n",
            "[postgres]\nconnections = 3 # few\n\n[audit]\nlog = false\n",
            "[postgres]\n  address = \"postgres://old/x\"\n[audit]\n",
            "[audit]\nlog = false\n[postgres]\nserver_ca = \"\"\nledger = false",
        ] {
            let new = text(old, &there());
            if old.contains("# here") {
                // A heading with something behind it is taken for another, and the file refused.
                assert!(Config::parse(file, &new).is_err());
                continue;
            }
            assert_eq!(parse(&new), configure(&parse(old), &there()), "{old}");
            assert_eq!(parse(&text(&new, &Goal::Embedded)), configure(&parse(old), &Goal::Embedded));
            assert!(old.lines().filter(|line| line.starts_with('#')).all(|line| new.contains(line)));
        }
    }
}
