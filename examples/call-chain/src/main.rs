//! Three small services in a row, `front` → `orders` → `records`, of which the last one asks Countersign for records.
//!
//! None of them has a credential of its own for any of the others. Each takes the caller's token from the request,
//! verifies it, and sends the same token on; Countersign gives the last one what the first caller may see. The README
//! beside this says how to run it, and `tests/chain.rs` shows that it is so.
#![expect(clippy::print_stdout, reason = "the services of this example tell what they do")]

mod certificates;
mod serve;
mod service;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use countersign_client::Authority;
use tokio::net::TcpListener;

use crate::service::{Chain, Role};

#[derive(Parser)]
#[command(about = "Three services in a row that end at Countersign, each acting with its caller's token")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a certificate authority and a certificate for each service, good for 12 hours.
    Certificates {
        /// Where they are written.
        dir: PathBuf,
    },
    /// The service that users call.
    Front(Service),
    /// The service in the middle.
    Orders(Service),
    /// The service that asks Countersign.
    Records(Service),
    /// A company outside, which nobody trusts with a token. It answers with the names of the headers that it got.
    Partner(Listen),
    /// All three services in one process, and the certificates for them.
    All {
        /// Countersign's URL.
        #[arg(long)]
        countersign: String,
        /// The deployment's ca.pem.
        #[arg(long)]
        ca: PathBuf,
        /// Where the certificates are written.
        #[arg(long)]
        tls: PathBuf,
        /// Where the first service listens; the others take a free port.
        #[arg(long, default_value = "127.0.0.1:9001")]
        listen: SocketAddr,
    },
}

#[derive(Args)]
struct Listen {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// The folder that `certificates` made.
    #[arg(long)]
    tls: PathBuf,
}

#[derive(Args)]
struct Service {
    #[command(flatten)]
    listen: Listen,
    /// Countersign's URL.
    #[arg(long)]
    countersign: String,
    /// The deployment's ca.pem.
    #[arg(long)]
    ca: PathBuf,
    /// The next service's URL; not for the last one.
    #[arg(long)]
    next: Option<String>,
    /// The partner's URL, to be called with each request too.
    #[arg(long)]
    partner: Option<String>,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Line::parse().command {
        Command::Certificates { dir } => certificates::make(&dir),
        Command::Front(service) => start(Role::Front, service).await,
        Command::Orders(service) => start(Role::Orders, service).await,
        Command::Records(service) => start(Role::Records, service).await,
        Command::Partner(Listen { listen, tls }) => {
            let listener = TcpListener::bind(listen).await?;
            ready(&listener)?;
            serve::serve(listener, service::partner(), &tls, "partner").await
        }
        Command::All { countersign, ca, tls, listen } => all(&countersign, &ca, &tls, listen).await,
    }
}

/// Printed once calls are answered, so that whoever started it knows where.
fn ready(listener: &TcpListener) -> Result<()> {
    println!("ready https://{}", listener.local_addr()?);
    Ok(())
}

async fn start(role: Role, service: Service) -> Result<()> {
    let Service { listen, countersign, ca, next, partner } = service;
    let ca = std::fs::read_to_string(&ca).with_context(|| ca.display().to_string())?;
    let services_ca = certificates::authority(&listen.tls)?;
    let authority = Authority::connect(&countersign, &ca).await?;
    let chain = match role {
        Role::Records => Chain::to_countersign(authority, &countersign, &ca)?,
        _ => Chain::to_service(
            authority,
            role,
            &next.context("--next is missing: the URL of the next service")?,
            partner.as_deref(),
            &services_ca,
        )?,
    };
    let listener = TcpListener::bind(listen.listen).await?;
    ready(&listener)?;
    serve::serve(listener, service::router(chain), &listen.tls, role.name()).await
}

async fn all(countersign: &str, ca: &Path, tls: &Path, listen: SocketAddr) -> Result<()> {
    certificates::make(tls)?;
    let ca = std::fs::read_to_string(ca).with_context(|| ca.display().to_string())?;
    let services_ca = certificates::authority(tls)?;
    // Each has its own view of Countersign, as if they were apart.
    let authority = || Authority::connect(countersign, &ca);

    let records = TcpListener::bind("127.0.0.1:0").await?;
    let orders = TcpListener::bind("127.0.0.1:0").await?;
    let front = TcpListener::bind(listen).await?;
    let url = |listener: &TcpListener| anyhow::Ok(format!("https://{}", listener.local_addr()?));

    let last = Chain::to_countersign(authority().await?, countersign, &ca)?;
    let middle = Chain::to_service(authority().await?, Role::Orders, &url(&records)?, None, &services_ca)?;
    let first = Chain::to_service(authority().await?, Role::Front, &url(&orders)?, None, &services_ca)?;
    println!("orders  {}", url(&orders)?);
    println!("records {}", url(&records)?);
    ready(&front)?;
    tokio::try_join!(
        serve::serve(records, service::router(last), tls, "records"),
        serve::serve(orders, service::router(middle), tls, "orders"),
        serve::serve(front, service::router(first), tls, "front"),
    )?;
    Ok(())
}
