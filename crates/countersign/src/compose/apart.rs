//! Some services of a deployment in one process, the others elsewhere: each with its own certificate and its own
//! listener for the others' calls, and nothing shared but the process.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign_audit::{AuditKeys, AuditSink, Body, Reason, Record, Verdict};
use countersign_authority::identity::IdentityRules;
use countersign_authority::people::Issuers;
use countersign_authority::people::fetch::Fetcher;
use countersign_authority::{Authority, AuthorityParts, LocalFront, Present, Registry, Signing, Snapshots};
use countersign_crypto::tls::{ClientCertificates, TlsAcceptor, mutual_server_config};
use countersign_door_http::{App, AppParts, Router};
use countersign_engine::Engine;
use countersign_facts::{Applied, NotPrepared, Prepare, ServiceEntry};
use countersign_guard::{FactsCell, Guard};
use countersign_identity::{Agent, AgentParts, certify};
use countersign_keys::budget::Budgets;
use countersign_keys::{TenantKeys, WrappedKeys};
use countersign_model::{Clock, Entropy, RequestId, Service};
use countersign_services::{Front, KeyRelease, KeyService, KeyServiceParts, Records, StoreService, Trail, Trails};
use countersign_store::Store;
use countersign_token::Verifier;
use countersign_wire::{FactsStream, Note, Parts, RefusedCall, RemoteFront, RemoteIssuer, Settings, Surroundings};
use tokio::task::JoinHandle;

use super::absent::Absent;
use super::feed::Feed;
use super::issue::{Inside, Kept, Outside};
use super::own_keys::{KeeperKeys, LearnedKeys, own_key};
use super::remote::{AllTrails, Caller};
use super::seat::{Following, Seat, SeatParts, identity};
use super::{Base, Door, Opened, cant, kms, limits, platforms, reconcile};
use crate::problem::{Exit, Problem};

/// Where one service takes calls from others, not answering yet.
pub struct Wire {
    /// The service.
    pub service: Service,
    /// Its address.
    pub address: SocketAddr,
    listener: TcpListener,
    tls: TlsAcceptor,
    parts: Parts,
    surroundings: Surroundings,
}

impl Wire {
    /// Answers until `shutdown`, and then until calls under way are done.
    ///
    /// # Errors
    /// If the listener can't be used.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Problem> {
        let listener = tokio::net::TcpListener::from_std(self.listener)
            .map_err(|error| Problem::failed(format!("can't listen: {error}")))?;
        countersign_wire::server(self.parts, Settings::default(), self.surroundings, self.tls, listener, shutdown)
            .await;
        Ok(())
    }
}

/// What is being put together.
struct Apart {
    base: Base,
    wires: Vec<Wire>,
    tasks: Vec<JoinHandle<()>>,
}

/// The services of this process that others of it call.
#[derive(Default)]
struct Here {
    keys: Option<Arc<dyn KeyRelease>>,
    records: Option<Arc<dyn Records>>,
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
    let apart = Apart { base, wires: Vec::new(), tasks: Vec::new() };
    if roles.has(Service::Authority) { apart.with_authority().await } else { apart.without_authority().await }
}

