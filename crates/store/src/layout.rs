//! How record types lie in tables, whatever the backend.
//!
//! Type 7 is the table `r7`; its field 3 is the column `c3` (the sealed cell) and, if the field is indexed, `x3`
//! (the tag) with the index `i7x3`. No name of a type or a field is in the tables. What tables there are is written
//! beside them as one letter a field: `-` not indexed, `i` indexed, `u` unique; types are parted by `/`.
//!
//! What records of the type were before is in the table `h7`, which has the same columns.

use countersign_model::{FieldId, FieldSet, RecordTypes, TypeId};

use crate::access::{Access, Scan};
use crate::batch::{Batch, Requirement, SealedChange};
use crate::error::StoreError;
use crate::history::StateScan;

/// How a field can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index {
    None,
    Plain,
    Unique,
}

impl Index {
    const fn letter(self) -> char {
        match self {
            Self::None => '-',
            Self::Plain => 'i',
            Self::Unique => 'u',
        }
    }

    fn from_letter(letter: char) -> Result<Self, StoreError> {
        [Self::None, Self::Plain, Self::Unique]
            .into_iter()
            .find(|index| index.letter() == letter)
            .ok_or(StoreError::Damaged)
    }
}

/// One type's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TypeLayout {
    fields: Vec<Index>,
}

impl TypeLayout {
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn has(&self, fields: FieldSet) -> bool {
        fields.is_subset(FieldSet::first(self.fields.len()))
    }

    /// How each field can be found, in their order.
    pub(crate) fn fields(&self) -> &[Index] {
        &self.fields
    }

    /// How a field can be found; `None` if there is no such field.
    pub(crate) fn index(&self, field: FieldId) -> Option<Index> {
        self.fields.get(usize::from(field.0)).copied()
    }

    pub(crate) fn is_indexed(&self, field: FieldId) -> bool {
        matches!(self.index(field), Some(Index::Plain | Index::Unique))
    }

    /// Whether a change may have these cells and tags: of fields that there are, each named once, and INVARIANT
    /// tag-with-cell: a cell of an indexed field and its tag come together, and are null together. A writer that
    /// does not know yet of an index that was just added is refused, not stored unfindably.
    pub(crate) fn takes(
        &self,
        mut cells: impl Iterator<Item = (FieldId, bool)>,
        mut tags: impl Iterator<Item = (FieldId, bool)>,
    ) -> bool {
        let (mut named, mut filled) = (FieldSet::EMPTY, FieldSet::EMPTY);
        let known = cells.all(|(field, has_value)| {
            let once = self.index(field).is_some() && !named.contains(field);
            named.insert(field);
            if has_value {
                filled.insert(field);
            }
            once
        });
        let indexed: FieldSet = self.indexed().collect();
        let mut untagged = named.intersection(indexed);
        let tagged = tags.all(|(field, has_value)| {
            let expected = untagged.contains(field) && filled.contains(field) == has_value;
            untagged = untagged.difference(FieldSet::EMPTY.with(field));
            expected
        });
        known && tagged && untagged.is_empty()
    }

    /// All columns that a record has in any backend, but for what says whose it is: id, version, time of the last change,
    /// cells, tags.
    pub(crate) fn columns(&self) -> String {
        format!("id, version, at{}", self.values())
    }

    /// All columns of a state that a record had: as [`Self::columns`], with until when it was so after the time.
    pub(crate) fn past_columns(&self) -> String {
        format!("id, version, at, until{}", self.values())
    }

    /// The columns of cells and tags, each after a comma.
    pub(crate) fn values(&self) -> String {
        let cells = (0..self.len()).map(|field| format!(", c{field}"));
        let tags = self.indexed().map(|field| format!(", x{}", field.0));
        cells.chain(tags).collect()
    }

    /// The indexed fields in order.
    pub(crate) fn indexed(&self) -> impl Iterator<Item = FieldId> {
        let numbered = (0u8..=u8::MAX).map(FieldId).zip(&self.fields);
        numbered.filter(|(_, index)| **index != Index::None).map(|(field, _)| field)
    }
}

/// All types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    types: Vec<TypeLayout>,
}

