//! What services accept of each other: from whom, for which request, under which facts.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "what does not fit fails the test"
)]

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use countersign_audit::{Reason, Verdict};
use countersign_engine::Failure;
use countersign_guard::{Bearer, GRACE_MS, Refusal};
use countersign_model::control::Control;
use countersign_model::request::Operation;
use countersign_model::{Clock as _, FieldSet, Request, Service, TenantId};
use countersign_services::{Call, KeyRelease as _, Records as _, SealPurpose, ServiceFailure};
use countersign_store::{Access, Batch, Scan};

const FORBIDDEN: ServiceFailure = ServiceFailure::Refused(Refusal::Forbidden);

/// How many refusals a service put on record.
fn refusals(stage: &Stage, service: Service, reason: Reason) -> usize {
    let records = stage.behind.records.lock().unwrap();
    let refused = records.iter().filter(|record| record.service == service && record.verdict == Verdict::Refused);
    refused.filter(|record| record.body.reason == Some(reason)).count()
}

fn companies(stage: &Stage) -> (Request, Scan) {
    let state = stage.cell.load();
    let (record_type, customer) = state.facts.types.find("customer").unwrap();
    let cells = FieldSet::EMPTY.with(customer.find("company").unwrap().0);
    let scan = Scan { record_type, access: Access::All, cells, limit: 10, after: None };
    (stage.request(Operation::Read(read("customer", &["company"]))), scan)
}

#[tokio::test]
async fn each_service_is_called_by_whom_it_is_for_and_by_nobody_else() {
    let stage = Stage::new().await;
    let bearer = Bearer::new(stage.token("admin", ACME));
    let (request, scan) = companies(&stage);
    let changing = stage.request(update("customer", &[("phone", "\"1\"")], eq("id", "C1")));
    let from = |caller, request| Call { caller, ..call(&bearer, request) };
    let tenant = TenantId::from_u128(9);

    for caller in Service::ALL {
        let released = stage.keys.release(&from(caller, &request)).await.map(|_| ());
        let read = stage.records.read(&from(caller, &request), &scan).await.map(|_| ());
        // The authority reads for who asks who saw a record.
        let may = matches!(caller, Service::Gateway | Service::Authority);
        let expected = if may { Ok(()) } else { Err(FORBIDDEN) };
        assert_eq!((released, read), (expected.clone(), expected), "{caller}");

        let batch = Batch { changes: Vec::new(), requires: Vec::new(), once: None, ..Batch::default() };
        let written = stage.records.write(&from(caller, &changing), batch).await.map(|_| ());
        assert_eq!(written, if caller == Service::Gateway { Ok(()) } else { Err(FORBIDDEN) }, "{caller}");

        // A request that adds no tenant makes none, whoever brings it.
        assert_eq!(stage.records.create_tenant(&from(caller, &request), tenant).await, Err(FORBIDDEN), "{caller}");
        assert_eq!(stage.keys.new_tenant_key(&from(caller, &request), tenant).await.err(), Some(FORBIDDEN), "{caller}");
        let rewrapped = stage.keys.rewrap_tenant_key(&from(caller, &request), tenant).await.err();
        assert_eq!(rewrapped, Some(FORBIDDEN), "{caller}");
        let any = stage.records.any_records(&from(caller, &request), scan.record_type).await;
        assert_eq!(any, Err(FORBIDDEN), "{caller}");
    }
    assert!(refusals(&stage, Service::Keys, Reason::NotPermitted) >= 5);
    assert!(refusals(&stage, Service::Store, Reason::NotPermitted) >= 13);
}

#[tokio::test]
async fn adding_a_tenant_is_for_who_may_and_through_the_authority_alone() {
    let stage = Stage::new().await;
    // Nobody in a tenant that keeps records is an operator.
    let bearer = Bearer::new(stage.token("admin", ACME));
    let request = stage.request(Operation::Control(Control::TenantAdd { name: name("new"), kms: None }));
    let tenant = TenantId::from_u128(9);
    for caller in Service::ALL {
        let call = Call { caller, ..call(&bearer, &request) };
        assert_eq!(stage.keys.new_tenant_key(&call, tenant).await.err(), Some(FORBIDDEN), "{caller}");
        assert_eq!(stage.records.create_tenant(&call, tenant).await, Err(FORBIDDEN), "{caller}");
    }
}

