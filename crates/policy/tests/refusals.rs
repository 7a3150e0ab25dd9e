//! Policies that are refused: each problem has its place and says what would be right.

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

use countersign_model::RecordTypes;
use countersign_model::control::PolicyFile;
use countersign_policy::{Policies, PolicyError};
use support::{record_types, trading_types};

fn refusal(text: &str) -> PolicyError {
    let files = [PolicyFile { name: "a.cedar".into(), text: text.into() }];
    Policies::compile(&trading_types(), &files).expect_err(text)
}

/// The first problem of a policy on customers with this condition, which begins at line 2, column 8.
fn refused(condition: &str) -> String {
    let text = format!("permit (principal, action == Customer::Action::\"read\", resource)\nwhen {{ {condition} }};");
    refusal(&text).to_string().lines().next().unwrap().to_owned()
}

#[test]
fn a_misspelt_field_is_named_with_the_nearest_one() {
    assert_eq!(
        refused(r#"context.field == Customer::Field::"compny""#),
        r#"a.cedar:2:25: there is no field of Customer "compny"; did you mean "company"?"#
    );
    assert_eq!(
        refused(r#"context.field in [Customer::Field::"id", Customer::Field::"shoe_size"]"#),
        "a.cedar:2:49: there is no field of Customer \"shoe_size\"; there are address, city, company, contact_name, \
         contact_title, country, email, fax, id, phone, postal_code, region, support_rep_id"
    );
    assert_eq!(
        refused(r#"context.class == Class::"persnal""#),
        r#"a.cedar:2:25: there is no class of fields "persnal"; did you mean "personal"?"#
    );
    let attribute = refused("resource has regoin && resource.regoin == \"x\"");
    assert!(attribute.contains("can never hold") || attribute.contains("region"), "{attribute}");
    let attribute = refused("resource.idd == \"x\"");
    assert!(attribute.starts_with("a.cedar:2:8: ") && attribute.contains("did you mean `id`"), "{attribute}");
}

#[test]
fn an_unguarded_optional_attribute_is_refused_with_advice() {
    let message = refused("resource.region == \"emea\"");
    let expected = "a.cedar:2:8: `resource.region` may have no value; ask first, with `resource has region && …`";
    assert_eq!(message, expected);
}

#[test]
fn a_misspelt_action_or_type_is_named_with_the_nearest_one() {
    let message = refusal("permit (principal, action == Customer::Action::\"raed\", resource);").to_string();
    assert_eq!(message, "a.cedar:1:30: there is no action \"raed\" in Customer; did you mean \"read\"?");
    let message = refusal("permit (principal, action, resource is Custmer::Record);").to_string();
    assert!(message.contains("did you mean `Customer::Record`"), "{message}");
}

#[test]
fn text_that_is_not_cedar_is_refused_where_it_stops_being_cedar() {
    let message =
        refusal("permit (principal, action, resource);\n\n  permit (principal action, resource);").to_string();
    assert!(message.starts_with("a.cedar:3:21: unexpected token `action`"), "{message}");
    let message = refusal("permit (principal, action, resource)").to_string();
    assert!(message.starts_with("a.cedar:1:"), "{message}");
    let message = refusal("permit (principal, action, resource == ?resource);").to_string();
    assert!(message.contains("template"), "{message}");
}

#[test]
fn every_problem_is_named_in_one_go() {
    let two = "permit (principal, action, resource) when { 1 == \"a\" };\npermit (;\n";
    assert_eq!(refusal(two).problems().iter().map(|problem| problem.line()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_policy_that_can_never_apply_is_refused() {
    let message = refusal("permit (principal, action == Data::Action::\"read\", resource);").to_string();
    assert!(message.starts_with("a.cedar:1:1: the policy can never apply"), "{message}");
    assert!(refused("1 == 2").contains("the policy's condition can never hold"));
}

#[test]
fn what_no_plan_can_hold_is_refused_rather_than_denied_in_silence() {
    let unusable = [
        (r#"resource == Customer::Record::"ALFKI""#, "compare the record's key field"),
        ("resource has city && resource has region && resource.city == resource.region", "a fixed value"),
        ("resource has support_rep_id && resource.support_rep_id + 1 == 3", "can't compute"),
        (r#"resource has city && ["a"].containsAny([resource.city])"#, "plans know"),
        (r#"resource has city && {"a": resource.city} == {"a": "b"}"#, "can't compute"),
        (r#"resource has support_rep && resource.support_rep == Employee::Record::"3""#, "key field"),
        (r#"resource has support_rep && resource in resource.support_rep"#, ""),
    ];
    for (condition, why) in unusable {
        let message = refused(condition);
        assert!(message.starts_with("a.cedar:2:") || message.starts_with("a.cedar:1:1:"), "{condition}: {message}");
        assert!(message.contains(why), "{condition}: {message}");
    }
    let one_record = "permit (principal, action, resource == Customer::Record::\"ALFKI\");";
    assert!(refusal(one_record).to_string().contains("a policy can't name one record"));
}

#[test]
fn names_that_nobody_can_have_are_refused() {
    for wrong in ["principal in Role::\"Admin\"", "principal == User::\"andrew\"", "principal in Role::\"\""] {
        let message =
            refusal(&format!("permit ({wrong}, action == Customer::Action::\"read\", resource);")).to_string();
        assert!(message.contains("nobody can have the name") || message.contains("there can be no user"), "{message}");
    }
    assert!(refused(r#"principal.tenant == Tenant::"Chinook Ltd""#).contains("nobody can have the name"));
}

#[test]
fn ids_are_unique_and_built_in_ones_are_reserved() {
    let policy = "@id(\"x\") permit (principal, action == Customer::Action::\"read\", resource);\n";
    let message = refusal(&policy.repeat(2)).to_string();
    assert_eq!(message, "a.cedar:2:1: the policy id \"x\" is taken by the policy at a.cedar:1");
    let message = refusal(&policy.replace("\"x\"", "\"countersign:tenant-isolation\"")).to_string();
    assert!(message.contains("are built in"), "{message}");
}

#[test]
fn hostile_text_is_refused_without_running_out_of_stack() {
    let nested = |open: &str, close: &str| {
        let inner = format!("{}true{}", open.repeat(20_000), close.repeat(20_000));
        refused(&inner)
    };
    for (open, close) in [("(", ")"), ("!", ""), ("[", "]"), ("true && ", ""), ("if true then true else ", "")] {
        let message = nested(open, close);
        assert!(message.contains("longer than") || message.contains("more than"), "{message}");
    }
    let within = 100;
    for (open, close) in [("(", ")"), ("[", "]"), ("true && ", ""), ("if true then true else ", ""), ("-", "")] {
        let inner = format!("{}true{}", open.repeat(within), close.repeat(within));
        let text = format!("permit (principal, action, resource) when {{ {inner} }};");
        let files = [PolicyFile { name: "a.cedar".into(), text }];
        drop(Policies::compile(&trading_types(), &files));
    }
    assert!(
        refusal("permit (principal, action, resource) when { \"a\u{202e}b\" == principal.name };")
            .to_string()
            .contains("direction of text")
    );
    assert!(refusal("\0").to_string().starts_with("a.cedar:1:1: "));
}

#[test]
fn record_types_that_policies_could_not_name_are_refused() {
    let compile = |types: &RecordTypes| Policies::compile(types, &[]).map(|_| ()).unwrap_err().to_string();
    let taken = record_types(&["control: id text public"], &[]);
    assert_eq!(compile(&taken), "the record type \"control\" can't be used in policies: its name is taken");
    let same = record_types(&["a_1: id text public", "a1: id text public"], &[]);
    assert!(compile(&same).contains("would have the same name in policies, A1"));
    let caller = record_types(&["a: id text public"], &[("tenant", countersign_model::Kind::Text)]);
    assert!(compile(&caller).contains("\"tenant\" is one that every user has"));
}

#[test]
fn every_other_name_can_be_used() {
    let lines = [
        "set: id text public, tenant text public, if text public, in-out text? public, has boolean? public",
        "record: id text public, record_id text? public > record, record text? public, like integer? public",
        "user: id text public, true text? public, entity text? public, _ text? public",
        "tenant: id text public, is text? public, user_id text? public > user",
        "class: id text public, action text? public, bool text? public, long text? public, string text? public",
        "field: id text public, then text? public, else text? public, principal text? public",
    ];
    let lines: Vec<&str> = lines.iter().copied().map(|line| line.trim_end_matches(", _ text? public")).collect();
    let types =
        record_types(&lines, &[("if", countersign_model::Kind::Text), ("a-b", countersign_model::Kind::Integer)]);
    let text = "permit (principal, action == Set::Action::\"read\", resource)\n\
                when { resource has \"in-out\" && resource[\"in-out\"] == \"x\" && resource[\"if\"] == \"y\" };\n\
                permit (principal, action == Tenant::Action::\"read\", resource)\n\
                when { principal has \"a-b\" && principal[\"a-b\"] == 1 && context.class == Class::\"public\" };";
    let files = [PolicyFile { name: "a.cedar".into(), text: text.into() }];
    Policies::compile(&types, &files).unwrap();
}

#[test]
fn a_budget_is_checked_with_the_policies_and_its_mistakes_stand_beside_theirs() {
    let files = [
        PolicyFile { name: "budget.toml".into(), text: "[people]\nper_hours = 5".into() },
        PolicyFile { name: "a.cedar".into(), text: "permit (nobody);".into() },
    ];
    let told = Policies::compile(&trading_types(), &files).unwrap_err();
    let mut places: Vec<_> = told.problems().iter().map(|problem| (problem.file(), problem.line())).collect();
    places.dedup();
    assert_eq!(places, [("a.cedar", 1), ("budget.toml", 2)]);
    let cedar_in_budget =
        [PolicyFile { name: "budget.toml".into(), text: "permit (principal, action, resource);".into() }];
    assert!(Policies::compile(&trading_types(), &cedar_in_budget).is_err());
}
