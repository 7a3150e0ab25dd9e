//! Reading the audit log of the caller's tenant; for operators, the deployment's as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_audit::receipt::ReceiptView;
use countersign_audit::{Access as Accessed, LedgerQuery, Position, Record};
use countersign_guard::{Permit, State};
use countersign_model::control::AuditQuery;
use countersign_model::facts::{OPERATORS, Principal};
use countersign_model::{FieldSet, RecordId, RequestId, Service, TenantId, TypeId, Value};
use countersign_services::{Call, Trail, TrailPage};
use countersign_store::{Access, Scan};

use super::{Done, called};
use crate::answer::{AuditAccess, AuditEntry, AuditPage, ControlAnswer};
use crate::authority::Authority;
use crate::error::ControlFailure;
use crate::time::rfc3339;

const LIMIT: u64 = 100;
const LIMIT_MAX: u64 = 10_000;

/// The most records of one ledger that a receipt is made from.
const RECEIPT_RECORDS_MAX: usize = 10_000;

/// How many record identifiers an answer shows of each access.
const RECORD_IDS_MAX: usize = 100;

type Entry = (Position, Record);

impl Authority {
    pub(super) async fn audit_read(&self, permit: &Permit, query: AuditQuery) -> Result<Done, ControlFailure> {
        let state = permit.state();
        let call = Call::of(permit, Service::Authority);
        let record = match &query.record {
            None => None,
            Some((type_name, key)) => Some(self.find_record(&call, state, type_name, key).await?),
        };
        let places = match &query.after {
            None => None,
            Some(text) => Some(Places::parse(text).ok_or_else(|| ControlFailure::Invalid {
                field: "after".into(),
                expected: "what an earlier answer gave as `next`".into(),
            })?),
        };
        let limit = usize::try_from(query.limit.unwrap_or(LIMIT).min(LIMIT_MAX)).unwrap_or(usize::MAX);
        let owners = owners(permit.principal());
        let reading = Reading { trails: self.trails.all(), call, owners, query, record, limit };
        let (records, next) = reading.read(places).await?;
        let asked = record.map(|(_, record)| record);
        let records = records.into_iter().map(|entry| shown(entry, state, asked)).collect();
        Ok(Done::looked(ControlAnswer::Audit(AuditPage { records, next: next.to_text() })))
    }

    /// What every service has on record of one request of the caller's tenant.
    pub(super) async fn receipt(&self, permit: &Permit, request: RequestId) -> Result<Done, ControlFailure> {
        let query = LedgerQuery { request: Some(request), limit: RECEIPT_RECORDS_MAX, ..LedgerQuery::default() };
        let (call, owners) = (Call::of(permit, Service::Authority), owners(permit.principal()));
        let mut records = Vec::new();
        for (_, trail) in self.trails.all() {
            let page = trail.query(&call, &owners, &query).await.map_err(called("audit ledger"))?;
            records.extend(page.records);
        }
        if records.is_empty() {
            return Err(ControlFailure::NotFound { what: "request", name: request.to_string() });
        }
        let receipt = ReceiptView::new(request, &records, &permit.state().facts.types);
        Ok(Done::looked(ControlAnswer::Receipt(Box::new(receipt))))
    }

    /// The record that people call TYPE/KEY, found by its tag as the store finds it. Its cells stay sealed.
    async fn find_record(
        &self,
        call: &Call<'_>,
        state: &State,
        type_name: &str,
        key: &str,
    ) -> Result<(TypeId, RecordId), ControlFailure> {
        let not_found = |what, name: &str| ControlFailure::NotFound { what, name: name.to_owned() };
        let found = state.facts.types.find(type_name);
        let (type_id, record_type) = found.ok_or_else(|| not_found("record type", type_name))?;
        // Who has a record's own identifier, from an earlier answer, may use it too, also after its removal.
        let field = record_type.field(record_type.key).ok_or_else(|| not_found("record type", type_name))?;
        if let Ok(value) = Value::parse(field.kind, key) {
            let keys = self.keys.release(call).await.map_err(called("key service"))?;
            let tag = keys.tag(type_id, record_type.key, &value).map_err(|_| ControlFailure::Unavailable("key"))?;
            let access = Access::Tags { field: record_type.key, tags: tag.into_iter().collect() };
            let scan = Scan { record_type: type_id, access, cells: FieldSet::EMPTY, limit: 1, after: None };
            let rows = self.records.read(call, &scan).await.map_err(called("store"))?;
            if let Some(row) = rows.first() {
                return Ok((type_id, row.record));
            }
        }
        match key.parse::<RecordId>() {
            Ok(record) => Ok((type_id, record)),
            Err(_) => Err(ControlFailure::Invalid {
                field: "record".into(),
                expected: format!("the key of an existing {type_name}, or a record identifier"),
            }),
        }
    }
}

/// Whose records somebody may read: the own tenant's, and for operators the deployment's as well.
fn owners(caller: &Principal) -> Vec<Option<TenantId>> {
    let deployment = (caller.tenant_name.as_str() == OPERATORS).then_some(None);
    [Some(Some(caller.tenant)), deployment].into_iter().flatten().collect()
}

/// For each ledger by name, how many of its records lie before the place. One that is not named has just come.
#[derive(Default)]
struct Places(BTreeMap<String, u64>);

