//! Plans held against Cedar itself: random policies, callers, records and fields.
//!
//! Where every reference finds its record, a plan must permit exactly what Cedar allows. Where one does not,
//! Cedar fails on some policies and skips them; the plan may then permit less, and never more.

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

use countersign_model::control::PolicyFile;
use countersign_model::facts::Principal;
use countersign_model::request::Action;
use countersign_model::{Kind, RecordTypes, TypeId, Value};
use countersign_policy::Policies;
use support::{At, Dice, Oracle, World, acted_for, caller, record_types};

const TEXTS: [&str; 5] = ["emea", "apac", "a%b_c\\", "*", "north"];
const PATTERNS: [&str; 6] = ["*", "e*a", "*p*", "a%*", "\\*", "no?th"];
const ROLES: [&str; 3] = ["red", "green", "blue"];

fn types() -> RecordTypes {
    let lines = [
        "order: id integer public, buyer_id text? internal > buyer, region text? internal, amount integer? financial, \
         urgent boolean? public, placed boolean personal, parent integer? internal > order, due date? internal",
        "buyer: id text public, region text? personal, level integer internal, active boolean? internal, \
         agent_id integer > agent",
        "agent: id integer public, region text? internal, level integer? secret",
    ];
    let lines = lines.map(|line| line.replace("agent_id integer >", "agent_id integer internal >"));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    record_types(&lines, &[("level", Kind::Integer), ("region", Kind::Text), ("vip", Kind::Boolean)])
}

/// Writes random Cedar. Often it is ill-typed or unguarded; the compiler then refuses it, and that is fine.
struct Writer<'a> {
    dice: &'a mut Dice,
    types: &'a RecordTypes,
    type_id: TypeId,
}

