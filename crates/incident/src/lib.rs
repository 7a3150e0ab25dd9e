//! Breaches: what one came to, computed from audit records, and the notices that those concerned get.
//!
//! [`Suspects`] says whose doings count, tokens that were made from a stolen one among them. [`Gathering`] takes the
//! records of all ledgers in one pass and gives the [`Radius`]: for each tenant what left as plaintext, what was changed,
//! and what was read and stayed sealed. [`Templates`] write the notices, [`Clocks`] say until when somebody has to be
//! told.
//!
//! What this is not: it reads no ledger, sends nothing and stores nothing.
//!
//! ```
//! use countersign_incident::{Gathering, Suspects};
//! use countersign_model::{TokenId, UnixMs};
//!
//! let suspects = Suspects::token(TokenId::from_u128(1));
//! let selector = suspects.selector(UnixMs(0), None);
//! assert_eq!(selector.tokens, [TokenId::from_u128(1)]);
//! // Every ledger is asked for what the selector names, and what it says goes to the gathering.
//! let radius = Gathering::new(suspects, UnixMs(0), None).finish();
//! assert!(radius.tenants.is_empty());
//! ```

mod clocks;
mod exact;
mod gather;
mod notice;
mod radius;
mod suspects;
mod template;
#[cfg(test)]
mod testing;

pub use clocks::{Clock, Clocks, ClocksError, Running};
pub use exact::{Exact, ExactRequest, ExactType};
pub use gather::Gathering;
pub use notice::{Facts, Templates};
pub use radius::{LogPart, Radius, TenantRadius, TypeRadius};
pub use suspects::Suspects;
pub use template::{Template, TemplateError};