#[tokio::test]
async fn keys_of_a_tenant_go_to_who_seals_with_them() {
    let stage = Stage::new().await;
    let bearer = Bearer::new(stage.token("auditor", ACME));
    let (_, tenant) = stage.user_id("auditor", ACME);
    let mut secrets = Vec::new();
    for (caller, purpose, may) in [
        (Service::Gateway, SealPurpose::Cursor, true),
        (Service::Gateway, SealPurpose::Audit, true),
        (Service::Store, SealPurpose::Audit, true),
        (Service::Authority, SealPurpose::Audit, true),
        (Service::Keys, SealPurpose::Audit, false),
        (Service::Keys, SealPurpose::Cursor, false),
        (Service::Store, SealPurpose::Cursor, false),
        (Service::Authority, SealPurpose::Cursor, false),
    ] {
        match stage.keys.seal_key(&bearer, caller, purpose).await {
            Ok(grant) => {
                assert!(may, "{caller} {purpose:?}");
                assert_eq!(grant.tenant, tenant);
                secrets.push(grant.secret.expose().to_vec());
            }
            Err(failure) => assert_eq!((may, failure), (false, FORBIDDEN), "{caller} {purpose:?}"),
        }
    }
    let other = Bearer::new(stage.token("auditor", GLOBEX));
    let other = stage.keys.seal_key(&other, Service::Gateway, SealPurpose::Audit).await;
    secrets.push(other.unwrap().secret.expose().to_vec());
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 5, "no two are the same");

    let altered = Bearer::new(format!("{}x", bearer.as_str()));
    let refused = stage.keys.seal_key(&altered, Service::Gateway, SealPurpose::Cursor).await.err().unwrap();
    assert!(matches!(refused, ServiceFailure::Refused(Refusal::Token(_))));
}

#[tokio::test]
async fn a_request_under_way_is_decided_under_the_facts_that_it_was_admitted_under() {
    let stage = Stage::new().await;
    let bearer = Bearer::new(stage.token("accountant", ACME));
    let (request, scan) = companies(&stage);
    let under_the_first = call(&bearer, &request);
    let without = |stage: &Stage| {
        stage.publish(|facts| {
            let files = facts.policies.iter().filter(|file| !file.name.contains("accountant")).cloned();
            facts.policies = Arc::new(files.collect());
            facts.policy_epoch += 1;
        });
    };
    without(&stage);
    stage.forget();
    stage.clock.advance_ms(GRACE_MS);
    assert!(stage.keys.release(&under_the_first).await.is_ok(), "it was admitted before");
    assert_eq!(stage.records.read(&under_the_first, &scan).await.unwrap().len(), 6);
    for service in [Service::Keys, Service::Store] {
        assert_eq!(stage.counted(request.id, service).unwrap().epoch, 1, "{service}");
    }
    let under_the_newest = Call { epoch: 2, ..under_the_first };
    assert_eq!(stage.keys.release(&under_the_newest).await.err(), Some(FORBIDDEN));

    stage.clock.advance_ms(1);
    let superseded = ServiceFailure::Refused(Refusal::Superseded);
    assert_eq!(stage.keys.release(&under_the_first).await.err(), Some(superseded.clone()));
    assert_eq!(stage.records.read(&under_the_first, &scan).await.unwrap_err(), superseded);
    for service in [Service::Keys, Service::Store] {
        assert_eq!(refusals(&stage, service, Reason::Superseded), 1, "{service}");
    }
}

