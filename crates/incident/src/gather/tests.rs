use countersign_audit::{Exposure, Service, Verdict};
use countersign_model::{RecordId, TenantId, TokenId, TypeId, UnixMs};

use super::Gathering;
use crate::radius::Radius;
use crate::suspects::Suspects;
use crate::testing::{TENANT, access, exposure, fields, tally};

const STOLEN: (u128, u128) = (2, 50);

fn gathering() -> Gathering {
    Gathering::new(Suspects::token(TokenId::from_u128(2)), UnixMs(0), None)
}

fn ids(set: &countersign_audit::RecordSet) -> Vec<u128> {
    set.iter().map(|record: RecordId| record.as_u128()).collect()
}

#[test]
fn what_was_released_stands_apart_from_what_stayed_sealed() {
    let mut gathering = gathering();
    // Ten candidates left the store, three rows were given out.
    let mut gateway = exposure(0, Service::Gateway, Verdict::Released, 1, STOLEN);
    gateway.tally = tally(2, &[(0, &[0, 1, 2], 10)]);
    let mut read = access(0, &[0, 1], &[11, 12, 13]);
    read.filter_fields = fields(&[2]);
    gateway.accesses = Some(vec![read, access(1, &[0], &[71])]);
    gathering.add("gateway", gateway);
    let mut store = exposure(0, Service::Store, Verdict::Released, 1, STOLEN);
    store.tally = tally(2, &[(0, &[0, 1, 2], 10), (1, &[0], 1)]);
    gathering.add("store", store);
    // Another one failed after its rows had left the store.
    let failed = exposure(1, Service::Gateway, Verdict::Failed, 2, STOLEN);
    gathering.add("gateway", failed);
    let mut store = exposure(1, Service::Store, Verdict::Released, 2, STOLEN);
    store.tally = tally(2, &[(2, &[4], 5)]);
    gathering.add("store", store);
    // One was refused, and one is somebody else's.
    gathering.add("gateway", exposure(2, Service::Gateway, Verdict::Refused, 3, STOLEN));
    let mut other = exposure(3, Service::Gateway, Verdict::Released, 4, (1, 50));
    other.accesses = Some(vec![access(0, &[3], &[99])]);
    gathering.add("gateway", other);

    let (radius, exact) = gathering.finish_exact();
    let told = &radius.tenants[&TENANT];
    assert_eq!((told.requests, told.refused, told.unopened, radius.unaccounted), (3, 2, 0, 0));
    let customer = &told.types[&TypeId(0)];
    assert_eq!((customer.fields, customer.filter_fields), (fields(&[0, 1]), fields(&[2])));
    assert_eq!((customer.records, customer.rows, customer.sealed_rows), (3, 3, 7));
    assert_eq!((told.types[&TypeId(1)].records, told.types[&TypeId(1)].sealed_rows), (1, 0));
    let sealed = &told.types[&TypeId(2)];
    assert_eq!((sealed.records, sealed.sealed_rows, sealed.sealed_fields), (0, 5, fields(&[4])));
    assert!(sealed.stayed_sealed() && !customer.stayed_sealed());
    assert_eq!(ids(&exact[&TENANT].types[0].records), [11, 12, 13]);
    assert_eq!(exact[&TENANT].requests.len(), 1);
    assert_eq!(exact[&TENANT].requests[0].places, [("gateway".to_owned(), 0), ("store".to_owned(), 0)]);
    assert_eq!(radius.logs["gateway"].positions, [(0, 2)]);
    assert_eq!(radius.logs["store"].positions, [(0, 1)]);
}

#[test]
fn records_are_counted_once_and_rows_as_often_as_they_left() {
    let mut gathering = gathering();
    for (place, records) in [&[1u128, 2, 3][..], &[2, 3, 4], &[4]].into_iter().enumerate() {
        let mut gateway = exposure(place as u64, Service::Gateway, Verdict::Released, place as u128, STOLEN);
        gateway.accesses = Some(vec![access(0, &[0], records)]);
        gathering.add("gateway", gateway);
    }
    let (radius, exact) = gathering.finish_exact();
    let told = &radius.tenants[&TENANT];
    assert_eq!((told.types[&TypeId(0)].records, told.types[&TypeId(0)].rows), (4, 7));
    assert_eq!((told.first, told.last), (Some(UnixMs(1000)), Some(UnixMs(1002))));
    assert_eq!(ids(&exact[&TENANT].types[0].records), [1, 2, 3, 4]);
}

