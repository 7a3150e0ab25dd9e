//! Tokens that are bound to a key: of no use without it, at the door of a real server.

use countersign_crypto::SystemEntropy;
use countersign_crypto::dpop::ProofKey;
use countersign_model::Clock;
use countersign_model::clock::SystemClock;
use countersign_testkit::{Client, Request};

use crate::bench::{Bench, Ran, Served, is_private, program, run};

const PATH: &str = "/v1/token";

/// What a client elsewhere does: a token, perhaps a proof key, a command.
fn elsewhere(bench: &Bench, server: &Served, token: &str, key: Option<&str>, arguments: &[&str]) -> Ran {
    let mut command = program(arguments);
    command.env("COUNTERSIGN_URL", &server.url).env("COUNTERSIGN_CA", bench.dir().join("ca.pem"));
    command.env("COUNTERSIGN_TOKEN", token.trim());
    if let Some(key) = key {
        command.env("COUNTERSIGN_PROOF_KEY", key);
    }
    run(command)
}

/// A request as anybody may put it together: its status, and whether it was said that the proof is no good.
fn sent(client: &Client, token: &str, proof: Option<&str>) -> (u16, bool) {
    let mut request = Request::new("GET", PATH).header("authorization", &format!("DPoP {token}"));
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    let answer = client.send(&request).unwrap();
    let said = answer.header("www-authenticate").unwrap_or_default().to_owned();
    (answer.status, said.starts_with("DPoP ") && said.contains("error=\"invalid_dpop_proof\""))
}

#[test]
fn a_bound_token_needs_a_fresh_proof_by_its_key_for_each_request() {
    let bench = Bench::ready();
    let server = bench.serve();
    let file = bench.path("proof.key");
    let ran = bench.run(&["login", "ann@acme", "--bind", &file]).expect(0);
    assert!(ran.err.is_empty(), "nothing to warn of: {}", ran.err);
    assert!(is_private(file.as_ref()));
    let token = ran.out.trim();
    let address = server.url.strip_prefix("https://").unwrap();
    let client = Client::new(address, &std::fs::read_to_string(bench.dir().join("ca.pem")).unwrap()).unwrap();
    let key = ProofKey::from_pkcs8(&std::fs::read(&file).unwrap()).unwrap();
    let other = ProofKey::generate(&SystemEntropy).unwrap();
    let url = |path: &str| format!("{}{path}", server.url);
    let proof = |key: &ProofKey, method: &str, url: &str, token: Option<&str>| {
        key.sign(method, url, token, SystemClock.now(), &SystemEntropy).unwrap()
    };
    let good = proof(&key, "GET", &url(PATH), Some(token));
    assert_eq!(sent(&client, token, Some(&good)), (200, false));
    let another = bench.run(&["login", "ann@acme", "--bind", &file]).expect(0).out;
    for (what, proof) in [
        ("no proof", None),
        ("one that was used", Some(good)),
        ("another key's", Some(proof(&other, "GET", &url(PATH), Some(token)))),
        ("for another method", Some(proof(&key, "POST", &url(PATH), Some(token)))),
        ("for another path", Some(proof(&key, "GET", &url("/v1/types"), Some(token)))),
        ("for another server", Some(proof(&key, "GET", "https://localhost:1/v1/token", Some(token)))),
        ("for another token of the same key", Some(proof(&key, "GET", &url(PATH), Some(another.trim())))),
        ("for no token", Some(proof(&key, "GET", &url(PATH), None))),
        ("no proof at all", Some("x".to_owned())),
    ] {
        assert_eq!(sent(&client, token, proof.as_deref()), (401, true), "{what}");
    }
    let again = proof(&key, "GET", &url(PATH), Some(token));
    assert_eq!(sent(&client, token, Some(&again)), (200, false), "the token is as good as before");
}

#[test]
fn commands_prove_that_their_token_is_theirs() {
    let bench = Bench::ready();
    let [file, other] = ["proof.key", "other.key"].map(|name| bench.path(name));
    // Before there is a server, too: the deployment is opened in the command's own process.
    let token = bench.run(&["login", "ann@acme", "--bind", &file]).expect(0).out;
    bench.run(&["login", "carl@acme", "--bind", &other]).expect(0);
    let here = |key: Option<&str>| {
        let mut command = bench.command(&["token", "inspect"]);
        command.env("COUNTERSIGN_TOKEN", token.trim());
        key.map(|key| command.env("COUNTERSIGN_PROOF_KEY", key));
        run(command)
    };
    here(Some(&file)).expect(0);
    here(None).expect(3);

    let server = bench.serve();
    let get = |token: &str, key: Option<&str>| elsewhere(&bench, &server, token, key, &["get", "customer"]);
    get(&token, Some(&file)).expect(0);
    get(&token, Some(&other)).expect(3);
    let refused = get(&token, None).expect(3);
    assert!(refused.err.contains("--proof-key"), "{}", refused.err);
    let narrow = ["token", "narrow", "--read-only", "--for", "10m"];
    let narrowed = elsewhere(&bench, &server, &token, Some(&file), &narrow).expect(0);
    assert!(narrowed.err.is_empty(), "what is narrowed keeps the binding: {}", narrowed.err);
    get(&narrowed.out, Some(&file)).expect(0);
    get(&narrowed.out, None).expect(3);
    get(&narrowed.out, Some(&other)).expect(3);
    elsewhere(&bench, &server, &token, None, &narrow).expect(3);
    elsewhere(&bench, &server, &token, Some(&other), &narrow).expect(3);
    // A login of a command's own is bound to a key that nobody else ever has.
    bench.run(&["--as", "ann@acme", "get", "customer"]).expect(0);
    bench.run(&["--as", "ann@acme", "--proof-key", &other, "get", "customer"]).expect(0);
    // What is printed for others to use is not, unless somebody says to which.
    let printed = bench.run(&["--as", "ann@acme", "token", "narrow", "--read-only"]).expect(0);
    assert!(printed.err.contains("whoever has this token can use it until "), "{}", printed.err);
    get(&printed.out, None).expect(0);
    let not_a_key = bench.file("not.key", "hello");
    bench.run(&["login", "ann@acme", "--bind", &not_a_key]).expect(1);
}
