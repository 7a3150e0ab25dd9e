use countersign_crypto::Tag;
use countersign_guard::{Invalid, Refusal};
use countersign_model::control::{AuditQuery, Control};
use countersign_model::request::{
    After, Delete, Door, Embed, Filter, Input, InputRow, Insert, Literal, OnConflict, Operation, Operator, Order, Read,
    Select, Update,
};
use countersign_model::{Kind, Name, RecordId, Request, RequestId, UnixMs};
use countersign_store::{Access, Batch, Done, Once, Rejected, Requirement, Scan, SealedChange, SealedRow};
use countersign_token::TokenError;
use prost::Message;

use super::failure::{BOUNDED, failure_in, failure_out};
use super::records::{batch_in, batch_out, rejected_in, rejected_out, row_in, row_out, scan_in, scan_out};
use super::*;
use crate::failure::{CallRefused, Failed};
use crate::{read_request, write_request};

/// Draws whatever a test needs from a seed (xorshift64*).
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, count: u64) -> u64 {
        (self.next() >> 33) % count
    }

    fn yes(&mut self) -> bool {
        self.below(2) == 0
    }

    fn some<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.yes().then(|| make(self))
    }

    fn list<T>(&mut self, max: u64, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(max + 1)).map(|_| make(self)).collect()
    }

    fn text(&mut self) -> String {
        const WORDS: [&str; 6] = ["", "company", "Ω\u{0}", "a'b\"c", "null", "x"];
        let word = WORDS[self.below(6) as usize];
        if self.yes() { word.to_owned() } else { format!("{word}{}", self.next()) }
    }

    fn sixteen(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes()
    }

    fn bytes(&mut self) -> Vec<u8> {
        self.list(40, |draw| draw.next() as u8)
    }

    fn operator(&mut self) -> Operator {
        use Operator as O;
        [O::Eq, O::Neq, O::Gt, O::Gte, O::Lt, O::Lte, O::Like, O::Ilike, O::In, O::Is][self.below(10) as usize]
    }

    fn filter(&mut self, depth: u64) -> Filter {
        match self.below(if depth == 0 { 2 } else { 5 }) {
            2 => Filter::And(self.list(3, |draw| draw.filter(depth - 1))),
            3 => Filter::Or(self.list(3, |draw| draw.filter(depth - 1))),
            4 => Filter::Not(Box::new(self.filter(depth - 1))),
            _ => Filter::Test {
                field: self.text(),
                operator: self.operator(),
                literal: if self.yes() { Literal::One(self.text()) } else { Literal::List(self.list(4, Self::text)) },
            },
        }
    }

    fn select(&mut self, depth: u64) -> Select {
        match self.below(if depth == 0 { 2 } else { 3 }) {
            0 => Select::All,
            1 => Select::Field { field: self.text(), alias: self.some(Self::text) },
            _ => Select::Embed(Embed {
                alias: self.some(Self::text),
                hint: self.some(Self::text),
                inner: self.yes(),
                read: self.read(depth - 1),
            }),
        }
    }

    fn read(&mut self, depth: u64) -> Read {
        Read {
            record_type: self.text(),
            select: self.list(4, |draw| draw.select(depth)),
            filter: self.filter(4),
            order: self.list(3, |draw| Order {
                field: draw.text(),
                descending: draw.yes(),
                nulls_first: draw.some(Self::yes),
            }),
            limit: self.some(Self::next),
            offset: self.next(),
            count: self.yes(),
            after: self.some(|draw| After {
                keys: draw.list(3, |draw| draw.some(Self::text)),
                record: RecordId::from_bytes(draw.sixteen()),
            }),
        }
    }

    fn row(&mut self) -> InputRow {
        self.list(5, |draw| {
            let input = match draw.below(3) {
                0 => Input::Null,
                1 => Input::Text(draw.text()),
                _ => Input::Json(draw.text()),
            };
            (draw.text(), input)
        })
    }

    fn returning(&mut self) -> Option<Vec<Select>> {
        self.some(|draw| draw.list(3, |draw| draw.select(2)))
    }

    pub(crate) fn request(&mut self) -> Request {
        let operation = match self.below(5) {
            0 => Operation::Read(self.read(3)),
            1 => Operation::Insert(Insert {
                record_type: self.text(),
                rows: self.list(5, Self::row),
                on_conflict: self.some(|draw| OnConflict { field: draw.some(Self::text), merge: draw.yes() }),
                returning: self.returning(),
            }),
            2 => Operation::Update(Update {
                record_type: self.text(),
                set: self.row(),
                filter: self.filter(4),
                max_affected: self.some(Self::next),
                returning: self.returning(),
            }),
            3 => Operation::Delete(Delete {
                record_type: self.text(),
                filter: self.filter(4),
                max_affected: self.some(Self::next),
                returning: self.returning(),
            }),
            _ => Operation::Control(Control::AuditRead(AuditQuery {
                record: self.some(|draw| (draw.text(), draw.text())),
                after: self.some(Self::text),
                limit: self.some(Self::next),
                ..AuditQuery::default()
            })),
        };
        Request {
            id: RequestId::from_bytes(self.sixteen()),
            door: [Door::Http, Door::Sql, Door::Mcp][self.below(3) as usize],
            tenant: self.some(Self::text),
            purpose: self.some(Self::text),
            operation,
        }
    }

    fn field(&mut self) -> FieldId {
        FieldId(self.below(128) as u8)
    }

    fn record_type(&mut self) -> TypeId {
        TypeId(self.next() as u16)
    }

    fn record(&mut self) -> RecordId {
        RecordId::from_bytes(self.sixteen())
    }

    fn change(&mut self) -> SealedChange {
        let (record_type, record, version) = (self.record_type(), self.record(), self.next());
        match self.below(3) {
            0 => SealedChange::Insert {
                record_type,
                record,
                cells: self.list(4, |draw| (draw.field(), draw.bytes())),
                tags: self.list(4, |draw| (draw.field(), Tag(draw.sixteen()))),
            },
            1 => SealedChange::Update {
                record_type,
                record,
                version,
                cells: self.list(4, |draw| (draw.field(), draw.some(Self::bytes))),
                tags: self.list(4, |draw| (draw.field(), draw.some(|draw| Tag(draw.sixteen())))),
            },
            _ => SealedChange::Delete { record_type, record, version },
        }
    }
}

