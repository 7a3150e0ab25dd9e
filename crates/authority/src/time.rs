//! Moments as people and JSON write them.

use countersign_model::UnixMs;
use time::OffsetDateTime;
use time::macros::format_description;

/// RFC 3339, in UTC, always with three digits of milliseconds, so that text sorts as time does.
#[must_use]
pub fn rfc3339(moment: UnixMs) -> String {
    let nanos = i128::from(moment.0).saturating_mul(1_000_000);
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    moment.format(&form).unwrap_or_default()
}
