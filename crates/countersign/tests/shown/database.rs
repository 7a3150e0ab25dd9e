//! Seen from the database's side: what its administrator finds of the data, and what each service's role may do.

mod rights;
mod search;

use anyhow::Result;
use countersign_testkit::{Deployment, Postgres, Server};

use crate::Layout;

/// A demo with both companies' data, moved to a database with these settings of its own.
fn start(settings: &str) -> Result<(Postgres, Deployment, Server)> {
    let (deployment, server) = Layout::Whole.start()?;
    server.stop()?;
    let postgres = deployment.move_to_postgres_with(settings)?;
    let server = deployment.serve()?;
    Ok((postgres, deployment, server))
}
