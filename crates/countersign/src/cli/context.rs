//! What every command needs to know: which deployment, as whom, and how to show results.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use countersign_model::Service;
use serde_json::Value;

use crate::client::{Client, Token};
use crate::compose;
use crate::deployment::Deployment;
use crate::environment;
use crate::login::{self, Login, Signer, operator};
use crate::problem::{Exit, Problem};
use crate::proof::Holder;
use crate::table::{Output, Table};
use crate::terminal::Terminal;
use crate::transport::{InProcess, Network, Transport};

/// Options that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The folder of a deployment on this machine.
    #[arg(long, global = true, value_name = "DIR", help_heading = "Which deployment, as whom")]
    pub(crate) dir: Option<PathBuf>,
    /// Log in as this user with DIR/keys/USER@TENANT.
    #[arg(long = "as", global = true, value_name = "USER@TENANT", help_heading = "Which deployment, as whom")]
    acting: Option<Login>,
    /// The address of a server elsewhere; with --dir, of a gateway apart from the authority whose folder DIR is, or of
    /// the deployment that DIR shares a database with.
    #[arg(long, global = true, value_name = "URL", env = "COUNTERSIGN_URL", hide_env_values = true)]
    #[arg(help_heading = "Which deployment, as whom")]
    url: Option<String>,
    /// The file of the certificate authority to trust; with --dir it is DIR/ca.pem.
    #[arg(long, global = true, value_name = "FILE", env = "COUNTERSIGN_CA", hide_env_values = true)]
    #[arg(help_heading = "Which deployment, as whom")]
    ca: Option<PathBuf>,
    /// The file of the key that the token is bound to; with --as, the one to bind the login to.
    #[arg(long, global = true, value_name = "FILE", env = "COUNTERSIGN_PROOF_KEY", hide_env_values = true)]
    #[arg(help_heading = "Which deployment, as whom")]
    proof_key: Option<PathBuf>,
    /// How to write results: table on a terminal and json elsewhere, unless given.
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Which deployment, as whom")]
    output: Option<Output>,
}

/// One run of the program.
pub(crate) struct Context {
    pub(crate) terminal: Terminal,
    global: Global,
}

/// What a command does when nobody says as whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// It asks for somebody to say.
    Refused,
    /// It is the operator of the deployment, whose key lies in it.
    Operator,
}

/// How long another command that has the deployment open is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// The same in the folder of an authority without a gateway, which is more likely being served.
const PATIENCE_APART: Duration = Duration::from_secs(2);

impl Context {
    pub(crate) const fn new(terminal: Terminal, global: Global) -> Self {
        Self { terminal, global }
    }

    /// How to write results.
    pub(crate) fn output(&self) -> Output {
        self.global.output.unwrap_or(if self.terminal.out { Output::Table } else { Output::Json })
    }

    /// Writes a list as a table of these columns, or the whole answer that it is part of as JSON.
    pub(crate) fn rows(&self, columns: &[&str], list: &Value, whole: &Value) -> Result<(), Problem> {
        if self.output() == Output::Json {
            return self.terminal.line(&whole.to_string());
        }
        let list = list.as_array().ok_or_else(|| Problem::failed("the server's answer is not a list"))?;
        Table::of(columns, list).write(&self.terminal, self.output())
    }

