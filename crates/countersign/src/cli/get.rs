//! `countersign get`

use clap::Args;
use countersign_model::Name;
use http::header::ACCEPT;
use http::{HeaderName, Method};

use super::context::{Context, Unnamed};
use crate::problem::Problem;
use crate::query::Query;
use crate::table::{Output, Table};
use crate::transport::Ask;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The record type.
    #[arg(value_name = "TYPE")]
    record_type: Name,
    /// Fields and embedded types, in PostgREST's form; all that you may see if not given.
    #[arg(long, value_name = "FIELDS")]
    select: Option<String>,
    /// A condition FIELD=OPERATOR.VALUE (eq neq gt gte lt lte like ilike in is). May be repeated: all must hold.
    #[arg(long = "where", value_name = "CONDITION", value_parser = condition)]
    conditions: Vec<(String, String)>,
    /// Fields to sort by, each with .desc for largest first.
    #[arg(long, value_name = "FIELDS")]
    order: Option<String>,
    /// At most this many rows.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Skip this many rows.
    #[arg(long, value_name = "N")]
    offset: Option<u64>,
    /// Print how many rows there are, and no row.
    #[arg(long, conflicts_with_all = ["limit", "offset", "order", "select"])]
    count: bool,
    /// What the data is for; recorded in the audit log.
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
}

fn condition(text: &str) -> Result<(String, String), String> {
    let (field, test) = text.split_once('=').ok_or("expected FIELD=OPERATOR.VALUE, such as country=eq.Brazil")?;
    if field.is_empty() {
        return Err("there is no field before the =".to_owned());
    }
    let is_group = test.starts_with('(') && test.ends_with(')');
    if !is_group && !test.contains('.') {
        return Err(format!("there is no operator before the value; did you mean {field}=eq.{test}?"));
    }
    Ok((field.to_owned(), test.to_owned()))
}

const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(super) const PURPOSE: HeaderName = HeaderName::from_static("countersign-purpose");

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let client = context.client(Unnamed::Refused).await?;
    let mut query = Query::new(format!("/rest/v1/{}", arguments.record_type));
    for (name, value) in [("select", &arguments.select), ("order", &arguments.order)] {
        if let Some(value) = value {
            query.add(name, value);
        }
    }
    for (name, value) in [("limit", arguments.limit), ("offset", arguments.offset)] {
        if let Some(value) = value {
            query.add(name, &value.to_string());
        }
    }
    for (field, test) in &arguments.conditions {
        query.add(field, test);
    }
    let ask = |method| {
        let ask = Ask::new(method, query.text());
        match &arguments.purpose {
            Some(purpose) => ask.header(PURPOSE, purpose.clone()),
            None => ask,
        }
    };
    if arguments.count {
        // The smallest answer that carries the count; HEAD would be one, but its refusals have no text.
        let reply = client
            .send(ask(Method::GET).header(PREFER, "count=exact").header(HeaderName::from_static("range"), "0-0"))
            .await?;
        let total = reply.header("content-range").and_then(|range| range.rsplit('/').next());
        let total = total.filter(|total| *total != "*").ok_or_else(|| Problem::failed("the server gave no count"))?;
        return context.terminal.line(total);
    }
    let csv = client.exchange(ask(Method::GET).header(ACCEPT, media_type(context.output()))).await?;
    if !csv.status.is_success() {
        return Err(client.said_no(&csv));
    }
    match context.output() {
        Output::Table => {
            let table = Table::from_csv(&csv.body)?;
            if table.is_empty() {
                context.terminal.note("no row that you may see matches");
                return Ok(());
            }
            table.write(&context.terminal, Output::Table)
        }
        Output::Json | Output::Csv => {
            context.terminal.write(&csv.body)?;
            if csv.body.ends_with(b"\n") || csv.body.is_empty() { Ok(()) } else { context.terminal.line("") }
        }
    }
}

const fn media_type(output: Output) -> &'static str {
    match output {
        Output::Json => "application/json",
        Output::Table | Output::Csv => "text/csv",
    }
}

#[cfg(test)]
mod tests {
    use super::condition;

    #[test]
    fn conditions_are_field_operator_value() {
        assert_eq!(condition("country=eq.Brazil").unwrap(), ("country".into(), "eq.Brazil".into()));
        assert_eq!(condition("note=eq.a=b").unwrap().1, "eq.a=b");
        assert_eq!(condition("or=(a.eq.1,b.eq.2)").unwrap().0, "or");
        assert!(condition("country=Brazil").unwrap_err().contains("country=eq.Brazil"));
        assert!(condition("country").is_err());
    }
}