impl Writer<'_> {
    fn policy(&mut self, number: usize) -> String {
        let namespace = ["Order", "Buyer", "Agent"][usize::from(self.type_id.0)];
        let effect = if self.dice.one_in(4) { "forbid" } else { "permit" };
        let principal = match self.dice.below(5) {
            0 => "principal".to_owned(),
            1 => "principal is User".to_owned(),
            2 => "principal == User::\"ann@acme\"".to_owned(),
            3 => format!("principal is User in Role::\"{}\"", self.dice.pick(&ROLES)),
            _ => format!("principal in Role::\"{}\"", self.dice.pick(&ROLES)),
        };
        let action = match self.dice.below(4) {
            0 => "action in Data::Action::\"read\"".to_owned(),
            1 => format!("action in [{namespace}::Action::\"read\", {namespace}::Action::\"update\"]"),
            _ => format!("action == {namespace}::Action::\"read\""),
        };
        let resource = format!("resource is {namespace}::Record");
        let condition = self.condition(4);
        let clause = if self.dice.one_in(4) { "unless" } else { "when" };
        format!("@id(\"p{number}\") {effect} ({principal}, {action}, {resource}) {clause} {{ {condition} }};\n")
    }

    fn condition(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.atom();
        }
        match self.dice.below(8) {
            0 | 1 => format!("({} && {})", self.condition(depth - 1), self.condition(depth - 1)),
            2 | 3 => format!("({} || {})", self.condition(depth - 1), self.condition(depth - 1)),
            4 => format!("!({})", self.condition(depth - 1)),
            5 => format!(
                "(if {} then {} else {})",
                self.condition(depth - 1),
                self.condition(depth - 1),
                self.condition(depth - 1)
            ),
            _ => self.atom(),
        }
    }

    fn atom(&mut self) -> String {
        let namespace = ["Order", "Buyer", "Agent"][usize::from(self.type_id.0)];
        let fields: Vec<String> =
            self.types.record_type(self.type_id).unwrap().iter().map(|(_, field)| field.name.to_string()).collect();
        let field = format!("{namespace}::Field::\"{}\"", self.dice.pick(&fields));
        let other = format!("{namespace}::Field::\"{}\"", self.dice.pick(&fields));
        let class = *self.dice.pick(&["public", "internal", "personal", "financial", "secret"]);
        match self.dice.below(16) {
            0 => format!("context.field in [{field}, {other}]"),
            1 => format!("context.field != {field}"),
            2 => format!("[{field}, {other}].contains(context.field)"),
            3 => format!("context.class == Class::\"{class}\""),
            4 => format!("context.class in [Class::\"{class}\", Class::\"public\"]"),
            5 => format!("principal in Role::\"{}\"", self.dice.pick(&ROLES)),
            6 => "principal.tenant == Tenant::\"acme\"".to_owned(),
            7 => self
                .dice
                .pick(&[
                    "resource.tenant == principal.tenant",
                    "resource.tenant in [Tenant::\"acme\", Tenant::\"beta\"]",
                    "resource is Order::Record",
                    "principal.name like \"a*\"",
                    "(principal has vip && principal.vip)",
                ])
                .to_string(),
            _ => self.of_record(),
        }
    }

    /// Something about the record or one that it refers to, usually with its guards.
    fn of_record(&mut self) -> String {
        let (mut at, mut path, mut guards) = (self.type_id, "resource".to_owned(), Vec::new());
        loop {
            let record_type = self.types.record_type(at).unwrap();
            let references: Vec<_> = record_type.iter().filter(|(_, field)| field.references.is_some()).collect();
            if references.is_empty() || self.dice.one_in(2) {
                break;
            }
            let (_, field) = self.dice.pick(&references);
            let attribute = match field.name.as_str().strip_suffix("_id") {
                Some(short) => short.to_owned(),
                None => format!("{}_record", field.name),
            };
            if !field.required || self.dice.one_in(3) {
                guards.push(format!("{path} has {attribute}"));
            }
            path = format!("{path}.{attribute}");
            at = field.references.unwrap();
        }
        let record_type = self.types.record_type(at).unwrap();
        let comparable: Vec<_> = record_type.fields.iter().filter(|field| field.kind != Kind::Date).collect();
        let field = (*self.dice.pick(&comparable)).clone();
        if self.dice.one_in(6) {
            return joined(guards, format!("{path} has {}", field.name), self.dice.one_in(2));
        }
        if !field.required {
            guards.push(format!("{path} has {}", field.name));
        }
        let value = format!("{path}.{}", field.name);
        let condition = match field.kind {
            Kind::Integer => self.number(&value, &mut guards),
            Kind::Text => self.text(&value, &mut guards),
            _ if self.dice.one_in(2) => value,
            _ => format!("{value} == {}", self.dice.pick(&["true", "false"])),
        };
        if self.dice.one_in(20) {
            guards.pop();
        }
        joined(guards, condition, self.dice.one_in(5))
    }

    fn number(&mut self, value: &str, guards: &mut Vec<String>) -> String {
        let mut constant = self.dice.below(4).to_string();
        if self.dice.one_in(3) {
            guards.push("principal has level".to_owned());
            constant = self.dice.pick(&["principal.level", "(principal.level + 1)"]).to_string();
        }
        match self.dice.below(4) {
            0 => format!("[{constant}, 2].contains({value})"),
            1 => format!("{constant} {} {value}", self.dice.pick(&["<", "<=", ">", ">=", "=="])),
            _ => format!("{value} {} {constant}", self.dice.pick(&["<", "<=", ">", ">=", "==", "!="])),
        }
    }

    fn text(&mut self, value: &str, guards: &mut Vec<String>) -> String {
        let constant = format!("{:?}", self.dice.pick(&TEXTS));
        match self.dice.below(5) {
            0 => format!("[{constant}, \"emea\"].contains({value})"),
            1 => format!("{value} like \"{}\"", self.dice.pick(&PATTERNS)),
            2 => {
                guards.push("principal has region".to_owned());
                format!("{value} {} principal.region", self.dice.pick(&["==", "!="]))
            }
            _ => format!("{value} {} {constant}", self.dice.pick(&["==", "!="])),
        }
    }
}

