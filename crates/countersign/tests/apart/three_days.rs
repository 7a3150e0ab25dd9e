//! Three days in the life of a deployment, on a clock of its own; then everything that it stored is searched for
//! whatever would still open anything.
#![expect(clippy::print_stdout, reason = "what was searched is to be seen")]

mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::client::{Client, Token};
use countersign::compose::make_key;
use countersign::login::Login;
use countersign::manage::{self, Revoked};
use countersign::transport::Ask;
use countersign_audit::{LedgerQuery, Verdict};
use countersign_authority::{Place, Registry, RegistryParts};
use countersign_crypto::dpop::ProofKey;
use countersign_crypto::{Aad, SystemEntropy};
use countersign_keys::{FileKms, KmsProvider, KmsSet};
use countersign_model::clock::SystemClock;
use countersign_model::control::{NewUser, PolicyFile};
use countersign_model::facts::UserKind;
use countersign_model::request::Narrowing;
use countersign_model::{Clock, Service, TenantId, UnixMs};
use http::{Method, StatusCode};
use serde_json::json;

use self::search::{Found, Kind, search};
use crate::example::{name, policies};
use crate::world::{Setup, World, token};

/// How far the clock is moved at a time: a certificate of 55 minutes is renewed at half of that, so at every second step.
const STEP_MS: u64 = 24 * 60_000;
const DAY_MS: u64 = 24 * 3_600_000;
const STEPS: u64 = 3 * DAY_MS / STEP_MS;
/// As often as this each service looks whether its certificate is to be renewed.
const LOOK: Duration = Duration::from_millis(1_100);
/// How long services may take to be themselves again after the clock was moved.
const SETTLE: Duration = Duration::from_secs(20);
/// How long an authority that was ended may take to let go of its files.
const LET_GO: Duration = Duration::from_secs(60);
/// The name in requests by which a proof is checked.
const HOST: &str = "localhost";

/// The machine's clock, put forward by so much. It goes on: facts that are signed anew have to be newer.
#[derive(Default)]
struct Shifted(AtomicU64);

