//! Tokens that are bound to the client certificate of the connection on which they were asked for (RFC 8705).

use super::*;

const PERSON: [u8; 32] = [1; 32];
const AGENT: [u8; 32] = [2; 32];
const STRANGER: [u8; 32] = [3; 32];

fn thumbprint(certificate: [u8; 32]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(certificate)
}

impl World {
    /// A call on a connection with this certificate.
    async fn on(&self, certificate: Option<[u8; 32]>, path: &str, body: &Value) -> Reply {
        self.send(path, body, None, certificate, None).await
    }

    async fn login_on(&self, admin: &PrivateKey, who: &str, kind: UserKind, certificate: [u8; 32]) -> String {
        let ssh = new_key();
        let token = self.house.token("andrew", "northwind", admin).await;
        let user = NewUser { kind, ..user(who, "admin", &ssh) };
        self.house.ask(&token, Control::UserPut { tenant: None, user }).await.unwrap();
        let login = self.house.answer(who, "northwind", &ssh);
        let body = json!({"user": who, "tenant": "northwind", "id": login.challenge, "signature": login.signature});
        let reply = self.on(Some(certificate), "/v1/login", &body).await;
        assert_eq!(reply.1["token_type"], "Bearer", "it is presented as one (RFC 8705, section 3)");
        super::token(&reply)
    }

    /// The `cnf` claim of a token.
    async fn cnf(&self, admin: &PrivateKey, token: &str) -> Value {
        let asker = self.house.token("andrew", "northwind", admin).await;
        let (_, said) = self.post("/v1/token/introspect", &json!({ "token": token }), None, Some(&asker)).await;
        assert_eq!(said["active"], json!(true), "{said}");
        said["cnf"].clone()
    }
}

fn narrow(token: &str) -> Value {
    json!({"grant_type": GRANT, "subject_token": token, "expires_in": 600})
}

#[tokio::test]
async fn a_login_over_a_connection_with_a_certificate_is_bound_to_it_and_so_is_what_is_narrowed() {
    let world = World::new().await;
    let admin = world.house.tenant("northwind").await;
    let nancy = world.login_on(&admin, "nancy", UserKind::Person, PERSON).await;
    assert_eq!(world.cnf(&admin, &nancy).await, json!({"x5t#S256": thumbprint(PERSON)}));
    let narrowed = token(&world.on(Some(PERSON), "/v1/token", &narrow(&nancy)).await);
    assert_eq!(world.cnf(&admin, &narrowed).await, json!({"x5t#S256": thumbprint(PERSON)}));
    for bound in [&nancy, &narrowed] {
        for certificate in [None, Some(STRANGER)] {
            for (path, body) in [("/v1/token", narrow(bound)), ("/v1/token/revoke", json!({ "token": bound }))] {
                assert_eq!(world.on(certificate, path, &body).await.0, 401, "{path}");
            }
        }
        assert!(world.house.ask(bound, Control::WhoAmI).await.is_err(), "bound, and no certificate");
    }
    assert_eq!(world.on(Some(PERSON), "/v1/token/revoke", &json!({ "token": narrowed })).await.0, 200);
    assert_eq!(world.on(Some(PERSON), "/v1/token", &narrow(&narrowed)).await.0, 401, "revoked");
}

/// As with a proof: whoever has a token that is bound to nothing can have a bound one from it.
#[tokio::test]
async fn an_unbound_token_gives_a_bound_one_over_such_a_connection() {
    let world = World::new().await;
    let admin = world.house.tenant("northwind").await;
    let nancy = world.login(&admin, "nancy", UserKind::Person, None).await;
    let bound = token(&world.on(Some(PERSON), "/v1/token", &narrow(&nancy)).await);
    assert_eq!(world.cnf(&admin, &bound).await, json!({"x5t#S256": thumbprint(PERSON)}));
    let unbound = token(&world.on(None, "/v1/token", &narrow(&nancy)).await);
    assert_eq!(world.cnf(&admin, &unbound).await, Value::Null);
}

#[tokio::test]
async fn a_proof_comes_before_the_certificate_and_neither_stands_for_the_other() {
    let world = World::new().await;
    let admin = world.house.tenant("northwind").await;
    let by_key = world.login(&admin, "nancy", UserKind::Person, Some(&world.person)).await;
    let by_certificate = world.login_on(&admin, "steven", UserKind::Person, PERSON).await;
    let proof = || Some(world.proof(&world.person, "/v1/token", None));
    let both = token(&world.send("/v1/token", &narrow(&by_key), proof(), Some(PERSON), None).await);
    assert_eq!(world.cnf(&admin, &both).await, json!({"jkt": jkt(&world.person)}));
    assert_eq!(world.on(Some(PERSON), "/v1/token", &narrow(&by_key)).await.0, 401);
    for certificate in [None, Some(PERSON)] {
        let reply = world.send("/v1/token", &narrow(&by_certificate), proof(), certificate, None).await;
        assert_eq!(reply.0, 401);
    }
    // From the certificate to a key of one's own.
    let body = json!({"grant_type": GRANT, "subject_token": by_certificate, "dpop_jkt": jkt(&world.person)});
    let moved = token(&world.on(Some(PERSON), "/v1/token", &body).await);
    assert_eq!(world.cnf(&admin, &moved).await, json!({"jkt": jkt(&world.person)}));
}

#[tokio::test]
async fn a_person_hands_a_bound_token_to_an_agent_s_certificate() {
    let world = World::new().await;
    let admin = world.house.tenant("northwind").await;
    let nancy = world.login_on(&admin, "nancy", UserKind::Person, PERSON).await;
    let copilot = world.login_on(&admin, "copilot", UserKind::Agent, AGENT).await;
    let body = json!({"grant_type": GRANT, "subject_token": nancy, "x5t#S256": thumbprint(AGENT)});
    assert_eq!(world.on(Some(AGENT), "/v1/token", &body).await.0, 401);
    let handed = token(&world.on(Some(PERSON), "/v1/token", &body).await);
    let body = json!({"grant_type": GRANT, "subject_token": handed, "actor_token": copilot});
    for certificate in [None, Some(PERSON), Some(STRANGER)] {
        assert_eq!(world.on(certificate, "/v1/token", &body).await.0, 401);
    }
    let acting = token(&world.on(Some(AGENT), "/v1/token", &body).await);
    assert_eq!(world.cnf(&admin, &acting).await, json!({"x5t#S256": thumbprint(AGENT)}));
}

#[tokio::test]
async fn a_token_is_bound_to_one_key() {
    let world = World::new().await;
    let admin = world.house.tenant("northwind").await;
    let nancy = world.login(&admin, "nancy", UserKind::Person, None).await;
    let with = |members: Value| {
        let mut body = narrow(&nancy);
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        body
    };
    let (key, certificate) = (jkt(&world.person), thumbprint(PERSON));
    for members in [json!({"dpop_jkt": key, "x5t#S256": certificate}), json!({"x5t#S256": "AAAA"})] {
        let (status, said) = world.on(None, "/v1/token", &with(members)).await;
        assert_eq!((status, &said["error"]), (400, &json!("invalid_request")), "{said}");
    }
}
