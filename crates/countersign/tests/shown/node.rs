//! `@supabase/postgrest-js` from npm, unchanged.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{client_environment, demo, target};

#[test]
#[ignore = "needs the modules that `cargo xtask test --only node` installs"]
fn the_published_client_works() -> Result<()> {
    let (deployment, server) = demo()?;
    let status = Command::new("node")
        .args(["--test", "--test-reporter=spec", "suite.mjs"])
        .current_dir(target().join("clients/node"))
        .envs(client_environment(&deployment, &server)?)
        .status()?;
    ensure!(status.success(), "the suite failed; the server's log:\n{}", std::fs::read_to_string(deployment.log())?);
    server.stop()
}
