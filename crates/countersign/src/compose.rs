//! From a folder to services that answer: the one place where the crates are put together.
//!
//! Each service has a guard of its own and writes to a ledger of its own. A process that is all services calls them as
//! functions and shares one set of facts (`whole.rs`); one that is some of them gives each its own certificate and
//! speaks gRPC with those elsewhere (`apart.rs`). The token and the request travel in both cases, and the callee
//! decides again in both.

mod absent;
mod alerts;
mod apart;
mod breach;
pub(crate) mod database;
mod feed;
mod fellows;
mod following;
mod init;
mod issue;
pub(crate) mod kms;
mod limits;
mod logs;
mod measure;
mod monitor;
mod own_keys;
mod own_row;
mod platforms;
mod reconcile;
mod relay;
mod remote;
mod retention;
mod seat;
mod whole;

use std::net::SocketAddr;
use std::sync::Arc;

use countersign_audit::ledger::storage::{Folder, Storage};
use countersign_audit::{AuditKeys, AuditSink, Ledger, Options as LedgerOptions};
use countersign_authority::{Authority, Place, Registry, RegistryParts};
use countersign_crypto::SystemEntropy;
use countersign_crypto::note::NoteKey;
use countersign_crypto::tls::CertificateSlot;
use countersign_crypto::x509::ServerCertificate;
use countersign_door_http::{App, Router};
use countersign_guard::{FactsCell, Guard, GuardParts};
use countersign_keys::KmsSet;
use countersign_keys::budget::Budgets;
use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Entropy, Service, UnixMs};
use countersign_monitor::measure::{MeasuredSink, Watching};
use countersign_store::{Options as StoreOptions, SqliteStore, Store};
use countersign_token::Verifier;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

pub use self::apart::Wire;
use self::database::Database;
pub use self::init::{init, init_apart, make_key};
use crate::config::Config;
use crate::deployment::Deployment;
use crate::problem::{Problem, io};

/// A deployment, or some of its services, open in this process.
pub struct Opened {
    /// Its configuration.
    pub config: Config,
    registry: Option<Arc<Registry>>,
    door: Option<Door>,
    /// Where this process's services take calls from others; empty in a process that is all of them.
    wires: Vec<Wire>,
    ledgers: Vec<Arc<Ledger>>,
    slots: Vec<(Service, Arc<CertificateSlot>)>,
    tasks: Vec<JoinHandle<()>>,
    measures: Option<SocketAddr>,
}

/// What answers users.
struct Door {
    router: Router<App>,
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

/// How a process opens a deployment.
#[derive(Default)]
pub struct Opening {
    /// What it joins with, where it isn't known yet: one join token for each service.
    pub join_tokens: Vec<Zeroizing<String>>,
    /// Whether it is going to serve. A command that only asks something neither listens nor joins.
    pub serves: bool,
    /// What stands before each service's ledger, if anything does: for whoever composes a deployment to see what happens
    /// when records are lost or changed.
    pub sinks: Option<Sinks>,
    /// The time, if it is not the machine's.
    pub clock: Option<Arc<dyn Clock>>,
}

/// From a service's ledger to what its records go to.
pub type Sinks = Arc<dyn Fn(Service, Arc<dyn AuditSink>) -> Arc<dyn AuditSink> + Send + Sync>;

/// Opens a deployment to ask it something. Whoever calls this holds its lock.
///
/// # Errors
/// If something in the folder is not as it must be: readable by others, damaged, or in use.
pub async fn open(deployment: &Deployment, config: Config) -> Result<Opened, Problem> {
    open_as(deployment, config, Opening::default()).await
}

/// Opens a deployment or those of its services that the configuration names. Whoever calls this holds its lock.
///
/// # Errors
/// As [`open`], and if a service can't join its authority.
pub async fn open_as(deployment: &Deployment, config: Config, opening: Opening) -> Result<Opened, Problem> {
    deployment.require_private()?;
    let kms = kms::open(deployment, &config)?;
    let clock = opening.clock.unwrap_or_else(|| Arc::new(SystemClock) as Arc<dyn Clock>);
    let database = database::settings(deployment, &config)?;
    let database = database.map(|settings| Arc::new(Database::new(settings, None, Arc::clone(&clock))));
    let renewing = database.as_ref().and_then(Database::renewing);
    let base = Base {
        database,
        deployment: deployment.clone(),
        kms,
        watching: measure::watching(&config, &clock),
        started: clock.now(),
        clock,
        entropy: Arc::new(SystemEntropy),
        join_tokens: opening.join_tokens,
        sinks: opening.sinks,
        config,
    };
    let (clock, entropy) = (Arc::clone(&base.clock), Arc::clone(&base.entropy));
    let mut opened = if base.config.services.run.is_all() {
        whole::open(base, opening.serves).await?
    } else {
        apart::open(base, opening.serves).await?
    };
    opened.tasks.extend(renewing);
    if opening.serves {
        let keep_days = opened.config.audit.keep_days.number();
        opened.tasks.extend(retention::look_after(opened.ledgers.clone(), Arc::clone(&clock), keep_days));
        opened.take_commands(deployment, (clock, entropy));
    }
    Ok(opened)
}

/// What everything in this process is made with.
struct Base {
    deployment: Deployment,
    config: Config,
    kms: KmsSet,
    clock: Arc<dyn Clock>,
    /// When this process began.
    started: UnixMs,
    /// What its services measure.
    watching: Watching,
    entropy: Arc<dyn Entropy>,
    join_tokens: Vec<Zeroizing<String>>,
    sinks: Option<Sinks>,
    /// Where everything that must survive is, if it is not in the folder.
    database: Option<Arc<Database>>,
}

fn registry_parts(deployment: &Deployment, config: &Config, kms: KmsSet) -> RegistryParts {
    RegistryParts {
        place: Place::File(deployment.control_db()),
        kms,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        key_capacity: config.keys.cache.size(),
        key_open_ms: config.keys.max_open_ms.number(),
    }
}

/// Ends operators' access as its time comes.
fn access_ends(authority: &Arc<Authority>) -> JoinHandle<()> {
    tokio::spawn(Arc::clone(authority).look_after_access(|error| {
        tracing::error!(%error, "access that is over could not be put on record as such");
    }))
}

/// What could not be opened, and why.
fn cant(what: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem::failed(format!("can't open {what}: {error}"))
}

impl Base {
    fn registry(&self) -> Result<Arc<Registry>, Problem> {
        let parts = registry_parts(&self.deployment, &self.config, self.kms.clone());
        Registry::open(RegistryParts { clock: Arc::clone(&self.clock), ..parts })
            .map_err(|error| cant("the control database", &error))
    }