#[test]
fn every_request_comes_back_as_it_was() {
    for seed in 0..3000 {
        let request = Draw::new(seed).request();
        let bytes = write_request(&request).unwrap();
        assert_eq!(read_request(&bytes), Some(request), "seed {seed}");
    }
}

#[test]
fn cut_and_altered_requests_are_refused_or_read_as_something_that_comes_back() {
    for seed in 0..300 {
        let bytes = write_request(&Draw::new(seed).request()).unwrap();
        let mut draw = Draw::new(seed);
        for _ in 0..30 {
            let mut bytes = bytes.clone();
            let at = draw.below(bytes.len() as u64) as usize;
            if draw.yes() {
                bytes.truncate(at);
            } else {
                bytes[at] = draw.next() as u8;
            }
            if let Some(read) = read_request(&bytes) {
                assert_eq!(read_request(&write_request(&read).unwrap()), Some(read));
            }
        }
    }
}

fn nested(levels: usize, wrap: impl Fn(Filter) -> Filter) -> Request {
    let innermost = Filter::Test { field: "id".into(), operator: Operator::Eq, literal: Literal::One("1".into()) };
    let filter = (0..levels).fold(innermost, |filter, _| wrap(filter));
    let read = Read { record_type: "customer".into(), filter, ..Read::default() };
    let operation = Operation::Read(read);
    Request { id: RequestId::from_bytes([7; 16]), door: Door::Http, tenant: None, purpose: None, operation }
}

#[test]
fn nesting_is_bounded_on_both_ends() {
    let not = |filter| Filter::Not(Box::new(filter));
    let and = |filter| Filter::And(vec![filter]);
    for levels in [1, 31, 32] {
        for request in [nested(levels, not), nested(levels, and)] {
            assert_eq!(read_request(&write_request(&request).unwrap()), Some(request), "{levels}");
        }
    }
    assert_eq!(write_request(&nested(33, not)), None);
    assert_eq!(write_request(&nested(33, and)), None);

    // A peer that is taken over does not ask our encoder.
    let mut filter = pb::Filter { condition: None };
    for _ in 0..33 {
        filter = pb::Filter { condition: Some(pb::filter::Condition::Not(Box::new(filter))) };
    }
    let mut message = request::request_out(&nested(0, not)).unwrap();
    let Some(pb::request::Operation::Read(read)) = &mut message.operation else { panic!() };
    read.filter = Some(filter);
    assert_eq!(read_request(&message.encode_to_vec()), None);
}

