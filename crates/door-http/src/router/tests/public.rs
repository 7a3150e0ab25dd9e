//! Requests to the authority's own endpoints, and proofs of possession on their way to a guard.

use super::*;

use countersign_services::PublicReply;

const PROOF: &str = "a.b.c";

#[tokio::test]
async fn they_are_passed_on_as_they_came() {
    let fake = Arc::new(Fake::default());
    let request = with_token("POST", "https://here:8443/v1/token?a=%20b&a")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .header("dpop", PROOF);
    let address = "192.0.2.7".parse().unwrap();
    let body = "grant_type=any&\u{0}\u{e9}";
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
    let peer = Peer { address: Some(address), certificate: Some([7; 32]), ..Peer::default() };
    let response = router(&fake, Limits::default()).answer(peer, request).await;
    assert_eq!(response.status().as_u16(), 200);
    let call = fake.public().unwrap();
    assert_eq!(response.headers()["countersign-request"], call.request.to_string());
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/v1/token"));
    assert_eq!(call.query.as_deref(), Some("a=%20b&a"));
    assert_eq!(call.content_type.as_deref(), Some("application/x-www-form-urlencoded; charset=utf-8"));
    assert_eq!(call.bearer.as_ref().map(Bearer::as_str), Some(GOOD));
    assert_eq!((call.dpop.as_deref(), call.url.as_str()), (Some(PROOF), "https://here:8443/v1/token"));
    assert_eq!((call.body.as_slice(), call.address), (body.as_bytes(), Some(address)));
    assert_eq!(call.certificate, Some([7; 32]));

    let least = sent("GET", "/v1/jwks.json?").header("host", "here");
    super::call(&fake, least, "").await;
    let call = fake.public().unwrap();
    assert_eq!((call.method.as_str(), call.query, call.content_type), ("GET", None, None));
    assert!(call.bearer.is_none() && call.dpop.is_none() && call.body.is_empty() && call.address.is_none());
    assert_eq!(call.certificate, None);
    assert_eq!(call.url, "https://here/v1/jwks.json");
    assert!(fake.requests().is_empty(), "none of them is the gateway's guard's to decide");
}

#[tokio::test]
async fn every_public_route_is_passed_on() {
    let fake = Arc::new(Fake::default());
    for route in routes::ROUTES.iter().filter(|route| route.target == Target::Public) {
        assert_eq!(call(&fake, sent(route.method, route.path), "").await.status, 200);
        let passed = fake.public().unwrap();
        assert_eq!((passed.method.as_str(), passed.path.as_str()), (route.method, route.path));
    }
}

