//! A deployment whose services run apart.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use countersign::client::{Client, Token};
use countersign::compose::{self, Opened, Opening, Sinks};
use countersign::config::{Config, Roles, Text};
use countersign::deployment::Deployment;
use countersign::login::{Login, Signer, login};
use countersign::transport::{Ask, InProcess, Reply, Transport};
use countersign_audit::{LedgerQuery, Record, Verdict};
use countersign_crypto::SystemEntropy;
use countersign_crypto::spiffe::{self, SpiffeId};
use countersign_crypto::x509::ServerCertificate;
use countersign_guard::Bearer;
use countersign_model::clock::SystemClock;
use countersign_model::request::{Door, Operation};
use countersign_model::{Clock, RecordTypes, Request, RequestId, Service, TenantId, UnixMs};
use countersign_services::Call;
use countersign_testkit::{Certified, DATABASE, Postgres};
use countersign_token::Unverified;
use http::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::example;

/// The services that join.
pub const OTHERS: [Service; 3] = [Service::Keys, Service::Store, Service::Gateway];
/// Those that are called with a user's token.
pub const CALLED: [Service; 2] = [Service::Keys, Service::Store];

/// How a world differs from the usual one.
#[derive(Clone, Default)]
pub struct Setup {
    /// How long certificates last.
    pub certificate_ms: Option<u64>,
    /// How old facts may be.
    pub facts_age_ms: Option<u64>,
    /// How long a request may take.
    pub request_ms: Option<u64>,
    /// What stands before the ledgers.
    pub sinks: Option<Sinks>,
    /// The time, if it is not the machine's.
    pub clock: Option<Arc<dyn Clock>>,
    /// The database, and the certificate authority of its own certificate.
    pub database: Option<(String, PathBuf)>,
}

impl Setup {
    fn surroundings(&self) -> (Option<Sinks>, Option<Arc<dyn Clock>>) {
        (self.sinks.clone(), self.clock.clone())
    }
}

/// One service, open and served.
pub struct Node {
    pub service: Service,
    pub folder: Deployment,
    pub address: SocketAddr,
    pub opened: Arc<Opened>,
    config: Config,
    sinks: Option<Sinks>,
    clock: Option<Arc<dyn Clock>>,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
}

impl Node {
    async fn start(
        service: Service,
        folder: &Deployment,
        config: Config,
        token: Option<String>,
        (sinks, clock): (Option<Sinks>, Option<Arc<dyn Clock>>),
    ) -> Result<Self> {
        let join_tokens = token.map(Zeroizing::new).into_iter().collect();
        let (sinks_of, clock_of) = (sinks.clone(), clock.clone());
        let opening = Opening { join_tokens, serves: true, sinks: sinks_of, clock: clock_of, ..Opening::default() };
        let mut opened = compose::open_as(folder, config.clone(), opening).await?;
        let wire = opened.take_wires().pop().context("a service without a listener")?;
        let address = wire.address;
        let (stop, mut stopped) = watch::channel(false);
        let served = tokio::spawn(async move {
            wire.serve(async move { drop(stopped.wait_for(|stop| *stop).await) }).await.unwrap();
        });
        let (folder, opened) = (folder.clone(), Arc::new(opened));
        Ok(Self { service, folder, address, opened, config, sinks, clock, stop, served })
    }

    /// Ends it, as a process ends when it is asked to.
    pub async fn stop(self) -> Stopped {
        let Self { service, folder, address, opened, mut config, sinks, clock, stop, served } = self;
        stop.send_replace(true);
        let _ = tokio::time::timeout(Duration::from_secs(15), served).await;
        opened.close().await;
        config.services.listen = address;
        Stopped { service, folder, config, sinks, clock }
    }

    /// Records of this service's own about `request`, whoever they belong to.
    pub fn records(&self, tenants: &[TenantId], request: RequestId) -> Vec<Record> {
        let query = LedgerQuery { request: Some(request), limit: 1000, ..LedgerQuery::default() };
        self.query(tenants, &query)
    }

    /// This service's newest records.
    pub fn newest(&self, tenants: &[TenantId], limit: usize) -> Vec<Record> {
        self.query(tenants, &LedgerQuery { limit, ..LedgerQuery::default() })
    }

