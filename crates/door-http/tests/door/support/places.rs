//! Where a house keeps what it has: in a folder, or in a PostgreSQL server of its own with `COUNTERSIGN_BACKEND=postgres`.

use std::path::Path;
use std::sync::Arc;

use countersign_audit::ledger::storage::{Folder, Storage};
use countersign_audit::postgres::{LEDGER, PostgresStorage};
use countersign_authority::{CONTROL, Place};
use countersign_crypto::SystemEntropy;
use countersign_keys::budget::{BUDGET, Budgets};
use countersign_model::{Service, UnixMs};
use countersign_postgres::{Blocking, CORE, Pool, migrate};
use countersign_store::postgres::RECORDS;
use countersign_store::{PostgresStore, SqliteStore, Store};
use countersign_testkit::Postgres;

/// A folder, and perhaps a server.
pub struct Places {
    dir: tempfile::TempDir,
    server: Option<Postgres>,
}

impl Places {
    /// Those that the environment asks for.
    #[expect(clippy::disallowed_methods, reason = "the suite is run once for each backend")]
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let backend = std::env::var("COUNTERSIGN_BACKEND").unwrap_or_default();
        let server = match backend.as_str() {
            "" | "embedded" => None,
            "postgres" => Some(Postgres::start().unwrap()),
            other => panic!("COUNTERSIGN_BACKEND={other}: expected embedded or postgres"),
        };
        if let Some(server) = &server {
            let owner = Pool::new(server.settings().unwrap(), server.owner().unwrap());
            migrate(&owner, &[CORE, CONTROL, BUDGET, RECORDS, LEDGER]).await.unwrap();
        }
        Self { dir, server }
    }

    /// Whether another authority could have been at work before: what it may have been shown is not taken any more.
    pub const fn are_shared(&self) -> bool {
        self.server.is_some()
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn blocking(server: &Postgres, service: Service) -> Arc<Blocking> {
        Blocking::start(server.settings().unwrap(), server.identity(service).unwrap()).unwrap()
    }

    pub fn control(&self) -> Place {
        match &self.server {
            None => Place::File(self.path().join("control.db")),
            Some(server) => Place::Postgres {
                database: Self::blocking(server, Service::Authority),
                bootstrap: self.path().join("bootstrap"),
            },
        }
    }

    pub fn ledger(&self, service: Service) -> Arc<dyn Storage> {
        match &self.server {
            None => Arc::new(Folder::open(&self.path().join("audit").join(service.as_str())).unwrap()),
            Some(server) => {
                let database = Self::blocking(server, service);
                Arc::new(PostgresStorage::open(database, &format!("{service}/first")).unwrap())
            }
        }
    }

    pub fn store(&self) -> Arc<dyn Store> {
        match &self.server {
            None => {
                let data = self.path().join("data");
                std::fs::create_dir_all(&data).unwrap();
                Arc::new(SqliteStore::open(&data, Default::default()).unwrap())
            }
            Some(server) => {
                let pool = |identity| Pool::new(server.settings().unwrap(), identity);
                let (own, owner) = (server.identity(Service::Store).unwrap(), server.owner().unwrap());
                Arc::new(PostgresStore::new(pool(own), Some(pool(owner)), Arc::new(SystemEntropy)))
            }
        }
    }

    pub fn budgets(&self, now: UnixMs) -> Budgets {
        match &self.server {
            None => Budgets::open(&self.path().join("budgets"), now).unwrap(),
            Some(server) => Budgets::shared(Self::blocking(server, Service::Keys), now).unwrap(),
        }
    }
}
