//! `postgrest` from PyPI, unchanged.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{client_environment, demo, root, target};

#[test]
#[ignore = "needs the environment that `cargo xtask test --only python` makes"]
fn the_published_client_works() -> Result<()> {
    let (deployment, server) = demo()?;
    let status = Command::new(target().join("clients/python/bin/python"))
        .arg(root().join("tests/clients/python/suite.py"))
        .envs(client_environment(&deployment, &server)?)
        .status()?;
    ensure!(status.success(), "the suite failed; the server's log:\n{}", std::fs::read_to_string(deployment.log())?);
    server.stop()
}
