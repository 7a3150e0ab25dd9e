//! Ledgers in PostgreSQL.
#![expect(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use countersign_audit::ledger::storage::conformance;

use self::support::{InPostgres, Server};

#[test]
fn the_storage_conforms() {
    let server = Server::start();
    conformance::run(|| InPostgres(&server, server.fresh()));
}
