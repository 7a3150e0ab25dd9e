//! All services in one process: they call each other as functions.

use std::sync::Arc;
use std::time::Duration;

use countersign_audit::{AuditKeys, AuditSink, Ledger};
use countersign_authority::custodian::Custodian;
use countersign_authority::keeper::KeyKeeper;
use countersign_authority::people::fetch::Fetcher;
use countersign_authority::{Authority, AuthorityParts, LocalFront, Registry, Signing};
use countersign_door_http::{App, AppParts, Router};
use countersign_engine::Engine;
use countersign_guard::{FactsCell, Guard};
use countersign_model::Service;
use countersign_services::{
    KeyRelease, KeyService, KeyServiceParts, LedgerTrail, Log, LogName, Records, Report, StoreService, Trail,
};
use countersign_token::Verifier;

use super::custody::{self, Custody};
use super::key_life::{self, KeyLife};
use super::logs::FIRST;
use super::measure::{Known, report};
use super::monitor::{Monitor, Parts as MonitorParts};
use super::side::Moving;
use super::{Base, Door, Opened, breach, cant, kms, limits, measure, monitor, past, reconcile, relay};
use crate::problem::Problem;

/// How often checkpoints are taken to the other services. All of them are on the same disk, so a cosignature says little
/// that the log's own signature doesn't, and costs a write to disk; witnesses elsewhere fetch checkpoints themselves.
const RELAY_EVERY: Duration = Duration::from_secs(5);

/// One service.
struct Seat {
    service: Service,
    guard: Arc<Guard>,
    ledger: Arc<Ledger>,
    audit: Arc<dyn AuditSink>,
    log: Arc<dyn Log>,
    report: Arc<dyn Report>,
}

impl Seat {
    fn open(
        base: &Base,
        service: Service,
        registry: &Arc<Registry>,
        verifier: &Arc<Verifier>,
        facts: &Arc<FactsCell>,
    ) -> Result<Self, Problem> {
        let keys = Arc::clone(registry) as Arc<dyn AuditKeys>;
        let ledger = base.ledger((service, FIRST), keys, |label| registry.note_key(label, service))?;
        let audit = base.sink(&ledger);
        let guard = base.guard(service, verifier, facts, &audit);
        let log = super::logs::log_of(&ledger);
        let keys = (service == Service::Keys).then(|| registry.tenant_keys());
        let report = report(base, Known { service, facts, ledger: &ledger, certificate: None, keys });
        Ok(Self { service, guard, ledger, audit, log, report })
    }

    fn trail(&self) -> Arc<dyn Trail> {
        Arc::new(LedgerTrail::new(Arc::clone(&self.guard), Arc::clone(&self.ledger)))
    }

    fn name(&self) -> String {
        self.service.to_string()
    }
}

