//! Finding the records that a caller may see and a filter matches.

use countersign_crypto::Tag;
use countersign_model::{Comparison, FieldId, FieldSet, Plan, Predicate, RecordId, RecordType, TypeId, Value};
use countersign_store::{Access, Scan};

use crate::Work;
use crate::answer::Failure;
use crate::opened::{Opened, Referenced, View};

/// Rows read from the store at a time; between two chunks other requests get their turn.
const CHUNK_ROWS: usize = 1_000;
/// Tags in one scan: databases bound the parameters of a statement.
const CHUNK_TAGS: usize = 500;

/// What to find.
pub(crate) struct Search<'q> {
    pub(crate) record_type: TypeId,
    pub(crate) filter: &'q Predicate,
    /// Each must be permitted on a row for the row to be found (INVARIANT hidden-is-absent).
    pub(crate) deciding: FieldSet,
    pub(crate) plan: &'q Plan,
    /// Cells that will be opened of what is found.
    pub(crate) output: FieldSet,
    /// Those of them that are needed at once, even where the rest is fetched later.
    pub(crate) links: FieldSet,
    pub(crate) among: Among,
    pub(crate) after: Option<RecordId>,
    /// Stop when this many are found.
    pub(crate) enough: Option<u64>,
}

/// Where to look.
pub(crate) enum Among {
    /// Wherever the conditions lead.
    Any,
    /// Records whose field has one of these tags.
    Tagged(FieldId, Vec<Tag>),
    /// These records.
    Records(Vec<RecordId>),
}

/// What was found.
pub(crate) struct Found {
    pub(crate) row: Opened,
    /// The fields that the caller may see of it.
    pub(crate) visible: FieldSet,
}

/// All that was found, and whether the output cells came along.
pub(crate) struct Finds {
    pub(crate) found: Vec<Found>,
    pub(crate) with_output: bool,
}

