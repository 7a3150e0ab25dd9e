//! Cryptoperiods: how long keys are used, and how much one may seal, from `keys.toml`.

use countersign_model::control::PolicyFile;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::Problem;
use crate::explain::hint;
use crate::statements::place;

const NAMES: [&str; 4] = ["deployment_days", "tenant_days", "field_days", "seals_max"];
const DAYS_MAX: u64 = 36_500;
/// The most values that one key may seal (RFC 8452, section 9), and the least that a policy can ask for.
const SEALS_MAX: u64 = 1 << 32;
const SEALS_MIN: u64 = 100;

/// How long keys are used before others take their place. A period that has run out stops nothing; it is alerted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPeriods {
    /// The version of the key that wraps the deployment's own, in days.
    pub deployment_days: u32,
    /// Tenants' keys, in days.
    pub tenant_days: u32,
    /// The keys of one field, in days.
    pub field_days: u32,
    /// How many values one key may seal. Shortly before it has, another takes its place.
    pub seals_max: u64,
}

impl Default for KeyPeriods {
    /// A year, and what the cipher allows (NIST SP 800-57 part 1, 5.3.6; RFC 8452, section 9).
    fn default() -> Self {
        Self { deployment_days: 365, tenant_days: 365, field_days: 365, seals_max: SEALS_MAX }
    }
}

impl KeyPeriods {
    /// What these policies say; what they don't say is as by default.
    #[must_use]
    pub fn of(files: &[PolicyFile]) -> Self {
        Self::read(files, &mut Vec::new())
    }

    /// Reads the one file that holds periods, if there is one.
    pub(crate) fn read(files: &[PolicyFile], problems: &mut Vec<Problem>) -> Self {
        let mut periods = Self::default();
        let mut files = files.iter().filter(|file| file.is_keys());
        let Some(file) = files.next() else { return periods };
        for other in files {
            let message = format!("there can be one file of cryptoperiods, and {} is one already", file.name);
            problems.push(Problem::new(other.name.clone(), (1, 1), message));
        }
        let mut problem = |offset: usize, message: String| {
            problems.push(Problem::new(file.name.clone(), place(&file.text, offset), message));
        };
        let document = match DeTable::parse(&file.text) {
            Ok(document) => document,
            Err(error) => {
                problem(error.span().map_or(0, |span| span.start), error.message().to_owned());
                return periods;
            }
        };
        for (name, value) in document.get_ref() {
            let key: &str = name.get_ref();
            if key == "seals_max" {
                match whole(value) {
                    Some(number) if (SEALS_MIN..=SEALS_MAX).contains(&number) => periods.seals_max = number,
                    _ => {
                        problem(value.span().start, format!("seals_max is a whole number, {SEALS_MIN} to {SEALS_MAX}"))
                    }
                }
                continue;
            }
            let days = match key {
                "deployment_days" => &mut periods.deployment_days,
                "tenant_days" => &mut periods.tenant_days,
                "field_days" => &mut periods.field_days,
                other => {
                    let message = format!("there is no period \"{other}\"; {}", hint(other, &NAMES));
                    problem(name.span().start, message);
                    continue;
                }
            };
            let number = whole(value).filter(|number| (1..=DAYS_MAX).contains(number));
            match number.and_then(|number| u32::try_from(number).ok()) {
                Some(number) => *days = number,
                None => problem(value.span().start, format!("{key} is a whole number of days, 1 to {DAYS_MAX}")),
            }
        }
        periods
    }
}

fn whole(value: &Spanned<DeValue<'_>>) -> Option<u64> {
    match value.get_ref() {
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|number| u64::try_from(number).ok())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
