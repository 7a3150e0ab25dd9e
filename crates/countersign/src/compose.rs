//! From a folder to a deployment that answers: the one place where the crates are put together.
//!
//! Each service has a guard of its own over the same facts, and writes to a ledger of its own. In this composition
//! they are one process, so calls between them are function calls; the token and the request travel all the same,
//! and the callee decides again.

use std::sync::Arc;
use std::time::Duration;

use countersign_audit::{AuditKeys, AuditSink, Ledger, Options as LedgerOptions, Service};
use countersign_authority::{Authority, AuthorityParts, LocalFront, Registry, RegistryParts, Signing};
use countersign_crypto::SystemEntropy;
use countersign_crypto::ssh::PrivateKey;
use countersign_crypto::x509::ServerCertificate;
use countersign_door_http::{App, AppParts, Limits as DoorLimits, Router};
use countersign_engine::{Engine, EngineLimits};
use countersign_guard::{Guard, GuardParts, Limits as GuardLimits};
use countersign_keys::budget::Budgets;
use countersign_keys::{FileKms, KmsProvider};
use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Entropy};
use countersign_services::{KeyRelease, KeyService, KeyServiceParts, LedgerTrail, Records, StoreService, Trail};
use countersign_store::{Options as StoreOptions, SqliteStore, Store};

use crate::config::Config;
use crate::deployment::{Deployment, new_file};
use crate::login::{Login, operator};
use crate::problem::{Exit, Problem, io};

/// A deployment, open in this process.
pub struct Opened {
    /// Its configuration.
    pub config: Config,
    registry: Arc<Registry>,
    router: Router<App>,
    ledgers: Vec<Arc<Ledger>>,
}

/// The configuration of a deployment.
///
/// # Errors
/// If the file is not there or is not a configuration; the message has file and line.
pub fn config(deployment: &Deployment) -> Result<Config, Problem> {
    let path = deployment.config();
    let text = std::fs::read_to_string(&path).map_err(io("read", &path))?;
    Config::parse(&path, &text).map_err(|error| Problem::usage(error.to_string()))
}

/// Makes a deployment: its key, its authority with the operator, its configuration. Overwrites nothing.
///
/// # Errors
/// If there is one already, or a file can't be made.
pub fn init(deployment: &Deployment) -> Result<(), Problem> {
    if deployment.exists() {
        let dir = deployment.dir().display();
        return Err(Problem::new(Exit::Conflict, format!("there is a deployment in {dir} already"))
            .next(format!("serve it with: countersign serve {dir}")));
    }
    deployment.make_folders()?;
    let key = make_key(deployment, &operator()?)?;
    let public = countersign_crypto::ssh::PublicKey::parse(&key).map_err(|error| Problem::failed(error.to_string()))?;
    let kms = FileKms::create(&deployment.kms_key(), &SystemEntropy).map_err(|error| {
        Problem::failed(format!("can't make the key encryption key: {error}")).next(
            "if an init that was broken off left it, and nothing is stored here, remove the folder and begin anew",
        )
    })?;
    let registry = Registry::create(registry_parts(deployment, &Config::default(), Arc::new(kms)), &public)
        .map_err(|error| Problem::failed(format!("can't make the control database: {error}")))?;
    new_file(&deployment.ca_pem(), registry.ca_pem().as_bytes(), false)?;
    // Last, because it is what makes the folder a deployment.
    new_file(&deployment.config(), Config::default().to_text().as_bytes(), false)
}

/// The public half of the SSH key in DIR/keys of that user. Makes the key if there is none.
///
/// # Errors
/// If it can't be made or read.
pub fn make_key(deployment: &Deployment, login: &Login) -> Result<String, Problem> {
    let path = deployment.ssh_key(&login.to_string());
    let failed = |error: &dyn std::fmt::Display| Problem::failed(format!("the SSH key {}: {error}", path.display()));
    let key = if path.exists() {
        let text = std::fs::read_to_string(&path).map_err(io("read", &path))?;
        PrivateKey::read(&text, None).map_err(|error| failed(&error))?
    } else {
        let key = PrivateKey::generate_ed25519(&SystemEntropy, &login.to_string()).map_err(|error| failed(&error))?;
        new_file(&path, key.write().map_err(|error| failed(&error))?.as_bytes(), true)?;
        key
    };
    let public = key.public().map_err(|error| failed(&error))?.to_line();
    let beside = path.with_file_name(format!("{login}.pub"));
    if !beside.exists() {
        new_file(&beside, format!("{public}\n").as_bytes(), false)?;
    }
    Ok(public)
}

