//! Tenants and their people.

use countersign_guard::Refusal;
use countersign_model::control::{Control, NewUser};
use serde_json::json;

use super::super::{Failed, House, is_forbidden, line, name, new_key, user};
use crate::ControlFailure;

#[tokio::test]
async fn operators_add_and_list_tenants_and_nobody_else_does() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let operator = house.operator_token().await;
    let list = house.ask(&operator, Control::TenantList).await.unwrap();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|one| (&one["name"], &one["users"])).collect();
    assert_eq!(names, [(&json!("northwind"), &json!(1)), (&json!("operators"), &json!(1))]);
    for taken in ["northwind", "operators"] {
        let again = house.ask(&operator, Control::TenantAdd { name: name(taken), kms: None }).await.unwrap_err();
        assert!(matches!(again, Failed::Control(ControlFailure::Exists { what: "tenant", .. })), "{again:?}");
    }
    let andrew = house.token("andrew", "northwind", &admin).await;
    assert!(is_forbidden(&house.ask(&andrew, Control::TenantList).await));
    assert!(is_forbidden(&house.ask(&andrew, Control::TenantAdd { name: name("another"), kms: None }).await));
}

#[tokio::test]
async fn an_operator_makes_the_first_person_and_no_other() {
    let house = House::new().await;
    let operator = house.operator_token().await;
    house.ask(&operator, Control::TenantAdd { name: name("northwind"), kms: None }).await.unwrap();
    let key = new_key();
    let put = |who: &str| Control::UserPut { tenant: Some(name("northwind")), user: user(who, "admin", &key) };
    let before = house.registry.latest();
    house.ask(&operator, put("andrew")).await.unwrap();
    let after = house.registry.latest();
    assert_eq!((after.facts.epoch, after.facts.policy_epoch), (before.facts.epoch + 1, before.facts.policy_epoch));
    assert!(is_forbidden(&house.ask(&operator, put("mallory")).await));
    // Nor does an operator change or remove the first one.
    assert!(is_forbidden(&house.ask(&operator, put("andrew")).await));
    let remove = Control::UserRemove { tenant: Some(name("northwind")), user: name("andrew") };
    assert!(is_forbidden(&house.ask(&operator, remove).await));
    // The tenant sees in its own log who did that.
    let andrew = house.token("andrew", "northwind", &key).await;
    let page = house.ask(&andrew, Control::AuditRead(Default::default())).await.unwrap();
    let records = page["records"].as_array().unwrap();
    let told = records.iter().find(|one| one["user"] == "operator@operators").unwrap();
    assert_eq!(told["detail"], "put andrew@northwind");

    // Among operators, operators do.
    let other = new_key();
    house.ask(&operator, Control::UserPut { tenant: None, user: user("second", "operator", &other) }).await.unwrap();
    assert!(house.login("second", "operators", &other).await.is_ok());
}

#[tokio::test]
async fn nobody_reaches_into_another_tenant() {
    let house = House::new().await;
    let (northwind, _) = (house.tenant("northwind").await, house.tenant("chinook").await);
    let andrew = house.token("andrew", "northwind", &northwind).await;
    for tenant in ["chinook", "operators", "nowhere"] {
        let tenant = Some(name(tenant));
        let put = Control::UserPut { tenant: tenant.clone(), user: user("mallory", "admin", &northwind) };
        assert!(is_forbidden(&house.ask(&andrew, put).await));
        assert!(is_forbidden(&house.ask(&andrew, Control::UserList { tenant: tenant.clone() }).await));
        let remove = Control::UserRemove { tenant, user: name("andrew") };
        assert!(is_forbidden(&house.ask(&andrew, remove).await));
    }
    let own = Control::UserList { tenant: Some(name("northwind")) };
    assert_eq!(house.ask(&andrew, own).await.unwrap().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_new_role_counts_from_the_next_request() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let nancy = house.person("northwind", &admin, "nancy", "accountant").await;
    let andrew = house.token("andrew", "northwind", &admin).await;
    let token = house.token("nancy", "northwind", &nancy).await;
    assert!(is_forbidden(&house.ask(&token, Control::AuditRead(Default::default())).await));
    let promoted = Control::UserPut { tenant: None, user: user("nancy", "auditor", &nancy) };
    let answer = house.ask(&andrew, promoted).await.unwrap();
    assert_eq!((&answer["name"], &answer["roles"]), (&json!("nancy"), &json!(["auditor"])));
    assert!(house.ask(&token, Control::AuditRead(Default::default())).await.is_ok());
    let me = house.ask(&token, Control::WhoAmI).await.unwrap();
    assert_eq!(me["records"], json!({}));

    let misspelt = Control::UserPut { tenant: None, user: user("nancy", "acountant", &nancy) };
    let answer = house.ask(&andrew, misspelt).await.unwrap();
    assert_eq!(answer["unknown_roles"], json!(["acountant"]));
    assert!(is_forbidden(&house.ask(&token, Control::AuditRead(Default::default())).await));
}

#[tokio::test]
async fn who_is_removed_is_gone_at_the_next_request_and_stays_gone() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let nancy = house.person("northwind", &admin, "nancy", "accountant").await;
    let andrew = house.token("andrew", "northwind", &admin).await;
    let token = house.token("nancy", "northwind", &nancy).await;
    let remove = || Control::UserRemove { tenant: None, user: name("nancy") };
    house.ask(&andrew, remove()).await.unwrap();
    let refused = house.ask(&token, Control::WhoAmI).await.unwrap_err();
    assert!(matches!(refused, Failed::Refused(Refusal::UnknownPrincipal)), "{refused:?}");
    assert!(house.login("nancy", "northwind", &nancy).await.is_err());
    let again = house.ask(&andrew, remove()).await.unwrap_err();
    assert!(matches!(again, Failed::Control(ControlFailure::NotFound { what: "user", .. })), "{again:?}");
    // Somebody new of the same name is somebody else.
    house.person("northwind", &admin, "nancy", "accountant").await;
    assert!(house.ask(&token, Control::WhoAmI).await.is_err());

    house.ask(&andrew, remove()).await.unwrap();
    let last = Control::UserRemove { tenant: None, user: name("andrew") };
    let refused = house.ask(&andrew, last).await.unwrap_err();
    assert!(matches!(refused, Failed::Control(ControlFailure::LastPerson)), "{refused:?}");
}

