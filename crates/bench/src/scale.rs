//! Whether a request costs more when there is more of everything: tenants, and policies.
//!
//! Three deployments run side by side: a small one with one tenant and ten policies, one that grows in tenants, and
//! one that gets more policies. Each size is measured in turns with the small one, so that a slow minute of the machine
//! falls on both. Point reads go to all tenants in turn: every request meets another one's token, keys and file.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_crypto::ssh::{self, PrivateKey};
use countersign_testkit::{Deployment, Server};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Options;
use crate::load::{Connection, Load, Measured, ask, connect, request};
use crate::report::{Report, Row, Target};
use crate::setting::{example, policies};
use crate::timing::median;

/// Connections that set up tenants, and that load.
const CONNECTIONS: usize = 32;
/// File descriptors for the server: what the store says it needs for 10,000 tenants, and as much again.
const DESCRIPTORS: u64 = 24_000;

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let mut small = World::new(options)?;
    small.grow(1)?;
    let mut many = World::new(options)?;
    for tenants in if options.quick { [1, 10, 100] } else { [1, 100, 10_000] } {
        many.grow(tenants)?;
        let name = format!("point read over HTTPS, {tenants} tenants");
        report.add(compare(options, name, ("1 tenant", &small), &many, tenants > 100)?);
    }
    many.skew();
    let name = format!("point read over HTTPS, {} tenants, few of them busy", many.tokens.len());
    report.add(compare(options, name, ("1 tenant", &small), &many, false)?);
    many.end()?;
    let mut ruled = World::new(options)?;
    ruled.grow(1)?;
    for count in [10, 1000] {
        ruled.apply_policies(count)?;
        let name = format!("point read over HTTPS, {count} policies");
        report.add(compare(options, name, ("10 policies", &small), &ruled, count > 10)?);
    }
    ruled.end()?;
    small.end()
}

fn compare(options: &Options, name: String, limit: (&str, &World), world: &World, judged: bool) -> Result<Row> {
    let (limit_name, small) = limit;
    let duration = Duration::from_millis(if options.quick { 300 } else { 2500 });
    small.touch()?;
    world.touch()?;
    let (mut limits, mut figures) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        limits.push(small.point_reads(duration)?);
        figures.push(world.point_reads(duration)?);
    }
    let middle = |all: &[Measured], of: fn(&Measured) -> f64| median(&mut all.iter().map(of).collect::<Vec<_>>());
    Ok(Row {
        name,
        figure: middle(&figures, |one| one.rate),
        unit: "requests/s",
        limit: Some((limit_name.into(), middle(&limits, |one| one.rate))),
        target: if judged { Target::RatioAtLeast(0.8) } else { Target::Unset },
        note: format!(
            "{CONNECTIONS} connections; processor {:.0} µs a request, small {:.0} µs",
            middle(&figures, |one| one.server_us),
            middle(&limits, |one| one.server_us)
        ),
    })
}

