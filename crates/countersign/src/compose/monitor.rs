//! The monitor: in one process with all services, or a service of its own. It follows every ledger and every service's
//! word of itself, and sees no record and no key but its own.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use countersign_audit::{AuditSink, Ledger, Position};
use countersign_authority::Registry;
use countersign_crypto::SealKey;
use countersign_crypto::tls::{CertificateSlot, server_config};
use countersign_guard::{FactsCell, Guard};
use countersign_model::{Clock, Service};
use countersign_monitor::desk::{Desk, WatchService, WatchServiceParts};
use countersign_monitor::detect::run::{NEWS_MAX, News, ask, follow, run};
use countersign_monitor::detect::{Detector, DetectorParts, Keep};
use countersign_monitor::measure::Collector;
use countersign_monitor::sigma::RuleSet;
use countersign_services::{Statuses, Watch};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::fellows::Fellows;
use super::following::{Following, Start};
use super::{Base, alerts, cant, measure};
use crate::problem::{Exit, Problem};

/// A ledger that was never followed is followed from this long ago.
const FIRST_MS: u64 = 60_000;

/// How often services that came or went are looked for.
const LOOK: Duration = Duration::from_millis(500);

/// What a monitor is made of.
pub(super) struct Parts<'a> {
    pub(super) base: &'a Base,
    /// Its own guard, ledger and key.
    pub(super) guard: Arc<Guard>,
    pub(super) audit: Arc<dyn AuditSink>,
    pub(super) key: Arc<SealKey>,
    pub(super) facts: Arc<FactsCell>,
    /// How all services of the deployment are.
    pub(super) statuses: Arc<dyn Statuses>,
    /// E-mail addresses of tenants, where they are known.
    pub(super) contacts: Option<alerts::ContactsOf>,
}

/// A monitor that does not watch yet.
pub(super) struct Monitor {
    desk: Arc<Desk>,
    watch: Arc<dyn Watch>,
    guard: Arc<Guard>,
    detector: Detector,
    keep: Arc<Keep>,
    statuses: Arc<dyn Statuses>,
    collector: Collector,
    clock: Arc<dyn Clock>,
}

impl Monitor {
    /// With what it knew before.
    pub(super) fn open(parts: Parts<'_>) -> Result<Self, Problem> {
        let Parts { base, guard, audit, key, facts, statuses, contacts } = parts;
        let folder = base.deployment.data().join(Service::Monitor.as_str());
        let desk = Desk::open(&folder, alerts::desk(base, audit, Arc::clone(&key), contacts)?);
        let desk = desk.map_err(|error| cant("the monitor's alerts", &error))?;
        let own_rules = base.deployment.dir().join("rules");
        let rules = RuleSet::load(Some(&own_rules)).map_err(|error| Problem::usage(error.to_string()))?;
        let keep = Keep::open(&folder, key, Arc::clone(&base.entropy));
        let keep = Arc::new(keep.map_err(|error| cant("what the monitor knew", &error))?);
        let parts = || DetectorParts {
            rules: Arc::new(rules),
            raise: Arc::clone(&desk) as _,
            facts,
            learning_ms: base.config.monitor.learning_hours.number().saturating_mul(3_600_000),
        };
        let detector = match keep.read().map_err(|error| cant("what the monitor knew", &error))? {
            Some(stored) => {
                Detector::restored(&stored, parts()).map_err(|error| cant("what the monitor knew", &error))?
            }
            None => Detector::new(parts()),
        };
        let collector = measure::collector(base, Arc::clone(&statuses));
        let metrics = Arc::new(collector.clone());
        let service = WatchServiceParts { guard: Arc::clone(&guard), desk: Arc::clone(&desk), metrics };
        let (watch, clock) = (Arc::new(WatchService::new(service)), Arc::clone(&base.clock));
        Ok(Self { desk, watch, guard, detector, keep, statuses, collector, clock })
    }

    /// What answers requests about alerts and measures.
    pub(super) fn watch(&self) -> Arc<dyn Watch> {
        Arc::clone(&self.watch)
    }

