//! The thread that keeps the files of terms: makes one for each segment that is full, finds out the terms of records
//! that have none, and saves those of the segment that is written to.
//!
//! Nobody waits for it. What it has not done yet only makes questions slower; what it can't do, because a disk fails or
//! a key is not at hand, it tries again.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use countersign_crypto::SealKey;
use countersign_model::{Entropy, TenantId};
use parking_lot::{Mutex, RwLock};

use super::file::{self, Filed, Subject, TermFile, entries_at};
use super::{of_body, of_signal, request};
use crate::codec::{self, Leaf, service_code};
use crate::error::{AuditError, LedgerError};
use crate::ledger::frame::{Check, Frame};
use crate::ledger::index::{Held, Index, Terms};
use crate::ledger::query::Reader;
use crate::ledger::recover::file_name;
use crate::ledger::storage::Storage;
use crate::record::Service;
use crate::sink::AuditKeys;

/// How often it looks for work by itself.
const LOOKS: Duration = Duration::from_secs(1);
/// How often the terms of the segment that is written to are saved.
const SAVES: Duration = Duration::from_secs(30);
/// How long what failed is left alone.
const RETRY: Duration = Duration::from_secs(60);
/// How many records it reads at a time.
const READS: u32 = 4096;

enum Job {
    /// A tenant's key is at hand that was not when a segment was read.
    Learn(u32, Option<TenantId>),
    /// Do everything there is to do, then answer.
    #[cfg(test)]
    Settle(Sender<()>),
    Stop,
}

/// Gives the thread work, and ends it.
pub(in crate::ledger) struct Keeper {
    jobs: Sender<Job>,
    stopping: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread works with.
pub(in crate::ledger) struct Work {
    pub(in crate::ledger) service: Service,
    pub(in crate::ledger) storage: Arc<dyn Storage>,
    pub(in crate::ledger) keys: Arc<dyn AuditKeys>,
    pub(in crate::ledger) entropy: Arc<dyn Entropy>,
    pub(in crate::ledger) index: Arc<RwLock<Index>>,
    pub(in crate::ledger) stopping: Arc<AtomicBool>,
}

impl Keeper {
    /// Takes up the files of terms that there are, and starts the thread.
    pub(in crate::ledger) fn start(work: Work) -> Result<Self, LedgerError> {
        work.load();
        let (jobs, waiting) = channel();
        let name = format!("index-{}", work.service.as_str());
        let stopping = Arc::clone(&work.stopping);
        let thread = std::thread::Builder::new().name(name).spawn(move || work.run(&waiting));
        let thread = thread.map_err(|source| LedgerError::Io { what: "starting the indexer".to_owned(), source })?;
        Ok(Self { jobs, stopping, thread: Mutex::new(Some(thread)) })
    }

    /// Has the terms of a tenant's records found out, whose key is at hand now.
    pub(in crate::ledger) fn learn(&self, segment: u32, owner: Option<TenantId>) {
        // Without the thread, questions are answered all the same.
        let _ = self.jobs.send(Job::Learn(segment, owner));
    }

    /// Returns when there is nothing to do any more.
    #[cfg(test)]
    pub(in crate::ledger) fn settle(&self) {
        let (done, settled) = channel();
        let _ = self.jobs.send(Job::Settle(done));
        let _ = settled.recv();
    }

