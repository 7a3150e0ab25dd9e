//! The file: opens equal, opens only with its key, names damage, holds no name.

use std::sync::Arc;

use countersign_crypto::SystemEntropy;
use countersign_keys::{FileKms, KmsProvider as _};
use countersign_model::clock::ManualClock;
use countersign_model::control::{Control, Revoke};
use countersign_model::{RecordId, TokenId};

use super::{Home, House, NOW, db, files, kms, name, open_error, registry_parts};
use crate::{Registry, RegistryError, RegistryParts};

/// The same tests wherever control data are kept.
macro_rules! wherever {
    ($($name:ident)*) => {
        mod in_a_file {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Home::file()).await;
            })*
        }

        mod in_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Home::postgres().await).await;
            })*
        }
    };
}

wherever! {
    what_is_opened_again_is_what_was_closed
    a_deployment_is_made_once
    another_key_service_opens_nothing
    a_change_that_cannot_be_written_is_not_made
    changes_at_the_same_time_follow_one_another
    what_is_durable_is_published_even_if_nobody_waits
}

/// Facts without what is an `Arc` around the same.
pub(super) fn shape(registry: &Registry) -> String {
    let facts = &registry.latest().facts;
    let mut users: Vec<_> = facts.users.iter().map(|(id, user)| (id, user.name.clone(), user.roles.clone())).collect();
    users.sort();
    let mut tenants: Vec<_> = facts.tenants.iter().collect();
    tenants.sort_by_key(|(id, _)| **id);
    // A map's order is its own.
    fn sorted<K: std::fmt::Debug, V: std::fmt::Debug>(map: &std::collections::HashMap<K, V>) -> Vec<String> {
        let mut lines: Vec<String> = map.iter().map(|entry| format!("{entry:?}")).collect();
        lines.sort();
        lines
    }
    let revoked = &facts.revocations;
    format!(
        "{} {} {:?} {:?} {tenants:?} {users:?} {:?} {:?} {:?}",
        facts.epoch,
        facts.policy_epoch,
        facts.types,
        facts.policies,
        sorted(&revoked.tokens),
        sorted(&revoked.sessions),
        sorted(&revoked.users)
    )
}

async fn what_is_opened_again_is_what_was_closed(home: Home) {
    let house = House::new_in(home).await;
    let admin = house.tenant("northwind").await;
    let nancy = house.person("northwind", &admin, "nancy", "accountant").await;
    let token = house.token("nancy", "northwind", &nancy).await;
    let admin_token = house.token("andrew", "northwind", &admin).await;
    house.ask(&admin_token, Control::Revoke(Revoke::Token(TokenId::from_u128(7)))).await.unwrap();
    let (before, text) = (shape(&house.registry), house.registry.types_text());
    let (users, ca) = (house.registry.latest().facts.users.clone(), house.registry.ca_pem().to_owned());

    let house = house.reopened().await;
    assert_eq!(shape(&house.registry), before);
    assert_eq!(house.registry.types_text(), text);
    assert_eq!(house.registry.latest().facts.users, users);
    assert_eq!(house.registry.ca_pem(), ca);
    // Tokens from before are good, people log in with their keys, and audit records open.
    assert!(house.ask(&token, Control::WhoAmI).await.is_ok());
    assert!(house.login("nancy", "northwind", &nancy).await.is_ok());
    let page = house.ask(&admin_token, Control::AuditRead(Default::default())).await.unwrap();
    assert!(page["records"].as_array().unwrap().len() > 3);
    // The store knows the types without anybody applying them again.
    let query = countersign_model::control::AuditQuery {
        record: Some(("customer".into(), RecordId::from_u128(1).to_string())),
        ..Default::default()
    };
    assert!(house.ask(&admin_token, Control::AuditRead(query)).await.is_ok());
}

async fn a_deployment_is_made_once(home: Home) {
    let is_file = home.server.is_none();
    let house = House::new_in(home).await;
    // It is opened by one process.
    let error = Registry::open(house.dir.parts(&house.clock)).unwrap_err();
    assert!(matches!(error, RegistryError::InUse), "{error}");
    let again = Registry::create(house.dir.parts(&house.clock), &house.operator.public().unwrap()).unwrap_err();
    assert!(if is_file { matches!(again, RegistryError::Exists(_)) } else { matches!(again, RegistryError::InUse) });
    let operator = house.operator.public().unwrap();
    let (dir, clock) = close(house).await;
    let again = Registry::create(dir.parts(&clock), &operator).unwrap_err();
    assert!(matches!(again, RegistryError::Exists(_) | RegistryError::NotEmpty), "{again}");
    assert!(Registry::open(dir.parts(&clock)).is_ok());
}

