//! The golden matrix: what each role may do with each field, in its own tenant and in another, as a reviewed file.
//!
//! `COUNTERSIGN_REWRITE_GOLDEN=1 cargo test -p countersign-policy --test matrix` writes it anew. Read the diff.

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

use std::fmt::Write as _;
use std::path::PathBuf;

use countersign_model::control::ControlAction;
use countersign_model::facts::Principal;
use countersign_model::request::Action;
use countersign_model::{Comparison, FieldId, FieldSet, Kind, Plan, Predicate, RecordType, RecordTypes, TypeId, Value};
use countersign_policy::Policies;
use support::{At, Oracle, World, caller, name, trading_policies, trading_types};

const HEADER: &str = "\
What each role of the trading example may do with each field. Written by a test, read by people: a change of this
file is a change of who may see what.

c create   r read   u update   d delete   - nothing
A letter with a number, such as r1, holds on some records only; the condition stands below the table.
\"norole\" has no role at all; \"operator\" is an operator of the tenant \"operators\". The rep is employee number 3.
";

/// One caller for each column.
fn columns() -> Vec<(&'static str, Principal)> {
    let roles = ["admin", "support", "accountant", "analyst", "rep", "auditor"];
    let employee = [("employee", Value::Integer(3))];
    let mut columns: Vec<_> = roles.iter().map(|role| (*role, caller("chinook", "jane", &[role], &employee))).collect();
    columns.push(("norole", caller("chinook", "jane", &[], &employee)));
    // The roles of subscribers must not matter there, so it has all of them besides its own.
    let operator = [&roles[..], &["operator"]].concat();
    columns.push(("operator", caller("operators", "operator", &operator, &employee)));
    columns
}

#[test]
fn the_matrix_is_as_it_was_reviewed() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/policy-matrix.txt"));
    let found = matrix();
    if std::env::var_os("COUNTERSIGN_REWRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &found).unwrap();
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines = found.lines().zip(reviewed.lines()).enumerate();
    if let Some((line, (found, reviewed))) = lines.find(|(_, (found, reviewed))| found != reviewed) {
        panic!("{} line {}:\n  reviewed {reviewed}\n  found    {found}", path.display(), line + 1);
    }
    assert_eq!(found.lines().count(), reviewed.lines().count(), "{}", path.display());
}

fn matrix() -> String {
    let (types, files) = (trading_types(), trading_policies());
    let policies = Policies::compile(&types, &files).unwrap();
    let oracle = Oracle::new(&types, &files);
    let mut out = HEADER.to_owned();
    for (type_id, record_type) in types.iter() {
        write_type(&mut out, &types, type_id, record_type, &policies, &oracle);
    }
    write_control(&mut out, &policies);
    out
}

fn write_type(
    out: &mut String,
    types: &RecordTypes,
    type_id: TypeId,
    record_type: &RecordType,
    policies: &Policies,
    oracle: &Oracle,
) {
    let plans: Vec<[Plan; 4]> = columns()
        .iter()
        .map(|(_, caller)| Action::ALL.map(|action| policies.plan(caller, action, type_id).unwrap()))
        .collect();
    let mut conditions: Vec<String> = Vec::new();
    writeln!(out, "\n{}\n", record_type.name).unwrap();
    write_row(out, "field", "class", &columns().iter().map(|(role, _)| (*role).to_owned()).collect::<Vec<_>>());
    for (id, field) in record_type.iter() {
        let cells = plans.iter().map(|plans| cell(plans, id, type_id, types, &mut conditions));
        write_row(out, field.name.as_str(), field.class.as_str(), &cells.collect::<Vec<_>>());
    }
    let world = elsewhere(types);
    let others =
        columns().into_iter().map(|(_, caller)| of_another_tenant(&caller, &world, type_id, record_type, oracle));
    write_row(out, "(any, of another tenant)", "", &others.collect::<Vec<_>>());
    for (number, condition) in conditions.iter().enumerate() {
        writeln!(out, "  {}: {condition}", number + 1).unwrap();
    }
}

fn write_row(out: &mut String, field: &str, class: &str, cells: &[String]) {
    write!(out, "  {field:<25}{class:<11}").unwrap();
    cells.iter().for_each(|cell| write!(out, "{cell:<12}").unwrap());
    *out = out.trim_end().to_owned() + "\n";
}

