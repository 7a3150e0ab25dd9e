//! Requests about alerts and measures.

use countersign_model::watch::WatchControl;
use serde::Deserialize;

use super::{Incoming, Parameters, path_id, typed};
use crate::problem::{Part, Problem};
use crate::routes::Target;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledgement {
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Silence {
    rule: String,
    #[serde(default)]
    about: Option<String>,
    for_ms: u64,
    reason: String,
}

pub(super) fn lower(incoming: Incoming<'_>, parameters: &mut Parameters<'_>) -> Result<WatchControl, Problem> {
    Ok(match incoming.target {
        Target::AlertRead => WatchControl::Alert { alert: path_id(incoming.segment)? },
        Target::AlertAcknowledge => {
            let Acknowledgement { note } = typed(incoming, "note, one line that says what was found")?;
            WatchControl::Acknowledge { alert: path_id(incoming.segment)?, note }
        }
        Target::AlertTest => WatchControl::Test,
        Target::SilenceList => WatchControl::Silences,
        Target::SilenceAdd => {
            let expected = "rule, for_ms and reason of a silence, and perhaps about";
            let Silence { rule, about, for_ms, reason } = typed(incoming, expected)?;
            WatchControl::Silence { rule, about, for_ms, reason }
        }
        Target::SilenceEnd => WatchControl::Unsilence { silence: path_id(incoming.segment)? },
        Target::MetricsRead => WatchControl::Metrics,
        _ => {
            let all = parameters.flag("all")?.unwrap_or(false);
            let limit = parameters.take("limit").map(|number| number.parse()).transpose().map_err(|_| {
                let expected = "limit= and a whole number";
                Problem::Syntax { part: Part::Query, line: 1, column: 1, expected }
            })?;
            WatchControl::Alerts { all, limit }
        }
    })
}
