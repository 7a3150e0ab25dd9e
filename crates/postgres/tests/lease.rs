//! Leases on a real server: one holder at a time, terms that grow, an end by one's own clock.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use countersign_model::Service;
use countersign_postgres::{CORE, Lease, PgError, Pool, Scope, Settings, migrate};
use countersign_testkit::Postgres;
use tokio::time::Instant;

async fn server() -> Result<Postgres> {
    let server = Postgres::start()?;
    migrate(&Pool::new(server.settings()?, server.owner()?), &[CORE]).await?;
    Ok(server)
}

fn lease(server: &Postgres, holder: u128, life: Duration) -> Result<Lease> {
    let pool = Pool::new(server.settings()?, server.identity(Service::Authority)?);
    Ok(Lease::new(pool, "test".to_owned(), holder, life))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_holder_at_a_time_and_terms_grow() -> Result<()> {
    let server = server().await?;
    let life = Duration::from_secs(4);
    let (one, other) = (lease(&server, 1, life)?, lease(&server, 2, life)?);
    let asked = Instant::now();
    let first = one.hold().await?;
    // The holder's own end is earlier than the database's.
    assert!(first.until < asked + life);
    assert_eq!(other.hold().await, Err(PgError::InUse));
    // Renewing is no new term.
    let again = one.hold().await?;
    assert_eq!(again.term, first.term);
    assert!(again.until >= first.until);
    assert_eq!(other.hold().await, Err(PgError::InUse));

    // Whoever lets go of it need not be waited for.
    one.let_go().await?;
    let second = other.hold().await?;
    assert!(second.term > first.term);
    assert_eq!(one.hold().await, Err(PgError::InUse));
    // Who lets go of what is another's changes nothing.
    one.let_go().await?;
    assert_eq!(one.hold().await, Err(PgError::InUse));

    // One that is not renewed ends.
    let third = loop {
        match one.hold().await {
            Ok(leased) => break leased,
            Err(PgError::InUse) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error.into()),
        }
    };
    assert!(third.term > second.term);
    // And not before its holder has stopped acting on it.
    assert!(Instant::now() > second.until);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_want_it_one_has_it() -> Result<()> {
    let server = Arc::new(server().await?);
    let mut wanting = tokio::task::JoinSet::new();
    for holder in 0..8u128 {
        let server = Arc::clone(&server);
        wanting.spawn(async move {
            let lease = lease(&server, holder, Duration::from_secs(600))?;
            anyhow::Ok(lease.hold().await.is_ok())
        });
    }
    let mut had = 0;
    for held in wanting.join_all().await {
        had += u32::from(held?);
    }
    assert_eq!(had, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_renewed_and_ends_by_its_own_clock() -> Result<()> {
    let mut server = server().await?;
    let (life, every) = (Duration::from_secs(4), Duration::from_millis(500));
    let held = lease(&server, 1, life)?.keep(every).await?;
    let other = lease(&server, 2, life)?;
    assert!(held.is_held());
    // For longer than it would last without being renewed.
    let until = Instant::now() + life + Duration::from_secs(1);
    while Instant::now() < until {
        assert!(held.is_held());
        assert_eq!(other.hold().await, Err(PgError::InUse));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Nobody answers: it is over before it could be anybody else's.
    let stopped = Instant::now();
    server.signal("STOP")?;
    while held.is_held() {
        assert!(stopped.elapsed() < life, "a holder went on for as long as its lease lasts in the database");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!*held.lost().borrow());
    // Nobody else had it, so it comes back, under the same term.
    server.signal("CONT")?;
    let term = held.term();
    let resumed = Instant::now();
    while !held.is_held() {
        assert!(resumed.elapsed() < Duration::from_secs(60), "it did not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(held.term(), term);
    // A restart of the server is no reason to lose it.
    server.restart("INT")?;
    tokio::time::sleep(life).await;
    assert!(held.is_held());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_learns_of_another_holder_never_acts_again() -> Result<()> {
    let server = server().await?;
    let life = Duration::from_secs(2);
    let held = lease(&server, 1, life)?.keep(Duration::from_millis(300)).await?;
    // As if this process had been frozen while another took it.
    let taken = "UPDATE countersign.lease SET holder = '00000000-0000-0000-0000-000000000002', term = term + 1, \
                 until = clock_timestamp() + interval '1 minute'";
    server.sql(countersign_testkit::DATABASE, taken)?;
    let mut lost = held.lost();
    tokio::time::timeout(Duration::from_secs(60), lost.wait_for(|lost| *lost)).await??;
    assert!(!held.is_held());
    tokio::time::sleep(life).await;
    assert!(!held.is_held());

    // As if another had had it and let it go: the term says so.
    let server = self::server().await?;
    let held = lease(&server, 1, life)?.keep(Duration::from_millis(300)).await?;
    let taken = "UPDATE countersign.lease SET holder = '00000000-0000-0000-0000-000000000002', term = term + 1, \
                 until = '-infinity'";
    server.sql(countersign_testkit::DATABASE, taken)?;
    let mut lost = held.lost();
    tokio::time::timeout(Duration::from_secs(60), lost.wait_for(|lost| *lost)).await??;
    assert!(!held.is_held());
    Ok(())
}

/// What the clock of a server says decides nothing: that of one which takes another's place may be wrong.
#[tokio::test(flavor = "multi_thread")]
async fn no_servers_clock_ends_a_lease() -> Result<()> {
    let server = server().await?;
    let life = Duration::from_secs(3);
    let held = lease(&server, 1, life)?.keep(Duration::from_millis(500)).await?;
    let other = lease(&server, 2, life)?;
    let began = Instant::now();
    while began.elapsed() < life * 2 {
        // A clock that is far ahead, as far as anybody sees.
        let ahead =
            "UPDATE countersign.lease SET until = until - interval '1 hour' WHERE until > now() - interval '1 minute'";
        server.sql(countersign_testkit::DATABASE, ahead)?;
        assert_eq!(other.hold().await, Err(PgError::InUse));
        assert!(held.is_held());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Nor keeps it up: what its holder left behind is had once it was watched for its life.
    drop(held);
    let years = "UPDATE countersign.lease SET until = until + interval '10 years'";
    server.sql(countersign_testkit::DATABASE, years)?;
    let watched = Instant::now();
    while let Err(error) = other.hold().await {
        assert_eq!(error, PgError::InUse);
        assert!(watched.elapsed() < Duration::from_secs(60), "it was never to be had");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(watched.elapsed() >= life);
    // Who has not watched it has to.
    drop(other);
    let third = lease(&server, 3, life)?;
    assert_eq!(third.hold().await, Err(PgError::InUse));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_let_go_while_it_is_kept() -> Result<()> {
    let server = server().await?;
    let held = lease(&server, 1, Duration::from_secs(600))?.keep(Duration::from_millis(100)).await?;
    held.let_go().await?;
    assert!(!held.is_held());
    assert!(lease(&server, 2, Duration::from_secs(600))?.hold().await?.term > held.term());
    Ok(())
}

/// A lease is the authority's alone.
#[tokio::test(flavor = "multi_thread")]
async fn no_other_service_can_take_it() -> Result<()> {
    let server = server().await?;
    for service in [Service::Gateway, Service::Keys, Service::Store, Service::Monitor] {
        let settings: Settings = server.settings()?;
        let pool = Pool::new(settings, server.identity(service)?);
        let lease = Lease::new(Arc::clone(&pool), "authority".to_owned(), 3, Duration::from_secs(10));
        assert!(matches!(lease.hold().await, Err(PgError::Refused { .. })), "{service}");
        let mut reading = pool.begin(Scope::Service).await?;
        assert!(reading.query(&"SELECT * FROM lease".into(), &[]).await.is_err(), "{service}");
    }
    Ok(())
}
