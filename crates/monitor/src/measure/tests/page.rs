//! A strict reader of the text formats, and the one that Prometheus brings.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

/// Holds a page to what both formats ask: each family once, announced before its samples; each series once; labels that
/// are quoted; buckets that only grow and end in the count.
pub(crate) fn check(text: &str) {
    let (mut families, mut series) = (BTreeMap::new(), BTreeSet::new());
    let (mut open, mut buckets) = (None, (String::new(), 0u64));
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# HELP ") {
            continue;
        }
        if let Some(announced) = line.strip_prefix("# TYPE ") {
            let (name, kind) = announced.split_once(' ').expect("name and type");
            assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {name}");
            open = Some((name.to_owned(), kind.to_owned()));
            continue;
        }
        let (key, value) = line.rsplit_once(' ').expect("series and value");
        assert!(series.insert(key.to_owned()), "twice: {key}");
        let value: f64 = value.parse().expect("a number");
        let (name, labels) = key.split_once('{').expect("labels");
        let (family, kind) = open.as_ref().expect("announced");
        let ending = name.strip_prefix(family.as_str()).expect("a sample of the family that was announced last");
        match kind.as_str() {
            "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&ending), "{line}"),
            "counter" => assert!(ending == "_total" || ending.is_empty() && family.ends_with("_total"), "{line}"),
            _ => assert_eq!(ending, "", "{line}"),
        }
        let labels = labels.strip_suffix('}').expect("labels end");
        let mut names = BTreeSet::new();
        for label in labels.split("\",") {
            let (label, word) = label.split_once("=\"").expect("a label");
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            assert!(!word.trim_end_matches('"').contains(['"', '\\', '\n']), "{line}");
            assert!(names.insert(label), "{line}");
        }
        if ending == "_bucket" {
            let of = format!("{family}{}", labels.rsplit_once(",le=").expect("a bound").0);
            let count = value as u64;
            assert!(buckets.0 != of || buckets.1 <= count, "{line}");
            buckets = (of, count);
        } else if ending == "_count" {
            assert_eq!(buckets, (format!("{family}{labels}"), value as u64), "{line}");
        }
    }
    for (name, _) in families {
        let is_known = |family: &&&Family| family.name == name || family.name.strip_suffix("_total") == Some(&name);
        assert!(FAMILIES.iter().find(is_known).is_some(), "{name}");
    }
}

/// Has `promtool check metrics` read a page.
pub(crate) fn promtool(text: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        println!("promtool is not installed; nothing was checked by it");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
