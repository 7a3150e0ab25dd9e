//! Moments as people and JSON write them.

use countersign_model::UnixMs;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// RFC 3339, in UTC; with milliseconds where there are any.
pub(crate) fn rfc3339(moment: UnixMs) -> String {
    let nanos = i128::from(moment.0).saturating_mul(1_000_000);
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).unwrap_or_default()
}
