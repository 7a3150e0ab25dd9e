//! Breaches over whichever transport, and how they are shown.

use countersign_authority::rfc3339;
use countersign_model::UnixMs;
use http::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::problem::Problem;
use crate::table::{Table, plain};
use crate::terminal::harmless;

/// How many records of each type are shown on a terminal.
const SHOWN: usize = 20;

/// Opens an incident.
///
/// # Errors
/// What the server said.
pub(crate) async fn open(
    client: &Client,
    culprit: &Value,
    since: UnixMs,
    until: Option<UnixMs>,
) -> Result<Value, Problem> {
    let body = json!({ "culprit": culprit, "since": rfc3339(since), "until": until.map(rfc3339) });
    client.put(Method::POST, "/v1/incidents", &body).await
}

pub(crate) fn id(incident: &Value) -> String {
    text(incident, "id")
}

/// Whether a step to contain it was not done.
pub(crate) fn failed(incident: &Value) -> bool {
    list(incident, "steps").iter().any(|step| step.get("failed").is_some())
}

pub(crate) fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(crate) fn text(value: &Value, name: &str) -> String {
    value.get(name).filter(|value| !value.is_null()).map(plain).map(|text| harmless(&text)).unwrap_or_default()
}

pub(crate) fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// All incidents, each in a line.
pub(crate) fn list_of(incidents: &Value) -> Vec<Value> {
    let mut all = incidents.as_array().cloned().unwrap_or_default();
    for incident in &mut all {
        let said = culprit(incident);
        if let Some(fields) = incident.as_object_mut() {
            fields.insert("culprit".to_owned(), json!(said));
        }
    }
    all
}

/// As a table.
pub(crate) fn table(incidents: &Value) -> Table {
    let columns = ["id", "culprit", "opened", "contained", "tenants", "requests", "given", "acknowledged"];
    Table::of(&columns, &list_of(incidents))
}

/// What was in the wrong hands, in words.
fn culprit(incident: &Value) -> String {
    let Some((kind, what)) = incident.get("culprit").and_then(Value::as_object).and_then(|one| one.iter().next())
    else {
        return String::new();
    };
    match kind.as_str() {
        "principal" => format!("principal {}@{}", text(what, "name"), text(what, "tenant")),
        "service" => match text(what, "name") {
            name if name.is_empty() => format!("service {}", text(what, "role")),
            name => format!("service {}/{name}", text(what, "role")),
        },
        "tenant_key" => format!("key of {}", harmless(&plain(what))),
        kind => format!("{kind} {}", harmless(&plain(what))),
    }
}

/// An incident for people: what it came to, what was done, what is to be done until when.
pub(crate) fn shown(incident: &Value) -> String {
    let mut lines = vec![
        format!("incident {}: {}", id(incident), culprit(incident)),
        format!("  opened {} by {}", text(incident, "opened"), text(incident, "by")),
        format!("  looked at {} to {}", text(incident, "since"), text(incident, "until")),
        format!("  {} requests", number(incident, "requests")),
    ];
    let silent: Vec<String> = list(incident, "silent").iter().map(plain).collect();
    if !silent.is_empty() {
        lines.push(format!("  not asked, because they don't answer: {}", silent.join(", ")));
    }
    match number(incident, "unaccounted") {
        0 => {}
        some => lines.push(format!("  {some} requests that no gateway has a record of: taken as given out")),
    }
    for tenant in list(incident, "concerned") {
        lines.extend(of_tenant(tenant));
    }
    let steps = list(incident, "steps");
    if !steps.is_empty() {
        lines.push("done to contain it".to_owned());
    }
    for step in steps {
        let failed = match text(step, "failed") {
            failed if failed.is_empty() => String::new(),
            failed => format!(": NOT DONE: {failed}"),
        };
        let done = text(step, "step").replace('_', " ");
        lines.push(format!("  {} {done} {}{failed}", text(step, "at"), text(step, "subject")));
    }
    lines.push("clocks, from when it was opened; which apply is for a lawyer to say".to_owned());
    for clock in list(incident, "clocks") {
        let ends = match text(clock, "ends") {
            ends if ends.is_empty() => "at once".to_owned(),
            ends if clock.get("over") == Some(&Value::Bool(true)) => format!("{ends} OVER"),
            ends => ends,
        };
        lines.push(format!("  {ends:<24}  {:<28} to {}", text(clock, "clock"), text(clock, "to")));
    }
    let notices = list(incident, "notices");
    if !notices.is_empty() {
        lines.push("notices".to_owned());
    }
    lines.extend(notices.iter().map(|notice| format!("  {}", state(notice))));
    lines.join("\n")
}

