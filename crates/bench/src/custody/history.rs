//! What it costs to keep what records were, and what it is good for: putting a tenant back to a moment.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::side::Side;
use super::{records, turns};
use crate::Options;
use crate::report::{Report, Row, Target};
use crate::timing::median;

/// How long one of several turns is.
pub const fn turn(options: &Options) -> Duration {
    Duration::from_secs(if options.quick { 1 } else { 4 })
}

/// Measures, with the history on and off in turns.
pub fn measure(options: &Options, report: &mut Report, mut side: Side) -> Result<()> {
    let (mut updates, mut inserts) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..turns(options) {
        for (place, (days, (updates, inserts))) in
            [30, 0].into_iter().zip(updates.iter_mut().zip(&mut inserts)).enumerate()
        {
            side.configure("[store]", &format!("history_days = {days}"))?;
            updates.push(side.updates(options, round * 2 + place)?);
            inserts.push(side.inserts(options, round * 2 + place)?);
        }
    }
    for (what, [with, without]) in [("update", &mut updates), ("insert", &mut inserts)] {
        report.add(Row {
            name: format!("HTTPS {what} with the history kept, embedded, 64 connections"),
            figure: median(with),
            unit: "writes/s",
            limit: Some(("the same without".into(), median(without))),
            target: Target::Unset,
            note: "durable, with audit records".into(),
        });
    }
    side.configure("[store]", "history_days = 30")?;
    // The moment is one in which the history was kept.
    std::thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    side.updates(options, 99)?;
    let ago = began.elapsed().as_secs() + 1;
    let seconds = side.restore_tenant(ago)?;
    report.add(Row {
        name: "restore of a tenant to a moment, embedded".into(),
        figure: records(options) as f64 / seconds,
        unit: "records/s",
        limit: None,
        target: Target::Unset,
        note: format!("{seconds:.1} s, in one transaction, while the deployment is used"),
    });
    side.stop()
}
