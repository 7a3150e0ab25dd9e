//! Tokens that are bound to a key: of no use without it, at the door of a real server.

use countersign_crypto::SystemEntropy;
use countersign_crypto::dpop::ProofKey;
use countersign_crypto::x509::CertificateAuthority;
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

/// What comes of a request over a client's connection: its status and document.
fn over(client: &Client, request: &Request) -> (u16, serde_json::Value) {
    let answer = client.send(request).unwrap();
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

/// RFC 8705: with certificates of authorities that the server has never heard of, at a door that asks for them.
#[test]
fn a_token_of_a_certificate_is_good_on_connections_that_prove_it() {
    let bench = Bench::ready();
    let unbound = bench.run(&["login", "ann@acme"]).expect(0).out;
    let server = bench.serve();
    let (address, ca) = (server.url.strip_prefix("https://").unwrap().to_owned(), bench.dir().join("ca.pem"));
    let ca = std::fs::read_to_string(ca).unwrap();
    let [a, b] = [(); 2].map(|()| {
        let now = SystemClock.now();
        let own = CertificateAuthority::generate("Of no concern", now, 10).unwrap();
        own.issue_server(&["client".to_owned()], now, 3_600_000).unwrap()
    });
    let exchange = |token: &str| {
        let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
        let body = serde_json::json!({"grant_type": grant, "subject_token": token.trim(), "expires_in": 600});
        Request::new("POST", PATH).json(&body)
    };
    let token = |answer: (u16, serde_json::Value)| {
        assert_eq!(answer.0, 200, "{}", answer.1);
        answer.1["access_token"].as_str().unwrap().to_owned()
    };
    // Nobody asks for certificates: none is shown, and nothing is bound.
    let client = Client::new(&address, &ca).unwrap();
    let showing = client.showing(&ca, &a).unwrap();
    let not_bound = token(over(&showing, &exchange(&unbound)));
    assert_eq!(client.with_token(&not_bound).get(PATH).unwrap().status, 200);
    drop(server);

    let settings = bench.dir().join("countersign.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.replace("client_certificates = false", "client_certificates = true")).unwrap();
    let server = bench.serve();
    let client = Client::new(server.url.strip_prefix("https://").unwrap(), &ca).unwrap();
    let (a, b) = (client.showing(&ca, &a).unwrap(), client.showing(&ca, &b).unwrap());
    let bound = token(over(&a, &exchange(&unbound)));
    let narrowed = token(over(&a, &exchange(&bound)));
    for token in [&bound, &narrowed] {
        for path in [PATH, "/rest/v1/customer"] {
            assert_eq!(a.with_token(token).get(path).unwrap().status, 200);
            for other in [&client, &b] {
                let refused = other.with_token(token).get(path).unwrap();
                assert_eq!(refused.status, 401);
                let challenge = refused.header("www-authenticate").unwrap_or_default();
                assert!(challenge.contains("Bearer realm=\"countersign\", error=\"invalid_token\""), "{challenge}");
            }
        }
        for other in [&client, &b] {
            assert_eq!(over(other, &exchange(token)).0, 401, "no way out");
        }
    }
    for client in [&client, &a, &b] {
        assert_eq!(client.with_token(&not_bound).get("/rest/v1/customer").unwrap().status, 200);
    }
}
