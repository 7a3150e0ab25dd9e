//! Comparing two backends row by row, and making one like the other.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use countersign_model::{RecordId, TenantId, TypeId, UnixMs};

use super::{CarriedRow, Carry, Noted, PastRow};
use crate::error::StoreError;

/// About as many bytes are read or stored at a time.
const PAGE_BYTES: usize = 2 << 20;
/// Rows of a page: the first is small, as nobody knows yet how large its rows are.
const FIRST_PAGE: usize = 128;
const PAGE_MAX: usize = 4096;
/// States of records that are compared at a time.
const PAST_PAGE: usize = 512;
/// Answers that are kept of batches are small.
const KNOWN_PAGE: usize = 500;

/// What was found and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Brought {
    /// Records that there are at the source, each compared in all that is stored of it.
    pub rows: u64,
    /// Records that were missing or different, and were stored.
    pub put: u64,
    /// Records that are no longer at the source, and were removed.
    pub removed: u64,
}

impl Brought {
    /// Adds what another came to.
    pub fn add(&mut self, other: Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.put = self.put.saturating_add(other.put);
        self.removed = self.removed.saturating_add(other.removed);
    }

    /// Whether both sides were the same, so that nothing had to be done.
    #[must_use]
    pub const fn is_same(&self) -> bool {
        self.put == 0 && self.removed == 0
    }
}

/// How far [`bring`] has come.
#[derive(Debug)]
pub struct Step<'a> {
    /// Records of the source that were compared so far.
    pub rows: u64,
    /// Records that are stored next.
    pub put: &'a [CarriedRow],
    /// Records that are removed next.
    pub gone: &'a [RecordId],
}

