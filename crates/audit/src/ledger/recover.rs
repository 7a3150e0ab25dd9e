//! Opening a ledger: every byte is checked, a torn end is cut, anything else that is wrong is refused.

use std::io;
use std::sync::Arc;

use super::Position;
use super::frame::{Check, Frame, HEADER_BYTES, SegmentHeader, later_write_after, service_code};
use super::index::Index;
use super::log::LogCheck;
use super::mark::Mark;
use super::storage::{LogFile, Storage, read_all};
use crate::codec::Leaf;
use crate::error::LedgerError;
use crate::record::Service;

const SUFFIX: &str = ".log";
const DIGITS: usize = 8;

/// The name of a segment's file.
pub(super) fn file_name(number: u32) -> String {
    format!("{number:08}{SUFFIX}")
}

pub(super) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Where writing goes on.
pub(super) struct End {
    pub(super) segment: u32,
    pub(super) file: Arc<dyn LogFile>,
    /// Durable bytes of the segment.
    pub(super) size: u64,
    /// Durable records of the ledger.
    pub(super) records: u64,
    /// The check of the last record.
    pub(super) check: Check,
}

impl End {
    /// The mark that says so.
    pub(super) const fn mark(&self) -> Mark {
        Mark { records: self.records, check: self.check }
    }
}

