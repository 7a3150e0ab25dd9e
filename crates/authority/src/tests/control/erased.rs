//! What an erased tenant leaves: in deployments that are restored from before, and in facts that are not its own.

use countersign_keys::OwnKeyId;
use countersign_model::control::Control;
use countersign_model::custody::EraseControl;
use countersign_model::erasure::{Counts, Erased, Receipt};
use countersign_model::{RequestId, TenantId, UnixMs, UserId};

use super::super::{House, kms, name, registry_parts};
use super::erase::{copy, house, tenant_id};
use crate::Registry;
use crate::registry::erasure::ErasureFact;

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

/// The receipt of an erasure that was begun.
fn begun(tenant: TenantId, begun: UnixMs) -> Receipt {
    let (id, by) = (RequestId::from_bytes([1; 16]), UserId::from_bytes([1; 16]));
    Receipt { id, tenant, erased: Erased::Tenant, by, begun, finished: None, counts: Counts::default() }
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
    let fact = ErasureFact::of(&begun(tenant, house.now()));
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

/// A key management service that has lost keys is no reason to forget a tenant: only a receipt is, also one of an erasure that
/// is not finished.
#[tokio::test]
async fn a_tenant_whose_key_is_lost_is_refused_by_name() {
    let house = house().await;
    house.tenant("staying").await;
    house.tenant("lost").await;
    let tenant = tenant_id(&house, "lost");
    house.registry.destroy_keys(tenant, &house.registry.own_keys(tenant).0).unwrap();
    let old = tempfile::tempdir().unwrap();
    copy(house.dir.path(), old.path(), &|name| name.starts_with("kms") || name.starts_with("control"));
    let open_old = |is_gone: bool| {
        let parts = registry_parts(old.path(), &house.clock, kms(old.path()));
        Registry::open_without(parts, &|id| is_gone && id == tenant)
    };
    let refused = open_old(false).err().unwrap();
    assert!(refused.to_string().contains(&tenant.to_string()) && refused.to_string().contains("kms.own"), "{refused}");
    // Refused again: nothing was deleted.
    assert!(open_old(false).is_err());
    let without = open_old(true).unwrap();
    assert_eq!(without.latest().facts.tenants.len(), 2);
    drop(without);
    assert!(open_old(false).is_ok());

    // In the middle of an erasure.
    let mut change = house.registry.begin().await;
    change.put_erasure(ErasureFact::of(&begun(tenant, house.now()))).unwrap();
    change.commit().await.unwrap();
    let house = house.reopened().await;
    assert!(house.registry.unfinished_erasures().is_empty());
    assert_eq!(house.registry.latest().facts.tenants.len(), 2);
    let rows = house.registry.sealed_rows().unwrap();
    assert!(!rows.iter().any(|(_, id, _)| id == tenant.as_bytes()), "nothing of it is left");
}