pub(super) async fn open(base: Base, serves: bool) -> Result<Opened, Problem> {
    let registry = base.only_registry(serves).await?;
    let tokens = &base.config.tokens;
    let signing = Signing::open(&registry, tokens.issuer.clone(), tokens.audience.clone(), tokens.cache.size());
    let signing = signing.await.map_err(|error| cant("the signing keys", &error))?;
    let (verifier, facts) = (signing.verifier(), registry.facts());
    let seat = |service: Service| Seat::open(&base, service, &registry, &verifier, &facts);
    let (gateway, keys, store) = (seat(Service::Gateway)?, seat(Service::Keys)?, seat(Service::Store)?);
    let control = seat(Service::Authority)?;
    let watches = base.config.services.run.has(Service::Monitor);
    let watching = watches.then(|| seat(Service::Monitor)).transpose()?;
    let seats = || [&gateway, &keys, &store, &control].into_iter().chain(&watching);
    let trails: Vec<_> = seats().map(|seat| (seat.name(), seat.trail())).collect();
    let log_name = |seat: &Seat| LogName(format!("{}/{FIRST}", seat.service));
    let logs: Vec<(LogName, Arc<dyn Log>)> = seats().map(|seat| (log_name(seat), Arc::clone(&seat.log))).collect();
    let reports: Vec<_> = seats().map(|seat| (seat.name(), Arc::clone(&seat.report))).collect();
    let ledgers: Vec<Arc<Ledger>> = seats().map(|seat| Arc::clone(&seat.ledger)).collect();

    let (clock, entropy) = (&base.clock, &base.entropy);
    let moving = Moving::of(base.stored()?);
    let records_store = moving.store();
    let budgets = base.budgets()?;
    let key_service: Arc<dyn KeyRelease> = Arc::new(KeyService::new(KeyServiceParts {
        guard: Arc::clone(&keys.guard),
        keys: registry.tenant_keys(),
        budgets,
        entropy: Arc::clone(entropy),
    }));
    let records = StoreService::new(Arc::clone(&store.guard), Arc::clone(&records_store), Arc::clone(&key_service));
    let records: Arc<dyn Records> = Arc::new(records);
    let engine = Engine::new(
        Arc::clone(&key_service),
        Arc::clone(&records),
        Arc::clone(clock),
        Arc::clone(entropy),
        limits::engine_limits(&base.config),
    );
    let monitor = match &watching {
        Some(seat) => Some(Monitor::open(MonitorParts {
            base: &base,
            guard: Arc::clone(&seat.guard),
            audit: Arc::clone(&seat.audit),
            key: registry.audit_key(None).map_err(|error| cant("the monitor's key", &error))?,
            facts: Arc::clone(&facts),
            statuses: Arc::new(reports.clone()),
            contacts: Some(Arc::new({
                let registry = Arc::clone(&registry);
                move |tenant| registry.emails_of(tenant)
            })),
        })?),
        None => None,
    };
    let authority = Authority::open(AuthorityParts {
        registry: Arc::clone(&registry),
        store: Some(records_store),
        keys: Arc::clone(&key_service),
        records,
        audit: Arc::clone(&control.audit),
        trails: Arc::new(trails),
        signing,
        login_lifetime_ms: base.config.tokens.lifetime_ms.number(),
    });
    let authority = authority.await.map_err(|error| cant("the authority", &error))?;
    let authority = match &base.remembered {
        Some(remembered) => authority.remembering(Arc::clone(remembered)),
        None => authority,
    };
    let authority = authority.calling(Arc::new(Fetcher::new(base.config.sso.allow.0.clone())));
    let rules = breach::rules(&base, super::alerts::mailer(&base.config)?)?;
    let authority = authority.with_logs(Arc::new(logs.clone())).with_breach_rules(rules);
    let authority = authority.expecting_witnesses(base.config.audit.witnesses.0.clone());
    let authority = match &monitor {
        Some(monitor) => authority.watched_by(monitor.watch()),
        None => authority,
    };
    let custody = Custody::open(custody::Parts {
        deployment: base.deployment.clone(),
        config: base.config.clone(),
        kms: base.kms.clone(),
        registry: Arc::clone(&registry),
        stored: moving.stored.clone(),
        ledgers: ledgers.clone(),
        audit: Arc::clone(&control.audit),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        served: base.watching.served(),
    });
    let key_life = KeyLife::new(key_life::Parts {
        registry: Arc::clone(&registry),
        moving: moving.clone(),
        audit: Arc::clone(&control.audit),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        rows_per_second: u32::try_from(base.config.keys.reseal_per_second.number()).unwrap_or(u32::MAX),
        served: base.watching.served(),
    });
    let authority = authority.resealing_by(Arc::clone(&key_life) as Arc<dyn KeyKeeper>);
    // Repositories get their receipts when it serves.
    authority.finish_erasures().await;
    let authority = Arc::new(authority.kept_by(Arc::clone(&custody) as Arc<dyn Custodian>));
    let app = App::new(AppParts {
        guard: Arc::clone(&gateway.guard),
        verifier,
        engine: Arc::new(engine),
        keys: key_service,
        front: Arc::new(LocalFront::new(Arc::clone(&authority), Arc::clone(&control.guard))),
        names: base.config.server.names.0.clone(),
        key_capacity: base.config.keys.cache.size(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
    });
    let router = Router::new(Arc::new(app), limits::door_limits(&base.config));
    let (mut tasks, mut measures) = (Vec::new(), None);
    if serves {
        tasks.extend(kms::look_after(&registry.tenant_keys(), &base.deployment));
        let (here, audit) = (ledgers.clone(), Arc::clone(&control.audit));
        let parts = reconcile::Parts { here, fellows: None, audit, clock: Arc::clone(clock) };
        tasks.push(tokio::spawn(reconcile::run(parts)));
        tasks.extend(key_life.start());
        tasks.push(custody.start());
        tasks.push(tokio::spawn(Arc::clone(&authority).look_after_erasures()));
        tasks.push(past::look_after(moving.store(), Arc::clone(&facts), Arc::clone(clock)));
        tasks.push(super::access_ends(&authority));
        tasks.push(breach::reminders(&authority));
        tasks.extend(measure::export(&base, reports)?);
        let (audit, clock, entropy) = (Arc::clone(&control.audit), Arc::clone(clock), Arc::clone(entropy));
        let relaying = relay::Parts { logs: Arc::new(logs), audit, clock, entropy, every: RELAY_EVERY };
        tasks.push(tokio::spawn(relay::run(relaying)));
        if let Some(monitor) = monitor {
            if measure::listen(&base.config)?.is_some() {
                let (slot, renewing) = monitor::certificate(&base, &registry)?;
                tasks.push(renewing);
                if let Some((address, serving)) = monitor.port(&base, &slot)? {
                    measures = Some(address);
                    tasks.push(serving);
                }
            }
            let named = seats().map(|seat| (seat.name(), Arc::clone(&seat.ledger)));
            tasks.extend(monitor.start(named.collect(), None));
        }
    }
    let door = Some(Door { router });
    let (wires, slots) = (Vec::new(), Vec::new());
    let moving = serves.then(|| (moving, authority.remembered()));
    Ok(Opened {
        budgets: base.opened_budgets.get().cloned(),
        config: base.config,
        registry: Some(registry),
        door,
        wires,
        ledgers,
        slots,
        tasks,
        measures,
        moving,
        custody: Some(custody),
    })
}