fn registry_parts(deployment: &Deployment, config: &Config, kms: Arc<dyn KmsProvider>) -> RegistryParts {
    RegistryParts {
        path: deployment.control_db(),
        kms,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        key_capacity: config.keys.cache.size(),
    }
}

/// Opens a deployment. Whoever calls this holds its lock.
///
/// # Errors
/// If something in the folder is not as it must be: readable by others, damaged, or in use.
pub async fn open(deployment: &Deployment, config: Config) -> Result<Opened, Problem> {
    deployment.require_private()?;
    let kms = FileKms::open(&deployment.kms_key()).map_err(|error| {
        Problem::failed(error.to_string()).next("restore kms.key from its copy; nothing can be opened without it")
    })?;
    let cant = |what: &str, error: &dyn std::fmt::Display| Problem::failed(format!("can't open {what}: {error}"));
    let registry = Registry::open(registry_parts(deployment, &config, Arc::new(kms)))
        .map_err(|error| cant("the control database", &error))?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ledger = |service: Service| {
        let keys = Arc::clone(&registry) as Arc<dyn AuditKeys>;
        let options = LedgerOptions { segment_bytes: config.audit.segment_bytes.number(), ..LedgerOptions::default() };
        let folder = deployment.audit().join(service.as_str());
        let opened = Ledger::open(&folder, service, keys, Arc::clone(&entropy), options);
        opened.map(Arc::new).map_err(|error| cant(&format!("the audit log of {}", service.as_str()), &error))
    };
    let [gateway, keys, records, control] =
        [ledger(Service::Gateway)?, ledger(Service::Keys)?, ledger(Service::Store)?, ledger(Service::Authority)?];
    let store = SqliteStore::open(
        &deployment.data(),
        StoreOptions {
            descriptors_max: config.store.descriptors.size(),
            readers_kept: config.store.readers_kept.size(),
            cache_bytes_max: config.store.cache_bytes.size(),
        },
    )
    .map_err(|error| cant("the store", &error))?;
    let store: Arc<dyn Store> = Arc::new(store);
    let ledgers = vec![gateway, keys, records, control];
    let signing = Signing::open(
        &registry,
        config.tokens.issuer.clone(),
        config.tokens.audience.clone(),
        config.tokens.cache.size(),
    );
    let signing = signing.await.map_err(|error| cant("the signing keys", &error))?;
    let verifier = signing.verifier();
    let guard = |service: Service| {
        let parts = GuardParts {
            service,
            verifier: Arc::clone(&verifier),
            facts: registry.facts(),
            audit: sink(&ledgers, service)?,
            clock: Arc::clone(&clock),
            limits: guard_limits(&config),
            plan_capacity: config.tokens.cache.size().max(1024),
        };
        Ok::<_, Problem>(Arc::new(Guard::new(parts)))
    };
    let budgets = Budgets::open(&deployment.budgets(), clock.now());
    let budgets = Arc::new(budgets.map_err(|error| cant("the plaintext budgets", &error))?);
    let key_service: Arc<dyn KeyRelease> = Arc::new(KeyService::new(KeyServiceParts {
        guard: guard(Service::Keys)?,
        keys: registry.tenant_keys(),
        budgets,
        entropy: Arc::clone(&entropy),
    }));
    let records: Arc<dyn Records> =
        Arc::new(StoreService::new(guard(Service::Store)?, Arc::clone(&store), Arc::clone(&key_service)));
    let engine = Engine::new(
        Arc::clone(&key_service),
        Arc::clone(&records),
        Arc::clone(&clock),
        Arc::clone(&entropy),
        EngineLimits {
            scan_rows_max: config.limits.rows_scanned.number(),
            change_rows_max: config.limits.rows_written.number(),
        },
    );
    let mut trails: Vec<(String, Arc<dyn Trail>)> = Vec::new();
    for (service, ledger) in Service::ALL.into_iter().zip(&ledgers) {
        let trail = LedgerTrail::new(guard(service)?, Arc::clone(ledger));
        trails.push((service.to_string(), Arc::new(trail)));
    }
    let control = guard(Service::Authority)?;
    let authority = Authority::open(AuthorityParts {
        registry: Arc::clone(&registry),
        store: Some(store),
        keys: Arc::clone(&key_service),
        records,
        audit: sink(&ledgers, Service::Authority)?,
        trails: Arc::new(trails),
        signing,
        login_lifetime_ms: config.tokens.lifetime_ms.number(),
    });
    let authority = Arc::new(authority.await.map_err(|error| cant("the authority", &error))?);
    let app = App::new(AppParts {
        guard: guard(Service::Gateway)?,
        verifier,
        engine: Arc::new(engine),
        keys: key_service,
        front: Arc::new(LocalFront::new(authority, control)),
        names: config.server.names.0.clone(),
        key_capacity: config.keys.cache.size(),
        clock,
        entropy,
    });
    let router = Router::new(Arc::new(app), door_limits(&config));
    Ok(Opened { config, registry, router, ledgers })
}

