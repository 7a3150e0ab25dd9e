//! `countersign metrics` and `countersign status`

use serde_json::Value;

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
        let columns = [
            "name",
            "is_ready",
            "epoch",
            "facts_age_ms",
            "ledger_records",
            "ledger_lag",
            "ledger_cosignatures",
            "ledger_is_writable",
            "certificate_expires",
            "kms",
        ];
        Table::of(&columns, services).write(&context.terminal, context.output())?;
    }
    let is_ready = |service: &&Value| service.get("is_ready") == Some(&Value::Bool(true));
    match services.iter().filter(|service| !is_ready(service)).count() {
        0 => Ok(()),
        some => Err(Problem::new(Exit::Unavailable, format!("{some} of {} services are not ready", services.len()))),
    }
}
