//! What an erased tenant leaves: in deployments that are restored from before, and in facts that are not its own.

use countersign_keys::OwnKeyId;
use countersign_model::TenantId;
use countersign_model::control::Control;
use countersign_model::custody::EraseControl;

use super::super::{House, kms, name, registry_parts};
use super::erase::{copy, house, tenant_id};
use crate::Registry;

async fn erase_tenant(house: &House, tenant: &str) -> serde_json::Value {
    let operator = house.operator_token().await;
    house.ask(&operator, Control::Erase(EraseControl::Tenant { tenant: name(tenant) })).await.unwrap()
}

fn there(registry: &Registry) -> Vec<OwnKeyId> {
    registry.kms().default_provider().own().unwrap()
}

fn ids(registry: &Registry, tenant: TenantId) -> Vec<OwnKeyId> {
    registry.own_keys(tenant).0.into_iter().map(|(_, id)| OwnKeyId(id)).collect()
}

/// Restored from before, with the keys of before.
#[tokio::test]
async fn receipts_destroy_the_keys_of_an_erased_tenant_wherever_they_are_heeded() {
    let house = house().await;
    house.tenant("staying").await;
    house.tenant("vanishing").await;
    let (stays, goes) = (tenant_id(&house, "staying"), tenant_id(&house, "vanishing"));
    let old = tempfile::tempdir().unwrap();
    copy(house.dir.path(), old.path(), &|name| name.starts_with("kms") || name.starts_with("control"));
    let receipt = erase_tenant(&house, "vanishing").await;
    let receipts = house.registry.receipts();

    let open = || Registry::open(registry_parts(old.path(), &house.clock, kms(old.path()))).unwrap();
    let restored = open();
    let (kept, gone) = (ids(&restored, stays), ids(&restored, goes));
    assert!(kept.len() >= 2 && gone.len() >= 2);
    assert!(gone.iter().all(|key| there(&restored).contains(key)));
    assert_eq!(restored.replay(&receipts).await.unwrap(), 1);
    assert!(!gone.iter().any(|key| there(&restored).contains(key)), "keys of the erased tenant");
    assert!(kept.iter().all(|key| there(&restored).contains(key)));
    assert!(!restored.latest().facts.tenants.contains_key(&goes));
    // Whoever looks for them knows which to look for; the receipt is what it was.
    let id = receipt["receipt"].as_str().unwrap().parse().unwrap();
    let fact = restored.erasure(id).unwrap();
    assert_eq!(fact.keys.len(), gone.len());
    assert_eq!(Some(&fact.receipt), receipts.find(id));
    assert_eq!(restored.replay(&receipts).await.unwrap(), 0);
    drop(restored);
    let again = open();
    assert!(again.unfinished_erasures().is_empty() && again.latest().facts.tenants.contains_key(&stays));
}

/// A key that a tenant got after its erasure was begun is destroyed with it, or is none of the tenant's.
#[tokio::test]
async fn a_tenant_that_is_being_erased_gets_no_keys() {
    let house = house().await;
    house.tenant("vanishing").await;
    let tenant = tenant_id(&house, "vanishing");
    let fact = crate::registry::erasure::ErasureFact::of(&countersign_model::erasure::Receipt {
        id: countersign_model::RequestId::from_bytes([1; 16]),
        tenant,
        erased: countersign_model::erasure::Erased::Tenant,
        by: countersign_model::UserId::from_bytes([1; 16]),
        begun: house.now(),
        finished: None,
        counts: Default::default(),
    });
    let before = house.registry.wrapped_key(tenant);
    let mut change = house.registry.begin().await;
    change.put_erasure(fact).unwrap();
    change.commit().await.unwrap();
    let rotated =
        house.registry.change_keys(tenant, move |keys, _| Ok([keys.set(tenant)?.encode(), vec![0]].concat())).await;
    assert!(rotated.is_err());
    assert_eq!(house.registry.wrapped_key(tenant), before);
    // It had none among those that were to be destroyed when it was begun.
    let had = ids(&house.registry, tenant);
    let house = house.reopened().await;
    assert!(had.len() >= 2 && !had.iter().any(|key| there(&house.registry).contains(key)));
}
