//! The byte form of a run of records.

use countersign_crypto::Tag;
use countersign_model::{FieldId, RecordId, TypeId, UnixMs};
use countersign_store::carry::{CarriedRow, PastRow};
use countersign_store::{Done, Once};

use crate::bytes::{Take, put_part};

const VERSION: u8 = 1;
const ROWS: u8 = 1;
const PAST: u8 = 2;
const KNOWN: u8 = 3;

/// A run of records of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// Records of a type, as they are, in the order of their ids.
    Rows(TypeId, Vec<CarriedRow>),
    /// What records of a type were before, in the order of their ids and versions.
    Past(TypeId, Vec<PastRow>),
    /// What is known of changes that are made once, in the order of their times and ids.
    Known(Vec<Once>),
}

/// What a chunk begins with.
pub(super) fn begin(kind: Kind) -> Vec<u8> {
    let mut out = vec![VERSION];
    match kind {
        Kind::Rows(of) => out.extend_from_slice(&[&[ROWS], of.0.to_be_bytes().as_slice()].concat()),
        Kind::Past(of) => out.extend_from_slice(&[&[PAST], of.0.to_be_bytes().as_slice()].concat()),
        Kind::Known => out.extend_from_slice(&[KNOWN, 0, 0]),
    }
    out
}

/// Of what a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rows(TypeId),
    Past(TypeId),
    Known,
}

pub(super) fn put_row(out: &mut Vec<u8>, row: &CarriedRow) {
    out.extend_from_slice(row.record.as_bytes());
    out.extend_from_slice(&row.version.to_be_bytes());
    out.extend_from_slice(&row.at.0.to_be_bytes());
    let count = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    out.extend_from_slice(&count(row.cells.len()));
    for (field, cell) in &row.cells {
        out.push(field.0);
        put_part(out, cell);
    }
    out.extend_from_slice(&count(row.tags.len()));
    for (field, tag) in &row.tags {
        out.push(field.0);
        out.extend_from_slice(&tag.0);
    }
}

pub(super) fn put_past(out: &mut Vec<u8>, past: &PastRow) {
    put_row(out, &past.row);
    out.extend_from_slice(&past.until.0.to_be_bytes());
}

pub(super) fn put_known(out: &mut Vec<u8>, once: &Once) {
    out.extend_from_slice(&once.id);
    out.extend_from_slice(&once.at.0.to_be_bytes());
    out.extend_from_slice(&once.done.request);
    put_part(out, &once.done.answer);
}

fn row(take: &mut Take<'_>) -> Option<CarriedRow> {
    let record = RecordId::from_bytes(take.array()?);
    let version = take.u64()?;
    let at = UnixMs(take.u64()?);
    let mut cells: Vec<(FieldId, Vec<u8>)> = Vec::new();
    for _ in 0..take.u16()? {
        let field = FieldId(take.u8()?);
        if cells.last().is_some_and(|(last, _)| *last >= field) {
            return None;
        }
        cells.push((field, take.part()?.to_vec()));
    }
    let mut tags: Vec<(FieldId, Tag)> = Vec::new();
    for _ in 0..take.u16()? {
        let field = FieldId(take.u8()?);
        if tags.last().is_some_and(|(last, _)| *last >= field) {
            return None;
        }
        tags.push((field, Tag(take.array()?)));
    }
    Some(CarriedRow { record, version, at, cells, tags })
}

fn all<T>(
    take: &mut Take<'_>,
    read: impl Fn(&mut Take<'_>) -> Option<T>,
    before: impl Fn(&T, &T) -> bool,
) -> Option<Vec<T>> {
    let mut found: Vec<T> = Vec::new();
    while !take.is_empty() {
        let next = read(take)?;
        if found.last().is_some_and(|last| !before(last, &next)) {
            return None;
        }
        found.push(next);
    }
    Some(found)
}

impl Page {
    /// Reads a chunk. `None` if it is not exactly one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        if take.u8()? != VERSION {
            return None;
        }
        let (kind, of) = (take.u8()?, TypeId(take.u16()?));
        let take = &mut take;
        match kind {
            ROWS => Some(Self::Rows(of, all(take, row, |one, next| one.record < next.record)?)),
            PAST => {
                let past = |take: &mut Take<'_>| Some(PastRow { row: row(take)?, until: UnixMs(take.u64()?) });
                let key = |past: &PastRow| (past.row.record, past.row.version);
                Some(Self::Past(of, all(take, past, |one, next| key(one) < key(next))?))
            }
            KNOWN if of == TypeId(0) => {
                let once = |take: &mut Take<'_>| {
                    let (id, at) = (take.array()?, UnixMs(take.u64()?));
                    let done = Done { request: take.array()?, answer: take.part()?.to_vec() };
                    Some(Once { id, at, done })
                };
                Some(Self::Known(all(take, once, |one, next| (one.at, one.id) < (next.at, next.id))?))
            }
            _ => None,
        }
    }

    pub(super) fn encode_for_tests(&self) -> Vec<u8> {
        match self {
            Self::Rows(of, rows) => {
                let mut out = begin(Kind::Rows(*of));
                rows.iter().for_each(|row| put_row(&mut out, row));
                out
            }
            Self::Past(of, rows) => {
                let mut out = begin(Kind::Past(*of));
                rows.iter().for_each(|past| put_past(&mut out, past));
                out
            }
            Self::Known(known) => {
                let mut out = begin(Kind::Known);
                known.iter().for_each(|once| put_known(&mut out, once));
                out
            }
        }
    }
}

/// Reads a chunk of a tenant's section, and writes it again: for fuzzing. `None` if it is none.
#[must_use]
pub fn parse_page_for_tests(bytes: &[u8]) -> Option<(Page, Vec<u8>)> {
    let page = Page::decode(bytes)?;
    let encoded = page.encode_for_tests();
    Some((page, encoded))
}
