//! The whole way through the router, with a backend that notes what reaches it.

use countersign_model::request::Literal;
use countersign_model::row::Position;
use countersign_model::{Name, RecordId, Value};
use http::HeaderMap;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use std::time::Duration;
use tower::Service as _;

use super::*;
use crate::fake::{Fake, GOOD};

fn router(fake: &Arc<Fake>, limits: Limits) -> Router<Fake> {
    Router::new(Arc::clone(fake), limits)
}

fn sent(method: &str, path: &str) -> http::request::Builder {
    http::Request::builder().method(method).uri(path)
}

fn with_token(method: &str, path: &str) -> http::request::Builder {
    sent(method, path).header("authorization", format!("Bearer {GOOD}"))
}

struct Got {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

async fn call_under(fake: &Arc<Fake>, limits: Limits, request: http::request::Builder, body: &str) -> Got {
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
    let response = router(fake, limits).call(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Got { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn call(fake: &Arc<Fake>, request: http::request::Builder, body: &str) -> Got {
    call_under(fake, Limits::default(), request, body).await
}

#[tokio::test]
async fn a_read_from_url_to_json() {
    let fake = Arc::new(Fake::default());
    let path = "/rest/v1/customer?select=id&country=eq.Brazil";
    let got = call(&fake, with_token("GET", path).header("accept-profile", "public"), "").await;
    assert_eq!((got.status, got.body.as_str()), (200, r#"[{"id":1}]"#));
    assert_eq!(got.header("content-range"), "0-0/*");
    assert_eq!(got.header("cache-control"), "no-store");
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    assert!(got.headers.get("server").is_none());
    let request = fake.last();
    assert_eq!(got.header("countersign-request"), request.id.to_string());
    assert_eq!((request.door, request.tenant), (Door::Http, None));
    let Operation::Read(read) = request.operation else { panic!() };
    assert_eq!(read.record_type, "customer");
    let brazil = Filter::Test {
        field: "country".into(),
        operator: countersign_model::request::Operator::Eq,
        literal: Literal::One("Brazil".into()),
    };
    assert_eq!(read.filter, Filter::And(vec![brazil]));
}

#[tokio::test]
async fn what_a_record_was_from_url_to_request() {
    let fake = Arc::new(Fake::default());
    let path = "/rest/v1/customer/A%2FB%20c/history?select=id,phone&limit=5";
    let got = call(&fake, with_token("GET", path), "").await;
    assert_eq!((got.status, got.body.as_str()), (200, r#"[{"id":1}]"#));
    let Operation::History(asked) = fake.last().operation else { panic!() };
    assert_eq!((asked.record_type.as_str(), asked.key.as_str(), asked.limit), ("customer", "A/B c", Some(5)));
    assert_eq!(asked.select, ["id", "phone"]);
    for refused in ["order=id", "offset=1", "id=eq.1", "cursor=x", "select=id,invoice(id)", "select=a:id"] {
        let path = format!("/rest/v1/customer/C1/history?{refused}");
        assert_eq!(call(&fake, with_token("GET", &path), "").await.status, 400, "{refused}");
    }
    for (method, path, status) in [
        ("POST", "/rest/v1/customer/C1/history", 405),
        ("GET", "/rest/v1/customer//history", 404),
        ("GET", "/rest/v1/customer/C1/history/more", 404),
        ("GET", "/rest/v1/customer/C1/past", 404),
        ("GET", "/rest/v1/nonsense/C1/history", 403),
    ] {
        assert_eq!(call(&fake, with_token(method, path), "").await.status, status, "{method} {path}");
    }
    let got = call(&fake, sent("GET", "/rest/v1/customer/C1/history?nonsense=1"), "").await;
    assert_eq!((got.status, got.code()), (401, "PGRST302".into()), "the guard refuses it, on record");
    assert!(matches!(fake.last().operation, Operation::History(_)));
}

#[tokio::test]
async fn a_request_without_a_token_reaches_the_guard_and_nothing_of_its_body_is_read() {
    let fake = Arc::new(Fake::default());
    for (method, action) in [("GET", "read"), ("POST", "create"), ("PATCH", "update"), ("DELETE", "delete")] {
        let got = call(&fake, sent(method, "/rest/v1/customer?a=nonsense"), "not json").await;
        assert_eq!((got.status, got.code()), (401, "PGRST302".into()), "{method}");
        assert_eq!(got.header("www-authenticate"), r#"Bearer realm="countersign""#);
        assert_eq!(fake.last().operation.action(), action);
    }
    for (method, path) in [("POST", "/rest/v1/customer"), ("PATCH", "/rest/v1/customer"), ("PUT", "/v1/types")] {
        let limits = Limits { body_bytes: 3, ..Limits::default() };
        for (token, code) in [(Some("Bearer bad"), "PGRST301"), (None, "PGRST302")] {
            let request = sent(method, path);
            let request = if let Some(token) = token { request.header("authorization", token) } else { request };
            let got = call_under(&fake, limits.clone(), request, "not JSON, and too long").await;
            assert_eq!((got.status, got.code()), (401, code.into()), "{method} {path}");
        }
    }
    for (header, code) in [("Basic YTpi", "PGRST301"), ("Bearer", "PGRST301"), ("bearer  x", "PGRST301")] {
        let got = call(&fake, sent("GET", "/rest/v1/customer").header("authorization", header), "").await;
        assert_eq!((got.status, got.code()), (401, code.into()), "{header}");
        assert!(got.header("www-authenticate").contains("invalid_token"));
    }
    let twice = with_token("GET", "/rest/v1/customer").header("authorization", format!("Bearer {GOOD}"));
    assert_eq!(call(&fake, twice, "").await.status, 401);
    let lower = sent("GET", "/rest/v1/customer").header("authorization", format!("bEARER  {GOOD} "));
    assert_eq!(call(&fake, lower, "").await.status, 200);
}

#[tokio::test]
async fn record_types_that_are_no_names_are_the_guards_to_refuse() {
    let fake = Arc::new(Fake::default());
    let mut bodies = std::collections::BTreeSet::new();
    for path in ["/rest/v1/nothing", "/rest/v1/No%20Such%20Type", "/rest/v1/%22"] {
        let got = call(&fake, with_token("GET", path), "").await;
        assert_eq!((got.status, got.code()), (403, "42501".into()), "{path}");
        bodies.insert(got.body);
    }
    assert_eq!(bodies.len(), 1, "one answer for all");
    assert_eq!(call(&fake, with_token("GET", "/rest/v1/%ff"), "").await.status, 400);
    assert_eq!(call(&fake, with_token("GET", "/rest/v1/a%00"), "").await.status, 400);
}

#[tokio::test]
async fn a_cursor_goes_round() {
    let fake = Arc::new(Fake::default());
    let position = Position { keys: vec![Value::Text("Futterkiste".into())], record: RecordId::from_u128(7) };
    fake.next(position.clone());
    let path = "/rest/v1/customer?select=id&order=company&limit=1";
    let got = call(&fake, with_token("GET", path), "").await;
    let cursor = got.header("countersign-cursor").to_owned();
    assert!(!cursor.is_empty());

    let second = call(&fake, with_token("GET", &format!("{path}&cursor={cursor}")), "").await;
    assert_eq!(second.status, 200);
    let Operation::Read(read) = fake.last().operation else { panic!() };
    assert_eq!(read.after.unwrap().record, position.record);

    for other in [
        format!("/rest/v1/customer?select=id&order=country&limit=1&cursor={cursor}"),
        format!("/rest/v1/employee?select=id&order=company&limit=1&cursor={cursor}"),
        format!("{path}&cursor=AAAA"),
    ] {
        let got = call(&fake, with_token("GET", &other), "").await;
        assert_eq!((got.status, got.code()), (400, "34000".into()), "{other}");
    }
    let got = call(&fake, with_token("GET", &format!("{path}&offset=1&cursor={cursor}")), "").await;
    assert_eq!((got.status, got.code()), (400, "PGRST100".into()));
    let bad_token = sent("GET", &format!("{path}&cursor={cursor}")).header("authorization", "Bearer bad");
    assert_eq!(call(&fake, bad_token, "").await.status, 401, "who holds no good token learns nothing of cursors");
}

#[tokio::test]
async fn changes() {
    let fake = Arc::new(Fake::default());
    let prefer = "return=representation,count=exact";
    let got = call(&fake, with_token("POST", "/rest/v1/customer").header("prefer", prefer), r#"{"id":1}"#).await;
    assert_eq!((got.status, got.header("content-range")), (201, "*/1"));
    assert_eq!(got.header("preference-applied"), prefer.replace(',', ", "));
    let got = call(&fake, with_token("PATCH", "/rest/v1/customer?id=eq.1"), r#"{"phone":"1"}"#).await;
    assert_eq!((got.status, got.body.as_str(), got.header("content-type")), (204, "", ""));
    let got = call(&fake, with_token("DELETE", "/rest/v1/customer?id=eq.1"), "{}").await;
    assert_eq!(got.status, 204);
    fake.fail(Failure::TooManyAffected { max: 1, matched: 2 });
    let one = with_token("DELETE", "/rest/v1/customer").header("accept", "application/vnd.pgrst.object+json");
    let got = call(&fake, one, "").await;
    assert_eq!((got.status, got.code()), (406, "PGRST116".into()));
    fake.fail(Failure::UniqueTaken { field: Some(Name::new("id").unwrap()) });
    let got = call(&fake, with_token("POST", "/rest/v1/customer"), r#"{"id":1}"#).await;
    assert_eq!((got.status, got.code()), (409, "23505".into()));
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let fake = Arc::new(Fake::default());
    for path in ["/rest/v1/customer", "/healthz", "/v1/jwks.json"] {
        let got = call(&fake, with_token("HEAD", path), "").await;
        assert_eq!((got.status, got.body.as_str()), (200, ""), "{path}");
        assert!(got.header("content-type").starts_with("application/json"), "{path}");
    }
    let got = call(&fake, with_token("HEAD", "/rest/v1/customer").header("prefer", "count=exact"), "").await;
    assert_eq!(got.header("content-range"), "0-0/1");
}

#[tokio::test]
async fn what_needs_no_token() {
    let fake = Arc::new(Fake::default());
    let health = call(&fake, sent("GET", "/healthz"), "").await;
    assert_eq!((health.status, health.body.as_str()), (200, r#"{"status":"ok"}"#));
    for path in ["/.well-known/oauth-authorization-server", "/v1/jwks.json"] {
        assert_eq!(call(&fake, sent("GET", path), "").await.status, 200, "{path}");
    }
    assert_eq!(call(&fake, sent("GET", "/v1/openapi.json"), "").await.json()["openapi"], "3.1.0");
    assert!(fake.requests().is_empty());
}

#[tokio::test]
async fn control_requests() {
    let fake = Arc::new(Fake::default());
    let got =
        call(&fake, with_token("GET", "/v1/users?tenant=chinook").header("countersign-purpose", "look"), "").await;
    assert_eq!((got.status, got.body.as_str()), (200, r#"{"done":"read_users"}"#));
    assert_eq!(fake.last().purpose.as_deref(), Some("look"));
    let got = call(&fake, with_token("POST", "/v1/tenants"), r#"{"name":"acme"}"#).await;
    assert_eq!(got.status, 201);
    let got = call(&fake, sent("GET", "/v1/users"), "").await;
    assert_eq!(got.status, 401);
    let got = call(&fake, with_token("PUT", "/v1/users/nancy"), "\"").await;
    assert_eq!((got.status, got.code()), (400, "PGRST102".into()));
    let got = call(&fake, with_token("PATCH", "/v1/users/nancy"), "").await;
    assert_eq!((got.status, got.header("allow")), (405, "PUT, DELETE"));
}

#[tokio::test]
async fn services_providers_and_receipts() {
    let fake = Arc::new(Fake::default());
    let provider = r#"{"issuer":"https://id.example","client_id":"c","role_claim":"groups","roles":{}}"#;
    let receipt = "/v1/audit/receipt/0190b6c2-3f5e-7abc-8def-0123456789ab";
    for (method, path, body, action) in [
        ("GET", "/v1/services", "", "manage_services"),
        ("POST", "/v1/services", r#"{"role":"keys"}"#, "manage_services"),
        ("DELETE", "/v1/services/keys-1?role=keys", "", "manage_services"),
        ("GET", "/v1/provider", "", "manage_provider"),
        ("PUT", "/v1/provider", provider, "manage_provider"),
        ("DELETE", "/v1/provider", "", "manage_provider"),
        ("GET", receipt, "", "read_audit"),
    ] {
        let got = call(&fake, with_token(method, path), body).await;
        assert_eq!((got.status, got.json()["done"].as_str()), (200, Some(action)), "{method} {path}");
        let asked = fake.last();

        // Without a good token the guard hears of it all the same, and nothing of the rest is looked at.
        let limits = Limits { body_bytes: 3, ..Limits::default() };
        for token in ["", "Bearer bad"] {
            let request = sent(method, path);
            let request = if token.is_empty() { request } else { request.header("authorization", token) };
            let got = call_under(&fake, limits.clone(), request, "not JSON, and too long").await;
            assert_eq!(got.status, 401, "{method} {path}");
            let bare = fake.last();
            assert_ne!(bare.id, asked.id);
            assert_eq!(bare.operation.action(), action, "{method} {path}");
        }
    }
    let got = call(&fake, with_token("DELETE", "/v1/services/keys-1"), "").await;
    assert_eq!((got.status, got.code()), (400, "PGRST100".into()), "which of the roles is meant");
}

#[tokio::test]
async fn limits_on_a_request() {
    let fake = Arc::new(Fake::default());
    let limits = Limits { url_bytes: 40, headers: 4, header_bytes: 200, body_bytes: 20, ..Limits::default() };
    let status = async |request, body: &str| call_under(&fake, limits.clone(), request, body).await.status;
    assert_eq!(status(with_token("GET", "/rest/v1/customer?select=id"), "").await, 200);
    let long = format!("/rest/v1/customer?select={}", "a".repeat(16));
    assert_eq!(status(with_token("GET", &long), "").await, 414);
    let many = with_token("GET", "/rest/v1/customer").header("a", "1").header("b", "1").header("c", "1");
    assert_eq!(status(many, "").await, 200);
    let many =
        with_token("GET", "/rest/v1/customer").header("a", "1").header("b", "1").header("c", "1").header("d", "1");
    assert_eq!(status(many, "").await, 431);
    let large = with_token("GET", "/rest/v1/customer").header("a", "x".repeat(200));
    assert_eq!(status(large, "").await, 431);
    assert_eq!(status(with_token("POST", "/rest/v1/customer"), r#"{"a":"0123456789"}"#).await, 201);
    assert_eq!(status(with_token("POST", "/rest/v1/customer"), r#"{"a":"0123456789012"}"#).await, 413);
    assert_eq!(status(with_token("POST", "/v1/tenants"), r#"{"name":"0123456789012"}"#).await, 413);
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let fake = Arc::new(Fake::default());
    let limits = Limits { body_bytes: 20, ..Limits::default() };
    let parts = |parts: &[&'static str]| {
        let frames: Vec<_> = parts
            .iter()
            .map(|part| Ok::<_, Infallible>(hyper::body::Frame::data(Bytes::from_static(part.as_bytes()))))
            .collect();
        StreamBody::new(futures_util::stream::iter(frames))
    };
    let answer = async |body| {
        let request = with_token("POST", "/rest/v1/customer").body(body).unwrap();
        router(&fake, limits.clone()).answer(Peer::default(), request).await.status().as_u16()
    };
    assert_eq!(answer(parts(&["{\"a\":", "1", "}"])).await, 201);
    assert_eq!(answer(parts(&["{\"a\":\"", "0123456789", "0123\"}"])).await, 413);
    assert_eq!(answer(parts(&["", "", ""])).await, 400);
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_given_up() {
    let fake = Arc::new(Fake::default());
    let never = StreamBody::new(futures_util::stream::pending::<Result<hyper::body::Frame<Bytes>, Infallible>>());
    let request = with_token("POST", "/rest/v1/customer").body(never).unwrap();
    let response = router(&fake, Limits::default()).answer(Peer::default(), request).await;
    assert_eq!(response.status().as_u16(), 408);

    for (method, status) in [("GET", 504), ("DELETE", 503)] {
        fake.delay(Duration::from_secs(31));
        let request = with_token(method, "/rest/v1/customer").body(Empty::<Bytes>::new()).unwrap();
        let response = router(&fake, Limits::default()).answer(Peer::default(), request).await;
        assert_eq!(response.status().as_u16(), status, "nobody knows yet what came of a change");
    }
    assert_eq!(fake.finished(), 0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fake.finished(), 1, "the change was run to its end, the read was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_finished_although_its_caller_went_away() {
    let fake = Arc::new(Fake::default());
    fake.delay(Duration::from_secs(1));
    let request = with_token("DELETE", "/rest/v1/customer").body(Empty::<Bytes>::new()).unwrap();
    let router = router(&fake, Limits::default());
    let answering = tokio::time::timeout(Duration::from_millis(10), router.answer(Peer::default(), request));
    assert!(answering.await.is_err());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fake.finished(), 1);
}

mod public;

#[test]
fn the_openapi_document_describes_exactly_the_routes() {
    use std::collections::BTreeSet;
    let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let mut described = BTreeSet::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| key.as_str() != "parameters") {
            described.insert(format!("{} {path}", method.to_uppercase()));
            let text = operation.to_string();
            assert!(operation["summary"].is_string() && operation["responses"].is_object(), "{method} {path}");
            for reference in text.split("\"$ref\":\"#/").skip(1) {
                let pointer = format!("/{}", reference.split('"').next().unwrap());
                assert!(document.pointer(&pointer).is_some(), "{method} {path}: {pointer} is not there");
            }
        }
        for (at, _) in path.match_indices('{') {
            let name = path[at + 1..].split('}').next().unwrap();
            assert!(item.to_string().contains(&format!("\"name\":\"{name}\"")), "{path}: {name} is not described");
        }
    }
    let routed: BTreeSet<String> =
        routes::ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_eq!(described, routed);
}
