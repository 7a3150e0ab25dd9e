//! What wraps tenants' keys.

use countersign_crypto::SystemEntropy;
use countersign_keys::{FileKms, KmsProvider, wrapped_version};
use countersign_model::Name;
use countersign_model::control::Control;
use countersign_model::custody::{KeyControl, KeyScope};
use serde_json::json;

use super::super::{Failed, House, is_forbidden, name};
use crate::ControlFailure;

fn rewrap(tenant: Option<&str>, kms: Option<&str>) -> Control {
    Control::TenantRewrap { tenant: tenant.map(name), kms: kms.map(name) }
}

fn versions(house: &House) -> Vec<(Name, u32)> {
    let (facts, wrapped) = (house.registry.latest(), house.registry.wrapped_keys());
    let mut versions: Vec<_> = facts
        .facts
        .tenant_names
        .iter()
        .map(|(name, id)| (name.clone(), wrapped_version(&wrapped[id]).unwrap().0))
        .collect();
    versions.sort();
    versions
}

#[tokio::test]
async fn keys_are_wrapped_again_by_the_newest_key_and_stay_what_they_are() {
    let house = House::new().await;
    let andrew = house.tenant("northwind").await;
    house.tenant("chinook").await;
    let operator = house.operator_token().await;
    FileKms::open(&house.dir.path().join("kms.key")).unwrap().rotate(&SystemEntropy).unwrap();
    let epoch = house.registry.latest().facts.epoch;
    let done = house.ask(&operator, rewrap(Some("northwind"), None)).await.unwrap();
    assert_eq!(done, json!({ "rewrapped": [{ "tenant": "northwind", "version": 1 }], "failed": [] }));
    assert_eq!(house.registry.latest().facts.epoch, epoch + 1);
    assert_eq!(versions(&house), [(name("chinook"), 0), (name("northwind"), 1), (name("operators"), 0)]);
    let done = house.ask(&operator, rewrap(None, None)).await.unwrap();
    assert_eq!(done["rewrapped"].as_array().unwrap().len(), 3);
    // The tenant is told, and its records of before are read with the same key.
    let house = house.reopened().await;
    assert!(versions(&house).iter().all(|(_, version)| *version == 1));
    // Opened again, the deployment's own key is wrapped anew as well: nothing needs the old one.
    std::fs::rename(house.dir.path().join("kms.key"), house.dir.path().join("old")).unwrap();
    let house = house.reopened().await;
    let token = house.token("andrew", "northwind", &andrew).await;
    let page = house.ask(&token, Control::AuditRead(Default::default())).await.unwrap();
    let records = page["records"].as_array().unwrap();
    assert!(records.iter().any(|one| one["detail"] == "key wrapped by default"), "{records:?}");
    assert!(records.iter().any(|one| one["detail"] == "put andrew@northwind"), "{records:?}");
}

#[tokio::test]
async fn operators_choose_what_wraps_and_only_among_what_there_is() {
    let house = House::new().await;
    let andrew = house.tenant("northwind").await;
    let (operator, andrew) = (house.operator_token().await, house.token("andrew", "northwind", &andrew).await);
    assert!(is_forbidden(&house.ask(&andrew, rewrap(None, None)).await));
    assert!(is_forbidden(&house.ask(&andrew, rewrap(Some("northwind"), None)).await));
    assert!(is_forbidden(&house.ask(&operator, rewrap(Some("nobody"), None)).await));
    let before = house.registry.latest().facts.epoch;
    let add = Control::TenantAdd { name: name("late"), kms: Some(name("nobody")) };
    for wrong in [rewrap(Some("northwind"), Some("nobody")), rewrap(None, Some("default")), add] {
        let refused = house.ask(&operator, wrong).await.unwrap_err();
        assert!(matches!(refused, Failed::Control(ControlFailure::Invalid { .. })), "{refused:?}");
    }
    assert_eq!(house.registry.latest().facts.epoch, before);
    house.ask(&operator, rewrap(Some("northwind"), Some("default"))).await.unwrap();
}

#[tokio::test]
async fn keys_are_listed_and_what_is_in_use_is_not_destroyed() {
    let house = House::new().await;
    let andrew = house.tenant("northwind").await;
    let (operator, andrew) = (house.operator_token().await, house.token("andrew", "northwind", &andrew).await);
    let list = || Control::Keys(KeyControl::List { tenant: Some(name("northwind")) });
    assert!(is_forbidden(&house.ask(&andrew, list()).await));
    let keys = house.ask(&operator, list()).await.unwrap();
    let key = &keys.as_array().unwrap()[0];
    assert_eq!((&key["key"], &key["epoch"], &key["state"]), (&json!("tenant"), &json!(1), &json!("current")));
    assert_eq!((&key["age_days"], &key["left_days"]), (&json!(0), &json!(365)));
    let destroy = |epoch| Control::Keys(KeyControl::Destroy { tenant: name("northwind"), epoch });
    let refused = house.ask(&operator, destroy(1)).await.unwrap_err();
    assert!(matches!(refused, Failed::Control(ControlFailure::Invalid { .. })), "{refused:?}");
    let refused = house.ask(&operator, destroy(7)).await.unwrap_err();
    assert!(matches!(refused, Failed::Control(ControlFailure::NotFound { .. })), "{refused:?}");
    // Nobody here would seal records again.
    let rotate = |scope| Control::Keys(KeyControl::Rotate { scope });
    let refused = house.ask(&operator, rotate(KeyScope::Tenant(name("northwind")))).await.unwrap_err();
    assert!(matches!(refused, Failed::Control(ControlFailure::Invalid { .. })), "{refused:?}");
}

#[tokio::test]
async fn the_deployments_own_key_is_wrapped_anew_while_it_serves() {
    let house = House::new().await;
    let operator = house.operator_token().await;
    FileKms::open(&house.dir.path().join("kms.key")).unwrap().rotate(&SystemEntropy).unwrap();
    let rotate = Control::Keys(KeyControl::Rotate { scope: KeyScope::Deployment });
    let done = house.ask(&operator, rotate).await.unwrap();
    assert_eq!(done["version"], 1);
    house.reopened().await;
}

#[tokio::test]
async fn a_key_that_was_made_from_an_older_one_is_not_put_in_force() {
    let house = House::new().await;
    house.tenant("northwind").await;
    let tenant = house.registry.latest().facts.tenant_names[&name("northwind")];
    let before = house.registry.wrapped_key(tenant).unwrap();
    let set = house.registry.change_keys(tenant, move |keys, entropy| keys.rotate(entropy, tenant)).await.unwrap();
    assert_eq!((set.newest(), set.oldest()), (2, 1));
    assert!(!house.registry.replace_key(tenant, Some(&before), before.to_vec()).await.unwrap());
    let set = house.registry.resealed(tenant, 2).await.unwrap();
    assert_eq!((set.oldest(), set.is_mixed()), (2, false));
    let set = house.registry.change_keys(tenant, move |keys, _| keys.destroy(tenant, 1)).await.unwrap();
    assert!(set.generations()[0].is_destroyed());
}
