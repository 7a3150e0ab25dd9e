//! The words of Countersign as types: identifiers, values, record types, requests, queries and plans.
//!
//! Everything here is plain data and pure functions. There is no I/O, no cryptography, no clock and no
//! randomness: both come in through the traits in [`clock`].
//!
//! A request exists in two forms. A door makes a [`Request`], in names and raw literals, exactly as asked.
//! The guard resolves it against the record types and the caller's [`Plan`]s into a [`query`] in identifiers
//! and typed values; nothing downstream of the guard ever sees a name that was not judged.
//!
//! ```
//! use countersign_model::{Kind, Value};
//! let total = Value::parse(Kind::Decimal, "472.38").unwrap();
//! assert_eq!(total.to_text().as_deref(), Some("472.38"));
//! ```

pub mod access;
pub mod beside;
pub mod budget;
pub mod clock;
pub mod control;
pub mod custody;
pub mod erasure;
pub mod facts;
pub mod fieldset;
pub mod id;
pub mod incident;
pub mod name;
pub mod plan;
pub mod predicate;
pub mod query;
pub mod request;
pub mod row;
pub mod service;
pub mod tally;
pub mod types;
pub mod value;
pub mod watch;

pub use budget::{BudgetKind, BudgetLimits};
pub use clock::{Clock, Entropy, UnixMs};
pub use fieldset::FieldSet;
pub use id::{
    AlertId, FieldId, GrantId, IncidentId, RecordId, RequestId, SessionId, SilenceId, TenantId, TokenId, TypeId, UserId,
};
pub use name::Name;
pub use plan::Plan;
pub use predicate::{Comparison, Predicate};
pub use request::Request;
pub use row::{Row, RowSet};
pub use service::Service;
pub use tally::{Opened, Tally};
pub use types::{Field, RecordType, RecordTypes, Sensitivity};
pub use value::{Kind, Value};
