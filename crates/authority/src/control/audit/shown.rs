//! How audit records are shown: with names in place of identifiers.

use std::sync::Arc;

use countersign_audit::{Access, Record};
use countersign_guard::State;
use countersign_model::erasure::Receipts;
use countersign_model::facts::OPERATORS;
use countersign_model::{FieldSet, RecordId, TenantId, UnixMs};

use super::reading::Entry;
use crate::answer::{AuditAccess, AuditEntry};
use crate::authority::Authority;
use crate::control::describe::replaced;
use crate::registry::erasure::ErasedNames;
use crate::time::rfc3339;

/// How many record identifiers an answer shows of each access.
const RECORD_IDS_MAX: usize = 100;

/// How records are shown to a tenant.
pub(in crate::control) struct View {
    erased: ErasedNames,
    receipts: Arc<Receipts>,
}

impl Authority {
    /// With what was erased left out.
    pub(in crate::control) fn view(&self) -> View {
        View { erased: self.registry.erased_names(), receipts: self.registry.receipts() }
    }
}

impl View {
    /// Who asks about one record is not shown which others were touched with it.
    ///
    /// INVARIANT erased-is-an-id: of a principal that was erased no name is shown, whatever the sealed record has.
    pub(in crate::control) fn shown(
        &self,
        (position, record): Entry,
        state: &State,
        asked: Option<RecordId>,
    ) -> AuditEntry {
        let Record { time, request, service, door, verdict, tenant, body, .. } = record;
        let person = |id| state.facts.users.get(&id).map_or_else(|| id.to_string(), |user| user.name.to_string());
        let erased = body.user.filter(|user| self.receipts.is_user_erased(*user));
        let worded = |text: &str| self.worded(tenant, time, state, text);
        let named = body.user_name.map(|name| worded(&name));
        AuditEntry {
            position: position.0,
            time: rfc3339(time),
            request,
            service: service.as_str(),
            door,
            verdict: verdict.as_str(),
            reason: body.reason.map(countersign_audit::Reason::as_str),
            user: erased.map(|user| user.to_string()).or(named).or_else(|| body.user.map(person)),
            user_id: body.user,
            on_behalf_of: body.on_behalf_of.map(person),
            session: body.session,
            token: body.token,
            action: body.action,
            purpose: body.purpose.map(|purpose| worded(&purpose)),
            epoch: body.epoch,
            accesses: body.accesses.into_iter().map(|access| shown_access(&access, state, asked)).collect(),
            affected: body.affected,
            detail: body.detail.map(|detail| worded(&detail)),
        }
    }

    /// A text with names in place of the identifiers of tenants that there are, and with identifiers in place of the names
    /// of erased principals.
    fn worded(&self, tenant: Option<TenantId>, time: UnixMs, state: &State, text: &str) -> String {
        let is_erasing = !self.erased.is_empty();
        // Nobody else may learn what another tenant is called.
        let owner = tenant.and_then(|tenant| state.facts.tenants.get(&tenant));
        let is_operators = owner.is_some_and(|owner| owner.name.as_str() == OPERATORS);
        replaced(text, |word| {
            if let Ok(id) = word.parse::<TenantId>() {
                if !is_operators {
                    return None;
                }
                return state.facts.tenants.get(&id).map(|tenant| tenant.name.to_string());
            }
            let user = tenant.filter(|_| is_erasing).and_then(|tenant| self.erased.whose(tenant, word, time));
            user.map(|user| user.to_string())
        })
    }
}

fn shown_access(access: &Access, state: &State, asked: Option<RecordId>) -> AuditAccess {
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