#[test]
fn changes_are_told_apart_from_what_came_back_with_them() {
    let mut gathering = gathering();
    gathering.add("gateway", exposure(0, Service::Gateway, Verdict::Intent, 1, STOLEN));
    let mut gateway = exposure(1, Service::Gateway, Verdict::Changed, 1, STOLEN);
    // The embedded type is first: the store says which one was changed.
    gateway.accesses = Some(vec![access(1, &[0], &[71]), access(0, &[3], &[11, 12])]);
    gathering.add("gateway", gateway);
    let mut store = exposure(0, Service::Store, Verdict::Changed, 1, STOLEN);
    store.accesses = Some(vec![access(0, &[3], &[])]);
    gathering.add("store", store);
    let (radius, exact) = gathering.finish_exact();
    let told = &radius.tenants[&TENANT];
    assert_eq!((told.types[&TypeId(0)].changed, told.types[&TypeId(0)].records), (2, 0));
    assert_eq!((told.types[&TypeId(1)].changed, told.types[&TypeId(1)].records), (0, 1));
    assert_eq!(ids(&exact[&TENANT].types[0].changed), [11, 12]);
    assert_eq!((told.changed(), told.requests), (2, 1));
}

#[test]
fn what_can_not_be_opened_is_counted_and_said() {
    let mut gathering = gathering();
    let mut gateway = exposure(0, Service::Gateway, Verdict::Released, 1, STOLEN);
    gateway.tally = tally(2, &[(0, &[0, 1], 10)]);
    gateway.accesses = None;
    gathering.add("gateway/a", gateway);
    let (radius, exact) = gathering.finish_exact();
    let told = &radius.tenants[&TENANT];
    assert_eq!(told.unopened, 1);
    let one = &told.types[&TypeId(0)];
    assert_eq!((one.records, one.unopened_rows, one.unopened_fields), (0, 10, fields(&[0, 1])));
    assert!(told.is_concerned());
    // The request is known, and which records it was about is not.
    assert_eq!((exact[&TENANT].requests.len(), exact[&TENANT].types.len()), (1, 0));
}

#[test]
fn of_a_service_every_request_counts_that_it_took_part_in_or_kept_to_itself() {
    let gather = |name: Option<&str>| {
        let suspects = Suspects::service(Service::Gateway, name.map(str::to_owned));
        let mut gathering = Gathering::new(suspects, UnixMs(0), None);
        for (place, log, request) in [(0, "gateway/a", 1u128), (0, "gateway/b", 2)] {
            let mut gateway = exposure(place, Service::Gateway, Verdict::Released, request, STOLEN);
            gateway.accesses = Some(vec![access(0, &[0], &[request * 10])]);
            gathering.add(log, gateway);
        }
        // A request that no gateway admits to.
        let mut store = exposure(0, Service::Store, Verdict::Released, 3, STOLEN);
        store.tally = tally(2, &[(0, &[0], 4)]);
        gathering.add("store/a", store);
        gathering.finish()
    };
    let of = |radius: &Radius| {
        let one = &radius.tenants[&TENANT].types[&TypeId(0)];
        (radius.requests, radius.unaccounted, one.records, one.unopened_rows)
    };
    assert_eq!(of(&gather(Some("a"))), (2, 1, 1, 4));
    assert_eq!(of(&gather(None)), (3, 1, 2, 4));
}

#[test]
fn what_was_managed_is_told_and_what_is_out_of_time_is_not() {
    let mut gathering = Gathering::new(Suspects::token(TokenId::from_u128(2)), UnixMs(1001), Some(UnixMs(1003)));
    for place in 0..4u64 {
        let mut record = exposure(place, Service::Authority, Verdict::Changed, u128::from(place), STOLEN);
        if let Some(signal) = &mut record.signal {
            signal.action = "manage_users".into();
        }
        gathering.add("authority", record);
    }
    let radius = gathering.finish();
    let told = &radius.tenants[&TENANT];
    assert_eq!((told.requests, told.refused), (2, 0));
    assert_eq!(told.managed["manage_users"], 2);
    assert!(told.is_concerned());
}

/// Records are the tenant's whose key they were opened with, whatever another service says of the request.
#[test]
fn nobody_gets_records_of_another_tenant_by_another_s_word() {
    let mut gathering = gathering();
    let other = TenantId::from_u128(8);
    gathering
        .add("store", Exposure { tenant: Some(other), ..exposure(0, Service::Store, Verdict::Released, 1, STOLEN) });
    let accesses = Some(vec![access(0, &[0], &[11])]);
    gathering.add("gateway", Exposure { accesses, ..exposure(0, Service::Gateway, Verdict::Released, 1, STOLEN) });
    let (radius, exact) = gathering.finish_exact();
    assert!(!exact.contains_key(&other) && !radius.tenants.contains_key(&other));
    assert_eq!(ids(&exact[&TENANT].types[0].records), [11]);
}
