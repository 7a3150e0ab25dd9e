//! The record says all that left and all that decided, and nothing that did not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what does not fit fails the test")]

use crate::support::*;
use countersign_audit::{Access, Verdict};
use countersign_model::FieldSet;
use countersign_model::request::{Embed, Operation, Read, Select, Update};
use countersign_model::row::{Cell, Row};

fn embed(read: Read, inner: bool) -> Select {
    Select::Embed(Embed { alias: None, hint: None, inner, read })
}

fn access(stage: &Stage, verdict: Verdict, record_type: &str) -> Access {
    let records = stage.recorded(verdict);
    let (id, _) = stage.cell.load().facts.types.find(record_type).map(|(id, one)| (id, one.key)).unwrap();
    let accesses = &records.last().unwrap().body.accesses;
    accesses.iter().find(|access| access.record_type == id).expect("the type is on record").clone()
}

fn fields(stage: &Stage, record_type: &str, names: &[&str]) -> FieldSet {
    let state = stage.cell.load();
    let (_, record_type) = state.facts.types.find(record_type).unwrap();
    names.iter().map(|name| record_type.find(name).unwrap().0).collect()
}

/// The rows embedded in this column of each row.
fn embedded(rows: &[Row], column: usize) -> Vec<&Row> {
    let mut all = Vec::new();
    for row in rows {
        match row.cells.get(column) {
            Some(Cell::Many(rows)) => all.extend(rows),
            Some(Cell::One(Some(one))) => all.push(one),
            _ => {}
        }
    }
    all
}

#[tokio::test]
async fn what_a_change_gives_back_is_on_record_with_what_is_embedded() {
    let stage = Stage::new().await;
    let mut returning = select(&["id"]);
    returning.push(embed(read("customer", &["company"]), false));
    let operation = Operation::Update(Update {
        record_type: "invoice".into(),
        set: row(&[("billing_city", "\"x\"")]),
        filter: eq("id", "1"),
        max_affected: None,
        returning: Some(returning),
    });
    let answer = stage.call(&stage.token("admin", ACME), operation).await.unwrap();
    let [customer] = embedded(&answer.rows.rows, 1)[..] else { panic!("one customer is embedded") };
    let access = access(&stage, Verdict::Changed, "customer");
    assert!(access.records.contains(customer.record));
    assert_eq!((access.rows, access.fields), (1, fields(&stage, "customer", &["company"])));
}

#[tokio::test]
async fn the_fields_by_which_types_are_joined_are_on_record_on_both_sides() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    let down = vec![select(&["company"]).remove(0), embed(read("invoice", &["total"]), false)];
    stage.call(&admin, Operation::Read(Read { select: down, ..read("customer", &[]) })).await.unwrap();
    let filters = |record_type: &str| access(&stage, Verdict::Released, record_type).filter_fields;
    assert_eq!(filters("customer"), fields(&stage, "customer", &["id"]));
    assert_eq!(filters("invoice"), fields(&stage, "invoice", &["customer_id"]));
    let up = vec![select(&["total"]).remove(0), embed(read("customer", &["company"]), false)];
    stage.call(&admin, Operation::Read(Read { select: up, ..read("invoice", &[]) })).await.unwrap();
    assert_eq!(filters("customer"), fields(&stage, "customer", &["id"]));
    assert_eq!(filters("invoice"), fields(&stage, "invoice", &["customer_id"]));
}

#[tokio::test]
async fn what_decided_but_did_not_leave_is_not_on_record_as_released() {
    let stage = Stage::new().await;
    let nested = Read { select: vec![embed(read("employee", &["id"]), false)], ..read("customer", &[]) };
    let up = vec![select(&["total"]).remove(0), embed(nested, true)];
    let first = Operation::Read(Read { select: up, limit: Some(1), ..read("invoice", &[]) });
    let answer = stage.call(&stage.token("admin", ACME), first).await.unwrap();
    assert_eq!(answer.rows.rows.len(), 1);
    for record_type in ["invoice", "customer", "employee"] {
        let access = access(&stage, Verdict::Released, record_type);
        assert_eq!((access.rows, access.records.len()), (1, 1), "{record_type}");
    }
}

#[tokio::test]
async fn what_a_reference_is_checked_against_is_on_record() {
    let stage = Stage::new().await;
    let set = update("invoice", &[("customer_id", "\"C2\"")], eq("id", "1"));
    stage.call(&stage.token("admin", ACME), set).await.unwrap();
    let access = access(&stage, Verdict::Changed, "customer");
    assert_eq!(access.filter_fields, fields(&stage, "customer", &["id"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_does_not_keep_a_change_off_the_record() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    let cut_off = async || {
        let intents = stage.recorded(Verdict::Intent).len();
        let mut change = Box::pin(stage.call(&admin, update("customer", &[("company", "\"x\"")], eq("id", "C1"))));
        while stage.recorded(Verdict::Intent).len() == intents {
            tokio::select! {
                biased;
                answered = &mut change => {
                    answered.unwrap();
                    return false;
                }
                () = tokio::task::yield_now() => {}
            }
        }
        true
    };
    // Now and then it is answered before it can be cut off.
    for tries in 0.. {
        if cut_off().await {
            break;
        }
        assert!(tries < 100, "always answered before it could be cut off");
    }
    for _ in 0..1000 {
        if stage.recorded(Verdict::Changed).len() == stage.recorded(Verdict::Intent).len() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the change has an intent on record and no outcome");
}
