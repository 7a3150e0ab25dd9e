//! Who exists, who they are, and what is in force: tenants, users, record types, policies, tokens, revocations.
//!
//! [`Registry`] keeps these facts, each sealed, in one small database, and publishes every change to the guards.
//! [`Authority`] is what acts on them: it lets people log in with their SSH keys, mints and narrows tokens, and
//! executes control requests that a guard has admitted. A change is durable before it is published, and published
//! before it is answered, so that the next request is decided under it.
//!
//! What it is not: it doesn't decide who may do what (the guard and the policies do), it holds no records, and
//! there is no password and no static key in it, nor a way to add one.
//!
//! Order of making: a registry, from it the audit ledgers (they need its keys), then the authority, then guards.
//!
//! ```
//! # use std::sync::Arc;
//! # use countersign_authority::{Place, Registry, RegistryParts};
//! # use countersign_crypto::{SystemEntropy, ssh};
//! # use countersign_keys::FileKms;
//! # use countersign_model::clock::SystemClock;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let operator = ssh::PrivateKey::generate_ed25519(&SystemEntropy, "operator")?;
//! let parts = RegistryParts {
//!     place: Place::File(dir.path().join("control.db")),
//!     kms: Arc::new(FileKms::create(&dir.path().join("kms.key"), &SystemEntropy)?).into(),
//!     clock: Arc::new(SystemClock),
//!     entropy: Arc::new(SystemEntropy),
//!     key_open_ms: countersign_keys::MAX_OPEN_MS,
//!     key_capacity: 1000,
//! };
//! let registry = Registry::create(parts, &operator.public()?)?;
//! assert_eq!(registry.facts().load().facts.tenants.len(), 1);
//! # Ok(())
//! # }
//! ```

mod answer;
mod authority;
mod bootstrap;
mod challenge;
mod control;
pub mod custodian;
mod error;
mod exchange;
mod front;
pub mod identity;
pub mod keeper;
mod login;
pub mod people;
pub mod public;
mod registry;
mod signing;
mod snapshots;
mod time;

pub use answer::{
    AuditAccess, AuditEntry, AuditPage, ControlAnswer, May, NewInvitation, NewToken, PoliciesAnswer, ProviderAnswer,
    ProviderEntry, RevokedAnswer, RewrappedAnswer, RewrappedKey, ServiceEntry, TenantEntry, TypesAnswer, UserEntry,
    UserIdentity, UserKey, WhoAmI,
};
pub use authority::{Authority, AuthorityParts, Remembered};
pub use bootstrap::Bootstrap;
pub use challenge::Challenge;
pub use control::erase::{CopyEntry, ErasureEntry, ErasureProof, Finding};
pub use control::incident::BreachRules;
pub use control::incident::view::{
    ClockView, IncidentEntry, IncidentView, LogView, NoticeEntry, NoticeRequest, NoticeType, NoticeView, StepView,
    TenantView, TypeView,
};
pub use error::{ControlFailure, LoginRefused, RegistryError};
pub use front::LocalFront;
pub use login::{LOGIN_NAMESPACE, Login};
pub use registry::{CONTROL, Carried, KnownBackup, Place, Registry, RegistryParts, Sealed, SealedRow};
pub use signing::Signing;
pub use snapshots::{Present, RENEW, SnapshotError, Snapshots};
pub use time::rfc3339;

/// The role that operators have, in the tenant [`countersign_model::facts::OPERATORS`].
pub const OPERATOR_ROLE: &str = "operator";

/// The name of the first operator.
pub const FIRST_OPERATOR: &str = "operator";

#[cfg(test)]
mod tests;
