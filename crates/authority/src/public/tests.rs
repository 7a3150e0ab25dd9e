//! The endpoints as a door sees them: what goes in, what comes out, word by word.

use countersign_crypto::ssh;
use countersign_guard::Bearer;
use countersign_model::control::{Control, Revoke};
use countersign_services::PublicReply;
use serde_json::{Value, json};

use super::{ENDPOINTS, Public};
use crate::LOGIN_NAMESPACE;
use crate::people::tests::{call, read};
use crate::tests::{HERE, House, name};

struct World {
    house: House,
    public: Public,
    admin: ssh::PrivateKey,
}

impl World {
    async fn new() -> Self {
        let house = House::new().await;
        let admin = house.tenant("northwind").await;
        let public = Public::new(house.authority.clone(), house.guard.clone());
        Self { house, public, admin }
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        read(&self.public.answer(call(path, &body)).await)
    }

    /// A body as it is, of any type.
    async fn raw(&self, path: &str, media: Option<&str>, body: &[u8]) -> PublicReply {
        let mut call = call(path, &json!(null));
        call.content_type = media.map(str::to_owned);
        call.body = body.to_vec();
        self.public.answer(call).await
    }

    /// With a token in the header.
    async fn with(&self, token: &str, path: &str, form: &str) -> (u16, Value) {
        let mut call = call(path, &json!(null));
        call.content_type = Some("application/x-www-form-urlencoded".into());
        call.body = form.as_bytes().to_vec();
        call.bearer = Some(Bearer::new(token.to_owned()));
        read(&self.public.answer(call).await)
    }

    async fn token(&self, who: &str, role: &str) -> String {
        let key = self.house.person("northwind", &self.admin, who, role).await;
        self.house.token(who, "northwind", &key).await
    }
}

fn header<'a>(reply: &'a PublicReply, name: &str) -> Option<&'a str> {
    reply.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[tokio::test]
