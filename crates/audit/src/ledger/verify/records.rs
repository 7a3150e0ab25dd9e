//! The records and their hashes, one after the other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use countersign_tlog::{Checkpoint, Frontier, Hash, HashReader as _, Note, VerifierKey, level_len};

use super::finding::{Fault, Finding};
use super::state::State;
use super::{Against, Report};
use crate::codec::Leaf;
use crate::ledger::frame::{Check, Frame, HEADER_BYTES, SegmentHeader};
use crate::ledger::log::{CHECKPOINT, KEPT, KEYS, Kept, Keys, Levels, level_name};
use crate::ledger::mark::{self, Mark};
use crate::ledger::recover::{file_name, segment_number};
use crate::ledger::storage::{Storage, read_all};

/// How many hashes are read at a time.
const READ: u64 = 1 << 13;
/// How often progress is told.
const TELL_BYTES: u64 = 1 << 20;
/// How often and how long to wait until a record is whole that is being written.
const WAITS: u32 = 20;
const WAIT: Duration = Duration::from_millis(25);

/// A tree of so many records that somebody has signed or seen.
struct Known {
    size: u64,
    root: Hash,
    /// Who has seen it; `None` for the log's own newest checkpoint.
    by: Option<String>,
}

struct Records<'a> {
    storage: &'a Arc<dyn Storage>,
    levels: Levels,
    /// How many hashes level 0 has.
    hashes: u64,
    ahead: std::vec::IntoIter<Hash>,
    tree: Frontier,
    known: std::iter::Peekable<std::vec::IntoIter<Known>>,
    report: Report,
    mark: Mark,
    /// How often to wait for a record that is being written.
    waits: u32,
}

