//! The databases' own tools on as many rows of as many cells.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use countersign_testkit::{DATABASE, Postgres};

/// As in the group `postgres`.
pub const SETTINGS: &str = "fsync = on\nshared_buffers = '256MB'\nmax_wal_size = '4GB'";

/// Seconds that PostgreSQL's tools take.
pub struct Took {
    pub dump: f64,
    pub restore: f64,
}

/// Seconds that `sqlite3 .backup` takes for a file.
pub fn sqlite_backup(file: &Path, folder: &Path) -> Result<f64> {
    let copy = folder.join("copy.db");
    let began = Instant::now();
    run(Command::new("sqlite3").arg(file).arg(format!(".backup '{}'", copy.display())))?;
    let seconds = began.elapsed().as_secs_f64();
    std::fs::remove_file(copy)?;
    Ok(seconds)
}

/// `pg_dump -Fc` of a plain table, and `pg_restore` of that into an empty database.
pub fn postgres(records: usize, cells: usize) -> Result<Took> {
    let server = Postgres::start_with(SETTINGS)?;
    // As long as a sealed cell of the bench is, and as hard to compress.
    let columns: Vec<String> = (0..cells).map(|number| format!("c{number} bytea")).collect();
    let random = "decode(md5(random()::text) || md5(random()::text) || md5(random()::text), 'hex')";
    let values = vec![random; cells].join(", ");
    server.sql(
        DATABASE,
        &format!(
            "CREATE TABLE plain (id uuid PRIMARY KEY, version bigint, {}); \
             INSERT INTO plain SELECT gen_random_uuid(), 1, {values} FROM generate_series(1, {records}); \
             CHECKPOINT",
            columns.join(", ")
        ),
    )?;
    server.sql(DATABASE, "CREATE DATABASE restored")?;
    // Where PostgreSQL's own account may write.
    let file = server.folder().join("plain.dump");
    let began = Instant::now();
    run(server.tool("pg_dump")?.args(["-Fc", "-f"]).arg(&file))?;
    let dump = began.elapsed().as_secs_f64();
    let began = Instant::now();
    run(server.tool("pg_restore")?.args(["-d", "restored"]).arg(&file))?;
    let restore = began.elapsed().as_secs_f64();
    Ok(Took { dump, restore })
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