impl Shifted {
    fn advance_ms(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Shifted {
    fn now(&self) -> UnixMs {
        SystemClock.now().plus_ms(self.0.load(Ordering::SeqCst))
    }
}

/// What was handed out, and how often.
#[derive(Default)]
struct Issued {
    tokens: Vec<String>,
    join_tokens: Vec<String>,
    counts: BTreeMap<&'static str, u32>,
}

impl Issued {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn token(&mut self, what: &'static str, token: &str) {
        self.count(what);
        self.tokens.push(token.to_owned());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `cargo xtask test --only three-days` runs it"]
async fn nothing_that_is_stored_opens_anything() -> Result<()> {
    let began = Instant::now();
    let clock = Arc::new(Shifted::default());
    let world = World::begin(Setup { clock: Some(Arc::clone(&clock) as Arc<dyn Clock>), ..Setup::default() }).await?;
    let mut issued = Issued::default();
    let mut signers = BTreeSet::new();
    for step in 1..=STEPS {
        clock.advance_ms(STEP_MS);
        settle(&world, &mut issued).await.with_context(|| format!("step {step}"))?;
        // For a service that has just lost 24 minutes, 503 is a good answer; what is looked for here is what it stores.
        if let Err(error) = live(&world, &*clock, step, &mut issued).await {
            println!("step {step} once more: {error:#}");
            settle(&world, &mut issued).await.with_context(|| format!("step {step}"))?;
            live(&world, &*clock, step, &mut issued).await.with_context(|| format!("step {step}, once more"))?;
        }
        signers.extend(issued.tokens.iter().rev().take(2).filter_map(|token| key_id(token)));
    }
    println!("{STEPS} steps of {} minutes in {:.0?}", STEP_MS / 60_000, began.elapsed());
    println!("done: {:?}", issued.counts);
    println!("{} keys signed tokens", signers.len());
    ensure!(signers.len() >= 3, "the keys that sign tokens were not changed");

    // A token of now, and a certificate of now: what a search must find.
    let last = world.login("andrew@northwind").await?;
    let last_token = token(&last).to_owned();
    issued.token("logins", &last_token);
    let last_certificate = std::fs::read(crate::world::identity_file(&world.gateway.folder, Service::Gateway))?;
    finds_what_is_planted(&*clock, &last_token, &last_certificate)?;

    settle(&world, &mut issued).await?;
    // Each service learns again the keys of both tenants' audit records.
    for who in ["andrew@northwind", "andrew@chinook"] {
        let client = world.login(who).await?;
        issued.token("logins", token(&client));
        client.send(Ask::new(Method::GET, "/rest/v1/customer?select=id,company&limit=1")).await?;
        let change = Ask::new(Method::PATCH, "/rest/v1/product?id=eq.1");
        client.send(change.body("application/json", json!({ "category": "Tea" }).to_string())).await?;
    }
    let folder = world.folder.dir().parent().context("no folder")?.to_owned();
    let (records, record_count) = records(&world, tenants(&issued))?;
    let authority = world.folder.clone();
    let folders = world.end().await;
    // Beyond the life of every certificate, an hour after the last one was issued.
    clock.advance_ms(3_600_000 + 1);
    let mut places = files(&folder)?;
    let file_count = places.len();
    places.extend(facts(&authority, &folder)?);
    let fact_count = places.len() - file_count;
    places.push(("every audit record, opened".into(), records));
    let bytes: usize = places.iter().map(|(_, content)| content.len()).sum();
    let ca = std::fs::read(authority.ca_pem())?;
    let wrong = judge(&places, &folder, &issued, &ca, clock.now());
    println!(
        "searched: {file_count} files, {fact_count} facts of the control database, opened, {record_count} audit records, \
         opened; {bytes} bytes"
    );
    assert_eq!(wrong, [] as [String; 0], "left over");
    drop(folders);
    Ok(())
}

/// Waits until the gateway, the key service and the store have facts and certificates of now.
async fn settle(world: &World, issued: &mut Issued) -> Result<()> {
    tokio::time::sleep(LOOK).await;
    let until = Instant::now() + SETTLE;
    let read = Ask::new(Method::GET, "/rest/v1/customer?select=id,company&limit=1");
    loop {
        let outcome = async {
            let nancy = world.login("nancy@northwind").await?;
            nancy.send(read.clone()).await?;
            Ok::<_, anyhow::Error>(nancy)
        };
        match outcome.await {
            Ok(nancy) => {
                issued.token("logins", token(&nancy));
                issued.count("reads");
                return Ok(());
            }
            Err(error) if Instant::now() > until => {
                return Err(error.context("the services did not come to themselves"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// What happens in one step; some of it more rarely.
async fn live(world: &World, clock: &dyn Clock, step: u64, issued: &mut Issued) -> Result<()> {
    let andrew = world.login("andrew@northwind").await?;
    issued.token("logins", token(&andrew));
    let change = json!({ "category": format!("Tea {step}") }).to_string();
    andrew.send(Ask::new(Method::PATCH, "/rest/v1/product?id=eq.1").body("application/json", change)).await?;
    issued.count("writes");
    if step.is_multiple_of(2) {
        let narrowing = Narrowing { types: Some(vec![name("customer")]), ..Narrowing::default() };
        let narrow = manage::narrow(&andrew, &narrowing, Some(600_000)).await?;
        issued.token("narrowed tokens", narrow.reveal());
        andrew.with_token(narrow).send(Ask::new(Method::GET, "/rest/v1/customer?select=id&limit=1")).await?;
    }
    if step.is_multiple_of(3) {
        bound(&andrew, clock, issued).await?;
    }
    if step.is_multiple_of(5) {
        let michael = world.login("michael@chinook").await?;
        issued.token("logins", token(&michael));
        let what = if step.is_multiple_of(2) { Revoked::Own } else { Revoked::OwnSession };
        manage::revoke(&michael, &what).await?;
        issued.count("revocations");
        let read = Ask::new(Method::GET, "/rest/v1/customer?select=id&limit=1");
        ensure!(michael.exchange(read).await?.status == StatusCode::UNAUTHORIZED, "a revoked token is good");
    }
    if step % 12 == 3 {
        exchanged(world, &andrew, issued).await?;
        let operator = world.login("operator@operators").await?;
        issued.token("logins", token(&operator));
        let more = PolicyFile { name: "later.cedar".into(), text: format!("// {step}\n") };
        let files: Vec<_> = policies().into_iter().chain([more]).collect();
        manage::policies_apply(&operator, &files, false).await?;
        issued.count("policy changes");
        let robert = world.login("robert@northwind").await?;
        issued.token("logins", token(&robert));
        robert.get("/v1/audit?limit=20").await?;
        issued.count("readings of the audit log");
    }
    if step % 36 == 2 {
        // One more gateway, which ends and is taken from the list; and one that is invited and never comes.
        let instance = format!("gateway-{step}-{}", issued.join_tokens.len());
        let invited = world.invite("gateway", &format!("never-{instance}")).await?;
        issued.join_tokens.push(invited);
        let more = world.another(Service::Gateway, &instance).await?;
        issued.count("services joined");
        more.stop().await;
        let operator = world.login("operator@operators").await?;
        issued.token("logins", token(&operator));
        operator.send(Ask::new(Method::DELETE, format!("/v1/services/{instance}?role=gateway"))).await?;
        issued.count("services removed");
    }
    Ok(())
}

/// A token that is bound to a key, used with its proof.
async fn bound(andrew: &Client, clock: &dyn Clock, issued: &mut Issued) -> Result<()> {
    let key = ProofKey::generate(&SystemEntropy)?;
    let body = json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token(andrew),
        "dpop_jkt": URL_SAFE_NO_PAD.encode(key.jkt()),
    });
    let granted = Token::granted(&andrew.put(Method::POST, "/v1/token", &body).await?)?;
    let path = "/rest/v1/customer?select=id&limit=1";
    let url = format!("https://{HOST}/rest/v1/customer");
    let proof = key.sign("GET", &url, Some(granted.reveal()), clock.now(), &SystemEntropy)?;
    issued.token("bound tokens", granted.reveal());
    issued.tokens.push(proof.clone());
    let ask = Ask::new(Method::GET, path)
        .header(http::header::HOST, HOST)
        .header(http::header::AUTHORIZATION, format!("DPoP {}", granted.reveal()))
        .header(http::HeaderName::from_static("dpop"), proof);
    let reply = andrew.transport().send(ask).await?;
    ensure!(reply.status.is_success(), "a bound token: {} {}", reply.status, String::from_utf8_lossy(&reply.body));
    issued.count("reads with a proof");
    Ok(())
}

/// A new agent acts for somebody, and leaves.
async fn exchanged(world: &World, andrew: &Client, issued: &mut Issued) -> Result<()> {
    let who = Login { user: name("helper"), tenant: name("northwind") };
    let new = NewUser {
        name: who.user.clone(),
        roles: vec![name("support")],
        attributes: BTreeMap::new(),
        ssh_keys: vec![make_key(&world.folder, &who)?],
        kind: UserKind::Agent,
    };
    manage::user_put(andrew, &who.tenant, &new).await?;
    let helper = world.login("helper@northwind").await?;
    issued.token("logins", token(&helper));
    let body = json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token(andrew),
        "actor_token": token(&helper),
    });
    let granted = Token::granted(&helper.put(Method::POST, "/v1/token", &body).await?)?;
    issued.token("exchanged tokens", granted.reveal());
    helper.with_token(granted).send(Ask::new(Method::GET, "/rest/v1/customer?select=id&limit=1")).await?;
    manage::user_remove(andrew, &who).await?;
    issued.count("agents added and removed");
    // The key was that person's own.
    for file in ["helper@northwind", "helper@northwind.pub"] {
        let _ = std::fs::remove_file(world.folder.keys().join(file));
    }
    Ok(())
}

fn key_id(token: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
    (header["jwk"].is_null()).then(|| header["kid"].as_str().map(str::to_owned))?
}

fn tenants(issued: &Issued) -> Vec<TenantId> {
    let all = issued.tokens.iter().filter_map(|token| countersign_token::Unverified::read(token).ok());
    all.map(|read| read.tenant).collect::<BTreeSet<_>>().into_iter().collect()
}

/// All audit records of all services, opened, as text; and how many.
fn records(world: &World, tenants: Vec<TenantId>) -> Result<(Vec<u8>, usize)> {
    let (mut all, mut count) = (Vec::new(), 0);
    for service in [Service::Gateway, Service::Keys, Service::Store, Service::Authority] {
        let node = world.node(service);
        let ledger = node.opened.ledger(service).context("no ledger")?;
        for owner in std::iter::once(None).chain(tenants.iter().copied().map(Some)) {
            let mut after = None;
            loop {
                let query = LedgerQuery { after, oldest_first: true, limit: 1000, ..LedgerQuery::default() };
                let page = ledger.query(owner, &query).with_context(|| format!("{service}, {owner:?}"))?;
                let Some((last, _)) = page.last() else { break };
                after = Some(*last);
                for (_, record) in &page {
                    count += 1;
                    serde_json::to_writer(&mut all, record)?;
                    all.push(b'\n');
                }
            }
        }
    }
    ensure!(count > 500, "only {count} audit records");
    let released = format!("{:?}", Verdict::Released);
    ensure!(String::from_utf8_lossy(&all).to_lowercase().contains(&released.to_lowercase()), "nothing was released");
    Ok((all, count))
}

/// All files below a folder.
fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder)?.display().to_string();
                found.push((name, std::fs::read(&path)?));
            }
        }
    }
    Ok(found)
}

/// The facts that the authority keeps sealed, opened with its own key.
fn facts(authority: &countersign::deployment::Deployment, folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let kms: Arc<dyn KmsProvider> = Arc::new(FileKms::open(&authority.kms_key())?);
    let open = || {
        Registry::open(RegistryParts {
            place: Place::File(authority.control_db()),
            kms: KmsSet::new(Arc::clone(&kms), Default::default()),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            key_capacity: 10,
            key_open_ms: 60_000,
        })
    };
    // The authority lets go of it when its last task ends.
    let (until, mut opened) = (Instant::now() + LET_GO, open());
    while opened.is_err() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
        opened = open();
    }
    let key = opened.context("the control database")?.deployment_key("facts");
    let copy = folder.join("copy.db");
    std::fs::copy(authority.control_db(), &copy)?;
    let rows = Command::new("sqlite3")
        .arg(&copy)
        .arg("SELECT kind || ' ' || hex(id) || ' ' || hex(body) FROM fact WHERE kind > 0")
        .output()
        .context("sqlite3")?;
    ensure!(rows.status.success(), "sqlite3: {}", String::from_utf8_lossy(&rows.stderr));
    std::fs::remove_file(&copy)?;
    let mut facts = Vec::new();
    for line in String::from_utf8(rows.stdout)?.lines() {
        let mut words = line.split(' ');
        let mut word = || words.next().context("a short row");
        let kind: u8 = word()?.parse()?;
        let (id, body) = (unhex(word()?)?, unhex(word()?)?);
        let plain = key.open(&Aad::new("fact.1").part(&[kind]).part(&id), &body);
        let plain = plain.ok().with_context(|| format!("a fact of kind {kind} does not open"))?;
        facts.push((format!("fact of kind {kind}"), plain.to_vec()));
    }
    ensure!(facts.len() > 20, "only {} facts", facts.len());
    Ok(facts)
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let digits =
        text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair)?, 16).map_err(Into::into));
    digits.collect()
}

