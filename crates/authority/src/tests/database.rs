//! Control data in PostgreSQL: one authority at a time, fenced, and nothing that was acknowledged is lost.

mod carry;

use std::time::Duration;

use countersign_facts::{Follower, FollowerParts, nothing_known};
use countersign_guard::FactsCell;
use countersign_model::TokenId;
use countersign_model::control::{Control, Revoke};
use countersign_postgres::{PgError, Scope};
use countersign_services::{Front as _, PublicCall};
use countersign_testkit::DATABASE;

use super::*;
use crate::identity::JoinRefused;
use crate::{Bootstrap, LocalFront, SnapshotError, Snapshots};

/// What no test waits longer for.
const AT_LAST: Duration = Duration::from_secs(60);

fn sql(home: &Home, text: &str) -> String {
    home.server.as_ref().unwrap().sql(DATABASE, text).unwrap()
}

/// As if this lease had ended and its holder not noticed: it was frozen, or cut off. (Others then watch it for ten seconds,
/// which is left out here.)
fn end_lease(home: &Home) {
    sql(home, "UPDATE countersign.lease SET until = '-infinity'");
}

/// Another process takes over. The one before may renew its lease in the very moment in between.
async fn take_over(house: &House) -> Arc<Registry> {
    for _ in 0..20 {
        end_lease(&house.dir);
        match Registry::open(house.dir.parts(&house.clock)) {
            Ok(registry) => return registry,
            Err(RegistryError::InUse) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the lease was never to be had");
}

async fn revoke(registry: &Arc<Registry>, number: u128) -> Result<u64, RegistryError> {
    let tenant = registry.latest().facts.tenant_names[&name("operators")];
    let mut change = registry.begin().await;
    change.revoke_token(tenant, TokenId::from_u128(number), NOW).unwrap();
    change.commit().await
}

fn revoked(registry: &Registry) -> Vec<u128> {
    let mut all: Vec<u128> = registry
        .latest()
        .facts
        .revocations
        .tokens
        .keys()
        .map(|(_, token)| u128::from_be_bytes(*token.as_bytes()))
        .collect();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_replaced_writes_nothing_and_answers_nothing() {
    let house = House::new_in(Home::postgres().await).await;
    let token = house.operator_token().await;
    let front = LocalFront::new(Arc::clone(&house.authority), Arc::clone(&house.guard));
    let call = || PublicCall { method: "GET".into(), ..crate::people::tests::call("/v1/jwks.json", &Value::Null) };
    let snapshots = Snapshots::open(Arc::clone(&house.registry), HERE.into()).await.unwrap();
    assert_eq!(front.public(call()).await.status, 200);
    assert!(house.registry.is_held());
    revoke(&house.registry, 1).await.unwrap();
    let csr = countersign_crypto::x509::WorkloadKey::generate().unwrap().request().unwrap();
    let request = || RequestId::new(house.clock.now(), &SystemEntropy);
    house.authority.inside_certificate(request(), "keys", "here", csr.as_der()).await.unwrap();

    let successor = take_over(&house).await;
    assert_eq!(revoked(&successor), [1]);
    revoke(&successor, 2).await.unwrap();
    // Whether or not it knows by now: what it writes is refused, and it is at an end.
    let refused = revoke(&house.registry, 3).await.unwrap_err();
    assert!(matches!(refused, RegistryError::StoodDown), "{refused}");
    tokio::time::timeout(AT_LAST, house.registry.until_lost()).await.unwrap();
    assert!(!house.registry.is_held());
    assert_eq!(revoked(&house.registry), [1]);
    assert!(matches!(revoke(&house.registry, 4).await, Err(RegistryError::StoodDown)));
    // It decides nothing and answers nothing, and followers hear nothing from it that would keep them fresh.
    let asked = house.ask(&token, Control::WhoAmI).await;
    assert!(matches!(asked, Err(Failed::Refused(Refusal::Stale))), "{asked:?}");
    assert_eq!(front.public(call()).await.status, 503);
    let issued = snapshots.newest().borrow().issued();
    house.clock.advance_ms(1_000);
    assert!(Arc::clone(&snapshots).publish().await.is_err());
    assert_eq!(snapshots.newest().borrow().issued(), issued);

    // Nor does it certify anybody, whom its successor may have removed.
    let certified = house.authority.inside_certificate(request(), "keys", "here", csr.as_der()).await;
    assert!(matches!(certified, Err(JoinRefused::Unavailable)), "{:?}", certified.map(|issued| issued.id));

    assert_eq!(revoked(&successor), [1, 2]);
    drop(successor);
    let last = Registry::open(house.dir.parts(&house.clock)).unwrap();
    assert_eq!(revoked(&last), [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_goes_on_with_the_next_authority_and_never_back() {
    let house = House::new_in(Home::postgres().await).await;
    let admin = house.tenant("northwind").await;
    let first = Snapshots::open(Arc::clone(&house.registry), HERE.into()).await.unwrap();
    let facts = Arc::new(FactsCell::following(nothing_known().unwrap(), 30_000));
    let follower = Follower::new(FollowerParts {
        deployment: countersign_facts::Deployment {
            issuer: HERE.into(),
            trust_domain: house.registry.trust_domain().as_ref().to_owned(),
        },
        service: Service::Store,
        keys: first.keys(),
        facts: Arc::clone(&facts),
        verifier: house.authority.verifier(),
        clock: Arc::clone(&house.clock) as Arc<dyn Clock>,
        prepare: None,
    });
    let follow = |snapshots: &Snapshots| {
        let newest = Arc::clone(&snapshots.newest().borrow());
        follower.apply(&newest.update_since(&follower.index(), Service::Store))
    };
    follow(&first).unwrap();
    let token = house.token("andrew", "northwind", &admin).await;
    house.ask(&token, Control::Revoke(Revoke::Token(TokenId::from_u128(7)))).await.unwrap();
    house.clock.advance_ms(10);
    Arc::clone(&first).publish().await.unwrap();
    follow(&first).unwrap();
    let before = facts.load().facts.epoch;
    assert_eq!(before, house.registry.latest().facts.epoch);

    // The next one has what the one before has told, and signs with the same keys.
    let successor = take_over(&house).await;
    house.clock.advance_ms(10);
    let second = Snapshots::open(Arc::clone(&successor), HERE.into()).await.unwrap();
    assert_eq!(second.keys(), first.keys());
    let applied = follow(&second).unwrap();
    assert_eq!((applied.epoch, applied.compiled), (before, false));
    assert_eq!(facts.load().facts.revocations, house.registry.latest().facts.revocations);
    house.clock.advance_ms(10);
    revoke(&successor, 8).await.unwrap();
    Arc::clone(&second).publish().await.unwrap();
    follow(&second).unwrap();
    assert!(facts.load().facts.epoch > before);

    // The one before, should it still have something to say, is not believed: what it says is older.
    // (It stops by its own clock before its lease ends. Here that was ended from outside, so it has to hear of it.)
    tokio::time::timeout(AT_LAST, house.registry.until_lost()).await.unwrap();
    house.clock.advance_ms(10);
    let old = Arc::clone(&first.newest().borrow());
    assert!(follower.apply(&old.update_since(&follower.index(), Service::Store)).is_err());
    assert!(Arc::clone(&first).publish().await.is_err());
    assert_eq!(facts.load().facts.epoch, successor.latest().facts.epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_in_the_middle_loses_nothing_that_was_answered() {
    let house = House::new_in(Home::postgres().await).await;
    let House { mut dir, registry, clock, authority, ledgers, store, guard, .. } = house;
    drop((authority, ledgers, store, guard));
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let changing = Arc::clone(&registry);
    let writer = tokio::spawn(async move {
        let (mut made, mut refused) = (Vec::new(), Vec::new());
        let mut number = 0;
        while !*stopped.borrow_and_update() {
            number += 1;
            match revoke(&changing, number).await {
                Ok(_) => made.push(number),
                Err(_) => refused.push(number),
            }
        }
        (made, refused)
    });
    for signal in ["QUIT", "INT", "QUIT"] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        dir.server.as_mut().unwrap().restart(signal).unwrap();
    }
    // One that stands still for longer than an answer is waited for.
    tokio::time::sleep(Duration::from_millis(300)).await;
    dir.server.as_ref().unwrap().signal("STOP").unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    dir.server.as_ref().unwrap().signal("CONT").unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.send_replace(true);
    let (made, refused) = writer.await.unwrap();
    println!("{} changes made, {} refused", made.len(), refused.len());
    assert!(made.len() > 3, "{}", made.len());
    // What is in memory is what was answered, and what is in the database.
    assert_eq!(revoked(&registry), made);
    drop(registry);
    let again = Registry::open(dir.parts(&clock)).unwrap();
    assert_eq!(revoked(&again), made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_without_its_database_goes_on_when_that_is_back() {
    let house = House::new_in(Home::postgres().await).await;
    let front = LocalFront::new(Arc::clone(&house.authority), Arc::clone(&house.guard));
    let call = || PublicCall { method: "GET".into(), ..crate::people::tests::call("/v1/jwks.json", &Value::Null) };
    let snapshots = Snapshots::open(Arc::clone(&house.registry), HERE.into()).await.unwrap();
    house.dir.server.as_ref().unwrap().signal("STOP").unwrap();
    let until = std::time::Instant::now() + AT_LAST;
    while house.registry.is_held() {
        assert!(std::time::Instant::now() < until, "it is the authority for ever");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    house.clock.advance_ms(1_000);
    // Nobody knows of another authority, and nobody says that there is one.
    let told = Arc::clone(&snapshots).publish().await.unwrap_err();
    assert!(matches!(told, SnapshotError::NotHeld), "{told}");
    assert!(told.to_string().starts_with("the database does not answer"), "{told}");
    assert_eq!(front.public(call()).await.status, 503);
    house.dir.server.as_ref().unwrap().signal("CONT").unwrap();
    while !house.registry.is_held() {
        assert!(std::time::Instant::now() < until, "it is never the authority again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let issued = snapshots.newest().borrow().issued();
    Arc::clone(&snapshots).publish().await.unwrap();
    assert!(snapshots.newest().borrow().issued() > issued);
    assert_eq!(front.public(call()).await.status, 200);
    revoke(&house.registry, 1).await.unwrap();
    assert_eq!(revoked(&house.registry), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_are_never_read_from_a_server_that_takes_no_writes() {
    let house = House::new_in(Home::postgres().await).await;
    let House { dir, registry, clock, authority, ledgers, store, guard, .. } = house;
    drop((registry, authority, ledgers, store, guard));
    assert!(Registry::open(dir.parts(&clock)).is_ok());
    // As a standby server says of itself that it is.
    sql(&dir, "ALTER SYSTEM SET default_transaction_read_only = on");
    sql(&dir, "SELECT pg_reload_conf()");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let error = Registry::open(dir.parts(&clock)).unwrap_err();
    assert!(matches!(error, RegistryError::Database(PgError::Unreachable)), "{error}");
    sql(&dir, "ALTER SYSTEM RESET default_transaction_read_only");
    sql(&dir, "SELECT pg_reload_conf()");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(Registry::open(dir.parts(&clock)).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_data_are_the_authoritys_alone() {
    let house = House::new_in(Home::postgres().await).await;
    let server = house.dir.server.as_ref().unwrap();
    for service in [Service::Gateway, Service::Keys, Service::Store, Service::Monitor] {
        let pool = Pool::new(server.settings().unwrap(), server.identity(service).unwrap());
        for table in ["control", "control_term", "lease"] {
            let mut transaction = pool.begin(Scope::Service).await.unwrap();
            let seen = transaction.query(&format!("SELECT * FROM {table}").into(), &[]).await;
            assert!(matches!(seen, Err(PgError::Refused { .. })), "{service} {table}");
        }
    }
    // Not even who owns the tables sees a row.
    let owner = Pool::new(server.settings().unwrap(), server.owner().unwrap());
    let mut transaction = owner.begin(Scope::Service).await.unwrap();
    assert!(transaction.query(&"SELECT * FROM control".into(), &[]).await.unwrap().is_empty());
    assert_ne!(sql(&house.dir, "SELECT count(*) FROM countersign.control"), "0");
    // The administrator reads rows in which no word is.
    let all = sql(&house.dir, "SELECT encode(body, 'escape') FROM countersign.control");
    for word in ["northwind", "operator", "roles.cedar", "customer", "permit", "ssh-ed25519"] {
        assert!(!all.contains(word), "{word}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_to_come_by_is_renewed_with_the_wrapping_key_and_certifies_whoever_opens_it() {
    let house = House::new_in(Home::postgres().await).await;
    let path = house.dir.path().join("bootstrap");
    let before = std::fs::read(&path).unwrap();
    FileKms::open(&house.dir.path().join("kms.key")).unwrap().rotate(&SystemEntropy).unwrap();
    let house = house.reopened().await;
    let after = std::fs::read(&path).unwrap();
    assert_ne!(before, after);
    // Nothing needs the old key.
    std::fs::rename(house.dir.path().join("kms.key"), house.dir.path().join("old")).unwrap();
    let kms = kms(house.dir.path()).into();
    let bootstrap = Bootstrap::open(&path, &kms).unwrap();
    assert_eq!(bootstrap.ca_pem(), house.registry.ca_pem());
    std::fs::write(&path, before).unwrap();
    assert!(matches!(Bootstrap::open(&path, &kms), Err(RegistryError::Kms(_))));
    // A machine whose file is of before gets a new one when it is the authority the next time.
    let house = house.reopened().await;
    assert!(Bootstrap::open(&path, &kms).is_ok());
    // So does one that lost it.
    std::fs::remove_file(&path).unwrap();
    let _house = house.reopened().await;
    assert!(Bootstrap::open(&path, &kms).is_ok());
}
