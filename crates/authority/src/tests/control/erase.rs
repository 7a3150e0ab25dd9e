//! The end of data, and what an old copy of everything shows afterwards.
#![expect(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use countersign_audit::{AuditKeys, Ledger, LedgerQuery, Options, Service};
use countersign_crypto::{Aad, SealKey, SystemEntropy, TenantKey, cell_aad, ssh};
use countersign_keys::{FileKms, KeySet, KmsError, KmsProvider};
use countersign_model::control::{AuditQuery, Contacts, Control, PolicyFile};
use countersign_model::custody::EraseControl;
use countersign_model::erasure::{Counts, Erased, Receipt};
use countersign_model::incident::{Culprit, IncidentControl};
use countersign_model::{FieldId, RecordId, RequestId, TenantId, TypeId, UnixMs, UserId, Value as Cell};
use countersign_store::carry::Carry;
use countersign_store::{Batch, SealedChange, SqliteStore, Store};
use serde_json::Value;

use super::super::{Failed, House, files, is_forbidden, kms, name, registry_parts};
use crate::registry::erasure::ErasureFact;
use crate::{ControlFailure, Registry, RegistryError};

const CUSTOMER: TypeId = TypeId(0);
const ID: FieldId = FieldId(0);
const COMPANY: FieldId = FieldId(1);

/// As the rest of the suite has it, and admins may erase.
pub(super) async fn house() -> House {
    let house = House::new().await;
    let operator = house.operator_token().await;
    let text = r#"@id("erase") permit (principal in Role::"admin", action in [Control::Action::"erase",
        Control::Action::"manage_contacts", Control::Action::"read_notices"], resource);"#;
    let mut all = files();
    all.push(PolicyFile { name: "erase.cedar".into(), text: text.into() });
    house.ask(&operator, Control::PoliciesApply { files: all, dry_run: false }).await.unwrap();
    house
}

pub(super) fn tenant_id(house: &House, tenant: &str) -> TenantId {
    house.registry.latest().facts.tenant_names[&name(tenant)]
}

/// A customer, as a gateway would store it: made and changed once.
pub(super) async fn customer(house: &House, tenant: TenantId, key: &str) -> RecordId {
    let (keys, record) = (house.registry.tenant_keys(), RecordId::new(house.now(), &SystemEntropy));
    let (id, company) = (keys.field(tenant, CUSTOMER, ID).unwrap(), keys.field(tenant, CUSTOMER, COMPANY).unwrap());
    let value = Cell::Text(key.into());
    let seal = |keys: &countersign_crypto::FieldKeys, field, value: &Cell| {
        keys.cell.seal(&SystemEntropy, &cell_aad(tenant, CUSTOMER, field, record), &value.to_bytes())
    };
    let insert = SealedChange::Insert {
        record_type: CUSTOMER,
        record,
        cells: vec![(ID, seal(&id, ID, &value))],
        tags: vec![(ID, id.tag.tag(&value.to_tag_bytes()))],
    };
    let cells = vec![(COMPANY, Some(seal(&company, COMPANY, &Cell::Text("a company".into()))))];
    let update = SealedChange::Update { record_type: CUSTOMER, record, version: 1, cells, tags: vec![] };
    for change in [insert, update] {
        let batch = Batch { changes: vec![change], at: house.now(), epoch: 1, ..Batch::default() };
        house.store.write(tenant, batch).await.unwrap().unwrap();
    }
    record
}

pub(super) fn erase_record(key: &str) -> Control {
    Control::Erase(EraseControl::Record { record_type: "customer".into(), key: key.into() })
}

pub(super) async fn proved(house: &House, token: &str, receipt: &Value) -> Value {
    let receipt = receipt["receipt"].as_str().unwrap().parse().unwrap();
    house.ask(token, Control::Erase(EraseControl::Prove { receipt })).await.unwrap()
}

