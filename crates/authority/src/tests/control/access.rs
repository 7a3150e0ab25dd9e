//! Operators' access to tenants.

use countersign_crypto::ssh;
use countersign_guard::{Bearer, Refusal};
use countersign_model::access::AccessControl;
use countersign_model::control::{Control, Revoke};
use countersign_model::request::{Door, Filter, Operation, Read};
use countersign_model::{GrantId, Request, RequestId};
use serde_json::Value;

use super::super::{Failed, House, is_forbidden, name, new_key, user};
use crate::ControlFailure;

const HOUR_MS: u64 = 3_600_000;

pub(super) fn request(role: &str, break_glass: bool) -> Control {
    Control::Access(AccessControl::Request {
        tenant: name("northwind"),
        role: name(role),
        reason: "ticket 4711".into(),
        lifetime_ms: HOUR_MS,
        break_glass,
    })
}

pub(super) fn decide(grant: GrantId, approve: bool) -> Control {
    Control::Access(AccessControl::Decide { grant, approve, role: None })
}

pub(super) fn id(grant: &Value) -> GrantId {
    grant["id"].as_str().unwrap().parse().unwrap()
}

fn login_name(grant: &Value) -> String {
    grant["login"].as_str().unwrap().split('@').next().unwrap().to_owned()
}

/// Whether a token may read customers, by the guard.
fn reads(house: &House, token: &str) -> Result<(), Refusal> {
    let request = Request {
        id: RequestId::new(house.now(), &countersign_crypto::SystemEntropy),
        door: Door::Http,
        tenant: None,
        purpose: None,
        operation: Operation::Read(Read {
            record_type: "customer".into(),
            select: Vec::new(),
            filter: Filter::default(),
            order: Vec::new(),
            limit: None,
            offset: 0,
            count: false,
            after: None,
        }),
    };
    house.guard.judge(&Bearer::new(token.to_owned()), &request).map(|_| ())
}

pub(super) async fn second_operator(house: &House) -> ssh::PrivateKey {
    let (operator, key) = (house.operator_token().await, new_key());
    let put = Control::UserPut { tenant: None, user: user("second", "operator", &key) };
    house.ask(&operator, put).await.unwrap();
    key
}

async fn details(house: &House, token: &str) -> Vec<(String, String)> {
    let page = house.ask(token, Control::AuditRead(Default::default())).await.unwrap();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    page["records"].as_array().unwrap().iter().map(|one| (text(one, "action"), text(one, "detail"))).collect()
}

#[tokio::test]
async fn what_a_tenant_gives_is_a_user_that_ends_by_itself() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let (operator, andrew) = (house.operator_token().await, house.token("andrew", "northwind", &admin).await);
    let asked = house.ask(&operator, request("accountant", false)).await.unwrap();
    assert_eq!((&asked["state"], &asked["tenant"]), (&"asked".into(), &"northwind".into()));
    // The tenant knows at once who wants what, and why.
    let told = details(&house, &andrew).await;
    assert!(
        told.iter().any(|(action, detail)| action == "request_access" && detail.contains("ticket 4711")),
        "{told:?}"
    );
    let seen = house.ask(&andrew, Control::Access(AccessControl::List)).await.unwrap();
    assert_eq!(seen[0]["operator"], "operator");

    // No operator gives it, nor does another tenant.
    assert!(is_forbidden(&house.ask(&operator, decide(id(&asked), true)).await));
    let chinook = house.tenant("chinook").await;
    let michael = house.token("andrew", "chinook", &chinook).await;
    let other = house.ask(&michael, decide(id(&asked), true)).await.unwrap_err();
    assert!(matches!(other, Failed::Control(ControlFailure::NotFound { .. })), "{other:?}");
    assert_eq!(
        house.ask(&michael, Control::Access(AccessControl::List)).await.unwrap(),
        Value::from(Vec::<Value>::new())
    );

    let given = house.ask(&andrew, decide(id(&asked), true)).await.unwrap();
    let login = login_name(&given);
    let token = house.token(&login, "northwind", &house.operator).await;
    assert_eq!(reads(&house, &token), Ok(()));
    let again = house.ask(&andrew, decide(id(&asked), false)).await.unwrap_err();
    assert!(matches!(again, Failed::Control(ControlFailure::Invalid { .. })), "{again:?}");

    // It is over at its end, whatever the token says; then nobody is left of that name.
    // Tokens end at whole seconds.
    house.clock.advance_ms(HOUR_MS - 2_000);
    assert_eq!(reads(&house, &token), Ok(()));
    house.clock.advance_ms(2_000);
    assert!(reads(&house, &token).is_err());
    assert!(house.login(&login, "northwind", &house.operator).await.is_err());
    house.authority.end_access().await.unwrap();
    let andrew = house.token("andrew", "northwind", &admin).await;
    assert!(details(&house, &andrew).await.iter().any(|(action, _)| action == "end_access"));
    let users = house.ask(&andrew, Control::UserList { tenant: None }).await.unwrap();
    assert_eq!(users.as_array().unwrap().len(), 1);
    let seen = house.ask(&andrew, Control::Access(AccessControl::List)).await.unwrap();
    assert_eq!(seen[0]["state"], "closed");
}

