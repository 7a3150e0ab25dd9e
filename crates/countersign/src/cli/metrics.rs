//! `countersign metrics` and `countersign status`

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::context::{Context, Unnamed};
use crate::problem::{Exit, Problem};
use crate::table::{Output, Table};

async fn document(context: &Context) -> Result<Value, Problem> {
    context.client(Unnamed::Operator).await?.get("/v1/metrics").await
}

/// Prints what the services measure.
pub(super) async fn metrics(context: &Context) -> Result<(), Problem> {
    let answer = document(context).await?;
    let text = answer.get("text").and_then(Value::as_str);
    let text = text.ok_or_else(|| Problem::failed("the server's answer has no measures"))?;
    context.terminal.write(text.as_bytes())
}

/// Says how each service is. Not all of them ready is a failure, for scripts.
pub(super) async fn status(context: &Context) -> Result<(), Problem> {
    let answer = document(context).await?;
    let services = answer.get("services").and_then(Value::as_array);
    let services = services.ok_or_else(|| Problem::failed("the server's answer has no services"))?;
    if context.output() == Output::Json {
        context.terminal.line(&Value::from(services.as_slice()).to_string())?;
    } else {
        table(services).write(&context.terminal, context.output())?;
    }
    let is_ready = |service: &&Value| service.get("is_ready") == Some(&Value::Bool(true));
    match services.iter().filter(|service| !is_ready(service)).count() {
        0 => Ok(()),
        some => Err(Problem::new(Exit::Unavailable, format!("{some} of {} services are not ready", services.len()))),
    }
}

/// The measures' names, said shorter; moments and providers so that a person can read them.
fn table(services: &[Value]) -> Table {
    let mut table = Table::new(&[
        "service",
        "ready",
        "epoch",
        "facts age ms",
        "records",
        "lag",
        "cosigned",
        "writable",
        "certified until",
        "kms",
    ]);
    for service in services {
        let cell = |name: &str| service.get(name).cloned().unwrap_or(Value::Null);
        table.push(vec![
            cell("name"),
            cell("is_ready"),
            cell("epoch"),
            cell("facts_age_ms"),
            cell("ledger_records"),
            cell("ledger_lag"),
            cell("ledger_cosignatures"),
            cell("ledger_is_writable"),
            cell("certificate_expires").as_u64().and_then(moment).map_or(Value::Null, Value::from),
            providers(&cell("kms")),
        ]);
    }
    table
}

fn moment(ms: u64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp(i64::try_from(ms / 1000).ok()?).ok()?;
    at.format(&Rfc3339).ok()
}

fn providers(kms: &Value) -> Value {
    let said = |(name, answers): (&String, &Value)| match answers.as_bool() {
        Some(true) => format!("{name} answers"),
        _ => format!("{name} does not answer"),
    };
    let all = kms.as_object().map(|kms| kms.iter().map(said).collect::<Vec<_>>().join(", "));
    all.map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_can_be_read() {
        let services = [
            json!({ "name": "keys", "is_ready": true, "certificate_expires": 1_795_372_065_000_u64,
                "kms": { "default": true, "hsm": false } }),
            json!({ "name": "store", "is_ready": false }),
        ];
        let text = table(&services).render(None, str::to_owned);
        assert!(
            text.contains("2026-11-22T18:27:45Z") && text.contains("default answers, hsm does not answer"),
            "{text}"
        );
        assert!(!text.contains('{') && !text.contains("null"), "{text}");
    }
}
