//! The database of a deployment that keeps its data in PostgreSQL: each service of this process with a pool of its own,
//! as the role that its certificate says it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_audit::postgres::LEDGER;
use countersign_authority::{Bootstrap, CONTROL, Registry};
use countersign_crypto::tls::CertificateSlot;
use countersign_crypto::x509::{MachineUse, ServerCertificate, X509Error};
use countersign_keys::KmsSet;
use countersign_keys::budget::BUDGET;
use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Service, UnixMs};
use countersign_postgres::{Blocking, CORE, Identity, Migration, PgError, Pool, SCHEMA_ROLE, Settings, role_of};
use countersign_store::postgres::RECORDS;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::kms;
use super::own_row::SERVICE_KEYS;
use crate::config::Config;
use crate::deployment::Deployment;
use crate::problem::{Exit, Problem, io};

/// How often it is looked whether a certificate is at half of its life.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Tables are changed seldom.
const OWNER_CONNECTIONS: usize = 2;

/// Every table, in the order in which they are made.
pub const TABLES: [Migration; 6] = [CORE, CONTROL, BUDGET, LEDGER, RECORDS, SERVICE_KEYS];

/// The authority's certificates, as they are made before the database is reached, and for machines beside the deployment.
pub(crate) struct Certificates {
    bootstrap: Bootstrap,
    clock: Arc<dyn Clock>,
}

impl Certificates {
    /// Those of the authority in this folder. Where it keeps its control data in the folder, and nobody serves it, the
    /// file that this reads is made now if it is not there.
    ///
    /// # Errors
    /// If this is no authority's folder, or its key management service does not answer.
    pub(crate) fn open(deployment: &Deployment, config: &Config) -> Result<Self, Problem> {
        let kms = kms::open(deployment, config)?;
        if !deployment.bootstrap().exists() && deployment.control_db().exists() {
            let _lock = deployment.try_lock()?.ok_or_else(|| {
                Problem::new(Exit::Conflict, "a process opens this deployment at this moment").next("try again")
            })?;
            let registry = Registry::open(super::registry_parts(deployment, config, kms.clone()));
            let registry = registry.map_err(|error| super::cant("the control database", &error))?;
            Bootstrap::keep(&registry, &deployment.bootstrap())
                .map_err(|error| super::cant("the authority", &error))?;
        }
        Self::of(deployment, &kms, Arc::new(SystemClock))
    }

    /// The same where the key management service is open already.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn of(deployment: &Deployment, kms: &KmsSet, clock: Arc<dyn Clock>) -> Result<Self, Problem> {
        let path = deployment.bootstrap();
        if !path.exists() {
            let dir = deployment.dir().display();
            return Err(Problem::new(
                Exit::NotFound,
                format!("{dir} is not the folder of an authority: no {}", path.display()),
            )
            .next(
                "name the authority's folder with --dir; a lost data/bootstrap comes back with a copy of the folder",
            ));
        }
        let bootstrap =
            Bootstrap::open(&path, kms).map_err(|error| super::cant("the authority's certificates", &error))?;
        Ok(Self { bootstrap, clock })
    }

    /// A certificate by which a service of this process signs in to the database.
    ///
    /// # Errors
    /// If it can't be made.
    pub(crate) fn service(&self, service: Service) -> Result<ServerCertificate, Problem> {
        let made = self.bootstrap.certificate(service, self.clock.now());
        made.map_err(|error| Problem::failed(format!("the {service}'s certificate for the database: {error}")))
    }

    /// A certificate for a machine beside the deployment.
    ///
    /// # Errors
    /// [`X509Error`].
    pub(crate) fn machine(
        &self,
        names: &[String],
        usage: MachineUse,
        lifetime_ms: u64,
    ) -> Result<ServerCertificate, X509Error> {
        self.bootstrap.machine_certificate(names, usage, self.clock.now(), lifetime_ms)
    }

    /// What verifies them.
    pub(crate) fn ca_pem(&self) -> &str {
        self.bootstrap.ca_pem()
    }
}

