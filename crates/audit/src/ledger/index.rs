//! Where each durable record lies, by tenant and by term. In memory: 8 bytes for each record, and the terms of segments
//! that have no file of terms yet.

use std::collections::HashMap;
use std::ops::Range;

use countersign_model::{TenantId, UnixMs};

use super::Position;
use super::terms::file::{Filed, entries_at};
use super::terms::{Term, place_of, term_of};
use crate::codec::Header;

/// Everything durable. What is not in the index is not read.
#[derive(Default)]
pub(super) struct Index {
    segments: Vec<Segment>,
    tenants: HashMap<Option<TenantId>, u32>,
}

struct Segment {
    number: u32,
    first: u64,
    oldest: UnixMs,
    newest: UnixMs,
    records: Vec<Entry>,
    terms: Terms,
}

/// By what a segment's records are found.
pub(super) enum Terms {
    /// In memory.
    Held(Held),
    /// In a file. All records of the segment are in it.
    Filed(Filed),
}

/// The terms of a segment in memory.
#[derive(Default)]
pub(super) struct Held {
    /// In no order.
    pub(super) entries: Vec<u64>,
    /// Records whose terms are not known: they may have any.
    pub(super) gap: Range<u32>,
    /// Whose records have been read without their key, so that more may be in them.
    pub(super) missing: Vec<Option<TenantId>>,
}

/// What the index knows of a segment, for one question.
pub(super) enum Known {
    /// For each condition, where it may hold. In the gap each may; and of these owners nothing but requests is known.
    Held { places: Vec<Vec<u32>>, gap: Range<u32>, missing: Vec<Option<TenantId>> },
    /// Ask the file.
    Filed(Filed),
}

struct Entry {
    offset: u32,
    tenant: u32,
}

/// Records of one segment.
pub(super) struct Found {
    pub(super) segment: u32,
    /// Positions, and where in the file, ascending.
    pub(super) records: Vec<(Position, u32)>,
}

impl Index {
    /// Adds a segment after the last.
    pub(super) fn begin(&mut self, number: u32, first: u64) {
        let (oldest, newest) = (UnixMs(u64::MAX), UnixMs(0));
        let (records, terms) = (Vec::new(), Terms::Held(Held::default()));
        self.segments.push(Segment { number, first, oldest, newest, records, terms });
    }

    /// Adds a record to the last segment, and its terms if they are known.
    pub(super) fn add(&mut self, offset: u32, header: &Header, terms: Option<&[Term]>) {
        let fresh = u32::try_from(self.tenants.len()).unwrap_or(u32::MAX);
        let tenant = *self.tenants.entry(header.tenant).or_insert(fresh);
        if let Some(segment) = self.segments.last_mut() {
            segment.oldest = segment.oldest.min(header.time);
            segment.newest = segment.newest.max(header.time);
            let place = segment.len();
            if let Terms::Held(held) = &mut segment.terms {
                match terms {
                    Some(terms) => held.entries.extend(entries_at(terms, place)),
                    None => held.gap.end = place.saturating_add(1),
                }
            }
            segment.records.push(Entry { offset, tenant });
        }
    }

    /// The numbers of segments that may have a record from `since` on and before `until`, ascending.
    pub(super) fn segments(&self, since: Option<UnixMs>, until: Option<UnixMs>) -> Vec<u32> {
        let recent = |segment: &&Segment| {
            since.is_none_or(|since| segment.newest >= since) && until.is_none_or(|until| segment.oldest < until)
        };
        self.segments.iter().filter(recent).map(|segment| segment.number).collect()
    }

    /// What is known of where conditions hold in a segment; each is a list of terms.
    pub(super) fn known(&self, number: u32, conditions: &[Vec<Term>]) -> Option<Known> {
        Some(match &self.segment(number)?.terms {
            Terms::Filed(file) => Known::Filed(Filed::clone(file)),
            Terms::Held(held) => {
                let mut places = vec![Vec::new(); conditions.len()];
                for entry in &held.entries {
                    for (places, terms) in places.iter_mut().zip(conditions) {
                        if terms.contains(&term_of(*entry)) {
                            places.push(place_of(*entry));
                        }
                    }
                }
                Known::Held { places, gap: held.gap.clone(), missing: held.missing.clone() }
            }
        })
    }

    /// How many records a segment has.
    pub(super) fn records(&self, number: u32) -> u32 {
        self.segment(number).map_or(0, Segment::len)
    }

    /// The position of a segment's first record.
    pub(super) fn first(&self, number: u32) -> Option<u64> {
        self.segment(number).map(|segment| segment.first)
    }

