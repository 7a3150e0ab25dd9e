//! `countersign demo`: a deployment with two example companies, made or opened, its story, and then the server.
//!
//! Everything here goes the way that anybody's requests go: logins by SSH key, tokens, the router, the guard. Nothing
//! that is told is written down here; it is asked for while it is told.

mod apart;
pub(crate) mod drill;
mod example;
mod load;
mod place;
mod story;
mod theft;

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;

use crate::cli::Context;
use crate::compose::{self, Opening};
use crate::config::{Config, Monitor, Text};
use crate::deployment::Deployment;
use crate::problem::Problem;
use crate::server::{self, Listening};
use crate::transport::{InProcess, Transport};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Address and port to serve on; 127.0.0.1:8443 if not given, or a free port where that is taken.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// As four processes that trust nobody, in place of one: authority, key service, store and gateway.
    #[arg(long)]
    apart: bool,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Result<(), Problem> {
    let terminal = context.terminal;
    let dir = place::choose(context.dir())?;
    let deployment = Deployment::at(&dir);
    if arguments.apart {
        return run_apart(context, &deployment, arguments.listen).await;
    }
    let fresh = !deployment.exists();
    if fresh {
        place::begin(&deployment)?;
        compose::init(&deployment, &configuration())?;
    }
    let config = compose::config(&deployment)?;
    let lock = server::lock(&deployment)?;
    let listening = listen(context, arguments.listen, config.server.listen)?;
    let opened = Arc::new(compose::open_as(&deployment, config, Opening { serves: true, ..Opening::default() }).await?);
    let transport = Arc::new(Transport::InProcess(Box::new(InProcess::new(Arc::clone(&opened), None))));
    terminal.line(&format!("{} {}", terminal.bold("Countersign, the demo, in"), dir.display()))?;
    if place::unfinished(&deployment) {
        load::load(&terminal, &deployment, &transport).await?;
        place::finish(&deployment)?;
    } else {
        terminal.line("  opened as it was left; nothing is loaded again")?;
    }
    if let Err(problem) = story::tell(&terminal, &deployment, &transport).await {
        // Somebody may have changed users or policies since; that is no reason not to serve.
        terminal.note(&format!("the story can't be told to its end: {problem}"));
    }
    story::commands(&terminal, &deployment, listening.address())?;
    drop(transport);
    let opened = Arc::into_inner(opened).ok_or_else(|| Problem::failed("the deployment is still in use"))?;
    server::serve(&terminal, &deployment, lock, opened, Some(listening), false).await
}

/// The defaults, and measures at any free port.
fn configuration() -> Config {
    let monitor = Monitor { listen: Text::of("127.0.0.1:0"), ..Monitor::default() };
    Config { monitor, ..Config::default() }
}

/// The same as four processes.
async fn run_apart(context: &Context, deployment: &Deployment, asked: Option<SocketAddr>) -> Result<(), Problem> {
    let terminal = context.terminal;
    if !deployment.exists() {
        place::begin(deployment)?;
        apart::init(deployment)?;
    }
    let config = compose::config(deployment)?;
    if config.services.run.is_all() {
        return Err(Problem::usage("the demo in this folder is one process").next("name another folder with --dir"));
    }
    let listening = listen(context, asked, config.server.listen)?;
    let address = listening.address();
    drop(listening);
    terminal.line(&format!("{} {}", terminal.bold("Countersign, the demo, in"), deployment.dir().display()))?;
    let running = apart::start(deployment, address).await?;
    running.show(&terminal)?;
    let transport = Arc::new(running.transport(deployment)?);
    if place::unfinished(deployment) {
        load::load(&terminal, deployment, &transport).await?;
        place::finish(deployment)?;
    } else {
        terminal.line("  opened as it was left; nothing is loaded again")?;
    }
    if let Err(problem) = story::tell(&terminal, deployment, &transport).await {
        terminal.note(&format!("the story can't be told to its end: {problem}"));
    }
    story::commands(&terminal, deployment, running.gateway)?;
    if let Some(measures) = &running.measures {
        terminal.line(&format!("measures {measures}"))?;
    }
    terminal.line(&format!("ready https://{}", running.gateway))?;
    running.run(deployment).await
}

/// The address asked for or, where nobody asked for one, any that is free.
fn listen(context: &Context, asked: Option<SocketAddr>, configured: SocketAddr) -> Result<Listening, Problem> {
    match (asked, Listening::on(asked.unwrap_or(configured))) {
        (_, Ok(listening)) => Ok(listening),
        (Some(_), Err(problem)) => Err(problem),
        (None, Err(_)) => {
            let listening = Listening::on(SocketAddr::new(configured.ip(), 0))?;
            let address = listening.address();
            context.terminal.note(&format!("{configured} is taken, so this one is on {address}"));
            Ok(listening)
        }
    }
}
