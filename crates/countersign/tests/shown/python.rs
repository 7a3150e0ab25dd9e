//! `postgrest` from PyPI, unchanged; and audit records as OCSF events, by the published schema.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{Layout, client_environment, root, target, whole_and_apart};

whole_and_apart!(the_published_client_works, exported_events_are_as_the_schema_wants);

fn the_published_client_works(layout: Layout) -> Result<()> {
    let (deployment, server) = layout.start()?;
    let status = Command::new(target().join("clients/python/bin/python"))
        .arg(root().join("tests/clients/python/suite.py"))
        .envs(client_environment(&deployment, &server)?)
        .status()?;
    ensure!(status.success(), "the suite failed; the server's log:\n{}", std::fs::read_to_string(deployment.log())?);
    server.stop()
}

/// One of each class at least: the story of the demo has reads, changes, logins and management; a token is narrowed here.
fn exported_events_are_as_the_schema_wants(layout: Layout) -> Result<()> {
    let (deployment, server) = layout.start()?;
    deployment.run(&["--as", "robert@northwind", "token", "narrow", "--read-only"])?;
    let events = deployment.dir().join("events.ndjson");
    let to = events.display().to_string();
    deployment.run(&["--as", "robert@northwind", "audit", "export", "--to", &to])?;
    let checked = Command::new(target().join("clients/ocsf/bin/python"))
        .arg(root().join("tests/clients/ocsf/validate.py"))
        .arg(&events)
        .status()?;
    ensure!(checked.success(), "the schema of OCSF refuses events");
    server.stop()
}
