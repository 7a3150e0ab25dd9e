//! Services apart, put together as the program does it: a folder, a certificate, facts, a guard and a ledger for each,
//! and TLS between them on loopback. All of them are in this one process, so that tests can look into each one's own
//! ledger, and can play whoever has taken one of them over.
//!
//! What takes longer is left out of plain `cargo test`; `cargo xtask test --only apart` runs everything.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, and says what it measured"
)]

mod at_rest;
mod attacker;
mod audit_across_services;
mod budget_holds_across_gateways;
mod certificates_renewed_under_load;
mod deadlines;
mod example;
mod holding_a_token_is_not_enough;
mod incidents;
mod logs;
mod monitor;
mod reconciler;
mod revocation_reaches_every_service;
mod sinks;
mod taken_over_gateway;
mod three_days;
mod world;
