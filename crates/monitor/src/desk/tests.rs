//! The desk with its file, its ledger and receivers on loopback.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use countersign_audit::{AuditError, Position, Record, Verdict};
use countersign_crypto::webhook::WebhookKey;
use countersign_crypto::{SecretKey, SystemEntropy};
use countersign_model::clock::SystemClock;
use countersign_model::{AlertId, RequestId, TenantId};
use countersign_outbound::address::Url;
use countersign_outbound::fetch::{FetchError, Fetcher};
use countersign_services::{Mail, MailFailure, Mailer};
use countersign_testkit::Receiver;
use serde_json::Value;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Ledger(Mutex<Vec<Record>>);

#[async_trait::async_trait]
impl AuditSink for Ledger {
    async fn append(&self, record: Record) -> Result<Position, AuditError> {
        let mut records = self.0.lock();
        records.push(record);
        Ok(Position(records.len() as u64))
    }
}

impl Ledger {
    fn has(&self, action: &str, verdict: Verdict) -> bool {
        self.0.lock().iter().any(|record| record.body.action == action && record.verdict == verdict)
    }
}

struct Place {
    folder: tempfile::TempDir,
    key: Arc<SealKey>,
    ledger: Arc<Ledger>,
}

impl Place {
    fn new() -> Self {
        let key = Arc::new(SealKey::new(&SecretKey::generate(&SystemEntropy)));
        Self { folder: tempfile::tempdir().unwrap(), key, ledger: Arc::default() }
    }

    fn desk(&self, sinks: Vec<(&str, Arc<dyn Sink>)>, tenants: Option<Arc<dyn Sink>>) -> Arc<Desk> {
        let settings = Settings {
            repeat_ms: 3_600_000,
            quiet_ms: 14_400_000,
            rule_per_minute: 1_000,
            all_per_minute: 1_000,
            link: "https://localhost:8443".to_owned(),
        };
        let named = |(name, sink): (&str, _)| NamedSink { name: Name::new(name).unwrap(), level: Level::Low, sink };
        let parts = DeskParts {
            settings,
            sinks: sinks.into_iter().map(named).collect(),
            tenants,
            audit: Arc::clone(&self.ledger) as _,
            key: Arc::clone(&self.key),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        };
        Desk::open(&self.folder.path().join("monitor"), parts).unwrap()
    }
}

fn webhook(port: u16, allow: &str) -> Arc<dyn Sink> {
    Arc::new(Webhook {
        url: Url::parse(&format!("http://127.0.0.1:{port}/hook")).unwrap(),
        key: WebhookKey::parse(Receiver::SECRET).unwrap(),
        authorization: None,
        ca_pem: None,
        outbound: Arc::new(Fetcher::new([allow.to_owned()])),
    })
}

fn alert(about: &str) -> Alert {
    let now = SystemClock.now();
    Alert {
        id: AlertId::new(now, &SystemEntropy),
        rule: "1f5c".to_owned(),
        title: "A revoked token was used".to_owned(),
        level: Level::High,
        tenant: Some(TenantId::new(now, &SystemEntropy)),
        about: about.to_owned(),
        first: now,
        last: now,
        count: 3,
        requests: vec![RequestId::new(now, &SystemEntropy)],
        tells_tenant: false,
    }
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it never was so");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_has_it_signed_and_it_is_on_record() {
    let (place, receiver) = (Place::new(), Receiver::start().unwrap());
    let desk = place.desk(vec![("hook", webhook(receiver.port(), &receiver.place()))], None);
    let running = tokio::spawn(Arc::clone(&desk).run());
    let (one, began) = (alert("user=1"), Instant::now());
    desk.raise(one.clone());
    until(|| receiver.hooks().len() == 1).await;
    let hook = receiver.hooks().remove(0);
    println!("from raised to received: {:?}", hook.at - began);
    assert_eq!(hook.line, "POST /hook");
    let (id, seconds) = (&hook.fields["webhook-id"], hook.fields["webhook-timestamp"].parse().unwrap());
    let expected = WebhookKey::parse(Receiver::SECRET).unwrap().sign(id, seconds, hook.body.as_bytes());
    assert_eq!(hook.fields["webhook-signature"], expected);
    let body: Value = serde_json::from_str(&hook.body).unwrap();
    assert_eq!(body["type"], "alert.raised");
    assert_eq!(body["data"]["alert"], one.id.to_string());
    assert_eq!(body["data"]["level"], "high");
    assert_eq!(body["data"]["link"], format!("https://localhost:8443/v1/alerts/{}", one.id));
    until(|| place.ledger.has("alert", Verdict::Changed) && place.ledger.has("alert_delivery", Verdict::Changed)).await;
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_delivered_arrives_after_a_restart() {
    let place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let allow = format!("127.0.0.1:{port}");
    let desk = place.desk(vec![("hook", webhook(port, &allow))], None);
    let running = tokio::spawn(Arc::clone(&desk).run());
    let one = alert("user=1");
    desk.raise(one.clone());
    until(|| place.ledger.has("alert_delivery", Verdict::Failed)).await;
    // As if it were killed: nothing is closed.
    running.abort();
    drop(running.await);
    let receiver = Receiver::start_on(port).unwrap();
    receiver.answer(503);
    let desk = place.desk(vec![("hook", webhook(port, &allow))], None);
    let running = tokio::spawn(Arc::clone(&desk).run());
    until(|| receiver.hooks().len() == 2).await;
    receiver.answer(200);
    until(|| place.ledger.has("alert_delivery", Verdict::Changed)).await;
    let hooks = receiver.hooks();
    let ids: std::collections::HashSet<_> = hooks.iter().map(|hook| hook.fields["webhook-id"].clone()).collect();
    assert_eq!((hooks.len(), ids.len()), (3, 1), "the same message each time");
    // It is not told again, and the same events seen again change nothing.
    desk.raise(one);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.hooks().len(), 3);
    running.abort();
}

