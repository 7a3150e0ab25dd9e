//! Reading the audit log of the caller's tenant; for operators, the deployment's as well.

mod find;
mod prove;
mod reading;
mod shown;

use countersign_audit::LedgerQuery;
use countersign_audit::receipt::ReceiptView;
use countersign_guard::Permit;
use countersign_model::control::AuditQuery;
use countersign_model::facts::{OPERATORS, Principal};
use countersign_model::{RequestId, Service, TenantId};
use countersign_services::Call;

use self::reading::{Places, Reading};
use super::{Done, called};
use crate::answer::{AuditPage, ControlAnswer};
use crate::authority::Authority;
use crate::error::ControlFailure;

const LIMIT: u64 = 100;
const LIMIT_MAX: u64 = 10_000;

/// The most records of one ledger that a receipt is made from.
const RECEIPT_RECORDS_MAX: usize = 10_000;

impl Authority {
    pub(super) async fn audit_read(&self, permit: &Permit, query: AuditQuery) -> Result<Done, ControlFailure> {
        let state = permit.state();
        let call = Call::of(permit, Service::Authority);
        let record = match &query.record {
            None => None,
            Some((type_name, key)) => Some(self.find_record(&call, state, type_name, key).await?),
        };
        let field = match (&query.field, record) {
            (None, _) => None,
            (Some(name), Some((type_id, _))) => Some(find::field(state, type_id, name)?),
            (Some(_), None) => {
                return Err(ControlFailure::Invalid { field: "field".into(), expected: "a record with it".into() });
            }
        };
        let places = match &query.after {
            None => None,
            Some(text) => Some(Places::parse(text).ok_or_else(|| ControlFailure::Invalid {
                field: "after".into(),
                expected: "what an earlier answer gave as `next`".into(),
            })?),
        };
        let limit = usize::try_from(query.limit.unwrap_or(LIMIT).min(LIMIT_MAX)).unwrap_or(usize::MAX);
        let asked = LedgerQuery {
            record,
            field,
            request: query.request,
            by: query
                .user
                .as_deref()
                .map(|user| find::doer(state, permit.principal().tenant, user, &self.registry.erased_names())),
            session: query.session,
            token: query.token,
            since: query.since,
            until: query.until,
            ..LedgerQuery::default()
        };
        let owners = owners(permit.principal());
        let reading = Reading { trails: self.trails.all(), call, owners, query: asked, limit };
        let (records, next) = reading.read(places).await?;
        let asked = record.map(|(_, record)| record);
        let view = self.view();
        let records = records.into_iter().map(|entry| view.shown(entry, state, asked)).collect();
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
}

/// Whose records somebody may read: the own tenant's, and for operators the deployment's as well.
fn owners(caller: &Principal) -> Vec<Option<TenantId>> {
    let deployment = (caller.tenant_name.as_str() == OPERATORS).then_some(None);
    [Some(Some(caller.tenant)), deployment].into_iter().flatten().collect()
}
