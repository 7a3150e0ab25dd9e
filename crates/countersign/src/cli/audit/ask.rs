//! Questions about who did what: `audit who-saw`, `audit by`, `audit session`.

use clap::Args;
use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Kind, Name, SessionId, UnixMs, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::context::{Context, Unnamed, identifier};
use crate::ledger;
use crate::problem::{Exit, Problem};
use crate::query::Query;

/// From when, until when, how many.
#[derive(Debug, Args)]
pub(in crate::cli) struct Span {
    /// Not before: a moment such as 2026-07-01T09:30:00Z, or so long ago: 90s, 10m, 2h, 7d.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<UnixMs>,
    /// Before, likewise.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<UnixMs>,
    /// At most this many, the newest.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WhoSaw {
    /// The record: its type and its key.
    #[arg(value_name = "TYPE/ID", value_parser = record)]
    record: (Name, String),
    /// Only where this field of it was read, changed or searched by.
    #[arg(long, value_name = "FIELD")]
    field: Option<Name>,
    #[command(flatten)]
    span: Span,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct By {
    /// A user's name or id, also of one that was removed. An operator, in a tenant's log, is NAME@operators.
    #[arg(value_name = "PRINCIPAL")]
    principal: String,
    #[command(flatten)]
    span: Span,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Session {
    /// The login's id, as `--output json` shows it with each record.
    #[arg(value_name = "ID", value_parser = identifier::<SessionId>)]
    session: SessionId,
    #[command(flatten)]
    span: Span,
}

fn record(text: &str) -> Result<(Name, String), String> {
    let (name, key) = text.split_once('/').ok_or("expected TYPE/ID, such as customer/ALFKI")?;
    if key.is_empty() {
        return Err("expected a key after the /".to_owned());
    }
    Ok((Name::new(name).map_err(|error| error.to_string())?, key.to_owned()))
}

/// A moment, or so long ago.
pub(in crate::cli) fn moment(text: &str) -> Result<UnixMs, String> {
    moment_at(text, SystemClock.now())
}

fn moment_at(text: &str, now: UnixMs) -> Result<UnixMs, String> {
    let bad = || "expected a moment such as 2026-07-01T09:30:00Z, or so long ago, such as 2h or 7d".to_owned();
    if let Ok(Value::Timestamp(moment)) = Value::parse(Kind::Timestamp, text) {
        let ms = moment.unix_timestamp_nanos().div_euclid(1_000_000);
        return u64::try_from(ms).map(UnixMs).map_err(|_| bad());
    }
    let unit = text.chars().last().ok_or_else(bad)?;
    let unit_ms: u64 = match unit {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(bad()),
    };
    let number: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| bad())?;
    let ago = number.checked_mul(unit_ms).ok_or_else(bad)?;
    Ok(UnixMs(now.0.saturating_sub(ago)))
}

fn rfc3339(moment: UnixMs) -> Option<String> {
    let nanos = i128::from(moment.0).checked_mul(1_000_000)?;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?.format(&Rfc3339).ok()
}

impl Span {
    fn add_to(&self, query: &mut Query) {
        for (name, moment) in [("since", self.since), ("until", self.until)] {
            if let Some(text) = moment.and_then(rfc3339) {
                query.add(name, &text);
            }
        }
        query.add("limit", &self.limit.to_string());
    }
}

pub(super) async fn who_saw(context: &Context, asked: WhoSaw) -> Result<(), Problem> {
    let (record_type, key) = &asked.record;
    let mut query = Query::new(ledger::PATH.to_owned());
    query.add("record", &format!("{record_type}/{key}"));
    if let Some(field) = &asked.field {
        query.add("field", field.as_str());
    }
    // A key that no record has is not there to be asked about.
    let none = format!("nobody on record has seen {record_type}/{key}");
    answer(context, query, &asked.span, &none).await.map_err(|problem| match problem.exit {
        Exit::Conflict => problem.kind(Exit::NotFound),
        _ => problem,
    })
}

pub(super) async fn by(context: &Context, asked: By) -> Result<(), Problem> {
    let mut query = Query::new(ledger::PATH.to_owned());
    query.add("user", &asked.principal);
    answer(context, query, &asked.span, &format!("nothing on record by {}", asked.principal)).await
}

pub(super) async fn session(context: &Context, asked: Session) -> Result<(), Problem> {
    let mut query = Query::new(ledger::PATH.to_owned());
    query.add("session", &asked.session.to_string());
    answer(context, query, &asked.span, &format!("nothing on record of login {}", asked.session)).await
}

async fn answer(context: &Context, mut query: Query, span: &Span, none: &str) -> Result<(), Problem> {
    span.add_to(&mut query);
    let client = context.client(Unnamed::Refused).await?;
    let page = ledger::read(&client, &query).await?;
    if page.entries.is_empty() {
        return Err(Problem::new(Exit::NotFound, none));
    }
    super::show(context, &page.entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_given_or_so_long_ago() {
        let now = UnixMs(1_000_000_000);
        assert_eq!(moment_at("90s", now), Ok(UnixMs(999_910_000)));
        assert_eq!(moment_at("2h", now), Ok(UnixMs(992_800_000)));
        assert_eq!(moment_at("7d", now), Ok(UnixMs(395_200_000)));
        assert_eq!(moment_at("9999d", now), Ok(UnixMs(0)));
        assert_eq!(moment_at("1970-01-01T00:00:01Z", now), Ok(UnixMs(1000)));
        for wrong in ["", "d", "-1h", "1w", "yesterday", "99999999999999999999d"] {
            assert!(moment_at(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_go_out_as_they_came() {
        assert_eq!(rfc3339(UnixMs(1000)).as_deref(), Some("1970-01-01T00:00:01Z"));
        assert_eq!(moment(&rfc3339(UnixMs(1_780_000_000_123)).unwrap()), Ok(UnixMs(1_780_000_000_123)));
    }
}
