//! Makes events out of records: what a record's signal says, what the facts say about it, and what its user and their
//! roles did before.
//!
//! What this is not: no name of a person, no record and no value gets into an event, since none is in a signal.

pub mod fields;
pub mod health;
pub mod past;
pub mod uses;

use std::collections::BTreeMap;

use countersign_audit::{TallyEntry, Verdict};
use countersign_model::facts::{Facts, OPERATORS};
use countersign_model::request::Door;
use countersign_model::{Sensitivity, Service, Tally};

use self::past::Past;
use self::uses::Uses;
use crate::event::{Event, FieldValue};

/// What is remembered to tell the usual from the unusual.
#[derive(Debug)]
pub struct Enricher {
    past: Past,
    uses: Uses,
}

/// What an [`Enricher`] stores.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct StoredEnricher {
    past: past::StoredPast,
    uses: uses::StoredUses,
}

impl Enricher {
    /// Remembers nothing yet. What a role does in its first `learning_ms` is what it is there for.
    #[must_use]
    pub fn new(learning_ms: u64) -> Self {
        Self { past: Past::default(), uses: Uses::new(learning_ms) }
    }

    /// To be stored.
    #[must_use]
    pub fn stored(&self) -> StoredEnricher {
        StoredEnricher { past: self.past.stored(), uses: self.uses.stored() }
    }

    /// From what was stored.
    #[must_use]
    pub fn restored(stored: StoredEnricher, learning_ms: u64) -> Self {
        Self { past: Past::restored(stored.past), uses: Uses::restored(stored.uses, learning_ms) }
    }

    /// The event that an entry of a ledger is.
    pub fn event(&mut self, ledger: &str, position: u64, entry: TallyEntry, facts: &Facts) -> Event {
        let mut fields: BTreeMap<&'static str, FieldValue> = BTreeMap::new();
        fields.insert("ledger", ledger.into());
        fields.insert("request", entry.request.to_string().into());
        fields.insert("service", entry.service.as_str().into());
        fields.insert("verdict", entry.verdict.as_str().into());
        if let Some(tenant) = entry.tenant {
            fields.insert("tenant", tenant.to_string().into());
        }
        signal(&entry, facts, &mut fields);
        if let Some(tally) = &entry.tally {
            let opened = Opened::of(tally, facts);
            opened.tell(&mut fields);
            // What left the store is what left: a gateway that was taken over might say less.
            if entry.service == Service::Store && entry.verdict == Verdict::Released {
                self.past_of(&entry, &opened, facts, &mut fields);
            }
        }
        Event { entry, ledger: ledger.to_owned(), position, fields }
    }

    fn past_of(
        &mut self,
        entry: &TallyEntry,
        opened: &Opened,
        facts: &Facts,
        fields: &mut BTreeMap<&'static str, FieldValue>,
    ) {
        let Some(user) = entry.signal.as_ref().and_then(|signal| signal.user) else { return };
        let reading = self.past.read(user, entry.time, opened.cells);
        fields.insert("cells_hour", reading.hour.into());
        if let Some(most) = reading.past_max {
            fields.insert("cells_hour_past_max", most.into());
            let percent = reading.hour.saturating_mul(100).checked_div(most).unwrap_or(u64::MAX);
            fields.insert("cells_hour_ratio", percent.into());
        }
        let (Some(tenant), Some(known)) = (entry.tenant, facts.users.get(&user)) else { return };
        let mut first = String::new();
        for role in &known.roles {
            for class in self.uses.first(tenant, role, &opened.classes(), entry.time) {
                if !first.is_empty() {
                    first.push(',');
                }
                first.push_str(role.as_str());
                first.push('/');
                first.push_str(class.as_str());
            }
        }
        if !first.is_empty() {
            fields.insert("first_use", first.into());
        }
    }
}

fn signal(entry: &TallyEntry, facts: &Facts, fields: &mut BTreeMap<&'static str, FieldValue>) {
    let Some(signal) = &entry.signal else { return };
    let mut text = |name, value: Option<String>| {
        if let Some(value) = value {
            fields.insert(name, value.into());
        }
    };
    text("user", signal.user.map(|id| id.to_string()));
    text("on_behalf_of", signal.on_behalf_of.map(|id| id.to_string()));
    text("session", signal.session.map(|id| id.to_string()));
    text("token", signal.token.map(|id| id.to_string()));
    text("action", Some(signal.action.clone()));
    text("reason", signal.reason.map(|reason| reason.as_str().to_owned()));
    text("door", signal.door.map(|door| door_word(door).to_owned()));
    text("credential", signal.credential.map(|digest| format!("{digest:016x}")));
    fields.insert("epoch", signal.epoch.into());
    if let Some(affected) = signal.affected {
        fields.insert("affected", affected.into());
    }
    let Some(user) = signal.user.and_then(|user| facts.users.get(&user)) else { return };
    let roles: Vec<&str> = user.roles.iter().map(|role| role.as_str()).collect();
    fields.insert("roles", roles.join(",").into());
    fields.insert("user_kind", user.kind.as_str().into());
    let is_operator = facts.tenants.get(&user.tenant).is_some_and(|tenant| tenant.name.as_str() == OPERATORS);
    fields.insert("operator", is_operator.into());
}

const fn door_word(door: Door) -> &'static str {
    match door {
        Door::Http => "http",
        Door::Sql => "sql",
        Door::Mcp => "mcp",
    }
}

/// What a tally comes to.
#[derive(Debug, Default)]
struct Opened {
    rows: u64,
    cells: u64,
    by_class: [u64; Sensitivity::ALL.len()],
    types: Vec<String>,
}

/// The fields that tell cells by class, in the order of [`Sensitivity::ALL`].
const BY_CLASS: [&str; Sensitivity::ALL.len()] =
    ["cells_public", "cells_internal", "cells_personal", "cells_financial", "cells_secret"];

impl Opened {
    fn of(tally: &Tally, facts: &Facts) -> Self {
        let mut sum = Self::default();
        for opened in &tally.opened {
            sum.rows = sum.rows.saturating_add(opened.rows);
            sum.cells = sum.cells.saturating_add(opened.cells());
            let Some(record_type) = facts.types.record_type(opened.record_type) else { continue };
            let name = record_type.name.as_str();
            if !sum.types.iter().any(|known| known == name) {
                sum.types.push(name.to_owned());
            }
            for field in opened.fields.iter().filter_map(|field| record_type.field(field)) {
                let classes = Sensitivity::ALL.iter().zip(&mut sum.by_class);
                if let Some((_, cells)) = classes.into_iter().find(|(class, _)| **class == field.class) {
                    *cells = cells.saturating_add(opened.rows);
                }
            }
        }
        sum
    }

    /// The classes of which cells were opened.
    fn classes(&self) -> Vec<Sensitivity> {
        let classes = Sensitivity::ALL.iter().zip(&self.by_class);
        classes.filter(|(_, cells)| **cells > 0).map(|(class, _)| *class).collect()
    }

    fn tell(&self, fields: &mut BTreeMap<&'static str, FieldValue>) {
        if self.rows == 0 {
            return;
        }
        fields.insert("rows", self.rows.into());
        fields.insert("cells", self.cells.into());
        for (name, cells) in BY_CLASS.into_iter().zip(self.by_class) {
            if cells > 0 {
                fields.insert(name, cells.into());
            }
        }
        if !self.types.is_empty() {
            fields.insert("types", self.types.join(",").into());
        }
    }
}
