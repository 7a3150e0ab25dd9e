//! Tokens from tokens: with proofs of keys, and for who acts for somebody.

mod certificate;
mod reading;

use std::sync::Arc;

use countersign_crypto::SystemEntropy;
use countersign_crypto::dpop::ProofKey;
use countersign_crypto::ssh::PrivateKey;
use countersign_model::control::{Control, NewUser};
use countersign_model::facts::UserKind;
use countersign_model::{RequestId, UnixMs};
use countersign_services::PublicCall;
use serde_json::{Value, json};

use crate::public::Public;
use crate::tests::{HERE, House, new_key, user};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Northwind with a person and an agent, and a key for each.
struct World {
    house: House,
    public: Public,
    person: ProofKey,
    agent: ProofKey,
}

/// What came back: the status and the document.
type Reply = (u16, Value);

impl World {
    async fn new() -> Self {
        let house = House::new().await;
        let public = Public::new(Arc::clone(&house.authority), Arc::clone(&house.guard));
        let key = || ProofKey::generate(&SystemEntropy).unwrap();
        Self { house, public, person: key(), agent: key() }
    }

    /// A login by a new user of this kind, bound to the key if there is one.
    async fn login(&self, admin: &PrivateKey, who: &str, kind: UserKind, key: Option<&ProofKey>) -> String {
        let ssh = new_key();
        let token = self.house.token("andrew", "northwind", admin).await;
        let user = NewUser { kind, ..user(who, "admin", &ssh) };
        self.house.ask(&token, Control::UserPut { tenant: None, user }).await.unwrap();
        let login = self.house.answer(who, "northwind", &ssh);
        let body = json!({"user": who, "tenant": "northwind", "id": login.challenge, "signature": login.signature});
        let (status, reply) = self.post("/v1/login", &body, key, None).await;
        assert_eq!(status, 200, "{reply}");
        assert_eq!(reply["token_type"], if key.is_some() { "DPoP" } else { "Bearer" });
        reply["access_token"].as_str().unwrap().to_owned()
    }

    fn proof(&self, key: &ProofKey, path: &str, token: Option<&str>) -> String {
        key.sign("POST", &format!("{HERE}{path}"), token, self.house.now(), &SystemEntropy).unwrap()
    }

    async fn post(&self, path: &str, body: &Value, key: Option<&ProofKey>, token: Option<&str>) -> Reply {
        let proof = key.map(|key| self.proof(key, path, token));
        self.post_with(path, body, proof, token).await
    }

    async fn post_with(&self, path: &str, body: &Value, dpop: Option<String>, token: Option<&str>) -> Reply {
        self.send(path, body, dpop, None, token).await
    }

    async fn send(
        &self,
        path: &str,
        body: &Value,
        dpop: Option<String>,
        certificate: Option<[u8; 32]>,
        token: Option<&str>,
    ) -> Reply {
        let call = PublicCall {
            request: RequestId::new(UnixMs(1), &SystemEntropy),
            method: "POST".into(),
            path: path.into(),
            query: None,
            content_type: Some("application/json".into()),
            bearer: token.map(|token| countersign_guard::Bearer::new(token.into())),
            dpop,
            url: format!("{HERE}{path}"),
            body: body.to_string().into_bytes(),
            address: None,
            certificate,
        };
        let reply = self.public.answer(call).await;
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    async fn exchange(&self, subject: &str, actor: &str, key: Option<&ProofKey>) -> Reply {
        let body = json!({"grant_type": GRANT, "subject_token": subject, "actor_token": actor});
        self.post("/v1/token", &body, key, None).await
    }
}

fn token(reply: &Reply) -> String {
    assert_eq!(reply.0, 200, "{}", reply.1);
    reply.1["access_token"].as_str().unwrap().to_owned()
}

fn jkt(key: &ProofKey) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key.jkt())
}

#[tokio::test]
async fn an_agent_acts_for_a_person_and_the_token_says_so() {
    let world = World::new().await;
    let admin = world.house.tenant("northwind").await;
    let subject = world.login(&admin, "nancy", UserKind::Person, None).await;
    let actor = world.login(&admin, "copilot", UserKind::Agent, None).await;
    let reply = world.exchange(&subject, &actor, None).await;
    assert_eq!(reply.1["token_type"], "Bearer");
    let acting = token(&reply);
    let me = world.house.ask(&acting, Control::WhoAmI).await.unwrap();
    assert_eq!((&me["user"], &me["actor"]), (&json!("nancy"), &json!("copilot")));

    let asker = world.house.token("andrew", "northwind", &admin).await;
    let (status, said) = world.post("/v1/token/introspect", &json!({ "token": acting }), None, Some(&asker)).await;
    assert_eq!((status, &said["active"]), (200, &json!(true)), "{said}");
    assert_eq!((&said["username"], &said["act"]["username"]), (&json!("nancy"), &json!("copilot")));

    // It ends with the agent's login.
    world.house.ask(&actor, Control::RevokeOwn { session: true }).await.unwrap();
    assert!(world.house.ask(&acting, Control::WhoAmI).await.is_err());
    assert!(world.house.ask(&subject, Control::WhoAmI).await.is_ok());
}

