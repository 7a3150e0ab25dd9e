//! The same against a certified provider: npm's `oidc-provider`, on loopback, as a process of its own.
//!
//! `cargo xtask test --only oidc` installs it and runs these; plain `cargo test` doesn't.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_crypto::ssh;
use countersign_crypto::x509::CertificateAuthority;
use countersign_model::Clock as _;
use countersign_model::clock::SystemClock;
use countersign_model::control::{ClientSecret, Control, NewProvider};
use serde_json::{Value, json};

use super::browser::{Browser, Page};
use super::{REDIRECT, call, read, settings};
use crate::people::fetch::Fetcher;
use crate::public::Public;
use crate::tests::{House, name};

/// Two providers. They end with this.
struct Providers {
    child: Child,
    /// Kept open: a process that finds nobody reading ends.
    _says: BufReader<ChildStdout>,
    issuers: [String; 2],
    ca_pem: Arc<str>,
}

impl Drop for Providers {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

impl Providers {
    fn start() -> Self {
        let now = SystemClock.now();
        let authority = CertificateAuthority::generate("a provider's", now, 1).unwrap();
        let certificate = authority.issue_server(&["localhost".to_owned()], now, 3_600_000).unwrap();
        let tls = json!({
            "key": pem("PRIVATE KEY", &certificate.key_pkcs8_der),
            "cert": pem("CERTIFICATE", &certificate.chain_der[0]),
        });
        let folder = std::env::var_os("COUNTERSIGN_OIDC").map(PathBuf::from);
        let folder =
            folder.expect("COUNTERSIGN_OIDC is where tests/oidc is installed; run `cargo xtask test --only oidc`");
        let mut child = Command::new("node")
            .arg(folder.join("provider.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{tls}").unwrap();
        let mut line = String::new();
        let mut says = BufReader::new(child.stdout.take().unwrap());
        says.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("the provider did not start");
        let issuers = [0, 1].map(|at| said["issuers"][at].as_str().unwrap().to_owned());
        Self { child, _says: says, issuers, ca_pem: authority.ca_pem().into() }
    }

    fn settings(&self, issuer: usize, client: &str) -> NewProvider {
        NewProvider {
            client_id: client.into(),
            client_secret: (client != "public")
                .then(|| ClientSecret::new(format!("secret of {client}, with signs: +/=&%"))),
            ca_pem: Some(self.ca_pem.to_string()),
            ..settings(&self.issuers[issuer])
        }
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
        let providers = Providers::start();
        let allow = providers.issuers.iter().map(|issuer| issuer.trim_start_matches("https://").to_owned());
        let fetcher = Arc::new(Fetcher::new(allow));
        let house = House::calling(SystemClock.now(), Some(fetcher)).await;
        let public = Public::new(Arc::clone(&house.authority), Arc::clone(&house.guard));
        let mut admins = BTreeMap::new();
        for tenant in ["northwind", "chinook"] {
            admins.insert(tenant, house.tenant(tenant).await);
        }
        let world = Self { house, public, providers, admins };
        world.put("northwind", world.providers.settings(0, "countersign")).await;
        world.put("chinook", world.providers.settings(1, "countersign")).await;
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
    async fn browse(&self, person: &str, url: &str) -> Value {
        let mut browser = Browser::of(person, &self.providers.ca_pem);
        let back = match browser.visit(url).await {
            Page::Away(back) => back,
            Page::End(status, page) => panic!("{status}: {page}"),
        };
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
        let back = self.browse(person, &url).await;
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
        world.put("northwind", world.providers.settings(0, client)).await;
        let (status, said) = world.log_in("northwind", "margaret").await;
        assert_eq!(status, 200, "{client}: {said} {}", world.why("northwind"));
    }
    let only = NewProvider { algorithms: vec!["ES256".into()], ..world.providers.settings(0, "countersign") };
    world.put("northwind", only).await;
    assert_eq!(world.log_in("northwind", "margaret").await.0, 401);
    assert_eq!(world.why("northwind"), "provider: id token: algorithm");
    let wrong = Some(ClientSecret::new("another".into()));
    world.put("northwind", NewProvider { client_secret: wrong, ..world.providers.settings(0, "countersign") }).await;
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
        let back = world.browse("margaret", &replaced(&url, key, value)).await;
        assert_eq!(world.finish(&id, back).await.0, 401, "{key}");
        assert_eq!(world.why("northwind"), why, "{key}");
    }

    // The provider of one tenant can't answer for another: neither with its name nor with the other's.
    let (theirs, url) = world.begin("chinook").await;
    let of_chinook = world.browse("margaret", &url).await;
    let (ours, url) = world.begin("northwind").await;
    let of_northwind = world.browse("margaret", &url).await;
    let mut mixed = of_chinook.clone();
    mixed["state"] = of_northwind["state"].clone();
    assert_eq!(world.finish(&ours, mixed).await.0, 401);
    assert_eq!(world.why("northwind"), "provider: iss");
    let (ours, url) = world.begin("northwind").await;
    let of_northwind = world.browse("margaret", &url).await;
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
    let put = Control::ProviderPut(Box::new(world.providers.settings(0, "countersign")));
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

    let mut browser = Browser::of("janet", &world.providers.ca_pem);
    let url = begun["verification_uri_complete"].as_str().unwrap();
    let Page::End(status, page) = browser.visit(url).await else { panic!("sent away") };
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
