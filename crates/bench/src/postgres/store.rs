//! The store alone: no gateway, no HTTP, nothing opened, no ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign_crypto::{SystemEntropy, Tag};
use countersign_model::clock::SystemClock;
use countersign_model::{Clock as _, Service, TenantId};
use countersign_postgres::{CORE, Pool, migrate};
use countersign_store::postgres::{PostgresStore, RECORDS};
use countersign_store::{Access, Batch, Scan, Store as _};
use countersign_testkit::{DATABASE, Postgres};

use super::{Bare, CLIENTS, Place, READS, Turns, WRITES, server, turn, turns};
use crate::Options;
use crate::report::Report;

/// As many as Northwind has.
const CUSTOMERS: usize = 91;

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let server = server()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let filled = runtime.block_on(Filled::new(&server))?;
    server.sql(DATABASE, "ANALYZE")?;
    let bare = Bare::new(options, &server, server.authority().ca_pem(), &filled.place)?;
    for (what, kind, target, scripts) in [
        ("point read", Kind::Read, READS, [&bare.read, &bare.read_pipelined]),
        ("insert", Kind::Insert, WRITES, [&bare.write, &bare.write_pipelined]),
    ] {
        let mut all = Turns::default();
        for _ in 0..turns(options) {
            all.ours.push(runtime.block_on(filled.rate(kind, turn(options)))?);
            all.bare.push(bare.run(scripts[0])?);
            all.pipelined.push(bare.run(scripts[1])?);
        }
        let name = format!("PostgreSQL store alone, {what}, {CLIENTS} at once");
        report.add(all.row(name, "a second", target, "no gateway, no ledger"));
    }
    drop(filled);
    // Connections end where they were made.
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Insert,
}

/// A store with a tenant's customers.
#[derive(Clone)]
struct Filled {
    store: Arc<PostgresStore>,
    place: Arc<Place>,
    tenant: TenantId,
    tags: Arc<Vec<Tag>>,
}

impl Filled {
    async fn new(server: &Postgres) -> Result<Self> {
        let place = Arc::new(Place::new()?);
        let owner = Pool::new(server.settings()?, server.owner()?);
        migrate(&owner, &[CORE, RECORDS]).await?;
        let pool = Pool::new(server.settings()?, server.identity(Service::Store)?);
        let store = Arc::new(PostgresStore::new(pool, Some(owner), Arc::new(SystemEntropy)));
        let tenant = TenantId::new(SystemClock.now(), &SystemEntropy);
        store.apply_types(&place.types).await?;
        store.create_tenant(tenant).await?;
        let empty = Self { store, place, tenant, tags: Arc::default() };
        let mut tags = Vec::new();
        for _ in 0..CUSTOMERS {
            tags.push(empty.insert().await?);
        }
        Ok(Self { tags: Arc::new(tags), ..empty })
    }

    async fn read(&self, number: usize) -> Result<()> {
        let tag = self.tags.get(number % CUSTOMERS).context("no customers")?;
        let access = Access::Tags { field: self.place.key, tags: vec![*tag] };
        let scan = Scan { record_type: self.place.customer, access, cells: self.place.read, limit: 2, after: None };
        let rows = self.store.read(self.tenant, &scan).await?;
        rows.first().context("no row").map(drop)
    }

    async fn insert(&self) -> Result<Tag> {
        let (change, key) = self.place.sealed();
        let done = self.store.write(self.tenant, Batch { changes: vec![change], epoch: 1, ..Batch::default() }).await?;
        done.map_err(|rejected| anyhow::anyhow!("{rejected:?}"))?;
        Ok(key)
    }

    /// How often a second so many callers get it done, each one after the other.
    async fn rate(&self, kind: Kind, duration: Duration) -> Result<f64> {
        let done = Arc::new(AtomicU64::new(0));
        let from = Instant::now() + duration / 5;
        let until = from + duration;
        let tasks: Vec<_> = (0..CLIENTS)
            .map(|caller| {
                let (filled, done) = (self.clone(), Arc::clone(&done));
                tokio::spawn(async move {
                    let mut number = caller * 7;
                    while Instant::now() < until {
                        match kind {
                            Kind::Read => filled.read(number).await?,
                            Kind::Insert => drop(filled.insert().await?),
                        }
                        number += 1;
                        if Instant::now() >= from {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await.context("a caller")??;
        }
        Ok(done.load(Ordering::Relaxed) as f64 / duration.as_secs_f64())
    }
}
