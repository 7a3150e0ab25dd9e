//! How long plans take. Not a benchmark: it prints figures, and fails if policies for others slow a caller down.

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

use std::time::{Duration, Instant};

use countersign_model::control::PolicyFile;
use countersign_model::request::Action;
use countersign_model::{TypeId, Value};
use countersign_policy::Policies;
use support::{caller, trading_policies, trading_types};

fn many(count: usize) -> Vec<PolicyFile> {
    let mut files = trading_policies();
    let policies = (0..count.saturating_sub(20)).map(|number| {
        format!(
            "permit (principal in Role::\"team-{}\", action == Customer::Action::\"read\", resource)\n\
             when {{ context.field == Customer::Field::\"city\" && resource has country && \
             resource.country == \"country {number}\" }};\n",
            number % 50
        )
    });
    files.push(PolicyFile { name: "teams.cedar".into(), text: policies.collect() });
    files
}

/// The quickest of a few, so that other work on the machine counts little.
fn quickest(policies: &Policies, roles: &[&str]) -> Duration {
    let caller = caller("chinook", "jane", roles, &[("employee", Value::Integer(3))]);
    let times = (0..5).map(|_| {
        let begun = Instant::now();
        policies.plan(&caller, Action::Read, TypeId(1)).unwrap();
        begun.elapsed()
    });
    times.min().unwrap()
}

#[test]
fn policies_for_others_cost_a_caller_next_to_nothing() {
    let types = trading_types();
    let teams: Vec<String> = (0..50).map(|number| format!("team-{number}")).collect();
    let teams: Vec<&str> = teams.iter().map(String::as_str).collect();
    let mut of_rep = Vec::new();
    for count in [20, 1000] {
        let files = many(count);
        let begun = Instant::now();
        let policies = Policies::compile(&types, &files).unwrap();
        println!("{count} policies: compiled in {:?}", begun.elapsed());
        of_rep.push(quickest(&policies, &["rep"]));
        for (whom, roles) in [
            ("a rep", &["rep"][..]),
            ("an admin", &["admin"]),
            ("a rep in one team", &["rep", "team-7"]),
            ("a member of all 50 teams", &teams),
        ] {
            println!("{count} policies: plan of {whom} in {:?}", quickest(&policies, roles));
        }
    }
    assert!(of_rep[1] < of_rep[0] * 4, "{of_rep:?}");
}
