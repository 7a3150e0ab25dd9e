//! What the project promises, shown on the real program: started as a process, asked over HTTPS, stopped, killed,
//! searched. `cargo xtask test` runs each module as a step; plain `cargo test` leaves them out, as they take minutes.
#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

mod audit;
mod crash;
mod curl;
mod data;
mod leaks;
mod node;
mod python;
mod roles;

use std::path::Path;

use anyhow::Result;
use countersign_testkit::{Deployment, Server};

/// The program under test.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_countersign"))
}

/// A demo in a folder of its own, on a port of its own.
fn demo() -> Result<(Deployment, Server)> {
    let deployment = Deployment::temporary(program())?;
    let server = deployment.demo()?;
    Ok((deployment, server))
}

/// What the suites of other people's clients read.
fn client_environment(deployment: &Deployment, server: &Server) -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("COUNTERSIGN_URL", format!("https://{}", server.address())),
        ("COUNTERSIGN_CA", deployment.ca_file().display().to_string()),
        ("NODE_EXTRA_CA_CERTS", deployment.ca_file().display().to_string()),
        ("TOKEN_ADMIN", deployment.login("andrew@northwind")?),
        ("TOKEN_ACCOUNTANT", deployment.login("nancy@northwind")?),
        ("TOKEN_REP", deployment.login("janet@northwind")?),
        ("TOKEN_OTHER", deployment.login("andrew@chinook")?),
    ])
}

/// The repository's root.
fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where builds go, and what the suites install.
fn target() -> std::path::PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into)
}
