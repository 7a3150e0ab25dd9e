//! From names to identifiers, under what the caller may see.
//!
//! INVARIANT hidden-is-absent: a name that the caller may not use and a name that doesn't exist take the same way
//! out, [`Refusal::Forbidden`], before anything about them is looked at. Only then are literals read and errors made
//! that speak of fields.

mod embed;
mod filter;
mod write;

use std::sync::Arc;

use countersign_model::facts::Principal;
use countersign_model::query::{Column, Past, Query, SortKey};
use countersign_model::request::{Action, After, History, Order, Read, Select};
use countersign_model::row::Position;
use countersign_model::{Field, FieldId, Plan, RecordType, TypeId, Value};

use crate::plans::Plans;
use crate::refusal::{Invalid, Refusal};
use crate::state::State;

/// Bounds on what one request may ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most rows in one answer, and how many when none is asked for.
    pub rows_max: u64,
    /// How deep embeds may nest.
    pub embed_depth_max: usize,
    /// The most columns of one answer, embeds included.
    pub columns_max: usize,
    /// The most comparisons in one filter.
    pub comparisons_max: usize,
    /// The most rows in one insert.
    pub insert_rows_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows_max: 1_000, embed_depth_max: 5, columns_max: 500, comparisons_max: 200, insert_rows_max: 5_000 }
    }
}

pub(crate) struct Resolver<'a> {
    pub(crate) state: &'a State,
    pub(crate) caller: &'a Principal,
    pub(crate) plans: &'a Plans,
    pub(crate) limits: &'a Limits,
}

/// A record type together with what the caller may do with it.
#[derive(Clone)]
struct Subject<'a> {
    id: TypeId,
    record_type: &'a RecordType,
    plan: Arc<Plan>,
}

impl<'a> Subject<'a> {
    /// The field of that name, if the caller may use it. The only way from a field's name to its id.
    fn field(&self, name: &str) -> Result<(FieldId, &'a Field), Refusal> {
        let found = self.record_type.find(name).filter(|(id, _)| self.plan.fields().contains(*id));
        found.ok_or(Refusal::Forbidden)
    }
}

impl<'a> Resolver<'a> {
    pub(crate) fn read(&self, read: &Read) -> Result<Query, Refusal> {
        let subject = self.subject(&read.record_type, Action::Read)?;
        let mut budget = self.budget();
        self.query(&subject, read, self.limits.embed_depth_max, &mut budget)
    }

    /// What a record was is read by who may read what it is, under the same plan.
    pub(crate) fn history(&self, history: &History) -> Result<Past, Refusal> {
        let subject = self.subject(&history.record_type, Action::Read)?;
        let key = subject.record_type.field(subject.record_type.key).ok_or(Refusal::Forbidden)?;
        let (_, key) = subject.field(key.name.as_str())?;
        let select: Vec<Select> =
            history.select.iter().map(|field| Select::Field { field: field.clone(), alias: None }).collect();
        let columns = self.columns(&subject, &select, 0, &mut self.budget())?;
        let wrong = |_| Invalid::WrongKind { field: key.name.clone(), expected: key.kind, row: None };
        Ok(Past {
            record_type: subject.id,
            key: Value::parse(key.kind, &history.key).map_err(wrong)?,
            columns,
            limit: history.limit.unwrap_or(u64::MAX).min(self.limits.rows_max),
            plan: subject.plan,
        })
    }

    fn budget(&self) -> Budget {
        let Limits { columns_max: columns, comparisons_max, .. } = *self.limits;
        Budget { columns, comparisons: comparisons_max, comparisons_max }
    }

