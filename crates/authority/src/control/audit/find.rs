//! Finding what audit queries name: records by their keys, fields and people by their names.

use countersign_audit::By;
use countersign_guard::State;
use countersign_model::{FieldId, FieldSet, Name, RecordId, TenantId, TypeId, UnixMs, UserId, Value};
use countersign_services::Call;
use countersign_store::{Access, Scan};

use crate::authority::Authority;
use crate::control::called;
use crate::error::ControlFailure;
use crate::registry::erasure::ErasedNames;

impl Authority {
    /// The record that people call TYPE/KEY, found by its tag as the store finds it. Its cells stay sealed.
    pub(super) async fn find_record(
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
            let tags = keys.tags(type_id, record_type.key, &value).map_err(|_| ControlFailure::Unavailable("key"))?;
            let access = Access::Tags { field: record_type.key, tags: tags.collect() };
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

/// A field of a record type, by its name.
pub(super) fn field(state: &State, type_id: TypeId, name: &str) -> Result<FieldId, ControlFailure> {
    let record_type = state.facts.types.record_type(type_id);
    let found = record_type.and_then(|record_type| record_type.find(name));
    found.map(|(field, _)| field).ok_or_else(|| ControlFailure::NotFound { what: "field", name: name.to_owned() })
}

/// Whom a name or an identifier means. Nobody need have the name now: who had it once is found by it too, and so is an
/// operator, who is on record in a tenant as NAME@operators. By the name of a principal that was erased nobody is found who
/// had it before.
pub(super) fn doer(state: &State, tenant: TenantId, text: &str, erased: &ErasedNames) -> By {
    if let Ok(user) = text.parse::<UserId>() {
        return By { user: Some(user), name: None };
    }
    let user = Name::new(text).ok().and_then(|name| state.facts.user_names.get(&(tenant, name)).copied());
    if erased.whose(tenant, text, UnixMs(0)).is_some() {
        // Somebody else may have it by now.
        return By { user: Some(user.unwrap_or(UserId::from_bytes([0; 16]))), name: None };
    }
    By { user, name: Some(text.to_owned()) }
}