/// What of everything that was found should not be there.
fn judge(places: &[(String, Vec<u8>)], folder: &Path, issued: &Issued, ca_pem: &[u8], now: UnixMs) -> Vec<String> {
    let ca: Vec<Vec<u8>> =
        search(ca_pem).into_iter().filter(|found| found.kind == Kind::Certificate).map(|found| found.bytes).collect();
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::<&str, u32>::new());
    for (place, content) in places {
        for Found { kind, bytes, expires } in search(content) {
            let is_ca = ca.contains(&bytes);
            let what = match kind {
                Kind::Certificate if is_ca => "the authority's certificate",
                Kind::Certificate => "services' certificates",
                Kind::Jwt => "JWTs",
                Kind::JoinToken => "join tokens",
                Kind::PrivateKey => "private keys",
            };
            *counts.entry(what).or_default() += 1;
            let is_good = match kind {
                Kind::Certificate => is_ca || expires.is_some_and(|expires| expires <= now),
                // None at all, good or not.
                Kind::Jwt | Kind::JoinToken => false,
                Kind::PrivateKey => may_hold_a_key(place),
            };
            if !is_good {
                wrong.push(format!("{place}: {kind:?}, expires {expires:?}"));
            }
        }
        // And literally: what was handed out.
        for secret in issued
            .tokens
            .iter()
            .filter_map(|token| token.rsplit('.').next())
            .chain(issued.join_tokens.iter().map(String::as_str))
        {
            if search::contains(content, secret.as_bytes()) {
                wrong.push(format!("{place}: something that was handed out"));
            }
        }
    }
    // The keys of the key management services are 32 bytes of noise: each lies in its own file and nowhere else.
    for (home, key) in places.iter().filter(|(place, _)| place.ends_with("kms.key")) {
        *counts.entry("key encryption keys").or_default() += 1;
        let elsewhere = places.iter().filter(|(place, content)| place != home && search::contains(content, key));
        wrong.extend(elsewhere.map(|(place, _)| format!("{place} holds {home}")));
    }
    println!("found, in {}: {counts:?}", folder.file_name().unwrap_or_default().to_string_lossy());
    wrong
}