/// Where the database is, and as whom the services of this process speak to it.
pub(crate) struct Database {
    settings: Settings,
    certify: Option<Certificates>,
    clock: Arc<dyn Clock>,
    known: Mutex<BTreeMap<Service, Known>>,
    owner: Mutex<Option<Arc<Pool>>>,
}

/// What is known of a service.
struct Known {
    slot: Arc<CertificateSlot>,
    /// When this process makes it anew, if it is this process that does.
    renew_at: Option<UnixMs>,
    /// For what runs on the process's own threads.
    pool: Option<Arc<Pool>>,
    /// For what has threads of its own: ledgers, control data, budgets.
    blocking: Option<Arc<Blocking>>,
}

/// What the configuration says of the database; `None` if everything is in the folder.
///
/// # Errors
/// If the address is none, or the file of its certificate authority can't be read.
pub(crate) fn settings(deployment: &Deployment, config: &Config) -> Result<Option<Settings>, Problem> {
    let section = &config.postgres;
    let Some(address) = section.address.get() else { return Ok(None) };
    let path = section.server_ca.get().map_or_else(|| deployment.ca_pem(), |path| deployment.dir().join(path));
    let pem = std::fs::read_to_string(&path).map_err(io("read", &path))?;
    let parsed = Settings::parse(address, pem);
    let parsed = parsed.map_err(|error| Problem::usage(format!("[postgres] address: {error}")))?;
    let proof_max = Duration::from_millis(section.proof_ms.number());
    Ok(Some(Settings { connections: section.connections.size(), proof_max, ..parsed }))
}

impl Database {
    /// No connection is made yet. `certify` is what the authority's process has; other services say who they are by
    /// [`Self::know`].
    pub(crate) fn new(settings: Settings, certify: Option<Certificates>, clock: Arc<dyn Clock>) -> Self {
        Self { settings, certify, clock, known: Mutex::default(), owner: Mutex::default() }
    }

