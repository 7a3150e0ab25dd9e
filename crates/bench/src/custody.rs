//! Looking after data: backups, restores, rotating keys, keeping history. Each beside the same work by the database's own
//! tools on the same amount of data, or beside the same requests while nothing else happens.
//!
//! All figures in MB/s divide one number, the size of the tenant's file in the embedded store, by a time: what is
//! compared is how long the same records take.

mod history;
mod rivals;
mod side;

use std::time::Instant;

use anyhow::{Context as _, Result};

use self::side::Side;
use crate::Options;
use crate::report::{Report, Row, Target};
use crate::timing::median;

/// Fields of a customer.
const CELLS: usize = 13;
/// Reads while something else goes on, of those while nothing does.
const BESIDE: Target = Target::RatioAtLeast(0.8);
/// What a figure is called that has no limit of its own.
const UNIT: &str = "MB/s";

/// Records, so that there are a million cells.
const fn records(options: &Options) -> usize {
    (if options.quick { 65_000 } else { 1_000_000 }) / CELLS
}

const fn turns(options: &Options) -> usize {
    if options.quick { 1 } else { 3 }
}

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let embedded = Side::embedded(options)?;
    let megabytes = embedded.megabytes()?;
    let folder = tempfile::Builder::new().prefix("countersign-bench-").tempdir_in(&options.disk)?;
    let sqlite = rivals::sqlite_backup(&embedded.largest_file()?, folder.path())?;
    let postgres = rivals::postgres(records(options), CELLS)?;
    let mb = |seconds: f64| megabytes / seconds.max(1e-9);
    let size = format!("{} records, {:.1} MB in the embedded store", records(options), megabytes);

    backups(options, report, &embedded, "embedded", &size, ("sqlite3 .backup", mb(sqlite)), megabytes)?;
    let restored = embedded.restore_whole()?;
    report.add(Row {
        name: "restore of a whole deployment into an empty folder".into(),
        figure: mb(restored),
        unit: UNIT,
        limit: Some(("pg_restore".into(), mb(postgres.restore))),
        target: Target::Unset,
        note: format!("{size}; two tenants, ledgers and control data with it"),
    });
    reads(options, report, &embedded, "embedded")?;
    rotation(options, report, &embedded, "embedded")?;
    history::measure(options, report, embedded)?;

    let moved = Side::postgres(options)?;
    backups(options, report, &moved, "PostgreSQL", &size, ("pg_dump -Fc", mb(postgres.dump)), megabytes)?;
    reads(options, report, &moved, "PostgreSQL")?;
    rotation(options, report, &moved, "PostgreSQL")?;
    moved.stop()
}

fn backups(
    options: &Options,
    report: &mut Report,
    side: &Side,
    kept: &str,
    size: &str,
    limit: (&str, f64),
    megabytes: f64,
) -> Result<()> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..turns(options) {
        let repository = side.new_repository();
        first.push(side.backup(repository)?);
        again.push(side.backup(repository)?);
    }
    for (what, mut seconds) in [("first", first), ("with nothing changed since", again)] {
        let seconds = median(&mut seconds);
        report.add(Row {
            name: format!("backup of a deployment that is used, {kept}, {what}"),
            figure: megabytes / seconds.max(1e-9),
            unit: UNIT,
            limit: Some((limit.0.to_owned(), limit.1)),
            target: Target::Unset,
            note: format!("{size}; {seconds:.2} s, sealed twice, with the start of the command and its login"),
        });
    }
    Ok(())
}

/// The rate of point reads alone, and while backups are made one after the other. In turns, so that both have the same
/// neighbours.
fn reads(options: &Options, report: &mut Report, side: &Side, kept: &str) -> Result<()> {
    let (mut alone, mut beside, mut made) = (Vec::new(), Vec::new(), 0usize);
    for _ in 0..turns(options) {
        alone.push(side.reads(options)?);
        let (measured, count) = side.reads_beside(options, |side| side.backup(side.new_repository()).map(drop))?;
        beside.push(measured);
        made += count;
    }
    report.add(Row {
        name: format!("point read while backups are made, {kept}, 64 connections"),
        figure: median(&mut beside),
        unit: "reads/s",
        limit: Some(("the same, nothing else".into(), median(&mut alone))),
        target: BESIDE,
        note: format!("{made} first backups in that time"),
    });
    Ok(())
}

/// A rotation of the tenant's key: how fast cells are sealed again, and what reading is meanwhile.
fn rotation(options: &Options, report: &mut Report, side: &Side, kept: &str) -> Result<()> {
    let began = Instant::now();
    side.rotate()?;
    side.wait_for_rotation()?;
    let cells = (records(options) * CELLS) as f64;
    report.add(Row {
        name: format!("rotation of a tenant's key, {kept}"),
        figure: cells / began.elapsed().as_secs_f64(),
        unit: "cells/s",
        limit: None,
        target: Target::Unset,
        note: "at the rate that the configuration bounds it to; nothing else going on".into(),
    });
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..turns(options) {
        alone.push(side.reads(options)?);
        side.rotate()?;
        beside.push(side.reads(options)?);
        side.wait_for_rotation().context("a rotation does not end")?;
    }
    report.add(Row {
        name: format!("point read while a rotation reseals, {kept}, 64 connections"),
        figure: median(&mut beside),
        unit: "reads/s",
        limit: Some(("the same, nothing else".into(), median(&mut alone))),
        target: BESIDE,
        note: "every read has the keys of both epochs".into(),
    });
    Ok(())
}
