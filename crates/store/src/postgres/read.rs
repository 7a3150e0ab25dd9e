//! Reading sealed rows: one statement each, so that it sees one moment.

use std::sync::Arc;

use countersign_model::{FieldSet, RecordId, TenantId};
use countersign_postgres::{PgError, Pool, Row, Scope, ToSql};
use uuid::Uuid;

use super::failure::damaged;
use super::sql::{Find, Text};
use super::types::Types;
use crate::access::{Access, Scan, SealedRow};
use crate::error::StoreError;
use crate::layout::Index;

type Param = Box<dyn ToSql + Sync + Send>;
type Params = Vec<Param>;

/// Whether a scan gives one record, or few of few values, and so may go along with others.
pub(super) fn is_short(types: &Types, scan: &Scan) -> bool {
    match &scan.access {
        Access::Records(records) => records.len() == 1,
        Access::Tags { field, tags } => {
            let index = types.layout.record_type(scan.record_type).ok().and_then(|fields| fields.index(*field));
            tags.len() <= SHORT_TAGS && (index == Some(Index::Unique) || scan.limit <= SHORT_ROWS)
        }
        Access::All => false,
    }
}

/// One value has a tag of each key epoch that is in use.
const SHORT_TAGS: usize = 8;
/// Rows that are read in no time.
const SHORT_ROWS: usize = 64;

/// A scan as a statement.
pub(super) struct Reading {
    text: Arc<str>,
    params: Params,
    cells: FieldSet,
    after: Option<RecordId>,
}

impl Reading {
    /// The statement for a checked scan; `None` if there is nothing to ask.
    pub(super) fn of(types: &Types, tenant: TenantId, scan: &Scan) -> Result<Option<Self>, StoreError> {
        if scan.limit == 0 {
            return Ok(None);
        }
        let limit = i64::try_from(scan.limit).unwrap_or(i64::MAX);
        // No record has the id that is before all others.
        let after = scan.after.map_or(Uuid::nil(), |after| after.uuid());
        let mut params: Params = vec![Box::new(tenant.uuid())];
        let (find, page) = match &scan.access {
            Access::All => (Find::All, true),
            Access::Records(records) => match records.as_slice() {
                [] => return Ok(None),
                [one] => {
                    params.push(Box::new(one.uuid()));
                    (Find::Id, false)
                }
                many => {
                    params.push(Box::new(many.iter().map(|record| record.uuid()).collect::<Vec<_>>()));
                    (Find::Ids, true)
                }
            },
            Access::Tags { field, tags } => match tags.as_slice() {
                [] => return Ok(None),
                [one] => {
                    params.push(Box::new(one.0.to_vec()));
                    let unique = types.layout.record_type(scan.record_type)?.index(*field) == Some(Index::Unique);
                    if unique { (Find::UniqueTag(*field), false) } else { (Find::Tag(*field), true) }
                }
                few if few.len() <= SHORT_TAGS => {
                    params.extend([Box::new(after) as Param, Box::new(limit)]);
                    params.extend(few.iter().map(|tag| Box::new(tag.0.to_vec()) as Param));
                    (Find::FewTags(*field, u8::try_from(few.len()).unwrap_or(u8::MAX)), false)
                }
                many => {
                    params.push(Box::new(many.iter().map(|tag| tag.0.to_vec()).collect::<Vec<_>>()));
                    (Find::Tags(*field), true)
                }
            },
        };
        if page {
            params.push(Box::new(after));
            params.push(Box::new(limit));
        }
        let text = types.text(scan.record_type, Text::Select(scan.record_type, find, scan.cells))?;
        Ok(Some(Self { text, params, cells: scan.cells, after: scan.after }))
    }

    /// Asks.
    pub(super) async fn ask(&self, pool: &Arc<Pool>, tenant: TenantId) -> Result<Vec<Row>, PgError> {
        pool.begin(Scope::Tenant(tenant)).await?.read(&self.text, &self.params()).await
    }

    pub(super) const fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub(super) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.params.iter().map(|one| &**one as &(dyn ToSql + Sync)).collect()
    }

    /// The answer.
    pub(super) fn rows(&self, rows: &[Row]) -> Result<Vec<SealedRow>, StoreError> {
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            let row = sealed(row, self.cells)?;
            if self.after.is_none_or(|after| row.record > after) {
                out.push(row);
            }
        }
        Ok(out)
    }
}

fn sealed(row: &Row, fields: FieldSet) -> Result<SealedRow, StoreError> {
    let record = RecordId::from_bytes(*row.try_get::<_, Uuid>(0).map_err(damaged)?.as_bytes());
    let version = u64::try_from(row.try_get::<_, i64>(1).map_err(damaged)?).map_err(damaged)?;
    let mut cells = Vec::with_capacity(fields.len());
    for (column, field) in (2usize..).zip(fields.iter()) {
        cells.push((field, row.try_get::<_, Option<Vec<u8>>>(column).map_err(damaged)?));
    }
    Ok(SealedRow { record, version, cells })
}
