//! No record, no release; each callee decides for itself; facts take effect on the next request.

use std::sync::atomic::Ordering;

use crate::support::*;
use countersign_audit::{Reason, Verdict};
use countersign_engine::{EngineLimits, Failure};
use countersign_guard::{Bearer, Refusal};
use countersign_model::request::{Action, After, Filter, Narrowing, Operation, Operator, Read};
use countersign_model::{FieldSet, RecordId, Service, TypeId, Value};
use countersign_services::{KeyRelease, Records, ServiceFailure};
use countersign_store::{Access, Batch, Requirement, Scan, SealedChange};
use countersign_token::MAX_LIFETIME_MS;

const FORBIDDEN: Failure = Failure::Refused(Refusal::Forbidden);

#[tokio::test]
async fn without_an_audit_record_nothing_is_read_and_nothing_is_changed() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    stage.ledger.failing.store(true, Ordering::SeqCst);
    for operation in [
        Operation::Read(read("customer", &["id"])),
        update("customer", &[("company", "\"x\"")], eq("id", "C1")),
        delete("invoice", eq("id", "1")),
        insert("product", vec![row(&[("id", "1"), ("name", "\"x\""), ("unit_price", "1"), ("discontinued", "false")])]),
    ] {
        assert_eq!(stage.call(&admin, operation).await.unwrap_err(), Failure::AuditUnavailable);
    }
    let refused = stage.call(&stage.token("auditor", ACME), Operation::Read(read("customer", &["id"]))).await;
    assert_eq!(refused.unwrap_err(), Failure::AuditUnavailable);
    stage.ledger.failing.store(false, Ordering::SeqCst);
    let changed = Operation::Read(Read { filter: eq("company", "x"), ..read("customer", &["id"]) });
    assert!(stage.call(&admin, changed).await.unwrap().rows.rows.is_empty());
    assert_eq!(stage.call(&admin, Operation::Read(read("product", &["id"]))).await.unwrap().rows.rows.len(), 0);
    let invoice = Operation::Read(Read { filter: eq("id", "1"), ..read("invoice", &["id"]) });
    assert_eq!(stage.call(&admin, invoice).await.unwrap().rows.rows.len(), 1);
}

#[tokio::test]
async fn the_record_says_which_fields_which_filter_and_which_records_and_no_value() {
    let stage = Stage::new().await;
    let read = Read { filter: eq("country", "Brazil"), ..read("customer", &["company", "email"]) };
    let answer = stage.call(&stage.token("admin", ACME), Operation::Read(read)).await.unwrap();
    let records = stage.recorded(Verdict::Released);
    let [record] = records.as_slice() else { panic!("one record for one read") };
    assert_eq!(record.request, answer.request);
    let [access] = record.body.accesses.as_slice() else { panic!("one type") };
    let state = stage.cell.load();
    let (type_id, customer) = state.facts.types.find("customer").unwrap();
    let fields = |names: &[&str]| names.iter().map(|name| customer.find(name).unwrap().0).collect::<FieldSet>();
    assert_eq!(access.record_type, type_id);
    assert_eq!(access.fields, fields(&["company", "email"]));
    assert_eq!(access.filter_fields, fields(&["country"]));
    assert_eq!(access.rows, 3);
    assert!(answer.rows.rows.iter().all(|row| access.records.contains(row.record)));
}

#[tokio::test]
async fn a_refusal_is_on_record_with_its_reason() {
    let stage = Stage::new().await;
    let rep = stage.token("support", ACME);
    stage.call(&rep, Operation::Read(read("customer", &["fax"]))).await.unwrap_err();
    let refusals = stage.recorded(Verdict::Refused);
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].body.reason, Some(Reason::NotPermitted));
    assert_eq!(refusals[0].body.user_name.as_deref(), Some("support"));
}

#[tokio::test]
async fn a_change_has_its_intent_on_record_before_and_its_outcome_after() {
    let stage = Stage::new().await;
    stage.call(&stage.token("admin", ACME), update("customer", &[("company", "\"x\"")], eq("id", "C1"))).await.unwrap();
    let verdicts: Vec<Verdict> = stage.ledger.records.lock().unwrap().iter().map(|record| record.verdict).collect();
    assert_eq!(verdicts, [Verdict::Intent, Verdict::Changed]);
}

