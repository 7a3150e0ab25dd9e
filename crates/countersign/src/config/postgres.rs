//! `[postgres]`

use super::section::section;
use super::setting::{Text, Whole};

section! {
    /// Where everything that must survive is kept: in this folder, or in PostgreSQL. `countersign move` fills it in;
    /// docs/postgres.md has it from the beginning.
    Postgres = "postgres" {
        /// The database, such as "postgres://db1.internal,db2.internal/countersign": the primary and its standbys, in
        /// any order, without user or password, because services sign in by certificate. Empty keeps all in this folder.
        address: Text = Text::empty();
        /// The certificate authority that the database's own certificate is of, in PEM; empty is this deployment's, in
        /// DIR/ca.pem.
        server_ca: Text = Text::empty();
        /// Connections that each service of this process may have at a time.
        connections: Whole<1, 1_000> = Whole::new(16);
        /// How long a server that has proved to be the primary is believed to be it, in milliseconds. Keep it well
        /// below the time after which another can be made the primary (Patroni's ttl).
        proof_ms: Whole<500, 60_000> = Whole::new(3_000);
        /// Whether audit records are kept in the database too, rather than under DIR/audit.
        ledger: bool = true;
    }
}
