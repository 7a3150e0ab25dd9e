//! What wraps tenants' keys.

use countersign_crypto::SystemEntropy;
use countersign_keys::{FileKms, KmsProvider, wrapped_version};
use countersign_model::Name;
use countersign_model::control::Control;
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
