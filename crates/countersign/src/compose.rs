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
pub(crate) mod custody;
pub(crate) mod database;
mod feed;
mod fellows;
mod following;
mod init;
mod issue;
mod key_life;
pub(crate) mod kms;
mod limits;
mod logs;
mod measure;
mod monitor;
mod opened;
mod own_keys;
mod own_row;
mod past;
mod platforms;
mod reconcile;
mod relay;
mod remote;
mod retention;
mod seat;
pub(crate) mod side;
mod standby;
mod whole;

use std::sync::{Arc, OnceLock};

use countersign_audit::ledger::storage::{Folder, Storage};
use countersign_audit::postgres::PostgresStorage;
use countersign_audit::{AuditKeys, AuditSink, Ledger, Options as LedgerOptions};
use countersign_authority::{Authority, Bootstrap, Place, Registry, RegistryError, RegistryParts, Remembered};
use countersign_crypto::SystemEntropy;
use countersign_crypto::note::NoteKey;
use countersign_guard::{FactsCell, Guard, GuardParts};
use countersign_keys::KmsSet;
use countersign_keys::budget::Budgets;
use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Entropy, Service, UnixMs};
use countersign_monitor::measure::{MeasuredSink, Watching};
use countersign_store::{Options as StoreOptions, PostgresStore, SqliteStore, Store};
use countersign_token::Verifier;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

pub use self::apart::Wire;
use self::database::Database;
pub use self::database::TABLES;
pub use self::init::{init, init_apart, make_key};
use self::opened::Door;
pub use self::opened::Opened;
use self::side::Stored;
pub use self::standby::OnStandby;
pub(crate) use self::standby::lost;
use crate::config::Config;
use crate::deployment::Deployment;
use crate::problem::{Problem, io};

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
    /// What the authority remembers that was open in this process before.
    pub remembered: Option<Arc<Remembered>>,
    /// Told once if this process has to wait for another to end before it can be the authority.
    pub on_standby: Option<OnStandby>,
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
    let database = Database::open(deployment, &config, &kms, &clock)?;
    if let (Some(database), true) = (&database, config.services.run.has(Service::Authority)) {
        database.migrate().await?;
    }
    let renewing = database.as_ref().and_then(Database::renewing);
    let on_database = database.is_some();
    let base = Base {
        database,
        deployment: deployment.clone(),
        kms,
        watching: measure::watching(&config, &clock),
        started: clock.now(),
        clock,
        entropy: Arc::new(SystemEntropy),
        join_tokens: opening.join_tokens,
        remembered: opening.remembered,
        sinks: opening.sinks,
        on_standby: opening.on_standby,
        opened_budgets: OnceLock::new(),
        config,
    };
    let (clock, entropy) = (Arc::clone(&base.clock), Arc::clone(&base.entropy));
    let mut opened = if base.config.services.run.is_all() {
        whole::open(base, opening.serves).await?
    } else {
        apart::open(base, opening.serves).await?
    };
    opened.tasks.extend(renewing);
    if opening.serves && opened.registry.is_some() && on_database {
        next_second(&*clock).await;
    }
    if opening.serves {
        let keep_days = opened.config.audit.keep_days.number();
        opened.tasks.extend(retention::look_after(opened.ledgers.clone(), Arc::clone(&clock), keep_days));
        opened.take_commands(deployment, (clock, entropy));
    }
    Ok(opened)
}

/// An authority refuses proofs of possession that were made in the second in which it began: another may have been
/// shown them before. So nobody is let in before that is over.
async fn next_second(clock: &dyn Clock) {
    const TRIES: u32 = 60;
    let began = clock.now().seconds();
    for _ in 0..TRIES {
        if clock.now().seconds() != began {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
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
    remembered: Option<Arc<Remembered>>,
    sinks: Option<Sinks>,
    on_standby: Option<OnStandby>,
    /// Where everything that must survive is, if it is not in the folder.
    database: Option<Arc<Database>>,
    /// To be closed when the process ends.
    opened_budgets: OnceLock<Arc<Budgets>>,
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
        self.try_registry()?.ok_or_else(standby::held_elsewhere)
    }

    /// The deployment's facts and keys; `None` if another process is the authority.
    fn try_registry(&self) -> Result<Option<Arc<Registry>>, Problem> {
        let parts = registry_parts(&self.deployment, &self.config, self.kms.clone());
        let place = self.place()?;
        let failed = |error: RegistryError| cant("the control database", &error);
        let registry = match Registry::open(RegistryParts { clock: Arc::clone(&self.clock), place, ..parts }) {
            Err(RegistryError::InUse) if self.database.is_some() => return Ok(None),
            Err(RegistryError::Database(error)) => {
                return Err(database::problem(&error).during("can't open the control database"));
            }
            opened => opened.map_err(failed)?,
        };
        if self.database.is_none() {
            // For certificates of the database's servers, before the deployment moves there.
            Bootstrap::keep(&registry, &self.deployment.bootstrap()).map_err(failed)?;
        }
        Ok(Some(registry))
    }

    /// Where the control data are.
    fn place(&self) -> Result<Place, Problem> {
        Ok(match &self.database {
            Some(database) => {
                let (database, bootstrap) = (database.blocking(Service::Authority)?, self.deployment.bootstrap());
                Place::Postgres { database, bootstrap }
            }
            None => Place::File(self.deployment.control_db()),
        })
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
    fn storage(&self, service: Service, instance: &str) -> Result<Arc<dyn Storage>, Problem> {
        if let Some(database) = self.ledger_database() {
            let opened = PostgresStorage::open(database.blocking(service)?, &format!("{service}/{instance}"));
            return opened.map(|storage| Arc::new(storage) as _).map_err(|error| database::problem(&error));
        }
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
        Ok(self.stored()?.store)
    }

    /// Records, and what carries them elsewhere.
    fn stored(&self) -> Result<Stored, Problem> {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        let stored = self.opened_store()?;
        if let Some(history) = stored.store.history() {
            history.keep(self.config.store.history_days.number().saturating_mul(DAY_MS));
        }
        Ok(stored)
    }

    fn opened_store(&self) -> Result<Stored, Problem> {
        if let Some(database) = &self.database {
            let is_authority = self.config.services.run.has(Service::Authority);
            let schema = is_authority.then(|| database.owner()).transpose()?;
            let pool = database.pool(Service::Store)?;
            return Ok(Stored::of(PostgresStore::new(pool, schema, Arc::clone(&self.entropy))));
        }
        let store = &self.config.store;
        let options = StoreOptions {
            descriptors_max: store.descriptors.size(),
            readers_kept: store.readers_kept.size(),
            cache_bytes_max: store.cache_bytes.size(),
        };
        let opened = SqliteStore::open(&self.deployment.data(), options).map_err(|error| cant("the store", &error))?;
        Ok(Stored::of(opened))
    }

    /// What of the plaintext budgets is used.
    fn budgets(&self) -> Result<Arc<Budgets>, Problem> {
        let now = self.clock.now();
        let failed = |error: &dyn std::fmt::Display| cant("the plaintext budgets", error);
        let opened = match &self.database {
            Some(database) => {
                Budgets::shared(database.blocking(Service::Keys)?, now).map_err(|error| failed(&error))?
            }
            None => Budgets::open(&self.deployment.budgets(), now).map_err(|error| failed(&error))?,
        };
        let opened = Arc::new(opened);
        // Asked for once where it is served.
        let _ = self.opened_budgets.set(Arc::clone(&opened));
        Ok(opened)
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
