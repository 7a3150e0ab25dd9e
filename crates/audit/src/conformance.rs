//! The suite that every [`AuditSink`] must pass. For tests.

use std::future::Future;
use std::sync::Arc;

use countersign_model::request::Door;
use countersign_model::{
    FieldId, FieldSet, RecordId, RequestId, SessionId, Tally, TenantId, TokenId, TypeId, UnixMs, UserId,
};

use crate::error::AuditError;
use crate::ledger::{Ledger, LedgerQuery, Position};
use crate::record::{Access, Body, Reason, Record, Service, Verdict};
use crate::sink::AuditSink;

const NOW: UnixMs = UnixMs(1_780_000_000_000);

/// A sink whose records can be read back.
pub trait ReadBack: AuditSink {
    /// As [`Ledger::query`].
    ///
    /// # Errors
    /// As [`Ledger::query`].
    fn query(&self, tenant: Option<TenantId>, query: &LedgerQuery) -> Result<Vec<(Position, Record)>, AuditError>;
}

impl ReadBack for Ledger {
    fn query(&self, tenant: Option<TenantId>, query: &LedgerQuery) -> Result<Vec<(Position, Record)>, AuditError> {
        Self::query(self, tenant, query)
    }
}

/// The tenant called `number` in these tests.
#[must_use]
pub const fn tenant(number: u128) -> TenantId {
    TenantId::from_u128(number)
}

/// A record with something in every field, about one record of type 7. Always the same for the same number.
#[must_use]
pub fn sample(service: Service, tenant: Option<TenantId>, number: u64) -> Record {
    let id = u128::from(number);
    let access = Access {
        record_type: TypeId(7),
        fields: [FieldId(0), FieldId(3), FieldId(127)].into_iter().collect(),
        filter_fields: [FieldId(3)].into_iter().collect(),
        records: [RecordId::from_u128(id)].into_iter().collect(),
        rows: 1,
    };
    let body = Body {
        accesses: vec![access],
        user: Some(UserId::from_u128(id ^ 1)),
        user_name: Some("nancy".into()),
        on_behalf_of: Some(UserId::from_u128(id ^ 2)),
        session: Some(SessionId::from_u128(id ^ 3)),
        token: Some(TokenId::from_u128(id ^ 4)),
        action: "read".into(),
        reason: Some(Reason::NotPermitted),
        purpose: Some("quarterly statement".into()),
        epoch: number,
        affected: Some(number),
        credential: None,
        detail: Some("nothing secret".into()),
    };
    let request = RequestId::from_u128(id.wrapping_add(1 << 64));
    let time = NOW.plus_ms(number);
    let mut tally = Tally::new(TokenId::from_u128(id ^ 4), number);
    tally.open(TypeId(7), FieldSet::first(3), number.wrapping_add(1));
    let (door, verdict, tally) = (Some(Door::Http), Verdict::Released, Some(tally));
    Record { time, request, service, door, verdict, tenant, tally, body }
}

/// Runs every test. `make` gives a fresh, empty sink of `service` whose keys differ from tenant to tenant.
///
/// # Panics
/// If the sink breaks a rule.
#[expect(clippy::unwrap_used, reason = "a broken rule is a failed test")]
pub async fn run<S, M, F>(service: Service, make: M)
where
    S: ReadBack + 'static,
    M: Fn() -> F,
    F: Future<Output = S>,
{
    every_field_comes_back(service, &make().await).await.unwrap();
    tenants_are_apart(service, &make().await).await.unwrap();
    filters_and_limits(service, &make().await).await.unwrap();
    long_lists_are_found(service, &make().await).await.unwrap();
    many_at_once(service, Arc::new(make().await)).await.unwrap();
    notes_keep_their_place(service, &make().await).await.unwrap();
}