    /// Where a segment's records are that lie at these places in it, after a position; of one owner if one is given.
    pub(super) fn at_places(
        &self,
        number: u32,
        owner: Option<Option<TenantId>>,
        after: Option<Position>,
        places: impl IntoIterator<Item = u32>,
    ) -> Vec<(Position, u32)> {
        let from = after.map_or(0, |after| after.0.saturating_add(1));
        let owner = match owner.map(|owner| self.tenants.get(&owner)) {
            Some(None) => return Vec::new(),
            Some(Some(tenant)) => Some(*tenant),
            None => None,
        };
        let Some(segment) = self.segment(number) else { return Vec::new() };
        let found = |place: u32| {
            let entry = segment.records.get(usize::try_from(place).ok()?)?;
            let position = segment.first.saturating_add(u64::from(place));
            let wanted = owner.is_none_or(|owner| entry.tenant == owner) && position >= from;
            wanted.then_some((Position(position), entry.offset))
        };
        places.into_iter().filter_map(found).collect()
    }

    /// The terms of a segment, to be completed.
    pub(super) fn terms_mut(&mut self, number: u32) -> Option<&mut Terms> {
        let at = self.segments.binary_search_by_key(&number, |segment| segment.number).ok()?;
        self.segments.get_mut(at).map(|segment| &mut segment.terms)
    }

    /// The terms of a segment.
    pub(super) fn terms(&self, number: u32) -> Option<&Terms> {
        self.segment(number).map(|segment| &segment.terms)
    }

    /// Forgets the terms of a segment: its records may have any.
    pub(super) fn forget_terms(&mut self, number: u32) {
        let records = self.records(number);
        if let Some(terms) = self.terms_mut(number) {
            *terms = Terms::Held(Held { gap: 0..records, ..Held::default() });
        }
    }

    /// The last segment, which more is written to.
    pub(super) fn open_segment(&self) -> Option<u32> {
        self.segments.last().map(|segment| segment.number)
    }

    /// A segment's records of one tenant, after a position.
    pub(super) fn of_tenant(&self, number: u32, tenant: Option<TenantId>, after: Option<Position>) -> Found {
        let from = after.map_or(0, |after| after.0.saturating_add(1));
        let records = match (self.segment(number), self.tenants.get(&tenant)) {
            (Some(segment), Some(tenant)) => {
                let own = segment.positions().filter(|(position, entry)| entry.tenant == *tenant && position.0 >= from);
                own.map(|(position, entry)| (position, entry.offset)).collect()
            }
            _ => Vec::new(),
        };
        Found { segment: number, records }
    }

    /// The position of the first record that is kept.
    pub(super) fn first_of_all(&self) -> u64 {
        self.segments.first().map_or(0, |segment| segment.first)
    }

    /// The oldest segments that have no record of that time or later and lie before a position, without the last one; and
    /// the position after them.
    pub(super) fn over(&self, time: UnixMs, before: u64) -> (Vec<u32>, u64) {
        let (mut numbers, mut end) = (Vec::new(), self.first_of_all());
        for pair in self.segments.windows(2) {
            let [segment, next] = pair else { break };
            if segment.newest >= time || next.first > before {
                break;
            }
            numbers.push(segment.number);
            end = next.first;
        }
        (numbers, end)
    }

    /// The time of the oldest record of the segment that is written to.
    pub(super) fn open_since(&self) -> Option<UnixMs> {
        self.segments.last().filter(|segment| !segment.records.is_empty()).map(|segment| segment.oldest)
    }

    /// Forgets the segments before a position.
    pub(super) fn forget_before(&mut self, position: u64) {
        let count = self.segments.partition_point(|segment| segment.first < position);
        self.segments.drain(..count);
    }

    /// At most `limit` records from a position on, whoever they belong to, out of one segment. Positions before the first
    /// that is kept are passed by.
    pub(super) fn starting_at(&self, from: Position, limit: usize) -> Option<Found> {
        let from = from.max(Position(self.first_of_all()));
        let at = self.segments.partition_point(|segment| segment.first <= from.0).checked_sub(1)?;
        let segment = self.segments.get(at)?;
        // Records lie dense, so the first one is found without passing those before it.
        let skip = usize::try_from(from.0.saturating_sub(segment.first)).unwrap_or(usize::MAX);
        let rest = segment.records.get(skip..).unwrap_or_default();
        let first = segment.first.saturating_add(skip as u64);
        // The records first: past the last there is no place to count from.
        let records = rest.iter().zip(first..).take(limit);
        let records = records.map(|(entry, position)| (Position(position), entry.offset)).collect();
        Some(Found { segment: segment.number, records })
    }

    fn segment(&self, number: u32) -> Option<&Segment> {
        let at = self.segments.binary_search_by_key(&number, |segment| segment.number).ok()?;
        self.segments.get(at)
    }
}

impl Segment {
    fn len(&self) -> u32 {
        u32::try_from(self.records.len()).unwrap_or(u32::MAX)
    }

    fn positions(&self) -> impl Iterator<Item = (Position, &Entry)> {
        (self.first..).map(Position).zip(&self.records)
    }
}
