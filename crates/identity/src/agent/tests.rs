use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use countersign_crypto::SystemEntropy;
use countersign_crypto::tls::{ClientCertificates, mutual_server_config};
use countersign_crypto::x509::{CertificateAuthority, CertificateRequest, JoinToken};

use super::*;
use crate::IssueFailure;
use crate::held::{certify, join};

const NOW: UnixMs = UnixMs(1_785_000_000_000);

/// Follows tokio's clock, which stands still but for what sleeps.
struct Paused(tokio::time::Instant);

impl Clock for Paused {
    fn now(&self) -> UnixMs {
        NOW.plus_ms(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

struct Authority {
    certificates: CertificateAuthority,
    clock: Arc<dyn Clock>,
    lifetime_ms: u64,
    id: Mutex<String>,
    is_down: AtomicBool,
    is_silent: AtomicBool,
    is_removed: AtomicBool,
    asked: Mutex<Vec<(u64, String)>>,
    keys: Mutex<Vec<Vec<u8>>>,
    joins: AtomicUsize,
}

impl Authority {
    fn new(lifetime_ms: u64) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(Paused(tokio::time::Instant::now()));
        Self {
            certificates: CertificateAuthority::generate("Countersign example", NOW, 10).unwrap(),
            clock,
            lifetime_ms,
            id: Mutex::new("spiffe://countersign/keys/a".into()),
            is_down: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            is_removed: AtomicBool::new(false),
            asked: Mutex::default(),
            keys: Mutex::default(),
            joins: AtomicUsize::new(0),
        }
    }

    fn token(&self) -> Proof {
        Proof::Token(JoinToken::generate(&SystemEntropy, self.certificates.ca_sha256()))
    }

    async fn held(&self) -> Held {
        join(self, &self.token(), "keys", "127.0.0.1:8471", &*self.clock).await.unwrap()
    }

    fn parts(&self, folder: Option<Folder>) -> AgentParts {
        let entropy = Arc::new(SystemEntropy);
        AgentParts { folder, platform_token: None, clock: Arc::clone(&self.clock), entropy }
    }

    async fn agent(&self) -> Agent {
        Agent::new(self.held().await, self.parts(None)).unwrap()
    }

    fn asked_at(&self) -> Vec<u64> {
        self.asked.lock().iter().map(|(at, _)| *at).collect()
    }

    /// Lets the agent run for this long.
    async fn lets_run(&self, agent: &Agent, ms: u64) {
        let _ = tokio::time::timeout(Duration::from_millis(ms), agent.run(self)).await;
    }
}

#[async_trait]
impl Issuer for Authority {
    async fn issue(&self, ask: Ask<'_>, request: &CertificateRequest) -> Result<Issued, IssueFailure> {
        let now = self.clock.now();
        self.asked.lock().push((now.since(NOW), format!("{ask:?}")));
        if self.is_silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.is_down.load(Ordering::SeqCst) {
            return Err(IssueFailure::Unavailable);
        }
        let is_join = matches!(ask, Ask::Join { .. });
        self.joins.fetch_add(usize::from(is_join), Ordering::SeqCst);
        if self.is_removed.load(Ordering::SeqCst) && !is_join {
            return Err(IssueFailure::Refused);
        }
        self.keys.lock().push(request.as_der().to_vec());
        let id: SpiffeId = self.id.lock().parse().unwrap();
        let issued = self.certificates.issue_workload(request, &id, &[], now, self.lifetime_ms).unwrap();
        let ca_pem = self.certificates.ca_pem().to_owned();
        Ok(Issued { id, chain_der: issued.chain_der, expires: issued.expires, ca_pem })
    }
}

#[tokio::test(start_paused = true)]
async fn certificates_of_ten_seconds_are_renewed_at_half_life_with_a_new_key_each_time() {
    let authority = Authority::new(10_000);
    let agent = authority.agent().await;
    let mut renewals = agent.renewals();
    authority.lets_run(&agent, 60_000).await;
    let asked = authority.asked_at();
    assert!((11..=14).contains(&asked.len()), "{asked:?}");
    for pair in asked.windows(2) {
        assert!((4_000..=5_600).contains(&(pair[1] - pair[0])), "{asked:?}");
    }
    assert!(agent.is_valid());
    assert_eq!(agent.id().to_string(), "spiffe://countersign/keys/a");
    let moment = *renewals.borrow_and_update();
    assert_eq!(moment, Moment { renewals: asked.len() as u64 - 1, expires: agent.expires() });
    let mut keys = authority.keys.lock().clone();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), asked.len());
}