impl Layout {
    pub(crate) fn of(types: &RecordTypes) -> Self {
        let index = |field: &countersign_model::Field| match (field.unique, field.indexed) {
            (true, _) => Index::Unique,
            (false, true) => Index::Plain,
            (false, false) => Index::None,
        };
        let record_type =
            |one: &countersign_model::RecordType| TypeLayout { fields: one.fields.iter().map(index).collect() };
        Self { types: types.types.iter().map(record_type).collect() }
    }

    pub(crate) fn types(&self) -> &[TypeLayout] {
        &self.types
    }

    pub(crate) fn record_type(&self, id: TypeId) -> Result<&TypeLayout, StoreError> {
        self.types.get(usize::from(id.0)).ok_or(StoreError::UnknownField)
    }

    pub(crate) fn to_text(&self) -> String {
        let letters = |one: &TypeLayout| one.fields.iter().map(|index| index.letter()).collect::<String>();
        self.types.iter().map(letters).collect::<Vec<_>>().join("/")
    }

    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let fields = |letters: &str| letters.chars().map(Index::from_letter).collect::<Result<Vec<_>, _>>();
        let types = text.split('/').map(|letters| Ok(TypeLayout { fields: fields(letters)? }));
        Ok(Self { types: types.collect::<Result<_, StoreError>>()? })
    }

    /// This layout with what `wanted` adds to it or has otherwise. Nothing is ever taken away: a file may know
    /// more than a program that was started with fewer types.
    pub(crate) fn grown_to(&self, wanted: &Self) -> Self {
        let mut grown = self.clone();
        for (place, record_type) in wanted.types.iter().enumerate() {
            match grown.types.get_mut(place) {
                None => grown.types.push(record_type.clone()),
                Some(known) => {
                    let rest = known.fields.split_off(known.fields.len().min(record_type.fields.len()));
                    known.fields.clone_from(&record_type.fields);
                    known.fields.extend(rest);
                }
            }
        }
        grown
    }

    /// Refuses what the record types in force do not have.
    pub(crate) fn check_scan(&self, scan: &Scan) -> Result<(), StoreError> {
        self.check_access(scan.record_type, &scan.access, scan.cells)
    }

    /// The same for states of records.
    pub(crate) fn check_states(&self, scan: &StateScan) -> Result<(), StoreError> {
        self.check_access(scan.record_type, &scan.access, scan.cells)
    }

    fn check_access(&self, of: TypeId, access: &Access, cells: FieldSet) -> Result<(), StoreError> {
        let record_type = self.record_type(of)?;
        let findable = match access {
            Access::Tags { field, .. } => record_type.is_indexed(*field),
            Access::Records(_) | Access::All => true,
        };
        if findable && record_type.has(cells) { Ok(()) } else { Err(StoreError::UnknownField) }
    }

    /// Refuses a batch that names what the record types in force do not have, or epochs that there are not, before anything
    /// of it is made.
    pub(crate) fn check_batch(&self, batch: &Batch) -> Result<(), StoreError> {
        if !batch.names_epochs() {
            return Err(StoreError::UnknownField);
        }
        for change in &batch.changes {
            let known = match change {
                SealedChange::Insert { record_type, cells, tags, .. } => {
                    let cells = cells.iter().map(|(field, _)| (*field, true));
                    self.record_type(*record_type)?.takes(cells, tags.iter().map(|(field, _)| (*field, true)))
                }
                SealedChange::Update { record_type, cells, tags, .. } => {
                    let cells = cells.iter().map(|(field, cell)| (*field, cell.is_some()));
                    self.record_type(*record_type)?
                        .takes(cells, tags.iter().map(|(field, tag)| (*field, tag.is_some())))
                }
                SealedChange::Delete { record_type, .. } => self.record_type(*record_type).is_ok(),
            };
            if !known {
                return Err(StoreError::UnknownField);
            }
        }
        for requirement in &batch.requires {
            let (Requirement::Exists { record_type, field, .. } | Requirement::Absent { record_type, field, .. }) =
                requirement;
            if !self.record_type(*record_type)?.is_indexed(*field) {
                return Err(StoreError::UnknownField);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
