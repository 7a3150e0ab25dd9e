//! A stopped deployment with all data loaded shows none of it: 500 sampled values, searched for as bytes in every
//! file, the server's log included, and in what `strings` and `sqlite3 .dump` make of them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use countersign_testkit::{Deployment, Request, Server};
use serde_json::json;

use crate::data::{self, TYPES};
use crate::{Layout, whole_and_apart};

whole_and_apart!(nothing_of_the_data_lies_in_any_file);

/// How many values.
const SAMPLE: usize = 500;
/// Shorter ones occur in any file by chance.
pub const LEAST_BYTES: usize = 6;

fn nothing_of_the_data_lies_in_any_file(layout: Layout) -> Result<()> {
    let values = sample()?;
    let needles = Needles::new(&values);
    let (deployment, server) = layout.start()?;
    let tokens = exercise(&deployment, &server)?;
    server.stop()?;

    let folder = deployment.dir();
    let folder = folder.parent().context("a folder")?;
    let files = files(folder)?;
    let secrets = secrets(&files, &tokens)?;
    let spellings: Vec<&[u8]> = secrets.iter().map(|secret| secret.spelling.as_slice()).collect();
    let secret_needles = Needles::new(&spellings);
    let mut bytes = 0;
    for file in &files {
        let content = std::fs::read(file)?;
        bytes += content.len();
        let found = |content: &[u8]| needles.find(content).first().map(|at| values[*at].clone());
        assert_eq!(found(&content), None, "{}", file.display());
        for at in secret_needles.find(&content) {
            let secret = &secrets[at];
            assert_eq!(secret.home.as_ref(), Some(file), "{} lies in {}", secret.what, file.display());
        }
        let strings = output(Command::new("strings").arg("-a").arg("-n").arg("4").arg(file))?;
        assert_eq!(found(&strings), None, "strings {}", file.display());
        if content.starts_with(b"SQLite format 3\0") {
            let dump = output(Command::new("sqlite3").arg(file).arg(".dump"))?;
            ensure!(dump.len() > 100, "{}: an empty dump", file.display());
            assert_eq!(found(&dump), None, "sqlite3 {} .dump", file.display());
            let plain_hex: Vec<String> = values.iter().map(hex).collect();
            let found = Needles::new(&plain_hex).find(&dump.to_ascii_lowercase());
            assert_eq!(found.len(), 0, "sqlite3 {} .dump, in hexadecimal", file.display());
        }
    }
    // The search itself works: it finds a value and a secret where there is one.
    let planted = values.last().context("no values")?;
    assert_eq!(needles.find(format!("\0\0x{planted}y").as_bytes()), [values.len() - 1].into());
    let homes = secrets.iter().filter(|secret| secret.home.is_some());
    for secret in homes.clone() {
        let content = std::fs::read(secret.home.as_ref().context("no home")?)?;
        ensure!(Needles::new(&[&secret.spelling]).find(&content).len() == 1, "{} is not found", secret.what);
    }
    println!(
        "{} values, {} spellings of {} tokens and of private keys ({} in their own files), {} files, {bytes} bytes: \
         none occurs elsewhere",
        values.len(),
        secrets.len(),
        tokens.len(),
        homes.count(),
        files.len(),
    );
    Ok(())
}

/// Something that opens something.
struct Secret {
    what: String,
    spelling: Vec<u8>,
    /// The one file that it may lie in.
    home: Option<PathBuf>,
}

/// The tokens, and every key that lies in a file of its own.
fn secrets(files: &[PathBuf], tokens: &[String]) -> Result<Vec<Secret>> {
    let mut secrets = Vec::new();
    for (number, token) in tokens.iter().enumerate() {
        for part in token.split('.').skip(1) {
            let what = format!("part of token {number}");
            secrets.push(Secret { what, spelling: part.as_bytes().to_vec(), home: None });
        }
    }
    for file in files {
        let content = std::fs::read(file)?;
        let what = file.display().to_string();
        if file.file_name().is_some_and(|name| name == "kms.key") {
            ensure!(content.len() == 32, "{what} is not a key");
            secrets.push(Secret { what: format!("{what} in hexadecimal"), spelling: hex(&content).into(), home: None });
            secrets.push(Secret { what, spelling: content, home: Some(file.clone()) });
        } else if content.starts_with(b"-----BEGIN") && String::from_utf8_lossy(&content).contains("PRIVATE KEY-----") {
            // The first lines of a key in OpenSSH's format are the same in all keys, or its public half.
            let skip = if content.starts_with(b"-----BEGIN OPENSSH") { 4 } else { 1 };
            let text = String::from_utf8(content)?;
            let lines = text.lines().skip(skip).take_while(|line| !line.starts_with("-----"));
            secrets.extend(lines.filter(|line| line.len() >= LEAST_BYTES).map(|line| Secret {
                what: format!("the private key of {what}"),
                spelling: line.as_bytes().to_vec(),
                home: Some(file.clone()),
            }));
        }
    }
    ensure!(secrets.iter().any(|secret| secret.what.contains("kms.key")), "no key of the deployment's was found");
    Ok(secrets)
}

/// Every kind of request that could leave a value behind: reads, writes, refusals, malformed ones.
/// Gives the tokens with which it asked.
pub fn exercise(deployment: &Deployment, server: &Server) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    for user in ["andrew@northwind", "michael@chinook", "laura@northwind", "jane@chinook"] {
        let token = deployment.login(user)?;
        let client = server.client()?.with_token(&token);
        tokens.push(token);
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
    Ok(tokens)
}

/// Values of every file of both companies, the same ones each time.
pub fn sample() -> Result<Vec<String>> {
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

pub fn hex(value: impl AsRef<[u8]>) -> String {
    value.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
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
pub struct Needles<'a> {
    by_start: HashMap<&'a [u8], Vec<(usize, &'a [u8])>>,
    /// Whether any begins with this byte pair; most places in a file are ruled out by it.
    pairs: Vec<bool>,
}

impl<'a> Needles<'a> {
    pub fn new(values: &'a [impl AsRef<[u8]>]) -> Self {
        let mut by_start: HashMap<&[u8], Vec<(usize, &[u8])>> = HashMap::new();
        let mut pairs = vec![false; 1 << 16];
        for (at, value) in values.iter().enumerate() {
            let value = value.as_ref();
            let start = &value[..LEAST_BYTES];
            by_start.entry(start).or_default().push((at, value));
            pairs[usize::from(u16::from_be_bytes([start[0], start[1]]))] = true;
        }
        Self { by_start, pairs }
    }

    /// Which of them occur.
    pub fn find(&self, content: &[u8]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for (at, start) in content.windows(LEAST_BYTES).enumerate() {
            if !self.pairs[usize::from(u16::from_be_bytes([start[0], start[1]]))] {
                continue;
            }
            let here = &content[at..];
            let candidates = self.by_start.get(start).into_iter().flatten();
            found.extend(candidates.filter(|(_, value)| here.starts_with(value)).map(|(at, _)| *at));
        }
        found
    }
}
