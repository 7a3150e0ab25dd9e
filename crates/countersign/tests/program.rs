//! The program as a person or a script meets it: the built binary, its output and its exit codes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says so by stopping")]
#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

#[path = "program/access.rs"]
mod access;
#[path = "program/apart.rs"]
mod apart;
#[path = "program/backups.rs"]
mod backups;
#[path = "program/bench.rs"]
mod bench;
#[path = "program/bound.rs"]
mod bound;
#[path = "program/commands.rs"]
mod commands;
#[path = "program/configuration.rs"]
mod configuration;
#[path = "program/demo.rs"]
mod demo;
#[path = "program/erasure.rs"]
mod erasure;
#[path = "program/export.rs"]
mod export;
#[path = "program/history.rs"]
mod history;
#[path = "program/import.rs"]
mod import;
#[path = "program/incidents.rs"]
mod incidents;
#[path = "program/key_limits.rs"]
mod key_limits;
#[path = "program/keys.rs"]
mod keys;
#[path = "program/kms.rs"]
mod kms;
#[path = "program/moves.rs"]
mod moves;
#[path = "program/old_disk.rs"]
mod old_disk;
#[path = "program/on_postgres.rs"]
mod on_postgres;
#[path = "program/pages.rs"]
mod pages;
#[path = "program/repositories.rs"]
mod repositories;
#[path = "program/services.rs"]
mod services;
#[path = "program/standby.rs"]
mod standby;
#[path = "program/taken_out.rs"]
mod taken_out;
#[path = "program/tokens.rs"]
mod tokens;
#[path = "program/witness.rs"]
mod witness;