impl Places {
    fn parse(text: &str) -> Option<Self> {
        let place = |part: &str| part.split_once('=').and_then(|(name, at)| Some((name.to_owned(), at.parse().ok()?)));
        text.split(',').map(place).collect::<Option<BTreeMap<_, _>>>().map(Self)
    }

    fn to_text(&self) -> String {
        self.0.iter().map(|(name, place)| format!("{name}={place}")).collect::<Vec<_>>().join(",")
    }
}

struct Reading<'a> {
    trails: Vec<(String, Arc<dyn Trail>)>,
    call: Call<'a>,
    owners: Vec<Option<TenantId>>,
    query: AuditQuery,
    record: Option<(TypeId, RecordId)>,
    limit: usize,
}

impl Reading<'_> {
    /// At most `limit` records, oldest first, and where to go on. Without a place to go on from, the newest.
    async fn read(&self, from: Option<Places>) -> Result<(Vec<Entry>, Places), ControlFailure> {
        let mut streams = Vec::with_capacity(self.trails.len());
        for (name, trail) in &self.trails {
            let from = from.as_ref().map(|places| places.0.get(name).copied().unwrap_or_default());
            let page = self.of_ledger(&**trail, from).await?;
            streams.push(Stream { name: name.clone(), records: page.records.into(), from, size: page.size });
        }
        let ends = |streams: &[Stream]| Places(streams.iter().map(|one| (one.name.clone(), one.size)).collect());
        let merged = merge(&mut streams);
        if from.is_some() {
            let complete = merged.len() <= self.limit;
            let starts = streams.iter().map(|stream| (stream.name.clone(), stream.from.unwrap_or_default()));
            let mut places = Places(starts.collect());
            let page: Vec<_> = merged.into_iter().take(self.limit).collect();
            for (index, (position, _)) in &page {
                if let Some(stream) = streams.get(*index) {
                    places.0.insert(stream.name.clone(), position.0.saturating_add(1));
                }
            }
            if complete {
                places = ends(&streams);
            }
            return Ok((page.into_iter().map(|(_, entry)| entry).collect(), places));
        }
        let older = merged.len().saturating_sub(self.limit);
        Ok((merged.into_iter().skip(older).map(|(_, entry)| entry).collect(), ends(&streams)))
    }

    /// One ledger's records in the order of their positions: one more than the limit, to know whether that is all.
    async fn of_ledger(&self, trail: &dyn Trail, from: Option<u64>) -> Result<TrailPage, ControlFailure> {
        let query = LedgerQuery {
            record: self.record,
            request: self.query.request,
            since: self.query.since,
            after: from.and_then(|from| from.checked_sub(1)).map(Position),
            // At the very beginning there is no position to be after.
            oldest_first: from.is_some(),
            limit: self.limit.saturating_add(1),
        };
        trail.query(&self.call, &self.owners, &query).await.map_err(called("audit ledger"))
    }
}

struct Stream {
    name: String,
    records: std::collections::VecDeque<Entry>,
    from: Option<u64>,
    size: u64,
}

/// All streams as one, by time; each keeps its own order, as that is what places are about.
fn merge(streams: &mut [Stream]) -> Vec<(usize, Entry)> {
    let mut merged = Vec::new();
    loop {
        let heads = streams.iter().enumerate();
        let heads = heads.filter_map(|(index, stream)| stream.records.front().map(|(_, record)| (record.time, index)));
        let Some((_, index)) = heads.min() else { return merged };
        if let Some(entry) = streams.get_mut(index).and_then(|stream| stream.records.pop_front()) {
            merged.push((index, entry));
        }
    }
}

/// Who asks about one record is not shown which others were touched with it.
fn shown((position, record): Entry, state: &State, asked: Option<RecordId>) -> AuditEntry {
    let Record { time, request, service, door, verdict, body, .. } = record;
    let person = |id| state.facts.users.get(&id).map_or_else(|| id.to_string(), |user| user.name.to_string());
    AuditEntry {
        position: position.0,
        time: rfc3339(time),
        request,
        service: service.as_str(),
        door,
        verdict: verdict.as_str(),
        reason: body.reason.map(countersign_audit::Reason::as_str),
        user: body.user_name.or_else(|| body.user.map(person)),
        user_id: body.user,
        on_behalf_of: body.on_behalf_of.map(person),
        session: body.session,
        token: body.token,
        action: body.action,
        purpose: body.purpose,
        epoch: body.epoch,
        accesses: body.accesses.into_iter().map(|access| shown_access(&access, state, asked)).collect(),
        affected: body.affected,
        detail: body.detail,
    }
}

fn shown_access(access: &Accessed, state: &State, asked: Option<RecordId>) -> AuditAccess {
    let record_type = state.facts.types.record_type(access.record_type);
    let names = |fields: FieldSet| {
        let name = |id| {
            let field = record_type.and_then(|record_type| record_type.field(id));
            field.map_or_else(|| format!("#{}", id.0), |field| field.name.to_string())
        };
        fields.iter().map(name).collect()
    };
    AuditAccess {
        record_type: record_type
            .map_or_else(|| format!("#{}", access.record_type.0), |record_type| record_type.name.to_string()),
        fields: names(access.fields),
        filter_fields: names(access.filter_fields),
        records: access.records.len(),
        record_ids: match asked {
            Some(asked) => access.records.contains(asked).then_some(asked).into_iter().collect(),
            None => access.records.iter().take(RECORD_IDS_MAX).collect(),
        },
        rows: access.rows,
    }
}
