//! The demo as four processes: the authority in the demo's folder, the other services each in a folder of its own.
//!
//! What the folders share is nothing: each service joins with a token of its own, and has its own keys and its own
//! audit log. The processes are children of this one and end with it, however it ends: they stop when their standard
//! input closes.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use countersign_model::Service;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::load::caller;
use crate::compose::{self, open};
use crate::config::{Config, Roles, Text};
use crate::deployment::{Deployment, Running};
use crate::login::operator;
use crate::problem::{Exit, Problem, io};
use crate::server;
use crate::terminal::Terminal;
use crate::transport::{InProcess, Network, Transport};

/// The services that are not the authority, in the order in which they are started.
const OTHERS: [Service; 3] = [Service::Keys, Service::Store, Service::Gateway];

/// How long a service may take until it is ready.
const START: Duration = Duration::from_secs(60);

/// How often, and after which pause, is looked whether an earlier demo's processes are gone: for 3 seconds.
const LEFT_TRIES: u32 = 60;
const LEFT_PAUSE: Duration = Duration::from_millis(50);

/// How often two free ports in a row are looked for.
const PORT_TRIES: u32 = 100;

/// How long a service may take to end when it is asked to.
const STOP: Duration = Duration::from_secs(30);

/// Four processes.
pub(super) struct Apart {
    /// In the order in which they were started.
    services: Vec<Process>,
    /// Where the gateway answers.
    pub(super) gateway: SocketAddr,
    /// Where the monitor shows measures, as it says it.
    pub(super) measures: Option<String>,
}

/// What a process says when it is ready.
struct Ready {
    /// Where it takes other services' calls.
    wire: SocketAddr,
    /// Where it takes users' requests.
    door: Option<SocketAddr>,
    measures: Option<String>,
}

/// A service in a process.
struct Process {
    service: Service,
    wire: SocketAddr,
    child: Child,
    /// The process ends when this is dropped.
    _stdin: ChildStdin,
}

/// Where a service's folder is.
pub(super) fn folder(demo: &Deployment, service: Service) -> Deployment {
    match service {
        Service::Authority => demo.clone(),
        other => Deployment::at(demo.dir().join("apart").join(other.as_str())),
    }
}

/// Makes the four folders.
pub(super) fn init(demo: &Deployment) -> Result<(), Problem> {
    let config = |service: Service| {
        let mut config = Config::default();
        config.services.run = match service {
            // Whoever watches is one process with the authority.
            Service::Authority => Roles::some([Service::Authority, Service::Monitor]),
            other => Roles::one(other),
        };
        if service == Service::Authority {
            config.monitor.listen = Text::of("127.0.0.1:0");
        }
        config
    };
    for service in OTHERS {
        let folder = folder(demo, service);
        if !folder.exists() {
            compose::init_apart(&folder, &config(service))?;
        }
    }
    compose::init(demo, &config(Service::Authority))
}

/// Starts the four processes and waits until each is ready.
pub(super) async fn start(demo: &Deployment, listen: SocketAddr) -> Result<Apart, Problem> {
    until_left(demo).await?;
    let tokens = invite(demo).await?;
    let authority = free_port()?;
    let mut services = Vec::new();
    let (first, ready) = launch(demo, Service::Authority, authority, authority, None, listen).await?;
    services.push(first);
    let measures = ready.measures;
    let mut gateway = None;
    for (service, token) in OTHERS.into_iter().zip(tokens) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (process, ready) = launch(demo, service, authority, any, token, listen).await?;
        services.push(process);
        gateway = gateway.or(ready.door);
    }
    let gateway = gateway.ok_or_else(|| Problem::failed("the gateway did not say where it is"))?;
    if let Some(process) = services.last() {
        demo.point_to(&Running { address: gateway, pid: process.child.id().unwrap_or_default() })?;
    }
    Ok(Apart { services, gateway, measures })
}

/// Waits a moment for the processes of a demo whose first process was killed: they are about to end.
async fn until_left(demo: &Deployment) -> Result<(), Problem> {
    for service in OTHERS.into_iter().chain([Service::Authority]) {
        let folder = folder(demo, service);
        for _ in 0..LEFT_TRIES {
            if folder.try_lock()?.is_some() {
                break;
            }
            tokio::time::sleep(LEFT_PAUSE).await;
        }
    }
    Ok(())
}

/// A join token for each of the others, from the authority before it serves.
async fn invite(demo: &Deployment) -> Result<Vec<Option<String>>, Problem> {
    let lock = server::lock(demo)?;
    let opened = Arc::new(open(demo, compose::config(demo)?).await?);
    let transport = Arc::new(Transport::InProcess(Box::new(InProcess::new(Arc::clone(&opened), Some(lock)))));
    let client = caller(demo, &transport, &operator()?).await?;
    let mut tokens = Vec::new();
    for service in OTHERS {
        let ask = json!({ "role": service.as_str(), "name": "demo" });
        let invitation = client.put(http::Method::POST, "/v1/services", &ask).await?;
        tokens.push(invitation.get("join_token").and_then(Value::as_str).map(str::to_owned));
    }
    opened.close().await;
    Ok(tokens)
}

