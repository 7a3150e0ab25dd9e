//! Connections that break before, during and after a commit: what is said of it is never wrong.

mod support;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use countersign_postgres::{Outcome, PgError, Pool, Scope};
use countersign_testkit::{DATABASE, Proxy};
use support::{ONE, note, noted, pool, quick, server, value};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_unknown() -> Result<()> {
    let server = server().await?;
    let proxy = Proxy::to(server.port())?;
    let pool = pool(&server, quick(&server, proxy.port(), 2)?)?;
    // The answer is swallowed: it was made.
    let transaction = note(&pool, ONE, 1).await?;
    proxy.mute(true);
    assert_eq!(transaction.commit().await, Err(PgError::Unknown));
    proxy.mute(false);
    assert_eq!(noted(&server, 1)?, 1);
    // The connection goes while the commit is under way.
    let transaction = note(&pool, ONE, 2).await?;
    proxy.mute(true);
    let (said, ()) = tokio::join!(transaction.commit(), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        proxy.cut();
    });
    assert_eq!(said, Err(PgError::Unknown));
    proxy.mute(false);
    // The pool goes on with another connection.
    assert_eq!(note(&pool, ONE, 3).await?.commit().await, Ok(Outcome::Committed));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_before_a_commit_was_not_done() -> Result<()> {
    let server = server().await?;
    let proxy = Proxy::to(server.port())?;
    let pool = pool(&server, quick(&server, proxy.port(), 2)?)?;
    let transaction = note(&pool, ONE, 1).await?;
    proxy.cut();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(transaction.commit().await, Err(PgError::Lost), "it was seen to be gone, so nothing was asked for");
    assert_eq!(noted(&server, 1)?, 0);
    // A statement that is not answered.
    let mut transaction = note(&pool, ONE, 2).await?;
    proxy.mute(true);
    assert_eq!(transaction.query(&"SELECT 1".into(), &[]).await.err(), Some(PgError::Lost));
    proxy.mute(false);
    // Whatever the server says when it is asked to take it back.
    ensure!(matches!(transaction.commit().await, Ok(Outcome::RolledBack) | Err(PgError::Lost)));
    assert_eq!(noted(&server, 2)?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_the_administrator_ends_is_no_certainty() -> Result<()> {
    let server = server().await?;
    let pool = pool(&server, quick(&server, server.port(), 4)?)?;
    for number in 0..6 {
        let transaction = note(&pool, ONE, number).await?;
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'countersign_store'";
        // Before, and at about the same time.
        if number % 2 == 0 {
            server.sql(DATABASE, end)?;
        }
        let said = tokio::spawn(transaction.commit());
        if number % 2 == 1 {
            server.sql(DATABASE, end)?;
        }
        match said.await? {
            Ok(Outcome::Committed) => ensure!(noted(&server, number)? == 1),
            Ok(Outcome::RolledBack) | Err(PgError::Lost) => ensure!(noted(&server, number)? == 0),
            Err(error) => assert_eq!(error, PgError::Unknown),
        }
    }
    // Reads are simply done again.
    let ended = pool.patiently(async || pool.begin(Scope::Service).await?.read(&"SELECT 1".into(), &[]).await).await;
    assert_eq!(ended.map(|rows| rows.len()), Ok(1));
    Ok(())
}

/// A commit that the standbys have not confirmed is unknown, and who has no standbys that confirm is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_standbys_a_server_is_not_believed() -> Result<()> {
    let server = server().await?;
    let pool = pool(&server, quick(&server, server.port(), 4)?)?;
    let reader = support::pool(&server, quick(&server, server.port(), 1)?)?;
    assert_eq!(value(&reader, Scope::Service, "SELECT 'before'").await?, "before");
    let transaction = note(&pool, ONE, 1).await?;
    server.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")?;
    server.sql("postgres", "SELECT pg_reload_conf()")?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let said = tokio::spawn(transaction.commit());
    // The administrator, or a timeout, ends its waiting: it is committed here alone.
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    while !said.is_finished() {
        server.sql(DATABASE, cancel)?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(said.await?, Err(PgError::Unknown));

    tokio::time::sleep(Duration::from_secs(3)).await;
    let began = Instant::now();
    let refused = reader.begin(Scope::Tenant(ONE)).await;
    assert_eq!(refused.err(), Some(PgError::Unreachable), "it could be an old primary");
    println!("not believed after {:?}", began.elapsed());
    // It comes back.
    server.sql("postgres", "ALTER SYSTEM RESET synchronous_standby_names")?;
    server.sql("postgres", "SELECT pg_reload_conf()")?;
    let read = reader.patiently(async || reader.begin(Scope::Service).await?.read(&"SELECT 1".into(), &[]).await).await;
    assert_eq!(read.map(|rows| rows.len()), Ok(1));
    Ok(())
}

/// A machine that accepts connections and says nothing does not keep anybody from the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_is_passed_over() -> Result<()> {
    let server = server().await?;
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut settings = quick(&server, server.port(), 4)?;
    settings.hosts.insert(0, ("127.0.0.1".to_owned(), silent.local_addr()?.port()));
    settings.connect_timeout = Duration::from_millis(700);
    let pool = pool(&server, settings)?;
    assert_eq!(value(&pool, Scope::Service, "SELECT 'next'").await?, "next");
    // From now on the one that answered is asked first.
    pool.renew();
    let began = Instant::now();
    assert_eq!(value(&pool, Scope::Service, "SELECT 'again'").await?, "again");
    ensure!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_connection_ends() -> Result<()> {
    let server = server().await?;
    let mut settings = quick(&server, server.port(), 1)?;
    settings.wait_max = Duration::from_millis(100);
    let pool: std::sync::Arc<Pool> = pool(&server, settings)?;
    let held = pool.begin(Scope::Service).await?;
    assert_eq!(pool.begin(Scope::Service).await.err(), Some(PgError::TimedOut));
    held.roll_back().await?;
    pool.begin(Scope::Service).await?.roll_back().await?;
    Ok(())
}
