//! Reading: find, order, page, embed, shape.

use std::cmp::Ordering;
use std::collections::HashMap;

use countersign_model::query::{Column, EmbedColumn, Link, Query, SortKey, output_fields};
use countersign_model::row::{Cell, Position, Row};
use countersign_model::{FieldSet, RecordId, RowSet, TypeId, Value};

use crate::Work;
use crate::answer::Failure;
use crate::lookup::{Among, Found, Search};
use crate::trace::Trace;

impl Work<'_> {
    pub(crate) async fn read(&self, query: &Query, trace: &mut Trace) -> Result<RowSet, Failure> {
        trace.looked(query.record_type, query.output_fields(), query.deciding_fields());
        let has_inner = query.columns.iter().any(|column| matches!(column, Column::Embed(embed) if embed.inner));
        let needs_all = query.count || has_inner || !query.order.is_empty();
        let page_end = query.offset.saturating_add(query.limit);
        let start = query.after.as_ref().map(|position| position.record);
        let finds = self
            .search(Search {
                record_type: query.record_type,
                filter: &query.filter,
                deciding: query.deciding_fields(),
                plan: &query.plan,
                output: self.cells_for(query.record_type, &query.columns),
                among: Among::Any,
                after: if needs_all { None } else { start },
                enough: if needs_all { None } else { Some(page_end) },
            })
            .await?;
        let mut found = finds.found;
        found.sort_by(|a, b| compare(&query.order, a, b));
        let mut embedded = Embedded::default();
        if has_inner {
            found = self.again(query, found, finds.with_output).await?;
            embedded = self.embed_all(query.record_type, &query.columns, &mut found, trace).await?;
            found.retain(|row| embedded.has_all_inner(&query.columns, row.row.record));
        }
        let total = query.count.then_some(found.len() as u64);
        if let Some(position) = &query.after {
            found.retain(|row| is_after(&query.order, row, position));
        }
        let mut page = page(found, query.offset, query.limit);
        let full = page.len() as u64 == query.limit && query.limit > 0;
        let next = page.last().filter(|_| full).map(|last| position_of(&query.order, last));
        if !has_inner {
            page = self.again(query, page, finds.with_output).await?;
            embedded = self.embed_all(query.record_type, &query.columns, &mut page, trace).await?;
        }
        trace.records(query.record_type, page.iter().map(|found| found.row.record));
        embedded.trace_of(&query.columns, &page, trace);
        let rows = self.shape(query.record_type, &query.columns, page, &mut embedded)?;
        Ok(RowSet { rows, total, next })
    }

    /// The same records with their output cells, where the search left them out. A record that changed meanwhile is
    /// judged anew.
    async fn again(&self, query: &Query, found: Vec<Found>, with_output: bool) -> Result<Vec<Found>, Failure> {
        if with_output || found.is_empty() {
            return Ok(found);
        }
        let places: HashMap<RecordId, usize> =
            found.iter().enumerate().map(|(place, one)| (one.row.record, place)).collect();
        let finds = self
            .search(Search {
                record_type: query.record_type,
                filter: &query.filter,
                deciding: query.deciding_fields(),
                plan: &query.plan,
                output: self.cells_for(query.record_type, &query.columns),
                among: Among::Records(found.iter().map(|one| one.row.record).collect()),
                after: None,
                enough: None,
            })
            .await?;
        let mut again = finds.found;
        again.sort_by_key(|one| places.get(&one.row.record).copied());
        Ok(again)
    }

    /// The cells of a record that a column list is made from: its fields and the keys of its embeds.
    pub(crate) fn cells_for(&self, type_id: TypeId, columns: &[Column]) -> FieldSet {
        let mut cells = output_fields(columns);
        for column in columns {
            let Column::Embed(embed) = column else { continue };
            match embed.via {
                Link::ToOne(reference) => cells.insert(reference),
                Link::ToMany(_) => {
                    if let Some(record_type) = self.types.record_type(type_id) {
                        cells.insert(record_type.key);
                    }
                }
            }
        }
        cells
    }

    /// What each embed column gives for each of these records.
    pub(crate) async fn embed_all(
        &self,
        type_id: TypeId,
        columns: &[Column],
        found: &mut [Found],
        trace: &mut Trace,
    ) -> Result<Embedded, Failure> {
        let mut embedded = Embedded::default();
        for column in columns {
            if let Column::Embed(embed) = column {
                let of_column = Box::pin(self.embed(type_id, embed, found, trace)).await?;
                embedded.columns.push(of_column);
            }
        }
        Ok(embedded)
    }

    async fn embed(
        &self,
        type_id: TypeId,
        embed: &EmbedColumn,
        found: &mut [Found],
        trace: &mut Trace,
    ) -> Result<HashMap<RecordId, Vec<Row>>, Failure> {
        let query = &*embed.query;
        let target = self.types.record_type(query.record_type).ok_or(Failure::Unavailable)?;
        let own_key = self.types.record_type(type_id).ok_or(Failure::Unavailable)?.key;
        let (here, there) = match embed.via {
            Link::ToOne(reference) => (reference, target.key),
            Link::ToMany(reference) => (own_key, reference),
        };
        let deciding = query.deciding_fields().with(there);
        trace.looked(query.record_type, query.output_fields(), deciding);
        let mut joined: HashMap<Vec<u8>, Vec<RecordId>> = HashMap::new();
        let mut tags = Vec::new();
        for one in found.iter_mut().filter(|one| one.visible.contains(here)) {
            self.open(type_id, &mut one.row, FieldSet::EMPTY.with(here))?;
            let value = one.row.at(here);
            let Some(tag) = self.keys.tag(query.record_type, there, value)? else { continue };
            let records = joined.entry(value.to_tag_bytes()).or_default();
            if records.is_empty() {
                tags.push(tag);
            }
            records.push(one.row.record);
        }
        if tags.is_empty() {
            return Ok(HashMap::new());
        }
        let finds = self
            .search(Search {
                record_type: query.record_type,
                filter: &query.filter,
                deciding,
                plan: &query.plan,
                output: self.cells_for(query.record_type, &query.columns),
                among: Among::Tagged(there, tags),
                after: None,
                enough: None,
            })
            .await?;
        let mut groups: HashMap<Vec<u8>, Vec<Found>> = HashMap::new();
        for one in finds.found {
            groups.entry(one.row.at(there).to_tag_bytes()).or_default().push(one);
        }
        let mut kept = Vec::new();
        let mut group_of: HashMap<RecordId, Vec<u8>> = HashMap::new();
        for (value, mut group) in groups {
            group.sort_by(|a, b| compare(&query.order, a, b));
            for one in page(group, query.offset, query.limit) {
                group_of.insert(one.row.record, value.clone());
                kept.push(one);
            }
        }
        let mut inner = self.embed_all(query.record_type, &query.columns, &mut kept, trace).await?;
        kept.retain(|one| inner.has_all_inner(&query.columns, one.row.record));
        inner.trace_of(&query.columns, &kept, trace);
        let rows = self.shape(query.record_type, &query.columns, kept, &mut inner)?;
        let mut of_records: HashMap<RecordId, Vec<Row>> = HashMap::new();
        for row in rows {
            let parents = group_of.get(&row.record).and_then(|value| joined.get(value));
            for parent in parents.into_iter().flatten() {
                of_records.entry(*parent).or_default().push(row.clone());
            }
        }
        Ok(of_records)
    }

    /// Rows as they leave: permitted cells opened, everything else null.
    pub(crate) fn shape(
        &self,
        type_id: TypeId,
        columns: &[Column],
        found: Vec<Found>,
        embedded: &mut Embedded,
    ) -> Result<Vec<Row>, Failure> {
        let fields = output_fields(columns);
        let mut rows = Vec::with_capacity(found.len());
        for Found { mut row, visible } in found {
            self.open(type_id, &mut row, fields.intersection(visible))?;
            let mut nth_embed = 0usize;
            let cells = columns.iter().map(|column| match column {
                Column::Field { field, .. } if visible.contains(*field) => Cell::Value(row.at(*field).clone()),
                Column::Field { .. } => Cell::Value(Value::Null),
                Column::Embed(embed) => {
                    let rows = embedded.take(nth_embed, row.record);
                    nth_embed = nth_embed.saturating_add(1);
                    match embed.via {
                        Link::ToOne(_) => Cell::One(rows.into_iter().next().map(Box::new)),
                        Link::ToMany(_) => Cell::Many(rows),
                    }
                }
            });
            let cells = cells.collect();
            rows.push(Row { record: row.record, cells });
        }
        Ok(rows)
    }
}