#[tokio::test]
async fn the_store_hands_out_nothing_beyond_the_request_it_judged_itself() {
    let stage = Stage::new().await;
    let bearer = Bearer::new(stage.token("accountant", ACME));
    let request = stage.request(Operation::Read(read("customer", &["company"])));
    let state = stage.cell.load();
    let (customer, record_type) = state.facts.types.find("customer").unwrap();
    let (employee, _) = state.facts.types.find("employee").unwrap();
    let field = |name: &str| record_type.find(name).unwrap().0;
    let scan =
        |record_type: TypeId, cells: FieldSet| Scan { record_type, access: Access::All, cells, limit: 10, after: None };
    let company = FieldSet::EMPTY.with(field("company"));
    assert_eq!(stage.records.read(&call(&bearer, &request), &scan(customer, company)).await.unwrap().len(), 6);
    for beyond in [
        scan(customer, company.with(field("address"))),
        scan(customer, company.with(field("country"))),
        scan(employee, FieldSet::first(1)),
        Scan { access: Access::Tags { field: field("id"), tags: Vec::new() }, ..scan(customer, company) },
    ] {
        let refused = stage.records.read(&call(&bearer, &request), &beyond).await.unwrap_err();
        assert_eq!(refused, ServiceFailure::Refused(Refusal::Forbidden));
    }
    let rows = stage.records.read(&call(&bearer, &request), &scan(customer, company)).await.unwrap();
    let removal = SealedChange::Delete { record_type: customer, record: rows[0].record, version: rows[0].version };
    let batch = Batch { changes: vec![removal], requires: Vec::new(), once: None, ..Batch::default() };
    let refused = stage.records.write(&call(&bearer, &request), batch).await.unwrap_err();
    assert_eq!(refused, ServiceFailure::Refused(Refusal::Forbidden));
}

#[tokio::test]
async fn the_key_service_refuses_what_its_own_guard_refuses() {
    let stage = Stage::new().await;
    let hidden = stage.request(Operation::Read(read("customer", &["address"])));
    let shown = stage.request(Operation::Read(read("customer", &["company"])));
    let accountant = Bearer::new(stage.token("accountant", ACME));
    let altered = Bearer::new(format!("{}x", accountant.as_str()));
    assert!(stage.keys.release(&call(&accountant, &shown)).await.is_ok());
    let refused = stage.keys.release(&call(&accountant, &hidden)).await.err().unwrap();
    assert_eq!(refused, ServiceFailure::Refused(Refusal::Forbidden));
    assert!(matches!(
        stage.keys.release(&call(&altered, &shown)).await,
        Err(ServiceFailure::Refused(Refusal::Token(_)))
    ));
    stage.clock.advance_ms(MAX_LIFETIME_MS);
    assert!(matches!(
        stage.keys.release(&call(&accountant, &shown)).await,
        Err(ServiceFailure::Refused(Refusal::Token(_)))
    ));
}

#[tokio::test]
async fn changed_policies_and_revocations_hold_on_the_next_request() {
    let stage = Stage::new().await;
    let accountant = stage.token("accountant", ACME);
    let total = || Operation::Read(read("invoice", &["total"]));
    assert!(stage.call(&accountant, total()).await.is_ok());
    stage.publish(|facts| {
        let without = facts.policies.iter().filter(|file| !file.name.contains("accountant")).cloned();
        facts.policies = std::sync::Arc::new(without.collect());
        facts.policy_epoch += 1;
    });
    assert_eq!(stage.call(&accountant, total()).await.unwrap_err(), FORBIDDEN);
    let admin = stage.token("admin", ACME);
    assert!(stage.call(&admin, total()).await.is_ok());
    let (user, _) = stage.user_id("admin", ACME);
    let now = countersign_model::Clock::now(&*stage.clock);
    stage.publish(|facts| {
        let mut revocations = (*facts.revocations).clone();
        revocations.users.insert(user, now);
        facts.revocations = std::sync::Arc::new(revocations);
    });
    assert_eq!(stage.call(&admin, total()).await.unwrap_err(), Failure::Refused(Refusal::Revoked));
}

