//! Who am I, narrowing, revoking.

use countersign_guard::Refusal;
use countersign_model::TokenId;
use countersign_model::control::{Control, Revoke};
use countersign_model::request::{Action, Narrowing};
use countersign_token::{MAX_LIFETIME_MS, MintError, TokenError};
use serde_json::{Value, json};

use super::super::{Failed, House, is_forbidden, name};
use crate::ControlFailure;
use crate::registry::REVOCATIONS_MAX;

#[tokio::test]
async fn who_am_i_says_what_may_be_done_and_nothing_more() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let nancy = house.person("northwind", &admin, "nancy", "accountant").await;
    let token = house.token("nancy", "northwind", &nancy).await;
    let me = house.ask(&token, Control::WhoAmI).await.unwrap();
    assert_eq!((&me["user"], &me["tenant"]), (&json!("nancy"), &json!("northwind")));
    assert_eq!(me["roles"], json!(["accountant"]));
    assert_eq!(me["records"], json!({ "customer": { "read": { "fields": ["id", "company"], "records": "all" } } }));
    assert_eq!(me["control"], json!(["use_own_token"]));
    assert_eq!(me["expires"], "2027-01-15T20:00:00.000Z");
    assert_eq!(me.get("narrowing"), None);
    assert!(!me.to_string().contains("email"));

    let rep = Control::UserPut {
        tenant: None,
        user: countersign_model::control::NewUser {
            name: name("janet"),
            roles: vec![name("rep")],
            attributes: [(name("employee"), "3".to_owned())].into(),
            ssh_keys: vec![super::super::line(&nancy)],
            kind: Default::default(),
        },
    };
    let andrew = house.token("andrew", "northwind", &admin).await;
    house.ask(&andrew, rep).await.unwrap();
    let token = house.token("janet", "northwind", &nancy).await;
    let me = house.ask(&token, Control::WhoAmI).await.unwrap();
    assert_eq!(me["records"]["customer"]["read"]["records"], "some");
    let me = house.ask(&andrew, Control::WhoAmI).await.unwrap();
    assert_eq!(me["records"]["customer"]["delete"]["records"], "all");
    assert!(me["control"].as_array().unwrap().contains(&json!("manage_users")));
    assert!(!me["control"].as_array().unwrap().contains(&json!("manage_types")));
}

fn read_only() -> Narrowing {
    Narrowing {
        actions: Some(vec![Action::Read]),
        types: Some(vec![name("customer")]),
        fields: Some(vec![name("company"), name("email")]),
        purpose: Some("call back".into()),
    }
}

async fn narrow(house: &House, token: &str, narrowing: Narrowing, lifetime_ms: Option<u64>) -> Result<Value, Failed> {
    house.ask(token, Control::Narrow { narrowing, lifetime_ms }).await
}