/// Verifies the signed files and, against them, all records.
pub(super) fn verify(
    storage: &Arc<dyn Storage>,
    state: &State,
    against: &Against,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<Report> {
    let mut report = Report {
        origin: String::new(),
        first: 0,
        records: 0,
        covered: 0,
        root: None,
        cosigned: 0,
        confirmed: 0,
        confirmed_to: 0,
        bytes: 0,
        findings: Vec::new(),
    };
    let known = signed(state, against, &mut report);
    let mark = match state.durable.as_deref() {
        None => {
            report.findings.push(Finding::of_file(mark::NAME, Fault::Absent));
            None
        }
        Some(bytes) => {
            let mark = Mark::of_file(bytes);
            if mark.is_none() {
                report.findings.push(Finding::of_file(mark::NAME, Fault::Damaged));
            }
            mark
        }
    };
    let hashes = state.levels.first().copied().unwrap_or_default().checked_div(Hash::BYTES as u64).unwrap_or_default();
    let mut records = Records {
        storage,
        levels: Levels::new(Arc::clone(storage)),
        hashes,
        ahead: Vec::new().into_iter(),
        tree: Frontier::default(),
        known: known.into_iter().peekable(),
        report,
        mark: mark.unwrap_or_default(),
        waits: if against.at_rest { 0 } else { WAITS },
    };
    records.segments(&state.names, progress)?;
    Ok(records.report)
}

/// What is signed: the checkpoint, from where on records are kept, and what others have seen. In order of size.
fn signed(state: &State, against: &Against, report: &mut Report) -> Vec<Known> {
    let (mut known, mut findings) = (Vec::new(), Vec::new());
    let keys = match &state.keys {
        None if state.checkpoint.is_none() => {
            report.findings.push(Finding::of_file(CHECKPOINT, Fault::NoLog));
            return known;
        }
        None => {
            findings.push(Finding::of_file(KEYS, Fault::Absent));
            None
        }
        Some(bytes) => {
            let keys = Keys::parse(bytes);
            if keys.is_none() {
                findings.push(Finding::of_file(KEYS, Fault::Damaged));
            }
            keys
        }
    };
    if let Some(keys) = keys {
        keys.own.name().clone_into(&mut report.origin);
        let trusted = against.keys.iter().map(|key| (key, "the caller"));
        let logs = against.seen.iter().flat_map(|seen| seen.what.logs().map(|log| (log, seen.by.as_str())));
        let pinned = logs.clone().map(|(log, by)| (&log.key, by));
        for (key, by) in trusted.chain(pinned) {
            if !key.is_witness() && key.name() == keys.own.name() && *key != keys.own {
                findings.push(Finding::of_file(KEYS, Fault::OtherKey { by: by.to_owned() }));
            }
        }
        for (log, by) in logs.filter(|(log, _)| log.key.name() == keys.own.name()) {
            let Checkpoint { size, root, .. } = log.checkpoint;
            known.push(Known { size, root, by: Some(by.to_owned()) });
        }
        match checkpoint(state, &keys) {
            Ok((Checkpoint { size, root, .. }, cosigned)) => {
                (report.covered, report.root, report.cosigned) = (size, Some(root), cosigned);
                known.push(Known { size, root, by: None });
            }
            Err(fault) => findings.push(Finding::of_file(CHECKPOINT, fault)),
        }
        if let Some(bytes) = &state.kept {
            match Kept::open(bytes, &keys.own) {
                Some(kept) => report.first = kept.first,
                None => findings.push(Finding::of_file(KEPT, Fault::Damaged)),
            }
        }
    }
    report.findings.extend(findings);
    known.sort_by_key(|known| known.size);
    known
}

/// The newest checkpoint and how many have cosigned it. Every signature on it must be good.
fn checkpoint(state: &State, keys: &Keys) -> Result<(Checkpoint, u64), Fault> {
    let bytes = state.checkpoint.as_ref().ok_or(Fault::Absent)?;
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Damaged)?;
    let note: Note = text.parse().map_err(|_| Fault::Damaged)?;
    let signers = || std::iter::once(&keys.own).chain(&keys.witnesses);
    for signature in note.signatures() {
        let good = |key: &VerifierKey| key.verify(note.text(), signature).is_some();
        if !signers().any(good) {
            return Err(Fault::Signature);
        }
    }
    let (checkpoint, note) = Checkpoint::open(text, &keys.own).map_err(|_| Fault::Signature)?;
    if note.to_string() != text {
        return Err(Fault::Damaged);
    }
    Ok((checkpoint, note.signatures().len().saturating_sub(1) as u64))
}