#[tokio::test]
async fn a_role_taken_away_is_gone_on_the_next_request() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    assert!(stage.call(&admin, Operation::Read(read("invoice", &["total"]))).await.is_ok());
    let (user, _) = stage.user_id("admin", ACME);
    stage.publish(|facts| {
        let mut users = (*facts.users).clone();
        let mut changed = (*users[&user]).clone();
        changed.roles = vec![name("auditor")];
        users.insert(user, std::sync::Arc::new(changed));
        facts.users = std::sync::Arc::new(users);
    });
    assert_eq!(stage.call(&admin, Operation::Read(read("invoice", &["total"]))).await.unwrap_err(), FORBIDDEN);
}

#[tokio::test]
async fn a_narrowed_token_does_what_is_left_and_no_more() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    let narrowing = Narrowing {
        actions: Some(vec![Action::Read]),
        types: Some(vec![name("customer")]),
        fields: Some(vec![name("company"), name("country")]),
        purpose: Some("call back".into()),
    };
    let narrow = stage.narrowed(&admin, &narrowing);
    let all = stage.call(&narrow, Operation::Read(read("customer", &[]))).await.unwrap();
    assert_eq!(all.columns.len(), 2);
    for beyond in [
        Operation::Read(read("customer", &["email"])),
        Operation::Read(Read { filter: eq("id", "C1"), ..read("customer", &["company"]) }),
        Operation::Read(read("invoice", &["id"])),
        update("customer", &[("company", "\"x\"")], Filter::default()),
    ] {
        assert_eq!(stage.call(&narrow, beyond).await.unwrap_err(), FORBIDDEN);
    }
    assert_eq!(stage.recorded(Verdict::Released)[0].body.purpose.as_deref(), Some("call back"));
}

#[tokio::test]
async fn pages_meet_without_gap_or_overlap_in_any_order() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    for order_by in [vec![], vec![order("country")], vec![order("support_rep_id"), order("company")]] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = Read { order: order_by.clone(), limit: Some(2), after, ..read("customer", &["id"]) };
            let answer = stage.call(&admin, Operation::Read(page)).await.unwrap();
            seen.extend(all_texts(&answer));
            let Some(next) = answer.rows.next else { break };
            let keys = next.keys.iter().map(countersign_model::Value::to_text).collect();
            after = Some(After { keys, record: next.record });
        }
        assert_eq!(seen.len(), 6);
        seen.sort();
        assert_eq!(seen, ["C1", "C2", "C3", "C4", "C5", "C6"]);
    }
}

#[tokio::test]
async fn a_scan_past_its_bound_is_refused_and_the_index_named() {
    let stage = Stage::with_limits(EngineLimits { scan_rows_max: 6, ..EngineLimits::default() }).await;
    let admin = stage.token("admin", ACME);
    let scan = Read { filter: test("billing_country", Operator::Eq, "Norway"), ..read("invoice", &["id"]) };
    let refused = stage.call(&admin, Operation::Read(scan)).await.unwrap_err();
    let expected = Failure::ScanLimit { record_type: name("invoice"), index: Some(name("billing_country")), limit: 6 };
    assert_eq!(refused, expected);
    let by_index = Read { filter: eq("customer_id", "C1"), ..read("invoice", &["id"]) };
    assert_eq!(stage.call(&admin, Operation::Read(by_index)).await.unwrap().rows.rows.len(), 2);
}

#[tokio::test]
async fn the_store_changes_nothing_of_another_type_not_even_without_cells() {
    let stage = Stage::new().await;
    let bearer = Bearer::new(stage.token("admin", ACME));
    let state = stage.cell.load();
    let type_of = |name: &str| state.facts.types.find(name).unwrap().0;
    let read_all = stage.request(Operation::Read(read("employee", &["id"])));
    let scan = Scan {
        record_type: type_of("employee"),
        access: Access::All,
        cells: FieldSet::first(1),
        limit: 1,
        after: None,
    };
    let employee = stage.records.read(&call(&bearer, &read_all), &scan).await.unwrap().remove(0);
    let (record_type, record) = (type_of("employee"), employee.record);
    let (cells, tags) = (Vec::new(), Vec::new());
    let touch = SealedChange::Update { record_type, record, version: employee.version, cells, tags };
    let made = SealedChange::Insert { record_type, record, cells: Vec::new(), tags: Vec::new() };
    let updating = stage.request(update("customer", &[("phone", "\"1\"")], eq("id", "C1")));
    let inserting = stage.request(insert(
        "product",
        vec![row(&[("id", "1"), ("name", "\"x\""), ("unit_price", "1"), ("discontinued", "false")])],
    ));
    for (request, change) in [(updating, touch), (inserting, made)] {
        let batch = Batch { changes: vec![change], requires: Vec::new(), once: None, ..Batch::default() };
        let refused = stage.records.write(&call(&bearer, &request), batch).await.unwrap_err();
        assert_eq!(refused, ServiceFailure::Refused(Refusal::Forbidden));
    }
}

