//! What the project promises, shown on the real program: started as a process, asked over HTTPS, stopped, killed,
//! searched. `cargo xtask test` runs each module as a step; plain `cargo test` leaves them out, as they take minutes.
#![expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "figures are to be seen")]

mod alerts;
mod audit;
mod backups;
mod crash;
mod curl;
mod data;
mod database;
mod detections;
mod leaks;
mod measures;
mod node;
mod oidc;
mod ports;
mod processes;
mod python;
mod roles;
mod rotation;
mod s3;
mod scan;

use std::path::{Path, PathBuf};

use anyhow::Result;
use countersign_testkit::{Deployment, Server};

/// The program under test.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_countersign"))
}

/// How many processes a demo is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// One.
    Whole,
    /// Four.
    Apart,
}

impl Layout {
    /// Starts the demo in this folder.
    fn demo(self, deployment: &Deployment) -> Result<Server> {
        match self {
            Self::Whole => deployment.demo(),
            Self::Apart => deployment.demo_apart(),
        }
    }

    /// Starts what a demo has left in this folder.
    fn again(self, deployment: &Deployment) -> Result<Server> {
        match self {
            Self::Whole => deployment.serve(),
            Self::Apart => deployment.demo_apart(),
        }
    }

    /// The folders of its services' own audit logs, keys and data: one folder, or four.
    fn folders(self, deployment: &Deployment) -> Vec<PathBuf> {
        let dir = deployment.dir();
        let others = ["keys", "store", "gateway"].map(|service| dir.join("apart").join(service));
        match self {
            Self::Whole => vec![dir],
            Self::Apart => [dir].into_iter().chain(others).collect(),
        }
    }

    /// A demo in a folder of its own, on ports of its own.
    fn start(self) -> Result<(Deployment, Server)> {
        let deployment = Deployment::temporary(program())?;
        let server = self.demo(&deployment)?;
        Ok((deployment, server))
    }
}

/// A demo that is one process, in a folder of its own, on a port of its own.
fn demo() -> Result<(Deployment, Server)> {
    Layout::Whole.start()
}

/// Each of these checks twice: with one process and with four.
macro_rules! whole_and_apart {
    ($($check:ident),+ $(,)?) => {
        mod whole {
            $(#[test]
            #[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
            fn $check() -> anyhow::Result<()> { super::$check(crate::Layout::Whole) })+
        }
        mod apart {
            $(#[test]
            #[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
            fn $check() -> anyhow::Result<()> { super::$check(crate::Layout::Apart) })+
        }
    };
}
use whole_and_apart;

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
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where builds go, and what the suites install.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into)
}