#[tokio::test]
async fn a_half_made_file_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("control.db.unfinished"), b"half").unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let key = super::new_key().public().unwrap();
    let registry = Registry::create(registry_parts(dir.path(), &clock, kms(dir.path())), &key).unwrap();
    assert_eq!(registry.latest().facts.users.len(), 1);
    assert!(!dir.path().join("control.db.unfinished").exists());
}

/// What wraps the deployment's key is as old as its version, not as what is wrapped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrapping_key_is_as_old_as_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let key = super::new_key().public().unwrap();
    let registry = Registry::create(registry_parts(dir.path(), &clock, kms(dir.path())), &key).unwrap();
    let rotate = || FileKms::open(&dir.path().join("kms.key")).unwrap().rotate(&SystemEntropy).unwrap();
    assert_eq!(registry.wrapping_since(), None, "since the beginning");
    clock.advance_ms(1_000);
    registry.rewrap_own().await.unwrap();
    assert_eq!(registry.wrapping_since(), None, "the same version");
    rotate();
    registry.rewrap_own().await.unwrap();
    let second = Some(NOW.plus_ms(1_000));
    assert_eq!(registry.wrapping_since(), second);
    clock.advance_ms(1_000);
    registry.rewrap_own().await.unwrap();
    drop(registry);
    let open = || Registry::open(registry_parts(dir.path(), &clock, kms(dir.path()))).unwrap();
    assert_eq!(open().wrapping_since(), second);
    rotate();
    for _ in 0..2 {
        assert_eq!(open().wrapping_since(), Some(NOW.plus_ms(2_000)), "with the start");
    }
}

async fn another_key_service_opens_nothing(home: Home) {
    let house = House::new_in(home).await;
    let (dir, clock) = close(house).await;
    let other = tempfile::tempdir().unwrap();
    let stranger = FileKms::create(&other.path().join("kms.key"), &SystemEntropy).unwrap();
    let parts = RegistryParts { kms: Arc::new(stranger).into(), ..dir.parts(&clock) };
    let error = Registry::open(parts).unwrap_err();
    assert!(matches!(error, RegistryError::Kms(_)), "{error}");
    // Nothing was changed by trying.
    assert!(Registry::open(dir.parts(&clock)).is_ok());
}

async fn close(house: House) -> (Home, Arc<ManualClock>) {
    for ledger in &house.ledgers {
        ledger.close().await;
    }
    let House { dir, clock, .. } = house;
    (dir, clock)
}

fn sql(dir: &Home, statement: &str) {
    let connection = rusqlite::Connection::open(db(dir.path())).unwrap();
    connection.execute_batch(statement).unwrap();
}

#[tokio::test]
async fn damage_is_named() {
    let whole = {
        let house = House::new().await;
        house.tenant("northwind").await;
        close(house).await
    };
    let (dir, clock) = (&whole.0, &whole.1);
    // Everything is in the one file once the write-ahead log is.
    sql(dir, "PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;");
    let copy = std::fs::read(db(dir.path())).unwrap();
    let damaged_by = |statement: &str| {
        std::fs::write(db(dir.path()), &copy).unwrap();
        sql(dir, statement);
        open_error(dir.path(), clock, kms(dir.path())).to_string()
    };
    // A body changed, cut short, moved to another id or kind, or taken away.
    let flipped =
        "UPDATE fact SET body = CAST(substr(body, 1, 30) || x'00ff' || substr(body, 33) AS BLOB) WHERE kind = ";
    assert!(
        damaged_by(&format!("{flipped} 3 AND id = (SELECT id FROM fact WHERE kind = 3 LIMIT 1)"))
            .contains("damaged: user 01")
    );
    assert!(damaged_by(&format!("{flipped} 4")).contains("damaged: record types"));
    assert!(damaged_by("UPDATE fact SET body = x'01' WHERE kind = 5").contains("damaged: policies"));
    assert!(
        damaged_by(
            "UPDATE fact SET id = zeroblob(16) WHERE kind = 2 AND id = (SELECT max(id) FROM fact WHERE kind = 2)"
        )
        .contains("damaged")
    );
    let swapped = "UPDATE fact SET body = (SELECT body FROM fact WHERE kind = 4) WHERE kind = 5";
    assert!(damaged_by(swapped).contains("damaged: policies"));
    assert!(damaged_by("UPDATE fact SET kind = 77 WHERE kind = 9").contains("fact of an unknown kind"));
    assert!(damaged_by("DELETE FROM fact WHERE kind = 1").contains("there is no epoch"));
    assert!(damaged_by("DELETE FROM fact WHERE kind = 10").contains("there is no certificate authority"));
    assert!(damaged_by("DELETE FROM fact WHERE kind = 0").contains("there is no deployment key"));
    assert!(damaged_by("DELETE FROM fact WHERE kind = 2").contains("damaged: user"));
    assert!(damaged_by("PRAGMA user_version = 2").contains("format 2; this program knows 1"));
    assert!(damaged_by("PRAGMA application_id = 2").contains("is not a Countersign control database"));
    std::fs::write(db(dir.path()), b"something else entirely, and long enough to be looked at").unwrap();
    let error = open_error(dir.path(), clock, kms(dir.path()));
    assert!(matches!(error, RegistryError::NotARegistry(_)), "{error}");
    let nowhere = tempfile::tempdir().unwrap();
    let error = open_error(nowhere.path(), clock, kms(dir.path()));
    assert!(matches!(error, RegistryError::NotARegistry(_)), "{error}");
    assert!(!db(nowhere.path()).exists());
    std::fs::write(db(dir.path()), &copy).unwrap();
    assert!(Registry::open(registry_parts(dir.path(), clock, kms(dir.path()))).is_ok());
}

