//! From a moment of the store into chunks.

use countersign_model::{TypeId, UnixMs};
use countersign_store::carry::Moment;

use super::form::{Kind, Page, begin, put_known, put_past, put_row};
use crate::error::BackupError;
use crate::writer::Writer;
use crate::{CHUNK_LEAST, CHUNK_MOST, CHUNK_USUAL};

/// About as many bytes are read at a time.
const PAGE_BYTES: usize = 1 << 20;
/// The first page is small, as nobody knows yet how large rows are.
const FIRST_PAGE: usize = 128;
const PAGE_MAX: usize = 8192;

/// How much a section has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records.
    pub rows: u64,
    /// What they were before.
    pub past: u64,
    /// Changes that are made once.
    pub known: u64,
}

impl Counts {
    /// Counts what is in a page.
    pub fn add(&mut self, page: &Page) {
        let (counter, more) = match page {
            Page::Rows(_, rows) => (&mut self.rows, rows.len()),
            Page::Past(_, rows) => (&mut self.past, rows.len()),
            Page::Known(known) => (&mut self.known, known.len()),
        };
        *counter = counter.saturating_add(more as u64);
    }
}

/// Writes all that a moment of a tenant has, of the types and of what is known since then, into the section that was begun.
///
/// # Errors
/// [`BackupError::Store`]; as [`Writer::chunk`].
pub async fn write(
    moment: &mut dyn Moment,
    types: impl IntoIterator<Item = TypeId> + Send,
    since: UnixMs,
    writer: &mut Writer,
) -> Result<Counts, BackupError> {
    let mut counts = Counts::default();
    let types: Vec<TypeId> = types.into_iter().collect();
    for of in types {
        let mut cutter = Cutter::new(Kind::Rows(of));
        let (mut after, mut limit) = (None, FIRST_PAGE);
        loop {
            let rows = moment.rows(of, after, limit).await?;
            let mut bytes = 0usize;
            for row in &rows {
                bytes = bytes.saturating_add(
                    cutter.push(writer, row.record.as_bytes(), row.version, |out| put_row(out, row)).await?,
                );
            }
            counts.rows = counts.rows.saturating_add(rows.len() as u64);
            after = rows.last().map(|row| row.record).or(after);
            if rows.len() < limit {
                break;
            }
            limit = next_limit(rows.len(), bytes);
        }
        cutter.end(writer).await?;
        let mut cutter = Cutter::new(Kind::Past(of));
        let (mut after, mut limit) = (None, FIRST_PAGE);
        loop {
            let rows = moment.past(of, after, limit).await?;
            let mut bytes = 0usize;
            for past in &rows {
                let (record, version) = (past.row.record, past.row.version);
                bytes = bytes
                    .saturating_add(cutter.push(writer, record.as_bytes(), version, |out| put_past(out, past)).await?);
            }
            counts.past = counts.past.saturating_add(rows.len() as u64);
            after = rows.last().map(|past| (past.row.record, past.row.version)).or(after);
            if rows.len() < limit {
                break;
            }
            limit = next_limit(rows.len(), bytes);
        }
        cutter.end(writer).await?;
    }
    let mut cutter = Cutter::new(Kind::Known);
    let (mut after, mut limit) = (None, FIRST_PAGE);
    loop {
        let known = moment.known(since, after, limit).await?;
        let mut bytes = 0usize;
        for once in &known {
            bytes = bytes.saturating_add(cutter.push(writer, &once.id, 0, |out| put_known(out, once)).await?);
        }
        counts.known = counts.known.saturating_add(known.len() as u64);
        after = known.last().map(|once| (once.at, once.id)).or(after);
        if known.len() < limit {
            break;
        }
        limit = next_limit(known.len(), bytes);
    }
    cutter.end(writer).await?;
    Ok(counts)
}

/// How many rows make about a page, when these were so many bytes.
fn next_limit(rows: usize, bytes: usize) -> usize {
    let each = bytes.checked_div(rows).unwrap_or(1).max(1);
    PAGE_BYTES.checked_div(each).unwrap_or(1).clamp(FIRST_PAGE / 8, PAGE_MAX)
}

/// Cuts a run of records into chunks.
struct Cutter {
    kind: Kind,
    chunk: Vec<u8>,
    empty: usize,
}

impl Cutter {
    fn new(kind: Kind) -> Self {
        let chunk = begin(kind);
        Self { kind, empty: chunk.len(), chunk }
    }

    /// One more record. How many bytes it is.
    async fn push(
        &mut self,
        writer: &mut Writer,
        id: &[u8],
        version: u64,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> Result<usize, BackupError> {
        let before = self.chunk.len();
        put(&mut self.chunk);
        let bytes = self.chunk.len().saturating_sub(before);
        // The version of a record that is there is not a part of what decides: it changes with the record.
        let version = if matches!(self.kind, Kind::Past(_)) { version } else { 0 };
        let length = self.chunk.len();
        if length >= CHUNK_MOST || (length >= CHUNK_LEAST && is_cut(spread(id, version), bytes)) {
            self.end(writer).await?;
        }
        Ok(bytes)
    }

    async fn end(&mut self, writer: &mut Writer) -> Result<(), BackupError> {
        if self.chunk.len() > self.empty {
            let full = std::mem::replace(&mut self.chunk, begin(self.kind));
            writer.chunk(full).await?;
        }
        Ok(())
    }
}

/// Whether a chunk ends after a record: one in so many that a chunk has about [`CHUNK_USUAL`] bytes, whatever a record has.
fn is_cut(spread: u64, bytes: usize) -> bool {
    const EACH: u64 = u64::MAX / (CHUNK_USUAL - CHUNK_LEAST) as u64;
    let share = EACH.saturating_mul(bytes as u64);
    spread <= share
}

/// Spreads ids evenly; they count up where many were inserted at once. Nothing depends on nobody foreseeing it: whoever chooses
/// ids chooses sizes of chunks, within their bounds.
fn spread(id: &[u8], version: u64) -> u64 {
    let mut state = version ^ 0x9e37_79b9_7f4a_7c15;
    for part in id.chunks(8) {
        let part = part.iter().fold(0u64, |value, byte| (value << 8) | u64::from(*byte));
        state = mix(state ^ part);
    }
    state
}

/// The finaliser of SplitMix64.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