#[tokio::test]
async fn who_was_revoked_is_out_under_whatever_facts() {
    let stage = Stage::new().await;
    let bearer = Bearer::new(stage.token("admin", ACME));
    let (request, scan) = companies(&stage);
    let (user, _) = stage.user_id("admin", ACME);
    let now = stage.clock.now();
    stage.publish(|facts| {
        let mut revocations = (*facts.revocations).clone();
        revocations.users.insert(user, now);
        facts.revocations = Arc::new(revocations);
    });
    let revoked = ServiceFailure::Refused(Refusal::Revoked);
    for epoch in [1, 2] {
        let call = Call { epoch, ..call(&bearer, &request) };
        assert_eq!(stage.keys.release(&call).await.err(), Some(revoked.clone()), "{epoch}");
        assert_eq!(stage.records.read(&call, &scan).await.err(), Some(revoked.clone()), "{epoch}");
    }
}

#[tokio::test]
async fn who_was_removed_is_out_under_whatever_facts() {
    let stage = Stage::new().await;
    let bearer = Bearer::new(stage.token("admin", ACME));
    let (user, _) = stage.user_id("admin", ACME);
    let (request, scan) = companies(&stage);
    let under_way = call(&bearer, &request);
    stage.publish(|facts| {
        Arc::make_mut(&mut facts.users).remove(&user);
    });
    let unknown = ServiceFailure::Refused(Refusal::UnknownPrincipal);
    assert_eq!(stage.keys.release(&under_way).await.err(), Some(unknown.clone()));
    assert_eq!(stage.records.read(&under_way, &scan).await.err(), Some(unknown));
}

#[tokio::test]
async fn a_service_that_is_behind_waits_for_the_facts_and_not_for_ever() {
    let stage = Arc::new(Stage::new().await);
    let bearer = Bearer::new(stage.token("admin", ACME));
    let (request, scan) = companies(&stage);
    let ahead = Call { epoch: 2, ..call(&bearer, &request) };
    let arriving = Arc::clone(&stage);
    let arrival = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        arriving.publish(|_| {});
    });
    let before = std::time::Instant::now();
    assert_eq!(stage.records.read(&ahead, &scan).await.unwrap().len(), 6);
    assert!(before.elapsed() >= Duration::from_millis(100));
    arrival.await.unwrap();
    assert_eq!(stage.counted(request.id, Service::Store).unwrap().epoch, 2);

    let before = std::time::Instant::now();
    let never = Call { epoch: 3, ..ahead };
    assert_eq!(stage.records.read(&never, &scan).await.err(), Some(ServiceFailure::Refused(Refusal::Stale)));
    assert!(before.elapsed() >= Duration::from_millis(500) && before.elapsed() < Duration::from_secs(10));
    assert_eq!(refusals(&stage, Service::Store, Reason::Stale), 1);
}

#[tokio::test]
async fn without_word_from_the_authority_nothing_is_decided() {
    let stage = Stage::following(30_000).await;
    let (admin, bearer) = (stage.token("admin", ACME), Bearer::new(stage.token("admin", ACME)));
    let (request, scan) = companies(&stage);
    let companies = || Operation::Read(read("customer", &["company"]));
    stage.clock.advance_ms(30_000);
    assert!(stage.call(&admin, companies()).await.is_ok());
    stage.clock.advance_ms(1);
    assert_eq!(stage.call(&admin, companies()).await.unwrap_err(), Failure::Refused(Refusal::Stale));
    assert_eq!(stage.recorded(Verdict::Refused).last().unwrap().body.reason, Some(Reason::Stale));
    let stale = Some(ServiceFailure::Refused(Refusal::Stale));
    assert_eq!(stage.keys.release(&call(&bearer, &request)).await.err(), stale);
    assert_eq!(stage.records.read(&call(&bearer, &request), &scan).await.err(), stale);
    assert_eq!(stage.keys.seal_key(&bearer, Service::Gateway, SealPurpose::Cursor).await.err(), stale);
    stage.cell.heard(stage.clock.now());
    assert!(stage.call(&admin, companies()).await.is_ok());
}
