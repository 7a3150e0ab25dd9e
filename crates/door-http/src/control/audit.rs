//! Which audit records are asked for.

use std::str::FromStr;

use countersign_model::control::AuditQuery;
use countersign_model::{Kind, UnixMs, Value};

use super::Parameters;
use crate::problem::{Part, Problem};

const fn expected(expected: &'static str) -> Problem {
    Problem::Syntax { part: Part::Query, line: 1, column: 1, expected }
}

pub(super) fn query(parameters: &mut Parameters<'_>) -> Result<AuditQuery, Problem> {
    let record = match parameters.take("record") {
        None => None,
        Some(record) => {
            let (record_type, key) = record.split_once('/').ok_or(expected("record=TYPE/KEY"))?;
            Some((record_type.to_owned(), key.to_owned()))
        }
    };
    let field = parameters.take("field");
    if field.is_some() && record.is_none() {
        return Err(expected("record=TYPE/KEY beside field="));
    }
    Ok(AuditQuery {
        record,
        field,
        request: parsed(parameters, "request", "request=UUID")?,
        user: parameters.take("user"),
        session: parsed(parameters, "session", "session=UUID")?,
        token: parsed(parameters, "token", "token=UUID")?,
        since: moment(parameters, "since", "since= and a timestamp such as 2026-07-01T09:30:00Z")?,
        until: moment(parameters, "until", "until= and a timestamp such as 2026-07-01T09:30:00Z")?,
        after: parameters.take("after"),
        limit: parsed(parameters, "limit", "limit= and a whole number")?,
    })
}

fn parsed<T: FromStr>(parameters: &mut Parameters<'_>, name: &str, wanted: &'static str) -> Result<Option<T>, Problem> {
    parameters.take(name).map(|text| text.parse().map_err(|_| expected(wanted))).transpose()
}

fn moment(parameters: &mut Parameters<'_>, name: &str, wanted: &'static str) -> Result<Option<UnixMs>, Problem> {
    let Some(text) = parameters.take(name) else { return Ok(None) };
    match Value::parse(Kind::Timestamp, &text) {
        Ok(Value::Timestamp(moment)) => {
            let ms = moment.unix_timestamp_nanos().div_euclid(1_000_000);
            Ok(Some(UnixMs(u64::try_from(ms).unwrap_or(0))))
        }
        _ => Err(expected(wanted)),
    }
}
