use countersign_model::types::Field;
use countersign_model::{FieldId, Kind, Name, RecordType, Sensitivity, TenantId};

use super::*;
use crate::reconcile::Part;
use crate::record::Body;

const NOW: UnixMs = UnixMs(1_780_000_000_000);

fn types() -> RecordTypes {
    let field = |name: &str| Field {
        name: Name::new(name).unwrap(),
        kind: Kind::Text,
        required: true,
        unique: false,
        indexed: false,
        references: None,
        class: Sensitivity::Internal,
    };
    let customer =
        RecordType { name: Name::new("customer").unwrap(), key: FieldId(0), fields: ["id", "email"].map(field).into() };
    RecordTypes { types: vec![customer], ..RecordTypes::default() }
}

fn record(service: Service, verdict: Verdict, rows: u64) -> Record {
    let mut tally = Tally::new(TokenId::from_u128(9), 4);
    tally.open(TypeId(0), FieldSet::first(2), rows);
    Record {
        time: NOW,
        request: RequestId::from_u128(5),
        service,
        door: None,
        verdict,
        tenant: Some(TenantId::from_u128(1)),
        tally: Some(tally),
        body: Body { token: Some(TokenId::from_u128(9)), epoch: 4, ..Body::default() },
    }
}

/// The records of one request: two reads of the store, counted one by one.
fn records() -> Vec<(Position, Record)> {
    let of = |service, verdict, rows| record(service, verdict, rows);
    vec![
        (Position(8), of(Service::Store, Verdict::Released, 2)),
        (Position(3), of(Service::Gateway, Verdict::Released, 5)),
        (Position(7), of(Service::Store, Verdict::Released, 3)),
        (Position(1), of(Service::Keys, Verdict::Intent, 0)),
        (Position(2), of(Service::Keys, Verdict::Released, 3)),
        (Position(4), of(Service::Keys, Verdict::Released, 2)),
    ]
}

fn receipt(records: &[(Position, Record)]) -> ReceiptView {
    ReceiptView::new(RequestId::from_u128(5), records, &types())
}

#[test]
fn three_records_that_agree_are_shown_side_by_side() {
    let view = receipt(&records());
    assert!(view.agree && view.wrong.is_empty());
    let services: Vec<Service> = view.services.iter().map(|one| one.service).collect();
    assert_eq!(services, [Service::Gateway, Service::Keys, Service::Store]);
    let opened = OpenedView { record_type: "customer".into(), fields: vec!["id".into(), "email".into()], rows: 5 };
    for one in &view.services {
        assert_eq!((one.token, one.epoch, one.written), (Some(TokenId::from_u128(9)), 4, 0));
        assert_eq!(one.opened, std::slice::from_ref(&opened), "{}", one.service);
    }
    let steps = &view.service(Service::Keys).unwrap().steps;
    assert_eq!(steps.iter().map(|step| step.position).collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(steps.iter().map(|step| step.verdict).collect::<Vec<_>>()[0], Verdict::Intent);
}

#[test]
fn what_is_missing_or_differs_is_said() {
    let mut lacking = records();
    lacking.retain(|(_, record)| record.service != Service::Keys);
    let view = receipt(&lacking);
    assert!(!view.agree && view.service(Service::Keys).is_none());
    assert_eq!(view.wrong, [What::Missing { services: vec![Service::Keys] }]);

    let mut altered = records();
    altered[1] = (Position(3), record(Service::Gateway, Verdict::Released, 6));
    assert_eq!(receipt(&altered).wrong, [What::Differs { part: Part::Rows, odd: Some(Service::Gateway) }]);
}

#[test]
fn other_requests_and_repeated_records_are_left_out() {
    let mut all = records();
    all.extend(records());
    let stranger = Record { request: RequestId::from_u128(6), ..record(Service::Store, Verdict::Released, 1) };
    all.push((Position(9), stranger));
    assert_eq!(receipt(&all), receipt(&records()));
    let none = receipt(&[]);
    assert!(none.services.is_empty() && none.agree);
}

/// Types that were removed or belong to a newer program are shown by number; a refusal shows its reason.
#[test]
fn what_has_no_name_has_its_number() {
    let mut refused = record(Service::Gateway, Verdict::Failed, 0);
    refused.body.reason = Some(Reason::Unavailable);
    let tally = refused.tally.as_mut().unwrap();
    tally.open(TypeId(3), FieldSet::first(1), 1);
    tally.open(TypeId(0), FieldSet::EMPTY.with(FieldId(7)), 1);
    let view = receipt(&[(Position(0), refused)]);
    let gateway = view.service(Service::Gateway).unwrap();
    assert_eq!(gateway.steps[0].reason, Some(Reason::Unavailable));
    let shown: Vec<_> = gateway.opened.iter().map(|one| (one.record_type.as_str(), one.fields[0].as_str())).collect();
    assert_eq!(shown, [("customer", "#7"), ("#3", "#0")]);
    assert_eq!(postcard::from_bytes::<ReceiptView>(&postcard::to_stdvec(&view).unwrap()), Ok(view));
}