    /// The database that the configuration names; `None` if everything is in the folder.
    ///
    /// # Errors
    /// As [`settings`] and [`Certificates::of`].
    pub(crate) fn open(
        deployment: &Deployment,
        config: &Config,
        kms: &KmsSet,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Arc<Self>>, Problem> {
        let Some(settings) = settings(deployment, config)? else { return Ok(None) };
        let is_authority = config.services.run.has(Service::Authority);
        let certify = is_authority.then(|| Certificates::of(deployment, kms, Arc::clone(clock))).transpose()?;
        Ok(Some(Arc::new(Self::new(settings, certify, Arc::clone(clock)))))
    }

    /// Makes the tables, or brings them up to date: the authority's process alone may.
    ///
    /// # Errors
    /// What the database may meet.
    pub(crate) async fn migrate(&self) -> Result<(), Problem> {
        let migrated = countersign_postgres::migrate(&self.owner()?, &TABLES).await;
        migrated.map_err(|error| problem(&error).during("the database's tables"))
    }

    /// The certificate of a service of this process, renewed by whoever gave it.
    pub(crate) fn know(&self, service: Service, slot: Arc<CertificateSlot>) {
        self.known.lock().entry(service).or_insert(Known { slot, renew_at: None, pool: None, blocking: None });
    }

    /// A service's connections for callers that wait without blocking.
    ///
    /// # Errors
    /// If the service has no certificate.
    pub(crate) fn pool(&self, service: Service) -> Result<Arc<Pool>, Problem> {
        self.with(service, |known| {
            let identity = Identity { role: role_of(service), slot: Arc::clone(&known.slot) };
            Ok(Arc::clone(known.pool.get_or_insert_with(|| Pool::new(self.settings.clone(), identity))))
        })
    }

    /// A service's connections for callers that block.
    ///
    /// # Errors
    /// If the service has no certificate, or the system gives no thread.
    pub(crate) fn blocking(&self, service: Service) -> Result<Arc<Blocking>, Problem> {
        self.with(service, |known| {
            if let Some(blocking) = &known.blocking {
                return Ok(Arc::clone(blocking));
            }
            let identity = Identity { role: role_of(service), slot: Arc::clone(&known.slot) };
            let started = Blocking::start(self.settings.clone(), identity).map_err(|error| problem(&error))?;
            known.blocking = Some(Arc::clone(&started));
            Ok(started)
        })
    }

    /// The connections that change tables, which are the authority's alone.
    ///
    /// # Errors
    /// As [`Self::pool`].
    pub(crate) fn owner(&self) -> Result<Arc<Pool>, Problem> {
        let slot = self.with(Service::Authority, |known| Ok(Arc::clone(&known.slot)))?;
        let identity = Identity { role: SCHEMA_ROLE.to_owned(), slot };
        let settings = || Settings { connections: OWNER_CONNECTIONS, ..self.settings.clone() };
        Ok(Arc::clone(self.owner.lock().get_or_insert_with(|| Pool::new(settings(), identity))))
    }

    fn with<T>(&self, service: Service, then: impl FnOnce(&mut Known) -> Result<T, Problem>) -> Result<T, Problem> {
        let mut known = self.known.lock();
        if let Some(one) = known.get_mut(&service) {
            return then(one);
        }
        let unknown = || Problem::failed(format!("the {service} has no certificate to show to the database"));
        let certificate = self.certify.as_ref().ok_or_else(unknown)?.service(service)?;
        let slot = CertificateSlot::new(&certificate).map_err(|_| unfit())?;
        let renew_at = Some(half_life(&certificate, self.clock.now()));
        then(known.entry(service).or_insert(Known { slot, renew_at, pool: None, blocking: None }))
    }

    /// Renews the certificates that this process makes for itself, at half of their lives. Those of services apart are
    /// renewed by whoever gave them.
    pub(crate) fn renewing(self: &Arc<Self>) -> Option<JoinHandle<()>> {
        self.certify.as_ref()?;
        let database = Arc::clone(self);
        Some(tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                for service in database.due() {
                    if let Err(error) = database.renew(service) {
                        tracing::error!(%service, %error, "the certificate for the database was not renewed");
                    }
                }
            }
        }))
    }

    fn due(&self) -> Vec<Service> {
        let now = self.clock.now();
        let known = self.known.lock();
        let due = known.iter().filter(|(_, known)| known.renew_at.is_some_and(|at| at <= now));
        due.map(|(service, _)| *service).collect()
    }

    fn renew(&self, service: Service) -> Result<(), Problem> {
        let Some(certify) = &self.certify else { return Ok(()) };
        let certificate = certify.service(service)?;
        let at = half_life(&certificate, self.clock.now());
        if let Some(known) = self.known.lock().get_mut(&service) {
            known.slot.replace(&certificate).map_err(|_| unfit())?;
            known.renew_at = Some(at);
        }
        Ok(())
    }
}

fn half_life(certificate: &ServerCertificate, now: UnixMs) -> UnixMs {
    now.plus_ms(certificate.expires.since(now) / 2)
}

fn unfit() -> Problem {
    Problem::failed("a certificate for the database can't be used")
}

/// What is wrong with the database, for the operator.
pub(crate) fn problem(error: &PgError) -> Problem {
    let exit = match error {
        PgError::Forbidden => Exit::Refused,
        PgError::Unreachable | PgError::Lost | PgError::TimedOut | PgError::Contention | PgError::Unknown => {
            Exit::Unavailable
        }
        PgError::InUse => Exit::Conflict,
        _ => Exit::Failed,
    };
    let problem = Problem::new(exit, error.to_string());
    match error {
        PgError::Unreachable | PgError::Forbidden | PgError::Refused { .. } | PgError::Settings => {
            problem.next("see what is wrong with: countersign --dir DIR postgres check")
        }
        _ => problem,
    }
}