#[tokio::test]
async fn no_token_outlives_the_access_and_it_is_kept_over_a_restart() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let (operator, andrew) = (house.operator_token().await, house.token("andrew", "northwind", &admin).await);
    let asked = house.ask(&operator, request("accountant", false)).await.unwrap();
    let given = house.ask(&andrew, decide(id(&asked), true)).await.unwrap();
    house.clock.advance_ms(HOUR_MS / 2);
    let house = house.reopened().await;
    let minted = house.login(&login_name(&given), "northwind", &house.operator).await.unwrap();
    assert!(minted.expires() <= house.now().plus_ms(HOUR_MS / 2));
}

/// An admin's role gives an operator the admin's records, and not the admin's power to let others in.
#[tokio::test]
async fn who_is_there_for_a_time_manages_nothing() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let (operator, andrew) = (house.operator_token().await, house.token("andrew", "northwind", &admin).await);
    let asked = house.ask(&operator, request("admin", false)).await.unwrap();
    let given = house.ask(&andrew, decide(id(&asked), true)).await.unwrap();
    let token = house.token(&login_name(&given), "northwind", &house.operator).await;
    assert_eq!(reads(&house, &token), Ok(()));
    let more = house.ask(&operator, request("admin", false)).await.unwrap();
    let backdoor = Control::UserPut { tenant: None, user: user("mallory", "admin", &house.operator) };
    for deed in
        [backdoor, decide(id(&more), true), Control::UserList { tenant: None }, Control::AuditRead(Default::default())]
    {
        assert!(is_forbidden(&house.ask(&token, deed).await));
    }
    // Nor does the tenant make it stay by mistake.
    let keep = Control::UserPut { tenant: None, user: user(&login_name(&given), "admin", &house.operator) };
    assert!(house.ask(&andrew, keep).await.is_err());
    // Its being there is no reason to let the tenant's last person go.
    let remove = Control::UserRemove { tenant: None, user: name("andrew") };
    assert!(matches!(house.ask(&andrew, remove).await, Err(Failed::Control(ControlFailure::LastPerson))));
}

#[tokio::test]
async fn either_side_ends_it() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let (operator, andrew) = (house.operator_token().await, house.token("andrew", "northwind", &admin).await);
    for (by, as_tenant) in [(&operator, false), (&andrew, true)] {
        let asked = house.ask(&operator, request("accountant", false)).await.unwrap();
        let given = house.ask(&andrew, decide(id(&asked), true)).await.unwrap();
        let token = house.token(&login_name(&given), "northwind", &house.operator).await;
        let close = |as_tenant| Control::Access(AccessControl::Close { grant: id(&asked), as_tenant });
        assert!(house.ask(by, close(!as_tenant)).await.is_err(), "each as what it is");
        assert_eq!(house.ask(by, close(as_tenant)).await.unwrap()["state"], "closed");
        assert!(reads(&house, &token).is_err());
        assert!(house.ask(by, close(as_tenant)).await.is_err(), "once");
    }
    // An operator who is removed is gone everywhere.
    let second = second_operator(&house).await;
    let their = house.token("second", "operators", &second).await;
    let asked = house.ask(&their, request("accountant", false)).await.unwrap();
    let given = house.ask(&andrew, decide(id(&asked), true)).await.unwrap();
    let token = house.token(&login_name(&given), "northwind", &second).await;
    house.ask(&operator, Control::UserRemove { tenant: None, user: name("second") }).await.unwrap();
    assert!(reads(&house, &token).is_err());
}

