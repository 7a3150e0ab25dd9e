//! The same against a certified provider: npm's `oidc-provider`, on loopback, as a process of its own.
//!
//! `cargo xtask test --only oidc` installs it and runs these; plain `cargo test` doesn't.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::ssh;
use countersign_model::Clock as _;
use countersign_model::clock::SystemClock;
use countersign_model::control::{ClientSecret, Control, NewProvider};
use countersign_testkit::oidc::{Page, Providers};
use serde_json::{Value, json};

use super::{REDIRECT, call, read, settings};
use crate::people::fetch::Fetcher;
use crate::public::Public;
use crate::tests::{House, name};

/// The settings of a tenant whose provider is one of the two, by a client of that name.
fn by(providers: &Providers, issuer: usize, client: &str) -> NewProvider {
    NewProvider {
        client_id: client.into(),
        client_secret: (client != "public").then(|| ClientSecret::new(Providers::secret(client))),
        ca_pem: Some(providers.ca_pem().to_owned()),
        ..settings(&providers.issuers()[issuer])
    }
}

struct World {
    house: House,
    public: Public,
    providers: Providers,
    admins: BTreeMap<&'static str, ssh::PrivateKey>,
}

impl World {
    async fn new() -> Self {
        let folder = std::env::var_os("COUNTERSIGN_OIDC").map(PathBuf::from);
        let folder = folder.expect("COUNTERSIGN_OIDC names the installed tests/oidc; cargo xtask test --only oidc");
        let providers = Providers::start(&folder).unwrap();
        let fetcher = Arc::new(Fetcher::new(providers.places()));
        let house = House::calling(SystemClock.now(), Some(fetcher)).await;
        let public = Public::new(Arc::clone(&house.authority), Arc::clone(&house.guard));
        let mut admins = BTreeMap::new();
        for tenant in ["northwind", "chinook"] {
            admins.insert(tenant, house.tenant(tenant).await);
        }
        let world = Self { house, public, providers, admins };
        world.put("northwind", by(&world.providers, 0, "countersign")).await;
        world.put("chinook", by(&world.providers, 1, "countersign")).await;
        world
    }

    async fn put(&self, tenant: &str, settings: NewProvider) {
        let token = self.house.token("andrew", tenant, &self.admins[tenant]).await;
        self.house.ask(&token, Control::ProviderPut(Box::new(settings))).await.unwrap();
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        // The house's clock stands still; the provider's doesn't.
        let passed = SystemClock.now().since(self.house.now());
        self.house.clock.advance_ms(passed);
        read(&self.public.answer(call(path, &body)).await)
    }

    async fn begin(&self, tenant: &str) -> (String, String) {
        let (status, begun) =
            self.post("/v1/login/oidc/start", json!({ "tenant": tenant, "redirect_uri": REDIRECT })).await;
        assert_eq!(status, 200, "{begun}");
        (begun["id"].as_str().unwrap().to_owned(), begun["authorization_url"].as_str().unwrap().to_owned())
    }

