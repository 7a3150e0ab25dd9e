//! From records to a radius, in one pass.

use std::collections::{BTreeMap, HashMap};

use countersign_audit::{Access, Exposure, RecordSet, Service, Verdict};
use countersign_model::{FieldSet, RecordId, RequestId, Tally, TenantId, TokenId, TypeId, UnixMs};

use crate::exact::{ByTenant, Exact, ExactRequest, ExactType};
use crate::radius::{LogPart, Radius, TenantRadius};
use crate::suspects::Suspects;

/// Takes the records of all ledgers, ledger by ledger, each in its order.
#[derive(Debug)]
pub struct Gathering {
    suspects: Suspects,
    since: UnixMs,
    until: Option<UnixMs>,
    requests: HashMap<RequestId, Gathered>,
    logs: BTreeMap<String, Vec<(u64, RequestId)>>,
    silent: Vec<String>,
}

/// What all services have on record of one request.
#[derive(Debug, Default)]
struct Gathered {
    tenant: Option<TenantId>,
    first: Option<UnixMs>,
    last: Option<UnixMs>,
    action: String,
    token: Option<TokenId>,
    /// Whether it counts: where a service is in question, whether that service took part.
    counts: bool,
    gateway: Option<Said>,
    authority: Option<Verdict>,
    /// Of the store's records what left it, and which type was changed.
    store: Option<Tally>,
    written: Option<TypeId>,
    places: Vec<(String, u64)>,
}

/// The gateway's word.
#[derive(Debug)]
struct Said {
    verdict: Verdict,
    tally: Option<Tally>,
    accesses: Option<Vec<Access>>,
}

/// The sets of one record type while they grow.
#[derive(Default)]
struct Sets {
    fields: FieldSet,
    filter_fields: FieldSet,
    changed_fields: FieldSet,
    records: Vec<RecordId>,
    changed: Vec<RecordId>,
}

impl Gathering {
    /// Nothing yet. What was decided before `since`, or at or after `until`, does not count.
    #[must_use]
    pub fn new(suspects: Suspects, since: UnixMs, until: Option<UnixMs>) -> Self {
        let (requests, logs, silent) = <_>::default();
        Self { suspects, since, until, requests, logs, silent }
    }

    /// A log that can't be asked.
    pub fn silent(&mut self, log: &str) {
        self.silent.push(log.to_owned());
    }

    /// Takes a record of the log of that name: `gateway`, or `gateway/a` where there are several.
    pub fn add(&mut self, log: &str, exposure: Exposure) {
        let in_time = exposure.time >= self.since && self.until.is_none_or(|until| exposure.time < until);
        if !(in_time && self.suspects.count(&exposure)) {
            return;
        }
        let counts = self.suspects.of_service().is_none_or(|(role, name)| {
            // Where all services are one process, a ledger goes by its service's name alone.
            let instance = log.split_once('/').map_or("first", |(_, instance)| instance);
            // An authority makes tokens: nothing is beyond it.
            role == Service::Authority || exposure.service == role && name.is_none_or(|name| name == instance)
        });
        let Exposure { position, time, request, tenant, verdict, service, signal, tally, accesses } = exposure;
        self.logs.entry(log.to_owned()).or_default().push((position.0, request));
        let entry = self.requests.entry(request).or_default();
        entry.counts |= counts;
        entry.tenant = entry.tenant.or(tenant);
        entry.first = Some(entry.first.map_or(time, |first| first.min(time)));
        entry.last = Some(entry.last.map_or(time, |last| last.max(time)));
        entry.places.push((log.to_owned(), position.0));
        if let Some(signal) = signal {
            entry.token = entry.token.or(signal.token);
            if entry.action.is_empty() {
                entry.action = signal.action;
            }
        }
        match service {
            Service::Gateway => {
                // The outcome says more than the intent.
                if verdict != Verdict::Intent || entry.gateway.is_none() {
                    // Its records are those of the tenant whose key opened them, whatever others say.
                    entry.tenant = tenant.or(entry.tenant);
                    entry.gateway = Some(Said { verdict, tally, accesses });
                }
            }
            Service::Store => {
                if let Some(tally) = tally {
                    entry.store.get_or_insert_with(|| Tally::new(tally.token, tally.epoch)).add(&tally);
                }
                if verdict == Verdict::Changed {
                    entry.written = accesses.and_then(|all| all.first().map(|access| access.record_type));
                }
            }
            Service::Authority => {
                if verdict != Verdict::Intent || entry.authority.is_none() {
                    entry.authority = Some(verdict);
                }
            }
            // What the key service counts, the store does too.
            Service::Keys | Service::Monitor => {}
        }
    }

