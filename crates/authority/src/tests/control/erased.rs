//! What an erased tenant leaves: in deployments that are restored from before, and in facts that are not its own.

use std::sync::Arc;

use countersign_audit::LedgerQuery;
use countersign_keys::OwnKeyId;
use countersign_model::control::{AuditQuery, Control};
use countersign_model::custody::EraseControl;
use countersign_model::erasure::{Counts, Erased, Receipt};
use countersign_model::incident::IncidentControl;
use countersign_model::{RequestId, TenantId, TypeId, UnixMs, UserId};
use countersign_store::Store as _;
use countersign_store::carry::Moments as _;

use serde_json::Value;

use super::super::{Failed, House, kms, name, registry_parts};
use super::access;
use super::erase::{copy, customer, erase_record, house, incident, proved, tenant_id};
use crate::registry::erasure::ErasureFact;
use crate::registry::fact::{GrantFact, GrantState};
use crate::{ControlFailure, Registry};

async fn erase_tenant(house: &House, tenant: &str) -> Value {
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

/// What operators see of a breach afterwards: numbers and identifiers.
#[tokio::test]
async fn incidents_keep_no_names_of_what_was_erased() {
    let house = house().await;
    for tenant in ["staying", "vanishing"] {
        let admin = house.tenant(tenant).await;
        let person = house.person(tenant, &admin, &format!("person-of-{tenant}"), "admin").await;
        incident(&house, tenant, (&house.token("andrew", tenant, &admin).await, &person)).await;
    }
    let goes = tenant_id(&house, "vanishing");
    // Opened again, everything is there that was there.
    let house = house.reopened().await;
    let operator = house.operator_token().await;
    let list = || house.ask(&operator, Control::Incident(IncidentControl::List));
    let show = async |entry: &Value| {
        let incident = entry["id"].as_str().unwrap().parse().unwrap();
        house.ask(&operator, Control::Incident(IncidentControl::Show { incident })).await.unwrap()
    };
    let before = list().await.unwrap();
    for (entry, tenant) in before.as_array().unwrap().iter().zip(["staying", "vanishing"]) {
        let shown = show(entry).await;
        let principal = format!("person-of-{tenant}@{tenant}");
        assert_eq!(
            (&shown["culprit"]["principal"]["tenant"], &shown["steps"][0]["subject"]),
            (&tenant.into(), &principal.as_str().into())
        );
        assert!(shown["notices"][0]["text"].as_str().unwrap().contains(&principal), "{shown}");
        assert!(shown["notices"][0]["acknowledged"].as_str().unwrap().ends_with(&format!("by andrew@{tenant}")));
    }
    erase_tenant(&house, "vanishing").await;
    let said = |all: &Value, word: &str| all.to_string().contains(word);
    {
        let house = house.reopened().await;
        let operator = house.operator_token().await;
        let after = house.ask(&operator, Control::Incident(IncidentControl::List)).await.unwrap();
        for entry in after.as_array().unwrap() {
            let incident = entry["id"].as_str().unwrap().parse().unwrap();
            let shown = house.ask(&operator, Control::Incident(IncidentControl::Show { incident })).await.unwrap();
            assert!(!said(&shown, "vanishing"), "{shown}");
        }
        assert_eq!(after[1]["culprit"]["erased"], goes.to_string());
        assert_eq!(after[1]["requests"], before[1]["requests"]);
        // Nobody does anything about it any more, whoever has the name now.
        let incident = after[1]["id"].as_str().unwrap().parse().unwrap();
        house.tenant("vanishing").await;
        assert!(house.ask(&operator, Control::Incident(IncidentControl::Contain { incident })).await.is_err());
        // What operators did is on record by identifiers.
        let page = house.ask(&operator, Control::AuditRead(AuditQuery::default())).await.unwrap();
        let old = page["records"].as_array().unwrap().iter().filter(|record| record["action"] == "manage_incidents");
        assert!(old.clone().count() >= 6 && !old.clone().any(|record| said(record, "vanishing")), "{page}");
    }
}

/// Requests that come while a tenant is being erased, or later, are on record by identifiers.
#[tokio::test]
async fn records_say_no_names_once_the_keys_are_gone() {
    let house = house().await;
    let admin = house.tenant("vanishing").await;
    let token = house.token("andrew", "vanishing", &admin).await;
    let tenant = tenant_id(&house, "vanishing");
    let authority = &house.ledgers[1];
    authority.flush().await.unwrap();
    let last = authority.query(Some(tenant), &LedgerQuery::default()).unwrap().last().unwrap().0;
    house.registry.destroy_keys(tenant, &house.registry.own_keys(tenant).0).unwrap();
    let _ = house.ask(&token, Control::WhoAmI).await;
    erase_tenant(&house, "vanishing").await;
    assert!(house.ask(&token, Control::WhoAmI).await.is_err());
    let mut shown = String::new();
    authority.flush().await.unwrap();
    // What opens without the tenant's key.
    let query = LedgerQuery { after: Some(last), ..LedgerQuery::default() };
    for (_, record) in authority.query(Some(tenant), &query).unwrap() {
        shown.push_str(&serde_json::to_string(&record).unwrap());
    }
    assert!(shown.contains("use_own_token") && !shown.contains("andrew"), "{shown}");
}

/// Services apart have keys and records that the authority can't destroy: nothing of an erasure is begun that it could not end.
#[tokio::test]
async fn services_apart_erase_principals_only() {
    let house = house().await;
    let admin = house.tenant("northwind").await;
    house.person("northwind", &admin, "nancy", "rep").await;
    let House { dir, clock, registry, ledgers, store, authority, guard, operator } = house;
    let authority = Arc::into_inner(authority).unwrap();
    let (keys, records, trails) =
        (Arc::clone(&authority.keys), Arc::clone(&authority.records), Arc::clone(&authority.trails));
    let authority = Arc::new(authority.with_services(keys, records, trails));
    let house = House { dir, clock, registry, ledgers, store, authority, guard, operator };
    let (andrew, operator) = (house.token("andrew", "northwind", &admin).await, house.operator_token().await);
    let record = EraseControl::Record { record_type: "customer".into(), key: "c1".into() };
    let of_tenant = EraseControl::Tenant { tenant: name("northwind") };
    for (token, erase) in [(&andrew, record), (&operator, of_tenant)] {
        let refused = house.ask(token, Control::Erase(erase)).await.unwrap_err();
        assert!(matches!(refused, Failed::Control(ControlFailure::Invalid { .. })), "{refused:?}");
    }
    assert!(house.registry.receipts().is_empty());
    let principal = EraseControl::Principal { tenant: None, user: name("nancy") };
    let receipt = house.ask(&andrew, Control::Erase(principal)).await.unwrap();
    let proof = proved(&house, &andrew, &receipt).await;
    assert_eq!(proof["proved"], true, "{proof}");
    // An erasure that one process had begun waits until there is one again.
    let mut change = house.registry.begin().await;
    change.put_erasure(ErasureFact::of(&begun(tenant_id(&house, "northwind"), house.now()))).unwrap();
    change.commit().await.unwrap();
    house.authority.finish_erasures().await;
    assert_eq!(house.registry.unfinished_erasures().len(), 1);
    assert!(house.registry.latest().facts.tenants.contains_key(&tenant_id(&house, "northwind")));
}

/// While a backup reads the file as it was, a record is erased for everybody, and its receipt is not finished.
#[tokio::test]
async fn a_receipt_is_finished_when_nothing_is_in_the_files() {
    let house = house().await;
    let admin = house.tenant("northwind").await;
    let (andrew, tenant) = (house.token("andrew", "northwind", &admin).await, tenant_id(&house, "northwind"));
    let record = customer(&house, tenant, "c1").await;
    let moment = house.store.moment(tenant).await.unwrap();
    let receipt = house.ask(&andrew, erase_record("c1")).await.unwrap();
    assert!(receipt["finished"].is_null() && receipt["counts"]["past"] == 2, "{receipt}");
    assert!(house.store.erasing().unwrap().traces(tenant, TypeId(0), &[record]).await.unwrap().is_none());
    let proof = proved(&house, &andrew, &receipt).await;
    assert_eq!(proof["proved"], false, "{proof}");
    // Again, and nobody is there who could end it.
    house.authority.finish_erasures().await;
    assert_eq!(house.registry.unfinished_erasures().len(), 1);
    drop(moment);
    // SQLite lets the reader go on a thread of its own.
    for _ in 0..400 {
        house.authority.finish_erasures().await;
        if house.registry.unfinished_erasures().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let proof = proved(&house, &andrew, &receipt).await;
    assert_eq!((&proof["proved"], &proof["receipt"]["counts"]), (&true.into(), &receipt["counts"]), "{proof}");
}

/// An operator who was erased has no access in a deployment that is restored from when there was some, by whichever user it was.
#[tokio::test]
async fn receipts_end_the_access_of_an_erased_operator() {
    let house = house().await;
    let admin = house.tenant("northwind").await;
    let second = access::second_operator(&house).await;
    let theirs = house.token("second", "operators", &second).await;
    let asked = house.ask(&theirs, access::request("admin", false)).await.unwrap();
    let andrew = house.token("andrew", "northwind", &admin).await;
    house.ask(&andrew, access::decide(access::id(&asked), true)).await.unwrap();
    house.ask(&theirs, access::request("accountant", false)).await.unwrap();
    let old = tempfile::tempdir().unwrap();
    copy(house.dir.path(), old.path(), &|name| name.starts_with("kms") || name.starts_with("control"));
    let operator = house.operator_token().await;
    house.ask(&operator, Control::Erase(EraseControl::Principal { user: name("second"), tenant: None })).await.unwrap();

    let restored = Registry::open(registry_parts(old.path(), &house.clock, kms(old.path()))).unwrap();
    let users =
        |registry: &Registry| registry.latest().facts.users.values().map(|user| user.name.to_string()).collect();
    let before: Vec<String> = users(&restored);
    assert!(before.iter().filter(|name| name.contains("second")).count() == 2, "{before:?}");
    assert_eq!(restored.replay(&house.registry.receipts()).await.unwrap(), 1);
    let after: Vec<String> = users(&restored);
    assert!(!after.iter().any(|name| name.contains("second")), "{after:?}");
    let grants = restored.grants();
    let is_over = |grant: &GrantFact| matches!(grant.state, GrantState::Refused { .. } | GrantState::Closed { .. });
    assert!(
        grants.len() == 2 && grants.iter().all(|(_, grant)| is_over(grant) && grant.operator_name.as_str() == "erased")
    );
}