    fn query(&self, tenants: &[TenantId], query: &LedgerQuery) -> Vec<Record> {
        let ledger = self.opened.ledger(self.service).unwrap();
        let owners = std::iter::once(None).chain(tenants.iter().copied().map(Some));
        owners.flat_map(|owner| ledger.query(owner, query).unwrap()).map(|(_, record)| record).collect()
    }
}

/// One service that has ended.
pub struct Stopped {
    service: Service,
    folder: Deployment,
    config: Config,
    sinks: Option<Sinks>,
    clock: Option<Arc<dyn Clock>>,
}

impl Stopped {
    /// Starts it again where it was.
    pub async fn start(self) -> Result<Node> {
        let Self { service, folder, config, sinks, clock } = self;
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match Node::start(service, &folder, config.clone(), None, (sinks.clone(), clock.clone())).await {
                // What belonged to the one before is let go when its last task ends.
                Err(_) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(50)).await,
                done => return done,
            }
        }
    }
}

/// Four services and the trading example.
pub struct World {
    pub folder: Deployment,
    pub authority: Node,
    pub keys: Node,
    pub store: Node,
    pub gateway: Node,
    pub transport: Arc<Transport>,
    setup: Setup,
    dir: Place,
}

/// A folder that goes with its world, and perhaps a database.
pub struct Place(PathBuf, Option<Postgres>);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl World {
    /// Makes one and loads the example.
    pub async fn begin(mut setup: Setup) -> Result<Self> {
        let mut place = folder()?;
        let folder = Deployment::at(place.0.join("authority"));
        if on_postgres() {
            let server = moved(&folder)?;
            setup.database = Some((server.address(), folder.ca_pem()));
            place.1 = Some(server);
        }
        let dir = &place.0;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = configured(&setup, Service::Authority, any, None);
        if place.1.is_none() {
            compose::init(&folder, &config)?;
        }
        let mut tokens = Vec::new();
        for service in OTHERS {
            // Where all were one process before, that one's ledgers have this name.
            let name = if setup.database.is_some() { "apart" } else { "first" };
            tokens.push(invite_offline(&folder, service, name).await?);
        }
        let authority = Node::start(Service::Authority, &folder, config, None, setup.surroundings()).await?;
        let mut others = Vec::new();
        for (service, token) in OTHERS.into_iter().zip(tokens) {
            let folder = Deployment::at(dir.join(service.as_str()));
            others.push(joined(&setup, service, &folder, authority.address, token).await?);
        }
        let (Some(gateway), Some(store), Some(keys)) = (others.pop(), others.pop(), others.pop()) else {
            bail!("too few services");
        };
        let transport = transport_of(&gateway);
        let world = Self { folder, authority, keys, store, gateway, transport, setup, dir: place };
        example::load(&world).await?;
        Ok(world)
    }

    /// Ends all services, those that others need last. The folders go with what comes back.
    pub async fn end(self) -> Place {
        let Self { authority, keys, store, gateway, transport, dir, .. } = self;
        drop(transport);
        for node in [gateway, store, keys, authority] {
            node.stop().await;
        }
        dir
    }

    /// The service of a role.
    pub fn node(&self, service: Service) -> &Node {
        match service {
            Service::Authority => &self.authority,
            Service::Keys => &self.keys,
            Service::Store => &self.store,
            Service::Gateway | Service::Monitor => &self.gateway,
        }
    }

    /// A join token, as an operator gets it while everything runs.
    pub async fn invite(&self, role: &str, name: &str) -> Result<String> {
        let operator = self.login("operator@operators").await?;
        invite(&operator, role, name).await
    }

    /// One more service of a role.
    pub async fn another(&self, service: Service, name: &str) -> Result<Node> {
        let token = self.invite(service.as_str(), name).await?;
        let folder = Deployment::at(self.dir.0.join(format!("{service}-{name}")));
        joined(&self.setup, service, &folder, self.authority.address, token).await
    }

    /// A gateway whose callers wait no longer than this for an answer.
    pub async fn hurried_gateway(&self, request_ms: u64) -> Result<Node> {
        let setup = Setup { request_ms: Some(request_ms), ..self.setup.clone() };
        let token = self.invite("gateway", "hurried").await?;
        let folder = Deployment::at(self.dir.0.join("gateway-hurried"));
        joined(&setup, Service::Gateway, &folder, self.authority.address, token).await
    }

