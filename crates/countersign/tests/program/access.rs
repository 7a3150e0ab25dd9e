//! Operators' access to a tenant, as both sides meet it; and commands on a folder, on record.

use crate::bench::{Bench, program, run};

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// A deployment with a record, and a server over it.
fn with_a_record() -> Bench {
    let bench = Bench::ready();
    let file = bench.file("customer.csv", "id,company,country\nA1,Alpha,Brazil\n");
    bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(0);
    bench
}

#[test]
fn an_operator_sees_what_the_tenant_gives_and_for_as_long() {
    let bench = with_a_record();
    let server = bench.serve();
    // Nothing without being given it.
    bench.run(&["--as", "operator@operators", "get", "customer"]).expect(3);
    let request =
        ["--output", "table", "access", "request", "acme", "--role", "clerk", "--reason", "ticket 4711", "--for", "1h"];
    let asked = bench.run(&request).expect(0).out;
    assert!(asked.contains("acme has to approve it: access approve"), "{asked}");
    let asked = json(&bench.run(&["--as", "ann@acme", "access", "list"]).expect(0).out)[0].clone();
    assert_eq!((&asked["state"], &asked["reason"]), (&"asked".into(), &"ticket 4711".into()));
    let grant = asked["id"].as_str().unwrap();
    // No operator approves it.
    bench.run(&["--as", "operator@operators", "access", "approve", grant]).expect(3);
    let list = bench.run(&["--as", "ann@acme", "access", "list"]).expect(0).out;
    assert!(list.contains("ticket 4711") && list.contains("asked"), "{list}");
    let given = bench.run(&["--as", "ann@acme", "access", "approve", grant]).expect(0).out;
    let given = json(&given);
    let login = given["login"].as_str().unwrap();

    let key = bench.dir().join("keys/operator@operators").display().to_string();
    let token = bench.run(&["login", login, "--key", &key]).expect(0).out;
    let with = |arguments: &[&str]| {
        let mut command = program(arguments);
        command.env("COUNTERSIGN_URL", &server.url).env("COUNTERSIGN_CA", bench.dir().join("ca.pem"));
        command.env("COUNTERSIGN_TOKEN", token.trim());
        run(command)
    };
    assert_eq!(with(&["--output", "csv", "get", "customer"]).expect(0).out.lines().count(), 2);
    with(&["audit", "tail"]).expect(3);
    // What the operator saw is on the tenant's own record.
    let log = bench.run(&["--as", "ann@acme", "--output", "json", "audit", "tail", "-n", "50"]).expect(0).out;
    let user = login.split('@').next().unwrap();
    assert!(log.contains(user) && log.contains("ticket 4711"), "{log}");

    bench.run(&["--as", "ann@acme", "access", "close", grant, "--as-tenant"]).expect(0);
    with(&["get", "customer"]).expect(3);
    bench.run(&["login", login, "--key", &key]).expect(3);
}

#[test]
fn the_glass_takes_two_operators() {
    let bench = with_a_record();
    let key = bench.keygen("second@operators");
    bench.run(&["user", "add", "second@operators", "--ssh-key", &key, "--role", "operator"]).expect(0);
    let asked = bench
        .run(&[
            "access",
            "request",
            "acme",
            "--role",
            "clerk",
            "--reason",
            "nobody there",
            "--for",
            "30m",
            "--break-glass",
        ])
        .expect(0)
        .out;
    let asked = json(&asked);
    let grant = asked["id"].as_str().unwrap();
    bench.run(&["--as", "operator@operators", "access", "confirm", grant]).expect(5);
    bench.run(&["--as", "ann@acme", "access", "approve", grant]).expect(4);
    let given = bench.run(&["--as", "second@operators", "access", "confirm", grant]).expect(0).out;
    assert_eq!(json(&given)["state"], "given");
    let log = bench.run(&["--as", "ann@acme", "--output", "json", "audit", "tail", "-n", "50"]).expect(0).out;
    assert!(log.contains("break_glass") && log.contains("second@operators"), "{log}");
}

/// `kms rotate` works on files, whoever serves: the record of it comes into the ledger all the same.
#[test]
fn a_command_on_the_folder_is_in_the_audit_log() {
    let bench = Bench::ready();
    let server = bench.serve();
    bench.run(&["kms", "rotate"]).expect(0);
    let said = |what: &str| {
        let log = ["--as", "operator@operators", "--output", "json", "audit", "tail", "-n", "200"];
        bench.run(&log).expect(0).out.contains(what)
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !said("kms rotate default: done") {
        assert!(std::time::Instant::now() < until, "not on record");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(said("kms rotate default: begun") && said("init of all: done"));
    drop(server);
}
