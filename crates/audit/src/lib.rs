//! The audit log: who asked for what, on whose behalf, through which door and service, what was decided and
//! why, and which records and fields it came to. Durable before any data leaves; never a value.
//!
//! A service makes a [`Record`] and gives it to an [`AuditSink`], which answers when the record is durable. If
//! it can't be, the service refuses: no record, no release. [`Ledger`] is the sink that writes files.
//!
//! What identifies records or people is sealed under the tenant's key. Time, request, service, verdict and
//! tenant id are in clear, so that the records of one request can be laid side by side without any key. Every
//! stored record is one opaque leaf at a dense position of a Merkle log (C2SP tlog-tiles), which [`Ledger::open_as_log`]
//! keeps beside them, and which [`verify`] holds them against.
//!
//! Each service has a ledger of its own, and what they say of one request is held against each other: [`reconcile`]
//! finds the requests that one of them has no record of, or another one; [`receipt`] shows one request as all of them
//! recorded it.
//!
//! What this is not: it decides nothing, and it raises no alarms.
//!
//! ```
//! use std::sync::Arc;
//! use countersign_audit::{AuditError, AuditKeys, AuditSink, Body, Ledger, LedgerQuery, Options, Record};
//! use countersign_audit::{Service, Verdict};
//! use countersign_crypto::{SealKey, SecretKey, SystemEntropy};
//! use countersign_model::{RequestId, TenantId, UnixMs};
//!
//! struct OneKey(Arc<SealKey>);
//! impl AuditKeys for OneKey {
//!     fn audit_key(&self, _: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
//!         Ok(Arc::clone(&self.0))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let folder = dir.path().join("gateway");
//! let keys = OneKey(Arc::new(SealKey::new(&SecretKey::generate(&SystemEntropy))));
//! let ledger =
//!     Ledger::open(&folder, Service::Gateway, Arc::new(keys), Arc::new(SystemEntropy), Options::default())?;
//! let (now, tenant) = (UnixMs(1_780_000_000_000), TenantId::from_u128(1));
//! let record = Record {
//!     time: now,
//!     request: RequestId::new(now, &SystemEntropy),
//!     service: Service::Gateway,
//!     door: None,
//!     verdict: Verdict::Refused,
//!     tenant: Some(tenant),
//!     tally: None,
//!     body: Body { action: "read".into(), ..Body::default() },
//! };
//! let position = ledger.append(record.clone()).await?;
//! assert_eq!(ledger.query(Some(tenant), &LedgerQuery::default())?, [(position, record)]);
//! # Ok(()) }
//! ```

mod codec;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod leaf;
pub mod ledger;
pub mod postgres;
pub mod receipt;
pub mod reconcile;
mod record;
mod recordset;
mod sink;
mod tally;
#[cfg(test)]
mod testing;

pub use error::{AuditError, LedgerError};
pub use leaf::LeafHeader;
pub use ledger::log::{Log, LogParts};
pub use ledger::verify;
pub use ledger::{By, Exposure, Ledger, LedgerQuery, Options, Position, Selector};
pub use record::{Access, Body, Reason, Record, Service, Verdict};
pub use recordset::{NotARecordSet, RecordSet};
pub use sink::{AuditKeys, AuditSink};
pub use tally::{Signal, TallyEntry};