    /// Writes one thing: its parts that are not null, a line each, or all of it as JSON.
    pub(crate) fn show(&self, thing: &Value) -> Result<(), Problem> {
        if self.output() == Output::Json {
            return self.terminal.line(&thing.to_string());
        }
        let mut table = Table::new(&["", ""]);
        for (name, value) in thing.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            table.push(vec![name.as_str().into(), value.clone()]);
        }
        table.write(&self.terminal, self.output())
    }

    /// The folder that --dir names.
    pub(crate) const fn dir(&self) -> Option<&PathBuf> {
        self.global.dir.as_ref()
    }

    /// The folder of a command that takes it as an argument too.
    pub(crate) fn one_dir(&self, argument: Option<&PathBuf>) -> Result<PathBuf, Problem> {
        match (argument, &self.global.dir) {
            (Some(one), Some(other)) if one != other => Err(Problem::usage("two different folders are named")),
            (Some(dir), _) | (None, Some(dir)) => Ok(dir.clone()),
            (None, None) => Err(Problem::usage("no folder is named").next("name one, such as ./deployment")),
        }
    }

    /// A way to the deployment.
    pub(crate) async fn transport(&self) -> Result<Arc<Transport>, Problem> {
        let transport = match (&self.global.dir, &self.global.url) {
            (Some(dir), _) => self.local(&Deployment::at(dir.clone())).await?,
            (None, Some(url)) => {
                let ca = self.global.ca.as_ref().ok_or_else(|| {
                    Problem::usage("no certificate authority is named for that address")
                        .next("set COUNTERSIGN_CA to a copy of the deployment's ca.pem")
                })?;
                Transport::Network(Network::new(url, ca)?)
            }
            (None, None) => return Err(no_deployment()),
        };
        Ok(Arc::new(transport))
    }

    /// Its server, if one runs; else the deployment itself, opened here.
    async fn local(&self, deployment: &Deployment) -> Result<Transport, Problem> {
        deployment.require()?;
        let begun = Instant::now();
        loop {
            if let Some(lock) = deployment.try_lock()? {
                let config = compose::config(deployment)?;
                if let (Some(url), Some(_)) = (&self.global.url, config.postgres.address.get()) {
                    // Whose authority is a process elsewhere, with a folder of its own on the same database.
                    let ca = self.global.ca.clone().unwrap_or_else(|| deployment.ca_pem());
                    return Ok(Transport::Network(Network::new(url, &ca)?));
                }
                let opened = compose::open(deployment, config).await?;
                return Ok(Transport::InProcess(Box::new(InProcess::new(Arc::new(opened), Some(lock)))));
            }
            if let Some(running) = deployment.running() {
                let ca = self.global.ca.clone().unwrap_or_else(|| deployment.ca_pem());
                return Ok(Transport::Network(Network::new(&running.url(), &ca)?));
            }
            if !has_door(deployment) {
                if let Some(url) = &self.global.url {
                    let ca = self.global.ca.clone().unwrap_or_else(|| deployment.ca_pem());
                    return Ok(Transport::Network(Network::new(url, &ca)?));
                }
                if begun.elapsed() > PATIENCE_APART {
                    let dir = deployment.dir().display();
                    let message =
                        format!("{dir} is being served, or open, by another process, and has no gateway to ask");
                    return Err(Problem::new(Exit::Unavailable, message)
                        .next(format!("name a gateway as well: --dir {dir} --url https://HOST:PORT")));
                }
            }
            if begun.elapsed() > PATIENCE {
                return Err(Problem::new(Exit::Unavailable, "another command has had the deployment open for a while")
                    .next("wait for it to end, then run this again"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The deployment with a caller's token. A login of this command's own is bound to a key of this run.
    pub(crate) async fn client(&self, unnamed: Unnamed) -> Result<Client, Problem> {
        self.client_of(unnamed, true).await
    }

    /// The same for a command that prints a token: a login of its own is bound to the key named, or to none, as whoever
    /// uses what is printed has no other.
    pub(crate) async fn printing_client(&self) -> Result<Client, Problem> {
        self.client_of(Unnamed::Refused, false).await
    }

    async fn client_of(&self, unnamed: Unnamed, binds: bool) -> Result<Client, Problem> {
        if self.global.dir.is_none() && self.global.url.is_none() {
            return Err(no_deployment());
        }
        let given = environment::text("COUNTERSIGN_TOKEN");
        let who = match (&self.global.acting, given, unnamed) {
            (Some(login), _, _) => Err(login.clone()),
            (None, Some(token), _) => Ok(Token::new(&token)),
            (None, None, Unnamed::Operator) if self.global.dir.is_some() => Err(operator()?),
            (None, None, _) => {
                return Err(Problem::new(Exit::Refused, "no token to come with").next(if self.global.dir.is_some() {
                    "add --as USER@TENANT, or set COUNTERSIGN_TOKEN to what countersign login prints"
                } else {
                    "set COUNTERSIGN_TOKEN to what countersign login USER@TENANT prints"
                }));
            }
        };
        let named = self.global.proof_key.as_deref().map(Holder::of_file).transpose()?;
        let transport = self.transport().await?;
        let (token, holder) = match who {
            Ok(token) => (token, named),
            Err(login) => {
                let holder = match named {
                    None if binds => Holder::for_login(&transport)?,
                    named => named,
                };
                let signer = self.signer(&login, None)?;
                (login::login(&transport, &login, &signer, None, holder.as_ref()).await?, holder)
            }
        };
        Ok(Client::new(transport, Some(token)).held_by(holder))
    }

    /// Prints a token. If it is bound to no key, says what that means.
    pub(crate) fn print_token(&self, token: &Token) -> Result<(), Problem> {
        self.terminal.line(token.reveal())?;
        if !token.is_bound() {
            let until = token.expires().unwrap_or_else(|| "it ends or is revoked".to_owned());
            self.terminal.note(&format!("bound to no key: whoever has this token can use it until {until}"));
        }
        Ok(())
    }

    /// What signs for `login`: the key named, the one in the deployment's folder, or an agent's.
    pub(crate) fn signer(&self, login: &Login, key: Option<&PathBuf>) -> Result<Signer, Problem> {
        let agent = environment::ssh_agent();
        if let Some(key) = key {
            return Signer::from_file(key, agent);
        }
        let here = self.global.dir.as_ref().map(|dir| Deployment::at(dir.clone()).ssh_key(&login.to_string()));
        match (here.filter(|path| path.exists()), agent) {
            (Some(path), agent) => Signer::from_file(&path, agent),
            (None, Some(socket)) => Signer::from_agent(socket),
            (None, None) => Err(Problem::new(Exit::NotFound, format!("there is no SSH key to log in as {login}"))
                .next("name one with --key FILE, or start ssh-agent and add it with ssh-add")),
        }
    }
}

/// Whether a server of this folder answers users.
fn has_door(deployment: &Deployment) -> bool {
    compose::config(deployment).map_or(true, |config| config.services.run.has(Service::Gateway))
}

fn no_deployment() -> Problem {
    Problem::usage("no deployment is named")
        .next("give --dir DIR for one on this machine, or set COUNTERSIGN_URL and COUNTERSIGN_CA for one elsewhere")
}

/// An identifier that another command has shown.
pub(in crate::cli) fn identifier<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "expected an identifier such as 0198c5a0-3c1e-7d2f-8a4b-5e6f70819203".to_owned())
}
