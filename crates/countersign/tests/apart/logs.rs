//! The services' ledgers as logs: all of them witness each other, and one that is rolled back is refused.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign::client::Client;
use countersign::deployment::{Deployment, private_folder};
use countersign::transport::Ask;
use countersign_audit::{Reason, Verdict};
use countersign_model::Service;
use countersign_tlog::{Checkpoint, VerifierKey};
use http::{Method, StatusCode};
use serde_json::Value;
use std::sync::Arc;

use crate::world::{Setup, World};

/// Within which checkpoints come around, on a machine that does other things as well.
const AROUND: Duration = Duration::from_secs(30);

/// One log as anybody finds it by the gateway.
#[derive(Debug, Clone)]
pub struct Found {
    pub name: String,
    pub key: VerifierKey,
    pub witness: VerifierKey,
}

/// The logs of a deployment, without any token.
pub async fn logs(world: &World) -> Result<Vec<Found>> {
    let anybody = Client::new(Arc::clone(&world.transport), None);
    let list = anybody.get("/v1/log").await?;
    let found = |one: &Value| {
        let text = |key: &str| one[key].as_str().map(str::to_owned).context("a text is missing");
        Ok(Found { name: text("name")?, key: text("key")?.parse()?, witness: text("witness")?.parse()? })
    };
    list["logs"].as_array().context("no list")?.iter().map(found).collect()
}

/// A log's newest checkpoint, verified, and which of these witnesses have cosigned it.
pub async fn checkpoint(world: &World, log: &Found, witnesses: &[Found]) -> Result<(Checkpoint, BTreeSet<String>)> {
    let anybody = Client::new(Arc::clone(&world.transport), None);
    let reply = anybody.send(Ask::new(Method::GET, format!("/v1/log/{}/checkpoint", log.name))).await?;
    anyhow::ensure!(reply.status == StatusCode::OK, "no checkpoint: {}", reply.status);
    let text = std::str::from_utf8(&reply.body)?;
    let (checkpoint, note) = Checkpoint::open(text, &log.key)?;
    let by = witnesses.iter().filter(|other| note.verify(&other.witness).is_ok()).map(|other| other.name.clone());
    Ok((checkpoint, by.collect()))
}

/// Waits until a log has a checkpoint of at least so many records that all others have cosigned.
async fn cosigned(world: &World, name: &str, size: u64) -> Result<(Checkpoint, Duration)> {
    let began = Instant::now();
    loop {
        let all = logs(world).await?;
        if let Some(log) = all.iter().find(|log| log.name == name) {
            let (checkpoint, by) = checkpoint(world, log, &all).await?;
            if checkpoint.size >= size && by.len() + 1 >= all.len() && all.len() >= 4 {
                return Ok((checkpoint, began.elapsed()));
            }
        }
        anyhow::ensure!(began.elapsed() < AROUND, "{name} was not cosigned by all others");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn copied(from: &Path, to: &Path) -> std::io::Result<()> {
    private_folder(to).map_err(std::io::Error::other)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copied(&entry.path(), &to)?,
            false => assert!(std::fs::copy(entry.path(), to).is_ok()),
        }
    }
    Ok(())
}

async fn read_customers(world: &World) -> Result<()> {
    let nancy = world.login("nancy@northwind").await?;
    let reply = nancy.send(Ask::new(Method::GET, "/rest/v1/customer?select=company&limit=1")).await?;
    anyhow::ensure!(reply.status == StatusCode::OK);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_cosigns_the_others_checkpoints() -> Result<()> {
    let world = World::begin(Setup::default()).await?;
    read_customers(&world).await?;
    let mut sizes = Vec::new();
    for log in ["authority/first", "gateway/first", "keys/first", "store/first"] {
        let (checkpoint, took) = cosigned(&world, log, 1).await?;
        println!("{log}: {} records cosigned by all others after {took:?}", checkpoint.size);
        assert_eq!(checkpoint.origin, format!("localhost:8443/log/{log}"));
        sizes.push((log, checkpoint.size));
    }
    // It goes on: what is recorded now is covered and cosigned a moment later.
    read_customers(&world).await?;
    for (log, size) in sizes.into_iter().filter(|(log, _)| *log != "keys/first") {
        let (_, took) = cosigned(&world, log, size + 1).await?;
        println!("{log}: a new record is cosigned by all others after {took:?}");
    }
    world.end().await;
    Ok(())
}

/// Whoever has a service's disk puts back an older copy of its ledger: its own files are in order, and every other
/// service knows better.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_rolled_back_is_refused_and_reported() -> Result<()> {
    let mut world = World::begin(Setup::default()).await?;
    cosigned(&world, "store/first", 1).await?;
    let folder: Deployment = world.store.folder.clone();
    let (audit, copy) = (folder.audit(), folder.dir().join("copy"));

    let stopped = world.store.stop().await;
    copied(&audit, &copy)?;
    world.store = stopped.start().await?;
    let kept = world.store.opened.ledger(Service::Store).context("no ledger")?.size();
    let until = Instant::now() + AROUND;
    while read_customers(&world).await.is_err() {
        assert!(Instant::now() < until, "the store did not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (after, _) = cosigned(&world, "store/first", kept + 1).await?;

    let stopped = world.store.stop().await;
    std::fs::remove_dir_all(&audit)?;
    copied(&copy, &audit)?;
    let restarted = Instant::now();
    world.store = stopped.start().await?;
    let reported = loop {
        let newest = world.authority.newest(&[], 200);
        let found: Vec<_> = newest.into_iter().filter(|record| record.body.action == "log_witness").collect();
        let who =
            |name: &str| found.iter().any(|record| record.body.detail.as_deref().is_some_and(|at| at.contains(name)));
        if ["authority/first", "gateway/first", "keys/first"].into_iter().all(who) {
            break found;
        }
        assert!(restarted.elapsed() < AROUND, "a rolled back ledger was not reported by all: {found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    println!(
        "a ledger rolled back from {} records: refused by all others {:?} after its start",
        after.size,
        restarted.elapsed()
    );
    for record in &reported {
        assert_eq!((record.verdict, record.body.reason), (Verdict::Failed, Some(Reason::Forked)));
        assert!(record.body.detail.as_deref().unwrap().starts_with("store/first: its checkpoint of "), "{record:?}");
        assert_eq!(record.service, Service::Authority);
    }
    // Nobody cosigns what it says now.
    let all = logs(&world).await?;
    let store = all.iter().find(|log| log.name == "store/first").context("no log of the store")?;
    let (now, by) = checkpoint(&world, store, &all).await?;
    assert!(now.size < after.size);
    // What it has of the copied checkpoint was good when it was given.
    assert!(by.is_empty() || now.size <= kept, "{by:?}");
    world.end().await;
    Ok(())
}
