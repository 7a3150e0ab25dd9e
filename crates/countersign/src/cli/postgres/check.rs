//! `countersign postgres check`

mod look;
mod server;

use std::path::PathBuf;

use clap::Args;
use countersign_crypto::SystemEntropy;
use countersign_crypto::tls::CertificateSlot;
use countersign_identity::Folder;
use countersign_model::clock::SystemClock;
use countersign_model::{Clock as _, Service};
use countersign_postgres::{Identity, PgError, Pool, SCHEMA_ROLE, Settings, role_of};
use serde_json::Value;
use std::sync::Arc;

use crate::cli::Context;
use crate::compose::{self, database};
use crate::config::{Config, Text};
use crate::deployment::Deployment;
use crate::problem::{Exit, Problem};
use crate::table::Table;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The deployment's folder, or that of services apart from their authority.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Another database than the configured one, such as the one to move to.
    #[arg(long, value_name = "postgres://HOST/DATABASE")]
    address: Option<String>,
    /// The certificate authority of the database's own certificate, in place of the configured one.
    #[arg(long, value_name = "FILE")]
    server_ca: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As it should be.
    Right,
    /// Worth knowing.
    Note,
    /// To be put right.
    Wrong,
}

/// What was found.
pub(super) struct Finding {
    state: State,
    what: &'static str,
    found: String,
}

impl Finding {
    fn new(state: State, what: &'static str, found: impl Into<String>) -> Self {
        Self { state, what, found: found.into() }
    }

    fn of(is_right: bool, what: &'static str, found: impl Into<String>) -> Self {
        Self::new(if is_right { State::Right } else { State::Wrong }, what, found)
    }
}

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let deployment = super::folder(context, arguments.folder.as_ref())?;
    let config = configured(&deployment, arguments)?;
    let settings = database::settings(&deployment, &config)?.ok_or_else(|| {
        Problem::usage("this deployment keeps everything in its folder").next(
            "name the database to move to: countersign --dir DIR postgres check --address postgres://HOST/countersign",
        )
    })?;
    let settings = Settings { connections: 1, ..settings };
    let slots = slots(&deployment, &config)?;
    let mut all: Vec<(String, Finding)> = Vec::new();
    let first = slots.first().map(|(_, slot)| Arc::clone(slot));
    if let Some(slot) = &first {
        let found = server::reach(&settings, slot).await;
        all.extend(found.into_iter().map(|finding| ("-".to_owned(), finding)));
    }
    let (mut of_server, mut of_roles) = (None, Vec::new());
    for (service, slot) in slots {
        let mut roles = vec![role_of(service)];
        if service == Service::Authority {
            roles.push(SCHEMA_ROLE.to_owned());
        }
        for role in roles {
            let pool = Pool::new(settings.clone(), Identity { role: role.clone(), slot: Arc::clone(&slot) });
            let found = look::look(&pool, &role, &mut of_server).await;
            let found = found.unwrap_or_else(|error| vec![unable(&error)]);
            of_roles.extend(found.into_iter().map(|finding| (role.clone(), finding)));
        }
    }
    all.extend(of_server.into_iter().flatten().map(|finding| ("-".to_owned(), finding)));
    all.extend(of_roles);
    show(context, all)
}

/// The configuration with what the command line says in its place.
fn configured(deployment: &Deployment, arguments: &Arguments) -> Result<Config, Problem> {
    let mut config = compose::config(deployment)?;
    if let Some(address) = &arguments.address {
        config.postgres.address = Text::of(address);
    }
    if let Some(path) = &arguments.server_ca {
        let path = std::path::absolute(path).map_err(|error| Problem::usage(format!("{path}: {error}")))?;
        config.postgres.server_ca = Text::of(path.display().to_string());
    }
    Ok(config)
}

/// The certificate of each service of this folder.
pub(in crate::cli) fn slots(
    deployment: &Deployment,
    config: &Config,
) -> Result<Vec<(Service, Arc<CertificateSlot>)>, Problem> {
    let services = &config.services.run;
    let unfit = |_| Problem::failed("a certificate can't be used");
    let mut slots = Vec::new();
    if services.has(Service::Authority) {
        let authority = database::Certificates::open(deployment, config)?;
        for service in services.iter() {
            slots.push((service, CertificateSlot::new(&authority.service(service)?).map_err(unfit)?));
        }
        return Ok(slots);
    }
    for service in services.iter() {
        let path = deployment.identity(service);
        let failed = |error: countersign_identity::FolderError| Problem::failed(error.to_string());
        let held = match path.is_dir() {
            true => Folder::open(&path, Arc::new(SystemEntropy)).map_err(failed)?.load().map_err(failed)?,
            false => None,
        };
        let held = held.filter(|held| held.is_valid(SystemClock.now())).ok_or_else(|| {
            Problem::new(Exit::Refused, format!("this {service} has no valid certificate to sign in with"))
                .next("serve it first: it gets one when it joins its authority")
        })?;
        slots.push((service, held.slot()));
    }
    Ok(slots)
}

/// Why one could not even look.
fn unable(error: &PgError) -> Finding {
    let found = match error {
        PgError::Forbidden => {
            "the database does not let it in: see `postgres sql`, `postgres hba` and `postgres ident`, \
             and whether the server trusts this deployment's ca.pem (ssl_ca_file)"
                .to_owned()
        }
        other => other.to_string(),
    };
    Finding::new(State::Wrong, "signs in", found)
}

fn show(context: &Context, all: Vec<(String, Finding)>) -> Result<(), Problem> {
    let wrong = all.iter().filter(|(_, finding)| finding.state == State::Wrong).count();
    let mut table = Table::new(&["role", "what", "state", "found"]);
    for (role, finding) in all {
        let state = match finding.state {
            State::Right => "right",
            State::Note => "note",
            State::Wrong => "WRONG",
        };
        table.push([role.as_str(), finding.what, state, &finding.found].map(Value::from).to_vec());
    }
    table.write(&context.terminal, context.output())?;
    if wrong == 0 {
        return Ok(());
    }
    let message = match wrong {
        1 => "one thing is wrong".to_owned(),
        many => format!("{many} things are wrong"),
    };
    Err(Problem::failed(message).next("docs/postgres.md says how each of them should be"))
}
