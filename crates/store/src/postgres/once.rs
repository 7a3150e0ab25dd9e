//! What is known of batches that are made at most once.

use std::sync::Arc;

use countersign_model::{TenantId, UnixMs};
use countersign_postgres::{PgError, Pool, Row, Scope, Step, Transaction};

use super::failure::damaged;
use super::failure::fault;
use super::present::enter_beside;
use crate::batch::{Done, ONCE_MS, Once};
use crate::error::StoreError;

/// The statements that note a batch in its transaction. The last of them touches one row if it is the first of its id;
/// it waits for others of the same id that are under way.
pub(super) fn notes(tenant: TenantId, once: &Once) -> [Step<'_>; 2] {
    let Done { request, answer } = &once.done;
    // Some of what is not known any more, and no waiting for others who remove it: one that comes after very many is as
    // quick as any. Whatever has its own id has to go.
    let forget = "DELETE FROM once WHERE tenant = $1 AND at <= $3 AND id = ANY($2::bytea || ARRAY(SELECT id FROM once \
         WHERE tenant = $1 AND at <= $3 ORDER BY at LIMIT 100 FOR UPDATE SKIP LOCKED))";
    let note = "INSERT INTO once (tenant, id, at, request, answer) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    [
        Step {
            text: forget.into(),
            params: vec![Box::new(tenant.uuid()), Box::new(once.id.as_slice()), Box::new(since(once.at))],
        },
        Step {
            text: note.into(),
            params: vec![
                Box::new(tenant.uuid()),
                Box::new(once.id.as_slice()),
                Box::new(number(once.at.0)),
                Box::new(request.as_slice()),
                Box::new(answer.as_slice()),
            ],
        },
    ]
}

/// What is known of one.
pub(super) async fn done(
    pool: &Arc<Pool>,
    tenant: TenantId,
    id: &[u8; 32],
    now: UnixMs,
) -> Result<Option<Done>, StoreError> {
    let text: Arc<str> = "SELECT request, answer FROM once WHERE tenant = $1 AND id = $2 AND at > $3".into();
    let (own, id, since) = (tenant.uuid(), id.as_slice(), since(now));
    let asked = async || -> Result<_, PgError> {
        pool.begin(Scope::Tenant(tenant)).await?.read(&text, &[&own, &id, &since]).await
    };
    let rows = pool.patiently(asked).await.map_err(fault)?;
    let Some(row) = rows.first() else { return Ok(None) };
    let request: Vec<u8> = row.try_get(0).map_err(damaged)?;
    let request = request.try_into().map_err(|_| StoreError::Damaged)?;
    Ok(Some(Done { request, answer: row.try_get(1).map_err(damaged)? }))
}

/// What is known of all since then, in the order of their times and ids, from the one after `after`.
pub(super) async fn known(
    pool: &Arc<Pool>,
    tenant: TenantId,
    since: UnixMs,
    after: Option<(UnixMs, [u8; 32])>,
    limit: usize,
) -> Result<Vec<Once>, StoreError> {
    let text: Arc<str> = KNOWN.into();
    let (at, id) = after.map_or((-1, [0; 32]), |(at, id)| (number(at.0), id));
    let (own, since, id) = (tenant.uuid(), number(since.0), id.as_slice());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let asked = async || -> Result<_, PgError> {
        pool.begin(Scope::Tenant(tenant)).await?.read(&text, &[&own, &since, &at, &id, &limit]).await
    };
    all(&pool.patiently(asked).await.map_err(fault)?)
}

const KNOWN: &str = "SELECT id, at, request, answer FROM once \
     WHERE tenant = $1 AND at >= $2 AND (at > $3 OR (at = $3 AND id > $4)) ORDER BY at, id LIMIT $5";

/// The same in a transaction that goes on.
pub(super) async fn known_in(
    transaction: &mut Transaction,
    tenant: TenantId,
    since: UnixMs,
    after: Option<(UnixMs, [u8; 32])>,
    limit: usize,
) -> Result<Vec<Once>, StoreError> {
    let (at, id) = after.map_or((-1, [0; 32]), |(at, id)| (number(at.0), id));
    let (own, since, id) = (tenant.uuid(), number(since.0), id.as_slice());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    all(&transaction.query(&KNOWN.into(), &[&own, &since, &at, &id, &limit]).await.map_err(fault)?)
}

fn all(rows: &[Row]) -> Result<Vec<Once>, StoreError> {
    let thirty_two = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).map_err(damaged);
    let mut known = Vec::with_capacity(rows.len());
    for row in rows {
        let request = thirty_two(row.try_get(2).map_err(damaged)?)?;
        let done = Done { request, answer: row.try_get(3).map_err(damaged)? };
        let at = u64::try_from(row.try_get::<_, i64>(1).map_err(damaged)?).map_err(damaged)?;
        known.push(Once { id: thirty_two(row.try_get(0).map_err(damaged)?)?, at: UnixMs(at), done });
    }
    Ok(known)
}

/// Notes those that are not known yet, all together.
pub(super) async fn put_known(pool: &Arc<Pool>, tenant: TenantId, known: &[Once]) -> Result<(), PgError> {
    let mut transaction = pool.begin(Scope::Tenant(tenant)).await?;
    enter_beside(&mut transaction, tenant).await?;
    put_in(&mut transaction, tenant, known).await?;
    transaction.commit().await.map(drop)
}

/// The same in a transaction that goes on.
pub(super) async fn put_in(transaction: &mut Transaction, tenant: TenantId, known: &[Once]) -> Result<(), PgError> {
    let text: Arc<str> = "INSERT INTO once (tenant, id, at, request, answer) \
         SELECT $1::uuid, carried.* FROM unnest($2::bytea[], $3::bigint[], $4::bytea[], $5::bytea[]) AS carried \
         ON CONFLICT DO NOTHING"
        .into();
    let own = tenant.uuid();
    let ids: Vec<&[u8]> = known.iter().map(|once| once.id.as_slice()).collect();
    let times: Vec<i64> = known.iter().map(|once| number(once.at.0)).collect();
    let requests: Vec<&[u8]> = known.iter().map(|once| once.done.request.as_slice()).collect();
    let answers: Vec<&[u8]> = known.iter().map(|once| once.done.answer.as_slice()).collect();
    transaction.execute(&text, &[&own, &ids, &times, &requests, &answers]).await.map(drop)
}

fn since(now: UnixMs) -> i64 {
    number(now.0.saturating_sub(ONCE_MS))
}

fn number(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