#[tokio::test(start_paused = true)]
async fn an_hour_s_certificate_is_not_asked_for_more_often() {
    let authority = Authority::new(3_300_000);
    let agent = authority.agent().await;
    authority.lets_run(&agent, 6_600_000).await;
    let asked = authority.asked_at();
    assert!((4..=5).contains(&asked.len()), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_away_is_asked_again_in_growing_pauses_until_it_is_back() {
    let authority = Authority::new(10_000);
    let agent = authority.agent().await;
    authority.is_down.store(true, Ordering::SeqCst);
    authority.lets_run(&agent, 9_000).await;
    assert!(agent.is_valid());
    let asked = authority.asked_at();
    assert!((5..=9).contains(&asked.len()), "{asked:?}");
    let pauses: Vec<u64> = asked.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] < 200 && pauses.iter().all(|pause| *pause <= 1300), "{pauses:?}");
    authority.is_down.store(false, Ordering::SeqCst);
    authority.lets_run(&agent, 2_000).await;
    assert!(agent.expires() > NOW.plus_ms(18_000));
    // Also long after the certificate has expired.
    authority.is_down.store(true, Ordering::SeqCst);
    authority.lets_run(&agent, 120_000).await;
    assert!(!agent.is_valid());
    authority.is_down.store(false, Ordering::SeqCst);
    authority.lets_run(&agent, 2_000).await;
    assert!(agent.is_valid());
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_does_not_answer_is_given_up_on() {
    let authority = Authority::new(60_000);
    let agent = authority.agent().await;
    authority.is_silent.store(true, Ordering::SeqCst);
    authority.lets_run(&agent, 59_000).await;
    assert!(authority.asked_at().len() >= 3);
    authority.is_silent.store(false, Ordering::SeqCst);
    authority.lets_run(&agent, 20_000).await;
    assert!(agent.is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumped_is_noticed_within_a_second() {
    struct Jumping(Arc<dyn Clock>, std::sync::atomic::AtomicU64);
    impl Clock for Jumping {
        fn now(&self) -> UnixMs {
            self.0.now().plus_ms(self.1.load(Ordering::SeqCst))
        }
    }
    let authority = Authority::new(3_300_000);
    let clock = Arc::new(Jumping(Arc::clone(&authority.clock), Default::default()));
    let held = authority.held().await;
    let parts = AgentParts { clock: Arc::<Jumping>::clone(&clock), ..authority.parts(None) };
    let agent = Agent::new(held, parts).unwrap();
    authority.lets_run(&agent, 10_000).await;
    assert_eq!(authority.asked_at().len(), 1);
    clock.1.store(2_000_000, Ordering::SeqCst);
    authority.lets_run(&agent, 1_100).await;
    assert!(authority.asked_at().len() > 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_renewed_is_kept_and_is_shown_to_new_connections() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity");
    let folder = || Folder::open(&path, Arc::new(SystemEntropy)).unwrap();
    let authority = Authority::new(10_000);
    let agent = Agent::new(authority.held().await, authority.parts(Some(folder()))).unwrap();
    let first = std::fs::read_to_string(path.join("identity.pem")).unwrap();
    let slot = agent.slot();
    let server =
        mutual_server_config(&slot, &agent.known().ca_pem, &authority.clock, ClientCertificates::Required, |_| true);
    assert!(server.is_ok());
    authority.lets_run(&agent, 6_000).await;
    let second = std::fs::read_to_string(path.join("identity.pem")).unwrap();
    assert_ne!(first, second);
    let kept = folder().load().unwrap().unwrap();
    assert_eq!((kept.id(), kept.expires()), (agent.id(), agent.expires()));
    assert_eq!(kept.known().authority, "127.0.0.1:8471");
    // From disk it is not known since when it is held; it is renewed soon then.
    let again = Agent::new(kept, authority.parts(Some(folder()))).unwrap();
    let before = authority.asked_at().len();
    authority.lets_run(&again, 100).await;
    assert_eq!(authority.asked_at().len(), before + 1);
    // A folder that can't be written to any more doesn't end the service.
    std::fs::remove_dir_all(&path).unwrap();
    authority.lets_run(&again, 20_000).await;
    assert!(again.is_valid());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_not_the_one_asked_for_is_not_taken() {
    let authority = Authority::new(10_000);
    let agent = authority.agent().await;
    for other in ["spiffe://countersign/keys/b", "spiffe://countersign/store/a", "spiffe://elsewhere/keys/a"] {
        *authority.id.lock() = other.into();
        assert_eq!(agent.renew(&authority).await, Err(NotIssued::Wrong), "{other}");
    }
    *authority.id.lock() = "spiffe://countersign/keys/a".into();
    assert!(agent.renew(&authority).await.is_ok());
    // Of another certificate authority.
    let stranger = Authority::new(10_000);
    assert_eq!(agent.renew(&stranger).await, Err(NotIssued::Wrong));
    let refused = join(&stranger, &authority.token(), "keys", "x", &*authority.clock).await;
    assert_eq!(refused.err(), Some(NotIssued::Wrong));
    // For another role.
    let refused = join(&authority, &authority.token(), "gateway", "x", &*authority.clock).await;
    assert_eq!(refused.err(), Some(NotIssued::Wrong));
    // Expired on arrival.
    let late = Paused(tokio::time::Instant::now() - Duration::from_secs(20));
    let refused = join(&authority, &authority.token(), "keys", "x", &late).await;
    assert_eq!(refused.err(), Some(NotIssued::Wrong));
}

#[tokio::test(start_paused = true)]
async fn the_authority_s_own_needs_no_proof() {
    let authority = Authority::new(10_000);
    *authority.id.lock() = "spiffe://countersign/authority/a".into();
    let held = certify(&authority, "127.0.0.1:8471", &*authority.clock).await.unwrap();
    assert_eq!(held.id().role(), "authority");
    let agent = Agent::new(held, authority.parts(None)).unwrap();
    authority.lets_run(&agent, 20_000).await;
    assert!(agent.is_valid());
}

#[tokio::test(start_paused = true)]
async fn with_a_platform_s_token_a_service_joins_again_once_its_certificate_is_gone_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "a.b.c\n").unwrap();
    let authority = Authority::new(10_000);
    let held = join(&authority, &Proof::Platform(Zeroizing::new("a.b.c".into())), "keys", "x", &*authority.clock).await;
    let parts = AgentParts { platform_token: Some(token.clone()), ..authority.parts(None) };
    let agent = Agent::new(held.unwrap(), parts).unwrap();
    authority.is_removed.store(true, Ordering::SeqCst);
    authority.lets_run(&agent, 9_500).await;
    assert_eq!(authority.joins.load(Ordering::SeqCst), 1);
    authority.lets_run(&agent, 3_000).await;
    assert_eq!(authority.joins.load(Ordering::SeqCst), 2);
    assert!(agent.is_valid());
    assert!(authority.asked.lock().iter().all(|(_, ask)| !ask.contains("a.b.c")));
    // A platform that speaks of somebody else now is asked once, not for ever.
    *authority.id.lock() = "spiffe://countersign/keys/b".into();
    authority.lets_run(&agent, 120_000).await;
    assert_eq!(authority.joins.load(Ordering::SeqCst), 3);
    assert!(!agent.is_valid());
}

#[tokio::test(start_paused = true)]
async fn an_agent_shows_no_key() {
    let authority = Authority::new(10_000);
    let agent = authority.agent().await;
    let shown = format!("{agent:?} {:?} {:?}", authority.held().await, authority.token());
    assert!(shown.starts_with("Agent { id: spiffe://countersign/keys/a"), "{shown}");
    assert!(!shown.contains("csj1") && !shown.contains("BEGIN"), "{shown}");
}
