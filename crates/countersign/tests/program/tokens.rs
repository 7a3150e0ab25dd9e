//! Logging in, narrowing and revoking.

use crate::bench::{Bench, program, run};

#[test]
fn login_prints_the_token_alone() {
    let bench = Bench::ready();
    let ran = bench.run(&["login", "ann@acme"]).expect(0);
    // What it is worth to whoever has it is said beside it.
    let said = ran.err.trim();
    assert!(said.contains("bound to no key") && said.ends_with('Z') && said.lines().count() == 1, "{said}");
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

/// A command of OpenSSH; none if this machine doesn't have it.
fn openssh(name: &str, arguments: &[&str]) -> Option<std::process::Command> {
    let mut command = std::process::Command::new(name);
    command.args(arguments).stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::null());
    let there = std::env::split_paths(&std::env::var_os("PATH")?).any(|folder| folder.join(name).exists());
    there.then_some(command)
}

#[test]
fn keys_of_openssh_log_in_from_a_file_and_through_its_agent() {
    let bench = Bench::ready();
    let (key, socket) = (bench.path("id_ecdsa"), bench.path("agent"));
    let Some(mut keygen) = openssh("ssh-keygen", &["-q", "-t", "ecdsa", "-N", "", "-C", "dora", "-f", &key]) else {
        return;
    };
    assert!(keygen.status().unwrap().success());
    let public = format!("{key}.pub");
    bench.run(&["--as", "ann@acme", "user", "add", "dora@acme", "--ssh-key", &public, "--role", "clerk"]).expect(0);
    bench.run(&["login", "dora@acme", "--key", &key]).expect(0);

    let Some(mut agent) = openssh("ssh-agent", &["-D", "-a", &socket]) else { return };
    let mut agent = agent.spawn().unwrap();
    while !std::path::Path::new(&socket).exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let with_agent = |arguments: &[&str]| {
        let mut command = bench.command(arguments);
        command.env("SSH_AUTH_SOCK", &socket);
        run(command)
    };
    assert!(with_agent(&["login", "dora@acme"]).expect(1).err.contains("no key"));
    let other = bench.path("id_other");
    openssh("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &other]).unwrap().status().unwrap();
    for one in [&other, &key] {
        let mut add = openssh("ssh-add", &["-q", one]).unwrap();
        assert!(add.env("SSH_AUTH_SOCK", &socket).status().unwrap().success());
    }
    // The second of the agent's keys is hers; and with the public half named, only that one is tried.
    with_agent(&["login", "dora@acme"]).expect(0);
    with_agent(&["login", "dora@acme", "--key", &public]).expect(0);
    with_agent(&["login", "dora@acme", "--key", &format!("{other}.pub")]).expect(3);
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(with_agent(&["login", "dora@acme"]).expect(1).err.contains("next: "));

    let locked = bench.path("id_locked");
    openssh("ssh-keygen", &["-q", "-t", "ed25519", "-N", "secret", "-f", &locked]).unwrap().status().unwrap();
    let asked = bench.run(&["login", "dora@acme", "--key", &locked]).expect(2);
    assert!(asked.err.contains("passphrase"), "{}", asked.err);
}
