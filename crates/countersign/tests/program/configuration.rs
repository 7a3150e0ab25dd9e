//! The configuration file: written out whole, read strictly.

use crate::bench::{Bench, Served};

#[test]
fn a_configuration_that_is_not_right_is_refused_where_it_is_wrong() {
    let bench = Bench::empty();
    bench.run(&["init"]).expect(0);
    let path = bench.dir().join("countersign.toml");
    let whole = std::fs::read_to_string(&path).unwrap();
    assert!(whole.contains("[server]") && whole.contains("\nlisten = "), "{whole}");
    let lines = whole.lines().count();
    for (more, said) in [
        ("[limits]\n", "duplicate"),
        ("colour = 3\n", "has no key colour; known are"),
        ("formt = \"text\"\n", "has no key formt; did you mean format?"),
        ("[logs]\n", "there is no section [logs]; did you mean log?"),
    ] {
        std::fs::write(&path, format!("{whole}{more}")).unwrap();
        for command in [&["tenant", "list"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            let ran = bench.run(command).expect(2);
            assert!(ran.err.contains(said), "{}", ran.err);
            assert!(ran.err.contains(&format!("countersign.toml:{}:", lines + 1)), "{}", ran.err);
        }
    }
    std::fs::write(&path, whole.replace("lifetime_ms = 43200000", "lifetime_ms = 43200001")).unwrap();
    assert!(bench.run(&["tenant", "list"]).expect(2).err.contains("from 60000 to 43200000"));
}

#[test]
fn a_deployment_that_others_can_read_is_not_opened() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::empty();
    bench.run(&["init"]).expect(0);
    let open = |path: &str, mode| {
        std::fs::set_permissions(bench.dir().join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open("kms.key", 0o640);
    assert!(bench.run(&["tenant", "list"]).expect(1).err.contains("chmod 600"));
    open("kms.key", 0o600);
    open("audit", 0o755);
    assert!(bench.run(&["tenant", "list"]).expect(1).err.contains("chmod 700"));
    open("audit", 0o700);
    bench.run(&["tenant", "list"]).expect(0);
}

#[test]
fn the_configured_address_is_served_and_a_taken_one_is_refused() {
    let bench = Bench::empty();
    bench.run(&["init"]).expect(0);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let path = bench.dir().join("countersign.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("127.0.0.1:8443", &address.to_string())).unwrap();
    let refused = bench.run(&["serve"]).expect(6);
    assert!(refused.err.contains("--listen"), "{}", refused.err);
    drop(taken);
    let served = Served::start(bench.command(&["serve"]));
    assert_eq!(served.url, format!("https://{address}"));
    assert_eq!(served.stop(), 0);
}

#[test]
fn log_lines_are_text_or_json_and_carry_no_values() {
    let bench = Bench::ready();
    let path = bench.dir().join("countersign.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let json = text.replace("format = \"text\"", "format = \"json\"").replace("level = \"info\"", "level = \"debug\"");
    std::fs::write(&path, json).unwrap();
    let log = bench.path("server.log");
    let mut command = bench.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.stderr(std::fs::File::create(&log).unwrap());
    let served = Served::start_with_own_log(command);
    let token = bench.run(&["login", "ann@acme"]).expect(0).out;
    let file = bench.file("customer.csv", "id,company\nA1,Unmistakable Industries\n");
    bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(0);
    bench.run(&["--as", "ann@acme", "get", "customer", "--where", "company=eq.Unmistakable Industries"]).expect(0);
    bench.run(&["--as", "carl@acme", "get", "customer", "--select", "phone"]).expect(3);
    assert_eq!(served.stop(), 0);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.lines().count() > 5, "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    let signature = token.trim().rsplit('.').next().unwrap();
    for secret in ["Unmistakable", signature, "PRIVATE", "ssh-ed25519"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}