/// Every field of a record comes back, and the least possible record too.
async fn every_field_comes_back<S: ReadBack>(service: Service, sink: &S) -> Result<(), AuditError> {
    let mut written = Vec::new();
    for (number, verdict) in (0u64..).zip(Verdict::ALL) {
        let record = Record { verdict, ..sample(service, Some(tenant(1)), number) };
        written.push((sink.append(record.clone()).await?, record));
    }
    for (number, reason) in (0u64..).zip(Reason::ALL) {
        let mut record = sample(service, Some(tenant(1)), number);
        record.body.reason = Some(*reason);
        written.push((sink.append(record.clone()).await?, record));
    }
    for (door, tally) in
        [(None, None), (Some(Door::Sql), Some(Tally::new(TokenId::from_u128(1), 0))), (Some(Door::Mcp), None)]
    {
        let record = Record { door, tally, body: Body::default(), ..sample(service, Some(tenant(1)), 9) };
        written.push((sink.append(record.clone()).await?, record));
    }
    assert_eq!(sink.query(Some(tenant(1)), &LedgerQuery::default())?, written);
    assert!(written.is_sorted_by_key(|(position, _)| *position), "positions ascend");
    Ok(())
}

/// A tenant, and the deployment, get their own records and nobody else's.
async fn tenants_are_apart<S: ReadBack>(service: Service, sink: &S) -> Result<(), AuditError> {
    let owners = [Some(tenant(1)), None, Some(tenant(2))];
    for number in 0..30u64 {
        let owner = owners.iter().copied().cycle().nth(number as usize).flatten();
        sink.append(sample(service, owner, number)).await?;
    }
    for owner in owners {
        let found = sink.query(owner, &LedgerQuery::default())?;
        assert_eq!(found.len(), 10);
        assert!(found.iter().all(|(_, record)| record.tenant == owner));
    }
    assert_eq!(sink.query(Some(tenant(3)), &LedgerQuery::default())?, []);
    let about_another = LedgerQuery { record: Some((TypeId(7), RecordId::from_u128(2))), ..LedgerQuery::default() };
    assert_eq!(sink.query(Some(tenant(1)), &about_another)?, [], "record 2 is tenant 2's");
    assert_eq!(sink.query(Some(tenant(2)), &about_another)?.len(), 1);
    Ok(())
}

/// Each condition of a query alone, all together, and both ways a limit works.
async fn filters_and_limits<S: ReadBack>(service: Service, sink: &S) -> Result<(), AuditError> {
    let owner = Some(tenant(1));
    let mut positions = Vec::new();
    for number in 0..20 {
        positions.push(sink.append(sample(service, owner, number)).await?);
    }
    const NONE: [u64; 0] = [];
    let numbers = |query: LedgerQuery| {
        let found = sink.query(owner, &query)?;
        Ok::<_, AuditError>(found.into_iter().map(|(_, record)| record.body.epoch).collect::<Vec<_>>())
    };
    let all = LedgerQuery::default();
    let third = sample(service, owner, 3);
    let after = positions.get(9).copied();
    let about = |number| Some((TypeId(7), RecordId::from_u128(number)));
    assert_eq!(numbers(LedgerQuery { record: about(4), ..all.clone() })?, [4]);
    assert_eq!(numbers(LedgerQuery { record: Some((TypeId(8), RecordId::from_u128(4))), ..all.clone() })?, NONE);
    assert_eq!(numbers(LedgerQuery { request: Some(third.request), ..all.clone() })?, [3]);
    assert_eq!(numbers(LedgerQuery { since: Some(NOW.plus_ms(17)), ..all.clone() })?, [17, 18, 19]);
    assert_eq!(numbers(LedgerQuery { limit: 3, ..all.clone() })?, [17, 18, 19], "the newest, newest last");
    assert_eq!(numbers(LedgerQuery { after, limit: 3, ..all.clone() })?, [10, 11, 12], "the oldest after");
    assert_eq!(numbers(LedgerQuery { oldest_first: true, limit: 3, ..all.clone() })?, [0, 1, 2], "the oldest");
    assert_eq!(numbers(LedgerQuery { limit: 0, ..all.clone() })?, NONE);
    let since = Some(third.time);
    assert_eq!(numbers(LedgerQuery { record: about(3), request: Some(third.request), since, ..all.clone() })?, [3]);
    assert_eq!(numbers(LedgerQuery { record: about(4), request: Some(third.request), ..all })?, NONE);
    Ok(())
}

