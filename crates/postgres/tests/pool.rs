//! What one transaction leaves to the next on the same connection: nothing. And connections that grow old.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use countersign_crypto::x509::WorkloadKey;
use countersign_model::Service;
use countersign_postgres::{Outcome, PgError, Pool, Scope, Step};
use countersign_testkit::{DATABASE, Postgres};
use support::{ONE, TWO, note, noted, pool, quick, server, value};

const SETTING: &str = "SELECT coalesce(current_setting('countersign.tenant', true), '')";
const SEEN: &str = "SELECT count(*)::text FROM note";

async fn nothing_is_left(pool: &Arc<Pool>, after: &str) -> Result<()> {
    ensure!(value(pool, Scope::Service, SETTING).await?.is_empty(), "a setting was left after {after}");
    ensure!(value(pool, Scope::Service, SEEN).await? == "0", "rows without a tenant after {after}");
    ensure!(value(pool, Scope::Tenant(TWO), SEEN).await? == "0", "another tenant's rows after {after}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_never_outlives_its_transaction() -> Result<()> {
    let server = server().await?;
    let pool = pool(&server, quick(&server, server.port(), 1)?)?;
    note(&pool, ONE, 1).await?.commit().await?;
    nothing_is_left(&pool, "a commit").await?;
    ensure!(value(&pool, Scope::Tenant(ONE), SEEN).await? == "1");
    nothing_is_left(&pool, "a read").await?;
    note(&pool, ONE, 2).await?.roll_back().await?;
    nothing_is_left(&pool, "a rollback").await?;

    let mut failed = pool.begin(Scope::Tenant(ONE)).await?;
    let state = failed.query(&"SELECT 1/0".into(), &[]).await.err();
    assert_eq!(state, Some(PgError::Refused { state: "22012".into() }));
    assert_eq!(failed.commit().await, Ok(Outcome::RolledBack), "a failed transaction is not committed");
    nothing_is_left(&pool, "an error").await?;
    let again = pool.begin(Scope::Tenant(ONE)).await?.read(&"SELECT 1/0".into(), &[]).await;
    ensure!(again.is_err());
    nothing_is_left(&pool, "an error in a read").await?;
    let twin = note(&pool, ONE, 1).await;
    ensure!(twin.is_err());
    nothing_is_left(&pool, "a unique key that is taken").await?;

    drop(note(&pool, ONE, 3).await?);
    nothing_is_left(&pool, "a transaction that was dropped").await?;
    let panicking = Arc::clone(&pool);
    let panicked = tokio::spawn(async move {
        let _open = note(&panicking, ONE, 4).await;
        panic!("on purpose");
    });
    ensure!(panicked.await.is_err());
    nothing_is_left(&pool, "a panic").await?;

    // Hung up in the middle of a query, and then it commits all the same.
    let mut open = note(&pool, ONE, 5).await?;
    let slow = tokio::time::timeout(Duration::from_millis(50), async {
        open.query(&"SELECT 1 / length(pg_sleep(0.3)::text)".into(), &[]).await
    });
    ensure!(slow.await.is_err());
    assert_eq!(open.commit().await, Err(PgError::Lost), "nobody knows what became of the query");
    nothing_is_left(&pool, "a query that was given up").await?;
    for number in 2..=5 {
        assert_eq!(noted(&server, number)?, 0);
    }

    // What is set by hand for the session is gone with the tenant's next transaction, as each says who it is.
    let mut by_hand = pool.begin(Scope::Tenant(ONE)).await?;
    let step = Step {
        text: "SELECT set_config('countersign.tenant', $1, true)".into(),
        params: vec![Box::new(TWO.to_string())],
    };
    by_hand.together(&[step]).await?;
    by_hand.commit().await?;
    nothing_is_left(&pool, "a setting made by hand").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_keeps_so_many_statements() -> Result<()> {
    let server = server().await?;
    let pool = pool(&server, quick(&server, server.port(), 1)?)?;
    for number in 0..600 {
        ensure!(value(&pool, Scope::Service, &format!("SELECT '{number}'")).await? == number.to_string());
    }
    let kept: usize =
        value(&pool, Scope::Service, "SELECT count(*)::text FROM pg_prepared_statements").await?.parse()?;
    ensure!((400..=512).contains(&kept), "{kept}");
    Ok(())
}

/// Tables that change under prepared statements: the statement is made anew on another connection.
#[tokio::test(flavor = "multi_thread")]
async fn statements_outlive_changes_of_their_tables() -> Result<()> {
    let server = server().await?;
    let pool = pool(&server, quick(&server, server.port(), 1)?)?;
    let read = async || pool.begin(Scope::Tenant(ONE)).await?.read(&"SELECT * FROM note".into(), &[]).await;
    note(&pool, ONE, 1).await?.commit().await?;
    assert_eq!(pool.patiently(read).await?.first().map(|row| row.len()), Some(2));
    server.sql(DATABASE, "ALTER TABLE countersign.note ADD COLUMN more bytea")?;
    assert_eq!(read().await.err(), Some(PgError::Lost));
    assert_eq!(pool.patiently(read).await?.first().map(|row| row.len()), Some(3));
    Ok(())
}

/// A certificate is renewed, connections grow old: requests go on all the time and none fails.
#[tokio::test]
async fn connections_are_replaced_without_a_failed_request() -> Result<()> {
    let server = server().await?;
    let identity = server.identity(Service::Store)?;
    let slot = Arc::clone(&identity.slot);
    let pool = Pool::new(quick(&server, server.port(), 3)?, identity);
    let serials = async || value(&pool, Scope::Service, CERTIFICATE).await;
    let first = serials().await?;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    // Time moves between requests: within one it would be too long for it.
    let turn = Arc::new(tokio::sync::RwLock::new(()));
    let load: Vec<_> = (0..6)
        .map(|_| {
            let (pool, stop, asked, turn) =
                (Arc::clone(&pool), Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&turn));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let _turn = turn.read().await;
                    value(&pool, Scope::Tenant(ONE), SEEN).await?;
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    renew(&server, &slot)?;
    // Thirteen minutes, in steps in which connections are used.
    for _ in 0..13 {
        let between = turn.write().await;
        // What goes on beside requests.
        tokio::time::sleep(Duration::from_millis(50)).await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(60)).await;
        tokio::time::resume();
        drop(between);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let distinct = "SELECT count(DISTINCT client_serial) FROM pg_stat_ssl WHERE client_serial IS NOT NULL";
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if server.sql(DATABASE, distinct)? == "1" {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for one in load {
        one.await??;
    }
    let second = serials().await?;
    ensure!(first != second, "the old certificate is still in use");
    let all = server.sql(DATABASE, distinct)?;
    assert_eq!(all, "1", "no connection with the old one is left");
    println!("{} requests, none failed", asked.load(Ordering::Relaxed));
    Ok(())
}

const CERTIFICATE: &str = "SELECT client_serial::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

fn renew(server: &Postgres, slot: &countersign_crypto::tls::CertificateSlot) -> Result<()> {
    use countersign_crypto::spiffe::SpiffeId;
    use countersign_model::Clock as _;
    let key = WorkloadKey::generate()?;
    let id = SpiffeId::new("test.internal", Service::Store.as_str(), "1")?;
    let now = countersign_model::clock::SystemClock.now();
    let issued = server.authority().issue_workload(&key.request()?, &id, &[], now, 3_600_000)?;
    slot.replace(&key.with_chain(issued.chain_der)?)?;
    Ok(())
}
