//! Field values: their kinds, text and JSON forms, and the canonical bytes that are sealed and tagged.

mod json;
mod order;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, UtcOffset};
use uuid::Uuid;

pub use json::JsonError;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// UTF-8 text without NUL.
    Text,
    /// A signed 64-bit integer.
    Integer,
    /// A decimal number of at most 28 significant digits.
    Decimal,
    /// True or false.
    Boolean,
    /// A calendar date, ISO 8601.
    Date,
    /// A moment, kept in UTC with microseconds.
    Timestamp,
    /// A UUID.
    Uuid,
    /// Any JSON value.
    Json,
    /// Bytes; base64 in text and JSON.
    Bytes,
}

impl Kind {
    /// The name used in types files and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Uuid => "uuid",
            Self::Json => "json",
            Self::Bytes => "bytes",
        }
    }

    /// What a value of this kind looks like, for error messages.
    #[must_use]
    pub const fn expectation(self) -> &'static str {
        match self {
            Self::Text => "text without NUL",
            Self::Integer => "a whole number from -9223372036854775808 to 9223372036854775807",
            Self::Decimal => "a decimal number of at most 28 digits, such as 12.50",
            Self::Boolean => "true or false",
            Self::Date => "a date such as 2026-07-01",
            Self::Timestamp => "a timestamp such as 2026-07-01T09:30:00Z",
            Self::Uuid => "a UUID such as 0190b6c2-3f5e-7abc-8def-0123456789ab",
            Self::Json => "JSON",
            Self::Bytes => "base64",
        }
    }

    /// Whether `like` and `ilike` apply.
    #[must_use]
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Text)
    }

    /// Whether values of this kind can be compared with `<` and sorted.
    #[must_use]
    pub const fn is_ordered(self) -> bool {
        !matches!(self, Self::Json)
    }
}

/// A field's value, or its absence.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// See [`Kind::Text`].
    Text(String),
    /// See [`Kind::Integer`].
    Integer(i64),
    /// See [`Kind::Decimal`]; keeps the number of places it was written with.
    Decimal(Decimal),
    /// See [`Kind::Boolean`].
    Boolean(bool),
    /// See [`Kind::Date`].
    Date(Date),
    /// See [`Kind::Timestamp`].
    Timestamp(OffsetDateTime),
    /// See [`Kind::Uuid`].
    Uuid(Uuid),
    /// See [`Kind::Json`].
    Json(serde_json::Value),
    /// See [`Kind::Bytes`].
    Bytes(Vec<u8>),
}

/// Never shows the value (the eighth law): a value in a log line is a leak.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind().map_or("null", Kind::as_str))
    }
}

/// A text or JSON form that is not a value of the kind. Says what was expected, never what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {}", .0.expectation())]
pub struct WrongKind(pub Kind);

/// Stored bytes that are not a value of the kind: damage, or another version's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored bytes are not a value of kind {}", .0.as_str())]
pub struct Undecodable(pub Kind);

impl Value {
    /// A moment, if a timestamp can be that.
    #[must_use]
    pub fn moment(at: crate::UnixMs) -> Option<Self> {
        let nanos = i128::from(at.0).checked_mul(1_000_000)?;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().map(Self::Timestamp)
    }

