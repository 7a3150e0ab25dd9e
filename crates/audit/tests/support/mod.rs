//! Ledgers in a PostgreSQL server of the test's own.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign_audit::ledger::storage::Storage;
use countersign_audit::ledger::storage::conformance::Place;
use countersign_audit::postgres::{LEDGER, PostgresStorage};
use countersign_audit::{AuditError, AuditKeys, Ledger, LedgerError, LogParts, Options};
use countersign_crypto::note::NoteKey;
use countersign_crypto::{SealKey, SecretKey, SystemEntropy};
use countersign_model::clock::SystemClock;
use countersign_model::{Service, TenantId};
use countersign_postgres::{Blocking, CORE, Pool, Settings, migrate};
use countersign_testkit::Postgres;
use countersign_tlog::Signer;

/// A server with the tables of ledgers, and the gateway's connections to it.
pub struct Server {
    pub server: Postgres,
    pub settings: Settings,
    pub database: Arc<Blocking>,
    made: AtomicU64,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with("")
    }

    pub fn start_with(lines: &str) -> Self {
        let server = Postgres::start_with(lines).unwrap();
        let settings = Settings { connect_timeout: Duration::from_secs(10), ..server.settings().unwrap() };
        let owner = server.owner().unwrap();
        let of_owner = settings.clone();
        // A test may have a runtime of its own.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async { migrate(&Pool::new(of_owner, owner), &[CORE, LEDGER]).await.unwrap() });
            });
        });
        let database = Blocking::start(settings.clone(), server.identity(Service::Gateway).unwrap()).unwrap();
        Self { server, settings, database, made: AtomicU64::new(0) }
    }

    /// Connections of another service.
    pub fn as_service(&self, service: Service) -> Arc<Blocking> {
        Blocking::start(self.settings.clone(), self.server.identity(service).unwrap()).unwrap()
    }

    /// The name of a ledger that there is not yet.
    pub fn fresh(&self) -> String {
        format!("gateway/{}", self.made.fetch_add(1, Ordering::Relaxed))
    }

    pub fn open(&self, ledger: &str) -> Arc<PostgresStorage> {
        Arc::new(PostgresStorage::open(Arc::clone(&self.database), ledger).unwrap())
    }
}

/// One ledger of it.
pub struct InPostgres<'a>(pub &'a Server, pub String);

impl Place for InPostgres<'_> {
    fn open(&mut self) -> Arc<dyn Storage> {
        self.0.open(&self.1)
    }

    /// What is not synced is in the process's memory alone.
    fn crash(&mut self) {}
}

/// One key for everybody.
pub struct OneKey(Arc<SealKey>);

impl OneKey {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Arc::new(SealKey::new(&SecretKey::from_bytes([7; 32])))))
    }
}

impl AuditKeys for OneKey {
    fn audit_key(&self, _: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
        Ok(Arc::clone(&self.0))
    }
}

/// A key for each tenant.
pub struct KeyOfEach;

impl KeyOfEach {
    pub fn new() -> Arc<Self> {
        Arc::new(Self)
    }
}

impl AuditKeys for KeyOfEach {
    fn audit_key(&self, tenant: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
        let byte = tenant.map_or(0, |tenant| tenant.as_bytes()[15]);
        Ok(Arc::new(SealKey::new(&SecretKey::from_bytes([byte; 32]))))
    }
}

/// What makes the ledgers of these tests logs.
pub fn log_parts() -> LogParts {
    let key = |number| NoteKey::from_seed(&SecretKey::from_bytes([number; 32]));
    let name = "data.example/log/gateway/first";
    LogParts {
        signer: Signer::log(name, key(1)).unwrap(),
        witness: Signer::witness(name, key(2)).unwrap(),
        clock: Arc::new(SystemClock),
    }
}

/// Opens a ledger that is a log.
pub fn try_open(storage: Arc<dyn Storage>, options: Options) -> Result<Ledger, LedgerError> {
    let entropy = Arc::new(SystemEntropy);
    Ledger::open_on(storage, Service::Gateway, OneKey::new(), entropy, options, Some(log_parts()))
}

pub fn open(storage: Arc<dyn Storage>, options: Options) -> Arc<Ledger> {
    Arc::new(try_open(storage, options).unwrap())
}