fn cell(
    plans: &[Plan; 4],
    field: FieldId,
    type_id: TypeId,
    types: &RecordTypes,
    conditions: &mut Vec<String>,
) -> String {
    let letters = Action::ALL.iter().zip(plans).map(|(action, plan)| {
        let letter = action.as_str()[..1].to_owned();
        match plan.rows_with_all(FieldSet::EMPTY.with(field)) {
            Predicate::Always(true) => letter,
            Predicate::Always(false) => String::new(),
            condition => {
                let text = text(&condition, type_id, types);
                let number = conditions.iter().position(|known| *known == text).unwrap_or_else(|| {
                    conditions.push(text);
                    conditions.len() - 1
                });
                format!("{letter}{}", number + 1)
            }
        }
    });
    // Create, read, update, delete: the order in which people say it.
    let letters: Vec<String> = letters.collect();
    let cell = [&letters[1], &letters[0], &letters[2], &letters[3]].map(String::as_str).concat();
    if cell.is_empty() { "-".to_owned() } else { cell }
}

/// What Cedar allows on a record of another tenant that would meet every condition.
fn of_another_tenant(
    caller: &Principal,
    world: &World,
    type_id: TypeId,
    record_type: &RecordType,
    oracle: &Oracle,
) -> String {
    let known = oracle.entities(caller, world);
    let record = At { world, record_type: type_id, place: 0 };
    let mut allowed = Vec::new();
    for action in Action::ALL {
        for (id, field) in record_type.iter() {
            let said = oracle.says(caller, &known, action, record, id);
            assert!(!said.errors);
            if said.allow {
                allowed.push(format!("{}:{}", action.as_str(), field.name));
            }
        }
    }
    if allowed.is_empty() { "-".to_owned() } else { allowed.join(" ") }
}

/// Another tenant, with one record of each type, all of whose numbers are 3.
fn elsewhere(types: &RecordTypes) -> World {
    let mut world = World { tenant: "northwind".into(), ..World::default() };
    for (id, record_type) in types.iter() {
        let values = record_type.fields.iter().map(|field| match field.kind {
            Kind::Text => Value::Text("3".into()),
            Kind::Integer => Value::Integer(3),
            Kind::Boolean => Value::Boolean(true),
            _ => Value::Null,
        });
        world.records.insert(id, vec![values.collect()]);
    }
    world
}

fn write_control(out: &mut String, policies: &Policies) {
    for (title, tenant) in [("in the own tenant", None), ("in another tenant", Some("northwind"))] {
        writeln!(out, "\nmanaging, {title}\n").unwrap();
        let roles: Vec<String> = columns().iter().map(|(role, _)| (*role).to_owned()).collect();
        write_row(out, "action", "", &roles);
        for action in ControlAction::ALL {
            let cells = columns().into_iter().map(|(_, caller)| {
                let tenant = tenant.map_or_else(|| caller.tenant_name.clone(), name);
                if policies.control(&caller, action, &tenant).unwrap() { "yes".to_owned() } else { "-".to_owned() }
            });
            write_row(out, action.as_str(), "", &cells.collect::<Vec<_>>());
        }
    }
}

/// A row condition for people.
fn text(condition: &Predicate, type_id: TypeId, types: &RecordTypes) -> String {
    let field = |id: &FieldId| types.record_type(type_id).unwrap().field(*id).unwrap().name.as_str();
    match condition {
        Predicate::Always(constant) => constant.to_string(),
        Predicate::And(parts) => parts.iter().map(|part| text(part, type_id, types)).collect::<Vec<_>>().join(" and "),
        Predicate::Or(parts) => {
            let parts: Vec<_> = parts.iter().map(|part| text(part, type_id, types)).collect();
            format!("({})", parts.join(" or "))
        }
        Predicate::Not(inner) => match inner.as_ref() {
            Predicate::Field(id, Comparison::IsNull) => format!("{} has a value", field(id)),
            other => format!("not ({})", text(other, type_id, types)),
        },
        Predicate::Field(id, Comparison::Eq(value)) => format!("{} = {}", field(id), value.to_text().unwrap()),
        Predicate::Field(id, comparison) => format!("{} {comparison:?}", field(id)),
        Predicate::Via { reference, target, condition } => {
            format!("the record of {} has: {}", field(reference), text(condition, *target, types))
        }
    }
}
