//! The one guard: nothing else authenticates or authorises (the first law).
//!
//! A door lowers what arrives into a [`Request`](countersign_model::Request) and calls [`Guard::admit`]. The guard
//! verifies the token, finds out who the caller is, resolves every name in the request under what the caller may
//! see, and answers with a [`Permit`] that holds the judged request, or with a [`Refusal`]. Refusals are recorded
//! before they are answered; a permit is settled, with a durable record, before anything leaves.
//!
//! What it is not: it reads no record and touches no key. The engine does, and accepts nothing but a permit.
//!
//! A permit can't be made, copied or taken apart outside this crate:
//!
//! ```compile_fail,E0451
//! use countersign_guard::Permit;
//! fn forge() -> Permit {
//!     Permit { inner: unimplemented!() }
//! }
//! ```
//!
//! ```compile_fail,E0599
//! fn twice(permit: countersign_guard::Permit) -> (countersign_guard::Permit, countersign_guard::Permit) {
//!     (permit.clone(), permit)
//! }
//! ```
//!
//! ```compile_fail,E0616
//! fn swap(mut permit: countersign_guard::Permit, other: countersign_model::query::Judged) {
//!     permit.inner.judged = other;
//! }
//! ```
//!
//! What may be done with one is to read it:
//!
//! ```
//! fn read(permit: &countersign_guard::Permit) -> &countersign_model::query::Judged {
//!     permit.judged()
//! }
//! ```

mod bearer;
mod guard;
mod observe;
mod permit;
mod plans;
mod principal;
mod refusal;
mod resolve;
mod state;

pub use bearer::Bearer;
/// What a [`Refusal::Token`] holds.
pub use countersign_token::TokenError;
pub use guard::{Dpop, Guard, GuardParts, Judgement, Peer, REQUEST_TIME};
pub use observe::{Observation, Observe, Unobserved};
pub use permit::{Permit, Receipt, Settlement};
pub use refusal::{Invalid, Refusal};
pub use resolve::Limits;
pub use state::{CATCH_UP, EpochGap, FactsCell, GRACE_MS, State};