    /// What the provider sends the browser of `person` back with.
    fn browse(&self, person: &str, url: &str) -> Value {
        let Page::Away(back) = self.providers.browser(person).visit(url).unwrap() else { panic!("not sent back") };
        let query = back.strip_prefix(REDIRECT).and_then(|rest| rest.strip_prefix('?')).expect("sent elsewhere");
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap();
            let value = percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned();
            (key.to_owned(), Value::from(value))
        };
        Value::Object(query.split('&').map(pair).collect())
    }

    async fn finish(&self, id: &str, mut back: Value) -> (u16, Value) {
        back["id"] = id.into();
        self.post("/v1/login/oidc/finish", back).await
    }

    async fn log_in(&self, tenant: &str, person: &str) -> (u16, Value) {
        let (id, url) = self.begin(tenant).await;
        let back = self.browse(person, &url);
        self.finish(&id, back).await
    }

    async fn who(&self, token: &Value) -> Value {
        self.house.ask(token["access_token"].as_str().unwrap(), Control::WhoAmI).await.unwrap()
    }

    /// Why the last login of a tenant was refused.
    fn why(&self, tenant: &str) -> String {
        let tenant = self.house.registry.latest().facts.tenant_names[&name(tenant)];
        let records = self.house.ledgers[1].query(Some(tenant), &Default::default()).unwrap();
        let last = records.into_iter().rev().find(|(_, record)| record.body.action == "login").unwrap();
        last.1.body.detail.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js and an installed provider: cargo xtask test --only oidc"]
async fn code_flow_with_a_certified_provider() {
    let world = World::new().await;
    let (status, token) = world.log_in("northwind", "margaret").await;
    assert_eq!(status, 200, "{token} {}", world.why("northwind"));
    let me = world.who(&token).await;
    assert_eq!((&me["user"], &me["roles"]), (&json!("margaret-park"), &json!(["accountant"])));
    // The same person again is the same user; another is another; one without a role is nobody.
    let (_, again) = world.log_in("northwind", "margaret").await;
    assert_eq!(world.who(&again).await["user"], me["user"]);
    let (_, janet) = world.log_in("northwind", "janet").await;
    assert_eq!(world.who(&janet).await["roles"], json!(["rep"]));
    assert_eq!(world.log_in("northwind", "guest").await.0, 401);
    assert_eq!(world.why("northwind"), "provider: no role");
    // The admin has the name already, and logs in with a key.
    assert_eq!(world.log_in("northwind", "andrew").await.0, 401);
    assert_eq!(world.why("northwind"), "provider: the name is somebody else's");

    // Every algorithm, and a client without a secret.
    for client in ["with-ps256", "with-es256", "with-eddsa", "public"] {
        world.put("northwind", by(&world.providers, 0, client)).await;
        let (status, said) = world.log_in("northwind", "margaret").await;
        assert_eq!(status, 200, "{client}: {said} {}", world.why("northwind"));
    }
    let only = NewProvider { algorithms: vec!["ES256".into()], ..by(&world.providers, 0, "countersign") };
    world.put("northwind", only).await;
    assert_eq!(world.log_in("northwind", "margaret").await.0, 401);
    assert_eq!(world.why("northwind"), "provider: id token: algorithm");
    let wrong = Some(ClientSecret::new("another".into()));
    world.put("northwind", NewProvider { client_secret: wrong, ..by(&world.providers, 0, "countersign") }).await;
    assert_eq!(world.log_in("northwind", "margaret").await.0, 401);
    assert_eq!(world.why("northwind"), "provider: it refused the code");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js and an installed provider: cargo xtask test --only oidc"]
async fn what_is_tampered_with_on_the_way_is_refused() {
    let world = World::new().await;
    let replaced = |url: &str, key: &str, value: &str| {
        let from = url.find(&format!("{key}=")).unwrap() + key.len() + 1;
        let to = url[from..].find('&').map_or(url.len(), |at| from + at);
        format!("{}{value}{}", &url[..from], &url[to..])
    };
    let challenge = "A".repeat(43);
    for (key, value, why) in [
        ("nonce", "another", "provider: id token: nonce"),
        ("state", "another", "provider: state"),
        ("code_challenge", challenge.as_str(), "provider: it refused the code"),
        ("client_id", "with-es256", "provider: it refused the code"),
    ] {
        let (id, url) = world.begin("northwind").await;
        let back = world.browse("margaret", &replaced(&url, key, value));
        assert_eq!(world.finish(&id, back).await.0, 401, "{key}");
        assert_eq!(world.why("northwind"), why, "{key}");
    }

    // The provider of one tenant can't answer for another: neither with its name nor with the other's.
    let (theirs, url) = world.begin("chinook").await;
    let of_chinook = world.browse("margaret", &url);
    let (ours, url) = world.begin("northwind").await;
    let of_northwind = world.browse("margaret", &url);
    let mut mixed = of_chinook.clone();
    mixed["state"] = of_northwind["state"].clone();
    assert_eq!(world.finish(&ours, mixed).await.0, 401);
    assert_eq!(world.why("northwind"), "provider: iss");
    let (ours, url) = world.begin("northwind").await;
    let of_northwind = world.browse("margaret", &url);
    let mut mixed = of_northwind.clone();
    mixed["code"] = of_chinook["code"].clone();
    assert_eq!(world.finish(&ours, mixed).await.0, 401);
    assert_eq!(world.why("northwind"), "provider: it refused the code");
    // Nor does a login of one tenant become one of another.
    assert_eq!(world.finish(&theirs, of_northwind).await.0, 401);

    // The same person in both tenants is two users, each of its tenant.
    let (_, here) = world.log_in("northwind", "margaret").await;
    let (_, there) = world.log_in("chinook", "margaret").await;
    assert_eq!(world.who(&here).await["tenant"], "northwind");
    assert_eq!(world.who(&there).await["tenant"], "chinook");
    let facts = world.house.registry.latest();
    let named: Vec<_> = facts.facts.users.values().filter(|user| user.name.as_str() == "margaret-park").collect();
    assert_eq!(named.len(), 2);
    assert_ne!(named[0].tenant, named[1].tenant);

    // Without the operator's leave the provider is out of reach, as every loopback address is.
    let house = House::calling(SystemClock.now(), Some(Arc::new(Fetcher::new([])))).await;
    let admin = house.tenant("northwind").await;
    let admin = house.token("andrew", "northwind", &admin).await;
    let put = Control::ProviderPut(Box::new(by(&world.providers, 0, "countersign")));
    house.ask(&admin, put).await.unwrap();
    let public = Public::new(Arc::clone(&house.authority), Arc::clone(&house.guard));
    let start = call("/v1/login/oidc/start", &json!({ "tenant": "northwind", "redirect_uri": REDIRECT }));
    assert_eq!(public.answer(start).await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js and an installed provider: cargo xtask test --only oidc"]
async fn device_flow_with_a_certified_provider() {
    let world = World::new().await;
    let (status, begun) = world.post("/v1/login/oidc/device", json!({ "tenant": "northwind" })).await;
    assert_eq!(status, 200, "{begun} {}", world.why("northwind"));
    let poll = json!({ "id": begun["id"] });
    let (status, said) = world.post("/v1/login/oidc/device/poll", poll.clone()).await;
    assert_eq!((status, &said["error"]), (400, &json!("authorization_pending")));
    assert_eq!(world.post("/v1/login/oidc/device/poll", poll.clone()).await.1["error"], "slow_down");

    let url = begun["verification_uri_complete"].as_str().unwrap();
    let Page::End(status, page) = world.providers.browser("janet").visit(url).unwrap() else { panic!("sent away") };
    assert_eq!(status, 200, "{page}");
    // Not waited for in real time: only our own clock counts the interval.
    world.house.clock.advance_ms(15_000);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let (status, token) = read(&world.public.answer(call("/v1/login/oidc/device/poll", &poll)).await);
    assert_eq!(status, 200, "{token} {}", world.why("northwind"));
    let me = world.who(&token).await;
    assert_eq!((&me["user"], &me["roles"]), (&json!("janet"), &json!(["rep"])));
    assert_eq!(world.post("/v1/login/oidc/device/poll", poll).await.0, 401);
}
