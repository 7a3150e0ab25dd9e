//! What the services recorded of one request, side by side.

use countersign_model::{FieldSet, RecordTypes, RequestId, Service, Tally, TokenId, TypeId, UnixMs};
use serde::{Deserialize, Serialize};

use crate::ledger::Position;
use crate::reconcile::{What, judge};
use crate::record::{Reason, Record, Verdict};
use crate::tally::TallyEntry;

/// One request as each service recorded it, and whether they agree. For `countersign audit receipt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptView {
    /// The request.
    pub request: RequestId,
    /// The services that have a record of it, in the order of [`Service::ALL`].
    pub services: Vec<ServiceView>,
    /// Whether nothing is missing and nothing differs.
    pub agree: bool,
    /// What is missing or differs.
    pub wrong: Vec<What>,
}

/// What one service recorded of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// The service.
    pub service: Service,
    /// Its records, in the order of its ledger.
    pub steps: Vec<Step>,
    /// The token that it saw, if it recorded one.
    pub token: Option<TokenId>,
    /// The epoch of the facts that it decided under.
    pub epoch: u64,
    /// What it counted as opened, over all steps.
    pub opened: Vec<OpenedView>,
    /// How many changes of records it counted.
    pub written: u64,
}

/// One record of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its place in the service's ledger.
    pub position: u64,
    /// When the service decided, by its own clock.
    pub time: UnixMs,
    /// What it decided.
    pub verdict: Verdict,
    /// Why, if it refused or failed.
    pub reason: Option<Reason>,
}

/// Rows of which these fields were opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedView {
    /// The record type's name, or `#` and its number if the types don't have it any more.
    pub record_type: String,
    /// The fields' names, likewise.
    pub fields: Vec<String>,
    /// The rows.
    pub rows: u64,
}

impl ReceiptView {
    /// Puts a receipt together from the records of all ledgers that can be read, those of other requests left out.
    #[must_use]
    pub fn new(request: RequestId, records: &[(Position, Record)], types: &RecordTypes) -> Self {
        let mut records: Vec<_> = records.iter().filter(|(_, record)| record.request == request).collect();
        records.sort_by_key(|(position, record)| (record.service, *position));
        records.dedup();
        let entries: Vec<TallyEntry> = records.iter().map(|(_, record)| TallyEntry::of(record)).collect();
        let wrong = judge(&entries);
        let services = records.chunk_by(|(_, one), (_, other)| one.service == other.service);
        let services = services.filter_map(|records| ServiceView::new(records, types)).collect();
        Self { request, services, agree: wrong.is_empty(), wrong }
    }

    /// What one service recorded.
    #[must_use]
    pub fn service(&self, service: Service) -> Option<&ServiceView> {
        self.services.iter().find(|view| view.service == service)
    }
}

impl ServiceView {
    /// The view of a service's records, which are all of the same request.
    fn new(records: &[&(Position, Record)], types: &RecordTypes) -> Option<Self> {
        let (_, first) = records.first()?;
        let token = records.iter().find_map(|(_, record)| {
            let of_tally = record.tally.as_ref().map(|tally| tally.token);
            of_tally.or(record.body.token)
        });
        let mut sum: Option<Tally> = None;
        for (_, Record { verdict, tally, .. }) in records {
            if let Some(tally) = tally.as_ref().filter(|_| *verdict != Verdict::Intent) {
                sum.get_or_insert_with(|| Tally::new(tally.token, tally.epoch)).add(tally);
            }
        }
        let epoch = records.iter().find_map(|(_, record)| record.tally.as_ref().map(|tally| tally.epoch));
        let steps = records.iter().map(|(position, record)| Step {
            position: position.0,
            time: record.time,
            verdict: record.verdict,
            reason: record.body.reason,
        });
        let (opened, written) = sum.map_or_else(Default::default, |sum| (sum.opened, sum.written));
        let opened = opened.into_iter().map(|one| OpenedView {
            record_type: type_name(types, one.record_type),
            fields: field_names(types, one.record_type, one.fields),
            rows: one.rows,
        });
        Some(Self {
            service: first.service,
            steps: steps.collect(),
            token,
            epoch: epoch.unwrap_or(first.body.epoch),
            opened: opened.collect(),
            written,
        })
    }
}

fn type_name(types: &RecordTypes, id: TypeId) -> String {
    types.record_type(id).map_or_else(|| format!("#{}", id.0), |record_type| record_type.name.to_string())
}

fn field_names(types: &RecordTypes, id: TypeId, fields: FieldSet) -> Vec<String> {
    let record_type = types.record_type(id);
    let name = |field| {
        let known = record_type.and_then(|record_type| record_type.field(field));
        known.map_or_else(|| format!("#{}", field.0), |field| field.name.to_string())
    };
    fields.iter().map(name).collect()
}

#[cfg(test)]
mod tests;
