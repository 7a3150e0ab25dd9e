//! The terms of one segment as a file: sorted, in blocks that are sealed under the service's own key.
//!
//! The file can be thrown away: everything in it is made of the segment. So a file that is not whole, not of this
//! version or not of this segment is no error; it counts as none. Written down in `docs/formats.md`.

use std::io;
use std::sync::Arc;

use countersign_crypto::{Aad, SealKey, sha256};
use countersign_model::{Entropy, TenantId};

use super::{Term, entry, place_of, term_of};
use crate::ledger::frame::Check;
use crate::ledger::storage::{LogFile, Storage};

const MAGIC: &[u8; 8] = b"CSindex\x01";
const HEADER_BYTES: usize = 64;
const SUM_BYTES: usize = 32;
const BLOCK_LABEL: &str = "audit-index.1";
const DIRECTORY_LABEL: &str = "audit-index-directory.1";
/// Entries in one block: what is read and opened to look up one term.
const BLOCK_ENTRIES: usize = 512;

/// The name of a segment's file of terms.
pub(in crate::ledger) fn name(segment: u32) -> String {
    format!("index/{segment:08}.terms")
}

/// Which segment, if it is the name of a file of terms.
pub(in crate::ledger) fn segment_of(name: &str) -> Option<u32> {
    name.strip_prefix("index/")?.strip_suffix(".terms")?.parse().ok()
}

/// Whether a file of terms is whole, and of that segment, as far as can be told without its key.
pub(in crate::ledger) fn is_whole(bytes: &[u8], segment: u32) -> bool {
    let Some((content, sum)) = bytes.split_last_chunk::<SUM_BYTES>() else { return false };
    let number = content.get(12..).and_then(<[u8]>::first_chunk).copied().map(u32::from_be_bytes);
    content.starts_with(MAGIC) && number == Some(segment) && sha256(content) == *sum
}

/// What a file of terms is of: it counts for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) struct Subject {
    pub(in crate::ledger) service: u8,
    pub(in crate::ledger) segment: u32,
    /// The position of the segment's first record.
    pub(in crate::ledger) first: u64,
    /// How many records from there.
    pub(in crate::ledger) records: u32,
    /// The check of the last of them.
    pub(in crate::ledger) check: Check,
}

impl Subject {
    fn header(&self, entries: u32, block_bytes: u32, directory_bytes: u32) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([self.service, 0, 0, 0]);
        out.extend(self.segment.to_be_bytes());
        out.extend(self.first.to_be_bytes());
        out.extend(self.records.to_be_bytes());
        out.extend(entries.to_be_bytes());
        out.extend(block_bytes.to_be_bytes());
        out.extend(directory_bytes.to_be_bytes());
        out.extend(self.check);
        out.resize(HEADER_BYTES, 0);
        out
    }
}

/// A file of terms, as far as it is kept in memory: the first term of each block.
pub(in crate::ledger) struct TermFile {
    subject: Subject,
    header: Vec<u8>,
    block_bytes: u32,
    entries: u32,
    firsts: Vec<Term>,
    /// Whose records could not be opened when it was made.
    missing: Vec<Option<TenantId>>,
}

/// Puts a file together. `entries` are sorted.
pub(in crate::ledger) fn encode(
    subject: Subject,
    entries: &[u64],
    missing: &[Option<TenantId>],
    key: &SealKey,
    entropy: &dyn Entropy,
) -> Option<Vec<u8>> {
    let counted = u32::try_from(entries.len()).ok()?;
    // The header is bound to every block, and it says how long they are: so the first is sealed twice.
    let sealed_len = |length: usize| key.seal(entropy, &Aad::new(BLOCK_LABEL), &vec![0; length]).len();
    let block_bytes = u32::try_from(sealed_len(BLOCK_ENTRIES.saturating_mul(8))).ok()?;
    let mut directory = Vec::new();
    let blocks = entries.chunks(BLOCK_ENTRIES);
    directory.extend(blocks.clone().filter_map(|block| block.first()).flat_map(|first| term_of(*first).to_be_bytes()));
    directory.extend(missing.iter().flat_map(|owner| owner.map_or([0; 16], |tenant| *tenant.as_bytes())));
    let directory_bytes = u32::try_from(sealed_len(directory.len())).ok()?;
    let header = subject.header(counted, block_bytes, directory_bytes);
    let mut out = header.clone();
    for (block, number) in blocks.zip(0u32..) {
        let plain: Vec<u8> = block.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        out.extend(key.seal(entropy, &Aad::new(BLOCK_LABEL).part(&header).part(&number.to_be_bytes()), &plain));
    }
    out.extend(key.seal(entropy, &Aad::new(DIRECTORY_LABEL).part(&header), &directory));
    out.extend(sha256(&out));
    Some(out)
}

