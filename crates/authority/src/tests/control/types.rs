//! Record types and policies.

use std::sync::Arc;

use countersign_audit::{LedgerQuery, Verdict};
use countersign_model::control::{Control, PolicyFile};
use serde_json::json;

use super::super::{Failed, House, POLICIES, TYPES, files, is_forbidden, name};
use crate::ControlFailure;

fn apply(text: &str, dry_run: bool) -> Control {
    Control::TypesApply { text: text.to_owned(), dry_run }
}

fn policies(text: &str, dry_run: bool) -> Control {
    Control::PoliciesApply { files: vec![PolicyFile { name: "new.cedar".into(), text: text.into() }], dry_run }
}

#[tokio::test]
async fn types_are_added_to_and_nothing_is_lost() {
    let house = House::new().await;
    let operator = house.operator_token().await;
    let before = house.registry.latest();
    let grown = TYPES.replace("[types.customer.fields]", "[types.product.fields]\nid = { kind = \"integer\", class = \"public\" }\n\n[types.customer.fields]\nfax = { kind = \"text\", class = \"personal\" }");
    let answer = house.ask(&operator, apply(&grown, true)).await.unwrap();
    assert_eq!(answer["applied"], false);
    assert!(answer["changes"].to_string().contains("customer.fax: new field"), "{answer}");
    assert!(Arc::ptr_eq(&before, &house.registry.latest()));

    let answer = house.ask(&operator, apply(&grown, false)).await.unwrap();
    assert_eq!(answer["applied"], true);
    let state = house.registry.latest();
    assert!(state.facts.policy_epoch == state.facts.epoch && state.facts.epoch > before.facts.epoch);
    assert_eq!(house.ask(&operator, Control::TypesRead).await.unwrap(), json!({ "text": grown }));
    // Ids stay.
    assert_eq!(state.facts.types.find("customer").unwrap().0, before.facts.types.find("customer").unwrap().0);

    let refused = house.ask(&operator, apply(TYPES, false)).await.unwrap_err();
    let Failed::Control(ControlFailure::Losses(losses)) = refused else { panic!("{refused:?}") };
    let said: Vec<_> = losses.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|one| one.starts_with("product: missing")), "{said:?}");
    assert!(said.iter().any(|one| one.starts_with("customer.fax: missing")), "{said:?}");
    assert!(Arc::ptr_eq(&state, &house.registry.latest()));
}