async fn a_person_logs_in_with_a_key() {
    let world = World::new().await;
    let who = json!({ "user": "andrew", "tenant": "northwind" });
    let (status, challenge) = world.post("/v1/login/challenge", who.clone()).await;
    assert_eq!(status, 200);
    let text = challenge["text"].as_str().unwrap();
    assert_eq!(challenge["expires"], json!(world.house.now().plus_ms(60_000)));
    let signature = ssh::sign(&world.admin, LOGIN_NAMESPACE, text.as_bytes()).unwrap();
    let answer = json!({
        "user": "andrew", "tenant": "northwind", "id": challenge["id"], "signature": signature, "expires_in": 600,
    });
    let (status, token) = world.post("/v1/login", answer.clone()).await;
    assert_eq!((status, &token["token_type"], &token["expires_in"]), (200, &json!("Bearer"), &json!(599)));
    assert_eq!(token.as_object().unwrap().len(), 3);
    world.house.ask(token["access_token"].as_str().unwrap(), Control::WhoAmI).await.unwrap();

    // Once; and the answer is that of every refused login.
    let refused = world.public.answer(call("/v1/login", &answer)).await;
    assert_eq!(header(&refused, "www-authenticate"), Some(r#"Bearer realm="countersign""#));
    assert_eq!(header(&refused, "cache-control"), Some("no-store"));
    let expected = json!({
        "code": "28000", "details": null, "hint": null, "message": "login refused",
        "error": "invalid_grant", "error_description": "login refused",
    });
    assert_eq!(read(&refused), (401, expected));
    let (status, said) = world.post("/v1/login/challenge", json!({ "user": "andrew" })).await;
    assert_eq!((status, &said["message"], said.get("error")), (400, &json!("key 'tenant' is missing"), None));
}

#[tokio::test]
async fn bodies_are_read_strictly() {
    let world = World::new().await;
    for (body, status, message) in [
        ("", 400, "in the body at line 1, column 0: expected JSON: an object or a list of objects"),
        ("[]", 400, "in the body at line 1, column 0: expected JSON: an object or a list of objects"),
        ("{}", 400, "key 'user' is missing"),
        ("{\"user\":\"andrew\",\n \"user\":\"a\"}", 400, "a key is given twice, at line 2, column 7"),
        ("{\"user\":\"andrew\",\"tenant\":\"a\",\n \"x\":1}", 400, "an unknown key at line 2, column 6"),
        (
            "{\"user\":7}",
            400,
            "key 'user' at line 1, column 9: expected a name: a lower-case letter, then lower-case letters, digits, '_' or '-'",
        ),
        (
            "{\"user\":\"andrew\"}x",
            400,
            "in the body at line 1, column 18: expected JSON: an object or a list of objects",
        ),
    ] {
        let reply = world.raw("/v1/login/challenge", None, body.as_bytes()).await;
        let (found, said) = read(&reply);
        assert_eq!((found, said["message"].as_str().unwrap()), (status, message), "{body}");
    }
    for (path, media, body, status, code) in [
        ("/v1/login", Some("text/plain"), &b"{}"[..], 415, "PGRST107"),
        ("/v1/login", Some("application/x-www-form-urlencoded"), b"user=a", 415, "PGRST107"),
        ("/v1/token", Some("text/plain"), b"{}", 415, "PGRST107"),
        ("/v1/login", None, b"{\"user\":\"\xff\"}", 400, "PGRST102"),
        ("/v1/login", None, b"{\"user\":\"a\",\"tenant\":\"b\",\"id\":\"\\u0000\"}", 400, "PGRST102"),
        ("/v1/login", None, &[b' '; 16 * 1024 + 1], 413, "54000"),
        ("/v1/token", None, &[b' '; 64 * 1024 + 1], 413, "54000"),
        (
            "/v1/token",
            Some("application/x-www-form-urlencoded; charset=utf-8"),
            b"grant_type=a&grant_type=b",
            400,
            "PGRST100",
        ),
        ("/v1/token", Some("application/x-www-form-urlencoded"), b"grant_type=%ff", 400, "PGRST102"),
        ("/v1/token", Some("application/x-www-form-urlencoded"), b"grant_type=%00", 400, "PGRST102"),
    ] {
        let (found, said) = read(&world.raw(path, media, body).await);
        assert_eq!((found, said["code"].as_str().unwrap()), (status, code), "{path} {}", body.len());
    }
    let mut with_query = call("/v1/login/challenge", &json!({}));
    with_query.query = Some("user=andrew".into());
    assert_eq!(world.public.answer(with_query).await.status, 400);
}

#[tokio::test]
async fn a_token_is_exchanged_for_a_narrower_one_and_for_nothing_else() {
    let world = World::new().await;
    let token = world.token("nancy", "accountant").await;
    const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange";
    let details = "authorization_details=%5B%7B%22type%22%3A%22countersign%22%2C%22actions%22%3A%5B%22read%22%5D%7D%5D";
    let (status, new) = world.with(&token, "/v1/token", &format!("{GRANT}&{details}&expires_in=60")).await;
    assert_eq!((status, &new["token_type"], &new["expires_in"]), (200, &json!("Bearer"), &json!(59)), "{new}");
    let me = world.house.ask(new["access_token"].as_str().unwrap(), Control::WhoAmI).await.unwrap();
    assert_eq!(me["narrowing"]["actions"], json!(["read"]));
    for (more, error) in [
        ("", "invalid_request"),
        ("grant_type=client_credentials", "unsupported_grant_type"),
        (&format!("{GRANT}&scope=all"), "invalid_request"),
        (&format!("{GRANT}&resource=https://x"), "invalid_request"),
        (&format!("{GRANT}&unknown=1"), "invalid_request"),
        (&format!("{GRANT}&expires_in=soon"), "invalid_request"),
        (&format!("{GRANT}&subject_token=another"), "invalid_request"),
        (&format!("{GRANT}&subject_token_type=urn:ietf:params:oauth:token-type:saml2"), "invalid_request"),
        (&format!("{GRANT}&actor_token_type=urn:ietf:params:oauth:token-type:jwt"), "invalid_request"),
        (&format!("{GRANT}&actor_token=x"), "invalid_request"),
        (&format!("{GRANT}&dpop_jkt=x"), "invalid_request"),
        (&format!("{GRANT}&authorization_details=[]}},{{\"type\":\"countersign\""), "invalid_request"),
        (&format!("{GRANT}&authorization_details=[{{\"type\":\"other\"}}]"), "invalid_request"),
    ] {
        let (status, said) = world.with(&token, "/v1/token", more).await;
        assert_eq!((status, said["error"].as_str().unwrap()), (400, error), "{more}");
    }
    let reply = world.raw("/v1/token", Some("application/x-www-form-urlencoded"), GRANT.as_bytes()).await;
    assert_eq!((reply.status, header(&reply, "www-authenticate")), (401, Some(r#"Bearer realm="countersign""#)));
    let (status, said) = world.with("rubbish", "/v1/token", GRANT).await;
    assert_eq!((status, &said["error"]), (401, &json!("invalid_token")));
}

#[tokio::test]
async fn a_token_is_revoked_by_its_holder() {
    let world = World::new().await;
    let token = world.token("nancy", "accountant").await;
    let (status, said) = read(
        &world
            .raw("/v1/token/revoke", Some("application/x-www-form-urlencoded"), format!("token={token}").as_bytes())
            .await,
    );
    assert_eq!((status, &said["revoked"]), (200, &json!("token")));
    assert!(world.house.ask(&token, Control::WhoAmI).await.is_err());
    // Once more changes nothing, and neither does a token that is none (RFC 7009, section 2.2).
    for again in [token.as_str(), "rubbish"] {
        assert_eq!(world.with(again, "/v1/token/revoke", "").await, (200, json!({})));
    }
    assert_eq!(world.raw("/v1/token/revoke", None, b"").await.status, 401);
    // Somebody else's is for whoever may.
    let other = world.token("janet", "rep").await;
    let mut revoke = call("/v1/token/revoke", &json!({ "user": "andrew" }));
    revoke.bearer = Some(Bearer::new(other));
    assert_eq!(world.public.answer(revoke).await.status, 403);
}

#[tokio::test]
async fn a_token_is_worth_something_to_its_own_tenant_only() {
    let world = World::new().await;
    let admin = world.house.token("andrew", "northwind", &world.admin).await;
    let nancy = world.token("nancy", "accountant").await;
    let elsewhere = world.house.tenant("chinook").await;
    let elsewhere = world.house.token("andrew", "chinook", &elsewhere).await;
    let ask = async |who: &str, token: &str| world.with(who, "/v1/token/introspect", &format!("token={token}")).await;
    let nothing = (200, json!({ "active": false }));

    let (status, said) = ask(&admin, &nancy).await;
    assert_eq!((status, &said["active"], &said["username"]), (200, &json!(true), &json!("nancy")), "{said}");
    assert_eq!((&said["iss"], &said["token_type"]), (&json!(HERE), &json!("Bearer")));
    // Who may not ask, who is of another tenant, and what is no token: nothing, and never why.
    assert_eq!(ask(&nancy, &admin).await, nothing);
    assert_eq!(ask(&elsewhere, &nancy).await, nothing);
    assert_eq!(ask(&admin, &elsewhere).await, nothing);
    assert_eq!(ask(&admin, "rubbish").await, nothing);
    world.house.ask(&admin, Control::Revoke(Revoke::Person(name("nancy")))).await.unwrap();
    assert_eq!(ask(&admin, &nancy).await, nothing);
    // Who is nobody is told so.
    let unknown = world.raw("/v1/token/introspect", Some("application/x-www-form-urlencoded"), b"token=x").await;
    assert_eq!(unknown.status, 401);
    assert_eq!(ask("rubbish", &admin).await.0, 401);
    assert_eq!(world.with(&admin, "/v1/token/introspect", "").await.0, 400);

    // What was asked is on record, by the token's identifier.
    let tenant = world.house.registry.latest().facts.tenant_names[&name("northwind")];
    let records = world.house.ledgers[1].query(Some(tenant), &Default::default()).unwrap();
    let asked = records.iter().filter(|(_, record)| record.body.action == "introspect_tokens");
    let details: Vec<_> = asked.map(|(_, record)| record.body.detail.clone()).collect();
    assert!(
        details
            .iter()
            .flatten()
            .any(|detail| Some(detail.as_str()) == said["jti"].as_str().map(|id| format!("token {id}")).as_deref()),
        "{details:?}"
    );
}

#[tokio::test]
async fn what_is_published_is_true() {
    let world = World::new().await;
    let get = async |path: &str| {
        let mut call = call(path, &json!(null));
        (call.method, call.body, call.content_type) = ("GET".into(), Vec::new(), None);
        read(&world.public.answer(call).await)
    };
    let (status, metadata) = get("/.well-known/oauth-authorization-server").await;
    assert_eq!((status, &metadata["issuer"]), (200, &json!(HERE)));
    // Every endpoint that is named is answered.
    for (member, url) in metadata.as_object().unwrap().iter().filter(|(member, _)| member.ends_with("_endpoint")) {
        let path = url.as_str().unwrap().strip_prefix(HERE).unwrap();
        assert!(ENDPOINTS.contains(&("POST", path)), "{member}");
    }
    assert_eq!(get("/v1/jwks.json").await.1["keys"][0]["alg"], "EdDSA");
    for (method, path) in ENDPOINTS {
        let mut wrong = call(path, &json!({}));
        wrong.method = "PUT".into();
        let reply = world.public.answer(wrong).await;
        assert_eq!((reply.status, header(&reply, "allow").unwrap().contains(method)), (405, true));
        let mut known = call(path, &json!({}));
        known.method = (*method).into();
        assert_ne!(world.public.answer(known).await.status, 404, "{path}");
    }
    assert_eq!(get("/v1/nothing").await.0, 404);
}