impl TermFile {
    /// The file of a segment, if it is one of this version, this service and this segment. `check_at` gives the check of
    /// the record at a place in the segment.
    pub(in crate::ledger) fn open(
        storage: &dyn Storage,
        service: u8,
        segment: u32,
        first: u64,
        key: &SealKey,
        check_at: impl FnOnce(u32) -> Option<Check>,
    ) -> Option<Self> {
        let file = storage.open(&name(segment)).ok()?;
        let mut header = vec![0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).ok()?;
        let number = |at: usize| Some(u32::from_be_bytes(*header.get(at..)?.first_chunk()?));
        let (records, entries, block_bytes, directory_bytes) = (number(24)?, number(28)?, number(32)?, number(36)?);
        let check = match records {
            0 => Check::default(),
            records => check_at(records.checked_sub(1)?)?,
        };
        let subject = Subject { service, segment, first, records, check };
        if header != subject.header(entries, block_bytes, directory_bytes) {
            return None;
        }
        let mut directory = vec![0; usize::try_from(directory_bytes).ok()?];
        let end = file.size().ok()?.checked_sub(SUM_BYTES as u64)?;
        file.read_exact_at(&mut directory, end.checked_sub(u64::from(directory_bytes))?).ok()?;
        let plain = key.open(&Aad::new(DIRECTORY_LABEL).part(&header), &directory).ok()?;
        let blocks = usize::try_from(entries).ok()?.div_ceil(BLOCK_ENTRIES);
        let (firsts, missing) = plain.split_at_checked(blocks.checked_mul(4)?)?;
        let (firsts, []) = firsts.as_chunks::<4>() else { return None };
        let (missing, []) = missing.as_chunks::<16>() else { return None };
        Some(Self {
            subject,
            block_bytes,
            entries,
            firsts: firsts.iter().map(|first| Term::from_be_bytes(*first)).collect(),
            missing: missing.iter().map(|owner| (*owner != [0; 16]).then(|| TenantId::from_bytes(*owner))).collect(),
            header,
        })
    }

    /// How many of the segment's records are in it, from the first.
    pub(in crate::ledger) const fn records(&self) -> u32 {
        self.subject.records
    }

    /// Whose records could not be opened when it was made.
    pub(in crate::ledger) fn missing(&self) -> &[Option<TenantId>] {
        &self.missing
    }

    /// Where records are that have one of these terms. Reads no more than the blocks that they are in.
    ///
    /// # Errors
    /// If the file is not what it was.
    pub(in crate::ledger) fn places(
        &self,
        storage: &dyn Storage,
        key: &SealKey,
        terms: &[Term],
    ) -> io::Result<Vec<u32>> {
        let file = storage.open(&name(self.subject.segment))?;
        let mut places = Vec::new();
        let (mut sealed, mut plain) = (Vec::new(), Vec::new());
        for term in terms {
            // The block before the first that begins above the term may hold it too.
            let from = self.firsts.partition_point(|first| first < term).saturating_sub(1);
            let to = self.firsts.partition_point(|first| first <= term);
            for block in from..to {
                self.block(&*file, key, block, &mut sealed, &mut plain)?;
                let wanted = |entry: &u64| term_of(*entry) == *term;
                places.extend(entries_of(&plain).filter(wanted).map(place_of));
            }
        }
        Ok(places)
    }

    /// Everything in it.
    ///
    /// # Errors
    /// If the file is not what it was.
    pub(in crate::ledger) fn entries(&self, storage: &dyn Storage, key: &SealKey) -> io::Result<Vec<u64>> {
        let file = storage.open(&name(self.subject.segment))?;
        let mut entries = Vec::with_capacity(usize::try_from(self.entries).unwrap_or_default());
        let (mut sealed, mut plain) = (Vec::new(), Vec::new());
        for block in 0..self.firsts.len() {
            self.block(&*file, key, block, &mut sealed, &mut plain)?;
            entries.extend(entries_of(&plain));
        }
        Ok(entries)
    }

    /// Opens one block into `plain`.
    fn block(
        &self,
        file: &dyn LogFile,
        key: &SealKey,
        block: usize,
        sealed: &mut Vec<u8>,
        plain: &mut Vec<u8>,
    ) -> io::Result<()> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let (number, whole) = (u32::try_from(block).map_err(|_| bad())?, BLOCK_ENTRIES.saturating_mul(8));
        let overhead = usize::try_from(self.block_bytes).map_err(|_| bad())?.checked_sub(whole).ok_or_else(bad)?;
        let before = block.saturating_mul(BLOCK_ENTRIES);
        let entries = usize::try_from(self.entries).map_err(|_| bad())?;
        let length = entries.saturating_sub(before).min(BLOCK_ENTRIES).saturating_mul(8).saturating_add(overhead);
        sealed.resize(length, 0);
        let offset = u64::from(self.block_bytes).saturating_mul(u64::from(number)).saturating_add(HEADER_BYTES as u64);
        file.read_exact_at(sealed, offset)?;
        let aad = Aad::new(BLOCK_LABEL).part(&self.header).part(&number.to_be_bytes());
        key.open_into(&aad, sealed, plain).map_err(|_| bad())
    }
}

fn entries_of(plain: &[u8]) -> impl Iterator<Item = u64> + '_ {
    plain.as_chunks::<8>().0.iter().map(|entry| u64::from_be_bytes(*entry))
}

/// Sorted, each once, ready for [`encode`].
pub(in crate::ledger) fn sorted(mut entries: Vec<u64>) -> Vec<u64> {
    entries.sort_unstable();
    entries.dedup();
    entries
}

/// The entries of one record.
pub(in crate::ledger) fn entries_at(terms: &[Term], place: u32) -> impl Iterator<Item = u64> + '_ {
    terms.iter().map(move |term| entry(*term, place))
}

/// Shared, so that whoever looks something up needs no lock.
pub(in crate::ledger) type Filed = Arc<TermFile>;
