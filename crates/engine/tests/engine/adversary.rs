//! What somebody with a good token tries in order to learn or to do more than policy says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what does not fit fails the test")]

use crate::support::*;
use countersign_engine::{EngineLimits, Failure};
use countersign_guard::{Invalid, Refusal};
use countersign_model::request::{Embed, Filter, Insert, OnConflict, Operation, Read, Select, Update};

const FORBIDDEN: Failure = Failure::Refused(Refusal::Forbidden);

const TYPES: &str = r#"
[principal]
employee = "integer"
[types.account.fields]
id    = { kind = "text", class = "internal" }
owner = { kind = "integer", class = "internal" }
email = { kind = "text", unique = true, class = "personal" }
[types.note.fields]
id         = { kind = "uuid", class = "internal" }
account_id = { references = "account", class = "internal" }
label      = { kind = "text", unique = true, class = "internal" }
text       = { kind = "text", class = "internal" }
"#;

const ADMIN: &str = r#"
permit (principal in Role::"admin", action in Data::Action::"any", resource);
"#;

/// A deployment with these rules besides the administrator's, and accounts A1 of employee 3, A2 of employee 4.
async fn with_accounts(rules: &str) -> Stage {
    let stage = Stage::of(TYPES, &format!("{ADMIN}{rules}")).await;
    let account = |id: &str, owner: &str| {
        row(&[("id", &format!("\"{id}\"")), ("owner", owner), ("email", &format!("\"{id}@example.com\""))])
    };
    let accounts = insert("account", vec![account("A1", "3"), account("A2", "4")]);
    stage.call(&stage.token("admin", ACME), accounts).await.unwrap();
    stage
}

fn note(account: &str, label: &str, text: &str) -> Vec<(String, countersign_model::request::Input)> {
    row(&[("account_id", account), ("label", &format!("\"{label}\"")), ("text", &format!("\"{text}\""))])
}

fn upsert_on(record_type: &str, field: &str, rows: Vec<Vec<(String, countersign_model::request::Input)>>) -> Operation {
    let on_conflict = Some(OnConflict { field: Some(field.to_owned()), merge: true });
    Operation::Insert(Insert { record_type: record_type.to_owned(), rows, on_conflict, returning: None })
}

#[tokio::test]
async fn no_reference_is_not_a_reference_to_the_record_with_the_empty_key() {
    let stage = with_accounts(
        r#"permit (principal in Role::"rep", action == Note::Action::"read", resource)
           when { principal has employee && resource has account.owner && resource.account.owner == principal.employee };"#,
    )
    .await;
    let admin = stage.token("admin", ACME);
    let empty_key = row(&[("id", "\"\""), ("owner", "3"), ("email", "\"e\"")]);
    stage.call(&admin, insert("account", vec![empty_key])).await.unwrap();
    let notes = vec![note("\"\"", "to the empty key", "own"), note("null", "to nothing", "nobody's")];
    stage.call(&admin, insert("note", notes)).await.unwrap();
    let seen = stage.call(&stage.token("rep", ACME), Operation::Read(read("note", &["label"]))).await.unwrap();
    assert_eq!(all_texts(&seen), ["to the empty key"]);
}

#[tokio::test]
async fn a_key_that_others_refer_to_can_not_be_taken_from_under_them() {
    let stage = with_accounts("").await;
    let admin = stage.token("admin", ACME);
    stage.call(&admin, insert("note", vec![note("\"A2\"", "n", "x")])).await.unwrap();
    let renamed = update("account", &[("id", "\"A9\"")], eq("id", "A2"));
    assert_eq!(stage.call(&admin, renamed).await.unwrap_err(), Failure::StillReferenced);
    let merged = upsert_on("account", "email", vec![row(&[("id", "\"A9\""), ("email", "\"A2@example.com\"")])]);
    assert_eq!(stage.call(&admin, merged).await.unwrap_err(), Failure::StillReferenced);
    let the_same = update("account", &[("id", "\"A2\""), ("owner", "7")], eq("id", "A2"));
    assert_eq!(stage.call(&admin, the_same).await.unwrap().affected, Some(1));
    let free = update("account", &[("id", "\"A9\"")], eq("id", "A1"));
    assert_eq!(stage.call(&admin, free).await.unwrap().affected, Some(1));
}

#[tokio::test]
async fn merging_by_another_field_keeps_the_key_that_was_made() {
    let stage = with_accounts("").await;
    let admin = stage.token("admin", ACME);
    stage.call(&admin, insert("note", vec![note("\"A1\"", "n", "old")])).await.unwrap();
    let ids = async || {
        let notes = stage.call(&admin, Operation::Read(read("note", &["id", "text"]))).await.unwrap();
        all_texts(&notes)[0].split_once('|').map(|(id, text)| (id.to_owned(), text.to_owned())).unwrap()
    };
    let (id, _) = ids().await;
    stage.call(&admin, upsert_on("note", "label", vec![note("\"A1\"", "n", "new")])).await.unwrap();
    assert_eq!(ids().await, (id, "new".to_owned()));
}

#[tokio::test]
async fn that_a_hidden_record_refers_is_not_said() {
    let stage = with_accounts(
        r#"permit (principal in Role::"rep", action in [Account::Action::"read", Account::Action::"delete"], resource);
           permit (principal in Role::"rep", action == Note::Action::"read", resource)
           when { resource has text && resource.text == "shown" };"#,
    )
    .await;
    let notes = vec![note("\"A1\"", "a", "hidden"), note("\"A2\"", "b", "hidden"), note("\"A2\"", "c", "shown")];
    stage.call(&stage.token("admin", ACME), insert("note", notes)).await.unwrap();
    let rep = stage.token("rep", ACME);
    assert_eq!(stage.call(&rep, delete("account", eq("id", "A1"))).await.unwrap_err(), FORBIDDEN);
    assert_eq!(stage.call(&rep, delete("account", eq("id", "A2"))).await.unwrap_err(), Failure::StillReferenced);
}

