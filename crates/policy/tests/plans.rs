//! What particular policies come to: each construct that plans know, and the rules that doubt is a refusal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a test stops where something is not as it should be"
)]

mod support;

use countersign_model::budget::BudgetLimits;
use countersign_model::control::{ControlAction, PolicyFile};
use countersign_model::facts::{Principal, UserKind};
use countersign_model::request::Action;
use countersign_model::{Comparison, FieldId, FieldSet, Kind, Plan, Predicate, RecordTypes, TypeId, Value};
use countersign_policy::{Policies, PolicyFault};
use support::{acted_for, caller, name, record_types};

const ORDER: TypeId = TypeId(0);
const ID: FieldId = FieldId(0);
const BUYER_ID: FieldId = FieldId(1);
const REGION: FieldId = FieldId(2);
const AMOUNT: FieldId = FieldId(3);
const URGENT: FieldId = FieldId(4);

fn types() -> RecordTypes {
    let lines = [
        "order: id integer public, buyer_id text internal > buyer, region text personal, amount integer? financial, \
         urgent boolean public",
        "buyer: id text public, region text? personal, agent_id integer? internal > agent",
        "agent: id integer public, level integer internal",
    ];
    record_types(&lines, &[("level", Kind::Integer), ("region", Kind::Text)])
}

fn jane() -> Principal {
    caller("acme", "jane", &["rep"], &[("level", Value::Integer(7))])
}

fn compile(text: &str) -> Policies {
    let files = [PolicyFile { name: "a.cedar".into(), text: text.into() }];
    Policies::compile(&types(), &files).unwrap_or_else(|error| panic!("{error}"))
}

fn permit(condition: &str) -> String {
    format!("permit (principal, action == Order::Action::\"read\", resource) when {{ {condition} }};\n")
}

fn forbid(condition: &str) -> String {
    format!("forbid (principal, action == Order::Action::\"read\", resource) when {{ {condition} }};\n")
}

fn plan(text: &str) -> Plan {
    compile(text).plan(&jane(), Action::Read, ORDER).unwrap()
}

/// The row condition of a policy that permits all fields.
fn rows(condition: &str) -> Predicate {
    let plan = plan(&permit(condition));
    assert_eq!(plan.fields(), FieldSet::first(5), "{condition}");
    plan.rows_with_all(FieldSet::first(5))
}

