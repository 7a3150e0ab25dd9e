//! What operators and tenants are shown of a breach.

use std::collections::BTreeMap;

use countersign_audit::RecordSet;
use countersign_incident::{Exact, TenantRadius, TypeRadius};
use countersign_model::incident::Culprit;
use countersign_model::{FieldSet, IncidentId, RecordId, RecordTypes, RequestId, TenantId, TokenId, TypeId};
use serde::Serialize;

use super::fact::{IncidentFact, NoticeFact};
use crate::authority::Authority;
use crate::time::rfc3339;

/// How many records of one type a notice lists; it says how many more there are.
const RECORDS_MAX: usize = 50_000;
/// How many requests a notice lists.
const REQUESTS_MAX: usize = 5_000;
/// How many runs of positions of one log an operator is shown.
const RUNS_MAX: usize = 1_000;

/// One breach, in a line.
#[derive(Debug, Serialize)]
pub struct IncidentEntry {
    /// Its identifier.
    pub id: IncidentId,
    /// What was in the wrong hands.
    pub culprit: Culprit,
    /// From when on, RFC 3339.
    pub since: String,
    /// Until when.
    pub until: String,
    /// When it became known.
    pub opened: String,
    /// By whom it was opened.
    pub by: String,
    /// When everything was done to contain it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contained: Option<String>,
    /// How many tenants it concerns.
    pub tenants: usize,
    /// How many requests.
    pub requests: u64,
    /// How many notices were given out.
    pub given: usize,
    /// How many of them were acknowledged.
    pub acknowledged: usize,
}

/// One breach, as operators see it: types, fields and numbers.
#[derive(Debug, Serialize)]
pub struct IncidentView {
    /// The line.
    #[serde(flatten)]
    pub entry: IncidentEntry,
    /// What it came to, by tenant.
    pub concerned: Vec<TenantView>,
    /// Requests of which some service has a record and no gateway does.
    pub unaccounted: u64,
    /// The logs that could not be asked.
    pub silent: Vec<String>,
    /// Which records of which log say so.
    pub logs: Vec<LogView>,
    /// What was done.
    pub steps: Vec<StepView>,
    /// Until when somebody has to be told.
    pub clocks: Vec<ClockView>,
    /// What was written to whom.
    pub notices: Vec<NoticeEntry>,
}

/// What a breach came to for one tenant.
#[derive(Debug, Serialize)]
pub struct TenantView {
    /// The tenant.
    pub tenant: String,
    /// Whether it has to be told.
    pub to_be_told: bool,
    /// The first request, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// The last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Requests.
    pub requests: u64,
    /// Those that were refused or failed.
    pub refused: u64,
    /// Those whose records can't be opened at present: counted from what the services tell one another.
    pub unopened: u64,
    /// Whether everything that is stored has to be taken as reached.
    pub everything: bool,
    /// What was done besides reading and changing records.
    pub managed: BTreeMap<String, u64>,
    /// By type.
    pub types: Vec<TypeView>,
}

/// What a breach came to in one record type.
#[derive(Debug, Serialize)]
pub struct TypeView {
    /// The type.
    #[serde(rename = "type")]
    pub record_type: String,
    /// Records that left as plaintext.
    pub records: u64,
    /// Rows that did.
    pub rows: u64,
    /// Records that were changed.
    pub changed: u64,
    /// The fields that left as plaintext or were changed, by how sensitive they are.
    pub fields: BTreeMap<&'static str, Vec<String>>,
    /// The fields that decided which records, likewise.
    pub filter_fields: BTreeMap<&'static str, Vec<String>>,
    /// At most so many rows more, of which it can't be said which they were.
    pub unopened_rows: u64,
    /// Rows that left the store and stayed sealed.
    pub sealed_rows: u64,
    /// Their fields.
    pub sealed_fields: BTreeMap<&'static str, Vec<String>>,
}

