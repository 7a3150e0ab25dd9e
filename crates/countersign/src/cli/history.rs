//! `countersign history`

use clap::Args;
use countersign_model::Name;
use http::header::ACCEPT;
use http::{HeaderName, Method};

use super::context::{Context, Unnamed};
use crate::problem::Problem;
use crate::query::{Query, segment};
use crate::table::{Output, Table};
use crate::transport::Ask;

const PURPOSE: HeaderName = HeaderName::from_static("countersign-purpose");

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The record: its type and its key, such as customer/ALFKI.
    #[arg(value_name = "TYPE/KEY", value_parser = place)]
    record: (Name, String),
    /// Fields, separated by commas; all that you may see if not given.
    #[arg(long, value_name = "FIELDS")]
    select: Option<String>,
    /// At most this many states, the newest.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// What the data is for; recorded in the audit log.
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
}

fn place(text: &str) -> Result<(Name, String), String> {
    let expected = "expected a type and a key, such as customer/ALFKI";
    let (record_type, key) = text.split_once('/').ok_or(expected)?;
    let record_type = record_type.parse().map_err(|error| format!("{error}; {expected}"))?;
    if key.is_empty() { Err(expected.to_owned()) } else { Ok((record_type, key.to_owned())) }
}

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let client = context.client(Unnamed::Refused).await?;
    let (output, terminal) = (context.output(), &context.terminal);
    let (record_type, key) = &arguments.record;
    let mut query = Query::new(format!("/rest/v1/{record_type}/{}/history", segment(key)));
    if let Some(select) = &arguments.select {
        query.add("select", select);
    }
    if let Some(limit) = arguments.limit {
        query.add("limit", &limit.to_string());
    }
    let media_type = if output == Output::Json { "application/json" } else { "text/csv" };
    let mut ask = Ask::new(Method::GET, query.text()).header(ACCEPT, media_type);
    if let Some(purpose) = &arguments.purpose {
        ask = ask.header(PURPOSE, purpose.clone());
    }
    let reply = client.exchange(ask).await?;
    if !reply.status.is_success() {
        return Err(client.said_no(&reply));
    }
    match output {
        Output::Json => {
            terminal.write(&reply.body)?;
            terminal.line("")
        }
        Output::Csv => terminal.write(&reply.body),
        Output::Table => {
            let table = Table::from_csv(&reply.body)?;
            if table.is_empty() {
                terminal.note("nothing that you may see is known of such a record");
                return Ok(());
            }
            table.write(terminal, output)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn records_are_type_and_key() {
        let (record_type, key) = place("customer/A/B c").unwrap();
        assert_eq!((record_type.as_str(), key.as_str()), ("customer", "A/B c"));
        for wrong in ["customer", "customer/", "/ALFKI", "Customer/ALFKI"] {
            assert!(place(wrong).unwrap_err().contains("customer/ALFKI"), "{wrong}");
        }
    }
}