#[tokio::test]
async fn the_glass_is_broken_by_two() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let second = second_operator(&house).await;
    let (first, andrew) = (house.operator_token().await, house.token("andrew", "northwind", &admin).await);
    let other = house.token("second", "operators", &second).await;
    let confirm = |grant| Control::Access(AccessControl::Confirm { grant });

    let asked = house.ask(&first, request("accountant", true)).await.unwrap();
    let alone = house.ask(&first, confirm(id(&asked))).await.unwrap_err();
    assert!(matches!(alone, Failed::Control(ControlFailure::Invalid { .. })), "{alone:?}");
    // The tenant is told before anything is given; it is not asked, so it does not approve either.
    let told = details(&house, &andrew).await;
    assert!(told.iter().any(|(action, detail)| action == "break_glass" && detail.contains("asked")), "{told:?}");
    assert!(house.ask(&andrew, decide(id(&asked), true)).await.is_err());
    assert!(is_forbidden(&house.ask(&andrew, confirm(id(&asked))).await));

    let given = house.ask(&other, confirm(id(&asked))).await.unwrap();
    let token = house.token(&login_name(&given), "northwind", &house.operator).await;
    assert_eq!(reads(&house, &token), Ok(()));
    let told = details(&house, &andrew).await;
    assert!(told.iter().any(|(_, detail)| detail.contains("confirmed by second@operators")), "{told:?}");
    // What was asked for normally is not confirmed past the tenant, and what waits too long not at all.
    let normal = house.ask(&first, request("accountant", false)).await.unwrap();
    assert!(house.ask(&other, confirm(id(&normal))).await.is_err());
    let late = house.ask(&first, request("accountant", true)).await.unwrap();
    house.clock.advance_ms(15 * 60_000 + 1);
    assert!(house.ask(&other, confirm(id(&late))).await.is_err());
}

#[tokio::test]
async fn what_can_not_be_asked_for() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let (operator, andrew) = (house.operator_token().await, house.token("andrew", "northwind", &admin).await);
    assert!(is_forbidden(&house.ask(&andrew, request("accountant", false)).await));
    let with = |tenant: &str, role: &str, reason: &str, lifetime_ms| {
        let (tenant, role, reason) = (name(tenant), name(role), reason.to_owned());
        Control::Access(AccessControl::Request { tenant, role, reason, lifetime_ms, break_glass: false })
    };
    for wrong in [
        with("operators", "accountant", "why", HOUR_MS),
        with("nowhere", "accountant", "why", HOUR_MS),
        with("northwind", "operator", "why", HOUR_MS),
        with("northwind", "nothing", "why", HOUR_MS),
        with("northwind", "accountant", " ", HOUR_MS),
        with("northwind", "accountant", "two\nlines", HOUR_MS),
        with("northwind", "accountant", &"long".repeat(100), HOUR_MS),
        with("northwind", "accountant", "why", 59_999),
        with("northwind", "accountant", "why", 12 * HOUR_MS + 1),
    ] {
        assert!(house.ask(&operator, wrong.clone()).await.is_err(), "{wrong:?}");
    }
}

/// What makes an operator is taken away: everything that was given to them goes with it, and the tenant sees that.
#[tokio::test]
async fn it_ends_with_what_made_the_operator_one() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let andrew = house.token("andrew", "northwind", &admin).await;
    let put = |role: &str, key: &ssh::PrivateKey| Control::UserPut { tenant: None, user: user("second", role, key) };
    let gone = |how: &str| match how {
        "another key" => put("operator", &new_key()),
        "revoked" => Control::Revoke(Revoke::Person(name("second"))),
        _ => Control::UserRemove { tenant: None, user: name("second") },
    };
    for how in ["another key", "another role", "revoked", "removed"] {
        let operator = house.operator_token().await;
        let second = second_operator(&house).await;
        house.clock.advance_ms(1_000);
        let their = house.token("second", "operators", &second).await;
        let asked = house.ask(&their, request("accountant", false)).await.unwrap();
        let given = house.ask(&andrew, decide(id(&asked), true)).await.unwrap();
        let waits = house.ask(&their, request("accountant", false)).await.unwrap();
        let token = house.token(&login_name(&given), "northwind", &second).await;
        assert_eq!(reads(&house, &token), Ok(()), "{how}");
        let end = if how == "another role" { put("reader", &second) } else { gone(how) };
        house.ask(&operator, end).await.unwrap();
        assert!(reads(&house, &token).is_err(), "{how}");
        assert!(house.login(&login_name(&given), "northwind", &second).await.is_err(), "{how}");
        assert!(house.ask(&andrew, decide(id(&waits), true)).await.is_err(), "{how}");
        let told = details(&house, &andrew).await;
        let over = format!("access {} is over", id(&given));
        assert!(told.iter().any(|(action, detail)| action == "end_access" && *detail == over), "{how}: {told:?}");
    }
}
