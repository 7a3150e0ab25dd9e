//! Services whose authority is elsewhere.

use std::sync::Arc;
use std::time::Duration;

use countersign_audit::AuditKeys;
use countersign_crypto::SealKey;
use countersign_facts::{Applied, ApplyError, NotPrepared, Prepare, SnapshotContacts};
use countersign_keys::{TenantKeys, WrappedKeys};
use countersign_model::{Clock, Service};
use countersign_services::{Front, Statuses};
use countersign_store::Store;
use countersign_wire::{FactsStream, RemoteFront, RemoteIssuer};

use super::Apart;
use crate::compose::fellows::Fellows;
use crate::compose::monitor::{Monitor, Parts as MonitorParts};
use crate::compose::own_keys::{KeeperKeys, KeyPlace, LearnedKeys, audit_key, own_key};
use crate::compose::seat::{Following, Seat, SeatParts, identity};
use crate::compose::{Base, Opened, kms, measure};
use crate::problem::{Exit, Problem};

impl Apart {
    /// Services whose authority is elsewhere: each joins it and follows its facts by itself.
    pub(super) async fn without_authority(mut self) -> Result<Opened, Problem> {
        let services = self.base.config.services.clone();
        let authority = services.authority.get().unwrap_or_default().to_owned();
        let mut store: Option<Arc<dyn Store>> = None;
        let (mut seats, mut followings, mut tenant_keys) = (Vec::new(), Vec::new(), None);
        let mut watching = None;
        for service in services.run.iter() {
            let base = &self.base;
            let agent = identity(base, service).await?;
            if let Some(database) = &base.database {
                database.know(service, agent.slot());
            }
            if service == Service::Store {
                store = Some(base.store()?);
            }
            let takes_types = store.clone().filter(|_| service == Service::Store);
            let domain = agent.id().trust_domain().to_owned();
            let following = Following::new(base, service, &domain, takes_types.map(follow_types))?;
            let instance = agent.id().instance().to_owned();
            let place = KeyPlace::of(base, service, &instance)?;
            let own_key = own_key(&place, service, &**base.kms.default_provider(), &*base.entropy)?;
            let own = audit_key(&own_key);
            if service == Service::Monitor {
                watching = Some((Arc::clone(&own), following.follower.contacts()));
            }
            let capacity = base.config.keys.cache.size();
            let mut keeper = None;
            let (learned, keys): (_, Arc<dyn AuditKeys>) = if service == Service::Keys {
                let wrapped = following.follower.wrapped() as Arc<dyn WrappedKeys>;
                let open_ms = base.config.keys.max_open_ms.number();
                let tenants = TenantKeys::new(base.kms.clone(), wrapped, capacity);
                let tenants = Arc::new(tenants.bounded(Arc::clone(&base.clock), open_ms));
                self.tasks.extend(kms::look_after(&tenants, &base.deployment));
                tenant_keys = Some(Arc::clone(&tenants));
                let keys = Arc::new(KeeperKeys { own, tenants });
                keeper = Some(Arc::clone(&keys));
                (None, keys)
            } else {
                let learned = Arc::new(LearnedKeys::new(own, capacity));
                (Some(Arc::clone(&learned)), learned)
            };
            let ledger = base.ledger((service, &instance), keys, |label| own_key.note_key(label, service.as_str()))?;
            let (facts, verifier) = (Arc::clone(&following.facts), Arc::clone(&following.verifier));
            let directory = following.follower.directory();
            let keys = tenant_keys.clone().filter(|_| service == Service::Keys);
            let parts = SeatParts { service, agent, directory, facts, verifier, ledger, learned, tenant_keys: keys };
            let mut seat = Seat::new(base, parts);
            seat.unlock_trail(base, keeper.as_ref())?;
            seats.push(seat);
            followings.push(following);
        }
        let mut here = self.here(&seats, tenant_keys.as_ref(), store.as_ref())?;
        self.look_after_past(&seats, store.as_ref());
        let monitor = match (seats.iter().find(|seat| seat.service == Service::Monitor), watching) {
            (Some(seat), Some(known)) => Some(monitor(&self.base, seat, &seats, known, &authority)?),
            _ => None,
        };
        here.watch = monitor.as_ref().map(|(monitor, _)| monitor.watch());
        let gateway = seats.iter().find(|seat| seat.service == Service::Gateway);
        let front = gateway.map(|seat| seat.caller.to_authority(&authority)).transpose()?;
        let front = front.map(|channel| Arc::new(RemoteFront::new(channel)) as Arc<dyn Front>);
        let (door, addresses) = self.place(&seats, &here, front.as_ref(), 0)?;
        let followed = followings.clone();
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
        until_fresh(&followed, &authority, &*self.base.clock).await?;
        let reports = seats.iter().map(|seat| (seat.name(), Arc::clone(&seat.report))).collect();
        self.tasks.extend(measure::export(&self.base, reports)?);
        if let Some((monitor, fellows)) = monitor {
            let all: Vec<&Seat> = seats.iter().collect();
            self.watch(monitor, &all, fellows)?;
        }
        let ledgers = seats.iter().map(|seat| Arc::clone(&seat.ledger)).collect();
        let slots = seats.iter().map(|seat| (seat.service, seat.agent.slot())).collect();
        let Self { base, wires, tasks, measures, .. } = self;
        Ok(Opened {
            budgets: base.opened_budgets.get().cloned(),
            config: base.config,
            registry: None,
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

/// A monitor apart from its authority, and the ways by which it watches: its own.
fn monitor(
    base: &Base,
    seat: &Seat,
    here: &[Seat],
    (key, contacts): (Arc<SealKey>, Arc<SnapshotContacts>),
    authority: &str,
) -> Result<(Monitor, Arc<Fellows>), Problem> {
    let here = here.iter().map(Seat::here).collect();
    let fellows = Arc::new(Fellows::new(here, seat.caller.clone(), Some(authority)));
    let monitor = Monitor::open(MonitorParts {
        base,
        guard: Arc::clone(&seat.guard),
        audit: Arc::clone(&seat.audit),
        key,
        facts: Arc::clone(&seat.facts),
        statuses: Arc::clone(&fellows) as Arc<dyn Statuses>,
        contacts: Some(Arc::new(move |tenant| contacts.of(tenant))),
    })?;
    Ok((monitor, fellows))
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

/// Waits until there are facts to decide by. Ends at once if those that come are another deployment's.
async fn until_fresh(all: &[Following], authority: &str, clock: &dyn Clock) -> Result<(), Problem> {
    let fresh = async {
        while !all.iter().all(|following| following.facts.is_fresh(clock.now())) {
            if all.iter().any(|following| following.follower.refused() == Some(ApplyError::OtherDeployment)) {
                return Err(Problem::usage(format!(
                    "the authority at {authority} is that of a deployment of another name"
                ))
                .next("give [tokens] issuer the same value here and at the authority"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(FIRST_FACTS, fresh).await.unwrap_or_else(|_| {
        let refused = all.iter().find_map(|following| following.follower.refused());
        let message = match refused {
            Some(why) => format!("the facts that the authority at {authority} gives can't be taken: {why}"),
            None => {
                format!("the authority at {authority} can't be reached, and without its facts nothing can be decided")
            }
        };
        Err(Problem::new(Exit::Unavailable, message).next(
            "see whether the authority is served, and whether [services] authority (or --authority) is where it takes \
             calls from other services",
        ))
    })
}
