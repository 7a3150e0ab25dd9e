//! What a stage keeps its records in: SQLite files, or a PostgreSQL server of its own with `COUNTERSIGN_BACKEND=postgres`.

use std::path::Path;
use std::sync::Arc;

use countersign_crypto::SystemEntropy;
use countersign_model::Service;
use countersign_postgres::{CORE, Pool, migrate};
use countersign_store::postgres::RECORDS;
use countersign_store::{PostgresStore, SqliteStore, Store};
use countersign_testkit::Postgres;

/// The store, and the server that it needs.
#[expect(clippy::disallowed_methods, reason = "the suite is run once for each backend")]
pub async fn store(dir: &Path) -> (Arc<dyn Store>, Option<Postgres>) {
    match std::env::var("COUNTERSIGN_BACKEND").unwrap_or_default().as_str() {
        "" | "embedded" => {
            let data = dir.join("data");
            std::fs::create_dir(&data).unwrap();
            (Arc::new(SqliteStore::open(&data, Default::default()).unwrap()), None)
        }
        "postgres" => {
            let server = Postgres::start().unwrap();
            let pool = |identity| Pool::new(server.settings().unwrap(), identity);
            let (own, owner) = (pool(server.identity(Service::Store).unwrap()), pool(server.owner().unwrap()));
            migrate(&owner, &[CORE, RECORDS]).await.unwrap();
            (Arc::new(PostgresStore::new(own, Some(owner), Arc::new(SystemEntropy))), Some(server))
        }
        other => panic!("COUNTERSIGN_BACKEND={other}: expected embedded or postgres"),
    }
}
