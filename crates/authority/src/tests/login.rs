//! Logging in, and every way in which it is refused.

use countersign_audit::{LedgerQuery, Verdict};
use countersign_crypto::ssh;
use countersign_model::control::{Control, Revoke};
use countersign_token::{MAX_LIFETIME_MS, MintError};

use super::{House, Login, name, new_key};
use crate::challenge::CHALLENGE_MS;
use crate::{LOGIN_NAMESPACE, LoginRefused};

#[tokio::test]
async fn a_registered_key_gets_a_token_of_a_new_session() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let first = house.login("andrew", "northwind", &admin).await.unwrap();
    let second = house.login("andrew", "northwind", &admin).await.unwrap();
    let verify = |token: &str| house.authority.verifier().verify(token, house.now()).unwrap();
    let (first, second) = (verify(first.token()), verify(second.token()));
    assert_eq!(first.user(), second.user());
    assert_ne!(first.session(), second.session());
    assert_eq!(first.expires().since(first.issued()), MAX_LIFETIME_MS);
}

#[tokio::test]
async fn every_bad_proof_is_one_answer_and_one_record() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let nancy = house.person("northwind", &admin, "nancy", "accountant").await;
    house.tenant("chinook").await;
    let stranger = new_key();
    let good = || house.answer("andrew", "northwind", &admin);
    let refused = async |login: Login| {
        let before: u64 = house.ledgers[1].size();
        let outcome = house.authority.login(login).await;
        assert_eq!(outcome.unwrap_err(), LoginRefused::Refused);
        assert_eq!(house.ledgers[1].size(), before + 1);
    };

    // Used twice, whether the first use was good or bad.
    let once = good();
    assert!(house.authority.login(once.clone()).await.is_ok());
    refused(once).await;
    let (once, right) = {
        let right = good();
        (Login { signature: "rubbish".into(), ..right.clone() }, right)
    };
    refused(once).await;
    refused(right).await;

    // Somebody else's key, challenge, name or tenant.
    refused(house.answer("andrew", "northwind", &stranger)).await;
    refused(house.answer("andrew", "northwind", &nancy)).await;
    refused(house.answer("andrew", "chinook", &admin)).await;
    refused(Login { user: name("nancy"), ..good() }).await;
    refused(Login { tenant: name("chinook"), ..good() }).await;
    let of_nancy = house.answer("nancy", "northwind", &admin);
    refused(Login { user: name("andrew"), ..of_nancy }).await;
    let (one, other) = (good(), good());
    refused(Login { challenge: other.challenge, ..one }).await;

    // Nobody, nowhere.
    refused(house.answer("nobody", "northwind", &admin)).await;
    refused(house.answer("andrew", "nowhere", &admin)).await;
    refused(Login { challenge: "00".into(), ..good() }).await;

    // A signature over the right text for another purpose, or over another text.
    for (namespace, suffix) in [("file", ""), ("countersign-logi", ""), (LOGIN_NAMESPACE, " "), (LOGIN_NAMESPACE, "\n")]
    {
        let challenge = house.authority.challenge(&name("andrew"), &name("northwind"));
        let signature = ssh::sign(&admin, namespace, format!("{}{suffix}", challenge.text).as_bytes()).unwrap();
        refused(Login { challenge: challenge.id, signature, ..good() }).await;
    }

    // Too late.
    let late = good();
    house.clock.advance_ms(CHALLENGE_MS);
    refused(late).await;
    let in_time = good();
    house.clock.advance_ms(CHALLENGE_MS - 1);
    assert!(house.authority.login(in_time).await.is_ok());
}

#[tokio::test]
async fn each_login_is_on_record_where_it_belongs() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let tenant = house.registry.latest().facts.tenant_names[&name("northwind")];
    let minted = house.login("andrew", "northwind", &admin).await.unwrap();
    assert!(house.login("nobody", "northwind", &admin).await.is_err());
    assert!(house.login("andrew", "nowhere", &admin).await.is_err());

    let records = house.ledgers[1].query(Some(tenant), &LedgerQuery::default()).unwrap();
    let logins: Vec<_> = records.iter().map(|(_, record)| record).filter(|one| one.body.action == "login").collect();
    assert_eq!(logins.len(), 2);
    assert_eq!((logins[0].verdict, logins[0].body.token), (Verdict::Released, Some(minted.id())));
    assert_eq!(logins[0].body.user_name.as_deref(), Some("andrew"));
    assert_eq!((logins[1].verdict, logins[1].body.user), (Verdict::Refused, None));
    assert_eq!(logins[1].body.user_name.as_deref(), Some("nobody"));
    let records = house.ledgers[1].query(None, &LedgerQuery::default()).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].1.body.detail.as_deref(), Some("unknown tenant nowhere"));
}

#[tokio::test]
async fn no_record_no_token() {
    let house = House::new().await;
    let login = house.answer("operator", "operators", &house.operator);
    house.ledgers[1].close().await;
    assert_eq!(house.authority.login(login).await.unwrap_err(), LoginRefused::Unavailable);
}

#[tokio::test]
async fn lifetimes_from_a_second_to_twelve_hours() {
    let house = House::new().await;
    let login = async |ms| {
        let answer = house.answer("operator", "operators", &house.operator);
        house.authority.login(Login { lifetime_ms: Some(ms), ..answer }).await.map(|minted| minted.expires())
    };
    for wrong in [0, 999, MAX_LIFETIME_MS + 1, u64::MAX] {
        assert_eq!(login(wrong).await.unwrap_err(), LoginRefused::Lifetime, "{wrong}");
    }
    assert!(login(60_000).await.unwrap() <= house.now().plus_ms(60_000));
    assert!(login(MAX_LIFETIME_MS).await.is_ok());
    assert_eq!(MintError::TooLong.to_string(), "a token lives at most 12 hours");
}

#[tokio::test]
async fn somebody_revoked_may_log_in_again_at_once() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let nancy = house.person("northwind", &admin, "nancy", "accountant").await;
    let old = house.token("nancy", "northwind", &nancy).await;
    let admin = house.token("andrew", "northwind", &admin).await;
    house.ask(&admin, Control::Revoke(Revoke::Person(name("nancy")))).await.unwrap();
    let new = house.token("nancy", "northwind", &nancy).await;
    assert!(house.ask(&old, Control::WhoAmI).await.is_err());
    assert!(house.ask(&new, Control::WhoAmI).await.is_ok());
}