impl Records<'_> {
    fn found(&mut self, finding: Finding) {
        self.report.findings.push(finding);
    }

    /// Goes through all segments, up to the first record that doesn't fit.
    fn segments(&mut self, names: &[String], progress: &mut dyn FnMut(u64, u64)) -> io::Result<()> {
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        let mut total = 0u64;
        for number in &numbers {
            total = total.saturating_add(self.storage.open(&file_name(*number))?.size()?);
        }
        let mut end: Option<(u32, Check)> = None;
        for number in &numbers {
            let is_last = numbers.last() == Some(number);
            match self.segment(*number, is_last, end, &mut |done| progress(done, total))? {
                Some(check) => end = Some((*number, check)),
                None => return Ok(()),
            }
        }
        progress(total, total);
        let last = numbers.last().copied().unwrap_or_default();
        self.ended(&file_name(last))
    }

    /// Holds what is known of trees of that size against this one.
    fn hold_known(&mut self, file: &str) {
        let size = self.tree.size();
        while let Some(known) = self.known.next_if(|known| known.size == size) {
            let found = self.tree.root();
            match known.by {
                Some(_) if known.root == found => {
                    self.report.confirmed = self.report.confirmed.saturating_add(1);
                    self.report.confirmed_to = size;
                }
                None if known.root == found => {}
                Some(by) => self.found(Finding::of_file(file, Fault::Forked { by, size })),
                None => self.found(Finding::of_file(CHECKPOINT, Fault::Root { found })),
            }
        }
    }

    /// All records that there are were held against all that is known.
    fn ended(&mut self, file: &str) -> io::Result<()> {
        let records = self.tree.size();
        self.report.records = records;
        let missing = |finding: &Finding| finding.record.is_some();
        while let Some(known) = self.known.next() {
            let fault = match known.by {
                Some(by) => Fault::RolledBack { by, size: known.size },
                None => Fault::Missing,
            };
            let bytes = self.storage.open(file).and_then(|file| file.size()).unwrap_or_default();
            self.found(Finding::at(file, bytes, records, fault));
        }
        if self.mark.records > records && !self.report.findings.iter().any(missing) {
            let bytes = self.storage.open(file).and_then(|file| file.size()).unwrap_or_default();
            self.found(Finding::at(file, bytes, records, Fault::Missing));
        }
        if self.hashes > records {
            let offset = records.saturating_mul(Hash::BYTES as u64);
            self.found(Finding { offset: Some(offset), ..Finding::of_file(&level_name(0), Fault::Length) });
        }
        Ok(())
    }

    /// One segment. Gives the check of its last record; `None` if something in it doesn't fit.
    fn segment(
        &mut self,
        number: u32,
        is_last: bool,
        before: Option<(u32, Check)>,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Option<Check>> {
        let name = file_name(number);
        let mut bytes = read_all(&*self.storage.open(&name)?)?;
        let position = self.tree.size();
        let Some(header) = SegmentHeader::parse(&bytes) else {
            let unused = is_last && bytes.len() <= HEADER_BYTES && before.is_some();
            let fault = if unused { Fault::Unfinished } else { Fault::Header };
            self.found(Finding::at(&name, 0, position.max(self.report.first), fault));
            return Ok(None);
        };
        let follows = match before {
            None => header.first == self.report.first,
            Some((number_before, check)) => {
                number_before.checked_add(1) == Some(number) && header.first == position && header.previous == check
            }
        };
        if !follows {
            let first = position.max(self.report.first);
            let fault = match before {
                None if header.first < self.report.first => Fault::Unfinished,
                None => Fault::Missing,
                Some((number_before, _)) if number_before.checked_add(1) != Some(number) => Fault::Missing,
                Some(_) => Fault::Header,
            };
            self.found(Finding::at(&name, 0, first, fault));
            return Ok(None);
        }
        if before.is_none() && !self.removed(header.first)? {
            return Ok(None);
        }
        self.hold_known(&name);
        let (mut start, mut check, mut waits, mut told) = (HEADER_BYTES, header.previous, self.waits, 0u64);
        let done = self.report.bytes;
        while start < bytes.len() {
            let Some(frame) = Frame::checked_at(&bytes, start) else {
                // It may be what a service is writing just now.
                if is_last && waits > 0 {
                    waits = waits.saturating_sub(1);
                    std::thread::sleep(WAIT);
                    bytes = read_all(&*self.storage.open(&name)?)?;
                    continue;
                }
                return Ok(self.broken(&name, &bytes, start, is_last));
            };
            if !self.record(&name, start, &header, &frame)? {
                return Ok(None);
            }
            waits = self.waits;
            (start, check) = (frame.end, frame.check);
            let at = start as u64;
            if at.saturating_sub(told) > TELL_BYTES {
                told = at;
                progress(done.saturating_add(at));
            }
        }
        self.report.bytes = done.saturating_add(bytes.len() as u64);
        Ok(Some(check))
    }

    /// What is at a place where no whole record is.
    fn broken(&mut self, name: &str, bytes: &[u8], start: usize, is_last: bool) -> Option<Check> {
        let position = self.tree.size();
        let torn = is_last
            && position >= self.mark.records.max(self.report.covered)
            && !crate::ledger::frame::later_write_after(bytes, start);
        let fault = if torn { Fault::Unfinished } else { Fault::Changed };
        self.report.records = position;
        self.found(Finding::at(name, start as u64, position, fault));
        None
    }

    /// One record. False if it doesn't fit.
    fn record(&mut self, name: &str, start: usize, header: &SegmentHeader, frame: &Frame<'_>) -> io::Result<bool> {
        let position = self.tree.size();
        let at = start as u64;
        let leaf = Leaf::parse(frame.leaf);
        if leaf.is_none_or(|leaf| crate::codec::service_code(leaf.header.service) != header.service) {
            self.found(Finding::at(name, at, position, Fault::Changed));
            return Ok(false);
        }
        let hash = Hash::leaf(frame.leaf);
        if let Some(logged) = self.next()?
            && logged != hash
        {
            let finding = if position < self.report.covered && self.levels_are_signed()? {
                Finding::at(name, at, position, Fault::Unlike)
            } else {
                let offset = position.saturating_mul(Hash::BYTES as u64);
                Finding::at(&level_name(0), offset, position, Fault::Hash)
            };
            self.found(finding);
            return Ok(false);
        }
        if !self.take(hash)? {
            return Ok(false);
        }
        let count = self.tree.size();
        self.report.records = count;
        if count == self.mark.records && frame.check != self.mark.check {
            self.found(Finding::at(name, at, position, Fault::Changed));
            return Ok(false);
        }
        self.hold_known(name);
        Ok(true)
    }

    /// Hashes of records that were removed when their time was over. False if they don't fit.
    fn removed(&mut self, first: u64) -> io::Result<bool> {
        while self.tree.size() < first {
            let Some(hash) = self.next()? else {
                let offset = self.tree.size().saturating_mul(Hash::BYTES as u64);
                let finding = Finding::of_file(&level_name(0), Fault::Length);
                self.found(Finding { offset: Some(offset), ..finding });
                return Ok(false);
            };
            self.hold_known(&level_name(0));
            if !self.take(hash)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next hash of level 0.
    fn next(&mut self) -> io::Result<Option<Hash>> {
        if self.ahead.len() == 0 {
            let at = self.tree.size();
            let count = usize::try_from(self.hashes.saturating_sub(at).min(READ)).unwrap_or_default();
            self.ahead = self.levels.read(0, at, count)?.into_iter();
        }
        Ok(self.ahead.next())
    }

    /// Adds a hash to the tree and holds the levels above against it. False if they don't fit.
    fn take(&mut self, hash: Hash) -> io::Result<bool> {
        let size = self.tree.size().saturating_add(1);
        // Levels go as far as level 0 does, or as the checkpoint if a process was killed before it had made the next.
        let (is_logged, is_covered) = (size <= self.hashes, size <= self.report.covered);
        let (levels, mut wrong, mut failed) = (&self.levels, None, None);
        self.tree.push(hash, &mut |level, hash| {
            if level == 0 || !is_logged || wrong.is_some() {
                return;
            }
            let place = level_len(size, level).saturating_sub(1);
            match levels.read(level, place, 1) {
                Ok(there) if there.first() == Some(&hash) => {}
                Err(error) if !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound) => {
                    failed = Some(error);
                }
                Err(_) if !is_covered => {}
                _ => wrong = Some((level, place)),
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let Some((level, place)) = wrong else { return Ok(true) };
        let offset = place.saturating_mul(Hash::BYTES as u64);
        self.found(Finding { offset: Some(offset), ..Finding::of_file(&level_name(level), Fault::Hash) });
        Ok(false)
    }

    /// Whether level 0 makes the root that the newest checkpoint has signed: then it is right, and a record that differs
    /// is not.
    fn levels_are_signed(&self) -> io::Result<bool> {
        let (mut tree, covered) = (Frontier::default(), self.report.covered);
        if covered > self.hashes {
            return Ok(false);
        }
        while tree.size() < covered {
            let count = usize::try_from(covered.saturating_sub(tree.size()).min(READ)).unwrap_or_default();
            for hash in self.levels.read(0, tree.size(), count)? {
                tree.push(hash, &mut |_, _| ());
            }
        }
        Ok(self.report.root == Some(tree.root()))
    }
}
