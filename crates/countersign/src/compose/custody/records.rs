//! Records with all that they were, one after the other, out of a tenant at one moment.

use std::collections::VecDeque;

use countersign_model::{RecordId, TypeId, UnixMs};
use countersign_store::carry::{CarriedRow, Moment, PastRow};
use countersign_store::history::state_at;

use crate::problem::{Exit, Problem};

/// So many are read at a time.
const PAGE: usize = 500;

/// A record: what it is, and what it was.
#[derive(Debug, Clone)]
pub(super) struct Whole {
    pub(super) record: RecordId,
    /// What it is; `None` if it was deleted.
    pub(super) now: Option<CarriedRow>,
    /// What it was, oldest first.
    pub(super) past: Vec<PastRow>,
}

impl Whole {
    /// What it was at a moment.
    pub(super) fn at(&self, at: UnixMs) -> Option<CarriedRow> {
        state_at(at, self.now.clone(), self.past.clone()).next().and_then(|then| then.then)
    }

    /// The greatest version that it has had.
    pub(super) fn newest(&self) -> u64 {
        let versions = self.past.iter().map(|past| past.row.version).chain(self.now.iter().map(|row| row.version));
        versions.max().unwrap_or_default()
    }
}

/// The records of one type in the order of their ids.
pub(super) struct Records<'a> {
    moment: &'a mut dyn Moment,
    record_type: TypeId,
    rows: VecDeque<CarriedRow>,
    last_row: Option<RecordId>,
    rows_end: bool,
    past: VecDeque<PastRow>,
    last_past: Option<(RecordId, u64)>,
    past_end: bool,
}

/// What a storage failed with.
pub(super) fn failed(error: &countersign_store::StoreError) -> Problem {
    use countersign_store::StoreError::{Unavailable, Unknown};
    let exit = if matches!(error, Unavailable(_) | Unknown) { Exit::Unavailable } else { Exit::Failed };
    Problem::new(exit, format!("records can't be read or written: {error}"))
}

impl<'a> Records<'a> {
    pub(super) fn of(moment: &'a mut dyn Moment, record_type: TypeId) -> Self {
        let (rows, past) = (VecDeque::new(), VecDeque::new());
        Self { moment, record_type, rows, last_row: None, rows_end: false, past, last_past: None, past_end: false }
    }

    /// The next; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Whole>, Problem> {
        self.fill_rows().await?;
        self.fill_past().await?;
        let first = |one: Option<RecordId>, other: Option<RecordId>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let row = self.rows.front().map(|row| row.record);
        let Some(record) = first(row, self.past.front().map(|past| past.row.record)) else { return Ok(None) };
        let now = if row == Some(record) { self.rows.pop_front() } else { None };
        let mut past = Vec::new();
        loop {
            match self.past.front() {
                Some(next) if next.row.record == record => past.extend(self.past.pop_front()),
                Some(_) => break,
                None if self.past_end => break,
                None => self.fill_past().await?,
            }
        }
        Ok(Some(Whole { record, now, past }))
    }

    async fn fill_rows(&mut self) -> Result<(), Problem> {
        if self.rows.is_empty() && !self.rows_end {
            let page = self.moment.rows(self.record_type, self.last_row, PAGE).await.map_err(|error| failed(&error))?;
            self.rows_end = page.is_empty();
            self.last_row = page.last().map(|row| row.record).or(self.last_row);
            self.rows.extend(page);
        }
        Ok(())
    }

    async fn fill_past(&mut self) -> Result<(), Problem> {
        if self.past.is_empty() && !self.past_end {
            let page =
                self.moment.past(self.record_type, self.last_past, PAGE).await.map_err(|error| failed(&error))?;
            self.past_end = page.is_empty();
            self.last_past = page.last().map(|past| (past.row.record, past.row.version)).or(self.last_past);
            self.past.extend(page);
        }
        Ok(())
    }
}
