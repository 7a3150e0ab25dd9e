//! `postgrest` from PyPI, unchanged.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{Layout, client_environment, root, target, whole_and_apart};

whole_and_apart!(the_published_client_works);

fn the_published_client_works(layout: Layout) -> Result<()> {
    let (deployment, server) = layout.start()?;
    let status = Command::new(target().join("clients/python/bin/python"))
        .arg(root().join("tests/clients/python/suite.py"))
        .envs(client_environment(&deployment, &server)?)
        .status()?;
    ensure!(status.success(), "the suite failed; the server's log:\n{}", std::fs::read_to_string(deployment.log())?);
    server.stop()
}
