//! Ledgers in a PostgreSQL server of the test's own.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign_audit::ledger::storage::Storage;
use countersign_audit::ledger::storage::conformance::Place;
use countersign_audit::postgres::{LEDGER, PostgresStorage};
use countersign_model::Service;
use countersign_postgres::{Blocking, CORE, Pool, Settings, migrate};
use countersign_testkit::Postgres;

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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
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
