//! Requests that are made up, sent again, or kept from the record.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign_audit::{Reason, Record};
use countersign_crypto::x509::WorkloadKey;
use countersign_guard::{Bearer, Refusal};
use countersign_identity::Ask;
use countersign_model::clock::SystemClock;
use countersign_model::request::{Filter, Input, Insert, Operation, Update};
use countersign_model::{Clock, FieldId, Request, Service};
use countersign_store::{Batch, Requirement, SealedChange};
use countersign_wire::{CallRefused, Failed};
use http::Method;

use super::{noted, theft};
use crate::attacker::Attacker;
use crate::world::{CALLED, carried, request, request_id, soon, token};

#[test]
fn replayed_request() -> Result<()> {
    theft(|theft| async move {
        let (bearer, request) = (theft.bearer(), theft.read("customer", &["company"]));
        let (call, scan) = (theft.call(&bearer, &request).await?, theft.scan("customer", &["company"]));
        // The thief's channels number their calls from the same start, so the first of another channel is the first
        // again: the same bytes, whoever recorded them.
        let (keys, store) = (theft.thief.keys(theft.world), theft.thief.store(theft.world));
        assert!(keys.try_release(&call).await.is_ok());
        assert!(!store.try_read(&call, &scan).await?.is_empty());
        let (keys, store) = (theft.thief.keys(theft.world), theft.thief.store(theft.world));
        let again = Some(Failed::Call(CallRefused::Replay));
        assert_eq!(keys.try_release(&call).await.err(), again);
        assert_eq!(store.try_read(&call, &scan).await.err(), again);
        for service in CALLED {
            let record = theft.world.refusal(service, &theft.tenants, request.id).await;
            let said = record.body.detail.unwrap_or_default();
            assert!(said.contains("seen before"), "{service}: {said}");
        }
        Ok(())
    })
}

