//! The authority with whichever other services are in its process.

use std::sync::Arc;
use std::time::Duration;

use countersign_audit::AuditKeys;
use countersign_authority::{Authority, LocalFront, Present, Registry, Snapshots};
use countersign_crypto::tls::ClientCertificates;
use countersign_facts::ServiceEntry;
use countersign_identity::{Agent, AgentParts, certify};
use countersign_model::Service;
use countersign_services::{Front, Logs, Statuses, Trail, Trails};
use countersign_wire::{Parts, RemoteWatch};

use super::{Apart, authority, ledger_of, signing};
use crate::compose::feed::Feed;
use crate::compose::fellows::Fellows;
use crate::compose::issue::{Inside, Kept, Outside};
use crate::compose::monitor::{Monitor, Parts as MonitorParts};
use crate::compose::seat::{Seat, SeatParts};
use crate::compose::{Base, Opened, cant, kms, measure, reconcile, relay};
use crate::compose::{access_ends, alerts, breach};
use crate::problem::Problem;

impl Apart {
    /// The authority, and whichever other services are in its process: certified by it, and deciding by its facts.
    pub(super) async fn with_authority(mut self) -> Result<Opened, Problem> {
        let base = &self.base;
        let registry = base.only_registry(true).await?;
        self.is_it = Some(Arc::new({
            let registry = Arc::clone(&registry);
            move || registry.is_held()
        }));
        let base = &self.base;
        let signing = signing(base, &registry).await?;
        let (verifier, facts) = (signing.verifier(), registry.facts());
        let snapshots = Snapshots::open(Arc::clone(&registry), base.config.tokens.issuer.clone());
        let snapshots = snapshots.await.map_err(|error| cant("the snapshots of the facts", &error))?;
        let ledger = ledger_of(base, &registry, Service::Authority)?;
        let audit = base.sink(&ledger);
        let no_trails: Vec<(String, Arc<dyn Trail>)> = Vec::new();
        // Tables of records are the authority's to make, wherever the store is.
        let has_store = base.config.services.run.has(Service::Store) || base.database.is_some();
        let store = has_store.then(|| base.store()).transpose()?;
        let authority = authority(base, &registry, signing, &audit, Arc::new(no_trails), store.clone()).await?;
        let bound = self.listener(0)?;
        let address = self.advertised(bound.1, 0);
        let mut seats = Vec::new();
        for service in base.config.services.run.iter() {
            let agent = inside(base, &authority, service, &address).await?;
            let ledger = match service {
                Service::Authority => Arc::clone(&ledger),
                _ => ledger_of(base, &registry, service)?,
            };
            let (facts, verifier) = (Arc::clone(&facts), Arc::clone(&verifier));
            let directory = snapshots.directory();
            let tenant_keys = (service == Service::Keys).then(|| registry.tenant_keys());
            let parts = SeatParts { service, agent, directory, facts, verifier, ledger, learned: None, tenant_keys };
            seats.push(Seat::new(base, parts));
        }
        self.tasks.extend(kms::look_after(&registry.tenant_keys(), &self.base.deployment));
        let own = seats.iter().position(|seat| seat.service == Service::Authority);
        let Some(own) = own.map(|own| seats.remove(own)) else { return Err(Problem::usage("no authority to be")) };
        let mut here = self.here(&seats, Some(&registry.tenant_keys()), store.as_ref())?;
        self.look_after_past(&seats, store.as_ref());
        let all = || std::iter::once(&own).chain(&seats);
        let fellows = Arc::new(Fellows::new(all().map(Seat::here).collect(), own.caller.clone(), None));
        let watching = seats.iter().find(|seat| seat.service == Service::Monitor);
        let monitor = watching.map(|seat| monitor(&self.base, seat, &registry, &fellows)).transpose()?;
        here.watch = monitor.as_ref().map(Monitor::watch);
        let watch = match &here.watch {
            Some(watch) => Arc::clone(watch),
            None => Arc::new(RemoteWatch::new(own.caller.to(Service::Monitor)?)),
        };
        let (keys, records) = (own.keys(&self.base, here.keys.as_ref())?, own.records(here.records.as_ref())?);
        let authority = authority.with_services(keys, records, Arc::clone(&fellows) as Arc<dyn Trails>);
        let authority = authority.with_logs(Arc::clone(&fellows) as Arc<dyn Logs>).watched_by(watch);
        let rules = breach::rules(&self.base, alerts::mailer(&self.base.config)?)?;
        let witnesses = self.base.config.audit.witnesses.0.clone();
        let authority = authority.with_breach_rules(rules).expecting_witnesses(witnesses);
        let authority = Arc::new(authority);
        self.tasks.push(access_ends(&authority));
        self.tasks.push(breach::reminders(&authority));
        let front: Arc<dyn Front> = Arc::new(LocalFront::new(Arc::clone(&authority), Arc::clone(&own.guard)));

        let (clock, entropy) = (Arc::clone(&self.base.clock), Arc::clone(&self.base.entropy));
        for seat in all() {
            let kept = Kept {
                authority: Arc::clone(&authority),
                service: seat.service,
                instance: seat.agent.id().instance().to_owned(),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
            };
            let agent = Arc::clone(&seat.agent);
            self.tasks.push(tokio::spawn(async move { agent.run(&kept).await }));
        }
        let reconciling = reconcile::Parts {
            here: all().map(|seat| Arc::clone(&seat.ledger)).collect(),
            fellows: Some(Arc::clone(&fellows)),
            audit: Arc::clone(&audit),
            clock: Arc::clone(&clock),
        };
        self.tasks.push(tokio::spawn(reconcile::run(reconciling)));
        let relaying = relay::Parts {
            logs: Arc::clone(&fellows) as Arc<dyn Logs>,
            audit,
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            every: RELAY_EVERY,
        };
        self.tasks.push(tokio::spawn(relay::run(relaying)));
        let reports = all().map(|seat| (seat.name(), Arc::clone(&seat.report))).collect();
        self.tasks.extend(measure::export(&self.base, reports)?);
        let publishing = Arc::clone(&snapshots).run(|error| tracing::error!(%error, "the facts were not published"));
        self.tasks.push(tokio::spawn(publishing));
        let parts = Parts {
            front: Some(Arc::clone(&front)),
            facts: Some(Arc::new(Feed(Arc::clone(&snapshots)))),
            issuer: Some(Arc::new(Outside { authority, clock, entropy })),
            ..Parts::default()
        };
        self.wire(&own, bound, parts, ClientCertificates::Optional)?;
        let (door, addresses) = self.place(&seats, &here, Some(&front), 1)?;
        let entry = |(seat, address): (&Seat, String)| ServiceEntry {
            id: seat.agent.id().to_string(),
            service: seat.service,
            address,
        };
        let present: Vec<Present> = seats.iter().zip(addresses).map(entry).map(|one| snapshots.present(one)).collect();
        // They are here for as long as the process is.
        self.tasks.push(tokio::spawn(async move {
            let _present = present;
            std::future::pending::<()>().await;
        }));
        if let Some(monitor) = monitor {
            let all: Vec<&Seat> = std::iter::once(&own).chain(&seats).collect();
            self.watch(monitor, &all, fellows)?;
        }
        let ledgers = std::iter::once(&own).chain(&seats).map(|seat| Arc::clone(&seat.ledger)).collect();
        let slots = std::iter::once(&own).chain(&seats).map(|seat| (seat.service, seat.agent.slot())).collect();
        let Self { base, wires, tasks, measures, .. } = self;
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
            moving: None,
            custody: None,
        })
    }
}