#[tokio::test]
async fn a_batch_does_not_tell_which_of_its_records_holds_a_hidden_value() {
    let stage = with_accounts(
        r#"permit (principal in Role::"rep", action == Account::Action::"read", resource)
           when { context.field == Account::Field::"id" };
           permit (principal in Role::"rep", action in [Account::Action::"create", Account::Action::"update"], resource);"#,
    )
    .await;
    let rep = stage.token("rep", ACME);
    let with_email = |id: &str, email: &str| row(&[("id", &format!("\"{id}\"")), ("email", &format!("\"{email}\""))]);
    let guess = vec![with_email("A1", "A2@example.com"), with_email("A2", "fresh@example.com")];
    assert_eq!(stage.call(&rep, upsert("account", guess, true)).await.unwrap_err(), FORBIDDEN);
    let twice = vec![with_email("A1", "same"), with_email("A2", "same")];
    let taken = Failure::UniqueTaken { field: Some(name("email")) };
    assert_eq!(stage.call(&rep, upsert("account", twice, true)).await.unwrap_err(), taken);
    let all = update("account", &[("email", "\"A2@example.com\"")], Filter::default());
    assert_eq!(stage.call(&rep, all).await.unwrap_err(), taken);
}

#[tokio::test]
async fn a_row_twice_in_one_upsert_is_said_or_left_and_not_tried_for_ever() {
    let stage = with_accounts("").await;
    let admin = stage.token("admin", ACME);
    let twice = || vec![row(&[("id", "\"N\"")]), row(&[("id", "\"N\"")])];
    let taken = Failure::UniqueTaken { field: Some(name("id")) };
    assert_eq!(stage.call(&admin, upsert("account", twice(), true)).await.unwrap_err(), taken);
    assert_eq!(stage.call(&admin, upsert("account", twice(), false)).await.unwrap().created, Some(1));
}

#[tokio::test]
async fn what_names_no_field_is_judged_all_the_same() {
    let stage = with_accounts(
        r#"permit (principal in Role::"rep", action == Note::Action::"create", resource)
           when { context.field == Note::Field::"text" && resource has text && resource.text == "ok" };
           permit (principal in Role::"rep", action == Account::Action::"read", resource);
           permit (principal in Role::"rep", action in [Account::Action::"create", Account::Action::"update"], resource)
           when { principal has employee && resource has owner && resource.owner == principal.employee };"#,
    )
    .await;
    let rep = stage.token("rep", ACME);
    assert_eq!(stage.call(&rep, insert("note", vec![Vec::new()])).await.unwrap_err(), FORBIDDEN);
    assert_eq!(stage.call(&rep, insert("note", vec![row(&[("text", "\"no\"")])])).await.unwrap_err(), FORBIDDEN);
    stage.call(&rep, insert("note", vec![row(&[("text", "\"ok\"")])])).await.unwrap();
    let nothing = stage.call(&rep, update("account", &[], Filter::default())).await.unwrap();
    assert_eq!(nothing.affected, Some(1));
    let key_alone = upsert("account", vec![row(&[("id", "\"A2\"")])], true);
    assert_eq!(stage.call(&rep, key_alone).await.unwrap_err(), FORBIDDEN);
}

#[tokio::test]
async fn embeds_that_multiply_are_refused_before_they_are_built() {
    let stage = Stage::with_limits(EngineLimits { scan_rows_max: 2_000, ..EngineLimits::default() }).await;
    let admin = stage.token("admin", ACME);
    let invoices = (100..140).map(|n| {
        row(&[("id", &n.to_string()), ("customer_id", "\"C1\""), ("invoice_date", "\"2026-01-01\""), ("total", "1")])
    });
    stage.call(&admin, insert("invoice", invoices.collect())).await.unwrap();
    let embed = |read: Read| Select::Embed(Embed { alias: None, hint: None, inner: false, read });
    let with = |record_type: &str, inside: Option<Read>| {
        let mut columns = select(&["id"]);
        columns.extend(inside.map(embed));
        Read { select: columns, ..read(record_type, &[]) }
    };
    let of_customer = |inside: Option<Read>| with("invoice", Some(with("customer", inside)));
    let filter = eq("customer_id", "C1");
    let shallow = of_customer(Some(with("invoice", None)));
    let shallow = Operation::Read(Read { filter: filter.clone(), ..shallow });
    assert_eq!(stage.call(&admin, shallow).await.unwrap().rows.rows.len(), 42);
    let deep = of_customer(Some(of_customer(Some(with("invoice", None)))));
    let refused = stage.call(&admin, Operation::Read(Read { filter, ..deep })).await.unwrap_err();
    let Failure::Refused(Refusal::Invalid(Invalid::TooMany { max: 2_000, .. })) = refused else {
        panic!("not refused for its size: {refused:?}")
    };
}

#[tokio::test]
async fn a_bounded_change_counts_only_what_the_caller_can_see_and_change() {
    let stage = with_accounts(
        r#"permit (principal in Role::"rep", action in [Account::Action::"read", Account::Action::"update"], resource)
           when { principal has employee && resource has owner && resource.owner == principal.employee };"#,
    )
    .await;
    let all = Operation::Update(Update {
        record_type: "account".into(),
        set: row(&[("email", "null")]),
        filter: Filter::default(),
        max_affected: Some(1),
        returning: None,
    });
    assert_eq!(stage.call(&stage.token("rep", ACME), all).await.unwrap().affected, Some(1));
}
