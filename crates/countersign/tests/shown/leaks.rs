//! A stopped deployment with all data loaded shows none of it: 500 sampled values, searched for as bytes in every
//! file, the server's log included, and in what `strings` and `sqlite3 .dump` make of them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use countersign_testkit::Request;
use serde_json::json;

use crate::data::{self, TYPES};
use crate::demo;

/// How many values.
const SAMPLE: usize = 500;
/// Shorter ones occur in any file by chance.
const LEAST_BYTES: usize = 6;

#[test]
#[ignore = "starts a demo; `cargo xtask test --only leaks` runs it"]
fn nothing_of_the_data_lies_in_any_file() -> Result<()> {
    let values = sample()?;
    let needles = Needles::new(&values);
    let (deployment, server) = demo()?;
    exercise(&deployment, &server)?;
    server.stop()?;

    let folder = deployment.dir();
    let folder = folder.parent().context("a folder")?;
    let files = files(folder)?;
    let mut bytes = 0;
    for file in &files {
        let content = std::fs::read(file)?;
        bytes += content.len();
        if let Some(value) = needles.find(&content) {
            panic!("{} contains {value:?}", file.display());
        }
        let strings = output(Command::new("strings").arg("-a").arg("-n").arg("4").arg(file))?;
        assert_eq!(needles.find(&strings), None, "strings {}", file.display());
        if content.starts_with(b"SQLite format 3\0") {
            let dump = output(Command::new("sqlite3").arg(file).arg(".dump"))?;
            ensure!(dump.len() > 100, "{}: an empty dump", file.display());
            assert_eq!(needles.find(&dump), None, "sqlite3 {} .dump", file.display());
            let plain_hex: Vec<String> = values.iter().map(|value| hex(value)).collect();
            assert_eq!(Needles::new(&plain_hex).find(&dump.to_ascii_lowercase()), None, "{}", file.display());
        }
    }
    // The search itself works: it finds a value where there is one.
    let planted = values.last().context("no values")?;
    assert!(needles.find(format!("\0\0x{planted}y").as_bytes()).is_some());
    println!("{} values, {} files, {bytes} bytes: none occurs", values.len(), files.len());
    Ok(())
}

/// Every kind of request that could leave a value behind: reads, writes, refusals, malformed ones.
fn exercise(deployment: &countersign_testkit::Deployment, server: &countersign_testkit::Server) -> Result<()> {
    for user in ["andrew@northwind", "michael@chinook", "laura@northwind", "jane@chinook"] {
        let client = server.client()?.with_token(&deployment.login(user)?);
        for path in [
            "/rest/v1/customer?select=*&country=eq.Brazil",
            "/rest/v1/customer?select=*&company=eq.Alfreds%20Futterkiste",
            "/rest/v1/customer?select=*&email=eq.luisg@embraer.com.br",
            "/rest/v1/customer?select=company,invoice(total,invoice_line(quantity))&limit=20",
            "/rest/v1/customer?nonsense=eq.Alfreds%20Futterkiste",
            "/rest/v1/customer?company=Alfreds%20Futterkiste",
            "/rest/v1/invoice?total=eq.Alfreds%20Futterkiste",
            "/rest/v1/Alfreds%20Futterkiste",
        ] {
            client.get(path)?;
        }
        client.post("/rest/v1/customer", &json!({"id": "ALFKI", "company": "Alfreds Futterkiste"}))?;
        client.post("/rest/v1/customer", &json!({"id": 7, "company": ["Alfreds Futterkiste"]}))?;
        client.patch("/rest/v1/customer?id=eq.ALFKI", &json!({"phone": "030-0074321"}))?;
        client.send(&Request::new("POST", "/rest/v1/customer").body("{\"company\": \"Alfreds Futterkiste\" \"x\"}"))?;
        client.get("/v1/audit?record=customer/ALFKI")?;
    }
    Ok(())
}

/// Values of every file of both companies, the same ones each time.
fn sample() -> Result<Vec<String>> {
    let mut distinct = BTreeSet::new();
    for tenant in ["northwind", "chinook"] {
        for record_type in TYPES {
            for row in data::rows(tenant, record_type)? {
                distinct.extend(row.into_values().filter(|value| is_distinctive(value)));
            }
        }
    }
    // What the exercise uses is always in the sample; the rest is spread over all values evenly.
    let must = ["Alfreds Futterkiste", "luisg@embraer.com.br", "030-0074321"].map(String::from);
    distinct.retain(|value| !must.contains(value));
    let step = distinct.len() / (SAMPLE - must.len());
    let mut values: Vec<String> = distinct.into_iter().step_by(step.max(1)).take(SAMPLE - must.len()).collect();
    values.extend(must);
    ensure!(values.len() == SAMPLE, "only {} values", values.len());
    Ok(values)
}

/// Long enough not to occur by chance, and nothing that a file may rightly contain: digits alone could be a time.
fn is_distinctive(value: &str) -> bool {
    let letters = value.chars().filter(|c| c.is_alphabetic()).count();
    value.len() >= LEAST_BYTES && (letters >= 4 || value.len() >= 11)
}

fn hex(value: &str) -> String {
    value.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Values to look for, by their first bytes.
struct Needles<'a> {
    by_start: HashMap<&'a [u8], Vec<&'a str>>,
    /// Whether any begins with this byte pair; most places in a file are ruled out by it.
    pairs: Vec<bool>,
}

impl<'a> Needles<'a> {
    fn new(values: &'a [String]) -> Self {
        let mut by_start: HashMap<&[u8], Vec<&str>> = HashMap::new();
        let mut pairs = vec![false; 1 << 16];
        for value in values {
            let start = &value.as_bytes()[..LEAST_BYTES];
            by_start.entry(start).or_default().push(value);
            pairs[usize::from(u16::from_be_bytes([start[0], start[1]]))] = true;
        }
        Self { by_start, pairs }
    }

    fn find(&self, content: &[u8]) -> Option<&'a str> {
        for (at, start) in content.windows(LEAST_BYTES).enumerate() {
            if !self.pairs[usize::from(u16::from_be_bytes([start[0], start[1]]))] {
                continue;
            }
            let here = &content[at..];
            let found = self.by_start.get(start).into_iter().flatten().find(|value| here.starts_with(value.as_bytes()));
            if let Some(value) = found {
                return Some(value);
            }
        }
        None
    }
}
