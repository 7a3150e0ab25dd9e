//! Events that are in no ledger: what the monitor sees of the services themselves.

use std::collections::{BTreeMap, HashMap};

use countersign_audit::{TallyEntry, Verdict};
use countersign_model::{RequestId, Service, UnixMs};
use countersign_services::ServiceStatus;
use serde::{Deserialize, Serialize};

use crate::event::{Event, FieldValue};

/// What is wrong with a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// Positions are left out.
    Jumped,
    /// It has fewer records than it had.
    Shrank,
    /// Its records can't be read.
    Unreadable,
}

impl Gap {
    /// The word that rules use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jumped => "jumped",
            Self::Shrank => "shrank",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What a service said of itself, or that it said nothing.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The service's name, as its ledger's.
    pub name: String,
    /// What it is.
    pub service: Service,
    /// When it was asked, by the monitor's clock.
    pub asked: UnixMs,
    /// When it had answered, or not.
    pub answered: UnixMs,
    /// What it said.
    pub status: Option<Box<ServiceStatus>>,
}

/// What is known of all services.
#[derive(Debug, Default)]
pub(crate) struct Health {
    services: BTreeMap<String, Known>,
    /// How many records each ledger has had.
    records: HashMap<String, u64>,
}

/// The form in which it is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct StoredHealth(Vec<(String, u64)>);

#[derive(Debug)]
struct Known {
    epoch: u64,
    heard: UnixMs,
    behind_since: Option<UnixMs>,
    /// How many records a checkpoint has to cover, and since when.
    waits: Option<(u64, UnixMs)>,
}

impl Health {
    pub(crate) fn stored(&self) -> StoredHealth {
        StoredHealth(self.records.iter().map(|(name, records)| (name.clone(), *records)).collect())
    }

    pub(crate) fn restored(stored: StoredHealth) -> Self {
        Self { services: BTreeMap::new(), records: stored.0.into_iter().collect() }
    }

    /// How many records the ledger was last said to have.
    pub(crate) fn records(&self, name: &str) -> Option<u64> {
        self.records.get(name).copied()
    }

    /// A service that is no longer part of the deployment.
    pub(crate) fn gone(&mut self, name: &str) {
        self.services.remove(name);
    }

    /// What follows from what a service said: one event, and one for each of its key management services.
    pub(crate) fn events(&mut self, heard: &Heard) -> Vec<Event> {
        let Heard { name, service, answered, .. } = heard;
        let newest = self.services.values().map(|known| known.epoch).max().unwrap_or(0);
        let mut fields: BTreeMap<&'static str, FieldValue> = BTreeMap::new();
        let known = self.services.entry(name.clone()).or_insert(Known {
            epoch: 0,
            heard: *answered,
            behind_since: None,
            waits: None,
        });
        let Some(status) = &heard.status else {
            fields.insert("silent_ms", answered.since(known.heard).into());
            return vec![event(name, *service, *answered, fields)];
        };
        known.heard = *answered;
        known.epoch = status.epoch;
        known.behind_since = (status.epoch < newest).then(|| known.behind_since.unwrap_or(*answered));
        if let Some(since) = known.behind_since {
            fields.insert("epoch_behind_ms", answered.since(since).into());
        }
        let is_covered = |waits: &(u64, UnixMs)| status.ledger_integrated >= waits.0;
        known.waits = known.waits.filter(|waits| !is_covered(waits));
        if known.waits.is_none() && status.ledger_integrated < status.ledger_records {
            known.waits = Some((status.ledger_records, *answered));
        }
        if let Some((_, since)) = known.waits {
            fields.insert("ledger_lag_ms", answered.since(since).into());
        }
        let before = self.records.insert(name.clone(), status.ledger_records).unwrap_or(0);
        if status.ledger_records < before {
            fields.insert("ledger_gap", Gap::Shrank.as_str().into());
        }
        // Its clock was read at some moment between.
        let drift = heard.asked.since(status.now).max(status.now.since(*answered));
        fields.insert("clock_drift_ms", drift.into());
        fields.insert("epoch", status.epoch.into());
        fields.insert("facts_age_ms", status.facts_age_ms.into());
        fields.insert("ready", status.is_ready.into());
        fields.insert("ledger_writable", status.ledger_is_writable.into());
        if let Some(expires) = status.certificate_expires {
            fields.insert("certificate_left_ms", expires.since(*answered).into());
        }
        let mut events = vec![event(name, *service, *answered, fields)];
        for (kms, is_available) in &status.kms {
            let fields = [("kms", kms.as_str().into()), ("kms_available", (*is_available).into())];
            events.push(event(name, *service, *answered, fields.into()));
        }
        events
    }
}

/// A ledger that isn't whole.
pub(crate) fn gap(name: &str, service: Service, now: UnixMs, gap: Gap) -> Event {
    event(name, service, now, [("ledger_gap", gap.as_str().into())].into())
}

fn event(name: &str, service: Service, now: UnixMs, mut fields: BTreeMap<&'static str, FieldValue>) -> Event {
    fields.insert("ledger", name.into());
    fields.insert("service", service.as_str().into());
    let entry = TallyEntry {
        // There was no request.
        request: RequestId::from_u128(0),
        service,
        verdict: Verdict::Failed,
        tenant: None,
        time: now,
        tally: None,
        signal: None,
    };
    Event { entry, ledger: name.to_owned(), position: now.0, fields }
}
