//! What the database's own administrator finds: 500 sampled values, names, tokens and keys, looked for in every file of
//! the server, its write-ahead log, its dumps, its own log with every statement and parameter, and what it shows of
//! statements while they run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_model::Service;
use countersign_postgres::{SCHEMA, role_of};
use countersign_testkit::{DATABASE, Deployment, Postgres};

use crate::leaks::{self, Needles};
use crate::root;

/// All that a server can be made to write down.
const TALKATIVE: &str = "log_statement = 'all'\nlog_min_duration_statement = 0\nlog_parameter_max_length = -1\n\
    log_parameter_max_length_on_error = -1\nlog_connections = on\nlog_disconnections = on\nlog_error_verbosity = verbose\n\
    log_lock_waits = on\ntrack_activity_query_size = 65536\n\
    wal_level = logical\nwal_compression = off\nwal_recycle = off\nmax_wal_size = '4GB'";

#[test]
#[ignore = "starts a database; a step of `cargo xtask test` runs it"]
fn an_administrator_of_the_database_finds_nothing_of_the_data() -> Result<()> {
    let (postgres, deployment, server) = super::start(TALKATIVE)?;
    let postgres = Arc::new(postgres);
    let (values, names) = (known_only_to_us(leaks::sample()?)?, known_only_to_us(names()?)?);
    ensure!(values.len() > 450 && names.len() > 20, "only {} values and {} names", values.len(), names.len());
    ensure!(names.iter().any(|name| name == "northwind"), "a name is missing");
    let over = Arc::new(AtomicBool::new(false));
    let watching = {
        let (postgres, over) = (Arc::clone(&postgres), Arc::clone(&over));
        std::thread::spawn(move || watch(&postgres, &over))
    };
    let tokens = leaks::exercise(&deployment, &server)?;
    over.store(true, Ordering::Release);
    let seen = watching.join().map_err(|_| anyhow::anyhow!("the watch panicked"))??;
    roles_see_nothing_unasked(&postgres)?;
    server.stop()?;

    let mut needles: Vec<Vec<u8>> = values.iter().map(|value| value.clone().into_bytes()).collect();
    // What is binary is dumped in hexadecimal.
    needles.extend(values.iter().map(|value| leaks::hex(value).into_bytes()));
    needles.extend(names.iter().map(|name| name.clone().into_bytes()));
    for token in &tokens {
        needles.extend(token.split('.').skip(1).map(|part| part.as_bytes().to_vec()));
    }
    let keys = keys(&deployment)?;
    for key in &keys {
        needles.extend([key.clone(), leaks::hex(key).into_bytes()]);
    }
    let search = Needles::new(&needles);

    let mut bytes = 0;
    let mut places = 0;
    let mut look = |place: &str, content: &[u8]| {
        bytes += content.len();
        places += 1;
        // Upper case in what others print.
        for content in [content.to_vec(), content.to_ascii_lowercase()] {
            let found = search.find(&content);
            let found: Vec<_> = found.iter().map(|at| String::from_utf8_lossy(&needles[*at]).into_owned()).collect();
            assert!(found.is_empty(), "{place} has {found:?}");
        }
    };
    look("pg_stat_activity", seen.as_bytes());
    postgres.sql("postgres", "CHECKPOINT")?;
    let mut records = 0;
    for file in files(postgres.folder())? {
        let content = std::fs::read(&file)?;
        look(&file.display().to_string(), &content);
        let is_segment = file.parent().is_some_and(|folder| folder.ends_with("pg_wal")) && content.len() > 1 << 20;
        if is_segment {
            let output = postgres.tool("pg_waldump")?.arg(&file).output()?;
            // It ends with an error where the log ends.
            records += output.stdout.iter().filter(|byte| **byte == b'\n').count();
            look("pg_waldump", &output.stdout);
        }
    }
    ensure!(records > 1000, "pg_waldump gave only {records} records");
    for arguments in [
        &["--format=plain"][..],
        &["--format=plain", "--inserts", "--column-inserts"],
        &["--format=custom", "--compress=0"],
    ] {
        let output = postgres.tool("pg_dump")?.args(arguments).output()?;
        ensure!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
        ensure!(output.stdout.len() > 100_000, "pg_dump gave only {} bytes", output.stdout.len());
        look(&format!("pg_dump {}", arguments.join(" ")), &output.stdout);
    }
    let log = postgres.log();
    ensure!(log.contains("INSERT INTO r1") && log.contains("parameters: $1"), "the server did not log statements");
    // The search itself works: what is in the database is found in all of these.
    let planted = values.last().context("no values")?;
    ensure!(!search.find(format!("\0\0x{planted}y").as_bytes()).is_empty(), "a value is not found");
    println!(
        "{} values, {} names, {} tokens, {} keys: none in {places} places with {bytes} bytes: tables, {records} records of the \
         write-ahead log, three dumps, {} bytes of the server's log with all parameters, and running statements",
        values.len(),
        names.len(),
        tokens.len(),
        keys.len(),
        log.len(),
    );
    Ok(())
}

