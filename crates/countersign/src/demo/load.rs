//! Both companies, from nothing. Every step can be repeated, so a load that was stopped goes on at the next start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use countersign_model::Name;
use countersign_model::control::NewUser;
use countersign_model::facts::UserKind;

use super::example::{self, Company, User};
use crate::client::Client;
use crate::compose::make_key;
use crate::deployment::Deployment;
use crate::import::{self, Checker, Existing, Format, Sending, Source};
use crate::login::{Login, Signer, login, operator};
use crate::manage;
use crate::problem::{Exit, Problem};
use crate::progress::Progress;
use crate::proof::Holder;
use crate::terminal::Terminal;
use crate::transport::Transport;

pub(super) async fn load(
    terminal: &Terminal,
    deployment: &Deployment,
    transport: &Arc<Transport>,
) -> Result<(), Problem> {
    let begun = Instant::now();
    let client = caller(deployment, transport, &operator()?).await?;
    manage::types_apply(&client, example::TYPES, false).await?;
    manage::policies_apply(&client, &example::policies(), false).await?;
    let mut users = 0usize;
    for company in &example::COMPANIES {
        let tenant = name(company.name)?;
        match manage::tenant_add(&client, &tenant, None).await {
            // It is there from a start that was stopped.
            Err(problem) if problem.exit == Exit::Conflict => {}
            other => other?,
        }
        add_users(deployment, &client, company, &tenant).await?;
        users = users.saturating_add(company.users.len());
    }
    terminal.line(&format!(
        "  made    keys, a certificate authority, {} tenants, {users} users with an SSH key each",
        example::COMPANIES.len()
    ))?;
    for company in &example::COMPANIES {
        import_company(terminal, deployment, transport, company).await?;
    }
    terminal.line(&format!("  ready in {:.1} s", begun.elapsed().as_secs_f64()))
}

/// Logs in with the key in the deployment's folder, as `countersign --dir DIR login` does.
pub(super) async fn caller(
    deployment: &Deployment,
    transport: &Arc<Transport>,
    who: &Login,
) -> Result<Client, Problem> {
    let signer = Signer::from_file(&deployment.ssh_key(&who.to_string()), None)?;
    let holder = Holder::for_login(transport)?;
    let token = login(transport, who, &signer, None, holder.as_ref()).await?;
    Ok(Client::new(Arc::clone(transport), Some(token)).held_by(holder))
}

pub(super) fn name(text: &str) -> Result<Name, Problem> {
    Name::new(text).map_err(|error| Problem::failed(format!("{text}: {error}")))
}

/// The operator may put the first person into a tenant, who then looks after the others.
async fn add_users(
    deployment: &Deployment,
    operator: &Client,
    company: &Company,
    tenant: &Name,
) -> Result<(), Problem> {
    let Some((first, others)) = company.users.split_first() else { return Ok(()) };
    match add_user(deployment, operator, tenant, first).await {
        // The person is there from a start that was stopped.
        Err(problem) if problem.exit == Exit::Refused => {}
        other => other?,
    }
    let who = Login { user: name(first.name)?, tenant: tenant.clone() };
    let admin = caller(deployment, operator.transport(), &who).await?;
    for user in others {
        add_user(deployment, &admin, tenant, user).await?;
    }
    Ok(())
}

async fn add_user(deployment: &Deployment, client: &Client, tenant: &Name, user: &User) -> Result<(), Problem> {
    let who = Login { user: name(user.name)?, tenant: tenant.clone() };
    let public = make_key(deployment, &who)?;
    let mut attributes = BTreeMap::new();
    if let Some(employee) = user.employee {
        attributes.insert(name("employee")?, employee.to_owned());
    }
    let new = NewUser {
        name: who.user,
        roles: vec![name(user.role)?],
        attributes,
        ssh_keys: vec![public],
        kind: UserKind::Person,
    };
    manage::user_put(client, tenant, &new).await.map(|_| ())
}

async fn import_company(
    terminal: &Terminal,
    deployment: &Deployment,
    transport: &Arc<Transport>,
    company: &Company,
) -> Result<(), Problem> {
    let admin = Login { user: name("andrew")?, tenant: name(company.name)? };
    let client = caller(deployment, transport, &admin).await?;
    let types = manage::types(&client).await?;
    let mut told = Vec::new();
    for (type_name, text) in company.data {
        let record_type = types.find(type_name).map(|(_, found)| found);
        let file = format!("{}/{type_name}.csv", company.name);
        let source = Source::memory(&file, Format::Csv, text.as_bytes().to_vec());
        let mut checker = Checker::new(record_type);
        let what = format!("{} {type_name}", company.name);
        let mut progress = Progress::new(*terminal, format!("checking {what}"), None);
        let checked = import::check(&source, &mut checker, 1, &mut progress);
        progress.done();
        let checked = checked?;
        if let Some(bad) = checked.bad.first() {
            return Err(Problem::failed(format!("{file}: {bad}")));
        }
        let sending = Sending { batch: 500, existing: Existing::Changed };
        let mut progress = Progress::new(*terminal, what, Some(checked.good));
        let sent = import::send(&client, type_name, &source, &mut checker, sending, &mut progress).await;
        progress.done();
        told.push(format!("{} {type_name}", sent?.rows));
    }
    terminal.line(&format!("  loaded  {}: {}", company.name, told.join(", ")))
}
