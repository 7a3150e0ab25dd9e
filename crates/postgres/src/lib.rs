//! Speaking with PostgreSQL: connections by mutual TLS, a pool of them, transactions that know whose rows they may
//! see, and how a commit came out.
//!
//! Everything that is kept in PostgreSQL is kept through this crate: sealed records (`store`), sealed facts
//! (`authority`), audit ledgers (`audit`) and plaintext budgets (`keys`), each with tables of its own and as a database
//! role of its own. It knows none of them, and decides nothing.
//!
//! - A connection is used by one [`Transaction`] at a time, and goes back into the pool only after the server has said
//!   that the transaction is over. Whatever else happens to it (an error, a caller who goes away, a panic) closes it.
//!   So nothing of one request is ever seen by the next.
//! - Whose rows a transaction may see is set for that transaction alone ([`Scope`]).
//! - A commit whose answer was lost is [`PgError::Unknown`], and never anything else.

mod at_once;
mod blocking;
mod connect;
mod error;
mod lease;
mod migrate;
mod pace;
mod pipeline;
mod pool;
mod settings;
mod setup;
mod tls;
mod transaction;

pub use tokio_postgres::types::ToSql;
pub use tokio_postgres::{Row, Statement};

pub use self::blocking::Blocking;
pub use self::error::PgError;
pub use self::lease::{Held, Lease, Leased};
pub use self::migrate::{CORE, Migration, TableChange, check_tables, migrate};
pub use self::pace::Pace;
pub use self::pipeline::{Done, Step};
pub use self::pool::Pool;
pub use self::settings::{Identity, NotAnAddress, SCHEMA, Settings, role_of};
pub use self::setup::{MAP, SCHEMA_ROLE, pg_hba, pg_ident, setup_sql};
pub use self::transaction::{Outcome, Question, Scope, Transaction};
