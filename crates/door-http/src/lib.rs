//! The HTTP door: lowers HTTPS requests into [`Request`](countersign_model::Request)s and renders their answers.
//!
//! Records live at `/rest/v1/{type}` in PostgREST's dialect, so that its published clients work unchanged; tenants,
//! users, types, policies, tokens and audit records live under `/v1/`. `docs/http.md` describes both, and the
//! server itself at `/v1/openapi.json`.
//!
//! What it is not: it authenticates nobody, decides nothing and holds no key to a record. A request without a token,
//! or with one that is no good, goes to the guard like any other, and the guard refuses it.
//!
//! The way of a request: [`serve`] (TLS, limits) → [`Router`] ([`routes`]) → [`rest`] or [`control`] (parsers,
//! pure functions that a fuzzer can call) → [`Backend`] → [`rest::answer`] or [`problem`] (the one table of errors).
//!
//! ```
//! use countersign_door_http::{Limits, rest::query};
//! let read = query::parse("select=company,invoice(total)&country=eq.Brazil&limit=5", &Limits::default())?;
//! assert_eq!(read.select.len(), 2);
//! let problem = query::parse("country=equals.Brazil", &Limits::default()).unwrap_err();
//! assert_eq!(problem.wire().code, "PGRST100");
//! # Ok::<(), countersign_door_http::Problem>(())
//! ```

mod app;
pub mod backend;
pub mod control;
#[cfg(test)]
mod fake;
mod limits;
pub mod problem;
pub mod rest;
mod router;
pub mod routes;
mod server;

pub use app::{App, AppParts};
pub use backend::Backend;
pub use limits::Limits;
pub use problem::Problem;
pub use router::{OPENAPI, Paused, REQUEST, Router, problem_response};
pub use server::serve;