    /// Saves what there is to save, and ends the thread.
    pub(in crate::ledger) fn stop(&self) {
        if let Some(thread) = self.thread.lock().take() {
            self.stopping.store(true, Ordering::Relaxed);
            let _ = self.jobs.send(Job::Stop);
            if thread.join().is_err() {
                tracing::error!("the audit indexer died");
            }
        }
    }
}

/// Something can't be done at present.
struct NotNow;

impl From<AuditError> for NotNow {
    fn from(_: AuditError) -> Self {
        Self
    }
}

impl From<std::io::Error> for NotNow {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl Work {
    fn run(self, jobs: &Receiver<Job>) {
        let (mut saved, mut failed) = (Instant::now(), HashMap::new());
        loop {
            match jobs.recv_timeout(LOOKS) {
                Ok(Job::Learn(segment, owner)) => drop(self.learn(segment, owner)),
                #[cfg(test)]
                Ok(Job::Settle(done)) => {
                    self.work(&mut HashMap::new());
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.work(&mut failed);
                    if saved.elapsed() >= SAVES {
                        drop(self.save());
                        saved = Instant::now();
                    }
                }
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        drop(self.save());
    }

    /// Takes up the files of terms that fit their segments, and removes those of segments that are gone.
    fn load(&self) {
        for name in self.storage.list().unwrap_or_default() {
            let segment = file::segment_of(&name);
            if segment.is_some_and(|segment| self.index.read().first(segment).is_none()) {
                drop(self.storage.remove(&name));
            }
        }
        let Ok(key) = self.keys.audit_key(None) else { return };
        let numbers = self.index.read().segments(None, None);
        let open = self.index.read().open_segment();
        for segment in numbers {
            let Some(found) = self.load_one(segment, &key) else { continue };
            let records = self.index.read().records(segment);
            let terms = if Some(segment) != open && found.records() == records {
                Terms::Filed(Arc::new(found))
            } else {
                let Ok(entries) = found.entries(&*self.storage, &key) else { continue };
                Terms::Held(Held { entries, gap: found.records()..records, missing: found.missing().to_vec() })
            };
            if let Some(place) = self.index.write().terms_mut(segment) {
                *place = terms;
            }
        }
    }

    fn load_one(&self, segment: u32, key: &SealKey) -> Option<TermFile> {
        let first = self.index.read().first(segment)?;
        let check = |place| self.check_at(segment, place);
        let found = TermFile::open(&*self.storage, service_code(self.service), segment, first, key, check)?;
        (found.records() <= self.index.read().records(segment)).then_some(found)
    }

    /// The check of one record.
    fn check_at(&self, segment: u32, place: u32) -> Option<Check> {
        let (_, offset) = self.index.read().at_places(segment, None, None, [place]).into_iter().next()?;
        let file = self.storage.open(&file_name(segment)).ok()?;
        let mut length = [0; 4];
        file.read_exact_at(&mut length, u64::from(offset)).ok()?;
        let mut frame = vec![0; Frame::bytes(length)];
        file.read_exact_at(&mut frame, u64::from(offset)).ok()?;
        Some(Frame::at(&frame, 0)?.check)
    }

    /// Everything that is to be done, except what failed a moment ago.
    fn work(&self, failed: &mut HashMap<u32, Instant>) {
        failed.retain(|_, since| since.elapsed() < RETRY);
        let numbers = self.index.read().segments(None, None);
        for segment in numbers {
            if !failed.contains_key(&segment) && self.work_on(segment).is_err() {
                failed.insert(segment, Instant::now());
            }
        }
    }

    fn work_on(&self, segment: u32) -> Result<(), NotNow> {
        self.fill(segment)?;
        let closed = self.index.read().open_segment() != Some(segment);
        if closed && matches!(self.index.read().terms(segment), Some(Terms::Held(_))) {
            self.file(segment)?;
        }
        Ok(())
    }

    /// Finds out the terms of a segment's records that have none yet.
    fn fill(&self, segment: u32) -> Result<(), NotNow> {
        while !self.stopping.load(Ordering::Relaxed) {
            let gap = match self.index.read().terms(segment) {
                Some(Terms::Held(held)) if !held.gap.is_empty() => held.gap.clone(),
                _ => return Ok(()),
            };
            let part = gap.start..gap.end.min(gap.start.saturating_add(READS));
            let (entries, missing) = self.read(segment, part.clone())?;
            if let Some(Terms::Held(held)) = self.index.write().terms_mut(segment) {
                held.entries.extend(entries);
                held.gap.start = part.end;
                held.missing.extend(missing);
                held.missing.sort_unstable();
                held.missing.dedup();
            }
        }
        Ok(())
    }

    /// The terms of some records, as far as keys are at hand, and whose keys are not.
    fn read(&self, segment: u32, places: Range<u32>) -> Result<(Vec<u64>, Vec<Option<TenantId>>), NotNow> {
        let own = self.keys.audit_key(None)?;
        let mut keys = KeysAtHand { keys: &*self.keys, known: HashMap::new() };
        let records = self.index.read().at_places(segment, None, None, places.clone());
        let mut reader = Reader::open(&*self.storage, segment)?;
        let (mut entries, mut missing, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        for ((position, offset), place) in records.into_iter().zip(places) {
            let leaf = reader.leaf(offset)?.and_then(Leaf::parse).ok_or(AuditError::Damaged(position))?;
            let mut terms = vec![request(leaf.header.request)];
            let key = keys.of(leaf.header.key_owner(), leaf.body.epoch());
            let opened = key.is_some_and(|key| leaf.body.open_into(key, &mut plain));
            match codec::decode(leaf.header, None, &plain).filter(|_| opened) {
                Some(record) => of_body(&record.body, &mut terms),
                None => {
                    missing.push(leaf.header.tenant);
                    let told = leaf.tally.and_then(|sealed| sealed.open_tally(&own, &mut plain));
                    if let Some((_, Some(signal))) = told {
                        of_signal(&signal, &mut terms);
                    }
                }
            }
            entries.extend(entries_at(&terms, place));
        }
        missing.sort_unstable();
        missing.dedup();
        Ok((entries, missing))
    }

    /// Adds what a key tells that is at hand now.
    fn learn(&self, segment: u32, owner: Option<TenantId>) -> Result<(), NotNow> {
        let is_missing = match self.index.read().terms(segment) {
            Some(Terms::Held(held)) => held.missing.contains(&owner),
            Some(Terms::Filed(file)) => file.missing().contains(&owner),
            None => false,
        };
        if !is_missing {
            return Ok(());
        }
        // Whether it is at hand at all.
        self.keys.audit_key(owner)?;
        let own = self.keys.audit_key(None)?;
        let mut keys = KeysAtHand { keys: &*self.keys, known: HashMap::new() };
        let (records, first) = {
            let index = self.index.read();
            (index.of_tenant(segment, owner, None).records, index.first(segment).ok_or(NotNow)?)
        };
        let mut reader = Reader::open(&*self.storage, segment)?;
        let (mut entries, mut plain) = (Vec::new(), Vec::new());
        for (position, offset) in records {
            let leaf = reader.leaf(offset)?.and_then(Leaf::parse).ok_or(AuditError::Damaged(position))?;
            // A record that doesn't open stays where every question comes upon it.
            let under = keys.of(leaf.header.key_owner(), leaf.body.epoch()).ok_or(NotNow)?;
            if !leaf.body.open_into(under, &mut plain) {
                return Err(NotNow);
            }
            let record = codec::decode(leaf.header, None, &plain).ok_or(NotNow)?;
            let mut terms = Vec::new();
            of_body(&record.body, &mut terms);
            let place = u32::try_from(position.0.saturating_sub(first)).map_err(|_| NotNow)?;
            entries.extend(entries_at(&terms, place));
        }
        let file = match self.index.write().terms_mut(segment) {
            Some(Terms::Held(held)) => {
                held.entries.extend(entries);
                held.missing.retain(|missing| *missing != owner);
                return Ok(());
            }
            Some(Terms::Filed(file)) => Filed::clone(file),
            None => return Ok(()),
        };
        entries.extend(file.entries(&*self.storage, &own)?);
        let missing: Vec<_> = file.missing().iter().copied().filter(|missing| *missing != owner).collect();
        self.write(segment, entries, &missing)
    }

    /// Makes the file of a segment that is full and puts it in the place of what is in memory.
    fn file(&self, segment: u32) -> Result<(), NotNow> {
        let (entries, missing) = match self.index.read().terms(segment) {
            Some(Terms::Held(held)) if held.gap.is_empty() => (held.entries.clone(), held.missing.clone()),
            _ => return Ok(()),
        };
        self.write(segment, entries, &missing)
    }

    /// Writes the file of a whole segment, and takes it into use.
    fn write(&self, segment: u32, entries: Vec<u64>, missing: &[Option<TenantId>]) -> Result<(), NotNow> {
        let records = self.index.read().records(segment);
        self.store(segment, records, entries, missing)?;
        let key = self.keys.audit_key(None)?;
        let file = self.load_one(segment, &key).ok_or(NotNow)?;
        if let Some(terms) = self.index.write().terms_mut(segment) {
            *terms = Terms::Filed(Arc::new(file));
        }
        Ok(())
    }

    /// Saves what is in memory of all segments, as far as it is without a gap, so that it need not be found out again.
    fn save(&self) -> Result<(), NotNow> {
        let Some(segment) = self.index.read().open_segment() else { return Ok(()) };
        let (records, entries, missing) = {
            let index = self.index.read();
            match index.terms(segment) {
                Some(Terms::Held(held)) if held.gap.is_empty() && !held.entries.is_empty() => {
                    (index.records(segment), held.entries.clone(), held.missing.clone())
                }
                _ => return Ok(()),
            }
        };
        let saved = self.load_one(segment, &*self.keys.audit_key(None)?);
        if saved.is_some_and(|saved| saved.records() == records && saved.missing() == missing) {
            return Ok(());
        }
        self.store(segment, records, entries, &missing)
    }

    fn store(&self, segment: u32, records: u32, entries: Vec<u64>, missing: &[Option<TenantId>]) -> Result<(), NotNow> {
        let first = self.index.read().first(segment).ok_or(NotNow)?;
        let check = match records.checked_sub(1) {
            None => Check::default(),
            Some(last) => self.check_at(segment, last).ok_or(NotNow)?,
        };
        let subject = Subject { service: service_code(self.service), segment, first, records, check };
        let key = self.keys.audit_key(None)?;
        let bytes = file::encode(subject, &file::sorted(entries), missing, &key, &*self.entropy).ok_or(NotNow)?;
        self.storage.check_writable()?;
        self.storage.replace(&file::name(segment), &bytes)?;
        // The segment may have been removed meanwhile.
        if self.index.read().first(segment).is_none() {
            self.storage.remove(&file::name(segment))?;
        }
        Ok(())
    }
}

/// Keys that were asked for, and whether they were at hand.
struct KeysAtHand<'a> {
    keys: &'a dyn AuditKeys,
    known: HashMap<(Option<TenantId>, u32), Option<Arc<SealKey>>>,
}

impl KeysAtHand<'_> {
    fn of(&mut self, owner: Option<TenantId>, epoch: u32) -> Option<&SealKey> {
        let ask = || self.keys.audit_key_at(owner, epoch).ok();
        self.known.entry((owner, epoch)).or_insert_with(ask).as_deref()
    }
}