    /// A caller who has logged in at the gateway with the SSH key in the authority's folder.
    pub async fn login(&self, who: &str) -> Result<Client> {
        self.login_for(who, None).await
    }

    /// The same, with a token that lasts no longer than this.
    pub async fn login_for(&self, who: &str, lifetime_ms: Option<u64>) -> Result<Client> {
        login_by(&self.transport, &self.folder, who, lifetime_ms).await
    }

    /// The record types in force.
    pub async fn types(&self) -> Result<RecordTypes> {
        Ok(countersign::manage::types(&self.login("andrew@northwind").await?).await?)
    }

    /// The epoch that the gateway decides by, and the id of the read that shows it.
    pub async fn epoch(&self) -> Result<u64> {
        let nancy = self.login("nancy@northwind").await?;
        let reply = nancy.send(Ask::new(Method::GET, "/rest/v1/customer?select=id&limit=1")).await?;
        let tenant = Unverified::read(token(&nancy))?.tenant;
        let records = self.gateway.records(&[tenant], request_of(&reply)?);
        records.last().map(|record| record.body.epoch).context("the gateway has no record of a read")
    }

    /// The name in the gateway's certificate.
    pub fn gateway_id(&self) -> Result<SpiffeId> {
        let text = std::fs::read_to_string(identity_file(&self.gateway.folder, Service::Gateway))?;
        let certificate = ServerCertificate::from_pem(&text).ok().context("not an identity")?;
        Ok(spiffe::of_certificate(&certificate.chain_der[0])?)
    }

    /// Waits for a refusal of this request in a service's own ledger.
    pub async fn refusal(&self, service: Service, tenants: &[TenantId], request: RequestId) -> Record {
        let what = format!("{service} has no record of refusing {request}");
        let node = self.node(service);
        let refused = || node.records(tenants, request).into_iter().find(|record| record.verdict == Verdict::Refused);
        soon(Duration::from_secs(1), refused).await.expect(&what)
    }
}

/// Whether worlds keep what they have in PostgreSQL.
fn on_postgres() -> bool {
    std::env::var_os("COUNTERSIGN_BACKEND").is_some_and(|backend| backend == "postgres")
}

/// A deployment that begins as one process and has moved to a database, with the commands that its operator would use.
fn moved(folder: &Deployment) -> Result<Postgres> {
    compose::init(folder, &Config::default())?;
    let run = |arguments: &[&str]| -> Result<String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        let ran = command.arg("--dir").arg(folder.dir()).args(arguments).output()?;
        if !ran.status.success() {
            bail!("{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        }
        Ok(String::from_utf8(ran.stdout)?)
    };
    let tls = folder.dir().join("database-tls");
    run(&["postgres", "certificate", "127.0.0.1", "--out", &tls.display().to_string()])?;
    let read = |name: &str| std::fs::read_to_string(tls.join(name));
    let (ca_pem, certificate_pem, key_pem) = (read("ca.pem")?, read("cert.pem")?, read("key.pem")?);
    let server = Postgres::start_certified(&Certified { ca_pem, certificate_pem, key_pem }, "")?;
    server.sql(DATABASE, &run(&["postgres", "sql"])?)?;
    run(&["move", "--to", &server.address()])?;
    Ok(server)
}

/// A usual deployment, made once for all tests that only ask it things.
pub fn shared<F: Future<Output = Result<()>>>(test: impl FnOnce(&'static World) -> F) -> Result<()> {
    static SHARED: LazyLock<(Runtime, World)> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let world = runtime.block_on(World::begin(Setup::default())).unwrap();
        (runtime, world)
    });
    let (runtime, world) = &*SHARED;
    runtime.block_on(test(world))
}

/// A folder for a world. What processes have left that ended before they could remove theirs is removed first.
fn folder() -> Result<Place> {
    let all = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    for entry in std::fs::read_dir(&all)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let process = name.strip_prefix("apart-").and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !PathBuf::from("/proc").join(process).exists()) {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
    let prefix = format!("apart-{}-", std::process::id());
    Ok(Place(tempfile::Builder::new().prefix(&prefix).tempdir_in(all)?.keep(), None))
}