/// Makes a segment and opens it, durably. One that is already there was never used and is emptied.
pub(super) fn create_segment(storage: &dyn Storage, service: Service, number: u32, mark: Mark) -> io::Result<End> {
    let header = SegmentHeader::new(service, mark.records, mark.check);
    let file = storage.open_writable(&file_name(number))?;
    file.truncate(0)?;
    file.write_all_at(&header.to_bytes(), 0)?;
    file.sync()?;
    storage.sync_folder()?;
    Ok(End { segment: number, file, size: HEADER_BYTES as u64, records: mark.records, check: mark.check })
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> LedgerError {
    let what = what.into();
    move |source| LedgerError::Io { what, source }
}

/// Checks all segments, holds them against the log, cuts a torn end, and says where writing goes on.
pub(super) fn recover(
    storage: &dyn Storage,
    service: Service,
    index: &mut Index,
    log: Option<&mut LogCheck>,
) -> Result<End, LedgerError> {
    let mark = Mark::read(storage).map_err(failed("reading the file durable"))?;
    let names = storage.list().map_err(failed("listing the audit folder"))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let kept = match &log {
        Some(log) => Some(log.kept()?),
        None => None,
    };
    if let Some(kept) = kept {
        remove_before(storage, &mut numbers, kept)?;
    }
    for name in &names {
        let of = super::terms::file::segment_of(name);
        if of.is_some_and(|segment| !numbers.contains(&segment)) {
            storage.remove(name).map_err(failed(format!("removing {name}")))?;
        }
    }
    let mut scan = Scan { storage, service, mark, index, log, kept, end: None };
    for (at, number) in numbers.iter().copied().enumerate() {
        let expected = numbers.first().copied().unwrap_or_default().saturating_add(at as u32);
        if number != expected {
            return Err(LedgerError::MissingSegment { segment: expected });
        }
        scan.segment(number, at.saturating_add(1) == numbers.len())?;
    }
    let end = match scan.end {
        Some(end) => end,
        None => {
            index.begin(0, 0);
            create_segment(storage, service, 0, Mark::default()).map_err(failed("making the first segment"))?
        }
    };
    if end.records < mark.records {
        return Err(LedgerError::Truncated { found: end.records, acknowledged: mark.records });
    }
    Ok(end)
}

/// Goes on with a removal of segments that was signed and not finished: those before the record `kept`.
fn remove_before(storage: &dyn Storage, numbers: &mut Vec<u32>, kept: u64) -> Result<(), LedgerError> {
    while let [number, next, ..] = numbers.as_slice() {
        let mut header = [0; HEADER_BYTES];
        let name = file_name(*next);
        let file = storage.open(&name).map_err(failed(format!("opening {name}")))?;
        let read = file.read_exact_at(&mut header, 0).ok().and_then(|()| SegmentHeader::parse(&header));
        if read.is_none_or(|header| header.first > kept) {
            return Ok(());
        }
        remove_segment(storage, *number).map_err(failed(format!("removing {}", file_name(*number))))?;
        numbers.remove(0);
    }
    Ok(())
}

/// Removes a segment with what was made of it.
pub(super) fn remove_segment(storage: &dyn Storage, number: u32) -> io::Result<()> {
    match storage.remove(&super::terms::file::name(number)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    storage.remove(&file_name(number))?;
    storage.sync_folder()
}

struct Scan<'a> {
    storage: &'a dyn Storage,
    service: Service,
    mark: Mark,
    index: &'a mut Index,
    log: Option<&'a mut LogCheck>,
    /// The first record that should be there, if that is known.
    kept: Option<u64>,
    end: Option<End>,
}

impl Scan<'_> {
    fn segment(&mut self, number: u32, is_last: bool) -> Result<(), LedgerError> {
        let name = file_name(number);
        let damaged = |offset: usize, position: u64| LedgerError::Damaged {
            segment: number,
            offset: offset as u64,
            position: Position(position),
        };
        let file = self.storage.open_writable(&name).map_err(failed(format!("opening {name}")))?;
        let bytes = read_all(&*file).map_err(failed(format!("reading {name}")))?;
        let before = self.end.as_ref().map(End::mark);
        let records = before.map_or(0, |before| before.records);
        let Some(header) = SegmentHeader::parse(&bytes) else {
            // A segment is used only once its header is durable; before that, it may be anything.
            if is_last && bytes.len() <= HEADER_BYTES && self.mark.records <= records {
                return self.storage.remove(&name).map_err(failed(format!("removing the unused {name}")));
            }
            return Err(damaged(0, records));
        };
        if header.service != service_code(self.service) {
            return Err(LedgerError::OtherService { segment: number });
        }
        if before.is_some_and(|before| before != Mark { records: header.first, check: header.previous }) {
            return Err(damaged(0, records));
        }
        if before.is_none() {
            if self.kept.is_some_and(|kept| kept != header.first) {
                return Err(LedgerError::MissingSegment { segment: number.saturating_sub(1) });
            }
            if let Some(log) = &mut self.log {
                log.begin_at(header.first)?;
            }
        }
        self.index.begin(number, header.first);
        let (mut start, mut position, mut check) = (HEADER_BYTES, header.first, header.previous);
        while start < bytes.len() {
            let Some(frame) = Frame::checked_at(&bytes, start) else { break };
            // Whole, and yet unreadable: a newer program's. Not a torn end.
            let leaf = Leaf::parse(frame.leaf).ok_or_else(|| damaged(start, position))?;
            if let Some(log) = &mut self.log {
                log.record(frame.leaf)?;
            }
            self.index.add(u32::try_from(start).map_err(|_| damaged(start, position))?, &leaf.header, None);
            (start, check) = (frame.end, frame.check);
            position = position.saturating_add(1);
            if position == self.mark.records && check != self.mark.check {
                return Err(damaged(start, position));
            }
        }
        if start < bytes.len() {
            if !is_last || position < self.mark.records || later_write_after(&bytes, start) {
                return Err(damaged(start, position));
            }
            tracing::info!(segment = number, cut_bytes = bytes.len().saturating_sub(start), "cut a torn end");
            file.truncate(start as u64).map_err(failed(format!("cutting the torn end of {name}")))?;
        }
        if is_last {
            // Records that nobody was told of may be whole all the same; from here on they are kept.
            file.sync().map_err(failed(format!("making {name} durable")))?;
        }
        self.end = Some(End { segment: number, file, size: start as u64, records: position, check });
        Ok(())
    }
}