#[tokio::test]
async fn taking_a_key_away_ends_what_it_may_have_opened() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let (old, new) = (new_key(), new_key());
    let andrew = house.token("andrew", "northwind", &admin).await;
    let put = |keys: &[&countersign_crypto::ssh::PrivateKey]| Control::UserPut {
        tenant: None,
        user: NewUser { ssh_keys: keys.iter().map(|key| line(key)).collect(), ..user("nancy", "accountant", &admin) },
    };
    house.ask(&andrew, put(&[&old])).await.unwrap();
    let token = house.token("nancy", "northwind", &old).await;
    house.ask(&andrew, put(&[&old, &new])).await.unwrap();
    assert!(house.ask(&token, Control::WhoAmI).await.is_ok());
    house.ask(&andrew, put(&[&new])).await.unwrap();
    assert!(house.ask(&token, Control::WhoAmI).await.is_err());
    assert!(house.login("nancy", "northwind", &old).await.is_err());
    let token = house.token("nancy", "northwind", &new).await;
    assert!(house.ask(&token, Control::WhoAmI).await.is_ok());
}

#[tokio::test]
async fn users_are_checked_before_they_are_kept() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let andrew = house.token("andrew", "northwind", &admin).await;
    let nobody = || NewUser { ssh_keys: vec![], ..user("nancy", "rep", &admin) };
    let cases = [
        (NewUser { ssh_keys: vec!["ssh-ed25519 XYZW".into()], ..nobody() }, "SSH key 1: expected"),
        (NewUser { ssh_keys: vec![line(&admin), String::new()], ..nobody() }, "SSH key 2: expected"),
        (
            NewUser { ssh_keys: (0..17).map(|_| line(&new_key())).collect(), ..nobody() },
            "SSH keys: expected at most 16",
        ),
        (
            NewUser { attributes: [(name("salary"), "1".into())].into(), ..nobody() },
            "one of the attributes that the types file declares: employee",
        ),
        (
            NewUser { attributes: [(name("employee"), "three".into())].into(), ..nobody() },
            "attribute 'employee': expected a whole number",
        ),
        (
            NewUser { roles: (0..65).map(|n| name(&format!("r{n}"))).collect(), ..nobody() },
            "roles: expected at most 64",
        ),
    ];
    let epoch = house.registry.latest().facts.epoch;
    for (user, expected) in cases {
        let refused = house.ask(&andrew, Control::UserPut { tenant: None, user }).await.unwrap_err();
        let Failed::Control(failure @ ControlFailure::Invalid { .. }) = refused else { panic!("{refused:?}") };
        let message = failure.to_string();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("three") && !message.contains("XYZW"), "{message}");
    }
    assert_eq!(house.registry.latest().facts.epoch, epoch);
    // The same key twice is one key.
    let twice = NewUser { ssh_keys: vec![line(&admin), line(&admin)], ..nobody() };
    let answer = house.ask(&andrew, Control::UserPut { tenant: None, user: twice }).await.unwrap();
    assert_eq!(answer["ssh_keys"].as_array().unwrap().len(), 1);
    assert!(answer["ssh_keys"][0]["fingerprint"].as_str().unwrap().starts_with("SHA256:"));
    let list = house.ask(&andrew, Control::UserList { tenant: None }).await.unwrap();
    assert_eq!(list[1]["name"], "nancy");
}
