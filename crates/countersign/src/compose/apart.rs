//! Some services of a deployment in one process, the others elsewhere: each with its own certificate and its own
//! listener for the others' calls, and nothing shared but the process.

mod noting;
mod wires;
mod with_authority;
mod without_authority;

use std::net::SocketAddr;
use std::sync::Arc;

use countersign_audit::{AuditKeys, AuditSink, Ledger};
use countersign_authority::identity::IdentityRules;
use countersign_authority::people::Issuers;
use countersign_authority::people::fetch::Fetcher;
use countersign_authority::{Authority, AuthorityParts, LocalFront, Registry, Signing};
use countersign_crypto::tls::ClientCertificates;
use countersign_door_http::{App, AppParts, Router};
use countersign_engine::Engine;
use countersign_guard::Guard;
use countersign_keys::TenantKeys;
use countersign_model::Service;
use countersign_services::{
    Front, KeyRelease, KeyService, KeyServiceParts, Records, StoreService, Trail, Trails, Watch,
};
use countersign_store::Store;
use countersign_token::Verifier;
use countersign_wire::{IsIt, Parts};
use tokio::task::JoinHandle;

use super::absent::Absent;
use super::fellows::Fellows;
use super::logs::FIRST;
use super::monitor::Monitor;
use super::seat::Seat;
use super::{Base, Door, Opened, cant, limits, past, platforms};
use crate::problem::Problem;

pub use self::wires::Wire;

/// What is being put together.
struct Apart {
    base: Base,
    wires: Vec<Wire>,
    tasks: Vec<JoinHandle<()>>,
    measures: Option<SocketAddr>,
    /// Whether this process may be what it is at this moment, where another can be it too.
    is_it: Option<IsIt>,
}

/// The services of this process that others of it call.
#[derive(Default)]
struct Here {
    keys: Option<Arc<dyn KeyRelease>>,
    records: Option<Arc<dyn Records>>,
    watch: Option<Arc<dyn Watch>>,
}

pub(super) async fn open(base: Base, serves: bool) -> Result<Opened, Problem> {
    let roles = base.config.services.run.clone();
    if !serves {
        if roles.has(Service::Authority) {
            return asked(base).await;
        }
        return Err(Problem::usage(format!("this folder is that of a deployment's {roles}, which only serves"))
            .next("ask the deployment by its gateway's address: --url https://… with COUNTERSIGN_CA"));
    }
    let apart = Apart { base, wires: Vec::new(), tasks: Vec::new(), measures: None, is_it: None };
    if roles.has(Service::Authority) { apart.with_authority().await } else { apart.without_authority().await }
}

/// An authority whose folder a command has opened: it answers what needs no other service.
async fn asked(base: Base) -> Result<Opened, Problem> {
    let registry = base.only_registry(false).await?;
    let signing = signing(&base, &registry).await?;
    let (verifier, facts) = (signing.verifier(), registry.facts());
    let ledger = ledger_of(&base, &registry, Service::Authority)?;
    let audit = base.sink(&ledger);
    let guard = base.guard(Service::Authority, &verifier, &facts, &audit);
    let trails: Vec<(String, Arc<dyn Trail>)> = vec![("elsewhere".to_owned(), Arc::new(Absent))];
    let authority = authority(&base, &registry, signing, &audit, Arc::new(trails), None).await?;
    let front = Arc::new(LocalFront::new(Arc::new(authority), Arc::clone(&guard)));
    let router = router(&base, guard, verifier, (Arc::new(Absent), Arc::new(Absent)), front);
    let door = Some(Door { router });
    let (wires, tasks) = (Vec::new(), Vec::new());
    let (ledgers, slots) = (vec![ledger], Vec::new());
    Ok(Opened {
        budgets: None,
        config: base.config,
        registry: Some(registry),
        door,
        wires,
        ledgers,
        slots,
        tasks,
        measures: None,
        moving: None,
        custody: None,
    })
}

/// This process's name among those of its roles.
fn instance(base: &Base) -> &str {
    base.config.services.name.get().unwrap_or(FIRST)
}

/// The ledger of a service that is one process with its authority.
fn ledger_of(base: &Base, registry: &Arc<Registry>, service: Service) -> Result<Arc<Ledger>, Problem> {
    let keys = Arc::clone(registry) as Arc<dyn AuditKeys>;
    base.ledger((service, instance(base)), keys, |label| registry.note_key(label, service))
}

async fn signing(base: &Base, registry: &Arc<Registry>) -> Result<Signing, Problem> {
    let tokens = &base.config.tokens;
    let signing = Signing::open(registry, tokens.issuer.clone(), tokens.audience.clone(), tokens.cache.size());
    signing.await.map_err(|error| cant("the signing keys", &error))
}

