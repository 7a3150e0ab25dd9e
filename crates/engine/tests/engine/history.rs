//! What a record was: every state judged as a row of its own, on record and counted as any read.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "what does not fit fails the test"
)]

use crate::support::*;
use countersign_audit::Verdict;
use countersign_engine::{Answer, Failure};
use countersign_guard::{Bearer, Refusal};
use countersign_model::request::{History, Narrowing, Operation, Read};
use countersign_model::{FieldSet, Service};
use countersign_services::{Call, Records as _, ServiceFailure};
use countersign_store::{Access, StateScan};

const FORBIDDEN: Failure = Failure::Refused(Refusal::Forbidden);

fn history(record_type: &str, key: &str, fields: &[&str]) -> Operation {
    let select = fields.iter().map(|field| (*field).to_owned()).collect();
    Operation::History(History { record_type: record_type.to_owned(), key: key.to_owned(), select, limit: None })
}

/// States without their times: number, whether the state has an end, whether it is the end, values.
fn states(answer: &Answer) -> Vec<String> {
    let row = |row| {
        let texts = texts(row);
        let end = if texts[2] == "null" { "now" } else { "then" };
        format!("{}|{end}|{}|{}", texts[0], texts[3], texts[4..].join("|"))
    };
    answer.rows.rows.iter().map(row).collect()
}

async fn set(stage: &Stage, key: &str, values: &[(&str, &str)]) {
    stage.clock.advance_ms(1000);
    stage.call(&stage.token("admin", ACME), update("customer", values, eq("id", key))).await.unwrap();
}

fn new_customer(key: &str) -> Operation {
    let values = [
        ("id", format!("\"{key}\"")),
        ("company", "\"New\"".to_owned()),
        ("contact_name", "\"A Person\"".to_owned()),
        ("address", "\"9 Hidden Street\"".to_owned()),
        ("country", "\"Norway\"".to_owned()),
        ("phone", "\"+47 1\"".to_owned()),
        ("fax", "\"+47 2\"".to_owned()),
        ("email", "\"c9@example.com\"".to_owned()),
        ("support_rep_id", "3".to_owned()),
    ];
    insert("customer", vec![row(&values.each_ref().map(|(field, json)| (*field, json.as_str())))])
}

#[tokio::test]
async fn every_state_is_judged_as_a_row_of_its_own() {
    let stage = Stage::new().await;
    set(&stage, "C1", &[("phone", "\"1\"")]).await;
    set(&stage, "C1", &[("support_rep_id", "4"), ("phone", "\"2\"")]).await;
    set(&stage, "C1", &[("phone", "\"3\"")]).await;
    set(&stage, "C1", &[("support_rep_id", "3"), ("phone", "\"4\"")]).await;
    let ask = async |user: &str, fields: &[&str]| {
        stage.call(&stage.token(user, ACME), history("customer", "C1", fields)).await.map(|answer| states(&answer))
    };
    let all = ["1|then|false|+47 1", "2|then|false|1", "3|then|false|2", "4|then|false|3", "5|now|false|4"];
    assert_eq!(ask("admin", &["phone"]).await.unwrap(), all);
    // Whose customer it was not has no part of it.
    let own = ["1|then|false|+47 1", "2|then|true|1", "3|now|false|4"];
    assert_eq!(ask("rep", &["phone"]).await.unwrap(), own);
    assert_eq!(ask("rep", &["support_rep_id"]).await.unwrap(), ["1|then|true|3", "2|now|false|3"]);
    // Whose customer it never was has none.
    let (rep, other) = (stage.token("rep", ACME), history("customer", "C4", &[]));
    assert!(stage.call(&rep, other).await.unwrap().rows.rows.is_empty());
    let nobody = stage.call(&rep, history("customer", "nobody", &[])).await.unwrap();
    assert!(nobody.rows.rows.is_empty(), "as one that never was");
    stage.agree();
}

#[tokio::test]
async fn hidden_fields_leave_no_trace() {
    let stage = Stage::new().await;
    for address in ["\"1\"", "\"2\"", "\"3\""] {
        set(&stage, "C1", &[("address", address)]).await;
    }
    let admin = stage.call(&stage.token("admin", ACME), history("customer", "C1", &["address"])).await.unwrap();
    assert_eq!(states(&admin).len(), 4);
    let support = stage.token("support", ACME);
    let seen = stage.call(&support, history("customer", "C1", &["id", "company"])).await.unwrap();
    assert_eq!(states(&seen), ["1|now|false|C1|Acme Customer 1"], "nobody learns when a hidden field changed");
    let all = stage.call(&support, history("customer", "C1", &[])).await.unwrap();
    assert_eq!(states(&all).len(), 1);
    assert!(!format!("{:?}", all.rows).contains("Hidden"));
    // Hidden is as absent, in every place that takes a name.
    for operation in [
        history("customer", "C1", &["address"]),
        history("customer", "C1", &["nonsense"]),
        history("customer", "C1", &["id", "fax"]),
        history("nonsense", "C1", &[]),
        history("employee", "1", &[]),
        history("nonsense", "not a number", &[]),
        history("employee", "not a number", &[]),
    ] {
        assert_eq!(stage.call(&support, operation).await.unwrap_err(), FORBIDDEN);
    }
    // A token without the key field asks for no record.
    let company = Narrowing { fields: Some(vec![name("company")]), ..Narrowing::default() };
    let narrowed = stage.narrowed(&support, &company);
    assert_eq!(stage.call(&narrowed, history("customer", "C1", &["company"])).await.unwrap_err(), FORBIDDEN);
    let wrong = stage.call(&stage.token("admin", ACME), history("invoice", "not a number", &[])).await;
    assert!(matches!(wrong, Err(Failure::Refused(Refusal::Invalid(_)))));
    stage.agree();
}