    /// Where measures are shown, if anywhere: at the configured address, with this certificate.
    pub(super) fn port(
        &self,
        base: &Base,
        slot: &Arc<CertificateSlot>,
    ) -> Result<Option<(SocketAddr, JoinHandle<()>)>, Problem> {
        let Some(wanted) = measure::listen(&base.config)? else { return Ok(None) };
        let taken = |error: std::io::Error| {
            Problem::new(Exit::Unavailable, format!("can't listen on {wanted} for measures: {error}"))
                .next("set [monitor] listen to another address, or to \"\" for none")
        };
        let listener = TcpListener::bind(wanted).map_err(taken)?;
        listener.set_nonblocking(true).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(taken)?;
        let tls = server_config(slot).map_err(|error| Problem::failed(error.to_string()))?;
        let pages = measure::pages(base, self.collector.clone(), &self.guard);
        let served = countersign_monitor::http::serve(listener, tls, pages, std::future::pending());
        Ok(Some((address, tokio::spawn(served))))
    }

    /// Watches these ledgers of this process and those elsewhere, for as long as the tasks run.
    pub(super) fn start(self, here: Vec<(String, Arc<Ledger>)>, fellows: Option<Arc<Fellows>>) -> Vec<JoinHandle<()>> {
        let Self { desk, detector, keep, statuses, clock, .. } = self;
        let (news, received) = mpsc::channel(NEWS_MAX);
        let places = detector.places();
        let mut tasks = vec![tokio::spawn(desk.run())];
        tasks.push(tokio::spawn(run(detector, Some(keep), received, Arc::clone(&clock))));
        for (name, ledger) in here {
            let after = places.get(&name).copied();
            tasks.push(tokio::spawn(follow(ledger, name, after, news.clone(), Arc::clone(&clock))));
        }
        if let Some(fellows) = fellows {
            tasks.push(tokio::spawn(follow_elsewhere(fellows, places, news.clone(), Arc::clone(&clock))));
        }
        tasks.push(tokio::spawn(ask(statuses, news, clock)));
        tasks
    }
}

/// How often is looked whether a certificate is to be renewed.
const RENEW_LOOK: Duration = Duration::from_secs(30);

/// A certificate for the port of measures in a process that is all services, and what renews it.
pub(super) fn certificate(
    base: &Base,
    registry: &Arc<Registry>,
) -> Result<(Arc<CertificateSlot>, JoinHandle<()>), Problem> {
    let names = base.config.monitor.names.0.clone();
    let lifetime_ms = base.config.server.certificate_hours.number().saturating_mul(3_600_000);
    let failed = |error: &dyn std::fmt::Display| {
        Problem::usage(format!("the certificate for measures: {error}")).next("see [monitor] names")
    };
    let first = registry.server_certificate(&names, lifetime_ms).map_err(|error| failed(&error))?;
    let slot = CertificateSlot::new(&first).map_err(|error| failed(&error))?;
    let (registry, renewed, clock) = (Arc::clone(registry), Arc::clone(&slot), Arc::clone(&base.clock));
    let mut expires = first.expires;
    let renewing = tokio::spawn(async move {
        loop {
            tokio::time::sleep(RENEW_LOOK).await;
            if expires.since(clock.now()) > lifetime_ms / 2 {
                continue;
            }
            let next = registry.server_certificate(&names, lifetime_ms).map_err(|error| error.to_string());
            let replaced =
                next.and_then(|next| renewed.replace(&next).map(|()| next.expires).map_err(|error| error.to_string()));
            match replaced {
                Ok(end) => expires = end,
                Err(error) => tracing::error!(%error, "the certificate for measures could not be reissued"),
            }
        }
    });
    Ok((slot, renewing))
}

/// Follows the ledgers of services elsewhere, as they come and go.
async fn follow_elsewhere(
    fellows: Arc<Fellows>,
    places: HashMap<String, Position>,
    detector: mpsc::Sender<News>,
    clock: Arc<dyn Clock>,
) {
    let first = clock.now().minus_ms(FIRST_MS);
    let start = move |name: &str| places.get(name).map_or(Start::Since(first), |place| Start::After(*place));
    let (mut following, mut news) = Following::new(start);
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            Some(one) = news.recv() => {
                if one.entries.is_empty() {
                    continue;
                }
                let ledger = one.name.to_string();
                let entries = News::Entries { ledger, service: one.service, entries: one.entries };
                if detector.send(entries).await.is_err() {
                    return;
                }
            }
            _ = looks.tick() => following.elsewhere(&fellows),
        }
    }
}