/// As each service: no tenant, no rows; a tenant that is none, no rows; another's rows are not among a tenant's.
fn roles_see_nothing_unasked(postgres: &Postgres) -> Result<()> {
    let ask = |sql: &str| postgres.sql(DATABASE, sql);
    let tables = ask(&format!(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant' \
         WHERE relnamespace = '{SCHEMA}'::regnamespace AND relkind = 'r' AND c.relname <> 'tenant'"
    ))?;
    let mut rows = 0u64;
    for table in tables.lines() {
        let table = format!("{SCHEMA}.{table}");
        let all: u64 = ask(&format!("SELECT count(*) FROM {table}"))?.parse()?;
        rows += all;
        for service in Service::ALL {
            let role = role_of(service);
            if ask(&format!("SELECT has_table_privilege('{role}', '{table}', 'SELECT')"))? != "t" {
                continue;
            }
            let as_role = |setting: &str| {
                let sql = format!("SET SESSION AUTHORIZATION {role}; {setting} SELECT count(*) FROM {table}");
                anyhow::Ok(ask(&sql)?.lines().last().context("no answer")?.parse::<u64>()?)
            };
            let setting = |tenant: &str| format!("SET countersign.tenant = '{tenant}';");
            ensure!(as_role("")? == 0, "{role} sees rows of {table} without a tenant");
            ensure!(as_role(&setting(""))? == 0, "{role} sees rows of {table} for an empty tenant");
            let nobody = "00000000-0000-7000-8000-00000000dead";
            ensure!(as_role(&setting(nobody))? == 0, "{role} sees rows of {table} for nobody");
            // What a service that was taken over can do: it says whose rows it wants, and gets these, sealed.
            let mut sum = 0;
            for tenant in ask(&format!("SELECT DISTINCT tenant FROM {table}"))?.lines() {
                let own = as_role(&setting(tenant))?;
                let expected: u64 = ask(&format!("SELECT count(*) FROM {table} WHERE tenant = '{tenant}'"))?.parse()?;
                ensure!(own == expected, "{role} sees {own} rows of {table}, not {expected}");
                sum += own;
            }
            ensure!(sum == all, "{table} has rows of no tenant");
        }
    }
    ensure!(rows > 5000, "only {rows} rows");
    println!("{rows} rows of tenants in {} tables: none of them without the setting", tables.lines().count());
    Ok(())
}

/// Statements as the server shows them while they run.
fn watch(postgres: &Postgres, over: &AtomicBool) -> Result<String> {
    let mut seen = BTreeSet::new();
    while !over.load(Ordering::Acquire) {
        let sql = "SELECT usename, application_name, replace(query, E'\\n', ' ') FROM pg_stat_activity WHERE usename LIKE 'countersign%'";
        seen.extend(postgres.sql("postgres", sql)?.lines().map(str::to_owned));
        std::thread::sleep(Duration::from_millis(20));
    }
    ensure!(!seen.is_empty(), "no statement was seen");
    Ok(seen.into_iter().collect::<Vec<_>>().join("\n"))
}

/// Names of tenants, types and fields.
fn names() -> Result<Vec<String>> {
    let mut names: BTreeSet<String> = ["northwind", "chinook"].map(str::to_owned).into();
    let types = std::fs::read_to_string(root().join("examples/trading/types.toml"))?;
    let types = countersign_store::types_file::parse(&types)?;
    for (_, record_type) in types.iter() {
        names.insert(record_type.name.as_str().to_owned());
        names.extend(record_type.iter().map(|(_, field)| field.name.as_str().to_owned()));
    }
    names.retain(|name| name.len() >= leaks::LEAST_BYTES);
    Ok(names.into_iter().collect())
}

/// Those that PostgreSQL does not have of its own, such as countries in the names of collations: no file of a server
/// that never saw anything of ours contains them.
fn known_only_to_us(texts: Vec<String>) -> Result<Vec<String>> {
    let empty = Postgres::start_with(TALKATIVE)?;
    let search = Needles::new(&texts);
    let mut theirs = BTreeSet::new();
    for file in files(empty.folder())? {
        let content = std::fs::read(&file)?;
        theirs.extend(search.find(&content));
        theirs.extend(search.find(&content.to_ascii_lowercase()));
    }
    Ok(texts.iter().enumerate().filter(|(at, _)| !theirs.contains(at)).map(|(_, text)| text.clone()).collect())
}

/// What lies in the deployment's folder and opens something.
fn keys(deployment: &Deployment) -> Result<Vec<Vec<u8>>> {
    let mut keys = Vec::new();
    for file in files(&deployment.dir())? {
        if file.file_name().is_some_and(|name| name == "kms.key") {
            keys.push(std::fs::read(&file)?);
        }
    }
    ensure!(!keys.is_empty(), "no key of the deployment's was found");
    Ok(keys)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(files(&entry.path())?);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