#[tokio::test]
async fn nothing_in_the_clear() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    house.person("northwind", &admin, "nancy", "accountant").await;
    let session = house.login("nancy", "northwind", &admin).await;
    assert!(session.is_err());
    let private = house.registry.signing_keys()[0].1.private.clone().unwrap();
    let key = super::line(&house.operator);
    let blob = key.split(' ').nth(1).unwrap().to_owned();
    let (dir, _) = close(house).await;

    let mut seen = 0;
    let mut folders = vec![dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            seen += bytes.len();
            let words = [
                "northwind",
                "nancy",
                "andrew",
                "operator",
                "accountant",
                "admin",
                "customer",
                "company",
                "support_rep",
                "employee",
                "permit",
                "principal",
                "roles.cedar",
                "ssh-ed25519",
                "a comment",
                "Ed25519",
                &blob,
            ];
            let raw = [&private.0[private.0.len() - 32..], &private.0[16..32]];
            for needle in words.iter().map(|word| word.as_bytes()).chain(raw) {
                let found = bytes.windows(needle.len()).any(|window| window == needle);
                assert!(!found, "{} holds {:?}", path.display(), String::from_utf8_lossy(needle));
            }
        }
    }
    assert!(seen > 20_000, "{seen}");
}

#[tokio::test]
async fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new().await;
    for entry in std::fs::read_dir(house.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("control.db") {
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
    }
}

async fn a_change_that_cannot_be_written_is_not_made(home: Home) {
    let house = House::new_in(home).await;
    let admin = house.tenant("northwind").await;
    let token = house.token("andrew", "northwind", &admin).await;
    let epoch = house.registry.latest().facts.epoch;
    house.registry.stop_writing();
    let put = Control::UserPut { tenant: None, user: super::user("nancy", "accountant", &admin) };
    assert!(house.ask(&token, put).await.is_err());
    let state = house.registry.latest();
    assert_eq!(state.facts.epoch, epoch);
    assert!(!state.facts.user_names.keys().any(|(_, user)| *user == name("nancy")));
    assert_eq!(*state.facts.policies, files());
}

async fn changes_at_the_same_time_follow_one_another(home: Home) {
    let house = Arc::new(House::new_in(home).await);
    let admin = house.tenant("northwind").await;
    let token = house.token("andrew", "northwind", &admin).await;
    let epoch = house.registry.latest().facts.epoch;
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (house, token) = (Arc::clone(&house), token.clone());
        let put = Control::UserPut { tenant: None, user: super::user(&format!("u{number}"), "rep", &admin) };
        asking.spawn(async move { house.ask(&token, put).await.unwrap() });
    }
    asking.join_all().await;
    let house = Arc::into_inner(house).unwrap();
    assert_eq!(house.registry.latest().facts.epoch, epoch.saturating_add(20));
    let house = house.reopened().await;
    let facts = &house.registry.latest().facts;
    assert_eq!((facts.epoch, facts.users.len()), (epoch.saturating_add(20), 22));
}

async fn what_is_durable_is_published_even_if_nobody_waits(home: Home) {
    let house = House::new_in(home).await;
    let tenant = house.registry.latest().facts.tenant_names[&name("operators")];
    for number in 0..20 {
        let mut change = house.registry.begin().await;
        change.revoke_token(tenant, TokenId::from_u128(number), NOW).unwrap();
        let given_up = tokio::time::timeout(
            std::time::Duration::from_micros(50_u64.saturating_mul(number as u64)),
            change.commit(),
        );
        drop(given_up.await);
    }
    drop(house.registry.begin().await);
    let before = house.registry.latest().facts.revocations.tokens.clone();
    let house = house.reopened().await;
    assert_eq!(house.registry.latest().facts.revocations.tokens, before);
}
