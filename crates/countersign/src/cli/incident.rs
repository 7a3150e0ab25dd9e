//! `countersign incident …`

use clap::{Args, Subcommand};
use countersign_model::{IncidentId, Name, SessionId, TokenId, UnixMs};
use http::Method;
use serde_json::{Value, json};

use super::audit::moment;
use super::context::{Context, Unnamed, identifier};
use super::help;
use crate::breach;
use crate::login::Login;
use crate::problem::Problem;
use crate::table::Output;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Find out from the audit logs what a breach came to, and start its clocks.
    #[command(after_help = help::INCIDENT_OPEN)]
    Open(Open),
    /// List incidents.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment incident list")]
    List,
    /// Show one incident: what it came to, what was done, and until when somebody has to be told.
    #[command(after_help = "Examples:\n  countersign --dir ./deployment incident show INCIDENT")]
    Show {
        /// The incident, as `incident list` shows it.
        #[arg(value_parser = identifier::<IncidentId>)]
        incident: IncidentId,
    },
    /// End what was in the wrong hands: revoke tokens, end logins, shut out a service, wrap keys anew.
    #[command(after_help = help::INCIDENT_CONTAIN)]
    Contain {
        /// The incident, as `incident list` shows it.
        #[arg(value_parser = identifier::<IncidentId>)]
        incident: IncidentId,
    },
    /// Draft one notice for each tenant concerned; with --send, give them out.
    #[command(after_help = help::INCIDENT_NOTICES)]
    Notices {
        /// The incident, as `incident list` shows it.
        #[arg(value_parser = identifier::<IncidentId>)]
        incident: IncidentId,
        /// Give them out: mail says that there is one, and the tenant's admin can read it. Without this nothing leaves.
        #[arg(long)]
        send: bool,
    },
    /// Rehearse: a token is stolen in the demo, used, found, contained, and notices are written; with the time of each step.
    #[command(after_help = help::INCIDENT_DRILL)]
    Drill(crate::demo::drill::Arguments),
}

#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Open {
    #[command(flatten)]
    culprit: Culprit,
    /// From when on: a timestamp (RFC 3339), or so long ago, such as 90m, 12h or 3d.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: UnixMs,
    /// Until when, likewise; now if it is not given, and containing it looks again.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<UnixMs>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Culprit {
    /// A token, by its identifier, and what was made from it.
    #[arg(long, value_name = "ID", value_parser = identifier::<TokenId>)]
    token: Option<TokenId>,
    /// A login, by its identifier.
    #[arg(long, value_name = "ID", value_parser = identifier::<SessionId>)]
    session: Option<SessionId>,
    /// A principal.
    #[arg(long, value_name = "USER@TENANT")]
    principal: Option<Login>,
    /// A service: gateway, keys, store or authority; of several in a role, with its name.
    #[arg(long, value_name = "ROLE[/NAME]", value_parser = service)]
    service: Option<(Name, Option<Name>)>,
    /// The key of a tenant.
    #[arg(long, value_name = "TENANT")]
    key: Option<Name>,
}

fn service(text: &str) -> Result<(Name, Option<Name>), String> {
    let (role, name) = text.split_once('/').map_or((text, None), |(role, name)| (role, Some(name)));
    let role: countersign_model::Service = role.parse().map_err(|error| format!("{error}"))?;
    let name = name.map(Name::new).transpose().map_err(|error| error.to_string())?;
    Ok((Name::new(role.as_str()).map_err(|error| error.to_string())?, name))
}

impl Culprit {
    fn json(&self) -> Value {
        let Self { token, session, principal, service, key } = self;
        let one = [
            token.map(|token| json!({ "token": token })),
            session.map(|session| json!({ "session": session })),
            principal.as_ref().map(|who| json!({ "principal": { "tenant": who.tenant, "name": who.user } })),
            service.as_ref().map(|(role, name)| json!({ "service": { "role": role, "name": name } })),
            key.as_ref().map(|tenant| json!({ "tenant_key": tenant })),
        ];
        one.into_iter().flatten().next().unwrap_or_default()
    }
}

pub(super) async fn run(context: &Context, command: Command) -> Result<(), Problem> {
    let (incident, next) = match command {
        Command::Drill(arguments) => return crate::demo::drill::run(context, &arguments).await,
        Command::List => {
            let incidents = context.client(Unnamed::Operator).await?.get("/v1/incidents").await?;
            return breach::table(&incidents).write(&context.terminal, context.output());
        }
        Command::Open(Open { culprit, since, until }) => {
            let client = context.client(Unnamed::Operator).await?;
            let opened = breach::open(&client, &culprit.json(), since, until).await?;
            let id = breach::id(&opened);
            (opened, format!("next: countersign incident contain {id}"))
        }
        Command::Show { incident } => {
            let client = context.client(Unnamed::Operator).await?;
            (client.get(&format!("/v1/incidents/{incident}")).await?, String::new())
        }
        Command::Contain { incident } => {
            let client = context.client(Unnamed::Operator).await?;
            let path = format!("/v1/incidents/{incident}/containment");
            let contained = client.put(Method::POST, &path, &json!({})).await?;
            let next = if breach::failed(&contained) {
                format!("not everything was done; when it can be: countersign incident contain {incident}")
            } else {
                format!("next: countersign incident notices {incident}")
            };
            (contained, next)
        }
        Command::Notices { incident, send } => {
            let client = context.client(Unnamed::Operator).await?;
            let path = format!("/v1/incidents/{incident}/notices");
            let written = client.put(Method::POST, &path, &json!({ "send": send })).await?;
            if context.output() != Output::Json {
                context.terminal.line(&breach::notices(&written))?;
            }
            let next = if send {
                String::new()
            } else {
                format!("nothing was sent; to send: countersign incident notices {incident} --send")
            };
            if context.output() != Output::Json {
                if !next.is_empty() {
                    context.terminal.note(&next);
                }
                return Ok(());
            }
            (written, next)
        }
    };
    match context.output() {
        Output::Json => context.terminal.line(&incident.to_string())?,
        _ => context.terminal.line(&breach::shown(&incident))?,
    }
    if !next.is_empty() {
        context.terminal.note(&next);
    }
    Ok(())
}