#[tokio::test]
async fn a_narrowed_token_does_less_and_ends_sooner() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let token = house.token("andrew", "northwind", &admin).await;
    let answer = narrow(&house, &token, read_only(), Some(600_000)).await.unwrap();
    assert_eq!(answer["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(599)));
    let narrowed = answer["access_token"].as_str().unwrap();
    let me = house.ask(narrowed, Control::WhoAmI).await.unwrap();
    assert_eq!(me["records"], json!({ "customer": { "read": { "fields": ["company", "email"], "records": "all" } } }));
    assert_eq!(me["control"], json!(["use_own_token"]));
    assert_eq!(me["narrowing"]["purpose"], "call back");
    // It manages nothing.
    assert!(is_forbidden(&house.ask(narrowed, Control::UserList { tenant: None }).await));
    // And it is not widened by narrowing it again.
    let wide = Narrowing { actions: Some(Action::ALL.to_vec()), ..Narrowing::default() };
    let answer = narrow(&house, narrowed, wide, Some(MAX_LIFETIME_MS)).await.unwrap();
    assert_eq!(answer["expires_in"], 599);
    let me = house.ask(answer["access_token"].as_str().unwrap(), Control::WhoAmI).await.unwrap();
    assert_eq!(me["records"]["customer"].as_object().unwrap().keys().collect::<Vec<_>>(), ["read"]);

    house.clock.advance_ms(600_000);
    let late = house.ask(narrowed, Control::WhoAmI).await.unwrap_err();
    assert!(matches!(late, Failed::Refused(Refusal::Token(TokenError::Expired))), "{late:?}");
    assert!(house.ask(&token, Control::WhoAmI).await.is_ok());
}

#[tokio::test]
async fn limits_that_no_token_can_carry() {
    let house = House::new().await;
    let token = house.operator_token().await;
    let purpose = Narrowing { purpose: Some("two\nlines".into()), ..Narrowing::default() };
    let refused = narrow(&house, &token, purpose, None).await.unwrap_err();
    assert!(matches!(refused, Failed::Control(ControlFailure::Token(MintError::Purpose))), "{refused:?}");
    let refused = narrow(&house, &token, Narrowing::default(), Some(0)).await.unwrap_err();
    assert!(matches!(refused, Failed::Control(ControlFailure::Token(MintError::TooShort))), "{refused:?}");
}

#[tokio::test]
async fn a_purpose_of_a_narrowed_token_is_recorded_with_its_use() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let token = house.token("andrew", "northwind", &admin).await;
    let purpose = Narrowing { purpose: Some("yearly check".into()), ..Narrowing::default() };
    let narrowed = narrow(&house, &token, purpose, None).await.unwrap();
    let narrowed = narrowed["access_token"].as_str().unwrap().to_owned();
    house.ask(&narrowed, Control::UserList { tenant: None }).await.unwrap();
    let page = house.ask(&token, Control::AuditRead(Default::default())).await.unwrap();
    let records = page["records"].as_array().unwrap();
    assert!(records.iter().any(|one| one["action"] == "read_users" && one["purpose"] == "yearly check"));
}

fn is_revoked<T: std::fmt::Debug>(outcome: &Result<T, Failed>) -> bool {
    matches!(outcome, Err(Failed::Refused(Refusal::Revoked)))
}

#[tokio::test]
async fn revoking_ends_a_token_a_session_or_all_that_a_person_holds() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let nancy = house.person("northwind", &admin, "nancy", "accountant").await;
    let andrew = house.token("andrew", "northwind", &admin).await;
    let [one, two, three] = [
        house.token("nancy", "northwind", &nancy).await,
        house.token("nancy", "northwind", &nancy).await,
        house.token("nancy", "northwind", &nancy).await,
    ];
    let child = narrow(&house, &two, Narrowing::default(), None).await.unwrap();
    let child = child["access_token"].as_str().unwrap().to_owned();
    let verified = |token: &str| house.authority.verifier().verify(token, house.now()).unwrap();

    let answer = house.ask(&andrew, Control::Revoke(Revoke::Token(verified(&one).token()))).await.unwrap();
    assert_eq!(answer["revoked"], "token");
    assert!(is_revoked(&house.ask(&one, Control::WhoAmI).await));
    assert!(house.ask(&two, Control::WhoAmI).await.is_ok());
    house.ask(&andrew, Control::Revoke(Revoke::Session(verified(&two).session()))).await.unwrap();
    assert!(is_revoked(&house.ask(&two, Control::WhoAmI).await));
    assert!(is_revoked(&house.ask(&child, Control::WhoAmI).await));
    assert!(house.ask(&three, Control::WhoAmI).await.is_ok());
    house.ask(&andrew, Control::Revoke(Revoke::Person(name("nancy")))).await.unwrap();
    assert!(is_revoked(&house.ask(&three, Control::WhoAmI).await));
    assert!(house.ask(&andrew, Control::WhoAmI).await.is_ok());

    let unknown = house.ask(&andrew, Control::Revoke(Revoke::Person(name("nobody")))).await.unwrap_err();
    assert!(matches!(unknown, Failed::Control(ControlFailure::NotFound { what: "user", .. })), "{unknown:?}");
    // Whoever may not revoke, revokes only what is their own.
    let nancy = house.token("nancy", "northwind", &nancy).await;
    assert!(is_forbidden(&house.ask(&nancy, Control::Revoke(Revoke::Person(name("andrew")))).await));
    house.ask(&nancy, Control::RevokeOwn { session: false }).await.unwrap();
    assert!(is_revoked(&house.ask(&nancy, Control::WhoAmI).await));
}

