//! How long plans take. Not a benchmark: it prints figures and fails only if they are absurd.

mod support;

use std::time::Instant;

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

#[test]
fn plans_are_quick_enough_to_be_made_on_the_first_request() {
    let types = trading_types();
    for count in [20, 1000] {
        let files = many(count);
        let begun = Instant::now();
        let policies = Policies::compile(&types, &files).unwrap();
        let compiled = begun.elapsed();
        for (whom, roles) in [("rep", &["rep"][..]), ("admin", &["admin"]), ("rep in a team", &["rep", "team-7"])] {
            let caller = caller("chinook", "jane", roles, &[("employee", Value::Integer(3))]);
            let begun = Instant::now();
            for _ in 0..20 {
                policies.plan(&caller, Action::Read, TypeId(1)).unwrap();
            }
            let plan = begun.elapsed() / 20;
            println!("{count} policies, compiled in {compiled:?}: plan of {whom} {plan:?}");
            assert!(plan.as_millis() < 500);
        }
    }
}