#[tokio::test]
async fn the_answer_is_passed_back_as_it_is() {
    let fake = Arc::new(Fake::default());
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = vec![
        header("content-type", "application/json"),
        header("www-authenticate", "DPoP error=\"invalid_dpop_proof\""),
        header("retry-after", "1"),
        header("cache-control", "public"),
        header("not a header", "x"),
        header("x", "a\r\nb: c"),
    ];
    fake.reply(PublicReply { status: 429, headers, body: br#"{"code":"53400"}"#.to_vec(), epoch: 0 });
    let got = call(&fake, sent("POST", "/v1/login"), "{}").await;
    assert_eq!((got.status, got.body.as_str()), (429, r#"{"code":"53400"}"#));
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!((got.header("www-authenticate"), got.header("retry-after")), ("DPoP error=\"invalid_dpop_proof\"", "1"));
    assert_eq!(got.header("cache-control"), "no-store", "answers with tokens are kept nowhere");
    assert!(!got.header("countersign-request").is_empty());
    assert!(got.headers.get("x").is_none() && got.headers.get("b").is_none());

    fake.reply(PublicReply { status: 7, headers: Vec::new(), body: Vec::new(), epoch: 0 });
    assert_eq!(call(&fake, sent("POST", "/v1/login"), "{}").await.status, 502);
}

/// Checkpoints and tiles are nobody's, and the same for everybody.
#[tokio::test]
async fn what_logs_say_may_be_kept_and_errors_may_not() {
    let fake = Arc::new(Fake::default());
    let forever = || vec![("cache-control".to_owned(), "public, max-age=31536000, immutable".to_owned())];
    let tile = "/v1/log/store/a/tile/0/x001/067.p/112";
    fake.reply(PublicReply { status: 200, headers: forever(), body: b"hashes".to_vec(), epoch: 0 });
    let got = call(&fake, sent("GET", tile), "").await;
    assert_eq!((got.status, got.header("cache-control")), (200, "public, max-age=31536000, immutable"));
    assert_eq!(fake.public().unwrap().path, tile);
    for reply in [
        PublicReply { status: 404, headers: forever(), body: Vec::new(), epoch: 0 },
        PublicReply { status: 200, headers: Vec::new(), body: Vec::new(), epoch: 0 },
    ] {
        fake.reply(reply);
        assert_eq!(call(&fake, sent("GET", tile), "").await.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn long_bodies_are_not_passed_on() {
    let fake = Arc::new(Fake::default());
    let long = "x".repeat(MAX_TOKEN_REQUEST_BYTES + 1);
    for path in ["/v1/login", "/v1/token", "/v1/login/oidc/finish"] {
        let got = call(&fake, sent("POST", path), &long).await;
        assert_eq!(
            (got.status, got.code(), got.json()["error"].as_str()),
            (413, "54000".into(), Some("invalid_request"))
        );
    }
    let limits = Limits { body_bytes: 3, ..Limits::default() };
    assert_eq!(call_under(&fake, limits, sent("POST", "/v1/login"), "long").await.status, 413);
    assert!(fake.public().is_none());
    assert_eq!(call(&fake, sent("POST", "/v1/login"), &long[1..]).await.status, 200);
}

/// A token that is being made or revoked is, whoever hangs up.
#[tokio::test(start_paused = true)]
async fn what_the_authority_began_it_finishes() {
    let fake = Arc::new(Fake::default());
    fake.delay(Duration::from_secs(1));
    let request = with_token("POST", "/v1/token/revoke").body(Empty::<Bytes>::new()).unwrap();
    let router = router(&fake, Limits::default());
    let answering = tokio::time::timeout(Duration::from_millis(10), router.answer(Peer::default(), request));
    assert!(answering.await.is_err());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fake.finished(), 1);
}

#[tokio::test]
async fn a_bound_token_and_its_proof_reach_the_guard() {
    let fake = Arc::new(Fake::default());
    let bound = |uri: &str| sent("GET", uri).header("authorization", format!("DPoP {GOOD}")).header("dpop", PROOF);
    let path = "/rest/v1/customer?select=id";
    assert_eq!(call(&fake, bound(path).header("host", "here:8443"), "").await.status, 200);
    let proof = fake.dpop().unwrap();
    assert_eq!((proof.proof.as_str(), proof.method.as_str()), (PROOF, "GET"));
    assert_eq!(proof.url, "https://here:8443/rest/v1/customer", "without query");

    // HTTP/2 has the authority in the URI.
    assert_eq!(call(&fake, bound(&format!("https://here{path}")).header("host", "there"), "").await.status, 200);
    assert_eq!(fake.dpop().unwrap().url, "https://here/rest/v1/customer");

    // A proof made for another server is for no URL of this one.
    for host in ["there", "there:8443", "here.there", "user@there", "", "a b"] {
        assert_eq!(call(&fake, bound(path).header("host", host), "").await.status, 200, "{host}");
        assert_eq!(fake.dpop().unwrap().url, "", "{host}");
    }
    assert_eq!(call(&fake, bound(path), "").await.status, 200);
    assert_eq!(fake.dpop().unwrap().url, "", "no Host at all");

    assert_eq!(call(&fake, with_token("GET", path), "").await.status, 200);
    assert!(fake.dpop().is_none());
    let as_bearer = with_token("GET", path).header("host", "here").header("dpop", PROOF);
    assert_eq!(call(&fake, as_bearer, "").await.status, 200);
    assert!(fake.dpop().is_none(), "a bearer token is presented without a proof, so that no bound one passes for one");
    let lower = sent("GET", path).header("authorization", format!("dpop {GOOD}")).header("dpop", PROOF);
    assert_eq!(call(&fake, lower, "").await.status, 200);
    assert!(fake.dpop().is_some());
}

#[tokio::test]
async fn two_proofs_prove_nothing() {
    let fake = Arc::new(Fake::default());
    let bound = || sent("GET", "/rest/v1/customer").header("authorization", format!("DPoP {GOOD}"));
    let twice = || bound().header("host", "here").header("dpop", PROOF);
    call(&fake, twice().header("dpop", PROOF), "").await;
    assert_eq!(fake.dpop().unwrap().proof, "", "there is one, and it is no good");
    call(&fake, twice(), "").await;
    assert_eq!(fake.dpop().unwrap().proof, PROOF);
    let odd = bound().header("dpop", HeaderValue::from_bytes(b"\xff").unwrap());
    call(&fake, odd, "").await;
    assert_eq!(fake.dpop().unwrap().proof, "");

    call(&fake, sent("POST", "/v1/token").header("dpop", PROOF).header("dpop", "d.e.f"), "").await;
    assert_eq!(fake.public().unwrap().dpop.as_deref(), Some(""));
}
