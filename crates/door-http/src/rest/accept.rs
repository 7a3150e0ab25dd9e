//! The `Accept` header: which form the answer takes.

use crate::problem::Problem;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON array; nulls left out if `strip_nulls`.
    Array {
        /// `nulls=stripped`
        strip_nulls: bool,
    },
    /// The only record as a JSON object.
    Object {
        /// `nulls=stripped`
        strip_nulls: bool,
    },
    /// CSV with a header line.
    Csv,
}

impl Format {
    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Array { strip_nulls: false } => "application/json; charset=utf-8",
            Self::Array { strip_nulls: true } => "application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8",
            Self::Object { strip_nulls: false } => "application/vnd.pgrst.object+json; charset=utf-8",
            Self::Object { strip_nulls: true } => "application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }
}

/// Picks the form that the caller likes best among those there are. No header is a JSON array.
///
/// # Errors
/// [`Problem::NotAcceptable`] if there is none among them.
pub fn parse(header: Option<&str>) -> Result<Format, Problem> {
    const ARRAY: Format = Format::Array { strip_nulls: false };
    let header = match header {
        None | Some("*/*" | "application/json") => return Ok(ARRAY),
        Some(header) => header,
    };
    let mut best: Option<(Format, f32)> = None;
    for range in header.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut strip_nulls) = (1.0_f32, false);
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                Some(("nulls", "stripped")) => strip_nulls = true,
                _ => {}
            }
        }
        let format = match media.as_str() {
            "*/*" | "application/*" | "application/json" => ARRAY,
            "application/vnd.pgrst.array+json" | "application/vnd.pgrst.array" => Format::Array { strip_nulls },
            "application/vnd.pgrst.object+json" | "application/vnd.pgrst.object" => Format::Object { strip_nulls },
            "text/csv" | "text/*" => Format::Csv,
            _ => continue,
        };
        if quality > 0.0 && best.is_none_or(|(_, so_far)| quality > so_far) {
            best = Some((format, quality));
        }
    }
    best.map(|(format, _)| format).ok_or(Problem::NotAcceptable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let array = Format::Array { strip_nulls: false };
        for (header, format) in [
            (None, array),
            (Some("*/*"), array),
            (Some("application/json"), array),
            (Some("application/json, text/plain, */*"), array),
            (Some("text/html, application/xhtml+xml, */*;q=0.8"), array),
            (Some("application/json;q=0.5, text/csv"), Format::Csv),
            (Some("text/csv;q=0.5, application/json"), array),
            (Some("application/vnd.pgrst.object+json"), Format::Object { strip_nulls: false }),
            (Some("application/vnd.pgrst.object+json;nulls=stripped"), Format::Object { strip_nulls: true }),
            (Some("application/vnd.pgrst.array+json;nulls=stripped"), Format::Array { strip_nulls: true }),
        ] {
            assert_eq!(parse(header), Ok(format), "{header:?}");
        }
        for none in ["", "application/geo+json", "application/vnd.pgrst.plan+text; options=", "text/csv;q=0"] {
            assert_eq!(parse(Some(none)), Err(Problem::NotAcceptable), "{none}");
        }
    }
}
