//! Reading what records were that had a key.
//!
//! Every state is judged as a row of its own, by the caller's present plan and the values of that state; conditions on the
//! records that its references point at are judged by those records as they are now, because what was permitted then is
//! nobody's question. A state that the caller may see nothing of is not there (INVARIANT hidden-is-absent), and states that
//! differ only in what the caller may not see are one: else their number and times would tell when hidden fields changed.

use countersign_model::query::{Column, Past};
use countersign_model::row::Cell;
use countersign_model::{FieldId, FieldSet, RecordId, Row, RowSet, UnixMs, Value};
use countersign_store::{Access, SealedState, StateScan};

use crate::Work;
use crate::answer::Failure;
use crate::opened::{Opened, Referenced, View};
use crate::trace::Trace;

/// States read from the store at a time.
const CHUNK: usize = 500;

/// What an answer calls what is no field: the number of the state, from when and until when it was so, and whether nothing
/// that the caller may see came after it. No field has such a name.
const LABELS: [&str; 4] = ["@version", "@from", "@until", "@ended"];

/// States of a record, one after the other, in which the caller sees the same.
struct Seen {
    record: RecordId,
    from: UnixMs,
    until: Option<UnixMs>,
    values: Vec<Value>,
}

impl Work<'_> {
    pub(crate) async fn history(&self, past: &Past, trace: &mut Trace) -> Result<(Vec<Column>, RowSet), Failure> {
        let record_type = self.types.record_type(past.record_type).ok_or(Failure::Unavailable)?;
        let deciding = FieldSet::EMPTY.with(record_type.key);
        let fields: Vec<FieldId> = past
            .columns
            .iter()
            .filter_map(|column| match column {
                Column::Field { field, .. } => Some(*field),
                Column::Embed(_) => None,
            })
            .collect();
        let output: FieldSet = fields.iter().copied().collect();
        trace.looked(past.record_type, output, deciding);
        let needed = past.plan.condition_fields().union(deciding);
        let mut referenced = Referenced::of(past.plan.rules.iter().map(|rule| &rule.rows));
        let mut scan = StateScan {
            record_type: past.record_type,
            access: Access::Tags {
                field: record_type.key,
                tags: self.keys.tags(past.record_type, record_type.key, &past.key)?.collect(),
            },
            cells: needed.union(output),
            limit: CHUNK,
            after: None,
        };
        let mut seen: Vec<Seen> = Vec::new();
        loop {
            let states = self.read_states(&scan).await?;
            let is_last = states.len() < scan.limit;
            scan.after = states.last().map(|state| (state.row.record, state.row.version));
            let mut spans = Vec::with_capacity(states.len());
            let mut rows = Vec::with_capacity(states.len());
            for SealedState { row, at, until } in states {
                let mut row = Opened::new(row, record_type.fields.len());
                self.open(past.record_type, &mut row, needed)?;
                spans.push((at, until));
                rows.push(row);
            }
            self.look_up_referenced(&rows, &mut referenced).await?;
            for (mut row, (from, until)) in rows.into_iter().zip(spans) {
                let visible = past.plan.fields_on(&View { row: &row, referenced: &referenced });
                // A tag says that a key is the same, and the cell says so for certain.
                let asked_for = deciding.is_subset(visible) && *row.at(record_type.key) == past.key;
                if !asked_for {
                    continue;
                }
                self.open(past.record_type, &mut row, output.intersection(visible))?;
                let value =
                    |field: &FieldId| if visible.contains(*field) { row.at(*field).clone() } else { Value::Null };
                let values = fields.iter().map(value).collect();
                add(&mut seen, Seen { record: row.record, from, until, values });
            }
            if is_last {
                break;
            }
            tokio::task::yield_now().await;
        }
        let columns = columns(record_type.key, &past.columns);
        let rows = rows(seen, past.limit);
        trace.released(past.record_type, &past.columns, &rows);
        Ok((columns, RowSet { rows, total: None, next: None }))
    }

    async fn read_states(&self, scan: &StateScan) -> Result<Vec<SealedState>, Failure> {
        if self.given_up.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Failure::Unavailable);
        }
        let states = self.engine.records.history(&self.call, scan).await?;
        self.tally.lock().open(scan.record_type, scan.cells, states.len() as u64);
        if self.spent.read(states.len()) {
            return Ok(states);
        }
        let record_type = self.types.record_type(scan.record_type).ok_or(Failure::Unavailable)?;
        let limit = self.engine.limits.scan_rows_max;
        Err(Failure::ScanLimit { record_type: record_type.name.clone(), index: None, limit })
    }
}

/// Adds a state, or has the one before go on if the caller sees the same in both.
fn add(seen: &mut Vec<Seen>, state: Seen) {
    match seen.last_mut() {
        Some(last) if last.record == state.record && last.until == Some(state.from) && last.values == state.values => {
            last.until = state.until;
        }
        _ => seen.push(state),
    }
}

fn columns(key: FieldId, asked: &[Column]) -> Vec<Column> {
    let labels = LABELS.into_iter().map(|label| Column::Field { label: label.into(), field: key });
    labels.chain(asked.iter().cloned()).collect()
}

/// The newest states, oldest first, of one record after the other.
fn rows(seen: Vec<Seen>, limit: u64) -> Vec<Row> {
    let spans: Vec<(RecordId, UnixMs)> = seen.iter().map(|state| (state.record, state.from)).collect();
    let mut number = 0i64;
    let mut rows = Vec::with_capacity(seen.len());
    for (place, state) in seen.into_iter().enumerate() {
        let before = place.checked_sub(1).and_then(|before| spans.get(before));
        let goes_on = before.is_some_and(|(record, _)| *record == state.record);
        number = if goes_on { number.saturating_add(1) } else { 1 };
        let after = spans.get(place.saturating_add(1)).filter(|(record, _)| *record == state.record);
        let ended = state.until.is_some_and(|until| after.is_none_or(|(_, from)| *from > until));
        let meta = [Value::Integer(number), moment(Some(state.from)), moment(state.until), Value::Boolean(ended)];
        let cells = meta.into_iter().chain(state.values).map(Cell::Value).collect();
        rows.push(Row { record: state.record, cells });
    }
    let surplus = rows.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
    rows.drain(..surplus);
    rows
}

/// A time as records have it; null where there is none, or none is known.
fn moment(at: Option<UnixMs>) -> Value {
    let known = at.filter(|at| at.0 > 0);
    known.and_then(Value::moment).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests;