#[tokio::test]
async fn a_record_goes_with_all_that_it_was() {
    let house = house().await;
    let admin = house.tenant("northwind").await;
    let andrew = house.token("andrew", "northwind", &admin).await;
    let tenant = tenant_id(&house, "northwind");
    let (gone, stays) = (customer(&house, tenant, "c1").await, customer(&house, tenant, "c2").await);
    // Whoever may not delete all of it may not erase it, nor may operators.
    let rep = house.person("northwind", &admin, "nancy", "rep").await;
    let nancy = house.token("nancy", "northwind", &rep).await;
    assert!(is_forbidden(&house.ask(&nancy, erase_record("c1")).await));
    let operator = house.operator_token().await;
    assert!(is_forbidden(&house.ask(&operator, erase_record("c1")).await));
    let missing = house.ask(&andrew, erase_record("c9")).await.unwrap_err();
    assert!(matches!(missing, Failed::Control(ControlFailure::NotFound { .. })), "{missing:?}");

    let receipt = house.ask(&andrew, erase_record("c1")).await.unwrap();
    assert_eq!(receipt["records"], serde_json::json!([gone.to_string()]));
    assert_eq!((&receipt["counts"]["records"], &receipt["counts"]["past"]), (&1.into(), &2.into()));
    let traces = house.store.erasing().unwrap();
    assert!(traces.traces(tenant, CUSTOMER, &[gone]).await.unwrap().is_none());
    assert_eq!(traces.traces(tenant, CUSTOMER, &[stays]).await.unwrap().records, 1);
    assert!(house.registry.receipts().is_record_erased(tenant, CUSTOMER, gone));
    assert_eq!(proved(&house, &andrew, &receipt).await["proved"], true);
    // On record by its id, and never by its key.
    let query = AuditQuery { record: Some(("customer".into(), gone.to_string())), ..AuditQuery::default() };
    let page = house.ask(&andrew, Control::AuditRead(query)).await.unwrap().to_string();
    assert!(page.contains(&gone.to_string()) && !page.contains("c1\""), "{page}");
    // A deleted one is found by the key that it had.
    let delete = SealedChange::Delete { record_type: CUSTOMER, record: stays, version: 2 };
    house
        .store
        .write(tenant, Batch { changes: vec![delete], at: house.now(), ..Batch::default() })
        .await
        .unwrap()
        .unwrap();
    let receipt = house.ask(&andrew, erase_record("c2")).await.unwrap();
    assert_eq!(receipt["records"], serde_json::json!([stays.to_string()]));
    assert!(traces.traces(tenant, CUSTOMER, &[stays]).await.unwrap().is_none());
    // Other tenants see no receipt of it.
    let receipts = house.ask(&operator, Control::Erase(EraseControl::Receipts { tenant: None })).await.unwrap();
    assert_eq!(receipts, serde_json::json!([]));
}

#[tokio::test]
async fn of_a_principal_an_identifier_is_left() {
    let house = house().await;
    let admin = house.tenant("northwind").await;
    let key = house.person("northwind", &admin, "nancy", "accountant").await;
    let (andrew, nancy) =
        (house.token("andrew", "northwind", &admin).await, house.token("nancy", "northwind", &key).await);
    house.ask(&nancy, Control::WhoAmI).await.unwrap();
    let id = house.registry.latest().facts.user_names[&(tenant_id(&house, "northwind"), name("nancy"))];
    let erase = |who: &str| Control::Erase(EraseControl::Principal { tenant: None, user: name(who) });
    let last = house.ask(&house.token("andrew", "northwind", &admin).await, erase("nobody")).await.unwrap_err();
    assert!(matches!(last, Failed::Control(ControlFailure::NotFound { .. })));
    house.clock.advance_ms(1000);
    let receipt = house.ask(&andrew, erase("nancy")).await.unwrap();
    assert_eq!(receipt["principal"], id.to_string());
    assert!(house.ask(&nancy, Control::WhoAmI).await.is_err());
    assert!(house.login("nancy", "northwind", &key).await.is_err());
    house.clock.advance_ms(1000);
    // Somebody else who is called so now is shown, and not taken for her.
    let other = house.person("northwind", &admin, "nancy", "accountant").await;
    let house = house.reopened().await;
    house.ask(&house.token("nancy", "northwind", &other).await, Control::WhoAmI).await.unwrap();
    let page = house.ask(&andrew, Control::AuditRead(AuditQuery::default())).await.unwrap();
    let (mut shown, mut named) = (0, 0);
    for record in page["records"].as_array().unwrap() {
        if record["user_id"] == id.to_string() {
            assert!(!record.to_string().contains("nancy"), "{record}");
            shown += 1;
        }
        named += i32::from(
            record["user"] == "nancy" || record["detail"].as_str().is_some_and(|said| said.contains("nancy")),
        );
        let old = record["detail"].as_str().is_some_and(|said| said.starts_with(&format!("put {id}")));
        shown += i32::from(old);
    }
    assert!(shown >= 2 && named >= 1, "{page}");
    let by = AuditQuery { user: Some("nancy".into()), ..AuditQuery::default() };
    let page = house.ask(&andrew, Control::AuditRead(by)).await.unwrap().to_string();
    assert!(!page.contains(&id.to_string()), "{page}");
    let proof = proved(&house, &andrew, &receipt).await;
    assert_eq!(proof["proved"], true, "{proof}");
    // The last one stays.
    let house = house.reopened().await;
    let michael = house.tenant("chinook").await;
    let last = house.ask(&house.token("andrew", "chinook", &michael).await, erase("andrew")).await.unwrap_err();
    assert!(matches!(last, Failed::Control(ControlFailure::LastPerson)), "{last:?}");
}

