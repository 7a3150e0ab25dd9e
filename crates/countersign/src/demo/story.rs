//! The story, told by asking: in under a screen.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::example::COMPANIES;
use super::load::{caller, name};
use super::theft;
use crate::client::Client;
use crate::deployment::Deployment;
use crate::ledger;
use crate::login::Login;
use crate::manage;
use crate::problem::Problem;
use crate::query::Query;
use crate::table::{Table, plain};
use crate::terminal::Terminal;
use crate::transport::{Ask, Transport};

/// The company that the story is about, and the one that it is refused.
const HERE: &str = "northwind";
const ELSEWHERE: &str = "chinook";

/// Who is asked, and what they are.
const CAST: [(&str, &str); 3] = [("nancy", "accountant"), ("michael", "support"), ("janet", "rep")];

/// The fields that are shown: enough to tell the three apart.
const SHOWN: [(&str, &[&str]); 2] = [
    ("customer", &["company", "contact_name", "address", "country", "phone", "fax"]),
    ("invoice", &["id", "invoice_date", "total"]),
];

const WIDTH: usize = 100;

pub(super) async fn tell(
    terminal: &Terminal,
    deployment: &Deployment,
    transport: &Arc<Transport>,
) -> Result<(), Problem> {
    let keys = CAST.iter().map(|(user, _)| *user).chain(["robert", "andrew"]);
    if !keys.into_iter().all(|user| deployment.ssh_key(&format!("{user}@{HERE}")).exists()) {
        return terminal.line("  this is not the demo's deployment, so there is no story to tell");
    }
    let as_user =
        async |user: &str| caller(deployment, transport, &Login { user: name(user)?, tenant: name(HERE)? }).await;
    let mut cast = Vec::new();
    for (user, role) in CAST {
        cast.push((format!("{user}, {role}"), as_user(user).await?));
    }
    let Some(customer) = first_customer(cast.last().map(|(_, client)| client)).await? else {
        return terminal.line("  there is no customer to tell of");
    };
    who_sees_what(terminal, &cast, &as_user("andrew").await?, &customer).await?;
    other_company(terminal, &cast).await?;
    stolen_disk(terminal, deployment)?;
    who_looked(terminal, &as_user("robert").await?, &customer).await
}

/// A customer of the rep's own, as all three may see it.
async fn first_customer(rep: Option<&Client>) -> Result<Option<String>, Problem> {
    let Some(rep) = rep else { return Ok(None) };
    let rows = rep.get("/rest/v1/customer?select=id&order=id&limit=1").await?;
    Ok(rows.get(0).and_then(|row| row.get("id")).map(plain))
}

/// The one row of an answer, or none.
async fn row(
    client: &Client,
    record_type: &str,
    parameters: &[(&str, &str)],
) -> Result<Option<Map<String, Value>>, Problem> {
    let mut query = Query::new(format!("/rest/v1/{record_type}"));
    for (name, value) in parameters {
        query.add(name, value);
    }
    let rows = client.get(query.text()).await?;
    Ok(rows.get(0).and_then(Value::as_object).cloned())
}

async fn who_sees_what(
    terminal: &Terminal,
    cast: &[(String, Client)],
    admin: &Client,
    customer: &str,
) -> Result<(), Problem> {
    heading(
        terminal,
        &format!("Who sees what: customer {customer} of {HERE} and its newest invoice, asked for whole"),
    )?;
    let types = manage::types(admin).await?;
    let mut columns = vec!["field"];
    columns.extend(cast.iter().map(|(who, _)| who.as_str()));
    let mut table = Table::new(&columns);
    let of_customer = format!("eq.{customer}");
    let by_id = [("id", of_customer.as_str())];
    let newest = [("customer_id", of_customer.as_str()), ("order", "invoice_date.desc"), ("limit", "1")];
    for (record_type, shown) in SHOWN {
        let parameters = if record_type == "customer" { by_id.as_slice() } else { newest.as_slice() };
        let mut rows = Vec::new();
        for (_, client) in cast {
            rows.push(row(client, record_type, parameters).await?);
        }
        let known = types.find(record_type).map(|(_, found)| found);
        let exists = |field: &&&str| known.is_some_and(|known| known.find(field).is_some());
        for field in shown.iter().filter(exists) {
            let seen = |row: &Option<Map<String, Value>>| match row.as_ref().and_then(|row| row.get(*field)) {
                None => Value::from("·"),
                Some(Value::Null) => Value::from("(empty)"),
                Some(value) => Value::from(plain(value)),
            };
            let label = if record_type == "customer" { (*field).to_owned() } else { format!("{record_type}.{field}") };
            let mut cells = vec![Value::from(label)];
            cells.extend(rows.iter().map(seen));
            table.push(cells);
        }
    }
    indented(terminal, &table)?;
    terminal.line(&terminal.dim("  · the field does not exist for them: not in output, filters, order or errors"))
}

