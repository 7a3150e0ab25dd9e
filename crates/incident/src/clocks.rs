//! Until when somebody has to be told. Which laws there are is data: `rules/clocks.toml`.

use countersign_model::UnixMs;
use serde::{Deserialize, Serialize};

/// The clocks that come with the program.
const EMBEDDED: &str = include_str!("../../../rules/clocks.toml");

const HOUR_MS: u64 = 3_600_000;

/// The most clocks of one file.
const CLOCKS_MAX: usize = 256;

/// A reminder comes when a quarter of the time is left, and no earlier than a day before the end.
const LEFT_MAX_MS: u64 = 24 * HOUR_MS;

/// How long there is to tell whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// What it is called: lower-case letters, digits and `-`.
    pub name: String,
    /// The law's territory.
    #[serde(rename = "where")]
    pub territory: String,
    /// Whose duty it is: `controller`, `processor` or `either`.
    pub who: String,
    /// Who is to be told.
    pub to: String,
    /// What has to be so for it to apply.
    pub trigger: String,
    /// How long, in hours; 0 is at once.
    pub hours: u64,
    /// Where the law says so.
    pub source: String,
}

/// Why a file of clocks can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClocksError {
    /// It is not the TOML that it should be.
    #[error("{0}")]
    Syntax(String),
    /// A clock can't be.
    #[error("clock '{name}': expected {expected}")]
    Clock {
        /// Its name.
        name: String,
        /// What would be right.
        expected: &'static str,
    },
    /// There are too many.
    #[error("at most {CLOCKS_MAX} clocks")]
    TooMany,
}

/// The clocks of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clocks {
    clocks: Vec<Clock>,
}

/// A clock of an incident, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running<'a> {
    /// The clock.
    pub clock: &'a Clock,
    /// When it runs out.
    pub ends: UnixMs,
    /// Whether it has.
    pub is_over: bool,
    /// Whether it is time for a reminder.
    pub is_due: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    clock: Vec<Clock>,
}

impl Clocks {
    /// Reads a file of clocks.
    ///
    /// # Errors
    /// [`ClocksError`].
    pub fn parse(text: &str) -> Result<Self, ClocksError> {
        let File { clock: clocks } = toml::from_str(text).map_err(|error| ClocksError::Syntax(error.to_string()))?;
        if clocks.len() > CLOCKS_MAX {
            return Err(ClocksError::TooMany);
        }
        for (place, clock) in clocks.iter().enumerate() {
            let wrong = |expected| Err(ClocksError::Clock { name: clock.name.clone(), expected });
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if clock.name.is_empty() || clock.name.len() > 64 || !clock.name.bytes().all(is_name) {
                return wrong("a name of at most 64 lower-case letters, digits and '-'");
            }
            if clocks.iter().take(place).any(|other| other.name == clock.name) {
                return wrong("a name that no other clock has");
            }
            if !["controller", "processor", "either"].contains(&clock.who.as_str()) {
                return wrong("who = \"controller\", \"processor\" or \"either\"");
            }
            if clock.hours > 24 * 3660 {
                return wrong("at most ten years");
            }
            if [&clock.territory, &clock.to, &clock.trigger].iter().any(|text| text.is_empty()) {
                return wrong("where, to and trigger in words");
            }
            if !clock.source.contains("https://") {
                return wrong("a source with an https:// link");
            }
        }
        Ok(Self { clocks })
    }

    /// The clocks that come with the program.
    ///
    /// # Errors
    /// [`ClocksError`] for a mistake of ours.
    pub fn embedded() -> Result<Self, ClocksError> {
        Self::parse(EMBEDDED)
    }

    /// All of them, in the order of the file.
    #[must_use]
    pub fn all(&self) -> &[Clock] {
        &self.clocks
    }

    /// Each as it stands at `now`, of an incident that became known at `opened`; the one that ends first comes first.
    #[must_use]
    pub fn running(&self, opened: UnixMs, now: UnixMs) -> Vec<Running<'_>> {
        let mut running = Vec::with_capacity(self.clocks.len());
        for clock in &self.clocks {
            let length = clock.hours.saturating_mul(HOUR_MS);
            let ends = opened.plus_ms(length);
            let left = (length / 4).min(LEFT_MAX_MS);
            running.push(Running { clock, ends, is_over: now >= ends, is_due: now.plus_ms(left) >= ends });
        }
        running.sort_by_key(|one| one.ends);
        running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_of_the_program_can_be_read() {
        let clocks = Clocks::embedded().unwrap();
        let hours = |name: &str| clocks.all().iter().find(|clock| clock.name == name).map(|clock| clock.hours);
        assert_eq!(hours("gdpr-authority"), Some(72));
        assert_eq!(hours("gdpr-processor"), Some(0));
        assert_eq!(hours("australia-assessment"), Some(30 * 24));
        assert_eq!(hours("hipaa-people"), Some(60 * 24));
        assert_eq!(hours("nis2-early-warning"), Some(24));
        assert_eq!(hours("uk-gdpr-authority"), Some(72));
    }

    #[test]
    fn a_clock_reminds_before_it_runs_out_and_says_when_it_has() {
        let clocks = Clocks::embedded().unwrap();
        let opened = UnixMs(1_000_000);
        let at = |hours: u64| {
            let running = clocks.running(opened, opened.plus_ms(hours * HOUR_MS));
            assert!(running.is_sorted_by_key(|one| one.ends));
            let one = running.into_iter().find(|one| one.clock.name == "gdpr-authority").unwrap();
            (one.is_due, one.is_over)
        };
        assert_eq!([at(0), at(53), at(54), at(71), at(72)].map(|one| one.0), [false, false, true, true, true]);
        assert_eq!([at(71), at(72)].map(|one| one.1), [false, true]);
        let month = |hours: u64| {
            let running = clocks.running(opened, opened.plus_ms(hours * HOUR_MS));
            running.into_iter().find(|one| one.clock.name == "australia-assessment").unwrap().is_due
        };
        assert!(!month(29 * 24 - 1) && month(29 * 24));
    }

    #[test]
    fn what_is_no_clock_is_refused_by_name() {
        let good = "[[clock]]\nname = \"a\"\nwhere = \"x\"\nwho = \"either\"\nto = \"y\"\ntrigger = \"z\"\nhours = 1\n\
                    source = \"https://example.com\"\n";
        assert!(Clocks::parse(good).is_ok());
        for (from, to) in [
            ("name = \"a\"", "name = \"A b\""),
            ("either", "anybody"),
            ("hours = 1", "hours = -1"),
            ("hours = 1", "hours = 99999999"),
            ("https://", "http://"),
            ("to = \"y\"", "to = \"\""),
            ("to = \"y\"", "to = \"y\"\nfrom = \"y\""),
        ] {
            assert!(Clocks::parse(&good.replace(from, to)).is_err(), "{to}");
        }
        assert!(Clocks::parse(&format!("{good}{good}")).is_err());
        assert_eq!(Clocks::parse("").unwrap().all(), []);
    }
}
