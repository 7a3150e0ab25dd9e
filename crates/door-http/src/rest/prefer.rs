//! The `Prefer` header (RFC 7240) with PostgREST's preferences.

use crate::problem::Problem;

/// What of a changed record's representation to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returning {
    /// Nothing but the status.
    Minimal,
    /// Nothing but the status; kept apart only so that it can be confirmed as applied.
    HeadersOnly,
    /// The records.
    Representation,
}

/// What to do about records that are already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Change them.
    Merge,
    /// Leave them.
    Ignore,
}

/// Which count. Countersign counts exactly whichever is asked for: an estimate could tell of hidden rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// `exact`
    Exact,
    /// `planned`
    Planned,
    /// `estimated`
    Estimated,
}

/// The preferences of one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preferences {
    /// `return`
    pub returning: Option<Returning>,
    /// `count`
    pub count: Option<Count>,
    /// `resolution`
    pub resolution: Option<Resolution>,
    /// `missing=default` (true) or `missing=null` (false)
    pub missing_default: Option<bool>,
    /// `max-affected`
    pub max_affected: Option<u64>,
    /// `handling=strict` (true) or `handling=lenient` (false)
    pub strict: Option<bool>,
    /// `tx=commit`
    pub commit: bool,
    unknown: usize,
}

/// Reads the values of all `Prefer` headers.
///
/// Of a preference given twice the first counts (RFC 7240, section 2), except `max-affected`, where the smaller
/// does. Unknown ones are passed over unless `handling=strict` is among them.
///
/// # Errors
/// [`Problem::Preference`] for unknown ones under strict handling, and always for a `max-affected` that is no
/// number and for `tx=rollback`: passing over those would change records that the caller wanted kept.
pub fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Result<Preferences, Problem> {
    let mut out = Preferences::default();
    for preference in headers.flat_map(|header| header.split(',')) {
        let preference = preference.trim_matches([' ', '\t']);
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        let (name, value) = (name.trim_end(), value.trim_start().trim_matches('"'));
        match (name, value) {
            ("", _) => {}
            ("return", "minimal") => first(&mut out.returning, Returning::Minimal),
            ("return", "headers-only") => first(&mut out.returning, Returning::HeadersOnly),
            ("return", "representation") => first(&mut out.returning, Returning::Representation),
            ("count", "exact") => first(&mut out.count, Count::Exact),
            ("count", "planned") => first(&mut out.count, Count::Planned),
            ("count", "estimated") => first(&mut out.count, Count::Estimated),
            ("resolution", "merge-duplicates") => first(&mut out.resolution, Resolution::Merge),
            ("resolution", "ignore-duplicates") => first(&mut out.resolution, Resolution::Ignore),
            ("missing", "default") => first(&mut out.missing_default, true),
            ("missing", "null") => first(&mut out.missing_default, false),
            ("handling", "strict") => first(&mut out.strict, true),
            ("handling", "lenient") => first(&mut out.strict, false),
            ("max-affected", number) => {
                let max = number.parse().map_err(|_| Problem::Preference("'max-affected' takes a whole number"))?;
                out.max_affected = Some(out.max_affected.map_or(max, |old: u64| old.min(max)));
            }
            ("tx", "commit") => out.commit = true,
            ("tx", _) => return Err(Problem::Preference("'tx' can only be commit: changes can't be rolled back")),
            _ => out.unknown = out.unknown.saturating_add(1),
        }
    }
    if out.strict == Some(true) && out.unknown > 0 {
        return Err(Problem::Preference("an unknown preference, under 'handling=strict'"));
    }
    Ok(out)
}

fn first<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

/// Which preferences apply to which kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Reading.
    Read,
    /// Making records.
    Create,
    /// Changing or removing them.
    Change,
}

impl Preferences {
    /// The value of `Preference-Applied`, empty if none was.
    #[must_use]
    pub fn applied(&self, to: Use) -> String {
        let writes = to != Use::Read;
        let creates = to == Use::Create;
        let resolution = self.resolution.filter(|_| creates).map(|resolution| match resolution {
            Resolution::Merge => "resolution=merge-duplicates",
            Resolution::Ignore => "resolution=ignore-duplicates",
        });
        let missing =
            self.missing_default.filter(|_| creates).map(|yes| if yes { "missing=default" } else { "missing=null" });
        let returning = self.returning.filter(|_| writes).map(|returning| match returning {
            Returning::Minimal => "return=minimal",
            Returning::HeadersOnly => "return=headers-only",
            Returning::Representation => "return=representation",
        });
        let count = self.count.map(|count| match count {
            Count::Exact => "count=exact",
            Count::Planned => "count=planned",
            Count::Estimated => "count=estimated",
        });
        let commit = (self.commit && writes).then_some("tx=commit");
        let handling = self.strict.map(|yes| if yes { "handling=strict" } else { "handling=lenient" });
        let mut out = String::new();
        for word in [resolution, missing, returning, count, commit, handling].into_iter().flatten() {
            if !out.is_empty() {
                out.push_str(", ");
            }
            out.push_str(word);
        }
        if let (Some(max), Use::Change) = (self.max_affected, to) {
            let separator = if out.is_empty() { "" } else { ", " };
            out.push_str(separator);
            out.push_str("max-affected=");
            out.push_str(&max.to_string());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[&str]) -> Result<Preferences, Problem> {
        parse(headers.iter().copied())
    }

    #[test]
    fn what_the_published_clients_send() {
        let python = read(&["return=representation,count=exact,resolution=merge-duplicates,missing=default"]).unwrap();
        assert_eq!(python.returning, Some(Returning::Representation));
        assert_eq!(python.resolution, Some(Resolution::Merge));
        assert_eq!(
            python.applied(Use::Create),
            "resolution=merge-duplicates, missing=default, return=representation, count=exact"
        );
        assert_eq!(python.applied(Use::Read), "count=exact");
        let javascript = read(&["handling=strict, max-affected=3", "return=minimal"]).unwrap();
        assert_eq!(javascript.max_affected, Some(3));
        assert_eq!(javascript.applied(Use::Change), "return=minimal, handling=strict, max-affected=3");
    }

    #[test]
    fn the_first_counts_and_the_smaller_bound() {
        let twice = read(&["return=minimal", "return=representation, max-affected=9, max-affected=2"]).unwrap();
        assert_eq!(twice.returning, Some(Returning::Minimal));
        assert_eq!(twice.max_affected, Some(2));
    }

    #[test]
    fn unknown_ones_count_only_under_strict_handling() {
        assert!(read(&["timezone=UTC, respond-async", "count=all"]).is_ok());
        assert!(matches!(read(&["handling=strict, timezone=UTC"]), Err(Problem::Preference(_))));
        assert!(matches!(read(&["count=all,handling=strict"]), Err(Problem::Preference(_))));
        for dangerous in ["max-affected=many", "max-affected=-1", "tx=rollback"] {
            assert!(matches!(read(&[dangerous]), Err(Problem::Preference(_))), "{dangerous}");
        }
    }
}