/// `a && b && condition`, or the same said with an implication: `!(a && b) || condition`.
fn joined(guards: Vec<String>, condition: String, implied: bool) -> String {
    match guards.join(" && ") {
        none if none.is_empty() => condition,
        all if implied => format!("(if {all} then {condition} else true)"),
        all => format!("({all} && {condition})"),
    }
}

fn world(dice: &mut Dice, types: &RecordTypes, dangling: bool) -> World {
    let mut world = World { tenant: "acme".into(), ..World::default() };
    for (type_id, record_type) in types.iter() {
        let records = (0..4).map(|place| {
            let fields = record_type.iter().map(|(id, field)| {
                let range = if dangling { 6 } else { 4 };
                let number = |dice: &mut Dice| dice.below(range) as i64;
                let key = |number: i64| {
                    if field.kind == Kind::Text { text(&format!("k{number}")) } else { Value::Integer(number) }
                };
                if id == record_type.key {
                    return key(place);
                }
                if !field.required && dice.one_in(3) {
                    return Value::Null;
                }
                match field.kind {
                    _ if field.references.is_some() => {
                        let number = number(dice);
                        let target = types.record_type(field.references.unwrap()).unwrap();
                        if target.fields[0].kind == Kind::Text {
                            text(&format!("k{number}"))
                        } else {
                            Value::Integer(number)
                        }
                    }
                    Kind::Integer => Value::Integer(dice.below(4) as i64),
                    Kind::Boolean => Value::Boolean(dice.one_in(2)),
                    Kind::Date => Value::parse(Kind::Date, "2026-07-01").unwrap(),
                    _ => text(dice.pick::<&str>(&TEXTS)),
                }
            });
            fields.collect()
        });
        world.records.insert(type_id, records.collect());
    }
    world
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn callers() -> Vec<Principal> {
    let number = Value::Integer;
    vec![
        caller("acme", "ann", &["red"], &[("level", number(2)), ("region", text("emea"))]),
        caller("acme", "bob", &["red", "green"], &[("level", number(0)), ("vip", Value::Boolean(true))]),
        caller("acme", "cyd", &[], &[("region", text("north"))]),
    ]
}

/// Random policies that compile, a few to a set. Each is on a line of its own, so that problems name it.
fn policies(dice: &mut Dice, types: &RecordTypes, type_id: TypeId, refused: &mut usize) -> Vec<PolicyFile> {
    let wanted = 1 + dice.below(5);
    let written: Vec<String> = (0..wanted).map(|number| Writer { dice, types, type_id }.policy(number)).collect();
    let file = |text: String| vec![PolicyFile { name: "random.cedar".into(), text }];
    let bad: Vec<usize> = match Policies::compile(types, &file(written.concat())) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(|problem| problem.line()).collect(),
    };
    *refused += bad.len();
    let good = written.into_iter().enumerate().filter(|(place, _)| !bad.contains(&(place + 1)));
    file(good.map(|(_, policy)| policy).collect())
}

/// With an actor, a plan permits what Cedar allows to both of the two, each asked about alone.
fn compare_acting(seed: u64, sets: usize, dangling: bool) -> Tally {
    let (types, mut dice, mut tally) = (types(), Dice(seed), Tally::default());
    for round in 0..sets {
        let type_id = TypeId((round % 3) as u16);
        let files = policies(&mut dice, &types, type_id, &mut tally.refused);
        let Ok(compiled) = Policies::compile(&types, &files) else { continue };
        let oracle = Oracle::new(&types, &files);
        let world = world(&mut dice, &types, dangling);
        let callers = callers();
        for (subject, actor) in [(0, 1), (1, 0), (2, 1)].map(|(one, other)| (&callers[one], &callers[other])) {
            let plan = compiled.plan(&acted_for(subject, actor), Action::Read, type_id).unwrap();
            let alone = compiled.plan(subject, Action::Read, type_id).unwrap();
            let known = [subject, actor].map(|one| (one, oracle.entities(one, &world)));
            for place in 0..world.records[&type_id].len() {
                let record = At { world: &world, record_type: type_id, place };
                let permitted = plan.fields_on(&record);
                assert!(permitted.is_subset(alone.fields_on(&record)));
                for (field, _) in types.record_type(type_id).unwrap().iter() {
                    let allow = |(one, known)| oracle.says(one, known, Action::Read, record, field).allow;
                    let both = known.iter().all(|(one, known)| allow((one, known)));
                    tally.compared += 1;
                    tally.allowed += usize::from(both);
                    let agrees = permitted.contains(field) == both || (dangling && both);
                    assert!(agrees, "record {place}, {field:?}: {both}\n{}\n{plan:#?}", files[0].text);
                }
            }
        }
    }
    tally
}