#[test]
fn embeds_count_as_nesting() {
    let deep = |levels: usize| {
        let read = (0..levels).fold(Read { record_type: "a".into(), ..Read::default() }, |read, _| Read {
            record_type: "a".into(),
            select: vec![Select::Embed(Embed { alias: None, hint: None, inner: false, read })],
            ..Read::default()
        });
        let operation = Operation::Read(read);
        Request { id: RequestId::from_bytes([7; 16]), door: Door::Sql, tenant: None, purpose: None, operation }
    };
    let most = deep(30);
    assert_eq!(read_request(&write_request(&most).unwrap()), Some(most));
    assert_eq!(write_request(&deep(33)), None);
}

#[test]
fn scans_rows_and_batches_come_back_as_they_were() {
    for seed in 0..1000 {
        let mut draw = Draw::new(seed);
        let access = match draw.below(3) {
            0 => Access::Records(draw.list(5, Draw::record)),
            1 => Access::Tags { field: draw.field(), tags: draw.list(5, |draw| Tag(draw.sixteen())) },
            _ => Access::All,
        };
        let scan = Scan {
            record_type: draw.record_type(),
            access,
            cells: draw.list(128, Draw::field).into_iter().collect(),
            limit: draw.next() as usize,
            after: draw.some(Draw::record),
        };
        assert_eq!(scan_in(Some(scan_out(&scan))).unwrap(), scan);

        let row = SealedRow {
            record: draw.record(),
            version: draw.next(),
            cells: draw.list(6, |draw| (draw.field(), draw.some(Draw::bytes))),
        };
        assert_eq!(row_in(row_out(row.clone())).unwrap(), row);

        let requirement = |draw: &mut Draw| {
            let (record_type, field) = (draw.record_type(), draw.field());
            let tags = draw.list(3, |draw| Tag(draw.sixteen()));
            if draw.yes() {
                Requirement::Exists { record_type, field, tags }
            } else {
                Requirement::Absent { record_type, field, tags }
            }
        };
        let once = draw.yes().then(|| {
            let (id, request) = ([draw.below(256) as u8; 32], [draw.below(256) as u8; 32]);
            Once { id, at: UnixMs(0), done: Done { request, answer: draw.sixteen().to_vec() } }
        });
        let batch = Batch {
            changes: draw.list(4, Draw::change),
            requires: draw.list(3, requirement),
            once,
            epoch: draw.next() as u32,
            ..Batch::default()
        };
        assert!(batch_in(batch_out(None, batch.clone())).unwrap() == batch);

        let rejected = match draw.below(7) {
            6 => Rejected::Limit,
            5 => Rejected::Epoch,
            4 => Rejected::Done,
            0 => Rejected::Unique { change: draw.next() as usize, field: draw.field(), existing: draw.record() },
            1 => Rejected::Missing { requirement: draw.next() as usize },
            2 => Rejected::Present { requirement: draw.next() as usize, existing: draw.record() },
            _ => Rejected::Stale { change: draw.next() as usize },
        };
        assert_eq!(rejected_in(rejected_out(rejected)).unwrap(), rejected);
    }
}

#[test]
fn numbers_that_no_id_has_are_refused() {
    assert_eq!(type_id(0x1_0000), Err(Malformed));
    assert_eq!(field_id(128), Err(Malformed));
    assert_eq!(sixteen(&[0; 15]), Err(Malformed));
    assert!(sixteens(&[0; 33]).is_err());
    let none = pb::Change { kind: pb::ChangeKind::Insert.into(), record: vec![0; 16], ..pb::Change::default() };
    let empty = pb::Cell { field: 1, sealed: None };
    assert!(
        batch_in(pb::WriteRecordsRequest {
            changes: vec![pb::Change { cells: vec![empty], ..none }],
            ..Default::default()
        })
        .is_err()
    );
    let once = pb::Once { key: vec![0; 31], request: vec![0; 32], answer: vec![] };
    assert!(batch_in(pb::WriteRecordsRequest { once: Some(once), ..Default::default() }).is_err());
    let once = pb::Once { key: vec![0; 32], request: vec![0; 32], answer: vec![0; 2 << 20] };
    assert!(batch_in(pb::WriteRecordsRequest { once: Some(once), ..Default::default() }).is_err());
}