    /// The type of that name and the caller's plan for it; refused if it permits nothing.
    fn subject(&self, name: &str, action: Action) -> Result<Subject<'a>, Refusal> {
        let (id, record_type) = self.state.facts.types.find(name).ok_or(Refusal::Forbidden)?;
        let plan = self.plan(id, record_type, action)?;
        if plan.fields().is_empty() {
            return Err(Refusal::Forbidden);
        }
        Ok(Subject { id, record_type, plan })
    }

    fn plan(&self, id: TypeId, record_type: &RecordType, action: Action) -> Result<Arc<Plan>, Refusal> {
        self.plans.plan(self.state, self.caller, action, id, record_type)
    }

    fn query(&self, subject: &Subject<'a>, read: &Read, depth: usize, budget: &mut Budget) -> Result<Query, Refusal> {
        let columns = self.columns(subject, &read.select, depth, budget)?;
        let filter = filter::resolve(subject, &read.filter, budget)?;
        let order = read.order.iter().map(|key| sort_key(subject, key)).collect::<Result<Vec<_>, _>>()?;
        let after = read.after.as_ref().map(|after| position(subject, &order, after)).transpose()?;
        Ok(Query {
            record_type: subject.id,
            columns,
            filter,
            order,
            limit: read.limit.unwrap_or(u64::MAX).min(self.limits.rows_max),
            offset: read.offset,
            count: read.count,
            after,
            plan: Arc::clone(&subject.plan),
        })
    }

    /// A select list; an empty one is all permitted fields.
    fn columns(
        &self,
        subject: &Subject<'a>,
        select: &[Select],
        depth: usize,
        budget: &mut Budget,
    ) -> Result<Vec<Column>, Refusal> {
        let mut columns = Vec::with_capacity(select.len());
        if select.is_empty() {
            all_fields(subject, &mut columns);
        }
        for part in select {
            match part {
                Select::All => all_fields(subject, &mut columns),
                Select::Field { field, alias } => {
                    let (id, field) = subject.field(field)?;
                    let label = alias.as_deref().map_or_else(|| field.name.shared(), Into::into);
                    columns.push(Column::Field { label, field: id });
                }
                Select::Embed(embed) => columns.push(self.embed(subject, embed, depth, budget)?),
            }
        }
        budget.columns = budget
            .columns
            .checked_sub(columns.len())
            .ok_or(Invalid::TooMany { what: "columns", max: self.limits.columns_max })?;
        distinct_labels(&columns)?;
        Ok(columns)
    }
}

/// What is left of the bounds while one request is resolved.
struct Budget {
    comparisons_max: usize,
    columns: usize,
    comparisons: usize,
}

fn all_fields(subject: &Subject<'_>, columns: &mut Vec<Column>) {
    let permitted = subject.plan.fields();
    let fields = subject.record_type.iter().filter(|(id, _)| permitted.contains(*id));
    columns.extend(fields.map(|(id, field)| Column::Field { label: field.name.shared(), field: id }));
}

fn distinct_labels(columns: &[Column]) -> Result<(), Invalid> {
    let label = |column: &'_ Column| match column {
        Column::Field { label, .. } => Arc::clone(label),
        Column::Embed(embed) => Arc::clone(&embed.label),
    };
    let mut labels: Vec<Arc<str>> = columns.iter().map(label).collect();
    labels.sort_unstable();
    let twice = labels.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(a.to_string()),
        _ => None,
    });
    twice.map_or(Ok(()), |label| Err(Invalid::DuplicateLabel { label }))
}

fn sort_key(subject: &Subject<'_>, order: &Order) -> Result<SortKey, Refusal> {
    let (id, field) = subject.field(&order.field)?;
    if !field.kind.is_ordered() {
        return Err(Invalid::Comparison { field: field.name.clone(), kind: field.kind }.into());
    }
    let nulls_first = order.nulls_first.unwrap_or(order.descending);
    Ok(SortKey { field: id, descending: order.descending, nulls_first })
}

fn position(subject: &Subject<'_>, order: &[SortKey], after: &After) -> Result<Position, Refusal> {
    if after.keys.len() != order.len() {
        return Err(Invalid::Cursor.into());
    }
    let keys = order.iter().zip(&after.keys).map(|(key, text)| {
        let field = subject.record_type.field(key.field).ok_or(Invalid::Cursor)?;
        match text {
            None => Ok(Value::Null),
            Some(text) => Value::parse(field.kind, text).map_err(|_| Invalid::Cursor),
        }
    });
    Ok(Position { keys: keys.collect::<Result<_, Invalid>>()?, record: after.record })
}