fn sink(ledgers: &[Arc<Ledger>], service: Service) -> Result<Arc<dyn AuditSink>, Problem> {
    let place = Service::ALL.iter().position(|one| *one == service);
    let ledger = place.and_then(|place| ledgers.get(place));
    ledger.map(|ledger| Arc::clone(ledger) as Arc<dyn AuditSink>).ok_or_else(|| Problem::failed("a ledger is missing"))
}

impl Opened {
    /// What answers requests.
    #[must_use]
    pub const fn router(&self) -> &Router<App> {
        &self.router
    }

    /// A new certificate for the server.
    ///
    /// # Errors
    /// If the configured names are not names.
    pub fn certificate(&self) -> Result<ServerCertificate, Problem> {
        let server = &self.config.server;
        let lifetime_ms = server.certificate_hours.number().saturating_mul(3_600_000);
        self.registry
            .server_certificate(&server.names.0, lifetime_ms)
            .map_err(|error| Problem::usage(format!("the server's certificate: {error}")).next("see [server] names"))
    }

    /// Writes the audit records that wait and takes no more.
    pub async fn close(&self) {
        for ledger in &self.ledgers {
            ledger.close().await;
        }
    }
}

fn guard_limits(config: &Config) -> GuardLimits {
    let limits = &config.limits;
    GuardLimits {
        rows_max: limits.rows.number(),
        embed_depth_max: limits.embed_depth.size(),
        columns_max: limits.columns.size(),
        comparisons_max: limits.comparisons.size(),
        insert_rows_max: limits.rows_written.size(),
    }
}

fn door_limits(config: &Config) -> DoorLimits {
    let (server, limits) = (&config.server, &config.limits);
    DoorLimits {
        connections: server.connections.size(),
        handshake_time: Duration::from_millis(server.handshake_ms.number()),
        header_time: Duration::from_millis(server.header_ms.number()),
        request_time: Duration::from_millis(server.request_ms.number()),
        idle_time: Duration::from_millis(server.idle_ms.number()),
        shutdown_time: Duration::from_millis(server.drain_ms.number()),
        header_bytes: limits.header_bytes.size(),
        headers: limits.headers.size(),
        streams: server.streams.small(),
        url_bytes: limits.url_bytes.size(),
        body_bytes: limits.body_bytes.size(),
        rows: limits.rows_written.size(),
        fields: limits.fields.size(),
        json_depth: limits.json_depth.size(),
        items: limits.columns.size(),
        filter_nodes: limits.comparisons.size(),
        filter_depth: limits.filter_depth.size(),
        list: limits.list.size(),
        embed_depth: limits.embed_depth.size(),
    }
}