impl Work<'_> {
    pub(crate) async fn search(&self, search: Search<'_>) -> Result<Finds, Failure> {
        let record_type = self.types.record_type(search.record_type).ok_or(Failure::Unavailable)?;
        let needed = search.plan.condition_fields().union(search.deciding);
        let (keyed, few) = match search.among {
            Among::Any => match self.by_tag(search.record_type, record_type, search.filter, search.plan)? {
                Some((access, expected_rows)) => (Some(access), expected_rows <= CHUNK_ROWS),
                None => (None, search.enough.is_some() && *search.filter == Predicate::TRUE),
            },
            Among::Tagged(field, ref tags) => (Some(Access::Tags { field, tags: tags.clone() }), true),
            Among::Records(ref records) => (Some(Access::Records(records.clone())), true),
        };
        // Where many rows are looked at for the few that leave, their output cells are fetched afterwards, for those
        // few alone: whoever sorts a large type does not have all of it in memory.
        let with_output = few;
        let cells = needed.union(if with_output { search.output } else { search.links });
        let mut found = Vec::new();
        let mut referenced = Referenced::of(search.plan.rules.iter().map(|rule| &rule.rows));
        let mut looked_at = 0u64;
        for access in in_chunks(keyed.unwrap_or(Access::All)) {
            let limit = chunk_rows(&access, &search);
            let mut scan = Scan { record_type: search.record_type, access, cells, limit, after: search.after };
            loop {
                let rows = self.read_rows(&scan).await?;
                let is_last = rows.len() < scan.limit;
                // Whoever sees one row in a thousand does not make a thousand calls for a page of one.
                scan.limit = scan.limit.saturating_mul(2).min(CHUNK_ROWS);
                looked_at = looked_at.saturating_add(rows.len() as u64);
                if looked_at > self.engine.limits.scan_rows_max || !self.spent.read(rows.len()) {
                    return Err(self.scan_limit(record_type, search.filter));
                }
                scan.after = rows.last().map(|row| row.record);
                let mut rows =
                    rows.into_iter().map(|row| Opened::new(row, record_type.fields.len())).collect::<Vec<_>>();
                for row in &mut rows {
                    self.open(search.record_type, row, needed)?;
                }
                self.look_up_referenced(&rows, &mut referenced).await?;
                for row in rows {
                    let view = View { row: &row, referenced: &referenced };
                    let visible = search.plan.fields_on(&view);
                    let exists = !visible.is_empty() && search.deciding.is_subset(visible);
                    if exists && search.filter.evaluate(&view) == Some(true) {
                        found.push(Found { row, visible });
                    }
                }
                let enough = search.enough.is_some_and(|enough| found.len() as u64 >= enough);
                if is_last || enough {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(Finds { found, with_output })
    }

    /// The rows of a type whose indexed `field` has one of these values, whoever may see them, with these cells.
    pub(crate) async fn rows_by_value(
        &self,
        record_type: TypeId,
        field: FieldId,
        values: &[&Value],
        cells: FieldSet,
    ) -> Result<Vec<Opened>, Failure> {
        let field_count = self.types.record_type(record_type).ok_or(Failure::Unavailable)?.fields.len();
        let mut tags = Vec::with_capacity(values.len());
        for value in values {
            tags.extend(self.keys.tags(record_type, field, value)?);
        }
        let mut opened = Vec::new();
        for access in in_chunks(Access::Tags { field, tags }) {
            let limit = usize::try_from(self.engine.limits.scan_rows_max).unwrap_or(usize::MAX);
            let scan = Scan { record_type, access, cells, limit, after: None };
            let rows = self.read_rows(&scan).await?;
            if !self.spent.read(rows.len()) {
                return Err(
                    self.scan_limit(self.types.record_type(record_type).ok_or(Failure::Unavailable)?, &Predicate::TRUE)
                );
            }
            opened.extend(rows.into_iter().map(|row| Opened::new(row, field_count)));
        }
        Ok(opened)
    }

    /// The best way in by a keyed tag that the conditions offer, and about how many rows are to be expected of it.
    fn by_tag(
        &self,
        type_id: TypeId,
        record_type: &RecordType,
        filter: &Predicate,
        plan: &Plan,
    ) -> Result<Option<(Access, usize)>, Failure> {
        let mut best: Option<(usize, FieldId, &[Value])> = None;
        let mut consider = |condition| {
            each_equality(condition, &mut |field, values: &[_]| {
                let Some(indexed) = record_type.field(field).filter(|field| field.indexed) else { return };
                let expected_rows = values.len().saturating_mul(if indexed.unique { 1 } else { 100 });
                if best.is_none_or(|(rows, _, _)| expected_rows < rows) {
                    best = Some((expected_rows, field, values));
                }
            });
        };
        consider(filter);
        if let [only] = plan.rules.as_slice() {
            consider(&only.rows);
        }
        let Some((expected_rows, field, values)) = best else { return Ok(None) };
        let mut tags = Vec::with_capacity(values.len());
        for value in values {
            tags.extend(self.keys.tags(type_id, field, value)?);
        }
        Ok(Some((Access::Tags { field, tags }, expected_rows)))
    }

    fn scan_limit(&self, record_type: &RecordType, filter: &Predicate) -> Failure {
        let index = filter.fields().iter().find_map(|field| record_type.field(field).filter(|field| !field.indexed));
        Failure::ScanLimit {
            record_type: record_type.name.clone(),
            index: index.map(|field| field.name.clone()),
            limit: self.engine.limits.scan_rows_max,
        }
    }
}

/// Calls `visit` with each comparison that every matching row must pass and that a tag can answer.
fn each_equality<'q>(condition: &'q Predicate, visit: &mut impl FnMut(FieldId, &'q [Value])) {
    match condition {
        Predicate::And(all) => all.iter().for_each(|part| each_equality(part, visit)),
        Predicate::Field(field, Comparison::Eq(value)) => visit(*field, std::slice::from_ref(value)),
        Predicate::Field(field, Comparison::In(values)) => visit(*field, values),
        _ => {}
    }
}

fn in_chunks(access: Access) -> Vec<Access> {
    match access {
        Access::Tags { field, mut tags } => {
            tags.sort_unstable();
            tags.dedup();
            let chunks = tags.chunks(CHUNK_TAGS);
            chunks.map(|tags| Access::Tags { field, tags: tags.to_vec() }).collect()
        }
        Access::Records(records) => {
            records.chunks(CHUNK_TAGS).map(|records| Access::Records(records.to_vec())).collect()
        }
        Access::All => vec![Access::All],
    }
}

fn chunk_rows(access: &Access, search: &Search<'_>) -> usize {
    let unfiltered_scan = matches!(access, Access::All) && *search.filter == Predicate::TRUE;
    match search.enough {
        Some(enough) if unfiltered_scan => usize::try_from(enough).unwrap_or(CHUNK_ROWS).clamp(1, CHUNK_ROWS),
        _ => CHUNK_ROWS,
    }
}
