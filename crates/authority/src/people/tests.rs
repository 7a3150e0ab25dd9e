//! Logging in with a provider that tests make say what they want, through the endpoints as callers see them.

mod certified;
mod code;
mod device;
mod fake;
mod fetch;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_audit::{LedgerQuery, Record};
use countersign_crypto::{SystemEntropy, ssh};
use countersign_model::control::{ClientSecret, Control, NewProvider};
use countersign_model::{RequestId, TenantId};
use countersign_services::{PublicCall, PublicReply};
use serde_json::{Value, json};

use self::fake::Fake;
use crate::public::Public;
use crate::tests::{House, name};

pub(super) const REDIRECT: &str = "https://app.example/back";

/// A call as a door passes it on.
pub(crate) fn call(path: &str, body: &Value) -> PublicCall {
    PublicCall {
        request: RequestId::new(crate::tests::NOW, &SystemEntropy),
        method: "POST".into(),
        path: path.into(),
        query: None,
        content_type: Some("application/json".into()),
        bearer: None,
        dpop: None,
        url: format!("{}{path}", crate::tests::HERE),
        body: body.to_string().into_bytes(),
        address: None,
        certificate: None,
    }
}

/// Status and document.
pub(crate) fn read(reply: &PublicReply) -> (u16, Value) {
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

/// A deployment whose tenant `northwind` has the provider [`Fake`], with an admin who logs in with a key.
pub(super) struct World {
    pub house: House,
    pub fake: Arc<Fake>,
    pub public: Public,
    pub admin: ssh::PrivateKey,
}

pub(super) fn settings(issuer: &str) -> NewProvider {
    NewProvider {
        issuer: issuer.into(),
        client_id: "countersign".into(),
        client_secret: Some(ClientSecret::new("the-client-secret".into())),
        redirect_uris: vec![REDIRECT.into(), "http://127.0.0.1/back".into()],
        scopes: vec!["profile".into(), "groups".into()],
        name_claim: "preferred_username".into(),
        role_claim: "groups".into(),
        roles: BTreeMap::from([
            ("Accounting".to_owned(), name("accountant")),
            ("Sales".to_owned(), name("rep")),
            ("sales-too".to_owned(), name("rep")),
        ]),
        algorithms: vec![],
        ca_pem: None,
    }
}

impl World {
    pub async fn new() -> Self {
        let fake = Arc::new(Fake::new("https://login.northwind.example"));
        let house = House::calling(crate::tests::NOW, Some(Arc::clone(&fake) as _)).await;
        let admin = house.tenant("northwind").await;
        let public = Public::new(Arc::clone(&house.authority), Arc::clone(&house.guard));
        let world = Self { house, fake, public, admin };
        world.put(settings("https://login.northwind.example")).await;
        world
    }

    pub async fn admin_token(&self) -> String {
        self.house.token("andrew", "northwind", &self.admin).await
    }

    pub async fn put(&self, settings: NewProvider) {
        let token = self.admin_token().await;
        self.house.ask(&token, Control::ProviderPut(Box::new(settings))).await.unwrap();
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        read(&self.public.answer(call(path, &body)).await)
    }

    /// Begins a login, and gives its secret and what the provider was asked, by name.
    pub async fn begin(&self) -> (String, BTreeMap<String, String>) {
        let asked = json!({ "tenant": "northwind", "redirect_uri": REDIRECT });
        let (status, begun) = self.post("/v1/login/oidc/start", asked).await;
        assert_eq!(status, 200, "{begun}");
        let url = begun["authorization_url"].as_str().unwrap();
        let (endpoint, query) = url.split_once('?').unwrap();
        assert_eq!(endpoint, "https://login.northwind.example/auth");
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap();
            (key.to_owned(), percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned())
        };
        (begun["id"].as_str().unwrap().to_owned(), query.split('&').map(pair).collect())
    }

    /// What the browser brings back.
    pub fn back(&self, id: &str, asked: &BTreeMap<String, String>) -> Value {
        json!({ "id": id, "code": "a-code", "state": asked["state"], "iss": self.fake.issuer })
    }

    /// A whole login of whoever the fake provider says is there.
    pub async fn log_in(&self) -> (u16, Value) {
        let (id, asked) = self.begin().await;
        self.fake.says("nonce", json!(asked["nonce"]));
        self.post("/v1/login/oidc/finish", self.back(&id, &asked)).await
    }

    pub async fn who(&self, token: &Value) -> Value {
        self.house.ask(token["access_token"].as_str().unwrap(), Control::WhoAmI).await.unwrap()
    }

    pub fn tenant(&self, tenant: &str) -> TenantId {
        self.house.registry.latest().facts.tenant_names[&name(tenant)]
    }

    /// The tenant's records of logins by the provider, oldest first.
    pub fn logins(&self, tenant: &str) -> Vec<Record> {
        let records = self.house.ledgers[1].query(Some(self.tenant(tenant)), &LedgerQuery::default()).unwrap();
        let records = records.into_iter().map(|(_, record)| record);
        records.filter(|one| one.body.action == "login" && one.body.detail.is_some()).collect()
    }

    pub fn users(&self) -> usize {
        self.house.registry.latest().facts.users.len()
    }
}