/// Who finds a record by a value knows that value of it, so it is counted like any cell that leaves.
#[tokio::test]
async fn nothing_is_found_by_a_value_without_being_counted() {
    let stage = Stage::new().await;
    let bearer = Bearer::new(stage.token("admin", ACME));
    let request = stage.request(Operation::Read(Read { filter: eq("id", "C1"), ..read("customer", &["company"]) }));
    let keys = stage.keys.release(&call(&bearer, &request)).await.unwrap();
    let state = stage.cell.load();
    let (customer, record_type) = state.facts.types.find("customer").unwrap();
    let (id, company) = (record_type.key, record_type.find("company").unwrap().0);
    let tag = keys.tag(customer, id, &Value::Text("C1".into())).unwrap().unwrap();
    let access = || Access::Tags { field: id, tags: vec![tag] };
    let scan = |cells: FieldSet| Scan { record_type: customer, access: access(), cells, limit: 10, after: None };
    let found = FieldSet::EMPTY.with(id);
    assert_eq!(stage.records.read(&call(&bearer, &request), &scan(found)).await.unwrap().len(), 1);
    for cells in [FieldSet::EMPTY, FieldSet::EMPTY.with(company)] {
        let refused = stage.records.read(&call(&bearer, &request), &scan(cells)).await.unwrap_err();
        assert_eq!(refused, ServiceFailure::Refused(Refusal::Forbidden));
    }

    // That there is none with a value costs nothing, and is on record.
    stage.forget();
    let nobody = keys.tag(customer, id, &Value::Text("nobody".into())).unwrap().unwrap();
    let in_vain = Scan { access: Access::Tags { field: id, tags: vec![nobody] }, ..scan(found) };
    assert!(stage.records.read(&call(&bearer, &request), &in_vain).await.unwrap().is_empty());
    let said: Vec<_> = stage.entries(request.id);
    let [entry] = &said[..] else { panic!("one entry: {said:?}") };
    assert_eq!((entry.service, entry.verdict), (Service::Store, Verdict::Released));
    assert!(entry.tally.as_ref().unwrap().is_empty());
}

/// What a change requires tells whether there is a record with a value, so asking is on record whatever comes of it.
#[tokio::test]
async fn changes_that_fail_are_on_record_at_the_store_and_there_are_none_that_only_ask() {
    let stage = Stage::new().await;
    let bearer = Bearer::new(stage.token("admin", ACME));
    let request = stage.request(update("invoice", &[("customer_id", "\"C1\"")], eq("id", "1")));
    let keys = stage.keys.release(&call(&bearer, &request)).await.unwrap();
    let state = stage.cell.load();
    let (customer, record_type) = state.facts.types.find("customer").unwrap();
    let (invoice, _) = state.facts.types.find("invoice").unwrap();
    let tag = keys.tag(customer, record_type.key, &Value::Text("nobody".into())).unwrap().unwrap();
    let requires = || vec![Requirement::Exists { record_type: customer, field: record_type.key, tags: vec![tag] }];
    let asking = Batch { changes: Vec::new(), requires: requires(), once: None, ..Batch::default() };
    let refused = stage.records.write(&call(&bearer, &request), asking).await.unwrap_err();
    assert_eq!(refused, ServiceFailure::Refused(Refusal::Forbidden));
    stage.forget();
    let record = RecordId::from_u128(7);
    let (record_type, cells, tags) = (invoice, Vec::new(), Vec::new());
    let change = SealedChange::Update { record_type, record, version: 1, cells, tags };
    let failing = Batch { changes: vec![change], requires: requires(), once: None, ..Batch::default() };
    let rejected = stage.records.write(&call(&bearer, &request), failing).await.unwrap();
    assert!(rejected.is_err());
    let of_the_store: Vec<_> = stage.entries(request.id);
    let [entry] = &of_the_store[..] else { panic!("one entry: {of_the_store:?}") };
    assert_eq!((entry.service, entry.verdict), (Service::Store, Verdict::Failed));
    assert!(entry.tally.as_ref().unwrap().is_empty());
}
