//! Calls to what is not ours: identity providers, webhooks, mail servers.
//!
//! Whom to call is written in settings, a tenant's or the operator's, so a call may be meant to reach what only this
//! server can reach. The rules against that are here, once: see [`fetch::Fetcher`].
//!
//! What this is not: it knows neither what is sent nor why, and services of one deployment don't call each other by it
//! (the crate `wire` does that).

pub mod address;
pub mod fetch;
pub mod mail;