/// Embedded rows, per embed column and embedding record.
#[derive(Default)]
pub(crate) struct Embedded {
    columns: Vec<HashMap<RecordId, Vec<Row>>>,
}

impl Embedded {
    fn take(&mut self, column: usize, record: RecordId) -> Vec<Row> {
        self.columns.get_mut(column).and_then(|of_records| of_records.remove(&record)).unwrap_or_default()
    }

    fn has_all_inner(&self, columns: &[Column], record: RecordId) -> bool {
        self.each(columns).all(|(embed, of_records)| !embed.inner || of_records.contains_key(&record))
    }

    /// Notes the embedded records that go out with these.
    fn trace_of(&self, columns: &[Column], kept: &[Found], trace: &mut Trace) {
        for (embed, of_records) in self.each(columns) {
            let rows = kept.iter().filter_map(|one| of_records.get(&one.row.record)).flatten();
            trace.records(embed.query.record_type, rows.map(|row| row.record));
        }
    }

    fn each<'a>(
        &'a self,
        columns: &'a [Column],
    ) -> impl Iterator<Item = (&'a EmbedColumn, &'a HashMap<RecordId, Vec<Row>>)> {
        let embeds = columns.iter().filter_map(|column| match column {
            Column::Embed(embed) => Some(embed),
            Column::Field { .. } => None,
        });
        embeds.zip(&self.columns)
    }
}

