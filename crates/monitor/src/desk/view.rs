//! Alerts and silences as the API shows them.

use countersign_model::UnixMs;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::board::{Board, Silence, Standing};

/// RFC 3339, in UTC, with milliseconds.
pub(super) fn rfc3339(moment: UnixMs) -> String {
    let nanos = i128::from(moment.0).saturating_mul(1_000_000);
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    moment.format(&form).unwrap_or_default()
}

/// An alert with all that is known of it.
pub(super) fn alert(board: &Board, standing: &Standing, now: UnixMs) -> Value {
    let alert = &standing.alert;
    let state = match (&standing.acknowledged, standing.silenced_by) {
        (Some(_), _) => "acknowledged",
        (None, Some(_)) => "silenced",
        (None, None) if board.is_open(standing, now) => "open",
        (None, None) => "quiet",
    };
    json!({
        "id": alert.id,
        "state": state,
        "level": alert.level,
        "rule": alert.rule,
        "title": alert.title,
        "tenant": alert.tenant,
        "about": alert.about,
        "count": alert.count,
        "first": rfc3339(alert.first),
        "last": rfc3339(alert.last),
        "requests": alert.requests,
        "tells_tenant": alert.tells_tenant,
        "raised": rfc3339(standing.opened),
        "told": standing.told.map(|(at, _)| rfc3339(at)),
        "undelivered": board.outbox().waiting_for(alert.id),
        "acknowledged": standing.acknowledged.as_ref().map(|acknowledged| json!({
            "at": rfc3339(acknowledged.at),
            "by": acknowledged.by,
            "note": acknowledged.note,
        })),
        "silence": standing.silenced_by,
    })
}

/// How it stands with each sink.
pub(super) fn sinks(board: &Board) -> Value {
    let one = |name: &str| {
        let (waiting, lost, failing_since) = board.outbox().standing(name);
        json!({ "name": name, "waiting": waiting, "lost": lost, "failing_since": failing_since.map(rfc3339) })
    };
    board.targets().iter().map(|target| one(&target.name)).chain([one(super::TENANTS)]).collect()
}

pub(super) fn silence(silence: &Silence) -> Value {
    let Silence { id, rule, about, since, until, reason, by, kept } = silence;
    json!({
        "id": id,
        "rule": rule,
        "about": about,
        "since": rfc3339(*since),
        "until": rfc3339(*until),
        "reason": reason,
        "by": by,
        "kept": kept,
    })
}