/// The records of one log that an incident is made from.
#[derive(Debug, Serialize)]
pub struct LogView {
    /// The log.
    pub log: String,
    /// How many.
    pub records: u64,
    /// Their places: first and last of each run; the first thousand runs.
    pub positions: Vec<(u64, u64)>,
    /// The log's checkpoint then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct StepView {
    /// `revoked_token`, `ended_session`, `stopped_principal`, `removed_service`, `rewrapped_key`, `new_signing_key`.
    pub step: &'static str,
    /// To what.
    pub subject: String,
    /// Of which tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// When, RFC 3339.
    pub at: String,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// Until when somebody has to be told.
#[derive(Debug, Serialize)]
pub struct ClockView {
    /// The clock.
    pub clock: String,
    /// The law's territory.
    pub territory: String,
    /// Whose duty.
    pub who: String,
    /// Who is to be told.
    pub to: String,
    /// What has to be so for it to apply.
    pub trigger: String,
    /// When it runs out, RFC 3339; absent if it is at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
    /// Whether it has.
    pub over: bool,
    /// Where the law says so.
    pub source: String,
}

/// A notice, in a line.
#[derive(Debug, Serialize)]
pub struct NoticeEntry {
    /// Of which incident.
    pub incident: IncidentId,
    /// To which tenant; absent where it is the reader's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// In which language.
    pub language: String,
    /// When the breach became known, RFC 3339.
    pub opened: String,
    /// When it was written.
    pub drafted: String,
    /// When it was given out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    /// What became of the last mail that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
    /// When it was first read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered: Option<String>,
    /// When it was acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<String>,
    /// The text, for operators; no record is named in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A notice with the records, for the tenant.
#[derive(Serialize)]
pub struct NoticeView {
    /// The line.
    #[serde(flatten)]
    pub entry: NoticeEntry,
    /// Which records, by type.
    pub records: Vec<NoticeType>,
    /// Which requests.
    pub requests: Vec<NoticeRequest>,
    /// Requests that are not listed: there are too many.
    pub more_requests: usize,
    /// Requests of which it can't be said which records they were about.
    pub unopened: u64,
}

/// The records of one type that a notice is about.
#[derive(Serialize)]
pub struct NoticeType {
    /// The type.
    #[serde(rename = "type")]
    pub record_type: String,
    /// The fields that were read.
    pub fields: Vec<String>,
    /// The fields that decided which records.
    pub filter_fields: Vec<String>,
    /// The records that were read, by the identifiers that Countersign made.
    pub read: Vec<RecordId>,
    /// How many more there are.
    pub more_read: u64,
    /// The fields that were changed.
    pub changed_fields: Vec<String>,
    /// The records that were made, changed or removed.
    pub changed: Vec<RecordId>,
    /// How many more there are.
    pub more_changed: u64,
}

/// One request that a notice is about.
#[derive(Serialize)]
pub struct NoticeRequest {
    /// The request.
    pub request: RequestId,
    /// When, RFC 3339.
    pub time: String,
    /// What was to be done.
    pub action: String,
    /// What came of it.
    pub verdict: &'static str,
    /// By which token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// How many records of which type.
    pub records: BTreeMap<String, u64>,
    /// Where it is on record: log and position.
    pub places: Vec<(String, u64)>,
}

impl Authority {
    pub(super) fn incident_entry(&self, id: IncidentId, fact: &IncidentFact) -> IncidentEntry {
        let notices = || fact.notices.values();
        IncidentEntry {
            id,
            culprit: fact.culprit.clone(),
            since: rfc3339(fact.since),
            until: rfc3339(fact.until),
            opened: rfc3339(fact.opened),
            by: fact.by.clone(),
            contained: fact.contained.map(rfc3339),
            tenants: self.of_subscribers(fact).filter(|(_, told)| told.is_concerned()).count(),
            requests: fact.radius.requests,
            given: notices().filter(|notice| notice.given.is_some()).count(),
            acknowledged: notices().filter(|notice| notice.acknowledged.is_some()).count(),
        }
    }

    pub(super) fn incident_view(&self, id: IncidentId, fact: &IncidentFact) -> IncidentView {
        let (facts, now) = (self.facts(), self.registry.clock().now());
        let log = |(log, part): (&String, &countersign_incident::LogPart)| LogView {
            log: log.clone(),
            records: part.records,
            positions: part.positions.iter().take(RUNS_MAX).copied().collect(),
            checkpoint: part.checkpoint.clone(),
        };
        let step = |step: &super::fact::StepFact| StepView {
            step: step.kind.as_str(),
            subject: step.subject.clone(),
            tenant: step.tenant.map(|tenant| self.tenant_name(tenant)),
            at: rfc3339(step.at),
            failed: step.failed.clone(),
        };
        let clock = |one: countersign_incident::Running<'_>| ClockView {
            clock: one.clock.name.clone(),
            territory: one.clock.territory.clone(),
            who: one.clock.who.clone(),
            to: one.clock.to.clone(),
            trigger: one.clock.trigger.clone(),
            ends: (one.clock.hours > 0).then(|| rfc3339(one.ends)),
            over: one.clock.hours > 0 && one.is_over,
            source: one.clock.source.clone(),
        };
        let notice = |(tenant, notice): (&TenantId, &NoticeFact)| NoticeEntry {
            text: Some(notice.text.clone()),
            ..NoticeEntry::of(id, fact, notice, Some(self.tenant_name(*tenant)))
        };
        IncidentView {
            entry: self.incident_entry(id, fact),
            concerned: self
                .of_subscribers(fact)
                .map(|(tenant, told)| tenant_view(self.tenant_name(tenant), told, &facts.types))
                .collect(),
            unaccounted: fact.radius.unaccounted,
            silent: fact.radius.silent.clone(),
            logs: fact.radius.logs.iter().map(log).collect(),
            steps: fact.steps.iter().map(step).collect(),
            clocks: self.breach.clocks.running(fact.opened, now).into_iter().map(clock).collect(),
            notices: fact.notices.iter().map(notice).collect(),
        }
    }

