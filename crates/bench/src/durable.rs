//! Durable writes: inserts of one record through the whole stack, beside bare SQLite with the same durability.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_testkit::Deployment;
use rusqlite::Connection;
use serde_json::json;

use crate::Options;
use crate::load::{Load, request};
use crate::report::{Report, Row, Target};

/// What a sealed customer takes: thirteen cells of 50 bytes or so, and tags.
const CELLS: usize = 13;
const CELL_BYTES: usize = 50;

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let duration = Duration::from_millis(if options.quick { 300 } else { 5000 });
    let folder = tempfile::Builder::new().prefix("countersign-bench-").tempdir_in(&options.disk)?;
    let deployment = Deployment::temporary_in(&options.program, &options.disk)?;
    let server = deployment.demo()?;
    let token = deployment.login("andrew@northwind")?;
    let ca = std::fs::read_to_string(deployment.ca_file())?;
    for clients in [1usize, 64] {
        let bare = bare_sqlite(&folder.path().join(format!("bare-{clients}.db")), clients, duration)?;
        // More requests than can be made in the time, each with its own id.
        let count = (duration.as_secs_f64() * 20_000.0) as usize;
        let requests = (0..count).map(|number| {
            let id = format!("b{clients}-{number}");
            let body = json!({ "id": id, "company": "Bench & Sons", "contact_name": "B. Ench", "city": "Ulm",
                               "country": "Germany", "phone": "0731 1234567", "email": "b@example.org" });
            request("POST", "/rest/v1/customer", &token, "Content-Type: application/json\r\n", &body.to_string())
        });
        let requests = Arc::new(requests.collect::<Vec<_>>());
        let (address, process) = (server.address(), server.process_id());
        let load = Load { address, ca_pem: &ca, requests, connections: clients, process, duration };
        let measured = load.run().context("inserts")?;
        report.add(Row {
            name: format!("durable insert over HTTPS, {clients} clients"),
            figure: measured.rate,
            unit: "writes/s",
            limit: Some((if clients == 1 { "bare SQLite" } else { "bare SQLite, grouped" }.into(), bare)),
            target: Target::Unset,
            note: format!(
                "sealed, with its audit records; p50 {:.0} µs, p99 {:.0} µs",
                measured.p50_us, measured.p99_us
            ),
        });
    }
    server.stop()
}

/// Inserts per second into SQLite (WAL, full sync) as a service would do it: one writer thread, which makes one
/// transaction of all inserts that wait; each client waits until its own is durable.
fn bare_sqlite(path: &Path, clients: usize, duration: Duration) -> Result<f64> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let names: Vec<String> = (0..CELLS).map(|column| format!("c{column}")).collect();
    let marks = vec!["?"; CELLS + 2].join(",");
    connection.execute_batch(&format!(
        "CREATE TABLE record (id BLOB PRIMARY KEY, {}, tag BLOB) WITHOUT ROWID; CREATE UNIQUE INDEX tags ON record(tag)",
        names.join(",")
    ))?;
    let insert = format!("INSERT INTO record VALUES ({marks})");
    let (sender, receiver) = mpsc::sync_channel::<SyncSender<()>>(clients);
    let writer = std::thread::spawn(move || write_all(connection, &insert, &receiver, clients));
    let until = Instant::now() + duration;
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let (done, wait) = mpsc::sync_channel(1);
                let mut count = 0u64;
                while Instant::now() < until {
                    if sender.send(done.clone()).is_err() || wait.recv().is_err() {
                        break;
                    }
                    count += 1;
                }
                count
            })
        })
        .collect();
    drop(sender);
    let mut count = 0;
    for thread in threads {
        count += thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
    }
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    ensure!(count > 0, "SQLite took no insert");
    Ok(count as f64 / duration.as_secs_f64())
}

fn write_all(
    mut connection: Connection,
    insert: &str,
    waiting: &Receiver<SyncSender<()>>,
    group: usize,
) -> rusqlite::Result<()> {
    let mut number = 0u64;
    while let Ok(first) = waiting.recv() {
        let mut acknowledged = vec![first];
        acknowledged.extend(waiting.try_iter().take(group - 1));
        let transaction = connection.transaction()?;
        {
            let mut statement = transaction.prepare_cached(insert)?;
            for _ in &acknowledged {
                number += 1;
                let cell = vec![0x5a; CELL_BYTES];
                let key = u128::from(number).to_be_bytes().to_vec();
                // A hash is spread over the index, as a tag is.
                let tag = (u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_be_bytes();
                let cells = std::iter::repeat_n(cell, CELLS);
                statement.execute(rusqlite::params_from_iter(
                    std::iter::once(key).chain(cells).chain(std::iter::once(tag.to_vec())),
                ))?;
            }
        }
        transaction.commit()?;
        for client in acknowledged {
            let _ = client.send(());
        }
    }
    Ok(())
}