#[tokio::test]
async fn nobody_acts_twice_over_as_a_person_or_for_themselves() {
    let world = World::new().await;
    let admin = world.house.tenant("northwind").await;
    let nancy = world.login(&admin, "nancy", UserKind::Person, None).await;
    let steven = world.login(&admin, "steven", UserKind::Person, None).await;
    let copilot = world.login(&admin, "copilot", UserKind::Agent, None).await;
    let importer = world.login(&admin, "importer", UserKind::Service, None).await;
    assert_eq!(world.exchange(&nancy, &steven, None).await.0, 400);
    assert_eq!(world.exchange(&copilot, &copilot, None).await.0, 400);
    let acting = token(&world.exchange(&nancy, &copilot, None).await);
    assert_eq!(world.exchange(&acting, &importer, None).await.0, 400);
    assert_eq!(world.exchange(&nancy, &acting, None).await.0, 400);
    assert_eq!(world.exchange(&nancy, &importer, None).await.0, 200);
}

#[tokio::test]
async fn another_tenant_s_agent_acts_for_nobody() {
    let world = World::new().await;
    let admin = world.house.tenant("northwind").await;
    let nancy = world.login(&admin, "nancy", UserKind::Person, None).await;
    let other = world.house.tenant("chinook").await;
    let elsewhere = world.house.person("chinook", &other, "spy", "admin").await;
    let token = world.house.token("andrew", "chinook", &other).await;
    let spy = NewUser { kind: UserKind::Agent, ..user("spy", "admin", &elsewhere) };
    world.house.ask(&token, Control::UserPut { tenant: None, user: spy }).await.unwrap();
    let spy = world.house.token("spy", "chinook", &elsewhere).await;
    assert_eq!(world.exchange(&nancy, &spy, None).await.0, 403);
    assert_eq!(world.exchange(&spy, &nancy, None).await.0, 403);
}

#[tokio::test]
async fn a_bound_token_that_was_stolen_is_not_made_into_one_that_is_good() {
    let world = World::new().await;
    let admin = world.house.tenant("northwind").await;
    let stolen = world.login(&admin, "nancy", UserKind::Person, Some(&world.person)).await;
    let thief = ProofKey::generate(&SystemEntropy).unwrap();
    let narrow = json!({"grant_type": GRANT, "subject_token": stolen});
    let rebind = json!({"grant_type": GRANT, "subject_token": stolen, "dpop_jkt": jkt(&thief)});
    for body in [&narrow, &rebind] {
        for key in [None, Some(&thief)] {
            assert_eq!(world.post("/v1/token", body, key, None).await.0, 401);
        }
    }
    let own = world.login(&admin, "copilot", UserKind::Agent, Some(&thief)).await;
    for key in [None, Some(&thief), Some(&world.person)] {
        assert_eq!(world.exchange(&stolen, &own, key).await.0, 401);
    }
    assert_eq!(world.post("/v1/token/revoke", &json!({ "token": stolen }), Some(&thief), None).await.0, 401);
    assert!(world.house.ask(&stolen, Control::WhoAmI).await.is_err(), "bound, and no proof");
    assert_eq!(token(&world.post("/v1/token", &narrow, Some(&world.person), None).await).split('.').count(), 3);
}

/// The way to delegate with bound tokens: the person narrows a token to the agent's key, and the agent exchanges it.
#[tokio::test]
async fn a_person_hands_a_bound_token_to_an_agent_s_key() {
    let world = World::new().await;
    let admin = world.house.tenant("northwind").await;
    let nancy = world.login(&admin, "nancy", UserKind::Person, Some(&world.person)).await;
    let copilot = world.login(&admin, "copilot", UserKind::Agent, Some(&world.agent)).await;
    let body = json!({"grant_type": GRANT, "subject_token": nancy, "dpop_jkt": jkt(&world.agent), "expires_in": 600});
    let handed = token(&world.post("/v1/token", &body, Some(&world.person), Some(&nancy)).await);
    assert_eq!(world.exchange(&handed, &copilot, Some(&world.person)).await.0, 401);

    let reply = world.exchange(&handed, &copilot, Some(&world.agent)).await;
    assert_eq!(reply.1["token_type"], "DPoP");
    let acting = token(&reply);
    let asker = world.house.token("andrew", "northwind", &admin).await;
    let (_, said) = world.post("/v1/token/introspect", &json!({ "token": acting }), None, Some(&asker)).await;
    assert_eq!(said["cnf"]["jkt"], json!(jkt(&world.agent)));
    assert_eq!((&said["username"], &said["act"]["username"]), (&json!("nancy"), &json!("copilot")));
}

#[tokio::test]
async fn a_proof_is_used_once_at_these_endpoints_too() {
    let world = World::new().await;
    let admin = world.house.tenant("northwind").await;
    let nancy = world.login(&admin, "nancy", UserKind::Person, Some(&world.person)).await;
    let body = json!({"grant_type": GRANT, "subject_token": nancy});
    let proof = world.proof(&world.person, "/v1/token", Some(&nancy));
    assert_eq!(world.post_with("/v1/token", &body, Some(proof.clone()), None).await.0, 200);
    let (status, said) = world.post_with("/v1/token", &body, Some(proof), None).await;
    assert_eq!((status, &said["error"]), (400, &json!("invalid_dpop_proof")));
    let elsewhere = world.proof(&world.person, "/v1/login", None);
    assert_eq!(world.post_with("/v1/token", &body, Some(elsewhere), None).await.0, 400);
    // What the guard takes a proof for, it takes once.
    let proof = world.proof(&world.person, "/v1/token/revoke", Some(&nancy));
    let revoke = json!({ "token": nancy });
    assert_eq!(world.post_with("/v1/token/revoke", &revoke, Some(proof.clone()), None).await.0, 200);
}
