//! Everything in PostgreSQL, beside PostgreSQL's own load program that runs the same statements on the same server in
//! the same run: with the same row security and column grants, as the same role, over TLS as we do. And beside the
//! embedded store.
//!
//! Each row says where its ledgers are. `pgbench` sends one statement after the other, as programs do that don't
//! pipeline; what it does when it pipelines is shown for information.

mod gateway;
mod pgbench;
mod records;
mod store;

use std::time::Duration;

use anyhow::Result;
use countersign_testkit::Postgres;

use self::pgbench::{Pgbench, transaction};
use self::records::Place;
use crate::Options;
use crate::report::{Report, Row, Target};
use crate::timing::median;

/// At once: callers, connections of `pgbench`, connections to the gateway.
const CLIENTS: usize = 64;
/// The bound.
const READS: Target = Target::RatioAtLeast(0.7);
const WRITES: Target = Target::RatioAtLeast(0.8);

/// Durable commits, and enough memory that no read waits for the disk.
const SETTINGS: &str = "fsync = on\nshared_buffers = '256MB'\nmax_wal_size = '4GB'";

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    store::measure(options, report)?;
    gateway::measure(options, report)
}

/// How long one of several turns is: `pgbench` counts in whole seconds.
const fn turn(options: &Options) -> Duration {
    Duration::from_secs(if options.quick { 2 } else { 4 })
}

const fn turns(options: &Options) -> usize {
    if options.quick { 1 } else { 3 }
}

fn server() -> Result<Postgres> {
    Postgres::start_with(SETTINGS)
}

/// The same statements by `pgbench`.
struct Bare<'a> {
    pgbench: Pgbench<'a>,
    read: String,
    read_pipelined: String,
    write: String,
    write_pipelined: String,
    seconds: u64,
}

impl<'a> Bare<'a> {
    fn new(options: &Options, server: &'a Postgres, server_ca: &str, place: &Place) -> Result<Self> {
        let read = |is_pipelined| transaction(&place.read(), "ROLLBACK", is_pipelined);
        let write = |is_pipelined| transaction(&place.insert(), "COMMIT", is_pipelined);
        Ok(Self {
            pgbench: Pgbench::new(server, server_ca, place.variables(server)?)?,
            read: read(false),
            read_pipelined: read(true),
            write: write(false),
            write_pipelined: write(true),
            seconds: turn(options).as_secs(),
        })
    }

    fn run(&self, script: &str) -> Result<f64> {
        self.pgbench.run(script, CLIENTS, self.seconds)
    }
}

/// What came of turns: ours, `pgbench`, and `pgbench` pipelined.
#[derive(Default)]
struct Turns {
    ours: Vec<f64>,
    bare: Vec<f64>,
    pipelined: Vec<f64>,
}

impl Turns {
    fn row(mut self, name: String, unit: &'static str, target: Target, note: &str) -> Row {
        let pipelined = median(&mut self.pipelined);
        Row {
            name,
            figure: median(&mut self.ours),
            unit,
            limit: Some(("pgbench -M prepared, same server".into(), median(&mut self.bare))),
            target,
            note: format!("pgbench pipelined: {pipelined:.0}; {note}"),
        }
    }
}