/// An authority whose folder a command has opened: it answers what needs no other service.
async fn asked(base: Base) -> Result<Opened, Problem> {
    let registry = base.registry()?;
    let signing = signing(&base, &registry).await?;
    let (verifier, facts) = (signing.verifier(), registry.facts());
    let ledger = base.ledger(Service::Authority, Arc::clone(&registry) as Arc<dyn AuditKeys>)?;
    let audit = base.sink(&ledger);
    let guard = base.guard(Service::Authority, &verifier, &facts, &audit);
    let trails: Vec<(String, Arc<dyn Trail>)> = Vec::new();
    let authority = authority(&base, &registry, signing, &audit, Arc::new(trails), None).await?;
    let front = Arc::new(LocalFront::new(Arc::new(authority), Arc::clone(&guard)));
    let router = router(&base, guard, verifier, (Arc::new(Absent), Arc::new(Absent)), front);
    let door = Some(Door { router });
    let (wires, tasks) = (Vec::new(), Vec::new());
    let (ledgers, slots) = (vec![ledger], Vec::new());
    Ok(Opened { config: base.config, registry: Some(registry), door, wires, ledgers, slots, tasks })
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
    /// Takes an address for a service's calls from others: the configured one for the first service of this process,
    /// the ports after it for the others.
    fn listener(&self, place: u16) -> Result<(TcpListener, SocketAddr), Problem> {
        let mut wanted = self.base.config.services.listen;
        if wanted.port() != 0 {
            wanted.set_port(wanted.port().saturating_add(place));
        }
        let taken = |error: std::io::Error| {
            Problem::new(Exit::Unavailable, format!("can't listen on {wanted} for other services: {error}"))
                .next("name another with --wire-listen, such as --wire-listen 127.0.0.1:0 for any free port")
        };
        let listener = TcpListener::bind(wanted).map_err(taken)?;
        listener.set_nonblocking(true).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        Ok((listener, address))
    }

    /// What others are told as a service's address.
    fn advertised(&self, address: SocketAddr) -> String {
        self.base.config.services.advertise.get().map_or_else(|| address.to_string(), str::to_owned)
    }

    /// Puts a service's calls behind its listener.
    fn wire(
        &mut self,
        seat: &Seat,
        (listener, address): (TcpListener, SocketAddr),
        parts: Parts,
        clients: ClientCertificates,
    ) -> Result<(), Problem> {
        let Caller { slot, ca_pem, trust_domain, directory, clock, .. } = &seat.caller;
        let (domain, removed) = (trust_domain.clone(), directory.clone());
        let config = mutual_server_config(slot, ca_pem, clock, clients, move |id| {
            id.trust_domain() == domain && !removed.borrow().is_removed(&id.to_string())
        });
        let config =
            config.map_err(|error| Problem::failed(format!("the {}'s TLS settings: {error}", seat.service)))?;
        let removed = directory.clone();
        let surroundings = Surroundings {
            clock: Arc::clone(clock),
            note: Arc::new(Noting {
                audit: Arc::clone(&seat.audit),
                service: seat.service,
                clock: Arc::clone(clock),
                entropy: Arc::clone(&self.base.entropy),
            }),
            is_removed: Arc::new(move |id| removed.borrow().is_removed(&id.to_string())),
        };
        let tls = TlsAcceptor::from(config);
        let (trail, ledger) = (Some(Arc::clone(&seat.trail)), Some(Arc::clone(&seat.ledger)));
        let parts = Parts { trail, ledger, ..parts };
        self.wires.push(Wire { service: seat.service, address, listener, tls, parts, surroundings });
        Ok(())
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
            let budgets = Budgets::open(&base.deployment.budgets(), base.clock.now());
            here.keys = Some(Arc::new(KeyService::new(KeyServiceParts {
                guard: Arc::clone(&seat.guard),
                keys: Arc::clone(keys),
                budgets: Arc::new(budgets.map_err(|error| cant("the plaintext budgets", &error))?),
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
            addresses.push(self.advertised(bound.1));
            let parts = match seat.service {
                Service::Keys => Parts { keys: here.keys.clone(), ..Parts::default() },
                Service::Store => Parts { records: here.records.clone(), ..Parts::default() },
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

    /// The authority, and whichever other services are in its process: certified by it, and deciding by its facts.
    async fn with_authority(mut self) -> Result<Opened, Problem> {
        let base = &self.base;
        let registry = base.registry()?;
        let signing = signing(base, &registry).await?;
        let (verifier, facts) = (signing.verifier(), registry.facts());
        let snapshots = Snapshots::open(Arc::clone(&registry), base.config.tokens.issuer.clone());
        let snapshots = snapshots.await.map_err(|error| cant("the snapshots of the facts", &error))?;
        let ledger = base.ledger(Service::Authority, Arc::clone(&registry) as Arc<dyn AuditKeys>)?;
        let audit = base.sink(&ledger);
        let no_trails: Vec<(String, Arc<dyn Trail>)> = Vec::new();
        let store = base.config.services.run.has(Service::Store).then(|| base.store()).transpose()?;
        let store = store.map(|store| store as Arc<dyn Store>);
        let authority = authority(base, &registry, signing, &audit, Arc::new(no_trails), store.clone()).await?;
        let bound = self.listener(0)?;
        let address = self.advertised(bound.1);
        let mut seats = Vec::new();
        for service in base.config.services.run.iter() {
            let agent = inside(base, &authority, service, &address).await?;
            let ledger = match service {
                Service::Authority => Arc::clone(&ledger),
                _ => base.ledger(service, Arc::clone(&registry) as Arc<dyn AuditKeys>)?,
            };
            let (facts, verifier) = (Arc::clone(&facts), Arc::clone(&verifier));
            let directory = snapshots.directory();
            let parts = SeatParts { service, agent, directory, facts, verifier, ledger, learned: None };
            seats.push(Seat::new(base, parts));
        }
        self.tasks.extend(kms::look_after(&registry.tenant_keys(), &self.base.deployment));
        let own = seats.iter().position(|seat| seat.service == Service::Authority);
        let Some(own) = own.map(|own| seats.remove(own)) else { return Err(Problem::usage("no authority to be")) };
        let here = self.here(&seats, Some(&registry.tenant_keys()), store.as_ref())?;
        let all = || std::iter::once(&own).chain(&seats);
        let named = all().map(|seat| (super::remote::short(&seat.agent.id().to_string()), Arc::clone(&seat.trail)));
        let trails = Arc::new(AllTrails::new(named.collect(), own.caller.clone()));
        let (keys, records) = (own.keys(&self.base, here.keys.as_ref())?, own.records(here.records.as_ref())?);
        let authority = Arc::new(authority.with_services(keys, records, Arc::clone(&trails) as Arc<dyn Trails>));
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
            trails: Some(trails),
            audit,
            clock: Arc::clone(&clock),
        };
        self.tasks.push(tokio::spawn(reconcile::run(reconciling)));
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
        let ledgers = std::iter::once(&own).chain(&seats).map(|seat| Arc::clone(&seat.ledger)).collect();
        let slots = std::iter::once(&own).chain(&seats).map(|seat| (seat.service, seat.agent.slot())).collect();
        let Self { base, wires, tasks } = self;
        Ok(Opened { config: base.config, registry: Some(registry), door, wires, ledgers, slots, tasks })
    }

    /// Services whose authority is elsewhere: each joins it and follows its facts by itself.
    async fn without_authority(mut self) -> Result<Opened, Problem> {
        let services = self.base.config.services.clone();
        let authority = services.authority.get().unwrap_or_default().to_owned();
        let store = services.run.has(Service::Store).then(|| self.base.store()).transpose()?;
        let store = store.map(|store| store as Arc<dyn Store>);
        let (mut seats, mut followings, mut tenant_keys) = (Vec::new(), Vec::new(), None);
        for service in services.run.iter() {
            let base = &self.base;
            let agent = identity(base, service).await?;
            let takes_types = store.clone().filter(|_| service == Service::Store);
            let domain = agent.id().trust_domain().to_owned();
            let following = Following::new(base, service, &domain, takes_types.map(follow_types))?;
            let own = own_key(
                &base.deployment.service_key(service),
                service,
                &**base.kms.default_provider(),
                &*base.entropy,
            )?;
            let capacity = base.config.keys.cache.size();
            let (learned, keys): (_, Arc<dyn AuditKeys>) = if service == Service::Keys {
                let wrapped = following.follower.wrapped() as Arc<dyn WrappedKeys>;
                let open_ms = base.config.keys.max_open_ms.number();
                let tenants = TenantKeys::new(base.kms.clone(), wrapped, capacity);
                let tenants = Arc::new(tenants.bounded(Arc::clone(&base.clock), open_ms));
                self.tasks.extend(kms::look_after(&tenants, &base.deployment));
                tenant_keys = Some(Arc::clone(&tenants));
                (None, Arc::new(KeeperKeys { own, tenants }))
            } else {
                let learned = Arc::new(LearnedKeys::new(own, capacity));
                (Some(Arc::clone(&learned)), learned)
            };
            let ledger = base.ledger(service, keys)?;
            let (facts, verifier) = (Arc::clone(&following.facts), Arc::clone(&following.verifier));
            let directory = following.follower.directory();
            let parts = SeatParts { service, agent, directory, facts, verifier, ledger, learned };
            seats.push(Seat::new(base, parts));
            followings.push(following);
        }
        let here = self.here(&seats, tenant_keys.as_ref(), store.as_ref())?;
        let gateway = seats.iter().find(|seat| seat.service == Service::Gateway);
        let front = gateway.map(|seat| seat.caller.to_authority(&authority)).transpose()?;
        let front = front.map(|channel| Arc::new(RemoteFront::new(channel)) as Arc<dyn Front>);
        let (door, addresses) = self.place(&seats, &here, front.as_ref(), 0)?;
        let facts: Vec<_> = followings.iter().map(|following| Arc::clone(&following.facts)).collect();
        for ((seat, following), address) in seats.iter().zip(followings).zip(addresses) {
            let renewing = RemoteIssuer::new(seat.caller.to_authority(&authority)?);
            let agent = Arc::clone(&seat.agent);
            self.tasks.push(tokio::spawn(async move { agent.run(&renewing).await }));
            let channel = seat.caller.to_authority(&authority)?;
            let stream = FactsStream::new(channel, following.follower, Some(address));
            let keys = tenant_keys.clone().filter(|_| seat.service == Service::Keys);
            self.tasks.push(tokio::spawn(async move {
                let forget = |applied: &Applied| {
                    if let Some(keys) = &keys {
                        applied.rewrapped.iter().for_each(|tenant| keys.forget(*tenant));
                    }
                };
                stream.run(forget).await;
            }));
        }
        until_fresh(&facts, &*self.base.clock).await?;
        let ledgers = seats.iter().map(|seat| Arc::clone(&seat.ledger)).collect();
        let slots = seats.iter().map(|seat| (seat.service, seat.agent.slot())).collect();
        let Self { base, wires, tasks } = self;
        Ok(Opened { config: base.config, registry: None, door, wires, ledgers, slots, tasks })
    }
}

/// Has the store take new record types, before anybody decides by them. Called where blocking is allowed.
fn follow_types(store: Arc<dyn Store>) -> Prepare {
    let runtime = tokio::runtime::Handle::current();
    Box::new(move |types| {
        runtime.block_on(store.apply_types(types)).map_err(|error| {
            tracing::error!(%error, "the store can't take the new record types");
            NotPrepared
        })
    })
}

/// How long a service that starts waits for the first facts.
const FIRST_FACTS: Duration = Duration::from_secs(30);

/// Waits until there are facts to decide by.
async fn until_fresh(all: &[Arc<FactsCell>], clock: &dyn Clock) -> Result<(), Problem> {
    let fresh = async {
        while !all.iter().all(|facts| facts.is_fresh(clock.now())) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(FIRST_FACTS, fresh).await.map_err(|_| {
        Problem::new(Exit::Unavailable, "no facts have come from the authority to decide by")
            .next("see whether the authority runs, and whether [tokens] issuer is the same here and there")
    })
}

/// The identity of a service that is one process with its authority.
async fn inside(base: &Base, authority: &Authority, service: Service, address: &str) -> Result<Arc<Agent>, Problem> {
    let instance = base.config.services.name.get().unwrap_or("first");
    let (clock, entropy) = (&*base.clock, &*base.entropy);
    let issuer = Inside { authority, service, instance, clock, entropy };
    let held = certify(&issuer, address, clock).await;
    let held = held.map_err(|error| cant(&format!("the {service}'s certificate"), &error))?;
    let (clock, entropy) = (Arc::clone(&base.clock), Arc::clone(&base.entropy));
    let parts = AgentParts { folder: None, platform_token: None, clock, entropy };
    Agent::new(held, parts).map(Arc::new).map_err(|error| Problem::failed(error.to_string()))
}

/// Puts calls on record that were not accepted.
struct Noting {
    audit: Arc<dyn AuditSink>,
    service: Service,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

#[async_trait]
impl Note for Noting {
    async fn refused(&self, refused: &RefusedCall<'_>) {
        let by = refused.peer.map_or_else(|| "nobody known".to_owned(), |peer| peer.id.to_string());
        let (method, why) = (refused.method, refused.why);
        tracing::warn!(service = %self.service, %by, method, %why, "a call was not accepted");
        let now = self.clock.now();
        let detail = format!("{method} by {by}: {why}");
        let (request, door, action, epoch) = match refused.request {
            Some((request, epoch)) => (request.id, Some(request.door), request.operation.action(), epoch),
            None => (RequestId::new(now, &*self.entropy), None, "call", 0),
        };
        let record = Record {
            time: now,
            request,
            service: self.service,
            door,
            verdict: Verdict::Refused,
            tenant: None,
            tally: None,
            body: Body {
                action: action.to_owned(),
                reason: Some(Reason::NotPermitted),
                detail: Some(detail),
                epoch,
                ..Body::default()
            },
        };
        let noted = self.audit.note(record).await;
        if let Err(error) = noted {
            tracing::error!(%error, "a refused call could not be put on record");
        }
    }
}