/// Cut off at any point, it is done when the deployment is opened again.
#[tokio::test]
async fn what_was_begun_is_finished_at_the_next_start() {
    let house = house().await;
    let admin = house.tenant("northwind").await;
    house.tenant("vanishing").await;
    let (tenant, other) = (tenant_id(&house, "northwind"), tenant_id(&house, "vanishing"));
    let record = customer(&house, tenant, "c1").await;
    let receipt = |number: u8, tenant, erased| Receipt {
        id: RequestId::from_bytes([number; 16]),
        tenant,
        erased,
        by: UserId::from_bytes([1; 16]),
        begun: house.now(),
        finished: None,
        counts: Counts::default(),
    };
    let (keys, shared) = house.registry.own_keys(other);
    assert!(keys.len() >= 2 && shared == 0, "the tenant's key, and that of its facts");
    let of_record = receipt(1, tenant, Erased::Records { record_type: CUSTOMER, records: vec![record] });
    // Nothing refers to it, by tags that the store can go by.
    let absent = vec![(CUSTOMER.0, ID.0, vec![[7; 16]])];
    let record_fact = ErasureFact { absent, epoch: 1, ..ErasureFact::of(&of_record) };
    let tenant_fact = ErasureFact { keys: keys.clone(), shared, ..ErasureFact::of(&receipt(2, other, Erased::Tenant)) };
    let mut change = house.registry.begin().await;
    change.put_erasure(record_fact).unwrap();
    change.put_erasure(tenant_fact).unwrap();
    change.commit().await.unwrap();
    // Of the tenant, one key is destroyed already: the one without which its facts don't open.
    house.registry.destroy_keys(other, &keys[keys.len() - 1..]).unwrap();
    let house = house.reopened().await;
    assert!(house.registry.unfinished_erasures().is_empty());
    assert!(house.store.erasing().unwrap().traces(tenant, CUSTOMER, &[record]).await.unwrap().is_none());
    assert!(!house.store.erasing().unwrap().has_tenant(other).await.unwrap());
    assert_eq!(house.registry.keys_left(&keys).unwrap(), 0);
    assert!(!house.registry.latest().facts.tenants.contains_key(&other));
    house.token("andrew", "northwind", &admin).await;
}

pub(super) fn copy(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !wanted(&name) {
            continue;
        }
        let to = to.join(&name);
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to, &|_| true);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// How many cells of a tenant's file open under these keys, and how many there are.
async fn cells(store: &SqliteStore, tenant: TenantId, keys: &[Arc<countersign_crypto::FieldKeys>]) -> (usize, usize) {
    let mut rows = store.rows(tenant, CUSTOMER, None, 100).await.unwrap();
    rows.extend(store.past(tenant, CUSTOMER, None, 100).await.unwrap().into_iter().map(|past| past.row));
    let (mut opened, mut all) = (0, 0);
    for row in rows {
        for (field, cell) in row.cells {
            let aad = cell_aad(tenant, CUSTOMER, field, row.record);
            all += 1;
            opened += usize::from(keys.iter().any(|keys| keys.cell.open(&aad, &cell).is_ok()));
        }
    }
    (opened, all)
}

