//! The audit ledger as a transparency log: how soon a record is covered by a signed checkpoint, what that costs a read, and
//! how long verifying takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign_audit::verify::{self, Against};
use countersign_audit::{AuditError, AuditSink as _, Ledger};
use countersign_model::clock::SystemClock;
use countersign_model::{Clock as _, TenantId};
use countersign_testkit::{Deployment, Server};
use tokio::sync::watch;

use countersign_crypto::SystemEntropy;

use crate::Options;
use crate::ledger::{open, record};
use crate::load::{Load, request};
use crate::report::{Report, Row, Target};
use crate::stack::POINT_FIELDS;
use crate::timing::median;

/// Records a second that are offered.
const OFFERED: u64 = 20_000;
const CALLERS: u64 = 64;

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("countersign-bench-").tempdir_in(&options.disk)?;
    lag(&folder.path().join("lag"), options, report)?;
    verifying(&folder.path().join("verify"), options, report)?;
    point_read(options, report)
}

/// A size and when it was reached, each time it changed.
async fn watched<T: Clone + Send + Sync>(mut of: watch::Receiver<T>, size: fn(&T) -> u64) -> Vec<(u64, Instant)> {
    let mut seen = Vec::new();
    while of.changed().await.is_ok() {
        let size = size(&of.borrow_and_update());
        seen.push((size, Instant::now()));
    }
    seen
}

fn lag(path: &std::path::Path, options: &Options, report: &mut Report) -> Result<()> {
    let seconds = if options.quick { 3 } else { 15 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ledger = open(path, true)?;
    let log = ledger.log().context("no log")?;
    let (durable, covered, rate) = runtime.block_on(async {
        let durable = tokio::spawn(watched(ledger.follow(), |size| *size));
        let covered = tokio::spawn(watched(log.follow(), |newest| newest.size));
        let began = Instant::now();
        let tenant = TenantId::new(SystemClock.now(), &SystemEntropy);
        let tasks: Vec<_> = (0..CALLERS)
            .map(|_| {
                let ledger = Arc::clone(&ledger);
                tokio::spawn(async move {
                    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 * CALLERS / OFFERED));
                    while began.elapsed() < Duration::from_secs(seconds) {
                        ticks.tick().await;
                        ledger.append(record(tenant)).await?;
                    }
                    Ok::<_, AuditError>(())
                })
            })
            .collect();
        for task in tasks {
            task.await.context("a task")??;
        }
        let rate = ledger.size() as f64 / began.elapsed().as_secs_f64();
        while log.integrated() < ledger.size() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ledger.close().await;
        drop((ledger, log));
        Ok::<_, anyhow::Error>((durable.await?, covered.await?, rate))
    })?;
    // For each record, from the write that made it durable to the checkpoint that covers it.
    let (mut lags, mut before) = (Vec::new(), 0);
    let mut checkpoints = covered.iter().peekable();
    for (size, at) in durable {
        while checkpoints.next_if(|(covered, _)| *covered < size).is_some() {}
        let Some((_, covered)) = checkpoints.peek() else { break };
        let ms = covered.saturating_duration_since(at).as_secs_f64() * 1000.0;
        lags.extend(std::iter::repeat_n(ms, usize::try_from(size - before)?));
        before = size;
    }
    lags.sort_by(f64::total_cmp);
    let at = |part: f64| lags.get((lags.len() as f64 * part) as usize).or(lags.last()).copied().unwrap_or(f64::NAN);
    report.add(Row {
        name: format!("audit log, record to checkpoint at {OFFERED} records/s offered, p99"),
        figure: at(0.99),
        unit: "ms",
        limit: None,
        target: Target::Under(1000.0),
        note: format!("p50 {:.0} ms, longest {:.0} ms; {rate:.0} records/s taken", at(0.5), at(1.0)),
    });
    Ok(())
}

fn verifying(path: &std::path::Path, options: &Options, report: &mut Report) -> Result<()> {
    let records = if options.quick { 20_000 } else { 1_000_000 };
    let ledger = open(path, true)?;
    fill(&ledger, records)?;
    drop(ledger);
    let began = Instant::now();
    let verified = verify::folder(path, &Against::default(), &mut |_, _| {})?;
    let seconds = began.elapsed().as_secs_f64();
    anyhow::ensure!(verified.is_good() && verified.records == records, "{verified:?}");
    report.add(Row {
        name: format!("audit verify, {records} records"),
        figure: records as f64 / seconds,
        unit: "records/s",
        limit: None,
        target: Target::Unset,
        note: format!("{seconds:.1} s, {} MB", verified.bytes / 1_000_000),
    });
    Ok(())
}

fn fill(ledger: &Arc<Ledger>, records: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let tenant = TenantId::new(SystemClock.now(), &SystemEntropy);
    runtime.block_on(async {
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let ledger = Arc::clone(ledger);
                tokio::spawn(async move {
                    for _ in 0..records / 200 {
                        ledger.append(record(tenant)).await?;
                    }
                    Ok::<_, AuditError>(())
                })
            })
            .collect();
        for task in tasks {
            task.await.context("a task")??;
        }
        Ok(())
    })
}

/// The same point read from two deployments, of which one keeps no log.
fn point_read(options: &Options, report: &mut Report) -> Result<()> {
    let with = Deployment::temporary_in(&options.program, &options.disk)?;
    let with_server = with.demo()?;
    let without = Deployment::temporary_in(&options.program, &options.disk)?;
    without.demo()?.stop()?;
    let config = without.dir().join("countersign.toml");
    let text = std::fs::read_to_string(&config)?;
    let (before, audit) = text.split_once("[audit]\n").context("no [audit] in the configuration")?;
    let audit = audit.replacen("\nlog = true\n", "\nlog = false\n", 1);
    anyhow::ensure!(!text.ends_with(&audit), "no log in [audit]");
    let text = format!("{before}[audit]\n{audit}");
    std::fs::write(&config, text)?;
    let without_server = without.serve()?;
    let rounds = if options.quick { 1 } else { 5 };
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for ((deployment, server), rates) in
            [(&without, &without_server), (&with, &with_server)].into_iter().zip(&mut rates)
        {
            rates.push(reads(deployment, server, options)?);
        }
    }
    let [limit, figure] = &mut rates;
    report.add(Row {
        name: "HTTPS point read, 64 connections, with the log".into(),
        figure: median(figure),
        unit: "requests/s",
        limit: Some(("without the log".into(), median(limit))),
        target: Target::RatioAtLeast(0.95),
        note: "in turns; both write the same audit records".into(),
    });
    with_server.stop()?;
    without_server.stop()
}

fn reads(deployment: &Deployment, server: &Server, options: &Options) -> Result<f64> {
    deployment.without_budgets()?;
    let token = deployment.login("andrew@northwind")?;
    let client = server.client()?.with_token(&token);
    let customers = client.get("/rest/v1/customer?select=id")?.rows()?;
    let ids = customers.iter().filter_map(|row| row.get("id")?.as_str());
    let path = |id| format!("/rest/v1/customer?select={POINT_FIELDS}&id=eq.{id}");
    let requests = Arc::new(ids.map(|id| request("GET", &path(id), &token, "", "")).collect());
    let ca = std::fs::read_to_string(deployment.ca_file())?;
    let duration = Duration::from_millis(if options.quick { 300 } else { 3000 });
    let process = server.process_id();
    let load = Load { address: server.address(), ca_pem: &ca, requests, connections: 64, process, duration };
    Ok(load.run()?.rate)
}
