//! `countersign get`

use clap::Args;
use countersign_model::Name;
use http::header::ACCEPT;
use http::{HeaderName, Method};

use serde_json::value::RawValue;

use super::context::{Context, Unnamed};
use crate::client::Client;
use crate::problem::Problem;
use crate::query::Query;
use crate::table::{Output, Table};
use crate::terminal::Terminal;
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
    /// At most this many rows; all that there are if not given.
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
const RANGE: HeaderName = HeaderName::from_static("range");
const PURPOSE: HeaderName = HeaderName::from_static("countersign-purpose");
const CURSOR: &str = "countersign-cursor";

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let client = context.client(Unnamed::Refused).await?;
    if arguments.count {
        return context.terminal.line(&count(&client, arguments).await?);
    }
    let (output, terminal) = (context.output(), &context.terminal);
    let mut table: Option<Table> = None;
    let mut written = 0usize;
    let mut place = Place { limit: arguments.limit, offset: arguments.offset, cursor: None };
    loop {
        let ask = ask(arguments, &place).header(ACCEPT, media_type(output));
        let reply = client.exchange(ask).await?;
        if !reply.status.is_success() {
            return Err(client.said_no(&reply));
        }
        let rows = match output {
            Output::Json => write_json(terminal, &reply.body, written)?,
            Output::Csv | Output::Table => {
                let page = Table::from_csv(&reply.body)?;
                let rows = page.len();
                match (output, &mut table) {
                    (Output::Csv, _) if written == 0 => terminal.write(&reply.body)?,
                    (Output::Csv, _) => terminal.write(without_header(&reply.body))?,
                    (_, Some(all)) => all.append(page),
                    (_, none) => *none = Some(page),
                }
                rows
            }
        };
        written = written.saturating_add(rows);
        let cursor = reply.header(CURSOR).map(str::to_owned);
        if !place.advance(rows, cursor) {
            break;
        }
    }
    match (output, table) {
        (Output::Json, _) => terminal.line(if written == 0 { "[]" } else { "]" }),
        (_, Some(table)) if !table.is_empty() => table.write(terminal, output),
        (Output::Table, _) => {
            terminal.note("no row that you may see matches");
            Ok(())
        }
        (Output::Csv, _) => Ok(()),
    }
}

/// Which part of the result is asked for next. A server gives a page at a time, and with it where the next begins.
struct Place {
    limit: Option<u64>,
    offset: Option<u64>,
    cursor: Option<String>,
}

impl Place {
    /// Moves on past `rows` rows; false if there is nothing more to ask for.
    fn advance(&mut self, rows: usize, cursor: Option<String>) -> bool {
        if let Some(limit) = &mut self.limit {
            *limit = limit.saturating_sub(rows as u64);
        }
        self.offset = None;
        self.cursor = cursor;
        self.cursor.is_some() && rows > 0 && self.limit != Some(0)
    }
}

fn ask(arguments: &Arguments, place: &Place) -> Ask {
    let mut query = Query::new(format!("/rest/v1/{}", arguments.record_type));
    let (limit, offset) = (place.limit.map(|n| n.to_string()), place.offset.map(|n| n.to_string()));
    let given = [
        ("select", &arguments.select),
        ("order", &arguments.order),
        ("limit", &limit),
        ("offset", &offset),
        ("cursor", &place.cursor),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            query.add(name, value);
        }
    }
    for (field, test) in &arguments.conditions {
        query.add(field, test);
    }
    let ask = Ask::new(Method::GET, query.text());
    match &arguments.purpose {
        Some(purpose) => ask.header(PURPOSE, purpose.clone()),
        None => ask,
    }
}

/// Asks for one row, the smallest answer that carries the count; that to HEAD has none for why it was refused.
async fn count(client: &Client, arguments: &Arguments) -> Result<String, Problem> {
    let place = Place { limit: None, offset: None, cursor: None };
    let reply = client.send(ask(arguments, &place).header(PREFER, "count=exact").header(RANGE, "0-0")).await?;
    let total = reply.header("content-range").and_then(|range| range.rsplit('/').next());
    let total = total.filter(|total| *total != "*").ok_or_else(|| Problem::failed("the server gave no count"))?;
    Ok(total.to_owned())
}

/// Writes the rows of one page of a JSON array, and says how many there were.
fn write_json(terminal: &Terminal, body: &[u8], before: usize) -> Result<usize, Problem> {
    let rows: Vec<&RawValue> =
        serde_json::from_slice(body).map_err(|_| Problem::failed("the server's answer is not a JSON list"))?;
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        text.push_str(if before == 0 && place == 0 { "[" } else { ",\n " });
        text.push_str(row.get());
    }
    terminal.write(text.as_bytes())?;
    Ok(rows.len())
}

/// CSV text after its first line, which names columns and has no line ends in it.
fn without_header(body: &[u8]) -> &[u8] {
    let end = body.iter().position(|byte| *byte == b'\n').map_or(body.len(), |place| place.saturating_add(1));
    body.get(end..).unwrap_or_default()
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