#[test]
fn request_that_is_not_of_now() -> Result<()> {
    theft(|theft| async move {
        let (bearer, scan) = (theft.bearer(), theft.scan("customer", &["company"]));
        let now = SystemClock.now();
        let old = (now.minus_ms(31_000), CallRefused::Old, "too old");
        let early = (now.plus_ms(9_000), CallRefused::Early, "from the future");
        for (made, why, words) in [old, early] {
            let request = Request { id: request_id(made), ..theft.read("customer", &["company"]) };
            let call = theft.call(&bearer, &request).await?;
            assert_eq!(theft.keys.try_release(&call).await.err(), Some(Failed::Call(why)));
            assert_eq!(theft.store.try_read(&call, &scan).await.err(), Some(Failed::Call(why)));
            for service in CALLED {
                let said = theft.world.refusal(service, &theft.tenants, request.id).await.body.detail;
                assert!(said.as_deref().is_some_and(|said| said.contains(words)), "{service}: {said:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn mismatched_request() -> Result<()> {
    theft(|theft| async move {
        let andrew = theft.world.login("andrew@northwind").await?;
        let bearer = Bearer::new(token(&andrew).to_owned());
        // Everything below andrew may do; only that the request says something else.
        theft.beyond(token(&andrew), &theft.read("customer", &["company"]), &theft.scan("product", &["name"])).await?;
        let two = theft.scan("customer", &["company", "phone"]);
        theft.beyond(token(&andrew), &theft.read("customer", &["company"]), &two).await?;
        let read = theft.read("customer", &["company"]);
        let rows = theft.store.try_read(&theft.call(&bearer, &read).await?, &theft.scan("customer", &[])).await?;
        let row = rows.first().context("no customer")?;
        let (customer, company) = theft.field("customer", "company");
        let (product, _) = theft.field("product", "name");
        let (_, email) = theft.field("customer", "email");

        let update = |fields: &[&str]| {
            let input = |field: &&str| ((*field).to_owned(), Input::Text("x".into()));
            request(Operation::Update(Update {
                record_type: "customer".into(),
                set: fields.iter().map(input).collect(),
                filter: Filter::default(),
                max_affected: None,
                returning: None,
            }))
        };
        let insert = request(Operation::Insert(Insert {
            record_type: "customer".into(),
            rows: vec![vec![("id".into(), Input::Text("THIEF".into()))]],
            on_conflict: None,
            returning: None,
        }));
        let (record, version) = (row.record, row.version);
        let cell = |field: FieldId| vec![(field, Some(vec![0u8; 40]))];
        let sealed =
            |record_type, cells| SealedChange::Update { record_type, record, version, cells, tags: Vec::new() };
        let delete = SealedChange::Delete { record_type: customer, record, version };
        let inserted = SealedChange::Insert { record_type: product, record, cells: Vec::new(), tags: Vec::new() };
        let changes: [(&str, Request, SealedChange); 6] = [
            ("a read that changes", read.clone(), sealed(customer, cell(company))),
            ("a read that removes", read, delete.clone()),
            ("an update that removes", update(&["company"]), delete),
            ("an update of other fields", update(&["company"]), sealed(customer, cell(email))),
            ("an update of another type", update(&["company"]), sealed(product, Vec::new())),
            ("an insert into another type", insert, inserted),
        ];
        for (what, request, change) in changes {
            let request = Request { id: request_id(SystemClock.now()), ..request };
            let batch = Batch { changes: vec![change], requires: Vec::new(), once: None, ..Batch::default() };
            let done = theft.store.try_write(&theft.call(&bearer, &request).await?, batch).await;
            assert_eq!(done, Err(Failed::Refused(Refusal::Forbidden)), "{what}");
            theft.on_record(Service::Store, request.id, Reason::NotPermitted).await;
        }
        // Of a key epoch that nobody issued: from then on nothing would be stored that others seal.
        for epoch in [2, u32::MAX] {
            let request = update(&["company"]);
            let batch = Batch { changes: vec![sealed(customer, Vec::new())], epoch, ..Batch::default() };
            let done = theft.store.try_write(&theft.call(&bearer, &request).await?, batch).await;
            assert_eq!(done, Err(Failed::Refused(Refusal::Forbidden)), "{epoch}");
            theft.on_record(Service::Store, request.id, Reason::NotPermitted).await;
        }
        // Whether a value is there may only be asked of fields that the request writes.
        let request = update(&["company"]);
        let tag = countersign_crypto::Tag([7; 16]);
        let requires = vec![Requirement::Absent { record_type: customer, field: email, tags: vec![tag] }];
        let batch = Batch { changes: Vec::new(), requires, once: None, ..Batch::default() };
        let done = theft.store.try_write(&theft.call(&bearer, &request).await?, batch).await;
        assert_eq!(done, Err(Failed::Refused(Refusal::Forbidden)));
        theft.on_record(Service::Store, request.id, Reason::NotPermitted).await;
        Ok(())
    })
}

#[test]
fn claim_of_another_epoch() -> Result<()> {
    theft(|theft| async move {
        let scan = theft.scan("customer", &["company"]);
        let epoch = theft.world.epoch().await?;
        let own = token(&theft.nancy);
        // One that was, and whose time is over.
        for past in [0, 1, epoch.saturating_sub(3)] {
            let request = theft.read("customer", &["company"]);
            theft.refused_under(own, &request, &scan, past, Refusal::Superseded).await?;
        }
        // One that nobody has made.
        let request = theft.read("customer", &["company"]);
        theft.refused_under(own, &request, &scan, epoch + 1000, Refusal::Stale).await
    })
}

/// Who reads with a good token and keeps no record of it is reported by the others' records.
#[test]
fn reads_without_a_record() -> Result<()> {
    theft(|theft| async move {
        let (bearer, request) = (theft.bearer(), theft.read("customer", &["company"]));
        let call = theft.call(&bearer, &request).await?;
        theft.keys.try_release(&call).await?;
        assert!(!theft.store.try_read(&call, &theft.scan("customer", &["company"])).await?.is_empty());
        let said = |record: &Record| record.body.action == "reconcile" && record.request == request.id;
        let found = || theft.world.authority.newest(&theft.tenants, 1000).into_iter().find(said);
        let found = soon(Duration::from_secs(5), found).await.context("nothing was reported")?;
        assert_eq!(found.body.detail.as_deref(), Some("no record of gateway"));
        assert_eq!(found.body.reason, Some(Reason::NoFellow));
        Ok(())
    })
}

#[test]
fn removed_gateway() -> Result<()> {
    theft(|theft| async move {
        let world = theft.world;
        let thief = Attacker::invited(world, "gateway", "mallory").await?;
        let (keys, store, front) = (thief.keys(world), thief.store(world), thief.front(world));
        let (bearer, scan) = (theft.bearer(), theft.scan("customer", &["company"]));
        let new = || theft.read("customer", &["company"]);
        let request = new();
        let call = theft.call(&bearer, &request).await?;
        assert!(keys.try_release(&call).await.is_ok() && store.try_read(&call, &scan).await.is_ok());
        let operator = world.login("operator@operators").await?;
        let epoch = theft.world.epoch().await?;
        let ask = countersign::transport::Ask::new(Method::DELETE, "/v1/services/mallory?role=gateway");
        operator.send(ask).await?;
        let removed = Instant::now();
        let mut ended: [Option<Duration>; 3] = [None; 3];
        while ended.iter().any(Option::is_none) && removed.elapsed() < Duration::from_secs(3) {
            let request = new();
            let call = carried(&bearer, &request, epoch);
            let control = Request { id: request_id(SystemClock.now()), ..who_am_i() };
            let still = [
                ended[0].is_none() && keys.try_release(&call).await.is_ok(),
                ended[1].is_none() && store.try_read(&call, &scan).await.is_ok(),
                ended[2].is_none()
                    && front.try_control(Some(&bearer), countersign_guard::Peer::default(), &control).await.is_ok(),
            ];
            for (ended, still) in ended.iter_mut().zip(still) {
                if !still && ended.is_none() {
                    *ended = Some(removed.elapsed());
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("removed gateway: refused by keys, store and authority after {ended:?}");
        assert!(ended.iter().all(|took| took.is_some_and(|took| took < Duration::from_secs(1))), "{ended:?}");
        for service in [Service::Keys, Service::Store, Service::Authority] {
            noted(world, service, ["gateway/mallory", "removed"]).await;
        }
        // Nor does it get anywhere by a new connection, or another certificate.
        let request = new();
        let call = theft.call(&bearer, &request).await?;
        assert!(thief.keys(world).try_release(&call).await.is_err());
        let key = WorkloadKey::generate()?;
        assert!(thief.issuer(world).try_issue(Ask::Renew, &key.request()?).await.is_err());
        Ok(())
    })
}

fn who_am_i() -> Request {
    request(Operation::Control(countersign_model::control::Control::WhoAmI))
}