#[tokio::test]
async fn one_tenant_cannot_revoke_anothers_tokens() {
    let house = House::new().await;
    let (northwind, chinook) = (house.tenant("northwind").await, house.tenant("chinook").await);
    let victim = house.token("andrew", "northwind", &northwind).await;
    let attacker = house.token("andrew", "chinook", &chinook).await;
    let verified = house.authority.verifier().verify(&victim, house.now()).unwrap();
    for revoke in [Revoke::Token(verified.token()), Revoke::Session(verified.session())] {
        house.ask(&attacker, Control::Revoke(revoke)).await.unwrap();
    }
    // The same name, in the attacker's own tenant.
    house.ask(&attacker, Control::Revoke(Revoke::Person(name("andrew")))).await.unwrap();
    assert!(house.ask(&victim, Control::WhoAmI).await.is_ok());
    assert!(is_revoked(&house.ask(&attacker, Control::WhoAmI).await));
}

#[tokio::test]
async fn revocations_are_kept_as_long_as_they_matter() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let token = house.token("andrew", "northwind", &admin).await;
    house.ask(&token, Control::RevokeOwn { session: true }).await.unwrap();
    let house = house.reopened().await;
    assert!(is_revoked(&house.ask(&token, Control::WhoAmI).await));
    let count = |house: &House| house.registry.latest().facts.revocations.sessions.len();
    house.clock.advance_ms(MAX_LIFETIME_MS + 60_001);
    let token = house.token("andrew", "northwind", &admin).await;
    assert_eq!(count(&house), 1);
    house.ask(&token, Control::RevokeOwn { session: false }).await.unwrap();
    assert_eq!(count(&house), 0);
    let house = house.reopened().await;
    assert_eq!((count(&house), house.registry.latest().facts.revocations.tokens.len()), (0, 1));
}

#[tokio::test]
async fn revoking_has_a_bound_that_never_keeps_anybody_in() {
    let house = House::new().await;
    let (admin, other) = (house.tenant("northwind").await, house.tenant("chinook").await);
    let andrew = house.token("andrew", "northwind", &admin).await;
    let tenant = house.registry.latest().facts.tenant_names[&name("northwind")];
    let mut change = house.registry.begin().await;
    for number in 0..REVOCATIONS_MAX as u128 {
        change.revoke_token(tenant, TokenId::from_u128(number), house.now()).unwrap();
    }
    change.commit().await.unwrap();

    let refused = house.ask(&andrew, Control::Revoke(Revoke::Token(TokenId::from_u128(1)))).await.unwrap_err();
    assert!(matches!(refused, Failed::Control(ControlFailure::TooManyRevocations)), "{refused:?}");
    let answer = house.ask(&andrew, Control::RevokeOwn { session: false }).await.unwrap();
    assert_eq!((&answer["revoked"], &answer["subject"]), (&json!("person"), &json!("andrew")));
    assert!(is_revoked(&house.ask(&andrew, Control::WhoAmI).await));
    // Each tenant has its own bound, and a person can always be revoked.
    let stranger = house.token("andrew", "chinook", &other).await;
    house.ask(&stranger, Control::Revoke(Revoke::Token(TokenId::from_u128(1)))).await.unwrap();
    let andrew = house.token("andrew", "northwind", &admin).await;
    house.ask(&andrew, Control::Revoke(Revoke::Person(name("andrew")))).await.unwrap();
}
