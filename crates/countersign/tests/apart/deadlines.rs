//! How long a caller waits goes along with the request: nobody behind the gateway works for longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use countersign::client::Client;
use countersign::compose::Sinks;
use countersign::transport::Ask;
use countersign_audit::{AuditError, AuditSink, Position, Record, Verdict};
use countersign_model::Service;
use countersign_token::Unverified;
use http::Method;
use parking_lot::Mutex;

use crate::world::{Setup, World, request_of, soon, token, transport_of};

/// How long requests may take at the gateway that is in a hurry.
const PATIENCE_MS: u64 = 300;

/// Services that get stuck over what they have to record.
#[derive(Default)]
struct Stall {
    /// Who does, from now on.
    who: Mutex<Option<Service>>,
    /// How often somebody got stuck.
    stuck: AtomicU64,
    /// How often that ended, without having come to an end.
    dropped: AtomicU64,
}

impl Stall {
    fn sinks(self: &Arc<Self>) -> Sinks {
        let stall = Arc::clone(self);
        Arc::new(move |service, ledger| Arc::new(Stalling { service, ledger, stall: Arc::clone(&stall) }))
    }

    fn counts(&self) -> (u64, u64) {
        (self.stuck.load(Ordering::SeqCst), self.dropped.load(Ordering::SeqCst))
    }
}

struct Stalling {
    service: Service,
    ledger: Arc<dyn AuditSink>,
    stall: Arc<Stall>,
}

impl Stalling {
    /// Never comes back if it is this service's turn.
    async fn pass(&self, record: &Record) {
        let is_it = record.verdict == Verdict::Released && *self.stall.who.lock() == Some(self.service);
        if !is_it {
            return;
        }
        struct Dropped<'a>(&'a Stall);
        impl Drop for Dropped<'_> {
            fn drop(&mut self) {
                self.0.dropped.fetch_add(1, Ordering::SeqCst);
            }
        }
        let _dropped = Dropped(&self.stall);
        self.stall.stuck.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl AuditSink for Stalling {
    async fn append(&self, record: Record) -> Result<Position, AuditError> {
        self.pass(&record).await;
        self.ledger.append(record).await
    }

    async fn note(&self, record: Record) -> Result<(), AuditError> {
        self.pass(&record).await;
        self.ledger.note(record).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_works_for_longer_than_the_caller_waits() -> Result<()> {
    let stall = Arc::new(Stall::default());
    let world = World::begin(Setup { sinks: Some(stall.sinks()), ..Setup::default() }).await?;
    let hurried = world.hurried_gateway(PATIENCE_MS).await?;
    let nancy = world.login("nancy@northwind").await?;
    let tenant = Unverified::read(token(&nancy))?.tenant;
    let nancy = Client::new(transport_of(&hurried), nancy.token().cloned());
    let read = || nancy.exchange(Ask::new(Method::GET, "/rest/v1/customer?select=id,company&limit=3"));
    // Connections are made with the first requests.
    let mut warm = false;
    for _ in 0..50 {
        warm = read().await?.status.is_success();
        if warm {
            break;
        }
    }
    assert!(warm, "nothing is read within {PATIENCE_MS} ms, without anybody stuck");
    // The store gets stuck by itself, or in a call of its own to a key service that does.
    for (turn, who) in (1u64..).zip([Service::Store, Service::Keys]) {
        let (mut reply, mut took) = (None, Duration::ZERO);
        for _ in 0..10 {
            *stall.who.lock() = Some(who);
            let asked = Instant::now();
            let answered = read().await?;
            took = asked.elapsed();
            *stall.who.lock() = None;
            // On a busy machine a request may not get as far as to whoever would be stuck: it says nothing then.
            let is_stuck = stall.counts().0 == turn;
            reply = Some(answered);
            if is_stuck {
                break;
            }
        }
        let reply = reply.context("nothing was asked")?;
        assert_eq!(reply.status.as_u16(), 504, "{who}: {}", String::from_utf8_lossy(&reply.body));
        assert!(String::from_utf8_lossy(&reply.body).contains("57014"), "{who}");
        let patience = Duration::from_millis(PATIENCE_MS);
        assert!(took >= patience && took < patience * 3, "{who}: {took:?}");
        assert_eq!(stall.counts().0, turn, "{who} got stuck");
        let dropped = soon(Duration::from_millis(500), || (stall.counts().1 == turn).then_some(())).await;
        assert!(dropped.is_some(), "{who} goes on for nobody");
        let request = request_of(&reply)?;
        let failed = || hurried.records(&[tenant], request).into_iter().find(|one| one.verdict == Verdict::Failed);
        let failed = soon(Duration::from_secs(1), failed).await;
        assert!(failed.is_some(), "{who}: that it failed is on record");
        eprintln!("{who} stuck: answered 504 after {} ms of {PATIENCE_MS} ms", took.as_millis());
    }
    assert!(read().await?.status.is_success(), "and all is as before");
    hurried.stop().await;
    Ok(())
}
