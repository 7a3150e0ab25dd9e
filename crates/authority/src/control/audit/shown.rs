//! How audit records are shown: with names in place of identifiers.

use countersign_audit::{Access, Record};
use countersign_guard::State;
use countersign_model::{FieldSet, RecordId};

use super::reading::Entry;
use crate::answer::{AuditAccess, AuditEntry};
use crate::time::rfc3339;

/// How many record identifiers an answer shows of each access.
const RECORD_IDS_MAX: usize = 100;

/// Who asks about one record is not shown which others were touched with it.
pub(super) fn shown((position, record): Entry, state: &State, asked: Option<RecordId>) -> AuditEntry {
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