#[tokio::test]
async fn what_was_deleted_is_found_by_its_key_and_in_its_own_tenant_alone() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    stage.clock.advance_ms(1000);
    stage.call(&admin, new_customer("C9")).await.unwrap();
    set(&stage, "C9", &[("phone", "\"1\"")]).await;
    stage.clock.advance_ms(1000);
    stage.call(&admin, delete("customer", eq("id", "C9"))).await.unwrap();
    let ask = async |token: &str| {
        stage.call(token, history("customer", "C9", &["phone"])).await.map(|answer| states(&answer)).unwrap()
    };
    assert_eq!(ask(&admin).await, ["1|then|false|+47 1", "2|then|true|1"]);
    assert_eq!(ask(&stage.token("rep", ACME)).await.len(), 2);
    assert!(ask(&stage.token("admin", GLOBEX)).await.is_empty(), "another tenant's");
    // Another record with the same key goes on in the same list.
    stage.clock.advance_ms(1000);
    stage.call(&admin, new_customer("C9")).await.unwrap();
    assert_eq!(ask(&admin).await, ["1|then|false|+47 1", "2|then|true|1", "1|now|false|+47 1"]);
    let two = History { record_type: "customer".into(), key: "C9".into(), limit: Some(2), ..History::default() };
    let newest = stage.call(&admin, Operation::History(two)).await.unwrap();
    assert_eq!(newest.rows.rows.len(), 2);
    stage.agree();
}

#[tokio::test]
async fn who_looked_is_on_record_and_what_it_came_to_is_counted() {
    let stage = Stage::new().await;
    set(&stage, "C1", &[("phone", "\"1\"")]).await;
    stage.forget();
    let request = stage.request(history("customer", "C1", &["phone"]));
    let id = request.id;
    let answer = stage.send(&stage.token("admin", ACME), request).await.unwrap();
    let records = stage.recorded(Verdict::Released);
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!((record.body.action.as_str(), record.body.detail.as_deref()), ("read", Some("history")));
    let [access] = &record.body.accesses[..] else { panic!("{:?}", record.body.accesses) };
    assert!(access.records.contains(answer.rows.rows[0].record));
    let cells = stage.counted(id, Service::Gateway).unwrap().cells();
    assert!(cells >= 4, "two states of two fields");
    for service in [Service::Keys, Service::Store] {
        assert_eq!(stage.counted(id, service).unwrap().cells(), cells, "{service}");
    }
    stage.agree();
    // What nobody may see is refused on record.
    stage.call(&stage.token("auditor", ACME), history("customer", "C1", &[])).await.unwrap_err();
    let [refused] = &stage.recorded(Verdict::Refused)[..] else { panic!() };
    assert_eq!(refused.body.detail.as_deref(), Some("customer"));
}

#[tokio::test]
async fn budgets_hold() {
    let stage = Stage::new().await;
    for phone in 0..20 {
        set(&stage, "C1", &[("phone", &format!("\"{phone}\""))]).await;
    }
    stage.budget("[people]\nper_token = 30\n");
    let support = stage.token("support", ACME);
    let spent = stage.call(&support, history("customer", "C1", &["phone"])).await.unwrap_err();
    assert_eq!(spent, Failure::Refused(Refusal::Budget));
    stage.agree();
}

#[tokio::test]
async fn the_store_gives_states_for_that_request_alone() {
    let stage = Stage::new().await;
    let bearer = Bearer::new(stage.token("support", ACME));
    let state = stage.cell.load();
    let types = &state.facts.types;
    let (customer, record_type) = types.find("customer").unwrap();
    let field = |name: &str| record_type.find(name).unwrap().0;
    let reading = stage.request(Operation::Read(Read { filter: eq("id", "C1"), ..read("customer", &["id", "phone"]) }));
    let asking = stage.request(history("customer", "C1", &["id", "phone"]));
    let key = record_type.key;
    let tag = countersign_crypto::Tag([7; 16]);
    let fitting = StateScan {
        record_type: customer,
        access: Access::Tags { field: key, tags: vec![tag] },
        cells: FieldSet::EMPTY.with(key).with(field("phone")),
        limit: 10,
        after: None,
    };
    let ask = async |caller, request, scan: &StateScan| {
        let call = Call { caller, ..call(&bearer, request) };
        stage.records.history(&call, scan).await.map(|states| states.len())
    };
    let forbidden = Err(ServiceFailure::Refused(Refusal::Forbidden));
    assert_eq!(ask(Service::Gateway, &asking, &fitting).await, Ok(0));
    assert_eq!(ask(Service::Gateway, &reading, &fitting).await, forbidden, "for a read of what is");
    for caller in [Service::Keys, Service::Store, Service::Authority, Service::Monitor] {
        assert_eq!(ask(caller, &asking, &fitting).await, forbidden, "{caller}");
    }
    let (invoice, _) = types.find("invoice").unwrap();
    let beyond = [
        StateScan { access: Access::All, ..fitting.clone() },
        StateScan { access: Access::Records(vec![]), ..fitting.clone() },
        StateScan { access: Access::Tags { field: field("support_rep_id"), tags: vec![tag] }, ..fitting.clone() },
        StateScan { cells: fitting.cells.with(field("address")), ..fitting.clone() },
        StateScan { cells: FieldSet::EMPTY, ..fitting.clone() },
        StateScan { record_type: invoice, ..fitting.clone() },
    ];
    for scan in beyond {
        assert_eq!(ask(Service::Gateway, &asking, &scan).await, forbidden, "{scan:?}");
    }
}
