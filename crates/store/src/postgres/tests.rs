use super::*;
use crate::conformance;
use countersign_crypto::SystemEntropy;
use countersign_model::Service;
use countersign_postgres::{CORE, migrate};
use countersign_testkit::Postgres;

/// A store in a database of its own; in the same one when it is asked for again.
async fn store(server: &Postgres, name: &str, connections: usize) -> PostgresStore {
    let fresh = server.another(name);
    let mut settings = fresh.unwrap_or_else(|_| server.settings().unwrap());
    name.clone_into(&mut settings.database);
    settings.connections = connections;
    let schema = Pool::new(settings.clone(), server.owner().unwrap());
    migrate(&schema, &[CORE, RECORDS]).await.unwrap();
    let pool = Pool::new(settings, server.identity(Service::Store).unwrap());
    PostgresStore::new(pool, Some(schema), Arc::new(SystemEntropy))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms() {
    let server = Postgres::start().unwrap();
    conformance::run(async |place| store(&server, &format!("place{place}"), 16).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reseals() {
    let server = Postgres::start().unwrap();
    let open = async |place: u32, seals_max: u64| {
        let store = store(&server, &format!("place{place}"), 16).await;
        store.limit_seals(seals_max);
        store
    };
    conformance::reseals(open).await;
}

/// The same with so few connections that all wait for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_with_one_connection() {
    let server = Postgres::start().unwrap();
    conformance::run(async |place| store(&server, &format!("place{place}"), 1).await).await;
}

mod carry;
mod epochs;
mod erase;
mod faults;
mod group;
mod tables;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn remembers() {
    let server = Postgres::start().unwrap();
    conformance::remembers(&store(&server, "past", 2).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn moments() {
    let server = Postgres::start().unwrap();
    conformance::moments(store(&server, "moments", 4).await).await;
}