    pub(super) fn notice_view(
        &self,
        id: IncidentId,
        fact: &IncidentFact,
        tenant: TenantId,
        notice: &NoticeFact,
        exact: &Exact,
    ) -> NoticeView {
        let types = &self.facts().types;
        let listed = |set: &RecordSet| set.iter().take(RECORDS_MAX).collect::<Vec<_>>();
        let more = |set: &RecordSet| set.len().saturating_sub(RECORDS_MAX as u64);
        let records = exact.types.iter().map(|one| NoticeType {
            record_type: type_name(types, one.record_type),
            fields: names(types, one.record_type, one.fields),
            filter_fields: names(types, one.record_type, one.filter_fields),
            read: listed(&one.records),
            more_read: more(&one.records),
            changed_fields: names(types, one.record_type, one.changed_fields),
            changed: listed(&one.changed),
            more_changed: more(&one.changed),
        });
        let requests = exact.requests.iter().take(REQUESTS_MAX).map(|one| NoticeRequest {
            request: one.request,
            time: rfc3339(one.time),
            action: one.action.clone(),
            verdict: one.verdict.as_str(),
            token: one.token,
            records: one
                .accesses
                .iter()
                .map(|access| (type_name(types, access.record_type), access.records.len()))
                .collect(),
            places: one.places.clone(),
        });
        let mut entry = NoticeEntry::of(id, fact, notice, None);
        entry.text = Some(notice.text.clone());
        NoticeView {
            entry,
            records: records.collect(),
            requests: requests.collect(),
            more_requests: exact.requests.len().saturating_sub(REQUESTS_MAX),
            unopened: exact.requests.iter().filter(|one| one.accesses.is_empty()).count() as u64,
        }
        .checked(fact.radius.tenants.get(&tenant))
    }
}

impl NoticeView {
    /// Where nothing more was read than at the opening, that is what can't be said.
    fn checked(mut self, told: Option<&TenantRadius>) -> Self {
        if self.records.is_empty() {
            self.unopened = self.unopened.max(told.map_or(0, |told| told.unopened));
        }
        self
    }
}

impl NoticeEntry {
    pub(super) fn of(id: IncidentId, fact: &IncidentFact, notice: &NoticeFact, tenant: Option<String>) -> Self {
        let mail = notice.mails.last().map(|mail| match &mail.failed {
            None => format!("sent to {} addresses", mail.addresses),
            Some(failed) => format!("not sent: {failed}"),
        });
        let said = |(at, by): &(countersign_model::UnixMs, String)| format!("{} by {by}", rfc3339(*at));
        Self {
            incident: id,
            mail: tenant.is_some().then_some(mail).flatten(),
            tenant,
            language: notice.language.clone(),
            opened: rfc3339(fact.opened),
            drafted: rfc3339(notice.drafted),
            given: notice.given.map(rfc3339),
            delivered: notice.delivered.as_ref().map(said),
            acknowledged: notice.acknowledged.as_ref().map(said),
            text: None,
        }
    }
}

fn tenant_view(tenant: String, told: &TenantRadius, types: &RecordTypes) -> TenantView {
    let of_type = |(id, one): (&TypeId, &TypeRadius)| {
        let classes = |fields: FieldSet| {
            let classes = TypeRadius::by_class(fields, *id, types).into_iter();
            classes.map(|(class, names)| (class.as_str(), names)).collect()
        };
        TypeView {
            record_type: type_name(types, *id),
            records: one.records,
            rows: one.rows,
            changed: one.changed,
            fields: classes(one.fields.union(one.changed_fields).union(one.unopened_fields)),
            filter_fields: classes(one.filter_fields),
            unopened_rows: one.unopened_rows,
            sealed_rows: one.sealed_rows,
            sealed_fields: classes(one.sealed_fields),
        }
    };
    TenantView {
        tenant,
        to_be_told: told.is_concerned(),
        first: told.first.map(rfc3339),
        last: told.last.map(rfc3339),
        requests: told.requests,
        refused: told.refused,
        unopened: told.unopened,
        everything: told.everything,
        managed: told.managed.clone(),
        types: told.types.iter().map(of_type).collect(),
    }
}

fn type_name(types: &RecordTypes, id: TypeId) -> String {
    types.record_type(id).map_or_else(|| format!("#{}", id.0), |found| found.name.to_string())
}

fn names(types: &RecordTypes, id: TypeId, fields: FieldSet) -> Vec<String> {
    let found = types.record_type(id);
    let name = |field| {
        let known = found.and_then(|found| found.field(field));
        known.map_or_else(|| format!("#{}", field.0), |field| field.name.to_string())
    };
    fields.iter().map(name).collect()
}
