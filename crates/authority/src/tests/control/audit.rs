//! Reading the audit log.

use countersign_audit::{Access, AuditSink, Body, Record, RecordSet, Service, Verdict};
use countersign_crypto::SystemEntropy;
use countersign_model::control::{AuditQuery, Control};
use countersign_model::{FieldId, FieldSet, RecordId, RequestId, TenantId, UserId, Value};
use countersign_store::{Batch, SealedChange, Store};
use serde_json::{Value as Json, json};

use super::super::{Failed, House, is_forbidden, name};
use crate::ControlFailure;

fn tenant_id(house: &House, tenant: &str) -> TenantId {
    house.registry.latest().facts.tenant_names[&name(tenant)]
}

async fn read(house: &House, token: &str, query: AuditQuery) -> Json {
    house.ask(token, Control::AuditRead(query)).await.unwrap()
}

fn actions(page: &Json) -> Vec<&str> {
    page["records"].as_array().unwrap().iter().map(|one| one["action"].as_str().unwrap()).collect()
}

/// A customer whose key is `id`, kept as the engine would, and a record that somebody read it.
async fn customer(house: &House, tenant: &str, id: &str) -> RecordId {
    let tenant = tenant_id(house, tenant);
    let types = &house.registry.latest().facts.types;
    let (record_type, customer) = types.find("customer").unwrap();
    let record = RecordId::new(house.now(), &SystemEntropy);
    let keys = house.registry.tenant_keys().field(tenant, record_type, customer.key).unwrap();
    let value = Value::Text(id.to_owned());
    let aad = countersign_crypto::cell_aad(tenant, record_type, customer.key, record);
    let sealed = keys.cell.seal(&SystemEntropy, &aad, &value.to_bytes());
    let change = SealedChange::Insert {
        record_type,
        record,
        cells: vec![(customer.key, sealed)],
        tags: vec![(customer.key, keys.tag.tag(&value.to_tag_bytes()))],
    };
    house
        .store
        .write(tenant, Batch { changes: vec![change], requires: vec![], once: None, epoch: 1, ..Batch::default() })
        .await
        .unwrap()
        .unwrap();
    let records: RecordSet = [record].into_iter().collect();
    let seen = Record {
        time: house.now(),
        request: RequestId::new(house.now(), &SystemEntropy),
        service: Service::Gateway,
        door: None,
        verdict: Verdict::Released,
        tenant: Some(tenant),
        tally: None,
        body: Body {
            user: Some(UserId::from_u128(1)),
            user_name: Some("michael".into()),
            action: "read".into(),
            accesses: vec![Access {
                record_type,
                fields: FieldSet::EMPTY.with(FieldId(1)),
                filter_fields: FieldSet::EMPTY.with(FieldId(0)),
                records,
                rows: 1,
            }],
            ..Body::default()
        },
    };
    house.ledgers[0].append(seen).await.unwrap();
    record
}

#[tokio::test]
async fn who_saw_one_record() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    house.tenant("chinook").await;
    let robert = house.person("northwind", &admin, "robert", "auditor").await;
    let token = house.token("robert", "northwind", &robert).await;
    let seen = customer(&house, "northwind", "ALFKI").await;
    customer(&house, "northwind", "ANATR").await;
    customer(&house, "chinook", "ALFKI").await;

    let about = |key: &str| AuditQuery { record: Some(("customer".into(), key.into())), ..Default::default() };
    let page = read(&house, &token, about("ALFKI")).await;
    let records = page["records"].as_array().unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["user"], &records[0]["verdict"]), (&json!("michael"), &json!("released")));
    assert_eq!(
        records[0]["accesses"],
        json!([{ "type": "customer", "fields": ["company"], "filter_fields": ["id"], "records": 1,
                 "record_ids": [seen], "rows": 1 }])
    );
    assert_eq!(read(&house, &token, about(&seen.to_string())).await["records"], page["records"]);

    let refused = house.ask(&token, Control::AuditRead(about("NOBODY"))).await.unwrap_err();
    let Failed::Control(failure @ ControlFailure::Invalid { .. }) = refused else { panic!("{refused:?}") };
    assert!(!failure.to_string().contains("NOBODY"));
    let other = AuditQuery { record: Some(("nothing".into(), "1".into())), ..Default::default() };
    assert!(house.ask(&token, Control::AuditRead(other)).await.is_err());
    // The keys asked for are values: they are in no record.
    let all = read(&house, &token, AuditQuery::default()).await.to_string();
    assert!(!all.contains("ALFKI") && !all.contains("NOBODY"), "{all}");
    assert!(all.contains("records about one customer"));
}