fn field(field: FieldId, comparison: Comparison) -> Predicate {
    Predicate::Field(field, comparison)
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn via_buyer(condition: Predicate) -> Predicate {
    Predicate::Via { reference: BUYER_ID, target: TypeId(1), condition: Box::new(condition) }
}

#[test]
fn every_comparison_becomes_a_row_condition() {
    let number = Value::Integer;
    let expected = [
        ("resource.id == 3", field(ID, Comparison::Eq(number(3)))),
        ("3 != resource.id", field(ID, Comparison::Neq(number(3)))),
        ("!(resource.id == 3)", field(ID, Comparison::Neq(number(3)))),
        ("resource.id < 3", field(ID, Comparison::Lt(number(3)))),
        ("3 < resource.id", field(ID, Comparison::Gt(number(3)))),
        ("!(resource.id < 3)", field(ID, Comparison::Gte(number(3)))),
        ("3 >= resource.id", field(ID, Comparison::Lte(number(3)))),
        ("[3, 4].contains(resource.id)", field(ID, Comparison::In(vec![number(3), number(4)]))),
        ("resource.region == \"x\"", field(REGION, Comparison::Eq(text("x")))),
        ("resource.urgent", field(URGENT, Comparison::Eq(Value::Boolean(true)))),
        ("!resource.urgent", field(URGENT, Comparison::Eq(Value::Boolean(false)))),
        ("resource.urgent != true", field(URGENT, Comparison::Neq(Value::Boolean(true)))),
        ("resource has amount", field(AMOUNT, Comparison::IsNull).not()),
        ("!(resource has amount)", field(AMOUNT, Comparison::IsNull)),
        ("resource has amount && resource.amount > 5", field(AMOUNT, Comparison::Gt(number(5)))),
        ("principal has level && resource.id == principal.level", field(ID, Comparison::Eq(number(7)))),
        ("principal has level && resource.id == principal.level * 2", field(ID, Comparison::Eq(number(14)))),
        ("resource.buyer.id == \"k\"", via_buyer(field(FieldId(0), Comparison::Eq(text("k"))))),
        ("!(resource.buyer.id == \"k\")", via_buyer(field(FieldId(0), Comparison::Neq(text("k"))))),
        ("resource.buyer has region", via_buyer(field(FieldId(1), Comparison::IsNull).not())),
        (
            "resource has buyer.region && resource.buyer.region == \"x\"",
            via_buyer(field(FieldId(1), Comparison::Eq(text("x")))),
        ),
        ("resource is Order::Record && resource.tenant == principal.tenant", Predicate::TRUE),
        ("resource.tenant == Tenant::\"acme\"", Predicate::TRUE),
        (
            "if principal in Role::\"rep\" then resource.id == 1 else resource.urgent",
            field(ID, Comparison::Eq(number(1))),
        ),
        ("resource.id == 3 || resource.id == 4", field(ID, Comparison::In(vec![number(3), number(4)]))),
        ("resource.id == 1 || resource.id == 1", field(ID, Comparison::Eq(number(1)))),
    ];
    for (condition, expected) in expected {
        assert_eq!(rows(condition), expected, "{condition}");
    }
}

#[test]
fn like_keeps_what_is_special_to_sql_and_not_to_cedar() {
    let Predicate::Field(_, Comparison::Like { pattern, fold_case: false }) =
        rows(r#"resource.region like "a%*_\*\\""#)
    else {
        panic!()
    };
    assert_eq!(pattern, r"a\%%\_*\\");
    assert!(matches!(rows(r#"!(resource.region like "a*")"#), Predicate::Not(_)));
}

#[test]
fn a_reference_of_a_reference_nests() {
    let deep = rows("resource has buyer.agent.level && resource.buyer.agent.level <= 3");
    let at_agent = field(FieldId(1), Comparison::Lte(Value::Integer(3)));
    let via_agent = Predicate::Via { reference: FieldId(2), target: TypeId(2), condition: Box::new(at_agent) };
    assert_eq!(deep, via_buyer(via_agent));
}

#[test]
fn fields_with_the_same_condition_share_a_rule() {
    let text = permit(r#"context.class == Class::"public""#)
        + &permit(r#"context.field in [Order::Field::"region", Order::Field::"amount"] && resource.urgent"#)
        + &forbid(r#"context.field == Order::Field::"amount""#);
    let plan = plan(&text);
    assert_eq!(plan.rules.len(), 2, "{plan:#?}");
    let public = plan.rules.iter().find(|rule| rule.rows == Predicate::TRUE).unwrap();
    assert_eq!(public.fields, [ID, URGENT].into_iter().collect());
    let urgent = plan.rules.iter().find(|rule| rule.rows != Predicate::TRUE).unwrap();
    assert_eq!(urgent.fields, FieldSet::EMPTY.with(REGION));
}

#[test]
fn nothing_is_permitted_by_default_by_a_false_condition_or_under_a_forbid() {
    for text in [
        String::new(),
        permit("principal in Role::\"other\""),
        permit("principal has region && resource.region == principal.region"),
        permit("true") + &forbid("principal.name == \"jane\""),
        permit("resource.tenant == Tenant::\"other\""),
        permit("true") + &forbid("resource.tenant == Tenant::\"acme\""),
    ] {
        assert_eq!(plan(&text), Plan::default(), "{text}");
    }
    let other_action = compile(&permit("true"));
    assert_eq!(other_action.plan(&jane(), Action::Update, ORDER), Ok(Plan::default()));
    assert_eq!(other_action.plan(&jane(), Action::Read, TypeId(9)), Err(PolicyFault::UnknownType));
}

#[test]
fn a_forbid_on_rows_becomes_a_condition_that_an_absent_value_does_not_meet() {
    let both = permit("true") + &forbid("resource has amount && resource.amount > 100");
    let rows = plan(&both).rows_with_all(FieldSet::first(5));
    let expected = field(AMOUNT, Comparison::IsNull).or(field(AMOUNT, Comparison::Lte(Value::Integer(100))));
    assert_eq!(rows, expected);
    // A record that is not there can't be shown not to be forbidden.
    let elsewhere = permit("true") + &forbid("resource.buyer.id == \"k\"");
    let rows = plan(&elsewhere).rows_with_all(FieldSet::first(5));
    assert_eq!(rows, via_buyer(field(FieldId(0), Comparison::Neq(text("k")))));
}

#[test]
fn a_policy_that_fails_for_the_caller_refuses_everything() {
    let failing = permit("true") + &forbid("principal has level && principal.level * 9223372036854775807 == 1");
    assert_eq!(compile(&failing).plan(&jane(), Action::Read, ORDER), Err(PolicyFault::Evaluation));
}

#[test]
fn a_caller_whose_attributes_do_not_fit_is_refused() {
    let wrong = caller("acme", "jane", &[], &[("level", Value::Text("7".into()))]);
    let policies = compile(&permit("true"));
    assert_eq!(policies.plan(&wrong, Action::Read, ORDER), Err(PolicyFault::Caller));
    assert_eq!(policies.control(&wrong, ControlAction::UseOwnToken, &name("acme")), Err(PolicyFault::Caller));
    let undeclared = caller("acme", "jane", &[], &[("shoe-size", Value::Integer(42))]);
    assert_eq!(policies.plan(&undeclared, Action::Read, ORDER), Ok(Plan::all_rows(FieldSet::first(5))));
}

#[test]
fn users_and_tenants_are_told_apart_by_both_names() {
    let policies = compile(
        "permit (principal == User::\"jane@acme\", action == Order::Action::\"read\", resource);\n\
         permit (principal, action in Data::Action::\"delete\", resource is Order::Record)\n\
         when { principal.tenant == Tenant::\"beta\" };",
    );
    let elsewhere = caller("beta", "jane", &[], &[]);
    let all = Plan::all_rows(FieldSet::first(5));
    assert_eq!(policies.plan(&jane(), Action::Read, ORDER), Ok(all.clone()));
    assert_eq!(policies.plan(&elsewhere, Action::Read, ORDER), Ok(Plan::default()));
    assert_eq!(policies.plan(&jane(), Action::Delete, ORDER), Ok(Plan::default()));
    assert_eq!(policies.plan(&elsewhere, Action::Delete, ORDER), Ok(all));
}

#[test]
fn no_policy_reaches_over_tenants_or_lets_operators_see_records() {
    let everything = "permit (principal, action, resource);";
    let policies = compile(everything);
    let control = |caller: &Principal, action, tenant| policies.control(caller, action, &name(tenant)).unwrap();
    assert!(control(&jane(), ControlAction::ManageUsers, "acme"));
    for action in ControlAction::ALL {
        assert!(!control(&jane(), action, "beta"), "{action:?}");
    }
    for action in [ControlAction::ManageTenants, ControlAction::ManageTypes, ControlAction::ManagePolicies] {
        assert!(!control(&jane(), action, "acme"), "{action:?}");
    }
    let operator = caller("operators", "operator", &["rep", "operator"], &[]);
    for action in Action::ALL {
        assert_eq!(policies.plan(&operator, action, ORDER), Ok(Plan::default()));
    }
    assert!(control(&operator, ControlAction::ManageUsers, "acme"));
    assert!(!control(&operator, ControlAction::ReadAudit, "acme"));
}

#[test]
fn operators_can_begin_without_any_policy() {
    let policies = Policies::compile(&RecordTypes::default(), &[]).unwrap();
    let operator = caller("operators", "operator", &["operator"], &[]);
    let bystander = caller("operators", "bystander", &[], &[]);
    for action in ControlAction::ALL {
        let own_token = Ok(action == ControlAction::UseOwnToken);
        // These are a tenant's own.
        let tenants = [ControlAction::ManageProvider, ControlAction::DecideAccess, ControlAction::ReadNotices];
        let operators = Ok(!tenants.contains(&action));
        assert_eq!(policies.control(&operator, action, &name("operators")), operators, "{action:?}");
        assert_eq!(policies.control(&bystander, action, &name("operators")), own_token, "{action:?}");
        assert_eq!(policies.control(&jane(), action, &name("acme")), own_token, "{action:?}");
    }
    assert_eq!(policies.roles().iter().map(ToString::to_string).collect::<Vec<_>>(), ["operator"]);
}

#[test]
fn roles_are_those_that_policies_name() {
    let policies = compile(&permit("principal in Role::\"rep\" || principal in Role::\"lead\""));
    assert_eq!(policies.roles().iter().map(ToString::to_string).collect::<Vec<_>>(), ["lead", "operator", "rep"]);
}

#[test]
fn a_plan_needs_no_more_stack_than_the_deepest_policy_that_is_let_through() {
    let deep = permit(&format!("{}resource.urgent{}", "(".repeat(100), ")".repeat(100)));
    let long = permit(&(0..50).map(|id| format!("resource.id == {id}")).collect::<Vec<_>>().join(" || "));
    for text in [deep, long] {
        let policies = compile(&text);
        let small = std::thread::Builder::new().stack_size(512 * 1024);
        let made = small.spawn(move || policies.plan(&jane(), Action::Read, ORDER).unwrap()).unwrap().join();
        assert_eq!(made.unwrap().fields(), FieldSet::first(5));
    }
}

fn agent(roles: &[&str]) -> Principal {
    let mut agent = caller("acme", "copilot", roles, &[]);
    std::sync::Arc::make_mut(&mut agent.facts).kind = UserKind::Agent;
    agent
}

#[test]
fn with_an_actor_both_have_to_be_permitted_the_field_and_the_row() {
    let text = "permit (principal in Role::\"rep\", action == Order::Action::\"read\", resource) \
                when { resource.region == \"emea\" };\n\
                permit (principal in Role::\"helper\", action == Order::Action::\"read\", resource) \
                when { resource.urgent && context.class in [Class::\"public\", Class::\"personal\"] };";
    let policies = compile(text);
    let plan = |of: &Principal| policies.plan(of, Action::Read, ORDER).unwrap();
    let both = plan(&acted_for(&jane(), &agent(&["helper"])));
    let permitted: FieldSet = [ID, REGION, URGENT].into_iter().collect();
    assert_eq!(both.fields(), permitted);
    let region = field(REGION, Comparison::Eq(text_value("emea")));
    let urgent = field(URGENT, Comparison::Eq(Value::Boolean(true)));
    assert_eq!(both.rows_with_all(permitted), region.and(urgent));
    // An agent without a role of its own can do nothing in anybody's name, and nobody gains by having one.
    assert_eq!(plan(&acted_for(&jane(), &agent(&[]))), Plan::default());
    assert_eq!(plan(&acted_for(&agent(&[]), &jane())), Plan::default());
    assert_eq!(plan(&acted_for(&jane(), &agent(&["rep"]))), plan(&jane()));
}

fn text_value(text: &str) -> Value {
    Value::Text(text.into())
}

#[test]
fn with_an_actor_both_have_to_be_permitted_to_manage() {
    let policies =
        compile("permit (principal in Role::\"admin\", action == Control::Action::\"read_audit\", resource);");
    let (admin, other) = (caller("acme", "ann", &["admin"], &[]), jane());
    let may = |of: &Principal, action| policies.control(of, action, &name("acme")).unwrap();
    assert!(may(&admin, ControlAction::ReadAudit));
    assert!(may(&acted_for(&admin, &agent(&["admin"])), ControlAction::ReadAudit));
    assert!(!may(&acted_for(&admin, &other), ControlAction::ReadAudit));
    assert!(!may(&acted_for(&other, &admin), ControlAction::ReadAudit));
    assert!(may(&acted_for(&admin, &other), ControlAction::UseOwnToken));
}

#[test]
fn a_budget_is_the_smaller_of_both() {
    let budget = "[people]\nper_hour = 100\nper_token = 5\n[agents]\nper_hour = 10\nper_token = 50\n[roles.bulk]\nper_hour = 1000";
    let files = [
        PolicyFile { name: "a.cedar".into(), text: permit("true") },
        PolicyFile { name: "northwind-budget.toml".into(), text: budget.into() },
    ];
    let policies = Policies::compile(&types(), &files).unwrap();
    let limits = |of: &Principal| {
        let BudgetLimits { per_token, per_hour, .. } = policies.budget(of);
        (per_token, per_hour)
    };
    assert_eq!(limits(&jane()), (5, 100));
    assert_eq!(limits(&agent(&[])), (50, 10));
    assert_eq!(limits(&acted_for(&jane(), &agent(&[]))), (5, 10));
    assert_eq!(limits(&acted_for(&jane(), &agent(&["bulk"]))), (5, 100));
    // A role that only the budget names is no role that policies know.
    assert!(!policies.roles().contains(&name("bulk")));
}
