//! INVARIANT hidden-is-absent: what a caller may not see leaves no trace in anything that comes back.

use crate::support::*;
use countersign_engine::Failure;
use countersign_guard::Refusal;
use countersign_model::request::{Embed, Filter, Operation, Operator, Read, Select};

const FORBIDDEN: Failure = Failure::Refused(Refusal::Forbidden);

fn embed(read: Read, inner: bool) -> Select {
    Select::Embed(Embed { alias: None, hint: None, inner, read })
}

#[tokio::test]
async fn naming_a_hidden_field_anywhere_is_answered_as_if_it_did_not_exist() {
    let stage = Stage::new().await;
    let support = stage.token("support", ACME);
    for field in ["address", "fax", "no_such_field"] {
        let uses = [
            Operation::Read(read("customer", &[field])),
            Operation::Read(Read { filter: eq(field, "x"), ..read("customer", &["id"]) }),
            Operation::Read(Read {
                filter: Filter::Not(Box::new(test(field, Operator::Is, "null"))),
                ..read("customer", &["id"])
            }),
            Operation::Read(Read { order: vec![order(field)], ..read("customer", &["id"]) }),
            Operation::Read(Read { select: vec![embed(read("customer", &[field]), false)], ..read("invoice", &[]) }),
            update("customer", &[(field, "\"x\"")], eq("id", "C1")),
            update("customer", &[("phone", "\"x\"")], eq(field, "x")),
        ];
        for operation in uses {
            assert_eq!(stage.call(&support, operation).await.unwrap_err(), FORBIDDEN, "{field}");
        }
    }
    for record_type in ["employee_secret", "no_such_type"] {
        let operation = Operation::Read(read(record_type, &["id"]));
        assert_eq!(stage.call(&support, operation).await.unwrap_err(), FORBIDDEN);
    }
}

#[tokio::test]
async fn everything_selected_is_everything_permitted_and_no_more() {
    let stage = Stage::new().await;
    let labels = async |user: &str| {
        let answer = stage.call(&stage.token(user, ACME), Operation::Read(read("customer", &[]))).await.unwrap();
        let label = |column: &countersign_model::query::Column| match column {
            countersign_model::query::Column::Field { label, .. } => label.to_string(),
            countersign_model::query::Column::Embed(embed) => embed.label.to_string(),
        };
        answer.columns.iter().map(label).collect::<Vec<_>>()
    };
    assert_eq!(labels("accountant").await, ["id", "company", "country"]);
    let support = labels("support").await;
    assert!(!support.contains(&"address".to_owned()) && !support.contains(&"fax".to_owned()));
    assert!(support.contains(&"email".to_owned()));
}

#[tokio::test]
async fn a_rep_s_world_has_only_its_own_customers_and_their_invoices() {
    let stage = Stage::new().await;
    let rep = stage.token("rep", ACME);
    let all = stage.call(&rep, Operation::Read(Read { count: true, ..read("customer", &["id"]) })).await.unwrap();
    assert_eq!(all_texts(&all), ["C1", "C2"]);
    assert_eq!(all.rows.total, Some(2));
    let elsewhere = Operation::Read(Read { filter: eq("id", "C3"), count: true, ..read("customer", &["id"]) });
    let nowhere = Operation::Read(Read { filter: eq("id", "ZZZ"), count: true, ..read("customer", &["id"]) });
    let (elsewhere, nowhere) = (stage.call(&rep, elsewhere).await.unwrap(), stage.call(&rep, nowhere).await.unwrap());
    assert_eq!(elsewhere.rows, nowhere.rows);
    let negated = Filter::Not(Box::new(eq("company", "Acme Customer 1")));
    let negated =
        stage.call(&rep, Operation::Read(Read { filter: negated, ..read("customer", &["id"]) })).await.unwrap();
    assert_eq!(all_texts(&negated), ["C2"]);
    let invoices = stage.call(&rep, Operation::Read(Read { count: true, ..read("invoice", &["id"]) })).await.unwrap();
    assert_eq!(all_texts(&invoices), ["1", "2", "7", "8"]);
    assert_eq!(invoices.rows.total, Some(4));
}

#[tokio::test]
async fn an_embed_shows_and_counts_only_what_the_caller_may_see() {
    let stage = Stage::new().await;
    let both = |inner| {
        let select = vec![
            Select::Field { field: "id".into(), alias: None },
            embed(Read { order: vec![order("id")], ..read("invoice", &["id"]) }, inner),
        ];
        Operation::Read(Read { select, ..read("customer", &[]) })
    };
    let admin = stage.call(&stage.token("admin", ACME), both(false)).await.unwrap();
    assert_eq!(all_texts(&admin), ["C1|[1;7]", "C2|[2;8]", "C3|[3;9]", "C4|[4;10]", "C5|[5;11]", "C6|[6;12]"]);
    let rep = stage.call(&stage.token("rep", ACME), both(true)).await.unwrap();
    assert_eq!(all_texts(&rep), ["C1|[1;7]", "C2|[2;8]"]);
    let up = vec![Select::Field { field: "id".into(), alias: None }, embed(read("customer", &["company"]), true)];
    let up = Operation::Read(Read { select: up, filter: eq("customer_id", "C2"), ..read("invoice", &[]) });
    let up = stage.call(&stage.token("accountant", GLOBEX), up).await.unwrap();
    assert_eq!(all_texts(&up), ["2|(Globex Customer 2)", "8|(Globex Customer 2)"]);
    let filtered = vec![
        Select::Field { field: "id".into(), alias: None },
        embed(Read { filter: test("total", Operator::Gt, "10.5"), ..read("invoice", &["total"]) }, true),
    ];
    let filtered = Operation::Read(Read { select: filtered, count: true, ..read("customer", &[]) });
    let filtered = stage.call(&stage.token("admin", ACME), filtered).await.unwrap();
    assert_eq!(all_texts(&filtered), ["C5|[11.50]", "C6|[12.50]"]);
    assert_eq!(filtered.rows.total, Some(2));
}

#[tokio::test]
async fn the_tenant_is_the_token_s_and_naming_another_is_refused() {
    let stage = Stage::new().await;
    for (tenant, company) in [(ACME, "Acme Customer 1"), (GLOBEX, "Globex Customer 1")] {
        let operation = Operation::Read(Read { filter: eq("id", "C1"), ..read("customer", &["company"]) });
        let answer = stage.call(&stage.token("admin", tenant), operation).await.unwrap();
        assert_eq!(all_texts(&answer), [company]);
    }
    let mut request = stage.request(Operation::Read(read("customer", &["company"])));
    request.tenant = Some(GLOBEX.to_owned());
    let refused = stage.send(&stage.token("admin", ACME), request.clone()).await.unwrap_err();
    request.tenant = Some("no-such-tenant".to_owned());
    let unknown = stage.send(&stage.token("admin", ACME), request).await.unwrap_err();
    assert_eq!(refused, unknown);
    assert_eq!(refused, Failure::Refused(Refusal::OtherTenant));
}

#[tokio::test]
async fn an_auditor_sees_no_record_at_all() {
    let stage = Stage::new().await;
    let auditor = stage.token("auditor", ACME);
    for record_type in ["employee", "customer", "product", "invoice", "invoice_line"] {
        let refused = stage.call(&auditor, Operation::Read(read(record_type, &[]))).await.unwrap_err();
        assert_eq!(refused, FORBIDDEN, "{record_type}");
    }
}