fn configured(setup: &Setup, service: Service, listen: SocketAddr, authority: Option<SocketAddr>) -> Config {
    let mut config = Config::default();
    config.services.run = Roles::one(service);
    config.services.listen = listen;
    config.services.authority = authority.map_or_else(Text::empty, |address| Text::of(address.to_string()));
    if let Some((address, ca_pem)) = &setup.database {
        config.postgres.address = Text::of(address);
        config.postgres.server_ca = Text::of(ca_pem.display().to_string());
        // A dozen processes of a test share one server.
        config.postgres.connections = countersign::config::Whole::new(4);
    }
    if let Some(ms) = setup.certificate_ms {
        config.services.certificate_ms = countersign::config::Whole::new(ms);
    }
    if let Some(ms) = setup.request_ms {
        config.server.request_ms = countersign::config::Whole::new(ms);
    }
    if let Some(ms) = setup.facts_age_ms {
        config.services.facts_age_ms = countersign::config::Whole::new(ms);
    }
    config
}

async fn joined(
    setup: &Setup,
    service: Service,
    folder: &Deployment,
    authority: SocketAddr,
    token: String,
) -> Result<Node> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = configured(setup, service, any, Some(authority));
    compose::init_apart(folder, &config)?;
    Node::start(service, folder, config, Some(token), setup.surroundings()).await
}

/// A join token from an authority that is not served yet, as `countersign service invite` gets it.
async fn invite_offline(folder: &Deployment, service: Service, name: &str) -> Result<String> {
    let opened = Arc::new(compose::open(folder, compose::config(folder)?).await?);
    let transport = Arc::new(Transport::InProcess(Box::new(InProcess::new(Arc::clone(&opened), None))));
    let operator = login_by(&transport, folder, "operator@operators", None).await?;
    let token = invite(&operator, service.as_str(), name).await;
    opened.close().await;
    token
}

async fn invite(operator: &Client, role: &str, name: &str) -> Result<String> {
    let answer = operator.put(Method::POST, "/v1/services", &json!({ "role": role, "name": name })).await?;
    Ok(answer.get("join_token").and_then(Value::as_str).context("no join token")?.to_owned())
}

async fn login_by(
    transport: &Arc<Transport>,
    folder: &Deployment,
    who: &str,
    lifetime_ms: Option<u64>,
) -> Result<Client> {
    let signer = Signer::from_file(&folder.ssh_key(who), None)?;
    let who: Login = who.parse().map_err(anyhow::Error::msg)?;
    let token = login(transport, &who, &signer, lifetime_ms, None).await?;
    Ok(Client::new(Arc::clone(transport), Some(token)))
}

/// The way into a gateway of this process.
pub fn transport_of(gateway: &Node) -> Arc<Transport> {
    Arc::new(Transport::InProcess(Box::new(InProcess::new(Arc::clone(&gateway.opened), None))))
}

/// A caller's token.
pub fn token(client: &Client) -> &str {
    client.token().map(Token::reveal).unwrap()
}

/// The id of the request that an answer is of.
pub fn request_of(reply: &Reply) -> Result<RequestId> {
    let id = reply.header("countersign-request").context("an answer without its request's id")?;
    id.parse().ok().context("not an id")
}

/// A request as a door makes it.
pub fn request(operation: Operation) -> Request {
    Request { id: request_id(SystemClock.now()), door: Door::Http, tenant: None, purpose: None, operation }
}

/// A call on behalf of a request, as a gateway makes it.
pub fn carried<'a>(bearer: &'a Bearer, request: &'a Request, epoch: u64) -> Call<'a> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    Call { bearer, request, epoch, caller: Service::Gateway, deadline }
}

/// An id made at that moment.
pub fn request_id(at: UnixMs) -> RequestId {
    RequestId::new(at, &SystemEntropy)
}

/// Asks every few milliseconds until there is an answer, for so long.
pub async fn soon<T>(within: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= until {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The file of a service's key and certificate in its folder.
pub fn identity_file(folder: &Deployment, service: Service) -> PathBuf {
    folder.identity(service).join("identity.pem")
}