/// A record about more records than fit one leaf is recorded whole, found by any of them, and counted once.
async fn long_lists_are_found<S: ReadBack>(service: Service, sink: &S) -> Result<(), AuditError> {
    let owner = Some(tenant(1));
    let mut long = sample(service, owner, 1);
    // Gaps too wide to be cheap.
    let ids: Vec<RecordId> = (1..20_000u128).map(|number| RecordId::from_u128(number << 90)).collect();
    for access in &mut long.body.accesses {
        (access.records, access.rows) = (ids.iter().copied().collect(), 20_000);
    }
    let short = long.body.accesses.first().map(|access| Access { record_type: TypeId(8), ..access.clone() });
    long.body.accesses.extend(short);
    let last = sink.append(long.clone()).await?;
    let all = sink.query(owner, &LedgerQuery { limit: usize::MAX, ..LedgerQuery::default() })?;
    assert_eq!(all.last().map(|(position, _)| *position), Some(last));
    let accesses = || all.iter().flat_map(|(_, record)| &record.body.accesses);
    for (record_type, number) in [(7, 1u128), (7, 10_000), (8, 19_999)] {
        let record = Some((TypeId(record_type), RecordId::from_u128(number << 90)));
        assert_eq!(sink.query(owner, &LedgerQuery { record, ..LedgerQuery::default() })?.len(), 1);
        let of_type = accesses().filter(|access| access.record_type == TypeId(record_type));
        assert_eq!(of_type.clone().map(|access| access.rows).sum::<u64>(), 20_000);
        assert!(of_type.flat_map(|access| access.records.iter()).eq(ids.iter().copied()), "every id once, in order");
    }
    assert!(all.iter().all(|(_, record)| record.request == long.request && record.body.user == long.body.user));
    let affected = all.iter().filter_map(|(_, record)| record.body.affected);
    assert_eq!(affected.sum::<u64>(), 1);
    let tallies: Vec<_> = all.iter().filter_map(|(_, record)| record.tally.clone()).collect();
    assert_eq!(tallies, Vec::from_iter(long.tally), "once");
    Ok(())
}

/// Noted records come before what is appended after them, and are durable no later.
async fn notes_keep_their_place<S: ReadBack>(service: Service, sink: &S) -> Result<(), AuditError> {
    let mut written = Vec::new();
    for number in 0..40 {
        let record = sample(service, Some(tenant(1)), number);
        if number % 4 == 3 {
            let position = sink.append(record.clone()).await?;
            assert_eq!(position, Position(number));
        } else {
            sink.note(record.clone()).await?;
        }
        written.push((Position(number), record));
    }
    assert_eq!(sink.query(Some(tenant(1)), &LedgerQuery::default())?, written);
    Ok(())
}

/// Concurrent appends each get a position of their own, without gaps, and a query sees what was acknowledged.
async fn many_at_once<S: ReadBack + 'static>(service: Service, sink: Arc<S>) -> Result<(), AuditError> {
    let tasks: Vec<_> = (0..64u64)
        .map(|task| {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move {
                let mut positions = Vec::new();
                for number in 0..20 {
                    let record = sample(service, Some(tenant(1)), task.saturating_mul(20).saturating_add(number));
                    let position = sink.append(record.clone()).await?;
                    let about = LedgerQuery { request: Some(record.request), ..LedgerQuery::default() };
                    assert_eq!(sink.query(record.tenant, &about)?, [(position, record)], "readable at once");
                    positions.push(position);
                }
                Ok::<_, AuditError>(positions)
            })
        })
        .collect();
    let mut positions = Vec::new();
    for task in tasks {
        positions.extend(task.await.map_err(|_| AuditError::Unavailable)??);
    }
    positions.sort_unstable();
    assert!(positions.into_iter().eq((0..64 * 20).map(Position)), "dense from 0");
    Ok(())
}