/// The whole disk of before, and every key that there is afterwards.
#[tokio::test]
async fn an_old_copy_and_all_later_keys_show_nothing_of_an_erased_tenant() {
    let house = house().await;
    let (mut tenants, mut wrapped) = (Vec::new(), Vec::new());
    for tenant in ["staying", "vanishing"] {
        let admin = house.tenant(tenant).await;
        let person = house.person(tenant, &admin, &format!("person-of-{tenant}"), "admin").await;
        let token = house.token("andrew", tenant, &admin).await;
        let contacts = Contacts { emails: vec![format!("desk@{tenant}.example")], language: "en".into() };
        house.ask(&token, Control::ContactsPut(contacts)).await.unwrap();
        let id = tenant_id(&house, tenant);
        customer(&house, id, "c1").await;
        incident(&house, tenant, (&token, &person)).await;
        tenants.push(id);
        wrapped.push(house.registry.wrapped_keys()[&id].to_vec());
    }
    let old = tempfile::tempdir().unwrap();
    for ledger in &house.ledgers {
        ledger.flush().await.unwrap();
    }
    // The keys of the key management service are elsewhere.
    copy(house.dir.path(), old.path(), &|name| !name.starts_with("kms"));
    let rows = house.registry.sealed_rows().unwrap();
    let operator = house.operator_token().await;
    let erase = Control::Erase(EraseControl::Tenant { tenant: name("vanishing") });
    let receipt = house.ask(&operator, erase).await.unwrap();
    assert!(receipt["counts"]["keys"].as_u64().unwrap() >= 2, "{receipt}");
    let proof = proved(&house, &operator, &receipt).await;
    assert_eq!(proof["proved"], true, "{proof}");
    assert!(is_forbidden(
        &house.ask(&operator, Control::Erase(EraseControl::Tenant { tenant: name("operators") })).await
    ));
    copy(house.dir.path(), old.path(), &|name| name.starts_with("kms"));

    // Wrapped keys.
    let later: Arc<dyn KmsProvider> = Arc::new(FileKms::open(&old.path().join("kms.key")).unwrap());
    for ((tenant, wrapped), destroyed) in tenants.iter().zip(&wrapped).zip([false, true]) {
        for generation in KeySet::decode(wrapped).unwrap().generations() {
            let aad = Aad::new("tenant-key.1").part(tenant.as_bytes());
            let opened = later.unwrap_key(&aad, &generation.wrapped);
            assert_eq!(matches!(opened, Err(KmsError::Destroyed)), destroyed, "{:?}", opened.err());
        }
    }
    // The copy as a deployment.
    let refused = Registry::open(registry_parts(old.path(), &house.clock, kms(old.path())));
    assert!(matches!(refused.err(), Some(RegistryError::NoKeyOf { tenant, others: 0 }) if tenant == tenants[1]));
    let registry =
        Registry::open_without(registry_parts(old.path(), &house.clock, kms(old.path())), &|id| id == tenants[1])
            .unwrap();
    let facts = Arc::clone(&registry.latest().facts);
    assert!(facts.tenants.contains_key(&tenants[0]) && !facts.tenants.contains_key(&tenants[1]));
    assert!(facts.users.values().all(|user| user.tenant != tenants[1]));
    // Facts, one by one, under every key there is.
    let mut said = registry_texts(&registry, &rows);
    assert!(registry.sealed_rows().unwrap().len() + 4 <= rows.len(), "what nobody opens any more is deleted");
    // Ledgers.
    for service in [Service::Authority, Service::Gateway, Service::Keys, Service::Store] {
        let folder = old.path().join("audit").join(service.as_str());
        let keys = Arc::clone(&registry) as Arc<dyn AuditKeys>;
        let ledger = Ledger::open(&folder, service, keys, Arc::new(SystemEntropy), Options::default()).unwrap();
        let operators = facts.tenant_names[&name("operators")];
        for tenant in [None, Some(operators), Some(tenants[0])] {
            for (_, record) in ledger.query(tenant, &LedgerQuery::default()).unwrap() {
                said.push_str(&serde_json::to_string(&record).unwrap());
            }
        }
        let of_gone = ledger.query(Some(tenants[1]), &LedgerQuery::default());
        assert!(of_gone.is_err() || of_gone.is_ok_and(|records| records.is_empty()));
        ledger.close().await;
    }
    assert!(registry.audit_key(Some(tenants[1])).is_err() && registry.audit_key(Some(tenants[0])).is_ok());
    for word in ["staying", "person-of-staying", "desk@staying.example", "The account person-of-staying@staying was"] {
        assert!(said.contains(word), "what is not erased is read: {word}");
    }
    let at = said.find("vanishing").map(|at| &said[at.saturating_sub(200)..(at + 60).min(said.len())]);
    assert_eq!(at, None);
    // Cells, present and past, under every key of every tenant that there is, and the deployment's own.
    let store = SqliteStore::open(&old.path().join("data"), countersign_store::Options::default()).unwrap();
    store.apply_types(&facts.types).await.unwrap();
    for (tenant, opens) in [(tenants[0], true), (tenants[1], false)] {
        let mut keys = Vec::new();
        for field in [ID, COMPANY] {
            for owner in facts.tenants.keys() {
                keys.extend(registry.tenant_keys().field(*owner, CUSTOMER, field));
            }
            keys.push(Arc::new(registry.own_key().field_keys(tenant, CUSTOMER, field, 1)));
        }
        let (opened, all) = cells(&store, tenant, &keys).await;
        assert!(all >= 3 && opened == if opens { all } else { 0 }, "{opened} of {all}");
    }
}