/// Neither the address nor a name that leads to it, unless it is allowed; and nowhere else than told to.
#[tokio::test]
async fn no_webhook_goes_into_the_deployments_own_network() {
    let receiver = Receiver::start().unwrap();
    let place = Place::new();
    let desk = place.desk(Vec::new(), None);
    let notification = desk.board.lock().test(SystemClock.now());
    let to = |url: String, allow: &str| Webhook {
        url: Url::parse(&url).unwrap(),
        key: WebhookKey::parse(Receiver::SECRET).unwrap(),
        authorization: None,
        ca_pem: None,
        outbound: Arc::new(Fetcher::new([allow.to_owned()])),
    };
    let deliver = async |url: String, allow: &str| to(url, allow).deliver(&notification, SystemClock.now()).await;
    let port = receiver.port();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "[fe80::1]"] {
        let outcome = deliver(format!("https://{host}:{port}/"), "elsewhere.example:443").await;
        assert_eq!(outcome, Err(SinkFailure::Call(FetchError::NotPublic)), "{host}");
    }
    let outcome = deliver(format!("http://127.0.0.1:{port}/"), "elsewhere.example:443").await;
    assert_eq!(outcome, Err(SinkFailure::Call(FetchError::NotEncrypted)));
    assert_eq!(receiver.hooks().len(), 0);
    // A redirect is not followed.
    receiver.answer(302);
    let outcome = deliver(receiver.url(), &receiver.place()).await;
    assert_eq!((outcome, receiver.hooks().len()), (Err(SinkFailure::Status(302)), 1));
}

#[derive(Default)]
struct Post {
    sent: Mutex<Vec<Mail>>,
    is_down: AtomicBool,
}

#[async_trait::async_trait]
impl Mailer for Post {
    async fn send(&self, mail: &Mail) -> Result<(), MailFailure> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(MailFailure::Unavailable);
        }
        self.sent.lock().push(mail.clone());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tenant_is_told_by_its_contacts() {
    let (place, post) = (Place::new(), Arc::new(Post::default()));
    post.is_down.store(true, Ordering::SeqCst);
    let broken = Alert { tells_tenant: true, level: Level::Critical, ..alert("grant=1") };
    let tenant = broken.tenant.unwrap();
    let contacts = move |of| if of == tenant { vec!["dpo@northwind.example".to_owned()] } else { Vec::new() };
    let mailer = Arc::clone(&post) as Arc<dyn Mailer>;
    let tenants = Arc::new(TenantMail { contacts: Arc::new(contacts), mailer: Arc::clone(&mailer) });
    let operators = Arc::new(OperatorMail { to: vec!["ops@example.com".to_owned()], mailer });
    let desk = place.desk(vec![("mail", operators)], Some(tenants));
    let running = tokio::spawn(Arc::clone(&desk).run());
    desk.raise(broken.clone());
    until(|| place.ledger.has("alert_delivery", Verdict::Failed)).await;
    post.is_down.store(false, Ordering::SeqCst);
    until(|| post.sent.lock().len() == 2).await;
    let sent = post.sent.lock().clone();
    let told = sent.iter().find(|mail| mail.to == ["dpo@northwind.example"]).unwrap();
    assert_eq!(told.subject, "[countersign] critical: A revoked token was used");
    assert!(told.text.contains(&broken.id.to_string()) && told.text.contains("grant=1"), "{}", told.text);
    running.abort();
}

#[test]
fn the_file_is_its_owners_and_nobody_elses_deployment() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let desk = place.desk(Vec::new(), None);
    desk.raise(alert("user=1"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(desk.save()));
    let path = place.folder.path().join("monitor/alerts");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = std::fs::read(&path).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("revoked token"));
    let mut damaged = bytes;
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let keep = Keep::open(path.parent().unwrap(), Arc::clone(&place.key), Arc::new(SystemEntropy)).unwrap();
    assert!(matches!(keep.read(), Err(DeskError::Damaged)));
}