    /// What it came to.
    #[must_use]
    pub fn finish(self) -> Radius {
        self.finish_exact().0
    }

    /// What it came to, and for each tenant exactly which records.
    #[must_use]
    pub fn finish_exact(self) -> (Radius, BTreeMap<TenantId, Exact>) {
        let Self { requests, logs, silent, suspects, .. } = self;
        let whole_service = suspects.of_service().is_some();
        let has_gateway = logs.keys().any(|log| is_of(log, Service::Gateway));
        let mut radius = Radius { silent, ..Radius::default() };
        let mut sets: BTreeMap<TenantId, BTreeMap<TypeId, Sets>> = BTreeMap::new();
        let mut exact: ByTenant = BTreeMap::new();
        let mut ordered: Vec<(RequestId, Gathered)> = requests.into_iter().collect();
        ordered.sort_by_key(|(request, one)| (one.first, *request));
        let mut counted = std::collections::HashSet::new();
        for (request, one) in ordered {
            // A service that was taken over may have kept requests from its gateway's log, and its own from ours.
            let unaccounted = one.store.as_ref().is_some_and(|tally| !tally.is_empty()) && one.gateway.is_none();
            if !(one.counts || whole_service && unaccounted) {
                continue;
            }
            counted.insert(request);
            radius.requests = radius.requests.saturating_add(1);
            if unaccounted && has_gateway {
                radius.unaccounted = radius.unaccounted.saturating_add(1);
            }
            let Some(tenant) = one.tenant else { continue };
            let told = radius.tenants.entry(tenant).or_default();
            let released = take(told, sets.entry(tenant).or_default(), &one);
            if released {
                exact.entry(tenant).or_default().requests.push(one.exact(request));
            }
        }
        for (tenant, types) in sets {
            let exact = exact.entry(tenant).or_default();
            exact.types = types.into_iter().map(|(record_type, sets)| sets.into_exact(record_type)).collect();
            if let Some(told) = radius.tenants.get_mut(&tenant) {
                told.count(exact);
            }
        }
        for (log, places) in logs {
            let part: &mut LogPart = radius.logs.entry(log).or_default();
            places.iter().filter(|(_, request)| counted.contains(request)).for_each(|(place, _)| part.push(*place));
        }
        radius.logs.retain(|_, part| part.records > 0);
        exact.retain(|_, exact| !exact.is_empty());
        (radius, exact)
    }
}

