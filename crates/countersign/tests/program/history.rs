//! What a record was, through the program: every rule about fields and rows holds over past versions too.

use serde_json::Value;

use crate::bench::{Bench, POLICIES};
use crate::on_postgres::moved;

/// Whoever has this role sees what is in Austria, and of that no phone.
const LOCAL: &str = r#"
@id("local") permit (principal in Role::"local", action == Customer::Action::"read", resource)
when { context.field in [Customer::Field::"id", Customer::Field::"company", Customer::Field::"country"] }
when { resource has country && resource.country == "AT" };
"#;

fn world() -> Bench {
    let bench = Bench::ready();
    let policies = bench.file("policies.cedar", format!("{POLICIES}{LOCAL}"));
    bench.run(&["policy", "apply", &policies]).expect(0);
    let key = bench.keygen("dora@acme");
    bench.run(&["--as", "ann@acme", "user", "add", "dora@acme", "--ssh-key", &key, "--role", "local"]).expect(0);
    bench
}

fn put(bench: &Bench, row: &str) {
    let file = bench.file("customers.csv", format!("id,company,country,phone\n{row}\n"));
    bench.run(&["--as", "ann@acme", "import", "customer", &file, "--upsert"]).expect(0);
}

fn states(bench: &Bench, who: &str) -> Vec<Value> {
    let said = bench.run(&["--as", who, "--output", "json", "history", "customer/c1"]).expect(0).out;
    serde_json::from_str(&said).unwrap()
}

/// Company, phone, and whether nothing that is seen came after it.
fn seen(states: &[Value]) -> Vec<(&str, Option<&str>, bool)> {
    let text = |state: &'_ Value, field: &str| state[field].as_str().map(|text| text.to_owned().leak() as &str);
    let one = |state: &Value| (text(state, "company").unwrap(), text(state, "phone"), state["@ended"] == true);
    states.iter().map(one).collect()
}

fn rules_hold_over_the_past(on_postgres: bool) {
    let bench = world();
    let _database = on_postgres.then(|| moved(&bench));
    for row in ["c1,First,AT,1", "c1,Second,AT,2", "c1,Second,AT,3", "c1,Third,DE,4", "c1,Fourth,AT,5"] {
        put(&bench, row);
    }
    put(&bench, "c2,Another,AT,9");

    let all = states(&bench, "ann@acme");
    let whole = [("First", "1"), ("Second", "2"), ("Second", "3"), ("Third", "4"), ("Fourth", "5")];
    assert_eq!(seen(&all), whole.map(|(company, phone)| (company, Some(phone), false)));
    for (state, next) in all.iter().zip(&all[1..]) {
        assert_eq!(state["@until"], next["@from"]);
    }
    assert!(all[4]["@until"].is_null());

    // A hidden field is in no state, and a change of it alone makes none.
    let of_clerk = states(&bench, "carl@acme");
    assert_eq!(seen(&of_clerk), ["First", "Second", "Third", "Fourth"].map(|company| (company, None, false)));
    assert!(of_clerk.iter().all(|state| state.get("phone").is_none()), "{of_clerk:?}");
    assert_eq!((&of_clerk[1]["@from"], &of_clerk[1]["@until"]), (&all[1]["@from"], &all[2]["@until"]));
    assert_eq!(of_clerk.iter().map(|state| state["@version"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let hidden = bench.run(&["--as", "carl@acme", "history", "customer/c1", "--select", "phone"]);
    let unknown = bench.run(&["--as", "carl@acme", "history", "customer/c1", "--select", "nonsense"]);
    assert_eq!((hidden.code, &hidden.out), (unknown.code, &unknown.out));
    assert_ne!(hidden.code, 0);
    assert_eq!(hidden.err.replace("phone", "nonsense"), unknown.err, "a hidden field is like none");

    // A state in a row that is not for somebody is not there, as if nothing had been.
    let of_local = states(&bench, "dora@acme");
    assert_eq!(seen(&of_local), [("First", None, false), ("Second", None, true), ("Fourth", None, false)]);
    assert!(!serde_json::to_string(&of_local).unwrap().contains("DE"));
    put(&bench, "c1,Fifth,DE,6");
    let of_local = states(&bench, "dora@acme");
    assert_eq!(seen(&of_local)[2..], [("Fourth", None, true)], "what it is now is not for her");

    // The newest of them; on record as what it is.
    let few = bench.run(&["--as", "ann@acme", "--output", "csv", "history", "customer/c1", "--limit", "2"]).expect(0);
    assert!(few.out.contains("Fifth") && few.out.contains("Fourth") && !few.out.contains("Third"), "{}", few.out);
    let log = bench.run(&["--as", "ann@acme", "--output", "json", "audit", "by", "dora"]).expect(0).out;
    assert!(log.contains("\"history\""), "{log}");

    // Erased, it was nothing.
    bench.run(&["--as", "ann@acme", "erase", "record", "customer/c1"]).expect(0);
    for who in ["ann@acme", "carl@acme", "dora@acme"] {
        assert!(states(&bench, who).is_empty(), "{who}");
    }
}

#[test]
fn what_a_record_was_is_shown_as_it_may_be_seen() {
    rules_hold_over_the_past(false);
}

#[test]
fn what_a_record_was_is_shown_as_it_may_be_seen_on_postgres() {
    rules_hold_over_the_past(true);
}