fn refusals() -> Vec<Refusal> {
    let name = |text: &str| Name::new(text).unwrap();
    let field = name("company");
    let invalid = [
        Invalid::WrongKind { field: field.clone(), expected: Kind::Decimal, row: Some(7) },
        Invalid::WrongKind { field: field.clone(), expected: Kind::Bytes, row: None },
        Invalid::Required { field: field.clone(), row: Some(0) },
        Invalid::Comparison { field: field.clone(), kind: Kind::Json },
        Invalid::Is { field: field.clone() },
        Invalid::DuplicateLabel { label: "Ω".into() },
        Invalid::DuplicateField { field: field.clone() },
        Invalid::AmbiguousEmbed { target: name("invoice"), candidates: vec![field.clone(), name("x")] },
        Invalid::NotUnique { field },
        Invalid::Cursor,
    ];
    let many = BOUNDED.map(|what| Invalid::TooMany { what, max: 500 });
    let token = [
        TokenError::Malformed,
        TokenError::TooLarge,
        TokenError::Header,
        TokenError::WrongType,
        TokenError::UnknownKey,
        TokenError::BadSignature,
        TokenError::WrongIssuer,
        TokenError::WrongAudience,
        TokenError::Expired,
        TokenError::NotYetValid,
        TokenError::TooLong,
    ];
    let plain = [
        Refusal::NoToken,
        Refusal::Revoked,
        Refusal::UnknownPrincipal,
        Refusal::Forbidden,
        Refusal::OtherTenant,
        Refusal::Unbound,
        Refusal::Budget,
        Refusal::Superseded,
        Refusal::Stale,
        Refusal::PolicyFault,
        Refusal::AuditUnavailable,
    ];
    let invalid = invalid.into_iter().chain(many).map(Refusal::Invalid);
    plain.into_iter().chain(token.map(Refusal::Token)).chain(invalid).collect()
}

#[test]
fn every_refusal_comes_back_as_it_was() {
    let calls = CallRefused::ALL.into_iter().map(Failed::Call);
    let all = refusals().into_iter().map(Failed::Refused).chain(calls).chain([
        Failed::Unavailable,
        Failed::Damaged,
        Failed::Unknown,
        Failed::Kms(countersign_services::KmsFailure::Unavailable),
        Failed::Kms(countersign_services::KmsFailure::Unknown),
    ]);
    for failed in all {
        let status = failed.to_status();
        assert_ne!(status.code(), tonic::Code::Ok);
        assert_eq!(status.message(), "", "only the details say anything");
        assert_eq!(Failed::of_status(&status), failed);
        assert_eq!(failure_in(failure_out(&failed)), failed);
    }
}

#[test]
fn whatever_else_a_peer_answers_is_no_permission() {
    let unknown = pb::Failure { kind: Some(pb::failure::Kind::Call(99)) };
    assert_eq!(failure_in(unknown), Failed::Unavailable);
    let refusal = pb::Refusal { kind: 99, ..pb::Refusal::default() };
    assert_eq!(failure_in(pb::Failure { kind: Some(pb::failure::Kind::Refused(refusal)) }), Failed::Unavailable);
    assert_eq!(failure_in(pb::Failure { kind: None }), Failed::Unavailable);
    let status = tonic::Status::with_details(tonic::Code::PermissionDenied, "x", vec![0xff; 9].into());
    assert_eq!(Failed::of_status(&status), Failed::Unavailable);
    let word = pb::TooMany { what: "secrets".into(), max: 1 };
    let invalid = pb::Invalid { kind: Some(pb::invalid::Kind::TooMany(word)) };
    let refusal =
        pb::Refusal { kind: pb::RefusalKind::Invalid.into(), invalid: Some(invalid), ..pb::Refusal::default() };
    assert_eq!(failure_in(pb::Failure { kind: Some(pb::failure::Kind::Refused(refusal)) }), Failed::Unavailable);
}

/// The words are literals in the crates that refuse: none may be missing here.
#[test]
fn everything_that_can_be_too_many_has_its_word() {
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = 0;
    let mut folders = vec![crates.join("guard/src"), crates.join("engine/src"), crates.join("services/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for rest in text.split("TooMany { what: \"").skip(1) {
                let word = rest.split('"').next().unwrap();
                assert!(BOUNDED.contains(&word), "{word} in {}", path.display());
                found += 1;
            }
        }
    }
    assert!(found >= 6);
}
