//! What was asked, judged: identifiers in place of names, typed values in place of literals, and with each
//! record type the plan that says which fields and rows the caller may use.
//!
//! Only the guard makes these, by resolving a [`Request`](crate::Request). They are plain data: it is the permit
//! around them that proves who made them.

use std::sync::Arc;

use crate::control::Control;
use crate::fieldset::FieldSet;
use crate::id::{FieldId, TypeId};
use crate::plan::Plan;
use crate::predicate::Predicate;
use crate::row::Position;
use crate::value::Value;

/// A request, resolved and judged.
#[derive(Debug, Clone)]
pub enum Judged {
    /// Read records.
    Read(Query),
    /// Make records.
    Insert(Insertion),
    /// Change or remove records.
    Change(Change),
    /// Read what a record was.
    History(Past),
    /// Manage the deployment or a tenant.
    Control(Control),
}

/// Reading records of one type.
#[derive(Debug, Clone)]
pub struct Query {
    /// The type.
    pub record_type: TypeId,
    /// What to give; every field in it is in `plan.fields()`.
    pub columns: Vec<Column>,
    /// Which records, besides those that the plan leaves.
    pub filter: Predicate,
    /// Sort keys; after these the record's id.
    pub order: Vec<SortKey>,
    /// At most this many.
    pub limit: u64,
    /// Skip this many.
    pub offset: u64,
    /// Count all.
    pub count: bool,
    /// Go on after this place.
    pub after: Option<Position>,
    /// What the caller may read of this type.
    pub plan: Arc<Plan>,
}

/// Reading what records of one type were that had a key. Each state is judged as a row of its own.
#[derive(Debug, Clone)]
pub struct Past {
    /// The type.
    pub record_type: TypeId,
    /// The key; the key field is in `plan.fields()`.
    pub key: Value,
    /// What to give, fields alone; every one is in `plan.fields()`.
    pub columns: Vec<Column>,
    /// At most this many states, the newest.
    pub limit: u64,
    /// What the caller may read of this type.
    pub plan: Arc<Plan>,
}

/// A column of the answer.
#[derive(Debug, Clone)]
pub enum Column {
    /// A field.
    Field {
        /// What the answer calls it.
        label: Arc<str>,
        /// The field.
        field: FieldId,
    },
    /// Embedded records.
    Embed(EmbedColumn),
}

/// Embedded records.
#[derive(Debug, Clone)]
pub struct EmbedColumn {
    /// What the answer calls it.
    pub label: Arc<str>,
    /// How the two types are connected.
    pub via: Link,
    /// Leave out records that have none.
    pub inner: bool,
    /// What to read there.
    pub query: Box<Query>,
}

/// How an embedded type is connected to the one that embeds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// This record's reference field points at one embedded record.
    ToOne(FieldId),
    /// Embedded records' reference field points at this record.
    ToMany(FieldId),
}

/// One sort key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// The field.
    pub field: FieldId,
    /// Largest first.
    pub descending: bool,
    /// Nulls before everything else.
    pub nulls_first: bool,
}

/// Values by field, ascending, each field once.
pub type Values = Vec<(FieldId, Value)>;

/// Making records.
#[derive(Debug, Clone)]
pub struct Insertion {
    /// The type.
    pub record_type: TypeId,
    /// The new records; required fields are present and every field is in `create.fields()`.
    pub rows: Vec<Values>,
    /// What to do about records already there.
    pub on_conflict: Option<Conflict>,
    /// What the caller may create.
    pub create: Arc<Plan>,
    /// What the caller may update; used only when `on_conflict` merges.
    pub update: Arc<Plan>,
    /// What the caller may read: what uniqueness and reference errors may speak of.
    pub read: Arc<Plan>,
    /// What the caller may read of the types that references point at, by type.
    pub read_targets: Vec<(TypeId, Arc<Plan>)>,
    /// What to give back; empty for nothing.
    pub returning: Option<Vec<Column>>,
}

/// What to do about a record already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The unique field that decides.
    pub field: FieldId,
    /// Change the old record, or leave it.
    pub merge: bool,
}

/// Changing or removing records.
#[derive(Debug, Clone)]
pub struct Change {
    /// The type.
    pub record_type: TypeId,
    /// New values, or `None` to remove.
    pub set: Option<Values>,
    /// Which records.
    pub filter: Predicate,
    /// Refuse if more match.
    pub max_affected: Option<u64>,
    /// What the caller may update or delete; before and, for an update, after the change.
    pub plan: Arc<Plan>,
    /// What the caller may read.
    pub read: Arc<Plan>,
    /// What the caller may read of the types that references point at or come from, by type.
    pub read_targets: Vec<(TypeId, Arc<Plan>)>,
    /// What to give back.
    pub returning: Option<Vec<Column>>,
}

impl Query {
    /// The fields whose use decides whether a row is in the answer or where: filter, order, and the keys of
    /// embeds. Each must be permitted on a row for the row to exist in the answer (INVARIANT hidden-is-absent).
    #[must_use]
    pub fn deciding_fields(&self) -> FieldSet {
        let ordered = self.order.iter().map(|key| key.field).collect::<FieldSet>();
        self.filter.fields().union(ordered)
    }

    /// The fields of this type that appear in the answer.
    #[must_use]
    pub fn output_fields(&self) -> FieldSet {
        output_fields(&self.columns)
    }
}

/// The fields that a column list gives, not counting those inside embeds.
#[must_use]
pub fn output_fields(columns: &[Column]) -> FieldSet {
    let fields = columns.iter().filter_map(|column| match column {
        Column::Field { field, .. } => Some(*field),
        Column::Embed(_) => None,
    });
    fields.collect()
}