async fn other_company(terminal: &Terminal, cast: &[(String, Client)]) -> Result<(), Problem> {
    let Some((who, client)) = cast.first() else { return Ok(()) };
    heading(terminal, &format!("Another company's records: {who} at {HERE} asks for {ELSEWHERE}'s customers"))?;
    let ask = Ask::new(http::Method::GET, "/rest/v1/customer?limit=1")
        .header(http::HeaderName::from_static("accept-profile"), ELSEWHERE);
    let reply = client.exchange(ask).await?;
    let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let message = said.get("message").map(plain).unwrap_or_default();
    let verdict = if reply.status.is_success() { "answered" } else { "refused" };
    terminal.line(&format!("  {verdict}: {} {message}", reply.status))
}

fn stolen_disk(terminal: &Terminal, deployment: &Deployment) -> Result<(), Problem> {
    let texts = COMPANIES.iter().flat_map(|company| company.data.iter().map(|(_, text)| *text));
    let values = theft::sample(texts, 500);
    let loot = theft::search(deployment.dir(), &values)?;
    heading(
        terminal,
        &format!("A stolen copy of the disk: {} values out of the data, looked for in every file", loot.values),
    )?;
    let size = loot.bytes / 1_000_000;
    terminal.line(&format!(
        "  {} files, {size} MB: {} found (what opens them is kms.key: keep that elsewhere)",
        loot.files, loot.found
    ))
}

async fn who_looked(terminal: &Terminal, auditor: &Client, customer: &str) -> Result<(), Problem> {
    heading(terminal, &format!("Who looked at customer {customer}: the newest records, read by robert, auditor"))?;
    let page = ledger::who_saw(auditor, &name("customer")?, customer, 100).await?;
    let outcomes: Vec<ledger::Entry> = page.entries.into_iter().filter(ledger::Entry::is_outcome).collect();
    let newest = outcomes.get(outcomes.len().saturating_sub(4)..).unwrap_or_default();
    indented(terminal, &ledger::short_table(newest))
}

fn heading(terminal: &Terminal, text: &str) -> Result<(), Problem> {
    terminal.line(&format!("\n{}", terminal.bold(text)))
}

fn indented(terminal: &Terminal, table: &Table) -> Result<(), Problem> {
    let width = terminal.width().unwrap_or(WIDTH).min(WIDTH).saturating_sub(2);
    for line in table.render(Some(width), |heading| terminal.dim(heading)).lines() {
        terminal.line(&format!("  {line}"))?;
    }
    Ok(())
}

/// Commands to copy, with the names that they have here.
pub(super) fn commands(terminal: &Terminal, deployment: &Deployment, address: SocketAddr) -> Result<(), Problem> {
    let program = std::env::current_exe().ok().map_or("countersign".to_owned(), |path| path.display().to_string());
    let dir = std::path::absolute(deployment.dir()).unwrap_or_else(|_| deployment.dir().to_owned());
    heading(terminal, "Try it, in another terminal")?;
    terminal.line(&format!("  D={}; alias countersign={}", quoted(&dir.display().to_string()), quoted(&program)))?;
    terminal.line("  countersign --dir $D --as nancy@northwind get customer --where country=eq.Brazil")?;
    terminal.line("  countersign --dir $D --as robert@northwind audit tail --follow")?;
    terminal.line("  TOKEN=$(countersign --dir $D login michael@chinook)")?;
    terminal.line(&format!(
        "  curl --cacert $D/ca.pem -H \"Authorization: Bearer $TOKEN\" 'https://{address}/rest/v1/customer?country=eq.Brazil'"
    ))?;
    terminal.line("")
}

/// A word for a shell, in quotes if it needs them.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@:+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
