//! Logging in, narrowing and revoking.

use crate::bench::{Bench, program, run};

#[test]
fn login_prints_the_token_alone() {
    let bench = Bench::ready();
    let ran = bench.run(&["login", "ann@acme"]).expect(0);
    assert!(ran.err.is_empty(), "{}", ran.err);
    let token = ran.out.strip_suffix('\n').unwrap();
    assert_eq!(token.split('.').count(), 3);
    assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{token}");
    let key = bench.dir().join("keys/ann@acme").display().to_string();
    bench.run(&["login", "ann@acme", "--key", &key]).expect(0);
    let refused = bench.run(&["login", "carl@acme", "--key", &key]).expect(3);
    assert!(refused.out.is_empty() && refused.err.contains("was refused"), "{}", refused.err);
    assert!(!refused.err.contains("BEGIN"), "{}", refused.err);
    let short = bench.run(&["login", "ann@acme", "--for", "30s"]).expect(0).out;
    let mut inspect = bench.command(&["token", "inspect"]);
    inspect.env("COUNTERSIGN_TOKEN", short.trim());
    let about: serde_json::Value = serde_json::from_str(&run(inspect).expect(0).out).unwrap();
    let moment = |name: &str| {
        let text = about[name].as_str().unwrap();
        let [minutes, seconds] = [&text[14..16], &text[17..19]].map(|part| part.parse::<u64>().unwrap());
        minutes * 60 + seconds
    };
    assert_eq!((moment("expires") + 3600 - moment("issued")) % 3600, 30);
    bench.run(&["login", "ann@acme", "--for", "13h"]).expect(5);
    let not_a_key = bench.file("key", "hello");
    bench.run(&["login", "ann@acme", "--key", &not_a_key]).expect(2);
    bench.run(&["login", "ann@acme", "--key", "/nonexistent"]).expect(4);
}

#[test]
fn a_narrowed_token_does_less_and_a_revoked_one_nothing() {
    let bench = Bench::ready();
    let file = bench.file("customer.csv", "id,company,country\nA1,Alpha,Brazil\n");
    bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(0);
    let server = bench.serve();
    let with = |token: &str, arguments: &[&str]| {
        let mut command = program(arguments);
        command.env("COUNTERSIGN_URL", &server.url).env("COUNTERSIGN_CA", bench.dir().join("ca.pem"));
        command.env("COUNTERSIGN_TOKEN", token.trim());
        run(command)
    };
    let whole = bench.run(&["login", "ann@acme"]).expect(0).out;
    let narrow =
        ["token", "narrow", "--read-only", "--type", "customer", "--fields", "company,country", "--for", "10m"];
    let narrow = with(&whole, &narrow).expect(0).out;
    let seen = with(&narrow, &["--output", "csv", "get", "customer"]).expect(0).out;
    assert_eq!(seen.replace('\r', ""), "company,country\nAlpha,Brazil\n");
    with(&narrow, &["get", "customer", "--select", "id"]).expect(3);
    with(&narrow, &["import", "customer", &file, "--upsert"]).expect(3);
    let about: serde_json::Value = serde_json::from_str(&with(&narrow, &["token", "inspect"]).expect(0).out).unwrap();
    assert_eq!(about["user"], "ann");
    assert_eq!(about["records"]["customer"]["read"]["fields"], serde_json::json!(["company", "country"]));
    with(&whole, &["token", "narrow"]).expect(2);

    with(&narrow, &["token", "revoke"]).expect(0);
    with(&narrow, &["get", "customer"]).expect(3);
    with(&whole, &["get", "customer"]).expect(0);
    let carl = bench.run(&["login", "carl@acme"]).expect(0).out;
    with(&carl, &["token", "revoke", "--user", "ann"]).expect(3);
    with(&whole, &["token", "revoke", "--user", "carl"]).expect(0);
    let refused = with(&carl, &["get", "customer"]).expect(3);
    assert!(refused.err.contains("log in again"), "{}", refused.err);
}

#[test]
fn the_audit_log_says_who_saw_a_record() {
    let bench = Bench::ready();
    let file = bench.file("customer.csv", "id,company,country\nA1,Alpha,Brazil\nB2,Beta,Peru\n");
    bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(0);
    bench.run(&["--as", "carl@acme", "get", "customer", "--where", "id=eq.A1", "--purpose", "call back"]).expect(0);
    let saw = bench.run(&["--as", "ann@acme", "--output", "csv", "audit", "who-saw", "customer/A1"]).expect(0).out;
    assert!(saw.lines().any(|line| line.contains(",carl,read,released,") && line.contains("call back")), "{saw}");
    let other = bench.run(&["--as", "ann@acme", "--output", "csv", "audit", "who-saw", "customer/B2"]).expect(0).out;
    assert!(!other.contains(",carl,"), "{other}");
    bench.run(&["--as", "carl@acme", "audit", "tail"]).expect(3);
    let tail = bench.run(&["--as", "ann@acme", "--output", "json", "audit", "tail", "-n", "2"]).expect(0).out;
    let tail: Vec<serde_json::Value> = serde_json::from_str(&tail).unwrap();
    assert!(tail.iter().any(|record| record["verdict"] == "refused" && record["user"] == "carl"), "{tail:?}");
}