#[tokio::test]
async fn bad_types_say_where_and_change_nothing() {
    let house = House::new().await;
    let operator = house.operator_token().await;
    let before = house.registry.latest();
    let refused = house.ask(&operator, apply(&TYPES.replace("integer", "intger"), false)).await.unwrap_err();
    let Failed::Control(ControlFailure::Types(error)) = refused else { panic!("{refused:?}") };
    assert_eq!((error.line(), error.nearest()), (3, Some("integer")));
    // A field that a policy names gets another class or kind only if policies still make sense with it.
    let changed = TYPES.replace("employee = \"integer\"", "employee = \"text\"");
    assert!(house.ask(&operator, apply(&changed, false)).await.is_err());
    // A change of kind is possible as long as there are no records, but the policies have to agree.
    let kind = TYPES.replace("support_rep = { kind = \"integer\"", "support_rep = { kind = \"text\"");
    let refused = house.ask(&operator, apply(&kind, false)).await.unwrap_err();
    let Failed::Control(ControlFailure::PoliciesInForce(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("roles.cedar"), "{error}");
    assert!(Arc::ptr_eq(&before, &house.registry.latest()));
}

#[tokio::test]
async fn policies_are_compiled_first_and_count_from_the_next_request() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let nancy = house.person("northwind", &admin, "nancy", "accountant").await;
    let token = house.token("nancy", "northwind", &nancy).await;
    let operator = house.operator_token().await;
    let before = house.registry.latest();
    let wider = POLICIES.replace("Customer::Field::\"company\"", "Customer::Field::\"email\"");
    assert_eq!(house.ask(&operator, policies(&wider, true)).await.unwrap()["applied"], false);
    assert!(Arc::ptr_eq(&before, &house.registry.latest()));

    let answer = house.ask(&operator, policies(&wider, false)).await.unwrap();
    assert_eq!(answer["roles"], json!(["accountant", "admin", "auditor", "operator", "rep"]));
    let me = house.ask(&token, Control::WhoAmI).await.unwrap();
    assert_eq!(me["records"]["customer"]["read"]["fields"], json!(["id", "email"]));
    let read = house.ask(&operator, Control::PoliciesRead).await.unwrap();
    assert_eq!(read["files"], json!([{ "name": "new.cedar", "text": wider }]));
    assert!(read["schema"].as_str().unwrap().contains("namespace Customer"));

    let after = house.registry.latest();
    let typo = POLICIES.replace("Field::\"company\"", "Field::\"compny\"");
    let refused = house.ask(&operator, policies(&typo, false)).await.unwrap_err();
    let Failed::Control(ControlFailure::Policies(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().starts_with("new.cedar:"), "{error}");
    for bad in [
        vec![files().remove(0), files().remove(0)],
        vec![PolicyFile { name: String::new(), text: String::new() }],
        vec![PolicyFile { name: "a\nb".into(), text: String::new() }],
    ] {
        let refused = house.ask(&operator, Control::PoliciesApply { files: bad, dry_run: false }).await.unwrap_err();
        assert!(matches!(refused, Failed::Control(ControlFailure::Invalid { .. })), "{refused:?}");
    }
    assert!(Arc::ptr_eq(&after, &house.registry.latest()));
}

#[tokio::test]
async fn only_operators_change_what_is_common_to_all() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let andrew = house.token("andrew", "northwind", &admin).await;
    assert!(is_forbidden(&house.ask(&andrew, apply(TYPES, true)).await));
    assert!(is_forbidden(&house.ask(&andrew, policies(POLICIES, true)).await));
    assert!(is_forbidden(&house.ask(&andrew, Control::PoliciesRead).await));
    assert!(house.ask(&andrew, Control::TypesRead).await.is_ok());
}

#[tokio::test]
async fn changes_are_on_record_before_and_after_and_looks_once() {
    let house = House::new().await;
    let operators = house.registry.latest().facts.tenant_names[&name("operators")];
    let operator = house.operator_token().await;
    let verdicts = |action: &str| {
        let records = house.ledgers[1].query(Some(operators), &LedgerQuery::default()).unwrap();
        let of_action = records.into_iter().filter(|(_, record)| record.body.action == action);
        of_action.map(|(_, record)| (record.verdict, record.body.detail)).collect::<Vec<_>>()
    };
    let before = verdicts("manage_types").len();
    house.ask(&operator, apply("[types.", false)).await.unwrap_err();
    house.ask(&operator, apply(TYPES, true)).await.unwrap();
    house.ask(&operator, apply(TYPES, false)).await.unwrap();
    let told: Vec<_> = verdicts("manage_types").split_off(before);
    let kinds: Vec<_> = told.iter().map(|(verdict, _)| *verdict).collect();
    assert_eq!(kinds, [Verdict::Intent, Verdict::Failed, Verdict::Released, Verdict::Intent, Verdict::Changed]);
    assert_eq!(told[4].1.as_deref(), Some("types: no change"));
    house.ask(&operator, Control::TypesRead).await.unwrap();
    assert_eq!(verdicts("read_types"), [(Verdict::Released, None)]);

    // No record, no change.
    let state = house.registry.latest();
    house.ledgers[1].close().await;
    assert!(house.ask(&operator, Control::TenantAdd { name: name("unseen"), kms: None }).await.is_err());
    assert!(Arc::ptr_eq(&state, &house.registry.latest()));
}
