//! Crate edges against the reviewed table in `xtask/edges.toml`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{cargo, read, root};
use crate::steps::Outcome;

/// The table, as read.
struct Table {
    uses: BTreeMap<String, BTreeSet<String>>,
    tests: BTreeMap<String, BTreeSet<String>>,
    only: BTreeMap<String, BTreeSet<String>>,
}

/// One dependency of a workspace crate.
struct Edge {
    from: String,
    to: String,
    for_tests: bool,
    /// Inside the workspace.
    ours: bool,
}

/// Fails on a crate or an edge that the table does not have.
pub fn check() -> Result<Outcome> {
    let text = std::fs::read_to_string(root().join("xtask/edges.toml")).context("xtask/edges.toml")?;
    let table = parse(&text)?;
    let metadata = read(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let (crates, edges) = graph(&serde_json::from_str(&metadata)?)?;
    let mut wrong: Vec<String> = crates
        .iter()
        .filter(|name| !table.uses.contains_key(*name))
        .map(|name| format!("crate {name} is not in the table"))
        .collect();
    wrong.extend(edges.iter().filter_map(|edge| objection(&table, edge)));
    println!("{} crates, {} edges", crates.len(), edges.len());
    if !wrong.is_empty() {
        bail!("not permitted by xtask/edges.toml:\n  {}", wrong.join("\n  "));
    }
    Ok(Outcome::Passed)
}

fn objection(table: &Table, edge: &Edge) -> Option<String> {
    let Edge { from, to, for_tests, ours } = edge;
    let lists = |map: &BTreeMap<String, BTreeSet<String>>| {
        map.get(from).is_some_and(|set| set.contains("*") || set.contains(to))
    };
    if *ours {
        let fine = lists(&table.uses) || (*for_tests && (to == "testkit" || lists(&table.tests)));
        return (!fine).then(|| format!("{from} -> {to}{}", if *for_tests { " (tests)" } else { "" }));
    }
    let allowed = table.only.get(to)?;
    (!allowed.contains(from)).then(|| format!("{from} -> {to}: only for {allowed:?}"))
}

fn graph(metadata: &Value) -> Result<(Vec<String>, Vec<Edge>)> {
    let short = |name: &str| name.strip_prefix("countersign-").unwrap_or(name).to_owned();
    let packages = metadata.get("packages").and_then(Value::as_array).context("no packages in cargo's metadata")?;
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let names: Vec<String> = packages.iter().filter_map(|package| text(package, "name")).collect();
    let mut edges = Vec::new();
    for package in packages {
        let from = text(package, "name").context("a package without a name")?;
        for dependency in package.get("dependencies").and_then(Value::as_array).into_iter().flatten() {
            let to = text(dependency, "name").context("a dependency without a name")?;
            edges.push(Edge {
                from: short(&from),
                ours: names.contains(&to),
                to: short(&to),
                for_tests: text(dependency, "kind").as_deref() == Some("dev"),
            });
        }
    }
    Ok((names.iter().map(|name| short(name)).collect(), edges))
}

fn parse(text: &str) -> Result<Table> {
    let file: toml::Table = text.parse()?;
    let section = |name: &str| -> Result<BTreeMap<String, BTreeSet<String>>> {
        let entries = file.get(name).and_then(toml::Value::as_table).with_context(|| format!("no [{name}]"))?;
        entries
            .iter()
            .map(|(key, value)| {
                let list = value.as_array().with_context(|| format!("{key} is not a list"))?;
                let words = list.iter().map(|word| word.as_str().map(str::to_owned).context("not a name"));
                Ok((key.clone(), words.collect::<Result<_>>()?))
            })
            .collect()
    };
    Ok(Table { uses: section("uses")?, tests: section("tests")?, only: section("only")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str, for_tests: bool, ours: bool) -> Edge {
        Edge { from: from.into(), to: to.into(), for_tests, ours }
    }

    #[test]
    fn an_edge_outside_the_table_is_named() {
        let text = "[uses]\na = [\"b\"]\nb = []\n[tests]\nb = [\"a\"]\n[only]\nring = []\ncedar = [\"a\"]";
        let table = parse(text).unwrap();
        for fine in [
            edge("a", "b", false, true),
            edge("b", "a", true, true),
            edge("b", "testkit", true, true),
            edge("a", "cedar", false, false),
            edge("b", "serde", false, false),
        ] {
            assert_eq!(objection(&table, &fine), None);
        }
        for wrong in [
            edge("b", "a", false, true),
            edge("b", "testkit", false, true),
            edge("b", "cedar", false, false),
            edge("a", "ring", true, false),
        ] {
            assert!(objection(&table, &wrong).is_some());
        }
    }
}