/// By name, where a private key may lie in clear: people's own, and that of each service; and sealed, in the control
/// database, those that sign tokens, certificates and facts.
fn may_hold_a_key(place: &str) -> bool {
    let path = PathBuf::from(place);
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["authority", "keys", who] => who.contains('@') && !who.ends_with(".pub"),
        [folder, "identity", service, "identity.pem"] => folder.starts_with(service),
        [fact] => matches!(*fact, "fact of kind 9" | "fact of kind 10" | "fact of kind 15"),
        _ => false,
    }
}

/// Credentials of each kind, put into files as somebody careless would, are found.
fn finds_what_is_planted(clock: &dyn Clock, jwt: &str, identity: &[u8]) -> Result<()> {
    let found = |content: &[u8], kind: Kind| {
        search(content).into_iter().find(|found| found.kind == kind).with_context(|| format!("{kind:?} is not found"))
    };
    let within = |content: &[u8]| [b"\0noise {\"a\":\"", content, b"\"}\0\xff\x30\x82"].concat();
    let jwt = found(&within(jwt.as_bytes()), Kind::Jwt)?;
    ensure!(jwt.expires.is_some_and(|expires| expires > clock.now()), "a token of now has expired");
    found(&within(b"csj1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), Kind::JoinToken)?;
    let certificate = found(&within(identity), Kind::Certificate)?;
    ensure!(certificate.expires.is_some_and(|expires| expires > clock.now()), "a certificate of now has expired");
    let der = found(&within(&certificate.bytes), Kind::Certificate)?;
    assert_eq!((der.bytes, der.expires), (certificate.bytes, certificate.expires));
    let in_json = String::from_utf8(identity.to_vec())?.replace('\n', "\\n");
    found(&within(in_json.as_bytes()), Kind::Certificate)?;
    found(&within(identity), Kind::PrivateKey)?;
    let key = search(identity).into_iter().find(|found| found.kind == Kind::PrivateKey).context("no key")?;
    found(&within(&key.bytes), Kind::PrivateKey)?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(&key.bytes);
    found(&within(encoded.as_bytes()), Kind::PrivateKey)?;
    let ed25519 = unhex("302e020100300506032b657004220420")?;
    found(&within(&[&ed25519[..], &[7; 32]].concat()), Kind::PrivateKey)?;
    found(&within(b"openssh-key-v1\0\0\0\0\x04none"), Kind::PrivateKey)?;
    found(&within(b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA"), Kind::PrivateKey)?;
    println!("what was planted is found: a token, a join token, certificates and private keys in four forms");
    Ok(())
}
