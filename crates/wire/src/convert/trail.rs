//! Audit records and tallies.

use countersign_audit::{Body, By, LedgerQuery, Position, Record, Service, Signal, TallyEntry, Verdict};
use countersign_model::request::Door;
use countersign_model::{FieldId, RecordId, RequestId, SessionId, Tally, TenantId, TokenId, UnixMs, UserId};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keys::{opened_in, opened_out};
use super::request::door_in;
use super::{Malformed, number, sixteen, size, type_id};
use crate::pb;

pub(crate) fn query_out(query: &LedgerQuery) -> pb::LedgerQuery {
    pb::LedgerQuery {
        record: query.record.map(|(record_type, record)| pb::RecordName {
            record_type: record_type.0.into(),
            record: record.as_bytes().to_vec(),
        }),
        request: query.request.map(|request| request.as_bytes().to_vec()),
        since: query.since.map(|since| since.0),
        after: query.after.map(|after| after.0),
        oldest_first: query.oldest_first,
        limit: number(query.limit),
        field: query.field.map(|field| field.0.into()),
        by: query
            .by
            .as_ref()
            .map(|by| pb::Doer { user: by.user.map(|user| user.as_bytes().to_vec()), name: by.name.clone() }),
        session: query.session.map(|session| session.as_bytes().to_vec()),
        token: query.token.map(|token| token.as_bytes().to_vec()),
        until: query.until.map(|until| until.0),
    }
}

pub(crate) fn query_in(query: Option<pb::LedgerQuery>) -> Result<LedgerQuery, Malformed> {
    let query = query.ok_or(Malformed)?;
    let record = |name: pb::RecordName| Ok((type_id(name.record_type)?, RecordId::from_bytes(sixteen(&name.record)?)));
    Ok(LedgerQuery {
        record: query.record.map(record).transpose()?,
        request: query.request.map(|request| sixteen(&request).map(RequestId::from_bytes)).transpose()?,
        since: query.since.map(UnixMs),
        after: query.after.map(Position),
        oldest_first: query.oldest_first,
        limit: size(query.limit)?,
        field: query.field.map(|field| u8::try_from(field).map(FieldId)).transpose().map_err(|_| Malformed)?,
        by: query.by.map(by_in).transpose()?,
        session: query.session.map(|session| sixteen(&session).map(SessionId::from_bytes)).transpose()?,
        token: query.token.map(|token| sixteen(&token).map(TokenId::from_bytes)).transpose()?,
        until: query.until.map(UnixMs),
    })
}

fn by_in(by: pb::Doer) -> Result<By, Malformed> {
    let user = by.user.map(|user| sixteen(&user).map(UserId::from_bytes)).transpose()?;
    Ok(By { user, name: by.name })
}

pub(crate) fn record_out((position, record): (Position, Record)) -> Result<pb::AuditRecord, Malformed> {
    let door = match record.door {
        None => pb::Door::Unspecified,
        Some(Door::Http) => pb::Door::Http,
        Some(Door::Sql) => pb::Door::Sql,
        Some(Door::Mcp) => pb::Door::Mcp,
    };
    Ok(pb::AuditRecord {
        position: position.0,
        time: record.time.0,
        request: record.request.as_bytes().to_vec(),
        service: record.service.as_str().to_owned(),
        door: door.into(),
        verdict: record.verdict.as_str().to_owned(),
        tenant: record.tenant.map(|tenant| tenant.as_bytes().to_vec()),
        body: postcard::to_allocvec(&record.body).map_err(|_| Malformed)?,
        tally: record.tally.as_ref().map(tally_out),
    })
}

pub(crate) fn record_in(record: pb::AuditRecord) -> Result<(Position, Record), Malformed> {
    let body: Body = postcard::from_bytes(&record.body).map_err(|_| Malformed)?;
    Ok((
        Position(record.position),
        Record {
            time: UnixMs(record.time),
            request: RequestId::from_bytes(sixteen(&record.request)?),
            service: service_in(&record.service)?,
            door: door_in(record.door)?,
            verdict: verdict_in(&record.verdict)?,
            tenant: tenant_in(record.tenant)?,
            tally: record.tally.map(tally_in).transpose()?,
            body,
        },
    ))
}

pub(crate) fn service_in(word: &str) -> Result<Service, Malformed> {
    Service::ALL.into_iter().find(|service| service.as_str() == word).ok_or(Malformed)
}

fn verdict_in(word: &str) -> Result<Verdict, Malformed> {
    Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == word).ok_or(Malformed)
}

pub(crate) fn tenant_in(tenant: Option<Vec<u8>>) -> Result<Option<TenantId>, Malformed> {
    tenant.map(|tenant| sixteen(&tenant).map(TenantId::from_bytes)).transpose()
}

pub(crate) fn tally_out(tally: &Tally) -> pb::Tally {
    pb::Tally {
        token: tally.token.as_bytes().to_vec(),
        epoch: tally.epoch,
        opened: tally.opened.iter().map(opened_out).collect(),
        written: tally.written,
    }
}

pub(crate) fn tally_in(tally: pb::Tally) -> Result<Tally, Malformed> {
    Ok(Tally {
        token: TokenId::from_bytes(sixteen(&tally.token)?),
        epoch: tally.epoch,
        opened: tally.opened.into_iter().map(opened_in).collect::<Result<_, _>>()?,
        written: tally.written,
    })
}

pub(crate) fn entry_out((position, entry): (Position, TallyEntry)) -> pb::TallyEntry {
    pb::TallyEntry {
        position: position.0,
        time: entry.time.0,
        request: entry.request.as_bytes().to_vec(),
        service: entry.service.as_str().to_owned(),
        verdict: entry.verdict.as_str().to_owned(),
        tenant: entry.tenant.map(|tenant| tenant.as_bytes().to_vec()),
        tally: entry.tally.as_ref().map(tally_out),
        signal: entry.signal.as_ref().and_then(|signal| postcard::to_stdvec(signal).ok()),
    }
}

pub(crate) fn entry_in(entry: pb::TallyEntry) -> Result<(Position, TallyEntry), Malformed> {
    Ok((
        Position(entry.position),
        TallyEntry {
            request: RequestId::from_bytes(sixteen(&entry.request)?),
            service: service_in(&entry.service)?,
            verdict: verdict_in(&entry.verdict)?,
            tenant: tenant_in(entry.tenant)?,
            time: UnixMs(entry.time),
            tally: entry.tally.map(tally_in).transpose()?,
            signal: entry.signal.map(|signal| signal_in(&signal)).transpose()?,
        },
    ))
}

fn signal_in(bytes: &[u8]) -> Result<Signal, Malformed> {
    plain_in(bytes)
}

/// What travels as postcard: exactly one of it.
pub(crate) fn plain_in<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes(bytes) {
        Ok((plain, [])) => Ok(plain),
        _ => Err(Malformed),
    }
}

pub(crate) fn plain_out(plain: &impl Serialize) -> Result<Vec<u8>, Malformed> {
    postcard::to_stdvec(plain).map_err(|_| Malformed)
}

pub(crate) fn owner_out(owner: &Option<TenantId>) -> pb::Owner {
    pb::Owner { tenant: owner.map(|tenant| tenant.as_bytes().to_vec()) }
}

pub(crate) fn owners_in(owners: Vec<pb::Owner>) -> Result<Vec<Option<TenantId>>, Malformed> {
    owners.into_iter().map(|owner| tenant_in(owner.tenant)).collect()
}