    /// A service's ledger, which is a transparency log. `note_key` gives the service's own keys by their labels.
    fn ledger(
        &self,
        (service, instance): (Service, &str),
        keys: Arc<dyn AuditKeys>,
        note_key: impl Fn(&'static str) -> NoteKey,
    ) -> Result<Arc<Ledger>, Problem> {
        let segment_bytes = self.config.audit.segment_bytes.number();
        let checkpoint_ms = self.config.audit.checkpoint_ms.number();
        let options = LedgerOptions { segment_bytes, checkpoint_ms, ..LedgerOptions::default() };
        let failed = |error: &dyn std::fmt::Display| cant(&format!("the audit log of {service}"), error);
        let storage = self.storage(service, instance).map_err(|problem| failed(&problem.message()))?;
        let log = logs::log_parts(self, &*storage, (service, instance), note_key)?;
        let entropy = Arc::clone(&self.entropy);
        let opened = Ledger::open_on(storage, service, keys, entropy, options, self.config.audit.log.then_some(log));
        opened.map(Arc::new).map_err(|error| failed(&error))
    }

    /// Where a service's ledger is kept.
    fn storage(&self, service: Service, _instance: &str) -> Result<Arc<dyn Storage>, Problem> {
        let folder = self.deployment.audit().join(service.as_str());
        let opened = Folder::open(&folder).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => Problem::failed("another process writes it"),
            _ => io("open", &folder)(error),
        })?;
        Ok(Arc::new(opened))
    }

    /// The database, if ledgers and what belongs to them are kept there.
    fn ledger_database(&self) -> Option<&Arc<Database>> {
        self.database.as_ref().filter(|_| self.config.postgres.ledger)
    }

    /// What a service's records go to.
    fn sink(&self, ledger: &Arc<Ledger>) -> Arc<dyn AuditSink> {
        let (service, sink) = (ledger.service(), Arc::clone(ledger) as Arc<dyn AuditSink>);
        let sink = match &self.sinks {
            Some(before) => before(service, sink),
            None => sink,
        };
        let (measures, observer) = (Arc::clone(self.watching.measures(service)), self.watching.observer(service));
        Arc::new(MeasuredSink::new(sink, measures, observer))
    }

    fn guard(
        &self,
        service: Service,
        verifier: &Arc<Verifier>,
        facts: &Arc<FactsCell>,
        audit: &Arc<dyn AuditSink>,
    ) -> Arc<Guard> {
        Arc::new(Guard::new(GuardParts {
            service,
            verifier: Arc::clone(verifier),
            facts: Arc::clone(facts),
            audit: Arc::clone(audit),
            clock: Arc::clone(&self.clock),
            limits: limits::guard_limits(&self.config),
            plan_capacity: self.config.tokens.cache.size().max(1024),
            observe: self.watching.observer(service),
        }))
    }

