//! Where records rest: record types, the [`Store`] trait and its backends: embedded, and in PostgreSQL.
//!
//! A store keeps sealed cells, keyed tags and identifiers that Countersign made. It never sees a value or a key,
//! so nothing in this crate can leak one. It finds records by identifier, by the equality of a tag, or by going
//! through all of them; whatever else a filter asks is answered by the engine after unsealing.
//!
//! It is not where access is decided: the tenant is an argument, taken by the caller from a verified token, and
//! every backend keeps tenants apart by construction ([`sqlite`]: one file each; [`postgres`]: row security).
//!
//! ```
//! let types = countersign_store::types_file::parse(
//!     r#"
//!     [types.customer.fields]
//!     id      = { kind = "text", class = "internal" }
//!     company = { kind = "text", class = "internal" }
//!     "#,
//! ).unwrap();
//! assert!(types.find("customer").is_some());
//! ```

mod access;
mod batch;
pub mod carry;
#[cfg(any(test, feature = "conformance"))]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a suite of tests: it fails by panicking, wherever it is compiled"
)]
pub mod conformance;
mod erase;
mod error;
pub mod history;
mod layout;
pub mod postgres;
mod seals;
pub mod sqlite;
mod texts;
pub mod types_file;

use async_trait::async_trait;
use countersign_model::{RecordTypes, TenantId, TypeId, UnixMs};

pub use access::{Access, Scan, SealedRow};
pub use batch::{Batch, Done, ONCE_MS, Once, Rejected, Requirement, SealedChange};
pub use erase::{Erases, Traces};
pub use error::{StoreError, Unavailable};
pub use history::{Histories, SealedState, StateScan};
pub use postgres::PostgresStore;
pub use seals::{CellKey, Nearing, NearingKeys, SEALS_MAX, SealCount};
pub use sqlite::{Options, SqliteStore};

/// A place for sealed records. `conformance` says in tests what every implementation must do.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes room for a tenant. Durable when it returns; a tenant that is there already is left as it is.
    ///
    /// # Errors
    /// [`StoreError`] if the storage can't be written.
    async fn create_tenant(&self, tenant: TenantId) -> Result<(), StoreError>;

    /// Takes these record types as the ones in force, for every tenant. A tenant's storage is brought up to date
    /// when it is next used. The types must come from [`types_file::merge`] with those in force before.
    ///
    /// # Errors
    /// [`StoreError`] if the storage can't be reached.
    async fn apply_types(&self, types: &RecordTypes) -> Result<(), StoreError>;

    /// Reads records. They ascend by record id, and come from one moment: no write is seen in half.
    ///
    /// # Errors
    /// [`StoreError::UnknownTenant`], [`StoreError::UnknownField`] for a type or field that is not in force or a
    /// tag of a field that is not indexed, and what the storage may meet.
    async fn read(&self, tenant: TenantId, scan: &Scan) -> Result<Vec<SealedRow>, StoreError>;

    /// Makes all changes of the batch or none. Durable when it returns `Ok(Ok(()))`. Dropping the future leaves
    /// either all or none of it done.
    ///
    /// # Errors
    /// As [`Self::read`]. After [`StoreError::Unknown`] it is unknown whether the batch was made; after anything else it
    /// was not.
    async fn write(&self, tenant: TenantId, batch: Batch) -> Result<Result<(), Rejected>, StoreError>;

    /// What is known of a batch that was made under this [`Once::id`] less than [`ONCE_MS`] before `now`. While one is
    /// being made, this may say that there is none.
    ///
    /// # Errors
    /// [`StoreError::UnknownTenant`], and what the storage may meet.
    async fn done(&self, tenant: TenantId, id: [u8; 32], now: UnixMs) -> Result<Option<Done>, StoreError>;

    /// How many records of a type a tenant has.
    ///
    /// # Errors
    /// As [`Self::read`].
    async fn count(&self, tenant: TenantId, record_type: TypeId) -> Result<u64, StoreError>;

    /// Whether any tenant has a record of this type: what [`types_file::merge_knowing`] asks. May take long, as
    /// it looks at every tenant.
    ///
    /// # Errors
    /// What the storage may meet.
    async fn any_records(&self, record_type: TypeId) -> Result<bool, StoreError>;

    /// The same storage where it keeps what records were; `None` if it keeps nothing of that.
    fn history(&self) -> Option<&dyn Histories> {
        None
    }

    /// The same storage where it removes data for good; `None` if it can't.
    fn erasing(&self) -> Option<&dyn Erases> {
        None
    }
}