#[tokio::test]
async fn each_tenant_reads_its_own_and_operators_the_deployments() {
    let house = House::new().await;
    let (northwind, chinook) = (house.tenant("northwind").await, house.tenant("chinook").await);
    house.login("nobody", "chinook", &chinook).await.unwrap_err();
    house.login("somebody", "nowhere", &chinook).await.unwrap_err();
    let andrew = house.token("andrew", "northwind", &northwind).await;
    let page = read(&house, &andrew, AuditQuery::default()).await.to_string();
    assert!(!page.contains("nobody") && !page.contains("nowhere"), "{page}");
    let page = read(&house, &house.token("andrew", "chinook", &chinook).await, AuditQuery::default()).await;
    assert!(page.to_string().contains("nobody"));
    let operator = house.operator_token().await;
    let page = read(&house, &operator, AuditQuery::default()).await.to_string();
    assert!(page.contains("unknown tenant nowhere") && page.contains("add tenant chinook"), "{page}");
    assert!(!page.contains("nobody"));
    let nancy = house.person("northwind", &northwind, "nancy", "accountant").await;
    let nancy = house.token("nancy", "northwind", &nancy).await;
    assert!(is_forbidden(&house.ask(&nancy, Control::AuditRead(AuditQuery::default())).await));
}

#[tokio::test]
async fn pages_follow_one_another_over_all_ledgers() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let andrew = house.token("andrew", "northwind", &admin).await;
    for _ in 0..5 {
        house.clock.advance_ms(10);
        house.ask(&andrew, Control::UserList { tenant: None }).await.unwrap();
        house.clock.advance_ms(10);
        house.login("andrew", "northwind", &admin).await.unwrap();
    }
    house.clock.advance_ms(10);
    let newest = read(&house, &andrew, AuditQuery { limit: Some(4), ..Default::default() }).await;
    assert_eq!(actions(&newest), ["read_users", "login", "read_users", "login"]);
    // Reading is on record too: what follows begins with the reading before.
    let next = |page: &Json| Some(page["next"].as_str().unwrap().to_owned());
    let page = read(&house, &andrew, AuditQuery { after: next(&newest), ..Default::default() }).await;
    assert_eq!(actions(&page), ["read_audit"]);

    let mut after = Some("gateway=0,authority=0".to_owned());
    let mut all = Vec::new();
    for _ in 0..50 {
        let query = AuditQuery { after: after.clone(), limit: Some(3), ..Default::default() };
        let page = read(&house, &andrew, query).await;
        let records = page["records"].as_array().unwrap().clone();
        assert!(records.len() <= 3);
        after = next(&page);
        let own = records.iter().all(|one| one["action"] == "read_audit");
        all.extend(records);
        if own {
            break;
        }
    }
    let places: std::collections::BTreeSet<_> =
        all.iter().map(|one| (one["service"].to_string(), one["position"].as_u64())).collect();
    assert_eq!(places.len(), all.len());
    assert_eq!(all.iter().filter(|one| one["action"] == "login").count(), 6);
    assert_eq!(all.iter().filter(|one| one["action"] == "read_users").count(), 5);
    let times: Vec<_> = all.iter().map(|one| one["time"].as_str().unwrap().to_owned()).collect();
    assert!(times.is_sorted(), "{times:?}");

    for wrong in ["", "0", "gateway", "gateway=x", "gateway=-1", "gateway=0,"] {
        let query = AuditQuery { after: Some(wrong.into()), ..Default::default() };
        let refused = house.ask(&andrew, Control::AuditRead(query)).await.unwrap_err();
        assert!(matches!(refused, Failed::Control(ControlFailure::Invalid { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn by_request_and_by_time() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let andrew = house.token("andrew", "northwind", &admin).await;
    house.clock.advance_ms(5_000);
    let since = house.now();
    house.ask(&andrew, Control::UserList { tenant: None }).await.unwrap();
    let page = read(&house, &andrew, AuditQuery { since: Some(since), ..Default::default() }).await;
    assert_eq!(actions(&page), ["read_users"]);
    let request = page["records"][0]["request"].as_str().unwrap().parse().unwrap();
    let page = read(&house, &andrew, AuditQuery { request: Some(request), ..Default::default() }).await;
    assert_eq!(actions(&page), ["read_users"]);
}

/// By name, by id, after the removal, on behalf of; by login and token; by field; with operators' actions among them, and
/// nothing of anybody else.
#[tokio::test]
async fn by_principal_login_token_and_field() {
    let house = House::new().await;
    let (northwind, chinook) = (house.tenant("northwind").await, house.tenant("chinook").await);
    let andrew = house.token("andrew", "northwind", &northwind).await;
    let other = house.token("andrew", "chinook", &chinook).await;
    let nancy = house.person("northwind", &northwind, "nancy", "accountant").await;
    let nancy = house.token("nancy", "northwind", &nancy).await;
    let me = house.ask(&nancy, Control::WhoAmI).await.unwrap();
    let by = |user: &str| AuditQuery { user: Some(user.to_owned()), ..AuditQuery::default() };
    let page = read(&house, &andrew, by("nancy")).await;
    assert_eq!(actions(&page), ["login", "use_own_token"]);
    let id = page["records"][1]["user_id"].as_str().unwrap();
    assert_eq!(read(&house, &andrew, by(id)).await["records"], page["records"]);
    let session = me["session"].as_str().unwrap().parse().unwrap();
    let token = me["token"].as_str().unwrap().parse().unwrap();
    for query in [
        AuditQuery { session: Some(session), ..AuditQuery::default() },
        AuditQuery { token: Some(token), ..AuditQuery::default() },
    ] {
        let found = read(&house, &andrew, query.clone()).await;
        assert!(actions(&found).contains(&"use_own_token"), "{found}");
        assert!(actions(&read(&house, &other, query).await).is_empty(), "another tenant's login");
    }
    assert!(actions(&read(&house, &other, by(id)).await).is_empty(), "another tenant's user");

    // Who was removed is still found, by name and by id.
    let remove = Control::UserRemove { tenant: None, user: name("nancy") };
    house.ask(&andrew, remove).await.unwrap();
    assert_eq!(read(&house, &andrew, by("nancy")).await["records"], page["records"]);
    assert_eq!(read(&house, &andrew, by(id)).await["records"], page["records"]);
    assert!(actions(&read(&house, &andrew, by("nobody")).await).is_empty());

    // What an operator does to the tenant is the tenant's to read, and no other tenant's.
    // It is an operator who added the first user of each.
    let all = read(&house, &andrew, AuditQuery::default()).await;
    let theirs = all["records"].as_array().unwrap().iter().find(|one| one["action"] == "manage_users");
    let operator = theirs.unwrap()["user"].as_str().unwrap();
    assert!(operator.ends_with("@operators"), "{all}");
    let found = read(&house, &andrew, by(operator)).await;
    assert!(actions(&found).contains(&"manage_users") && !found.to_string().contains("chinook"), "{found}");
    assert!(!read(&house, &other, by(operator)).await.to_string().contains("northwind"));

    // A field of a record.
    customer(&house, "northwind", "ALFKI").await;
    let about = |field: Option<&str>| AuditQuery {
        record: Some(("customer".into(), "ALFKI".into())),
        field: field.map(str::to_owned),
        ..AuditQuery::default()
    };
    let types = &house.registry.latest().facts.types;
    let (_, record_type) = types.find("customer").unwrap();
    let called = |id: u8| record_type.field(FieldId(id)).unwrap().name.to_string();
    assert_eq!(actions(&read(&house, &andrew, about(None)).await), ["read"]);
    assert_eq!(actions(&read(&house, &andrew, about(Some(&called(1)))).await), ["read"]);
    assert_eq!(actions(&read(&house, &andrew, about(Some(&called(0)))).await), ["read"], "filtering is reading");
    assert!(actions(&read(&house, &andrew, about(Some(&called(2)))).await).is_empty());
    let unknown = house.ask(&andrew, Control::AuditRead(about(Some("nothing")))).await;
    assert!(matches!(unknown, Err(Failed::Control(ControlFailure::NotFound { what: "field", .. }))));
}
