//! Embeds: the rows of other types that go into the rows of an answer.

use std::collections::HashMap;

use countersign_model::query::{Column, EmbedColumn, Link};
use countersign_model::{FieldSet, RecordId, Row, TypeId};

use crate::Work;
use crate::answer::Failure;
use crate::lookup::{Among, Found, Search};
use crate::order::compare;
use crate::read::page;
use crate::trace::Trace;

impl Work<'_> {
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
        trace.looked(type_id, FieldSet::EMPTY, FieldSet::EMPTY.with(here));
        let mut joined: HashMap<Vec<u8>, Vec<RecordId>> = HashMap::new();
        let mut tags = Vec::new();
        for one in found.iter_mut().filter(|one| one.visible.contains(here)) {
            self.open(type_id, &mut one.row, FieldSet::EMPTY.with(here))?;
            let value = one.row.at(here);
            if value.is_null() {
                continue;
            }
            let records = joined.entry(value.to_tag_bytes()).or_default();
            if records.is_empty() {
                tags.extend(self.keys.tags(query.record_type, there, value)?);
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
                links: FieldSet::EMPTY,
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
        let rows = self.shape(query.record_type, &query.columns, kept, &mut inner)?;
        let mut of_records: HashMap<RecordId, Vec<Row>> = HashMap::new();
        for row in rows {
            let parents = group_of.get(&row.record).and_then(|value| joined.get(value));
            let Some((last, others)) = parents.and_then(|parents| parents.split_last()) else { continue };
            self.spent.answer(row.rows().saturating_mul(others.len() as u64).saturating_add(row.rows()))?;
            for parent in others {
                of_records.entry(*parent).or_default().push(row.clone());
            }
            of_records.entry(*last).or_default().push(row);
        }
        Ok(of_records)
    }
}

/// Embedded rows, per embed column and embedding record.
#[derive(Default)]
pub(crate) struct Embedded {
    columns: Vec<HashMap<RecordId, Vec<Row>>>,
}

impl Embedded {
    pub(crate) fn take(&mut self, column: usize, record: RecordId) -> Vec<Row> {
        self.columns.get_mut(column).and_then(|of_records| of_records.remove(&record)).unwrap_or_default()
    }

    pub(crate) fn has_all_inner(&self, columns: &[Column], record: RecordId) -> bool {
        self.each(columns).all(|(embed, of_records)| !embed.inner || of_records.contains_key(&record))
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