/// The deployment and what is known of it.
struct World {
    server: Server,
    _deployment: Deployment,
    ca: String,
    operator: String,
    key: Arc<PrivateKey>,
    /// One for each tenant, of its one user.
    tokens: Vec<String>,
    /// Whose turn it is, as places in `tokens`; empty is everybody's in turn.
    turns: Vec<usize>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    /// A new deployment with the example's types and ten policies, being served.
    fn new(options: &Options) -> Result<Self> {
        let deployment = Deployment::temporary_in(&options.program, &options.disk)?;
        deployment.init()?;
        let config = deployment.dir().join("countersign.toml");
        std::fs::write(&config, sized(&std::fs::read_to_string(&config)?)?)?;
        // As a service manager would: LimitNOFILE.
        let mut command = Command::new("sh");
        let line = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"");
        command.arg("-c").arg(line).arg(&options.program).arg("serve").arg(deployment.dir());
        command.args(["--listen", "127.0.0.1:0"]);
        let server = Server::start(command, deployment.ca_file(), &deployment.log())?;
        let key = std::fs::read_to_string(deployment.dir().join("keys/operator@operators"))?;
        let world = Self {
            server,
            ca: std::fs::read_to_string(deployment.ca_file())?,
            operator: deployment.login("operator@operators")?,
            key: Arc::new(PrivateKey::read(&key, None)?),
            tokens: Vec::new(),
            turns: Vec::new(),
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
            _deployment: deployment,
        };
        world.put("/v1/types", &json!({ "text": std::fs::read_to_string(example().join("types.toml"))? }))?;
        world.apply_policies(10)?;
        Ok(world)
    }

    fn end(self) -> Result<()> {
        self.server.stop()
    }

    fn put(&self, path: &str, body: &Value) -> Result<()> {
        let bytes = json_request("PUT", path, &self.operator, body);
        self.runtime.block_on(async {
            let mut connection = connect(self.server.address(), &self.ca).await?;
            ask(&mut connection, &bytes).await.map(|_| ())
        })
    }

    fn apply_policies(&self, count: usize) -> Result<()> {
        let files: Vec<Value> =
            policies(count)?.into_iter().map(|file| json!({ "name": file.name, "text": file.text })).collect();
        self.put("/v1/policies", &json!({ "files": files }))
    }

    /// Adds tenants, each with a user and a record, until there are `count`.
    fn grow(&mut self, count: usize) -> Result<()> {
        let have = self.tokens.len();
        let public = self.key.public()?.to_line();
        let (address, ca) = (self.server.address().to_owned(), self.ca.clone());
        let (operator, key) = (self.operator.clone(), Arc::clone(&self.key));
        let made: Result<Vec<(usize, String)>> = self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for lane in 0..CONNECTIONS {
                let (address, ca, public) = (address.clone(), ca.clone(), public.clone());
                let (operator, key) = (operator.clone(), Arc::clone(&key));
                tasks.spawn(async move {
                    let mut connection = connect(&address, &ca).await?;
                    let mut made = Vec::new();
                    for number in (have..count).skip(lane).step_by(CONNECTIONS) {
                        let name = format!("tenant-{number}");
                        let token = add_tenant(&mut connection, &operator, &name, &public, &key).await;
                        made.push((number, token.with_context(|| name)?));
                    }
                    Ok::<_, anyhow::Error>(made)
                });
            }
            let mut made = Vec::new();
            while let Some(lane) = tasks.join_next().await {
                made.extend(lane??);
            }
            Ok(made)
        });
        let mut made = made?;
        made.sort();
        self.tokens.extend(made.into_iter().map(|(_, token)| token));
        Ok(())
    }

    /// From now on requests are spread as they usually are: a tenant's share falls with its rank (Zipf's law).
    fn skew(&mut self) {
        let mut state = 1u64;
        let count = self.tokens.len() as f64;
        let turns = (0..50_000).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let share = (state >> 11) as f64 / (1u64 << 53) as f64;
            // The inverse of Zipf's distribution function for exponent 1, near enough: log-uniform.
            (count.powf(share) as usize).saturating_sub(1)
        });
        self.turns = turns.collect();
    }

    fn requests(&self) -> Vec<Vec<u8>> {
        let path = "/rest/v1/customer?select=company,contact_name,city,country&id=eq.ALFKI";
        let of = |token: &String| request("GET", path, token, "", "");
        if self.turns.is_empty() {
            return self.tokens.iter().map(of).collect();
        }
        self.turns.iter().filter_map(|turn| self.tokens.get(*turn)).map(of).collect()
    }

    /// Reads once from every tenant: what is measured is not the first use of each token.
    fn touch(&self) -> Result<()> {
        self.runtime.block_on(async {
            let mut connection = connect(self.server.address(), &self.ca).await?;
            for bytes in self.requests() {
                ask(&mut connection, &bytes).await?;
            }
            Ok(())
        })
    }

    fn point_reads(&self, duration: Duration) -> Result<Measured> {
        let (address, process) = (self.server.address(), self.server.process_id());
        let requests = Arc::new(self.requests());
        Load { address, ca_pem: &self.ca, requests, connections: CONNECTIONS, process, duration }.run()
    }
}

/// The configuration with what 10,000 tenants that are all in use take: file descriptors of their files, a token each,
/// and the keys of their fields.
fn sized(text: &str) -> Result<String> {
    let sizes = [("[store]", "descriptors", 12_000), ("[tokens]", "cache", 40_000), ("[keys]", "cache", 200_000)];
    let mut section = "";
    let mut changed = 0;
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line.trim();
        }
        let size = sizes.iter().find(|(wanted, key, _)| section == *wanted && line.starts_with(&format!("{key} =")));
        match size {
            Some((_, key, number)) => {
                changed += 1;
                out.push_str(&format!("{key} = {number}\n"));
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    ensure!(changed == sizes.len(), "countersign.toml has not the settings that it had");
    Ok(out)
}

fn json_request(method: &str, path: &str, token: &str, body: &Value) -> Vec<u8> {
    request(method, path, token, "Content-Type: application/json\r\n", &body.to_string())
}

/// Adds a tenant, its user and one record, and logs the user in.
async fn add_tenant(
    connection: &mut Connection,
    operator: &str,
    name: &str,
    public: &str,
    key: &PrivateKey,
) -> Result<String> {
    ask(connection, &json_request("POST", "/v1/tenants", operator, &json!({ "name": name }))).await?;
    let user = json!({ "roles": ["admin"], "ssh_keys": [public] });
    let path = format!("/v1/users/andrew?tenant={name}");
    ask(connection, &json_request("PUT", &path, operator, &user)).await?;
    let login = json!({ "user": "andrew", "tenant": name });
    let challenge: Value =
        serde_json::from_slice(&ask(connection, &json_request("POST", "/v1/login/challenge", "", &login)).await?)?;
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let (id, words) = (text(&challenge, "id").context("no id")?, text(&challenge, "text").context("no text")?);
    let signature = ssh::sign(key, countersign_authority::LOGIN_NAMESPACE, words.as_bytes())?;
    let login = json!({ "user": "andrew", "tenant": name, "id": id, "signature": signature });
    let granted: Value =
        serde_json::from_slice(&ask(connection, &json_request("POST", "/v1/login", "", &login)).await?)?;
    let token = text(&granted, "access_token").context("no token")?;
    let customer = json!({ "id": "ALFKI", "company": "Alfreds Futterkiste", "contact_name": "Maria Anders",
                           "city": "Berlin", "country": "Germany" });
    ask(connection, &json_request("POST", "/rest/v1/customer", &token, &customer)).await?;
    Ok(token)
}