/// A breach by a principal of the tenant, which is contained, and of which the tenant was told.
pub(super) async fn incident(house: &House, tenant: &str, (admin, key): (&str, &ssh::PrivateKey)) {
    let person = house.token(&format!("person-of-{tenant}"), tenant, key).await;
    house.ask(&person, Control::UserList { tenant: None }).await.unwrap();
    house.clock.advance_ms(1000);
    let operator = house.operator_token().await;
    let culprit = Culprit::Principal { tenant: name(tenant), name: name(&format!("person-of-{tenant}")) };
    let ask = async |token: &str, control| house.ask(token, Control::Incident(control)).await.unwrap();
    let open = IncidentControl::Open { culprit, since: UnixMs(house.now().0 - 60_000), until: None };
    let incident = ask(&operator, open).await["id"].as_str().unwrap().parse().unwrap();
    let contained = ask(&operator, IncidentControl::Contain { incident }).await;
    assert_eq!(contained["steps"][0]["subject"], format!("person-of-{tenant}@{tenant}"));
    ask(&operator, IncidentControl::Notices { incident, send: true }).await;
    ask(admin, IncidentControl::Receive { incident }).await;
    ask(admin, IncidentControl::Acknowledge { incident }).await;
}

/// Everything of these rows that opens by any key that there is.
pub(super) fn registry_texts(registry: &Registry, rows: &[(i16, Vec<u8>, Vec<u8>)]) -> String {
    let deployment: SealKey = registry.own_key().seal_key("facts", 1);
    let aad = |kind: i16, id: &[u8]| Aad::new("fact.1").part(&[u8::try_from(kind).unwrap()]).part(id);
    let mut keys: Vec<SealKey> = vec![registry.own_key().seal_key("facts", 1)];
    for (kind, id, body) in rows.iter().filter(|(kind, _, _)| *kind == 21) {
        let plain = deployment.open(&aad(*kind, id), body).unwrap();
        let fact: crate::registry::fact::TenantFactsKeyFact = postcard::from_bytes(&plain[1..]).unwrap();
        let bound = Aad::new("tenant-facts-key.1").part(id);
        if let Ok(secret) = registry.kms().unwrap_key(&bound, &fact.wrapped) {
            keys.push(TenantKey::new(secret).seal_key("facts", 1));
        }
    }
    assert_eq!(keys.len(), 2, "of two tenants one has a key left");
    let (mut said, mut closed) = (String::new(), 0);
    for (kind, id, body) in rows.iter().filter(|(kind, _, _)| *kind != 0) {
        let plain = deployment.open(&aad(*kind, id), body).unwrap();
        if plain.first() != Some(&0xf0) {
            said.push_str(&String::from_utf8_lossy(&plain));
            continue;
        }
        match keys.iter().find_map(|key| key.open(&aad(*kind, id), &plain[17..]).ok()) {
            Some(plain) => said.push_str(&String::from_utf8_lossy(&plain)),
            None => closed += 1,
        }
    }
    assert!(closed >= 4, "the tenant, two users, its contacts");
    said
}