    fn store(&self) -> Result<Arc<dyn Store>, Problem> {
        let store = &self.config.store;
        let options = StoreOptions {
            descriptors_max: store.descriptors.size(),
            readers_kept: store.readers_kept.size(),
            cache_bytes_max: store.cache_bytes.size(),
        };
        let opened = SqliteStore::open(&self.deployment.data(), options).map_err(|error| cant("the store", &error))?;
        Ok(Arc::new(opened))
    }

    /// What of the plaintext budgets is used.
    fn budgets(&self) -> Result<Arc<Budgets>, Problem> {
        let opened = Budgets::open(&self.deployment.budgets(), self.clock.now());
        opened.map(Arc::new).map_err(|error| cant("the plaintext budgets", &error))
    }

    /// The digest of the authority's certificate, as the configuration names it.
    fn authority_sha256(&self) -> Result<[u8; 32], Problem> {
        let path = self.config.services.authority_ca.get().ok_or_else(|| {
            Problem::usage("a platform's token says who this service is, and nothing who its authority is")
                .next("set [services] authority_ca to a copy of the authority's ca.pem")
        })?;
        let pem = std::fs::read_to_string(path).map_err(io("read", std::path::Path::new(path)))?;
        countersign_crypto::tls::pem_sha256(&pem)
            .ok_or_else(|| Problem::usage(format!("{path} does not hold one certificate in PEM")))
    }
}

impl Opened {
    /// What answers requests: in a process that is a gateway, or an authority that a command opened.
    ///
    /// # Errors
    /// If this process is neither.
    pub fn router(&self) -> Result<&Router<App>, Problem> {
        self.door.as_ref().map(|door| &door.router).ok_or_else(|| {
            Problem::usage("this folder is not a gateway's, so it answers nobody's requests")
                .next("name the gateway's folder, or its address with --url")
        })
    }

    /// Whether it takes requests from users.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.config.services.run.has(Service::Gateway)
    }

    /// The certificate of a service that runs apart. It is renewed without anybody's doing, and a gateway's is its
    /// door's as well.
    #[must_use]
    pub fn slot(&self, service: Service) -> Option<Arc<CertificateSlot>> {
        self.slots.iter().find(|(of, _)| *of == service).map(|(_, slot)| Arc::clone(slot))
    }

    /// A new certificate for the server of a process that is all services.
    ///
    /// # Errors
    /// If the configured names are not names.
    pub fn certificate(&self) -> Result<ServerCertificate, Problem> {
        let server = &self.config.server;
        let lifetime_ms = server.certificate_hours.number().saturating_mul(3_600_000);
        let registry = self.registry.as_ref().ok_or_else(|| Problem::failed("the authority is elsewhere"))?;
        registry
            .server_certificate(&server.names.0, lifetime_ms)
            .map_err(|error| Problem::usage(format!("the server's certificate: {error}")).next("see [server] names"))
    }

    /// Where this process's services take calls from others: service and address.
    #[must_use]
    pub fn wire_addresses(&self) -> Vec<(Service, SocketAddr)> {
        self.wires.iter().map(|wire| (wire.service, wire.address)).collect()
    }

    /// Where the measures of all services are shown by HTTPS, if anywhere.
    #[must_use]
    pub const fn measures(&self) -> Option<SocketAddr> {
        self.measures
    }

    /// What is to be served for other services, once.
    #[must_use]
    pub fn take_wires(&mut self) -> Vec<Wire> {
        std::mem::take(&mut self.wires)
    }

    /// The ledger of a service of this process.
    #[must_use]
    pub fn ledger(&self, service: Service) -> Option<&Arc<Ledger>> {
        self.ledgers.iter().find(|ledger| ledger.service() == service)
    }

    /// Takes what commands did to the folder into a ledger: the authority's, where that is here.
    fn take_commands(&mut self, deployment: &Deployment, made_with: (Arc<dyn Clock>, Arc<dyn Entropy>)) {
        let Some(ledger) = self.ledger(Service::Authority).or(self.ledgers.first()) else { return };
        let (service, sink) = (ledger.service(), Arc::clone(ledger) as Arc<dyn AuditSink>);
        self.tasks.push(tokio::spawn(crate::commands::follow(deployment.clone(), sink, service, made_with)));
    }

    /// Writes the audit records that wait and takes no more.
    pub async fn close(&self) {
        for task in &self.tasks {
            task.abort();
        }
        for ledger in &self.ledgers {
            ledger.close().await;
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