    /// The kind, `None` for null.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Null => return None,
            Self::Text(_) => Kind::Text,
            Self::Integer(_) => Kind::Integer,
            Self::Decimal(_) => Kind::Decimal,
            Self::Boolean(_) => Kind::Boolean,
            Self::Date(_) => Kind::Date,
            Self::Timestamp(_) => Kind::Timestamp,
            Self::Uuid(_) => Kind::Uuid,
            Self::Json(_) => Kind::Json,
            Self::Bytes(_) => Kind::Bytes,
        })
    }

    /// Whether there is no value.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Reads the text form: what stands in a CSV cell or a query string.
    ///
    /// # Errors
    /// [`WrongKind`] if the text is not of that kind.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, WrongKind> {
        let wrong = WrongKind(kind);
        Ok(match kind {
            Kind::Text if text.contains('\0') => return Err(wrong),
            Kind::Text => Self::Text(text.to_owned()),
            Kind::Integer => Self::Integer(text.parse().map_err(|_| wrong)?),
            Kind::Decimal => Self::Decimal(Decimal::from_str_exact(text).map_err(|_| wrong)?),
            Kind::Boolean => match text {
                "true" | "t" => Self::Boolean(true),
                "false" | "f" => Self::Boolean(false),
                _ => return Err(wrong),
            },
            Kind::Date => {
                let date = Date::parse(text, format_description!("[year]-[month]-[day]")).map_err(|_| wrong)?;
                Self::Date(date)
            }
            Kind::Timestamp => Self::Timestamp(parse_timestamp(text).ok_or(wrong)?),
            Kind::Uuid => Self::Uuid(text.parse().map_err(|_| wrong)?),
            Kind::Json => json::parse(text).map_err(|_| wrong)?,
            Kind::Bytes => Self::Bytes(STANDARD.decode(text).map_err(|_| wrong)?),
        })
    }

    /// The text form that [`Self::parse`] reads; `None` for null.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            Self::Null => return None,
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Decimal(number) => number.to_string(),
            Self::Boolean(flag) => flag.to_string(),
            Self::Date(date) => date.to_string(),
            Self::Timestamp(moment) => moment.format(&Rfc3339).unwrap_or_default(),
            Self::Uuid(uuid) => uuid.to_string(),
            Self::Json(json) => json.to_string(),
            Self::Bytes(bytes) => STANDARD.encode(bytes),
        })
    }

    /// The bytes that are sealed as the cell; empty for null, which is sealed as an absent cell.
    ///
    /// Kinds are not in the bytes: the record type says how to read them. Integers and UUIDs are big-endian,
    /// decimals are text (which keeps their places), dates are days since the epoch of the Julian calendar,
    /// timestamps are microseconds since 1970.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Null => Vec::new(),
            Self::Text(text) => text.clone().into_bytes(),
            Self::Integer(number) => number.to_be_bytes().to_vec(),
            Self::Decimal(number) => number.to_string().into_bytes(),
            Self::Boolean(flag) => vec![u8::from(*flag)],
            Self::Date(date) => date.to_julian_day().to_be_bytes().to_vec(),
            Self::Timestamp(moment) => micros(*moment).to_be_bytes().to_vec(),
            Self::Uuid(uuid) => uuid.as_bytes().to_vec(),
            Self::Json(json) => json.to_string().into_bytes(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }

    /// The bytes that are tagged: equal exactly for equal values, so 1.5 and 1.50 have the same.
    #[must_use]
    pub fn to_tag_bytes(&self) -> Vec<u8> {
        match self {
            Self::Decimal(number) => number.normalize().to_string().into_bytes(),
            other => other.to_bytes(),
        }
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Undecodable`] if the bytes are not a value of that kind.
    pub fn from_bytes(kind: Kind, bytes: &[u8]) -> Result<Self, Undecodable> {
        let bad = Undecodable(kind);
        let text = || std::str::from_utf8(bytes).map_err(|_| bad);
        Ok(match kind {
            Kind::Text => Self::Text(text()?.to_owned()),
            Kind::Integer => Self::Integer(i64::from_be_bytes(bytes.try_into().map_err(|_| bad)?)),
            Kind::Decimal => Self::Decimal(Decimal::from_str_exact(text()?).map_err(|_| bad)?),
            Kind::Boolean => match bytes {
                [0] => Self::Boolean(false),
                [1] => Self::Boolean(true),
                _ => return Err(bad),
            },
            Kind::Date => {
                let day = i32::from_be_bytes(bytes.try_into().map_err(|_| bad)?);
                Self::Date(Date::from_julian_day(day).map_err(|_| bad)?)
            }
            Kind::Timestamp => {
                let micros = i64::from_be_bytes(bytes.try_into().map_err(|_| bad)?);
                let nanos = i128::from(micros).saturating_mul(1000);
                Self::Timestamp(OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| bad)?)
            }
            Kind::Uuid => Self::Uuid(Uuid::from_bytes(bytes.try_into().map_err(|_| bad)?)),
            Kind::Json => Self::Json(serde_json::from_slice(bytes).map_err(|_| bad)?),
            Kind::Bytes => Self::Bytes(bytes.to_vec()),
        })
    }
}

fn micros(moment: OffsetDateTime) -> i64 {
    i64::try_from(moment.unix_timestamp_nanos().div_euclid(1000)).unwrap_or(i64::MAX)
}

/// RFC 3339, or ISO 8601 without an offset, which is read as UTC. Cut to microseconds.
fn parse_timestamp(text: &str) -> Option<OffsetDateTime> {
    let moment = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| PrimitiveDateTime::parse(text, &Iso8601::DEFAULT).map(PrimitiveDateTime::assume_utc))
        .ok()?
        .checked_to_offset(UtcOffset::UTC)?;
    if !(0..=9999).contains(&moment.year()) {
        return None;
    }
    let whole_micros = moment.nanosecond() / 1000;
    moment.replace_nanosecond(whole_micros.checked_mul(1000)?).ok()
}

#[cfg(test)]
mod tests;