fn page(found: Vec<Found>, offset: u64, limit: u64) -> Vec<Found> {
    let at_most = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    found.into_iter().skip(at_most(offset)).take(at_most(limit)).collect()
}

fn compare(order: &[SortKey], a: &Found, b: &Found) -> Ordering {
    let by_keys = order.iter().map(|key| compare_key(key, a.row.at(key.field), b.row.at(key.field)));
    by_keys.fold(Ordering::Equal, Ordering::then).then(a.row.record.cmp(&b.row.record))
}

fn compare_key(key: &SortKey, a: &Value, b: &Value) -> Ordering {
    let nulls = |a_is_null: bool| match (a_is_null, key.nulls_first) {
        (true, true) | (false, false) => Ordering::Less,
        _ => Ordering::Greater,
    };
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => nulls(true),
        (false, true) => nulls(false),
        (false, false) => {
            let ascending = a.compare(b).unwrap_or(Ordering::Equal);
            if key.descending { ascending.reverse() } else { ascending }
        }
    }
}

fn is_after(order: &[SortKey], found: &Found, position: &Position) -> bool {
    let by_keys = order.iter().zip(&position.keys).map(|(key, value)| compare_key(key, found.row.at(key.field), value));
    let by_keys = by_keys.fold(Ordering::Equal, Ordering::then);
    by_keys.then(found.row.record.cmp(&position.record)).is_gt()
}

fn position_of(order: &[SortKey], found: &Found) -> Position {
    Position { keys: order.iter().map(|key| found.row.at(key.field).clone()).collect(), record: found.row.record }
}
