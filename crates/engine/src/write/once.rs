//! Changes that are made at most once, however often they are asked for.
//!
//! What is kept of one is how many records it changed and made and, if they are to be given back, which: nothing that is
//! in them. Who asks again is judged again, gets those numbers, and the records as they may read them now.

use std::collections::HashSet;
use std::sync::Arc;

use countersign_model::facts::Principal;
use countersign_model::query::Column;
use countersign_model::{Plan, RecordId, TenantId, TypeId, UnixMs, UserId};
use countersign_store as store;
use parking_lot::Mutex;

use crate::answer::Failure;
use crate::trace::Trace;
use crate::{Done, Work};

/// By what a principal knows a change, for a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    /// Digest of the idempotency key. Two principals with one key don't meet.
    pub key: [u8; 32],
    /// Digest of the request. Another one under the same key is refused.
    pub request: [u8; 32],
}

type Place = (TenantId, UserId, Option<UserId>, [u8; 32]);

/// Keys of changes that are being made by this gateway.
#[derive(Clone, Default)]
pub(crate) struct UnderWay(Arc<Mutex<HashSet<Place>>>);

/// One of them, until this is dropped.
pub(crate) struct Begun {
    under_way: UnderWay,
    place: Place,
}

impl UnderWay {
    /// `None` if it is under way already.
    pub(crate) fn begin(&self, principal: &Principal, once: &Once) -> Option<Begun> {
        let actor = principal.actor.as_ref().map(|actor| actor.user);
        let place = (principal.tenant, principal.user, actor, once.key);
        self.0.lock().insert(place).then(|| Begun { under_way: self.clone(), place })
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.under_way.0.lock().remove(&self.place);
    }
}

/// What came of a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) affected: u64,
    pub(super) created: Option<u64>,
    /// Those to give back.
    pub(super) records: Vec<RecordId>,
}

const VERSION: u8 = 1;

impl Outcome {
    /// Records whose ids count up are one entry.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::from(self.created.is_some())];
        out.extend(self.affected.to_be_bytes());
        out.extend(self.created.unwrap_or_default().to_be_bytes());
        let mut rest = self.records.as_slice();
        while let Some(first) = rest.first() {
            let follow = |(record, next): &(&RecordId, u128)| record.as_u128() == *next;
            let count = rest.iter().zip(first.as_u128()..).take_while(follow).count();
            out.extend(first.as_bytes());
            out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
            rest = rest.get(count..).unwrap_or_default();
        }
        out
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[VERSION, made], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (affected, rest) = rest.split_first_chunk::<8>()?;
        let (created, mut rest) = rest.split_first_chunk::<8>()?;
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (first, after) = rest.split_first_chunk::<16>()?;
            let (count, after) = after.split_first_chunk::<4>()?;
            let first = u128::from_be_bytes(*first);
            let end = first.checked_add(u32::from_be_bytes(*count).into())?;
            records.extend((first..end).map(RecordId::from_u128));
            rest = after;
        }
        let created = (made == 1).then_some(u64::from_be_bytes(*created));
        Some(Self { affected: u64::from_be_bytes(*affected), created, records })
    }
}

impl Work<'_> {
    /// What goes into the batch of a change that is to be made once.
    pub(super) fn once(
        &self,
        affected: usize,
        created: Option<u64>,
        returning: Option<&Vec<Column>>,
        records: &[RecordId],
    ) -> Option<store::Once> {
        let once = self.once?;
        let records = if returning.is_some() { records.to_vec() } else { Vec::new() };
        let answer = Outcome { affected: affected as u64, created, records }.to_bytes();
        // When it is made is the store's to say.
        Some(store::Once { id: once.key, at: UnixMs(0), done: store::Done { request: once.request, answer } })
    }

    /// The answer to an earlier request for the same change, if there was one.
    pub(crate) async fn earlier(
        &self,
        record_type: TypeId,
        returning: Option<&Vec<Column>>,
        read: &Plan,
        trace: &mut Trace,
    ) -> Result<Option<Done>, Failure> {
        let Some(once) = self.once else { return Ok(None) };
        let Some(done) = self.engine.records.done(&self.call, once.key).await? else { return Ok(None) };
        if done.request != once.request {
            return Err(Failure::KeyReused);
        }
        let outcome = Outcome::of_bytes(&done.answer).ok_or(Failure::Damaged)?;
        trace.forget_records();
        let (columns, rows) = match returning {
            None => Default::default(),
            Some(columns) => {
                let rows = self.give_back(record_type, columns, read, outcome.records, trace).await?;
                (columns.clone(), rows)
            }
        };
        let (affected, created) = (Some(outcome.affected), outcome.created);
        Ok(Some(Done { columns, rows, affected, created, replayed: true }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_back_as_they_were() {
        let ids = |numbers: &[u128]| numbers.iter().map(|number| RecordId::from_u128(*number)).collect::<Vec<_>>();
        for records in [ids(&[]), ids(&[7]), ids(&[7, 8, 9]), ids(&[9, 8, 7, 8, u128::MAX - 1])] {
            for created in [None, Some(0), Some(3)] {
                let outcome = Outcome { affected: 5, created, records: records.clone() };
                assert_eq!(Outcome::of_bytes(&outcome.to_bytes()), Some(outcome));
            }
        }
        let many: Vec<RecordId> = (0..10_000).map(|number| RecordId::from_u128(1 << 70 | number)).collect();
        assert_eq!(Outcome { affected: 1, created: None, records: many }.to_bytes().len(), 38);
        for wrong in [&b""[..], &[1, 0], &[2; 18], &[1; 19]] {
            assert_eq!(Outcome::of_bytes(wrong), None);
        }
    }
}
