//! From `init` to `get`, without a server and with one.

use crate::bench::{Bench, is_private, program, run};

const CUSTOMERS: &str = "id,company,country,since,phone\nA1,Alpha,Brazil,2020-01-02,555-0001\nB2,\"Beta, Inc.\",Peru,,555-0002\nC3,Gamma,Brazil,2021-03-04,\n";

#[test]
fn init_makes_a_private_deployment_once() {
    let bench = Bench::empty();
    let dir = bench.dir();
    let first = bench.run(&["init"]).expect(0);
    assert!(first.err.contains("schema apply"), "{}", first.err);
    for secret in ["kms.key", "keys/operator@operators", "data", "audit", "keys", "run"] {
        assert!(is_private(&dir.join(secret)), "{secret}");
    }
    assert!(std::fs::read_to_string(dir.join("ca.pem")).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let kept = std::fs::read(dir.join("kms.key")).unwrap();
    let second = bench.run(&["init"]).expect(5);
    assert!(second.err.contains("already") && second.err.contains("next: "), "{}", second.err);
    assert_eq!(std::fs::read(dir.join("kms.key")).unwrap(), kept);
}

#[test]
fn a_deployment_answers_the_same_with_a_server_and_without() {
    let bench = Bench::ready();
    let file = bench.file("customer.csv", CUSTOMERS);
    let imported = bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(0);
    assert!(imported.err.contains("imported 3 rows"), "{}", imported.err);

    let ask =
        ["--as", "carl@acme", "--output", "csv", "get", "customer", "--where", "country=eq.Brazil", "--order", "id"];
    let here = bench.run(&ask).expect(0);
    assert_eq!(here.out.replace('\r', ""), "id,company,country\nA1,Alpha,Brazil\nC3,Gamma,Brazil\n");

    let server = bench.serve();
    let there = bench.run(&ask).expect(0);
    assert_eq!(there.out, here.out);

    let token = bench.run(&["login", "carl@acme"]).expect(0).out;
    let mut elsewhere =
        program(&["--output", "csv", "get", "customer", "--where", "country=eq.Brazil", "--order", "id"]);
    elsewhere.env("COUNTERSIGN_URL", &server.url).env("COUNTERSIGN_CA", bench.dir().join("ca.pem"));
    elsewhere.env("COUNTERSIGN_TOKEN", token.trim());
    assert_eq!(run(elsewhere).expect(0).out, here.out);

    let second = run(bench.command(&["serve", "--listen", "127.0.0.1:0"])).expect(6);
    assert!(second.err.contains("served already"), "{}", second.err);
    assert_eq!(server.stop(), 0);
    assert_eq!(bench.run(&ask).expect(0).out, here.out);
}

#[test]
fn results_come_as_table_json_or_csv() {
    let bench = Bench::ready();
    let file = bench.file("customer.csv", CUSTOMERS);
    bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(0);
    let get = |more: &[&str]| {
        let mut arguments = vec!["--as", "ann@acme", "get", "customer", "--select", "id,company", "--order", "id"];
        arguments.extend(more);
        bench.run(&arguments)
    };
    let table = get(&["--output", "table"]).expect(0).out;
    assert_eq!(table, "id  company\nA1  Alpha\nB2  Beta, Inc.\nC3  Gamma\n");
    let json: Vec<serde_json::Value> = serde_json::from_str(&get(&["--output", "json"]).expect(0).out).unwrap();
    assert_eq!(json[1]["company"], "Beta, Inc.");
    let by_default: Vec<serde_json::Value> = serde_json::from_str(&get(&[]).expect(0).out).unwrap();
    assert_eq!(by_default, json, "json where nobody looks");
    let limited: Vec<serde_json::Value> = serde_json::from_str(&get(&["--limit", "1", "--offset", "1"]).out).unwrap();
    assert_eq!(limited[0]["id"], "B2");
    let count =
        bench.run(&["--as", "ann@acme", "get", "customer", "--where", "country=eq.Brazil", "--count"]).expect(0);
    assert_eq!(count.out, "2\n");
    let all: String = (0..2500).map(|n| format!("M{n:04},Many,Peru,,\n")).collect();
    let many = bench.file("many.csv", format!("id,company,country,since,phone\n{all}"));
    bench.run(&["--as", "ann@acme", "import", "customer", &many]).expect(0);
    let peru = |more: &[&str]| {
        let mut arguments = vec!["--as", "ann@acme", "get", "customer", "--select", "id", "--order", "id.desc"];
        arguments.extend(["--where", "country=eq.Peru"]);
        arguments.extend(more);
        bench.run(&arguments).expect(0).out
    };
    let csv = peru(&["--output", "csv"]);
    assert_eq!((csv.lines().count(), csv.matches("id").count()), (2502, 1), "all pages, one header");
    assert_eq!(peru(&["--output", "table"]).lines().count(), 2502);
    let json: Vec<serde_json::Value> = serde_json::from_str(&peru(&["--output", "json"])).unwrap();
    assert_eq!(json.len(), 2501);
    let json: Vec<serde_json::Value> = serde_json::from_str(&peru(&["--limit", "1500", "--offset", "10"])).unwrap();
    assert_eq!((json.len(), json[0]["id"].as_str()), (1500, Some("M2489")));
    let none = bench.run(&["--as", "ann@acme", "--output", "table", "get", "customer", "--where", "id=eq.Z"]).expect(0);
    assert!(none.out.is_empty() && none.err.contains("no row"), "{}", none.err);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let bench = Bench::ready();
    let file = bench.file("customer.csv", CUSTOMERS);
    bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(0);
    let mut child = bench.command(&["--as", "ann@acme", "get", "customer"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn exit_codes_say_what_kind_of_failure_it_was() {
    let bench = Bench::ready();
    let cases: [(&[&str], i32, &str); 12] = [
        (&["frobnicate"], 2, "unrecognized subcommand"),
        (&["get", "customer", "--where", "country"], 2, "FIELD=OPERATOR.VALUE"),
        (&["get", "customer", "--where", "country=Brazil"], 2, "country=eq.Brazil"),
        (&["--as", "ann", "get", "customer"], 2, "USER@TENANT"),
        (&["get", "customer"], 3, "next: add --as USER@TENANT"),
        (&["--as", "carl@acme", "get", "customer", "--select", "phone"], 3, "next: "),
        (&["--as", "carl@acme", "get", "nothing"], 3, ""),
        (&["--as", "nobody@acme", "get", "customer"], 4, "no SSH key"),
        (&["--as", "ann@acme", "audit", "who-saw", "customer/NONE"], 4, "existing customer"),
        (&["tenant", "add", "acme"], 5, "already"),
        (&["--as", "ann@acme", "get", "customer", "--where", "since=eq.x"], 5, "date"),
        (&["--as", "carl@acme", "tenant", "list"], 3, ""),
    ];
    for (arguments, code, said) in cases {
        let ran = bench.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
        assert!(ran.out.is_empty(), "{arguments:?}: {}", ran.out);
    }
    let nowhere = run(program(&["tenant", "list"])).expect(2);
    assert!(nowhere.err.contains("--dir DIR") && nowhere.err.contains("COUNTERSIGN_URL"), "{}", nowhere.err);
    let missing = run(program(&["--dir", "/nonexistent", "tenant", "list"])).expect(4);
    assert!(missing.err.contains("countersign init"), "{}", missing.err);
    let mut unreachable = program(&["get", "customer"]);
    unreachable.env("COUNTERSIGN_URL", "https://127.0.0.1:1").env("COUNTERSIGN_TOKEN", "x");
    unreachable.env("COUNTERSIGN_CA", bench.dir().join("ca.pem"));
    run(unreachable).expect(6);
    let mut plain = program(&["get", "customer"]);
    plain.env("COUNTERSIGN_URL", "http://127.0.0.1:1").env("COUNTERSIGN_TOKEN", "x");
    plain.env("COUNTERSIGN_CA", bench.dir().join("ca.pem"));
    assert!(run(plain).expect(2).err.contains("only https"));
}

#[test]
fn users_and_tenants_are_managed_by_name() {
    let bench = Bench::ready();
    let tenants = bench.run(&["--output", "csv", "tenant", "list"]).expect(0);
    assert!(tenants.out.contains("\nacme,2,"), "{}", tenants.out);
    let key = bench.keygen("dora@acme");
    let added = bench
        .run(&[
            "--as",
            "ann@acme",
            "user",
            "add",
            "dora@acme",
            "--ssh-key",
            &key,
            "--role",
            "clark",
            "--attribute",
            "employee=3",
        ])
        .expect(0);
    assert!(added.err.contains("no policy names these roles") && added.err.contains("clark"), "{}", added.err);
    let users = bench.run(&["--output", "csv", "user", "list", "--tenant", "acme"]).expect(0);
    assert!(users.out.contains("dora,clark,employee=3,SHA256:"), "{}", users.out);
    bench
        .run(&["--as", "ann@acme", "user", "add", "eve@acme", "--ssh-key", &key, "--attribute", "employee=three"])
        .expect(5);
    let operator = bench.run(&["user", "add", "eve@acme", "--ssh-key", &key]).expect(3);
    assert!(operator.err.contains("--as ADMIN@acme"), "{}", operator.err);
    let private = bench.dir().join("keys/dora@acme").display().to_string();
    let wrong = bench.run(&["user", "add", "eve@acme", "--ssh-key", &private]).expect(5);
    assert!(wrong.err.contains("FILE.pub"), "{}", wrong.err);
    bench.run(&["--as", "ann@acme", "user", "remove", "dora@acme"]).expect(0);
    bench.run(&["login", "dora@acme"]).expect(3);
    bench.run(&["--as", "ann@acme", "user", "remove", "dora@acme"]).expect(4);
}

#[test]
fn types_and_policies_are_shown_checked_and_applied() {
    let bench = Bench::ready();
    let shown = bench.run(&["schema", "show"]).expect(0);
    assert!(shown.out.contains("[types.customer.fields]"), "{}", shown.out);
    let more = bench
        .file("more.toml", format!("{}email = {{ kind = \"text\", class = \"personal\" }}\n", crate::bench::TYPES));
    let dry = bench.run(&["schema", "apply", &more, "--dry-run"]).expect(0);
    assert!(dry.out.contains("email") && dry.err.contains("dry run"), "{} {}", dry.out, dry.err);
    assert!(!bench.run(&["schema", "show"]).out.contains("email"));
    bench.run(&["schema", "apply", &more]).expect(0);
    assert!(bench.run(&["schema", "show"]).out.contains("email"));
    let bad = bench.file("bad.toml", "[types.customer.fields]\nid = { kind = \"txt\" }\n");
    let refused = bench.run(&["schema", "apply", &bad]).expect(5);
    assert!(refused.err.contains("bad.toml") && refused.err.contains('2'), "{}", refused.err);
    let losing = bench.file("losing.toml", crate::bench::TYPES.replace("phone ", "fon "));
    assert!(bench.run(&["schema", "apply", &losing]).expect(5).err.contains("phone"));

    let bad = bench.file("bad.cedar", "permit (principal, action == Customer::Action::\"read\", resource)\nwhen { context.field == Customer::Field::\"contry\" };\n");
    let refused = bench.run(&["policy", "apply", &bad]).expect(5);
    assert!(refused.err.contains("bad.cedar") && refused.err.contains("country"), "{}", refused.err);
    assert!(bench.run(&["policy", "show"]).expect(0).out.contains("@id(\"clerk\")"));
}
