//! Callers who go away in the middle of a query, over and over: nobody after them sees their tenant, their setting or
//! their answer, and neither the pool nor the server is left with fewer connections or more.
#![expect(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "figures are to be seen")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_model::{Service, TenantId};
use countersign_postgres::{Pool, Row, Scope, Transaction};
use countersign_testkit::{DATABASE, Postgres};
use tokio::sync::Notify;

/// Fewer than callers, so that each connection is wanted by several at once.
const CONNECTIONS: usize = 4;
const CALLERS: u64 = 12;
/// Rows of each tenant.
const ROWS: i64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_hundreds_of_times() -> Result<()> {
    cancelled(500).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute or more; a step of `cargo xtask test` runs it"]
async fn cancelled_ten_thousand_times() -> Result<()> {
    cancelled(10_000).await
}

/// Whoever hangs up on slow queries can't have the server open more connections than the pool has places: one that was
/// given up keeps its place until the server is done with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_up_queries_count_until_the_server_is_done_with_them() -> Result<()> {
    let server = Postgres::start()?;
    let mut settings = server.settings()?;
    settings.connections = CONNECTIONS;
    let pool = Pool::new(settings, server.identity(Service::Store)?);
    let slow: Arc<str> = "SELECT pg_sleep(1.5)::text".into();
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < Duration::from_secs(4) {
        let given_up = async {
            let mut transaction = pool.begin(Scope::Service).await?;
            transaction.query(&slow, &[]).await
        };
        let _ = tokio::time::timeout(Duration::from_millis(60), given_up).await;
        most = most.max(connections(&server)?);
    }
    ensure!(most <= CONNECTIONS, "{most} connections for {CONNECTIONS} places");
    let begun = tokio::time::timeout(Duration::from_secs(30), pool.begin(Scope::Service)).await;
    begun.context("a place was lost")??.roll_back().await?;
    Ok(())
}

/// What all callers share.
struct World {
    pool: Arc<Pool>,
    /// How often a query is to be cancelled in all.
    wanted: usize,
    cancelled: AtomicUsize,
    answered: AtomicUsize,
    /// Numbers of requests: no two are the same.
    next: AtomicU64,
}

async fn cancelled(wanted: usize) -> Result<()> {
    let server = Arc::new(Postgres::start()?);
    server.sql(
        DATABASE,
        &format!(
            "SET ROLE countersign_schema; SET search_path = countersign;
             CREATE TABLE note (tenant uuid NOT NULL, number bigint NOT NULL, PRIMARY KEY (tenant, number));
             ALTER TABLE note ENABLE ROW LEVEL SECURITY;
             ALTER TABLE note FORCE ROW LEVEL SECURITY;
             CREATE POLICY own ON note USING (tenant = nullif(current_setting('countersign.tenant', true), '')::uuid);
             GRANT SELECT, INSERT, DELETE ON note TO countersign_store;
             RESET ROLE;
             INSERT INTO countersign.note SELECT '{}', number FROM generate_series(1, {ROWS}) number;
             INSERT INTO countersign.note SELECT '{}', number FROM generate_series(1, {ROWS}) number",
            tenant(0).uuid(),
            tenant(1).uuid(),
        ),
    )?;
    let mut settings = server.settings()?;
    settings.connections = CONNECTIONS;
    let pool = Pool::new(settings, server.identity(Service::Store)?);
    let world = Arc::new(World {
        pool: Arc::clone(&pool),
        wanted,
        cancelled: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
        next: AtomicU64::new(1),
    });
    let began = Instant::now();
    let callers: Vec<_> = (0..CALLERS).map(|caller| tokio::spawn(call(Arc::clone(&world), caller))).collect();
    let over = Arc::new(AtomicBool::new(false));
    let watch = {
        let (server, over) = (Arc::clone(&server), Arc::clone(&over));
        tokio::task::spawn_blocking(move || most_connections(&server, &over))
    };
    for caller in callers {
        caller.await??;
    }
    over.store(true, Ordering::Release);
    let most = watch.await??;
    let took = began.elapsed();

    // The pool has all its places, each with a connection that works, and no more than these are at the server.
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let begun = tokio::time::timeout(Duration::from_secs(30), pool.begin(Scope::Tenant(tenant(0)))).await;
        let mut transaction = begun.context("a place was lost")??;
        look(&mut transaction, Some(0), 0).await?;
        held.push(transaction);
    }
    let beyond = tokio::time::timeout(Duration::from_millis(300), pool.begin(Scope::Service)).await;
    assert!(beyond.is_err(), "a place too many");
    settled(&server, CONNECTIONS)?;
    for transaction in held {
        transaction.roll_back().await?;
    }
    drop(pool);
    drop(world.pool.clone());
    println!(
        "{} queries cancelled, {} answered between them, in {took:?}; at most {most} connections at the server for \
         {CONNECTIONS} places",
        world.cancelled.load(Ordering::Relaxed),
        world.answered.load(Ordering::Relaxed),
    );
    // A connection that is being closed is still there for a moment.
    ensure!(most <= 2 * CONNECTIONS, "{most} connections for {CONNECTIONS} places");
    Ok(())
}