async fn authority(
    base: &Base,
    registry: &Arc<Registry>,
    signing: Signing,
    audit: &Arc<dyn AuditSink>,
    trails: Arc<dyn Trails>,
    store: Option<Arc<dyn Store>>,
) -> Result<Authority, Problem> {
    let authority = Authority::open(AuthorityParts {
        registry: Arc::clone(registry),
        store,
        keys: Arc::new(Absent),
        records: Arc::new(Absent),
        audit: Arc::clone(audit),
        trails,
        signing,
        login_lifetime_ms: base.config.tokens.lifetime_ms.number(),
    });
    let authority = authority.await.map_err(|error| cant("the authority", &error))?;
    let authority = authority.calling(Arc::new(Fetcher::new(base.config.sso.allow.0.clone())));
    let rules = IdentityRules {
        certificate_ms: base.config.services.certificate_ms.number(),
        gateway_names: base.config.server.names.0.clone(),
        monitor_names: base.config.monitor.names.0.clone(),
        platforms: platforms::read(base.config.services.platforms.get())?,
        platform_keys: Some(Arc::<Issuers>::clone(authority.issuers())),
    };
    authority.with_identity(rules).map_err(|error| Problem::usage(error.to_string()))
}

fn router(
    base: &Base,
    guard: Arc<Guard>,
    verifier: Arc<Verifier>,
    (keys, records): (Arc<dyn KeyRelease>, Arc<dyn Records>),
    front: Arc<dyn Front>,
) -> Router<App> {
    let (clock, entropy) = (&base.clock, &base.entropy);
    let limits = limits::engine_limits(&base.config);
    let engine = Engine::new(Arc::clone(&keys), records, Arc::clone(clock), Arc::clone(entropy), limits);
    let app = App::new(AppParts {
        guard,
        verifier,
        engine: Arc::new(engine),
        keys,
        front,
        names: base.config.server.names.0.clone(),
        key_capacity: base.config.keys.cache.size(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
    });
    Router::new(Arc::new(app), limits::door_limits(&base.config))
}

impl Apart {
    /// Begins to watch, and to show what is measured if that is wanted.
    fn watch(&mut self, monitor: Monitor, seats: &[&Seat], fellows: Arc<Fellows>) -> Result<(), Problem> {
        let seat = seats.iter().find(|seat| seat.service == Service::Monitor);
        if let Some(seat) = seat
            && let Some((address, serving)) = monitor.port(&self.base, &seat.agent.slot())?
        {
            self.measures = Some(address);
            self.tasks.push(serving);
        }
        let named = seats.iter().map(|seat| (seat.name(), Arc::clone(&seat.ledger)));
        self.tasks.extend(monitor.start(named.collect(), Some(fellows)));
        Ok(())
    }

    /// Has earlier states of records removed in time, where the store is in this process.
    fn look_after_past(&mut self, seats: &[Seat], store: Option<&Arc<dyn Store>>) {
        let seat = seats.iter().find(|seat| seat.service == Service::Store);
        if let (Some(seat), Some(store)) = (seat, store) {
            let clock = Arc::clone(&self.base.clock);
            self.tasks.push(past::look_after(Arc::clone(store), Arc::clone(&seat.facts), clock));
        }
    }

    /// The key service and the store, as far as they are in this process.
    fn here(
        &self,
        seats: &[Seat],
        tenant_keys: Option<&Arc<TenantKeys>>,
        store: Option<&Arc<dyn Store>>,
    ) -> Result<Here, Problem> {
        let base = &self.base;
        let mut here = Here::default();
        let seat = |service| seats.iter().find(move |seat| seat.service == service);
        if let (Some(seat), Some(keys)) = (seat(Service::Keys), tenant_keys) {
            here.keys = Some(Arc::new(KeyService::new(KeyServiceParts {
                guard: Arc::clone(&seat.guard),
                keys: Arc::clone(keys),
                budgets: base.budgets()?,
                entropy: Arc::clone(&base.entropy),
            })));
        }
        if let (Some(seat), Some(store)) = (seat(Service::Store), store) {
            let keys = seat.keys(base, here.keys.as_ref())?;
            here.records = Some(Arc::new(StoreService::new(Arc::clone(&seat.guard), Arc::clone(store), keys)));
        }
        Ok(here)
    }

    /// Gives every seat its listener, and the gateway among them its door. Says where each is.
    fn place(
        &mut self,
        seats: &[Seat],
        here: &Here,
        front: Option<&Arc<dyn Front>>,
        before: u16,
    ) -> Result<(Option<Door>, Vec<String>), Problem> {
        let (mut door, mut addresses) = (None, Vec::new());
        for (seat, place) in seats.iter().zip(before..) {
            let bound = self.listener(place)?;
            addresses.push(self.advertised(bound.1, place));
            let parts = match seat.service {
                Service::Keys => Parts { keys: here.keys.clone(), ..Parts::default() },
                Service::Store => Parts { records: here.records.clone(), ..Parts::default() },
                Service::Monitor => Parts { watch: here.watch.clone(), ..Parts::default() },
                Service::Gateway | Service::Authority => Parts::default(),
            };
            self.wire(seat, bound, parts, ClientCertificates::Required)?;
            if let (Service::Gateway, Some(front)) = (seat.service, front) {
                let ways = (seat.keys(&self.base, here.keys.as_ref())?, seat.records(here.records.as_ref())?);
                let (guard, verifier) = (Arc::clone(&seat.guard), Arc::clone(&seat.verifier));
                let router = router(&self.base, guard, verifier, ways, Arc::clone(front));
                door = Some(Door { router });
            }
        }
        Ok((door, addresses))
    }
}
