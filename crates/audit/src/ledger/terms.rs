//! What records are found by: numbers made of a request, a principal, a login, a token and a record that something was
//! done to.
//!
//! A term says where to look, never what is there: two things may share one. So whatever is found by a term is opened
//! and looked at before it is given out.

pub(super) mod file;
pub(super) mod keeper;

use countersign_model::{RecordId, RequestId, SessionId, TokenId, TypeId, UserId};

use crate::record::{Access, Body, Record};
use crate::tally::Signal;

/// One of these in a record makes the record be found.
pub(crate) type Term = u32;

/// An access to more records than this has one term for all records of its type.
const WIDE: u64 = 4096;

const USER: u64 = 1;
const SESSION: u64 = 2;
const TOKEN: u64 = 3;
const REQUEST: u64 = 4;
const RECORD: u64 = 5;
const TYPE: u64 = 6;
const NAME: u64 = 7;

/// Mixes all bits into the upper half (the finalizer of `SplitMix64`).
const fn term(kind: u64, bits: u64) -> Term {
    let mut mixed = bits ^ kind.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 32) as u32
}

const fn of_id(kind: u64, id: u128) -> Term {
    term(kind, (id ^ (id >> 64)) as u64)
}

pub(super) const fn request(id: RequestId) -> Term {
    of_id(REQUEST, id.as_u128())
}

pub(super) const fn user(id: UserId) -> Term {
    of_id(USER, id.as_u128())
}

pub(super) const fn session(id: SessionId) -> Term {
    of_id(SESSION, id.as_u128())
}

pub(super) const fn token(id: TokenId) -> Term {
    of_id(TOKEN, id.as_u128())
}

/// The record by itself, and among all of its type.
pub(super) const fn record(record_type: TypeId, id: RecordId) -> [Term; 2] {
    [of_id(RECORD, id.as_u128()), of_type(record_type)]
}

const fn of_type(record_type: TypeId) -> Term {
    term(TYPE, record_type.0 as u64)
}

/// FNV-1a, then mixed.
pub(super) fn name(name: &str) -> Term {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    term(NAME, name.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// What a record is found by.
pub(crate) fn of(record: &Record) -> Vec<Term> {
    let mut terms = vec![request(record.request)];
    of_body(&record.body, &mut terms);
    terms
}

/// What a record is found by whose content is opened, besides its request.
pub(super) fn of_body(body: &Body, terms: &mut Vec<Term>) {
    terms.extend([body.user, body.on_behalf_of].into_iter().flatten().map(user));
    terms.extend(body.session.map(session));
    terms.extend(body.token.map(token));
    terms.extend(body.user_name.as_deref().map(name));
    for Access { record_type, records, .. } in &body.accesses {
        if records.len() > WIDE {
            terms.push(of_type(*record_type));
        } else {
            terms.extend(records.iter().map(|id| of_id(RECORD, id.as_u128())));
        }
    }
}

/// What a record is found by whose content can't be opened, besides its request.
pub(super) fn of_signal(signal: &Signal, terms: &mut Vec<Term>) {
    terms.extend([signal.user, signal.on_behalf_of].into_iter().flatten().map(user));
    terms.extend(signal.session.map(session));
    terms.extend(signal.token.map(token));
}

/// A term and the place of a record in its segment. Ordered by term.
pub(super) const fn entry(term: Term, place: u32) -> u64 {
    ((term as u64) << 32) | place as u64
}

pub(super) const fn term_of(entry: u64) -> Term {
    (entry >> 32) as u32
}

pub(super) const fn place_of(entry: u64) -> u32 {
    entry as u32
}

/// Places at which every one of several conditions may hold; a condition holds where one of its terms is.
pub(super) fn common(conditions: Vec<Vec<u32>>) -> Vec<u32> {
    let mut conditions = conditions.into_iter();
    let mut left = conditions.next().unwrap_or_default();
    for mut other in conditions {
        other.sort_unstable();
        left.retain(|place| other.binary_search(place).is_ok());
    }
    left.sort_unstable();
    left.dedup();
    left
}

#[cfg(test)]
mod tests;