/// Adds one request to what is told of its tenant. Whether it released or changed records.
fn take(told: &mut TenantRadius, sets: &mut BTreeMap<TypeId, Sets>, one: &Gathered) -> bool {
    told.requests = told.requests.saturating_add(1);
    told.first = told.first.into_iter().chain(one.first).min();
    told.last = told.last.into_iter().chain(one.last).max();
    if matches!(one.authority, Some(Verdict::Released | Verdict::Changed)) {
        let count = told.managed.entry(one.action.clone()).or_default();
        *count = count.saturating_add(1);
    }
    // What may have been done counts as done.
    let done = |verdict| matches!(verdict, Verdict::Released | Verdict::Changed | Verdict::Unknown);
    match &one.gateway {
        Some(said) if done(said.verdict) => {}
        Some(Said { verdict: Verdict::Intent, .. }) if one.written.is_some() => {}
        gateway => {
            let nothing = matches!(one.authority, None | Some(Verdict::Refused | Verdict::Failed));
            if nothing && (gateway.is_some() || one.store.is_none()) {
                told.refused = told.refused.saturating_add(1);
            }
            stayed(told, one);
            return false;
        }
    }
    let Some(Said { verdict, tally, accesses }) = &one.gateway else { return false };
    let Some(accesses) = accesses else {
        told.unopened = told.unopened.saturating_add(1);
        for opened in tally.iter().flat_map(|tally| &tally.opened) {
            let entry = told.types.entry(opened.record_type).or_default();
            entry.unopened_fields = entry.unopened_fields.union(opened.fields);
            entry.unopened_rows = entry.unopened_rows.saturating_add(opened.rows);
        }
        return true;
    };
    let changed = (*verdict != Verdict::Released)
        .then(|| one.written.or_else(|| accesses.first().map(|access| access.record_type)))
        .flatten();
    let mut left: BTreeMap<TypeId, u64> = BTreeMap::new();
    for access in accesses {
        let entry = told.types.entry(access.record_type).or_default();
        let sets = sets.entry(access.record_type).or_default();
        entry.filter_fields = entry.filter_fields.union(access.filter_fields);
        sets.filter_fields = sets.filter_fields.union(access.filter_fields);
        let rows = left.entry(access.record_type).or_default();
        *rows = rows.saturating_add(access.rows);
        if access.records.is_empty() {
            continue;
        }
        if changed == Some(access.record_type) {
            entry.changed_fields = entry.changed_fields.union(access.fields);
            sets.changed_fields = sets.changed_fields.union(access.fields);
            sets.changed.extend(access.records.iter());
        } else {
            entry.fields = entry.fields.union(access.fields);
            sets.fields = sets.fields.union(access.fields);
            entry.rows = entry.rows.saturating_add(access.rows);
            sets.records.extend(access.records.iter());
        }
    }
    // What the gateway was given beyond what it gave out.
    for (record_type, (fields, rows)) in of_store(one) {
        let beyond = rows.saturating_sub(left.get(&record_type).copied().unwrap_or_default());
        if beyond > 0 {
            let entry = told.types.entry(record_type).or_default();
            entry.sealed_fields = entry.sealed_fields.union(fields);
            entry.sealed_rows = entry.sealed_rows.saturating_add(beyond);
        }
    }
    true
}

/// Rows that left the store for a request of which nothing left the gateway, as far as it says.
fn stayed(told: &mut TenantRadius, one: &Gathered) {
    for (record_type, (fields, rows)) in of_store(one) {
        let entry = told.types.entry(record_type).or_default();
        if one.gateway.is_some() {
            entry.sealed_fields = entry.sealed_fields.union(fields);
            entry.sealed_rows = entry.sealed_rows.saturating_add(rows);
        } else {
            // No gateway says what became of them, so they have to be taken as given out.
            entry.unopened_fields = entry.unopened_fields.union(fields);
            entry.unopened_rows = entry.unopened_rows.saturating_add(rows);
        }
    }
}

/// By type, the fields and the most rows of one set of fields that left the store. The cells that decide about a row and
/// those that are given out may be fetched one after the other, so rows are not added up over sets of fields.
fn of_store(one: &Gathered) -> BTreeMap<TypeId, (FieldSet, u64)> {
    let mut types: BTreeMap<TypeId, (FieldSet, u64)> = BTreeMap::new();
    let of_gateway = one.gateway.as_ref().and_then(|said| said.tally.as_ref());
    for opened in one.store.as_ref().or(of_gateway).iter().flat_map(|tally| &tally.opened) {
        let (fields, rows) = types.entry(opened.record_type).or_default();
        *fields = fields.union(opened.fields);
        *rows = (*rows).max(opened.rows);
    }
    types
}

fn is_of(log: &str, service: Service) -> bool {
    log.split('/').next() == Some(service.as_str())
}

impl Gathered {
    fn exact(self, request: RequestId) -> ExactRequest {
        let Self { first, action, token, gateway, places, .. } = self;
        let (verdict, accesses) =
            gateway.map_or((Verdict::Released, Vec::new()), |said| (said.verdict, said.accesses.unwrap_or_default()));
        ExactRequest { request, time: first.unwrap_or(UnixMs(0)), action, verdict, token, accesses, places }
    }
}

impl Sets {
    fn into_exact(self, record_type: TypeId) -> ExactType {
        let Self { fields, filter_fields, changed_fields, records, changed } = self;
        ExactType {
            record_type,
            fields,
            filter_fields,
            records: records.into_iter().collect::<RecordSet>(),
            changed_fields,
            changed: changed.into_iter().collect::<RecordSet>(),
        }
    }
}

#[cfg(test)]
mod tests;
