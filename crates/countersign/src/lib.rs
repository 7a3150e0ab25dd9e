//! The program: configuration, composition of the crates into a deployment, and the command line.
//!
//! It decides nothing about who may do what and touches no record: every command, those of the demo included, is a
//! request that passes the guard like anybody's. It is a library so that `main` is one line and so that developer
//! commands can compose a deployment the way the program does.
//!
//! ```
//! use std::path::Path;
//! let text = countersign::config::Config::default().to_text();
//! assert!(countersign::config::Config::parse(Path::new("countersign.toml"), &text).is_ok());
//! ```

mod breach;
mod cli;
pub mod client;
pub mod commands;
pub mod compose;
pub mod config;
mod demo;
pub mod deployment;
pub mod environment;
pub mod export;
pub mod import;
pub mod ledger;
pub mod logging;
pub mod login;
pub mod manage;
pub mod nearest;
pub mod ocsf;
pub mod problem;
pub mod progress;
pub mod proof;
pub mod query;
mod relocate;
pub mod server;
pub mod sso;
pub mod table;
pub mod terminal;
pub mod transport;
pub mod witness;

pub use cli::{main, reference};
