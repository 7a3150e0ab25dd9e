//! All services in one process: they call each other as functions.

use std::sync::Arc;

use countersign_audit::AuditKeys;
use countersign_authority::people::fetch::Fetcher;
use countersign_authority::{Authority, AuthorityParts, LocalFront, Signing};
use countersign_door_http::{App, AppParts, Router};
use countersign_engine::Engine;
use countersign_keys::budget::Budgets;
use countersign_model::Service;
use countersign_services::{KeyRelease, KeyService, KeyServiceParts, LedgerTrail, Records, StoreService, Trail};
use countersign_store::Store;

use super::{Base, Door, Opened, cant, kms, limits, reconcile};
use crate::problem::Problem;

pub(super) async fn open(base: Base, serves: bool) -> Result<Opened, Problem> {
    let registry = base.registry()?;
    let tokens = &base.config.tokens;
    let signing = Signing::open(&registry, tokens.issuer.clone(), tokens.audience.clone(), tokens.cache.size());
    let signing = signing.await.map_err(|error| cant("the signing keys", &error))?;
    let (verifier, facts) = (signing.verifier(), registry.facts());
    let mut ledgers = Vec::new();
    let mut trails: Vec<(String, Arc<dyn Trail>)> = Vec::new();
    let mut seat = |service: Service| {
        let ledger = base.ledger(service, Arc::clone(&registry) as Arc<dyn AuditKeys>)?;
        let audit = base.sink(&ledger);
        let guard = base.guard(service, &verifier, &facts, &audit);
        trails.push((service.to_string(), Arc::new(LedgerTrail::new(Arc::clone(&guard), Arc::clone(&ledger)))));
        ledgers.push(ledger);
        Ok::<_, Problem>((guard, audit))
    };
    let (gateway, _) = seat(Service::Gateway)?;
    let (keys, _) = seat(Service::Keys)?;
    let (records, _) = seat(Service::Store)?;
    let (control, audit) = seat(Service::Authority)?;
    let (clock, entropy) = (&base.clock, &base.entropy);
    let store: Arc<dyn Store> = base.store()?;
    let budgets = Budgets::open(&base.deployment.budgets(), clock.now());
    let key_service: Arc<dyn KeyRelease> = Arc::new(KeyService::new(KeyServiceParts {
        guard: keys,
        keys: registry.tenant_keys(),
        budgets: Arc::new(budgets.map_err(|error| cant("the plaintext budgets", &error))?),
        entropy: Arc::clone(entropy),
    }));
    let records: Arc<dyn Records> = Arc::new(StoreService::new(records, Arc::clone(&store), Arc::clone(&key_service)));
    let engine = Engine::new(
        Arc::clone(&key_service),
        Arc::clone(&records),
        Arc::clone(clock),
        Arc::clone(entropy),
        limits::engine_limits(&base.config),
    );
    let authority = Authority::open(AuthorityParts {
        registry: Arc::clone(&registry),
        store: Some(store),
        keys: Arc::clone(&key_service),
        records,
        audit: Arc::clone(&audit),
        trails: Arc::new(trails),
        signing,
        login_lifetime_ms: base.config.tokens.lifetime_ms.number(),
    });
    let authority = authority.await.map_err(|error| cant("the authority", &error))?;
    let authority = Arc::new(authority.calling(Arc::new(Fetcher::new(base.config.sso.allow.0.clone()))));
    let app = App::new(AppParts {
        guard: gateway,
        verifier,
        engine: Arc::new(engine),
        keys: key_service,
        front: Arc::new(LocalFront::new(Arc::clone(&authority), control)),
        names: base.config.server.names.0.clone(),
        key_capacity: base.config.keys.cache.size(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
    });
    let router = Router::new(Arc::new(app), limits::door_limits(&base.config));
    let mut tasks = Vec::new();
    if serves {
        tasks.extend(kms::look_after(&registry.tenant_keys(), &base.deployment));
        let parts = reconcile::Parts { here: ledgers.clone(), trails: None, audit, clock: Arc::clone(clock) };
        tasks.push(tokio::spawn(reconcile::run(parts)));
        tasks.push(super::access_ends(&authority));
    }
    let door = Some(Door { router });
    let (wires, slots) = (Vec::new(), Vec::new());
    Ok(Opened { config: base.config, registry: Some(registry), door, wires, ledgers, slots, tasks })
}
