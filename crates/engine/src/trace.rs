//! What a request touches, gathered while it is executed, for its audit record.

use countersign_audit::{Access, RecordSet};
use countersign_model::query::Column;
use countersign_model::row::Cell;
use countersign_model::{FieldSet, RecordId, Row, TypeId};

#[derive(Default)]
pub(crate) struct Trace {
    touched: Vec<Touched>,
}

struct Touched {
    record_type: TypeId,
    fields: FieldSet,
    filter_fields: FieldSet,
    records: Vec<RecordId>,
}

impl Trace {
    /// Fields of this type are used to find records, whether any are found or not.
    pub(crate) fn looked(&mut self, record_type: TypeId, fields: FieldSet, filter_fields: FieldSet) {
        let touched = self.entry(record_type);
        touched.fields = touched.fields.union(fields);
        touched.filter_fields = touched.filter_fields.union(filter_fields);
    }

    /// These rows are given out, with all that is embedded in them.
    pub(crate) fn released(&mut self, record_type: TypeId, columns: &[Column], rows: &[Row]) {
        self.records(record_type, rows.iter().map(|row| row.record));
        self.embedded(columns, rows);
    }

    /// What is embedded in these rows is given out.
    pub(crate) fn embedded(&mut self, columns: &[Column], rows: &[Row]) {
        for (place, column) in columns.iter().enumerate() {
            let Column::Embed(embed) = column else { continue };
            for cell in rows.iter().filter_map(|row| row.cells.get(place)) {
                let inside = match cell {
                    Cell::Many(rows) => rows.as_slice(),
                    Cell::One(Some(row)) => std::slice::from_ref(&**row),
                    Cell::One(None) | Cell::Value(_) => &[],
                };
                self.released(embed.query.record_type, &embed.query.columns, inside);
            }
        }
    }

    /// These records are given out or changed.
    pub(crate) fn records(&mut self, record_type: TypeId, records: impl IntoIterator<Item = RecordId>) {
        self.entry(record_type).records.extend(records);
    }

    /// Forgets the records of an attempt that came to nothing.
    pub(crate) fn forget_records(&mut self) {
        for touched in &mut self.touched {
            touched.records.clear();
        }
    }

    pub(crate) fn accesses(&self) -> Vec<Access> {
        let accesses = self.touched.iter().map(|touched| Access {
            record_type: touched.record_type,
            fields: touched.fields,
            filter_fields: touched.filter_fields,
            rows: touched.records.len() as u64,
            records: touched.records.iter().copied().collect::<RecordSet>(),
        });
        accesses.collect()
    }

    pub(crate) fn into_accesses(self) -> Vec<Access> {
        self.accesses()
    }

    fn entry(&mut self, record_type: TypeId) -> &mut Touched {
        let index = match self.touched.iter().position(|touched| touched.record_type == record_type) {
            Some(index) => index,
            None => {
                let (fields, filter_fields) = (FieldSet::EMPTY, FieldSet::EMPTY);
                self.touched.push(Touched { record_type, fields, filter_fields, records: Vec::new() });
                self.touched.len().saturating_sub(1)
            }
        };
        #[expect(clippy::indexing_slicing, reason = "the index was found or made one line above")]
        &mut self.touched[index]
    }
}
