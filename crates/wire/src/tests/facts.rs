//! Facts pushed to those who follow.

use countersign_crypto::jws::{PublicJwk, SigningKey, VerifyingKeys};
use countersign_crypto::tls::Peer;
use countersign_facts::{Deployment as Named, Follower, FollowerParts, Publisher, Snapshot, Sources, nothing_known};
use countersign_guard::FactsCell;
use countersign_model::facts::Facts;
use countersign_token::Verifier;
use tokio::time::Instant;

use super::*;
use crate::FactsStream;
use crate::server::FactsFeed;

/// Who follows, and where they are reached.
type Followers = Arc<Mutex<Vec<(String, Option<String>)>>>;

struct Feed {
    publisher: Publisher,
    keys: Mutex<Vec<PublicJwk>>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    following: Followers,
}

struct Follows(Followers, String);

impl Drop for Follows {
    fn drop(&mut self) {
        self.0.lock().retain(|(id, _)| *id != self.1);
    }
}

impl FactsFeed for Feed {
    fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.subscribe()
    }

    fn keys(&self) -> Vec<PublicJwk> {
        self.keys.lock().clone()
    }

    fn follows(&self, peer: &Peer, address: Option<&str>) -> Box<dyn Send + Sync> {
        let id = peer.id.to_string();
        self.following.lock().push((id.clone(), address.map(str::to_owned)));
        Box::new(Follows(Arc::clone(&self.following), id))
    }
}

fn named() -> Named {
    Named { issuer: "https://issuer".into(), trust_domain: "test".into() }
}

fn sources(epoch: u64, token_key: &PublicJwk) -> Sources {
    let facts = Arc::new(Facts { epoch, policy_epoch: 1, ..Facts::default() });
    Sources {
        facts,
        token_keys: vec![token_key.clone()],
        directory: Arc::default(),
        wrapped: Arc::default(),
        contacts: Arc::default(),
    }
}

impl Feed {
    fn new(clock: &Arc<dyn Clock>) -> (Arc<Self>, PublicJwk) {
        let key = Arc::new(SigningKey::generate(&SystemEntropy).unwrap());
        let public = key.public_jwk().clone();
        let publisher = Publisher::new(named(), key, Arc::clone(clock));
        let first = publisher.publish(&sources(1, &public)).unwrap();
        let feed = Self {
            publisher,
            keys: Mutex::new(vec![public.clone()]),
            snapshots: watch::channel(first).0,
            following: Arc::default(),
        };
        (Arc::new(feed), public)
    }

    fn publish(&self, epoch: u64, key: &PublicJwk) {
        self.snapshots.send_replace(self.publisher.publish(&sources(epoch, key)).unwrap());
    }
}

async fn until(what: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("in time");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_arrive_at_once_and_again_after_the_authority_was_away() {
    let deployment = Deployment::new();
    let (feed, public) = Feed::new(&deployment.clock);
    let parts = || Parts { facts: Some(Arc::clone(&feed) as _), ..Parts::default() };
    let served = deployment.serve("authority", parts()).await;
    let address = served.address.clone();

    let cell = Arc::new(FactsCell::following(nothing_known().unwrap(), 30_000));
    let verifier = Arc::new(Verifier::new("https://issuer", "https://issuer", VerifyingKeys::new(vec![]).unwrap(), 10));
    let follower = Arc::new(Follower::new(FollowerParts {
        deployment: named(),
        service: Service::Store,
        // It learns them over the connection, which says that it is the authority's.
        keys: Vec::new(),
        facts: Arc::clone(&cell),
        verifier,
        clock: Arc::clone(&deployment.clock),
        prepare: None,
    }));
    let slot = deployment.slot("store");
    let settings = ChannelSettings { backoff_max: Duration::from_millis(100), ..ChannelSettings::default() };
    let channel = deployment.channel_with(&slot, "authority", &address, settings);
    let stream = FactsStream::new(channel, Arc::clone(&follower), Some("10.0.0.1:9000".into()));
    let applied = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&applied);
    let following = tokio::spawn(async move {
        stream
            .run(|_| {
                counting.fetch_add(1, Ordering::SeqCst);
            })
            .await;
    });

    let epoch = || cell.load().facts.epoch;
    until(|| epoch() == 1).await;
    let known = ("spiffe://test/store/a".to_owned(), Some("10.0.0.1:9000".to_owned()));
    assert_eq!(*feed.following.lock(), [known]);
    for next in 2..20 {
        feed.publish(next, &public);
        let took = until(|| epoch() == next).await;
        assert!(took < Duration::from_millis(900), "{took:?}");
    }
    // Signed anew: heard, and nothing changed.
    let before = applied.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(5)).await;
    feed.snapshots.send_replace(feed.publisher.renew().unwrap());
    until(|| applied.load(Ordering::SeqCst) > before).await;

    served.stop().await;
    until(|| feed.following.lock().is_empty()).await;
    feed.publish(20, &public);
    let _served = deployment.serve_with("authority", parts(), Settings::default(), &address).await;
    until(|| epoch() == 20).await;
    following.abort();
    until(|| feed.following.lock().is_empty()).await;
}

#[tokio::test]
async fn facts_with_another_signature_are_not_taken() {
    let deployment = Deployment::new();
    let (feed, _) = Feed::new(&deployment.clock);
    let other = SigningKey::generate(&SystemEntropy).unwrap();
    *feed.keys.lock() = vec![other.public_jwk().clone()];
    let served = deployment.serve("authority", Parts { facts: Some(feed), ..Parts::default() }).await;
    let cell = Arc::new(FactsCell::following(nothing_known().unwrap(), 30_000));
    let verifier = Arc::new(Verifier::new("https://issuer", "https://issuer", VerifyingKeys::new(vec![]).unwrap(), 10));
    let follower = Arc::new(Follower::new(FollowerParts {
        deployment: named(),
        service: Service::Keys,
        keys: Vec::new(),
        facts: Arc::clone(&cell),
        verifier,
        clock: Arc::clone(&deployment.clock),
        prepare: None,
    }));
    let channel = deployment.channel("keys", "authority", &served.address);
    let stream = FactsStream::new(channel, follower, None);
    let _ = tokio::time::timeout(Duration::from_millis(500), stream.run(|_| panic!("taken"))).await;
    assert_eq!(cell.load().facts.epoch, 0);
}
