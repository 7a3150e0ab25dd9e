//! The matrix of roles and fields as the whole way through a door answers it, record by record, on whichever backend
//! `COUNTERSIGN_BACKEND` names: both must give the one text that was reviewed.
//!
//! `COUNTERSIGN_REWRITE_GOLDEN=1 cargo test -p countersign-door-http --test matrix` writes it anew. Read the diff, and see
//! that it says what `tests/golden/policy-matrix.txt` says, which is made from the policies alone.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "what fails here fails a test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::support::{House, example};
use countersign_model::{RecordType, UnixMs};
use countersign_store::types_file;
use serde_json::Value;

const NOW: UnixMs = UnixMs(1_780_000_000_000);
/// As many records of a type as a tenant gets at most.
const ROWS: usize = 100;
const TENANTS: [&str; 2] = ["chinook", "northwind"];
const ROLES: [&str; 6] = ["admin", "support", "accountant", "analyst", "rep", "auditor"];

const HEADER: &str = "\
What each role of the trading example gets of each field, and whether it may change it, asked over HTTP with up to 100
records of each type in both tenants. Written by a test on one backend and held against the other: a change of this
file is a change of what people get.

  40 3f2a91  that many records have the field, and what they say together has this digest (SHA-256)
  u          the field can be changed, in the first record
  -          refused
Below each type: c the role can make a record of it, d it can remove it again. The rep is employee number 4.
";

#[tokio::test(flavor = "multi_thread")]
async fn the_matrix_is_answered_as_it_was_reviewed() {
    let house = House::trading(NOW, &[]).await;
    let types = types_file::parse(&example("types.toml")).unwrap();
    let mut out = HEADER.to_owned();
    for tenant in TENANTS {
        let admin = house.login("admin", tenant).await;
        let mut known = BTreeMap::new();
        // What is referred to comes first.
        for record_type in ["employee", "customer", "product", "invoice", "invoice_line"] {
            load(&house, &admin, tenant, record_type, &mut known).await;
        }
        let mut tokens = Vec::new();
        for role in ROLES {
            tokens.push(house.login(role, tenant).await);
        }
        for (_, record_type) in types.iter() {
            write_type(&mut out, &house, tenant, record_type, &tokens).await;
        }
    }
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/door-matrix.txt"));
    if std::env::var_os("COUNTERSIGN_REWRITE_GOLDEN").is_some() {
        std::fs::write(&path, &out).unwrap();
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, (found, reviewed)) in out.lines().zip(reviewed.lines()).enumerate() {
        assert_eq!(found, reviewed, "{} line {}", path.display(), line.saturating_add(1));
    }
    assert_eq!(out.lines().count(), reviewed.lines().count(), "{}", path.display());
}

/// The first records of a type, by their ids. Lines of invoices come only with their invoice and their product.
async fn load(house: &House, admin: &str, tenant: &str, record_type: &str, known: &mut BTreeMap<String, Vec<String>>) {
    let csv = example(&format!("data/{tenant}/{record_type}.csv"));
    // No value of the example has a line's end in it, and lines of invoices have no quotes.
    let column = |line: &str, at: usize| line.split(',').nth(at).unwrap_or_default().to_owned();
    let is_there = |line: &&str| {
        record_type != "invoice_line"
            || line.starts_with("id,")
            || known["invoice"].contains(&column(line, 1)) && known["product"].contains(&column(line, 2))
    };
    let head: Vec<&str> = csv.lines().filter(is_there).take(ROWS.saturating_add(1)).collect();
    assert!(head.len() > 1, "{tenant} {record_type}");
    let ids = head.iter().map(|line| column(line, 0)).collect();
    let post = house.ask("POST", &format!("/rest/v1/{record_type}")).token(admin).header("content-type", "text/csv");
    post.body(format!("{}\n", head.join("\n"))).send().await.ok();
    known.insert(record_type.to_owned(), ids);
}

async fn write_type(out: &mut String, house: &House, tenant: &str, record_type: &RecordType, tokens: &[String]) {
    let name = record_type.name.as_str();
    let _ = write!(out, "\n{tenant}: {name}\n\n  {:<22}", "field");
    for role in ROLES {
        let _ = write!(out, "{role:<14}");
    }
    out.push('\n');
    let whole =
        house.ask("GET", &format!("/rest/v1/{name}?order=id&limit=1")).token(&tokens[0]).send().await.ok().json();
    let first = whole[0].as_object().unwrap().clone();
    for (_, field) in record_type.iter() {
        let field = field.name.as_str();
        let _ = write!(out, "  {field:<22}");
        for token in tokens {
            let read = read(house, name, field, token).await;
            let can_change = changes(house, name, (field, &first), token).await;
            let _ = write!(out, "{:<14}", format!("{read}{}", if can_change { " u" } else { "" }));
        }
        out.push('\n');
    }
    let _ = write!(out, "  {:<22}", "(a record)");
    for token in tokens {
        let _ = write!(out, "{:<14}", makes_and_removes(house, name, &first, token).await);
    }
    let trimmed: Vec<&str> = out.lines().map(str::trim_end).collect();
    *out = format!("{}\n", trimmed.join("\n"));
}

/// How many records show the field to this caller, and a digest of what they show.
async fn read(house: &House, name: &str, field: &str, token: &str) -> String {
    let got = house.ask("GET", &format!("/rest/v1/{name}?select={field}&limit=1000")).token(token).send().await;
    if !(200..300).contains(&got.status) {
        return "-".to_owned();
    }
    let rows = got.json();
    let mut values: Vec<String> = rows.as_array().unwrap().iter().map(Value::to_string).collect();
    values.sort();
    let digest = countersign_crypto::sha256(values.join("\n").as_bytes());
    let digest: String = digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    format!("{} {digest}", values.len())
}

/// Whether this caller can set the field of the first record to what it is.
async fn changes(
    house: &House,
    name: &str,
    (field, first): (&str, &serde_json::Map<String, Value>),
    token: &str,
) -> bool {
    let change: BTreeMap<&str, &Value> = [(field, &first[field])].into();
    let path = format!("/rest/v1/{name}?id=eq.{}", first["id"].as_str().map_or(first["id"].to_string(), str::to_owned));
    let patch = house.ask("PATCH", &path).token(token).header("prefer", "count=exact");
    let got = patch.body(serde_json::to_string(&change).unwrap()).send().await;
    (200..300).contains(&got.status) && got.header("content-range").ends_with("/1")
}

/// Whether this caller can make a record like the first, and remove it again.
async fn makes_and_removes(house: &House, name: &str, first: &serde_json::Map<String, Value>, token: &str) -> String {
    let mut record = first.clone();
    let id = if first["id"].is_string() { Value::from("900900") } else { Value::from(900_900) };
    record.insert("id".to_owned(), id);
    let post = house.ask("POST", &format!("/rest/v1/{name}")).token(token);
    let made = post.body(Value::Object(record).to_string()).send().await;
    let delete = house.ask("DELETE", &format!("/rest/v1/{name}?id=eq.900900")).token(token);
    let removed = delete.header("prefer", "count=exact").send().await;
    let mut can = String::new();
    if (200..300).contains(&made.status) {
        can.push('c');
    }
    if (200..300).contains(&removed.status) && removed.header("content-range").ends_with("/1") {
        can.push('d');
    }
    if can.is_empty() { "-".to_owned() } else { can }
}
