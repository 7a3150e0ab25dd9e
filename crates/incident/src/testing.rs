//! Records made up for tests.

use countersign_audit::{Access, Exposure, Position, Service, Signal, Verdict};
use countersign_model::{
    FieldId, FieldSet, RecordId, RequestId, SessionId, Tally, TenantId, TokenId, TypeId, UnixMs, UserId,
};

pub(crate) const TENANT: TenantId = TenantId::from_u128(7);

pub(crate) fn fields(ids: &[u8]) -> FieldSet {
    ids.iter().map(|id| FieldId(*id)).collect()
}

pub(crate) fn access(record_type: u16, of: &[u8], records: &[u128]) -> Access {
    Access {
        record_type: TypeId(record_type),
        fields: fields(of),
        filter_fields: FieldSet::EMPTY,
        records: records.iter().map(|id| RecordId::from_u128(*id)).collect(),
        rows: records.len() as u64,
    }
}

/// One record: of request, token and session by numbers.
pub(crate) fn exposure(
    place: u64,
    service: Service,
    verdict: Verdict,
    request: u128,
    (token, session): (u128, u128),
) -> Exposure {
    Exposure {
        position: Position(place),
        time: UnixMs(1000).plus_ms(place),
        request: RequestId::from_u128(request),
        tenant: Some(TENANT),
        verdict,
        service,
        signal: Some(Signal {
            user: Some(UserId::from_u128(99)),
            token: Some(TokenId::from_u128(token)),
            session: Some(SessionId::from_u128(session)),
            action: "read".into(),
            ..Signal::default()
        }),
        tally: None,
        accesses: Some(Vec::new()),
    }
}

pub(crate) fn tally(token: u128, opened: &[(u16, &[u8], u64)]) -> Option<Tally> {
    let mut tally = Tally::new(TokenId::from_u128(token), 1);
    for (record_type, of, rows) in opened {
        tally.open(TypeId(*record_type), fields(of), *rows);
    }
    Some(tally)
}
