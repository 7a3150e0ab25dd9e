//! Writes: judged before and after, all or nothing, silent about what the caller can't see.

#![allow(clippy::unwrap_used, reason = "what does not fit fails the test")]

use crate::support::*;
use countersign_engine::Failure;
use countersign_guard::{Invalid, Refusal};
use countersign_model::request::{Delete, Filter, Operation, Read, Update};

const FORBIDDEN: Failure = Failure::Refused(Refusal::Forbidden);

fn customer(id: &str, company: &str) -> Vec<(String, countersign_model::request::Input)> {
    row(&[
        ("id", &format!("\"{id}\"")),
        ("company", &format!("\"{company}\"")),
        ("contact_name", "\"P\""),
        ("country", "\"Chile\""),
    ])
}

async fn companies(stage: &Stage, filter: Filter) -> Vec<String> {
    let operation = Operation::Read(Read { filter, order: vec![order("id")], ..read("customer", &["id", "company"]) });
    all_texts(&stage.call(&stage.token("admin", ACME), operation).await.unwrap())
}

#[tokio::test]
async fn an_insert_is_all_or_nothing_and_names_the_taken_field() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    let taken = insert("customer", vec![customer("N1", "New"), customer("C1", "Old")]);
    let refused = stage.call(&admin, taken).await.unwrap_err();
    assert_eq!(refused, Failure::UniqueTaken { field: Some(name("id")) });
    let twice = insert("customer", vec![customer("N1", "New"), customer("N1", "Again")]);
    assert_eq!(stage.call(&admin, twice).await.unwrap_err(), Failure::UniqueTaken { field: Some(name("id")) });
    assert!(companies(&stage, eq("country", "Chile")).await.is_empty());
}

#[tokio::test]
async fn an_upsert_changes_what_is_there_and_makes_what_is_not() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    let both = || vec![customer("C1", "Changed"), customer("N1", "New")];
    let answer = stage.call(&admin, upsert("customer", both(), true)).await.unwrap();
    assert_eq!((answer.affected, answer.created), (Some(2), Some(1)));
    assert_eq!(companies(&stage, eq("country", "Chile")).await, ["C1|Changed", "N1|New"]);
    let again = vec![customer("C1", "Ignored"), customer("N2", "Newer")];
    let answer = stage.call(&admin, upsert("customer", again, false)).await.unwrap();
    assert_eq!((answer.affected, answer.created), (Some(1), Some(1)));
    assert_eq!(companies(&stage, eq("id", "C1")).await, ["C1|Changed"]);
}

#[tokio::test]
async fn references_must_point_at_something_and_what_is_pointed_at_stays() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    let dangling = insert(
        "invoice",
        vec![row(&[("id", "99"), ("customer_id", "\"NONE\""), ("invoice_date", "\"2026-01-01\""), ("total", "1")])],
    );
    assert_eq!(
        stage.call(&admin, dangling).await.unwrap_err(),
        Failure::MissingReference { field: name("customer_id") }
    );
    let removed = delete("customer", eq("id", "C1"));
    assert_eq!(stage.call(&admin, removed).await.unwrap_err(), Failure::StillReferenced);
    assert_eq!(companies(&stage, eq("id", "C1")).await, ["C1|Acme Customer 1"]);
    stage.call(&admin, delete("invoice", eq("customer_id", "C1"))).await.unwrap();
    let gone = stage.call(&admin, delete("customer", eq("id", "C1"))).await.unwrap();
    assert_eq!(gone.affected, Some(1));
    assert!(companies(&stage, eq("id", "C1")).await.is_empty());
}

#[tokio::test]
async fn support_changes_phone_and_email_and_nothing_else() {
    let stage = Stage::new().await;
    let support = stage.token("support", ACME);
    let answer = stage.call(&support, update("customer", &[("phone", "\"+1 2\"")], eq("id", "C1"))).await.unwrap();
    assert_eq!(answer.affected, Some(1));
    for set in [("company", "\"x\""), ("id", "\"x\"")] {
        assert_eq!(stage.call(&support, update("customer", &[set], eq("id", "C1"))).await.unwrap_err(), FORBIDDEN);
    }
    assert_eq!(stage.call(&support, insert("customer", vec![customer("N", "N")])).await.unwrap_err(), FORBIDDEN);
    assert_eq!(stage.call(&support, delete("customer", eq("id", "C6"))).await.unwrap_err(), FORBIDDEN);
}

#[tokio::test]
async fn bounds_on_changes_change_nothing_when_passed() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    let bounded = Operation::Update(Update {
        record_type: "customer".into(),
        set: row(&[("company", "\"Same\"")]),
        filter: eq("country", "Brazil"),
        max_affected: Some(2),
        returning: None,
    });
    assert_eq!(stage.call(&admin, bounded).await.unwrap_err(), Failure::TooManyAffected { max: 2, matched: 3 });
    assert!(companies(&stage, eq("company", "Same")).await.is_empty());
}

#[tokio::test]
async fn what_was_removed_is_given_back_from_before() {
    let stage = Stage::new().await;
    let operation = Operation::Delete(Delete {
        record_type: "invoice".into(),
        filter: eq("id", "12"),
        max_affected: Some(1),
        returning: Some(select(&["id", "total"])),
    });
    let answer = stage.call(&stage.token("admin", ACME), operation).await.unwrap();
    assert_eq!(all_texts(&answer), ["12|12.50"]);
}

#[tokio::test]
async fn bad_input_is_named_by_field_and_row_once_it_is_permitted() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    let wrong = insert("invoice", vec![row(&[("id", "\"x\"")])]);
    let error = stage.call(&admin, wrong).await.unwrap_err();
    assert!(
        matches!(&error, Failure::Refused(Refusal::Invalid(Invalid::WrongKind { field, row: Some(0), .. })) if field.as_str() == "id")
    );
    let incomplete = insert("customer", vec![customer("N1", "New"), row(&[("company", "\"x\"")])]);
    let error = stage.call(&admin, incomplete).await.unwrap_err();
    assert!(
        matches!(&error, Failure::Refused(Refusal::Invalid(Invalid::Required { field, row: Some(1) })) if field.as_str() == "id")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_changes_of_one_record_all_happen_or_say_so() {
    let stage = std::sync::Arc::new(Stage::new().await);
    let tasks = (0..16).map(|n| {
        let stage = std::sync::Arc::clone(&stage);
        tokio::spawn(async move {
            let admin = stage.token("admin", ACME);
            let row = customer("RACE", &format!("Writer {n}"));
            stage.call(&admin, upsert("customer", vec![row], true)).await
        })
    });
    let mut created = 0;
    for task in tasks.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(answer) => created += answer.created.unwrap(),
            Err(failure) => assert_eq!(failure, Failure::Contention),
        }
    }
    assert_eq!(created, 1);
    assert_eq!(companies(&stage, eq("id", "RACE")).await.len(), 1);
}
