//! What services recorded of a request, side by side; and services that are invited, listed and removed.

use crate::bench::Bench;

#[test]
fn a_receipt_shows_what_each_service_recorded() {
    let bench = Bench::ready();
    let file = bench.file("customer.csv", "id,company,country\nA1,Alpha,Brazil\nB2,Beta,Peru\n");
    bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(0);
    bench.run(&["--as", "carl@acme", "get", "customer", "--select", "id,company"]).expect(0);
    let tail = bench.run(&["--as", "ann@acme", "--output", "json", "audit", "tail", "-n", "50"]).expect(0).out;
    let tail: Vec<serde_json::Value> = serde_json::from_str(&tail).unwrap();
    let read = |record: &&serde_json::Value| record["user"] == "carl" && record["action"] == "read";
    let request = tail.iter().find(read).unwrap()["request"].as_str().unwrap();
    let receipt = bench.run(&["--as", "ann@acme", "--output", "csv", "audit", "receipt", request]).expect(0);
    assert!(receipt.err.contains("the services agree"), "{}", receipt.err);
    let lines: Vec<&str> = receipt.out.lines().collect();
    assert_eq!(lines[0], ",gateway,keys,store", "{}", receipt.out);
    let opened = lines.iter().find(|line| line.contains("company")).unwrap();
    assert_eq!(opened.matches('2').count(), 3, "the same two rows three times: {opened}");
    let whole = bench.run(&["--as", "ann@acme", "--output", "json", "audit", "receipt", request]).expect(0).out;
    let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
    assert_eq!((&whole["agree"], &whole["request"]), (&true.into(), &request.into()));
    let unknown = "0190b6c2-3f5e-7abc-8def-0123456789ab";
    bench.run(&["--as", "ann@acme", "audit", "receipt", unknown]).expect(4);
    bench.run(&["--as", "carl@acme", "audit", "receipt", request]).expect(3);
    bench.run(&["--as", "ann@acme", "audit", "receipt", "not-a-request"]).expect(2);
}

#[test]
fn services_are_invited_and_removed_by_operators() {
    let bench = Bench::ready();
    let invited = bench.run(&["service", "invite", "store", "--name", "store-1"]).expect(0);
    assert!(invited.out.starts_with("csj1.") && invited.out.lines().count() == 1, "{}", invited.out);
    assert!(invited.err.contains("once, within ten minutes"), "{}", invited.err);
    assert!(!invited.err.contains("csj1."), "{}", invited.err);
    bench.run(&["service", "list"]).expect(0);
    bench.run(&["service", "invite", "authority"]).expect(2);
    bench.run(&["service", "remove", "store-1"]).expect(2);
    bench.run(&["service", "remove", "keys/nobody"]).expect(4);
    bench.run(&["--as", "ann@acme", "service", "invite", "store"]).expect(3);
}

#[test]
fn an_identity_provider_is_set_shown_and_removed() {
    let bench = Bench::ready();
    bench.run(&["--as", "ann@acme", "provider", "show"]).expect(3);
    let wrong = bench.file("wrong.toml", "issuer = \"https://login.acme.example\"\nclient = 3\n");
    let ran = bench.run(&["--as", "ann@acme", "provider", "set", &wrong]).expect(5);
    assert!(ran.err.contains("wrong.toml:2") && ran.err.contains("client"), "{}", ran.err);
}
