//! Reading: find, order, page, embed, shape.

use std::collections::HashMap;

use countersign_model::query::{Column, Link, Query, output_fields};
use countersign_model::row::Cell;
use countersign_model::{FieldSet, RecordId, Row, RowSet, TypeId, Value};

use crate::Work;
use crate::answer::Failure;
use crate::embed::Embedded;
use crate::lookup::{Among, Found, Search};
use crate::order::{compare, is_after, position_of};
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
                // With these, embeds can decide about rows whose other cells are not fetched yet.
                links: if has_inner { self.links_of(query.record_type, &query.columns) } else { FieldSet::EMPTY },
                among: Among::Any,
                after: if needs_all { None } else { start },
                enough: if needs_all { None } else { Some(page_end) },
            })
            .await?;
        let mut found = finds.found;
        found.sort_by(|a, b| compare(&query.order, a, b));
        let mut embedded = Embedded::default();
        if has_inner {
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
        page = self.again(query, page, finds.with_output).await?;
        if !has_inner {
            embedded = self.embed_all(query.record_type, &query.columns, &mut page, trace).await?;
        }
        let rows = self.shape(query.record_type, &query.columns, page, &mut embedded)?;
        trace.released(query.record_type, &query.columns, &rows);
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
                links: FieldSet::EMPTY,
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
        output_fields(columns).union(self.links_of(type_id, columns))
    }

    /// The fields of a record by which other records are embedded in it.
    fn links_of(&self, type_id: TypeId, columns: &[Column]) -> FieldSet {
        let mut links = FieldSet::EMPTY;
        for column in columns {
            let Column::Embed(embed) = column else { continue };
            match embed.via {
                Link::ToOne(reference) => links.insert(reference),
                Link::ToMany(_) => {
                    if let Some(record_type) = self.types.record_type(type_id) {
                        links.insert(record_type.key);
                    }
                }
            }
        }
        links
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

pub(crate) fn page(found: Vec<Found>, offset: u64, limit: u64) -> Vec<Found> {
    let at_most = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    found.into_iter().skip(at_most(offset)).take(at_most(limit)).collect()
}
