//! Where each durable record lies, by tenant. In memory: 8 bytes for each record.

use std::collections::HashMap;

use countersign_model::{TenantId, UnixMs};

use super::Position;
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
    newest: UnixMs,
    records: Vec<Entry>,
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
        self.segments.push(Segment { number, first, newest: UnixMs(0), records: Vec::new() });
    }

    /// Adds a record to the last segment.
    pub(super) fn add(&mut self, offset: u32, header: &Header) {
        let fresh = u32::try_from(self.tenants.len()).unwrap_or(u32::MAX);
        let tenant = *self.tenants.entry(header.tenant).or_insert(fresh);
        if let Some(segment) = self.segments.last_mut() {
            segment.newest = segment.newest.max(header.time);
            segment.records.push(Entry { offset, tenant });
        }
    }

    /// The numbers of segments that may have a record of that time or later, ascending.
    pub(super) fn segments_since(&self, since: Option<UnixMs>) -> Vec<u32> {
        let recent = |segment: &&Segment| since.is_none_or(|since| segment.newest >= since);
        self.segments.iter().filter(recent).map(|segment| segment.number).collect()
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

    /// A segment's records after a position, whoever they belong to, ascending.
    pub(super) fn of_segment(&self, number: u32, after: Option<Position>) -> Vec<(Position, u32)> {
        let from = Position(after.map_or(0, |after| after.0.saturating_add(1)));
        let records = self.segment(number).into_iter().flat_map(Segment::positions);
        records.filter(|(position, _)| *position >= from).map(|(position, entry)| (position, entry.offset)).collect()
    }

    /// At most `limit` records from a position on, whoever they belong to, out of one segment.
    pub(super) fn starting_at(&self, from: Position, limit: usize) -> Option<Found> {
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
    fn positions(&self) -> impl Iterator<Item = (Position, &Entry)> {
        (self.first..).map(Position).zip(&self.records)
    }
}