/// A port that is free for the authority, and the one after it, which is the monitor's in the same process.
fn free_port() -> Result<SocketAddr, Problem> {
    let mut refused = None;
    for _ in 0..PORT_TRIES {
        let pair = TcpListener::bind(("127.0.0.1", 0)).and_then(|first| {
            let address = first.local_addr()?;
            let next = TcpListener::bind(("127.0.0.1", address.port().saturating_add(1)));
            next.map(|_| address)
        });
        match pair {
            Ok(address) => return Ok(address),
            Err(error) => refused = Some(error),
        }
    }
    let why = refused.map(|error| error.to_string()).unwrap_or_default();
    Err(Problem::failed(format!("no two free ports in a row: {why}")))
}

/// Starts one process and waits until it says that it is ready.
async fn launch(
    demo: &Deployment,
    service: Service,
    authority: SocketAddr,
    wire: SocketAddr,
    token: Option<String>,
    listen: SocketAddr,
) -> Result<(Process, Ready), Problem> {
    let program = std::env::current_exe().map_err(|error| Problem::failed(format!("this program: {error}")))?;
    let dir: PathBuf = folder(demo, service).dir().to_owned();
    let mut command = Command::new(program);
    command.arg("serve").arg(&dir).args(["--wire-listen", &wire.to_string(), "--with-parent"]);
    if service != Service::Authority {
        command.args(["--authority", &authority.to_string(), "--join-token", "-"]);
    }
    if service == Service::Gateway {
        command.args(["--listen", &listen.to_string()]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    // Ctrl-C on the terminal is for this process, which ends the others in order.
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn().map_err(io("start the program for", &dir))?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Problem::failed("a process without standard streams"));
    };
    if service != Service::Authority {
        let line = format!("{}\n", token.unwrap_or_default());
        stdin.write_all(line.as_bytes()).await.map_err(io("hand a join token to", &dir))?;
    }
    let mut lines = BufReader::new(stdout).lines();
    // An older demo's monitor has no measures to show.
    let shows =
        service == Service::Authority && compose::config(&folder(demo, service))?.monitor.listen.get().is_some();
    let waiting = ready(&mut lines, service, shows);
    let ready = match tokio::time::timeout(START, waiting).await {
        Ok(Some(ready)) => ready,
        _ => {
            return Err(Problem::new(Exit::Unavailable, format!("the {service} did not start"))
                .next(format!("see why with: countersign serve {}", dir.display())));
        }
    };
    // What it says from now on is nothing that anybody waits for.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((Process { service, wire: ready.wire, child, _stdin: stdin }, ready))
}

/// What a process said when it was ready; `None` if it ended before. One that `shows` measures says where, last.
async fn ready(lines: &mut Lines<BufReader<ChildStdout>>, service: Service, shows: bool) -> Option<Ready> {
    let mut wire = None;
    loop {
        let line = lines.next_line().await.ok()??;
        if let Some(url) = line.strip_prefix("measures ") {
            return Some(Ready { wire: wire?, door: None, measures: Some(url.to_owned()) });
        }
        let Some(said) = line.strip_prefix("ready ") else { continue };
        if let Some(url) = said.strip_prefix("https://") {
            return Some(Ready { wire: wire?, door: url.parse().ok(), measures: None });
        }
        // A process may be other services besides.
        let own = said.strip_prefix(service.as_str()).and_then(|address| address.trim().parse().ok());
        wire = own.or(wire);
        if let (Some(wire), false, false) = (wire, service == Service::Gateway, shows) {
            return Some(Ready { wire, door: None, measures: None });
        }
    }
}

impl Apart {
    /// A way to the gateway.
    pub(super) fn transport(&self, demo: &Deployment) -> Result<Transport, Problem> {
        Ok(Transport::Network(Network::new(&format!("https://{}", self.gateway), &demo.ca_pem())?))
    }

    /// Who runs where.
    pub(super) fn show(&self, terminal: &Terminal) -> Result<(), Problem> {
        terminal
            .line("  four processes, each with its own certificate, key and audit log; all between them is TLS 1.3")?;
        for process in &self.services {
            let pid = process.child.id().unwrap_or_default();
            terminal.line(&format!("    {:<10} process {pid:<8} {}", process.service.as_str(), process.wire))?;
        }
        Ok(())
    }

    /// Waits for Ctrl-C or SIGTERM, or until one of the four ends by itself, and ends them: those that others need last.
    pub(super) async fn run(mut self, demo: &Deployment) -> Result<(), Problem> {
        let asked = server::Stop::new()?;
        let died = {
            let ends = self.services.iter_mut().map(|process| Box::pin(process.child.wait()));
            let first = futures_util::future::select_all(ends);
            tokio::select! {
                () = asked.asked() => None,
                (_, which, _) = first => Some(which),
            }
        };
        demo.point_to_nobody();
        let died = died.and_then(|which| self.services.get(which)).map(|process| process.service);
        for process in self.services.into_iter().rev() {
            let Process { service, mut child, _stdin, .. } = process;
            drop(_stdin);
            if tokio::time::timeout(STOP, child.wait()).await.is_err() {
                tracing::warn!(%service, "it did not end in time and is killed");
                drop(child.kill().await);
            }
        }
        match died {
            None => Ok(()),
            Some(service) => Err(Problem::failed(format!("the {service} ended by itself, and the others with it"))),
        }
    }
}