/// One caller: asks for one tenant, for the other, for none, and often goes away before the answer.
async fn call(world: Arc<World>, caller: u64) -> Result<()> {
    let mut dice = caller.wrapping_add(1);
    while world.cancelled.load(Ordering::Relaxed) < world.wanted {
        let number = world.next.fetch_add(1, Ordering::Relaxed);
        let whose = match roll(&mut dice, 5) {
            0 => None,
            even if even % 2 == 0 => Some(0),
            _ => Some(1),
        };
        let kind = roll(&mut dice, 4);
        let sent = Arc::new(Notify::new());
        let asking = ask(Arc::clone(&world), whose, number, kind, Arc::clone(&sent));
        if roll(&mut dice, 4) == 0 {
            asking.await?;
            world.answered.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        // Between at once and about as long as it takes; waiting for a place does not count.
        let patience = roll(&mut dice, 30);
        let going = async {
            sent.notified().await;
            for _ in 0..patience.min(20) {
                tokio::task::yield_now().await;
            }
            if patience > 20 {
                tokio::time::sleep(Duration::from_micros(patience.saturating_mul(50))).await;
            }
        };
        tokio::select! {
            biased;
            done = asking => {
                done?;
                world.answered.fetch_add(1, Ordering::Relaxed);
            }
            () = going => {
                world.cancelled.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// One request in one of the ways in which a transaction is used.
async fn ask(world: Arc<World>, whose: Option<u64>, number: u64, kind: u64, sent: Arc<Notify>) -> Result<()> {
    let scope = whose.map_or(Scope::Service, |whose| Scope::Tenant(tenant(whose)));
    let mut transaction = world.pool.begin(scope).await?;
    sent.notify_one();
    let text = question();
    let asked = i64::try_from(number)?;
    match kind {
        // One round trip.
        0 => check(&transaction.read(&text, &[&asked]).await?, whose, number),
        // One that takes longer than anybody waits.
        1 => {
            let slow: Arc<str> = "SELECT pg_sleep(0.002)::text".into();
            transaction.query(&slow, &[]).await?;
            look(&mut transaction, whose, number).await?;
            Ok(transaction.roll_back().await?)
        }
        // A change that is taken back, or left open by whoever goes away.
        2 => {
            let Some(own) = whose else { return Ok(transaction.roll_back().await?) };
            let change: Arc<str> = "INSERT INTO note VALUES ($1::text::uuid, $2)".into();
            let fresh = asked.saturating_add(1_000_000);
            transaction.execute(&change, &[&tenant(own).uuid().to_string(), &fresh]).await?;
            Ok(transaction.roll_back().await?)
        }
        _ => {
            look(&mut transaction, whose, number).await?;
            look(&mut transaction, whose, number.wrapping_mul(3) >> 1).await?;
            transaction.commit().await?;
            Ok(())
        }
    }
}

/// The request's own number comes back with every row, with the setting that it was made under.
fn question() -> Arc<str> {
    "SELECT $1::bigint, coalesce(current_setting('countersign.tenant', true), ''), tenant::text, number \
     FROM note RIGHT JOIN (VALUES (1)) one ON true"
        .into()
}

async fn look(transaction: &mut Transaction, whose: Option<u64>, number: u64) -> Result<()> {
    let rows = transaction.query(&question(), &[&i64::try_from(number)?]).await?;
    check(&rows, whose, number)
}

fn check(rows: &[Row], whose: Option<u64>, number: u64) -> Result<()> {
    let own = whose.map(|whose| tenant(whose).uuid().to_string());
    let expected = if own.is_some() { usize::try_from(ROWS)? } else { 1 };
    ensure!(rows.len() == expected, "request {number}: {} rows, not {expected}", rows.len());
    for row in rows {
        let asked: i64 = row.try_get(0)?;
        ensure!(asked == i64::try_from(number)?, "request {number} was given the answer to {asked}");
        let setting: String = row.try_get(1)?;
        ensure!(setting == own.clone().unwrap_or_default(), "request {number} saw the setting {setting:?}");
        let tenant: Option<String> = row.try_get(2)?;
        ensure!(tenant == own, "request {number} saw a row of {tenant:?}");
        let row_number: Option<i64> = row.try_get(3)?;
        ensure!(row_number.is_none_or(|found| found <= ROWS), "request {number} saw a change that nobody committed");
    }
    Ok(())
}

/// The most connections that the server had at any time until it is over.
fn most_connections(server: &Postgres, over: &AtomicBool) -> Result<usize> {
    let mut most = 0;
    while !over.load(Ordering::Acquire) {
        most = most.max(connections(server)?);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(most)
}

/// In the end there are exactly so many.
fn settled(server: &Postgres, expected: usize) -> Result<()> {
    let began = Instant::now();
    loop {
        let now = connections(server)?;
        if now == expected {
            return Ok(());
        }
        ensure!(began.elapsed() < Duration::from_secs(30), "{now} connections at the server, not {expected}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn connections(server: &Postgres) -> Result<usize> {
    let counted =
        server.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'countersign_store'")?;
    Ok(counted.parse()?)
}

fn tenant(number: u64) -> TenantId {
    TenantId::from_u128((0x7 << 76) | u128::from(number.saturating_add(1)))
}

/// A number below `sides`, the same sequence each time.
fn roll(dice: &mut u64, sides: u64) -> u64 {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*dice ^ (*dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16) % sides.max(1)
}
