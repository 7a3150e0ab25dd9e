//! The fields that events have: what rules may name.

use std::collections::BTreeMap;

use crate::event::FieldValue;
use crate::sigma::Source;

/// A field of events.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// What rules call it.
    pub name: &'static str,
    /// Events of which log source have it; `None` is both.
    pub source: Option<Source>,
    /// What it says.
    pub about: &'static str,
}

const fn both(name: &'static str, about: &'static str) -> Field {
    Field { name, source: None, about }
}

const fn audit(name: &'static str, about: &'static str) -> Field {
    Field { name, source: Some(Source::Audit), about }
}

const fn status(name: &'static str, about: &'static str) -> Field {
    Field { name, source: Some(Source::Status), about }
}

/// Every field, by name.
pub const FIELDS: &[Field] = &[
    audit("action", "what was to be done, in the word that policies use: `read`, `login`, `break_glass`, …"),
    audit("affected", "how many records were changed"),
    audit("cells", "how many sealed cells were opened"),
    audit("cells_financial", "how many of them were of fields of the class `financial`"),
    audit("cells_hour", "how many cells this user has opened within the last hour, by the store's records"),
    audit("cells_hour_past_max", "the most that this user has opened in any earlier hour of the last 14 days"),
    audit("cells_hour_ratio", "the first in percent of the second"),
    audit("cells_internal", "how many cells were of fields of the class `internal`"),
    audit("cells_personal", "how many cells were of fields of the class `personal`"),
    audit("cells_public", "how many cells were of fields of the class `public`"),
    audit("cells_secret", "how many cells were of fields of the class `secret`"),
    status("certificate_left_ms", "how long the service's certificate is good for yet; 0 when it has ended"),
    status("clock_drift_ms", "how far the service's clock is from the monitor's"),
    audit("credential", "16 hex digits that tell one login key from another"),
    audit("door", "by which protocol the request came: `http`, …"),
    both("epoch", "the epoch of the facts that were decided by"),
    status("epoch_behind_ms", "how long the service has been behind the newest epoch that any service decides by"),
    status("facts_age_ms", "how long ago the service heard from the authority"),
    audit(
        "first_use",
        "`role/class` where a role reads fields of a class for the first time; several with a comma between",
    ),
    status("kms", "the name of a key management service"),
    status("kms_available", "whether it answers"),
    both("ledger", "the ledger that the record is from, or the service instance that the status is of"),
    status("ledger_gap", "`jumped` where records are missing, `shrank` where the newest are, `unreadable`"),
    status("ledger_lag_ms", "for how long the oldest record that no checkpoint covers has waited for one"),
    status("ledger_writable", "whether the service's ledger takes records"),
    audit("on_behalf_of", "the id of the user for whom somebody acted"),
    audit("operator", "whether the user is one of the deployment's operators"),
    status("ready", "whether the service decides anything at present"),
    audit("reason", "why it was refused or failed: the words of `docs/formats.md`"),
    audit("request", "the id of the request"),
    audit("roles", "the user's roles, with a comma between"),
    audit("rows", "how many rows cells were opened of"),
    both("service", "the service that says so, or that it is about"),
    audit("session", "the id of the login"),
    status("silent_ms", "for how long the service has not answered"),
    audit("tenant", "the id of the tenant whose data it is about"),
    audit("token", "the id of the token"),
    audit("types", "the record types of which cells were opened, with a comma between"),
    audit("user", "the id of the user who asked"),
    audit("user_kind", "`person`, `service` or `agent`"),
    audit("verdict", "`intent`, `released`, `changed`, `refused`, `failed` or `unknown`"),
];

/// How many there are.
pub const COUNT: usize = FIELDS.len();

/// The place of the field of that name, if events of the source have it.
#[must_use]
pub fn place(name: &str, source: Source) -> Option<usize> {
    let place = FIELDS.binary_search_by(|field| field.name.cmp(name)).ok()?;
    FIELDS.get(place).filter(|field| field.source.is_none_or(|of| of == source)).map(|_| place)
}

/// An event's fields by their places: looked up once, asked many times.
#[derive(Debug)]
pub struct View<'a>([Option<&'a FieldValue>; COUNT]);

impl<'a> View<'a> {
    /// Both are in order, so one pass finds them all.
    #[must_use]
    pub fn new(fields: &'a BTreeMap<&'static str, FieldValue>) -> Self {
        let mut values = [None; COUNT];
        let mut places = values.iter_mut().zip(FIELDS);
        for (name, value) in fields {
            if let Some((place, _)) = places.find(|(_, field)| field.name == *name) {
                *place = Some(value);
            }
        }
        Self(values)
    }

    /// The value at a place.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<&'a FieldValue> {
        self.0.get(place).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_a_view_finds_each() {
        assert!(FIELDS.windows(2).all(|pair| pair[0].name < pair[1].name));
        let fields: BTreeMap<_, _> = FIELDS.iter().map(|field| (field.name, FieldValue::from(field.name))).collect();
        let view = View::new(&fields);
        for (place, field) in FIELDS.iter().enumerate() {
            assert_eq!(view.at(place), Some(&FieldValue::from(field.name)));
        }
        let two = [("reason", FieldValue::from("budget")), ("verdict", FieldValue::from("refused"))].into();
        let view = View::new(&two);
        assert_eq!(view.at(place("verdict", Source::Audit).unwrap()), Some(&FieldValue::from("refused")));
        assert_eq!(view.at(place("user", Source::Audit).unwrap()), None);
        assert_eq!(place("user", Source::Status), None);
    }
}