/// Compares all records of a type of a tenant and carries what is different. `each` hears of every step before it is
/// taken. What was stored by this was not compared again: that is for whoever hears of it, or for a second time that
/// finds both the same.
///
/// # Errors
/// What either storage may meet. It can be begun again; what was carried stays.
pub async fn bring(
    from: &dyn Carry,
    to: &dyn Carry,
    (tenant, record_type): (TenantId, TypeId),
    mut each: impl FnMut(Step<'_>) + Send,
) -> Result<Brought, StoreError> {
    let (mut source, mut target) = (Walk::new(from), Walk::new(to));
    let mut brought = Brought::default();
    let mut pending = Pending::default();
    loop {
        tokio::try_join!(source.fill(tenant, record_type), target.fill(tenant, record_type))?;
        let order = match (source.peek(), target.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.record.cmp(&other.record),
        };
        let wanted = if order.is_le() { source.next() } else { None };
        let found = if order.is_ge() { target.next() } else { None };
        brought.rows = brought.rows.saturating_add(u64::from(wanted.is_some()));
        match (wanted, found) {
            (Some(row), Some(other)) if row == other => {}
            (Some(row), _) => pending.put(row),
            (None, Some(extra)) => pending.gone.push(extra.record),
            (None, None) => {}
        }
        if pending.bytes >= PAGE_BYTES || pending.gone.len() >= PAGE_MAX || pending.rows.len() >= PAGE_MAX {
            each(pending.step(brought.rows));
            brought.add(pending.store(to, tenant, record_type).await?);
        } else if source.buffered == 0 {
            each(Step { rows: brought.rows, put: &[], gone: &[] });
        }
    }
    each(pending.step(brought.rows));
    brought.add(pending.store(to, tenant, record_type).await?);
    Ok(brought)
}

/// Compares all that records of a type of a tenant were before, and carries what is different. States are kept for a while
/// and then removed, on each side when it comes to it; so a state may come that is on its way out.
///
/// # Errors
/// As [`bring`].
pub async fn bring_past(
    from: &dyn Carry,
    to: &dyn Carry,
    (tenant, record_type): (TenantId, TypeId),
) -> Result<Brought, StoreError> {
    let (mut brought, mut after) = (Brought::default(), None);
    let since = from.past_since(tenant).await?;
    if since > to.past_since(tenant).await? {
        to.put_past_since(tenant, since).await?;
    }
    loop {
        let wanted = from.past(tenant, record_type, after, PAST_PAGE).await?;
        // What is at the target up to the last of them, and after it if they are the last of all.
        let end = wanted.last().filter(|_| wanted.len() == PAST_PAGE).map(place);
        let mut found = Vec::new();
        let mut from_here = after;
        loop {
            let page = to.past(tenant, record_type, from_here, PAST_PAGE).await?;
            let over = page.len() < PAST_PAGE;
            from_here = page.last().map(place).or(from_here);
            found.extend(page.into_iter().filter(|past| end.is_none_or(|end| place(past) <= end)));
            if over || end.is_some_and(|end| from_here >= Some(end)) {
                break;
            }
        }
        brought.rows = brought.rows.saturating_add(count(wanted.len()));
        brought.add(put_past(to, (tenant, record_type), wanted, &found).await?);
        match end {
            Some(end) => after = Some(end),
            None => return Ok(brought),
        }
    }
}

/// Makes states at the target what they are at the source.
async fn put_past(
    to: &dyn Carry,
    (tenant, record_type): (TenantId, TypeId),
    mut wanted: Vec<PastRow>,
    found: &[PastRow],
) -> Result<Brought, StoreError> {
    let places: BTreeSet<(RecordId, u64)> = wanted.iter().map(place).collect();
    let known: HashMap<(RecordId, u64), &PastRow> = found.iter().map(|past| (place(past), past)).collect();
    let gone: Vec<_> = known.keys().copied().filter(|place| !places.contains(place)).collect();
    wanted.retain(|past| known.get(&place(past)) != Some(&past));
    let done = Brought { rows: 0, put: count(wanted.len()), removed: count(gone.len()) };
    if !done.is_same() {
        to.put_past(tenant, record_type, &gone, wanted).await?;
    }
    Ok(done)
}

const fn place(past: &PastRow) -> (RecordId, u64) {
    (past.row.record, past.row.version)
}

/// Carries the records that were noted, and reads each of them back. `put` and `removed` of what comes back say how many
/// were different; all are the same when it returns, unless they were changed meanwhile (then they are noted again), or
/// had to be left out, which `left` has.
///
/// # Errors
/// As [`bring`].
pub async fn bring_noted(
    from: &dyn Carry,
    to: &dyn Carry,
    noted: &Noted,
) -> Result<(Brought, BTreeSet<(TenantId, TypeId, RecordId)>), StoreError> {
    let mut brought = Brought::default();
    let mut left = BTreeSet::new();
    let mut places = noted.changed.iter().copied().peekable();
    while let Some((tenant, record_type, first)) = places.next() {
        let mut records = vec![first];
        while records.len() < FIRST_PAGE {
            let next = places.next_if(|(other, of, _)| (*other, *of) == (tenant, record_type));
            let Some((_, _, record)) = next else { break };
            records.push(record);
        }
        let (wanted, found) =
            tokio::try_join!(from.these(tenant, record_type, &records), to.these(tenant, record_type, &records))?;
        brought.rows = brought.rows.saturating_add(count(wanted.len()));
        let (was, known) =
            tokio::try_join!(from.past_of(tenant, record_type, &records), to.past_of(tenant, record_type, &records))?;
        put_past(to, (tenant, record_type), was, &known).await?;
        if wanted == found {
            continue;
        }
        let mut pending = Pending::default();
        let has = |rows: &[CarriedRow], record: RecordId| rows.iter().any(|row| row.record == record);
        pending.gone.extend(found.iter().map(|row| row.record).filter(|record| !has(&wanted, *record)));
        wanted.iter().filter(|row| !found.contains(row)).for_each(|row| pending.put(row.clone()));
        brought.add(pending.store(to, tenant, record_type).await?);
        let stored = to.these(tenant, record_type, &records).await?;
        let differs = |record: &RecordId| {
            let of = |rows: &[CarriedRow]| rows.iter().find(|row| row.record == *record).cloned();
            of(&wanted) != of(&stored)
        };
        left.extend(records.into_iter().filter(differs).map(|record| (tenant, record_type, record)));
    }
    Ok((brought, left))
}

/// Carries what is known of batches that are made at most once, from those of `since` on, and reads it back. Says how
/// many there are.
///
/// # Errors
/// As [`bring`]; [`StoreError::Damaged`] if something else is known of one of them already.
pub async fn bring_known(from: &dyn Carry, to: &dyn Carry, tenant: TenantId, since: UnixMs) -> Result<u64, StoreError> {
    let (mut after, mut brought) = (None, 0u64);
    loop {
        let page = from.known(tenant, since, after, KNOWN_PAGE).await?;
        let Some(last) = page.last() else { return Ok(brought) };
        let end = (last.at, last.id);
        to.put_known(tenant, page.clone()).await?;
        let mut there = HashMap::new();
        let mut place = after;
        // Others may be there that are forgotten at the source.
        loop {
            let found = to.known(tenant, since, place, KNOWN_PAGE).await?;
            place = found.last().map(|last| (last.at, last.id));
            there.extend(found.into_iter().map(|once| (once.id, once)));
            if place.is_none_or(|place| place >= end) {
                break;
            }
        }
        if !page.iter().all(|once| there.get(&once.id) == Some(once)) {
            return Err(StoreError::Damaged);
        }
        brought = brought.saturating_add(count(page.len()));
        after = Some(end);
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// One side's rows, a page at a time.
struct Walk<'a> {
    side: &'a dyn Carry,
    page: std::vec::IntoIter<CarriedRow>,
    buffered: usize,
    after: Option<RecordId>,
    limit: usize,
    ended: bool,
}

impl<'a> Walk<'a> {
    fn new(side: &'a dyn Carry) -> Self {
        Self { side, page: Vec::new().into_iter(), buffered: 0, after: None, limit: FIRST_PAGE, ended: false }
    }

    /// Sees to it that a row is at hand if there is one more.
    async fn fill(&mut self, tenant: TenantId, record_type: TypeId) -> Result<(), StoreError> {
        if self.ended || self.buffered > 0 {
            return Ok(());
        }
        let page = self.side.rows(tenant, record_type, self.after, self.limit).await?;
        self.ended = page.len() < self.limit;
        let bytes: usize = page.iter().map(bytes).fold(0, usize::saturating_add);
        let each = bytes.checked_div(page.len()).unwrap_or(1).max(1);
        self.limit = PAGE_BYTES.checked_div(each).unwrap_or(1).clamp(1, PAGE_MAX);
        self.after = page.last().map(|row| row.record).or(self.after);
        self.buffered = page.len();
        self.page = page.into_iter();
        Ok(())
    }

    fn peek(&self) -> Option<&CarriedRow> {
        self.page.as_slice().first()
    }

    fn next(&mut self) -> Option<CarriedRow> {
        self.buffered = self.buffered.saturating_sub(1);
        self.page.next()
    }
}

/// What is to be stored next.
#[derive(Default)]
struct Pending {
    gone: Vec<RecordId>,
    rows: Vec<CarriedRow>,
    bytes: usize,
}

impl Pending {
    fn put(&mut self, row: CarriedRow) {
        self.bytes = self.bytes.saturating_add(bytes(&row));
        self.rows.push(row);
    }

    fn step(&self, rows: u64) -> Step<'_> {
        Step { rows, put: &self.rows, gone: &self.gone }
    }

    async fn store(&mut self, to: &dyn Carry, tenant: TenantId, record_type: TypeId) -> Result<Brought, StoreError> {
        let Self { gone, rows, .. } = std::mem::take(self);
        let done = Brought { rows: 0, put: count(rows.len()), removed: count(gone.len()) };
        if !done.is_same() {
            to.put(tenant, record_type, &gone, rows).await?;
        }
        Ok(done)
    }
}

/// About as much as a row takes.
fn bytes(row: &CarriedRow) -> usize {
    const FIXED: usize = 64;
    let cells = row.cells.iter().map(|(_, cell)| cell.len().saturating_add(8));
    cells.fold(FIXED.saturating_add(row.tags.len().saturating_mul(24)), usize::saturating_add)
}