fn of_tenant(tenant: &Value) -> Vec<String> {
    let (requests, refused) = (number(tenant, "requests"), number(tenant, "refused"));
    let mut lines =
        vec![format!("{}: {requests} requests, {refused} of them refused or failed", text(tenant, "tenant"))];
    if !text(tenant, "first").is_empty() {
        lines.push(format!("  first {}, last {}", text(tenant, "first"), text(tenant, "last")));
    }
    if tenant.get("everything") == Some(&Value::Bool(true)) {
        lines.push("  everything that is stored has to be taken as read: the key was out".to_owned());
    }
    match number(tenant, "unopened") {
        0 => {}
        some => lines.push(format!("  {some} requests whose records can't be opened at present: counted, not listed")),
    }
    for one in list(tenant, "types") {
        let said = [
            ("records read", number(one, "records")),
            ("rows", number(one, "rows")),
            ("records changed", number(one, "changed")),
            ("rows at most that can't be told", number(one, "unopened_rows")),
            ("rows that stayed sealed", number(one, "sealed_rows")),
        ];
        let said = said.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{count} {what}"));
        lines.push(format!("  {}: {}", text(one, "type"), said.collect::<Vec<_>>().join(", ")));
        for (kind, name) in [("fields", ""), ("filter_fields", "searched by ")] {
            let classes = one.get(kind).and_then(Value::as_object);
            for (class, names) in classes.into_iter().flatten() {
                let names: Vec<String> = names.as_array().into_iter().flatten().map(plain).collect();
                lines.push(format!("    {name}{class}: {}", harmless(&names.join(", "))));
            }
        }
    }
    let managed = tenant.get("managed").and_then(Value::as_object);
    for (action, count) in managed.into_iter().flatten() {
        lines.push(format!("  {}: {count} times", harmless(action)));
    }
    lines
}

fn state(notice: &Value) -> String {
    let mut said = vec![format!("{}: drafted {}", text(notice, "tenant"), text(notice, "drafted"))];
    for (what, name) in [("given", "given"), ("mail", "mail"), ("read", "delivered"), ("acknowledged", "acknowledged")]
    {
        match text(notice, name) {
            nothing if nothing.is_empty() => {}
            some => said.push(format!("{what} {some}")),
        }
    }
    said.join("; ")
}

/// The notices of an incident, whole.
pub(crate) fn notices(incident: &Value) -> String {
    let notices = list(incident, "notices");
    if notices.is_empty() {
        return "no tenant is concerned".to_owned();
    }
    let mut lines = Vec::new();
    for notice in notices {
        lines.push(format!("==== {}", state(notice)));
        lines.push(prose(notice));
    }
    lines.join("\n")
}

/// A text of several lines, each without control characters.
fn prose(notice: &Value) -> String {
    let said = notice.get("text").and_then(Value::as_str).unwrap_or_default();
    said.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

/// A notice with its records, for the tenant.
pub(crate) fn notice(notice: &Value) -> String {
    let mut lines = vec![prose(notice), String::new(), "## The records".to_owned(), String::new()];
    for one in list(notice, "records") {
        for (what, name, more) in [("read", "read", "more_read"), ("changed", "changed", "more_changed")] {
            let ids: Vec<String> = list(one, name).iter().map(plain).collect();
            if ids.is_empty() {
                continue;
            }
            let all = (ids.len() as u64).saturating_add(number(one, more));
            lines.push(format!("{} {what}: {all}", text(one, "type")));
            lines.extend(ids.iter().take(SHOWN).map(|id| format!("  {}", harmless(id))));
            if all > SHOWN as u64 {
                lines.push("  …".to_owned());
            }
        }
    }
    match number(notice, "unopened") {
        0 => {}
        some => lines.push(format!("{some} requests of which it can't be said which records they were about")),
    }
    lines.push(String::new());
    lines.push(
        "All of them, with the requests: add --file FILE. Who reads which record by its identifier: audit who-saw."
            .to_owned(),
    );
    lines.join("\n")
}