#[derive(Default, Debug)]
struct Tally {
    compared: usize,
    allowed: usize,
    conditional: usize,
    less: usize,
    refused: usize,
}

fn compare(seed: u64, sets: usize, dangling: bool) -> Tally {
    let (types, mut dice, mut tally) = (types(), Dice(seed), Tally::default());
    for round in 0..sets {
        let type_id = TypeId((round % 3) as u16);
        let files = policies(&mut dice, &types, type_id, &mut tally.refused);
        let Ok(compiled) = Policies::compile(&types, &files) else { continue };
        let oracle = Oracle::new(&types, &files);
        let world = world(&mut dice, &types, dangling);
        for caller in callers() {
            let plan = compiled.plan(&caller, Action::Read, type_id).unwrap();
            tally.conditional += usize::from(!plan.condition_fields().is_empty());
            let known = oracle.entities(&caller, &world);
            for place in 0..world.records[&type_id].len() {
                let record = At { world: &world, record_type: type_id, place };
                let permitted = plan.fields_on(&record);
                for (field, _) in types.record_type(type_id).unwrap().iter() {
                    let said = oracle.says(&caller, &known, Action::Read, record, field);
                    assert!(dangling || !said.errors, "validated policies fail:\n{}", files[0].text);
                    tally.compared += 1;
                    tally.allowed += usize::from(said.allow);
                    tally.less += usize::from(said.allow && !permitted.contains(field));
                    let agrees = permitted.contains(field) == said.allow || (dangling && said.allow);
                    let who = &caller.facts.name;
                    assert!(agrees, "{who}, record {place}, {field:?}: {said:?}\n{}\n{plan:#?}", files[0].text);
                }
            }
        }
    }
    tally
}

/// How many sets of policies to try. A few, so that the test takes seconds; any number for a long run.
fn sets() -> usize {
    #[expect(clippy::disallowed_methods, reason = "asks the developer, and nothing of the product depends on it")]
    let asked = std::env::var("COUNTERSIGN_ORACLE_SETS").ok();
    asked.and_then(|sets| sets.parse().ok()).unwrap_or(12)
}

#[test]
fn plans_permit_exactly_what_cedar_allows() {
    let tally = compare(0x5eed_0001, sets(), false);
    println!("{tally:?}");
    assert_eq!(tally.less, 0);
    assert!(tally.allowed * 10 > tally.compared && tally.allowed * 10 < tally.compared * 9, "{tally:?}");
    assert!(tally.conditional > 3, "{tally:?}");
}

#[test]
fn plans_permit_no_more_than_cedar_where_references_lead_nowhere() {
    let tally = compare(0x5eed_0002, sets(), true);
    println!("{tally:?}");
    assert!(tally.allowed > 0 && tally.less * 2 < tally.allowed, "{tally:?}");
}

#[test]
fn who_acts_for_somebody_may_what_cedar_allows_to_both() {
    for dangling in [false, true] {
        let tally = compare_acting(0x5eed_0003, sets(), dangling);
        println!("{tally:?}");
        assert!(tally.allowed > 0 && tally.allowed * 10 < tally.compared * 9, "{tally:?}");
    }
}