/// How often checkpoints are taken to the other services.
const RELAY_EVERY: Duration = Duration::from_secs(1);

/// A monitor that is one process with its authority, and watches by the authority's ways.
fn monitor(base: &Base, seat: &Seat, registry: &Arc<Registry>, fellows: &Arc<Fellows>) -> Result<Monitor, Problem> {
    Monitor::open(MonitorParts {
        base,
        guard: Arc::clone(&seat.guard),
        audit: Arc::clone(&seat.audit),
        key: registry.audit_key(None).map_err(|error| cant("the monitor's key", &error))?,
        facts: Arc::clone(&seat.facts),
        statuses: Arc::clone(fellows) as Arc<dyn Statuses>,
        contacts: Some(Arc::new({
            let registry = Arc::clone(registry);
            move |tenant| registry.emails_of(tenant)
        })),
    })
}

/// The identity of a service that is one process with its authority.
async fn inside(base: &Base, authority: &Authority, service: Service, address: &str) -> Result<Arc<Agent>, Problem> {
    let instance = super::instance(base);
    let (clock, entropy) = (&*base.clock, &*base.entropy);
    let issuer = Inside { authority, service, instance, clock, entropy };
    let held = certify(&issuer, address, clock).await;
    let held = held.map_err(|error| cant(&format!("the {service}'s certificate"), &error))?;
    let (clock, entropy) = (Arc::clone(&base.clock), Arc::clone(&base.entropy));
    let parts = AgentParts { folder: None, platform_token: None, clock, entropy };
    Agent::new(held, parts).map(Arc::new).map_err(|error| Problem::failed(error.to_string()))
}
