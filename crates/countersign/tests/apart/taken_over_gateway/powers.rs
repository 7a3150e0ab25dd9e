//! What a certificate is good for, and what keys are to be had with it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use countersign_audit::{LedgerQuery, Reason, Record, Verdict};
use countersign_crypto::jws::VerifyingKeys;
use countersign_facts::{Follower, FollowerParts, nothing_known};
use countersign_guard::{Bearer, FactsCell, Refusal};
use countersign_model::clock::SystemClock;
use countersign_model::{FieldSet, Opened, RecordId, Service, TenantId};
use countersign_services::{Records, SealPurpose};
use countersign_store::{Batch, SealedChange};
use countersign_token::{TokenError, Unverified, Verifier};
use countersign_wire::{CallRefused, FactsStream, Failed};
use serde_json::json;

use super::{not_accepted, noted, theft, with_payload};
use crate::attacker::Attacker;
use crate::world::{CALLED, World, shared, soon, token};

/// What other services may do and a gateway may not.
#[test]
fn calls_that_are_not_a_gateways() -> Result<()> {
    theft(|theft| async move {
        let (world, bearer) = (theft.world, theft.bearer());
        let new = || theft.read("customer", &["company"]);
        let (customer, company) = theft.field("customer", "company");
        let opened = [Opened { record_type: customer, fields: FieldSet::EMPTY.with(company), rows: 1 }];

        let request = new();
        let counted = theft.keys.try_count(&theft.call(&bearer, &request).await?, &opened).await;
        not_accepted(world, Service::Keys, counted, CallRefused::Role, ["/count", "gateway/first"]).await;

        let request = new();
        let issued = theft.keys.try_issued_epoch(&theft.call(&bearer, &request).await?).await;
        not_accepted(world, Service::Keys, issued, CallRefused::Role, ["IssuedEpoch", "gateway/first"]).await;

        let request = new();
        let call = theft.call(&bearer, &request).await?;
        let made = theft.keys.try_new_tenant_key(&call, TenantId::from_u128(1)).await;
        not_accepted(world, Service::Keys, made, CallRefused::Role, ["NewTenantKey", "gateway/first"]).await;

        let request = new();
        assert!(
            theft.store.create_tenant(&theft.call(&bearer, &request).await?, TenantId::from_u128(1)).await.is_err()
        );
        noted(world, Service::Store, ["CreateTenant", "gateway/first"]).await;
        let request = new();
        assert!(theft.store.any_records(&theft.call(&bearer, &request).await?, customer).await.is_err());
        noted(world, Service::Store, ["AnyRecords", "gateway/first"]).await;

        for service in CALLED {
            let trail = theft.thief.trail(world.node(service));
            let request = new();
            let call = theft.call(&bearer, &request).await?;
            let read = trail.try_query(&call, &[Some(theft.tenants[0])], &LedgerQuery::default()).await;
            not_accepted(world, service, read, CallRefused::Role, ["Trail/Query", "gateway/first"]).await;
            let followed = match trail.tallies(None).await {
                Ok(mut stream) => stream.next().await.map(|_| ()),
                Err(failed) => Err(failed),
            };
            not_accepted(world, service, followed, CallRefused::Role, ["Trail/Tallies", "gateway/first"]).await;
        }
        // The way to another service's certificate is that service's own.
        let authority = theft.thief.trail(&world.authority);
        let request = new();
        let call = theft.call(&bearer, &request).await?;
        let read = authority.try_query(&call, &[None], &LedgerQuery::default()).await;
        not_accepted(world, Service::Authority, read, CallRefused::Role, ["Trail/Query", "gateway/first"]).await;
        Ok(())
    })
}

/// The other services, taken over, can't do a gateway's work either.
#[test]
fn gateways_calls_made_by_others() -> Result<()> {
    theft(|theft| async move {
        let (world, andrew) = (theft.world, theft.world.login("andrew@northwind").await?);
        let bearer = Bearer::new(token(&andrew).to_owned());
        let (record_type, _) = theft.field("customer", "company");
        let record = RecordId::from_u128(1);
        let batch = || Batch {
            changes: vec![SealedChange::Delete { record_type, record, version: 1 }],
            requires: Vec::new(),
            once: None,
            ..Batch::default()
        };
        let others = [
            ("authority", Attacker::authority(world)?),
            ("keys", Attacker::in_place_of(&world.keys)?),
            ("store", Attacker::in_place_of(&world.store)?),
        ];
        for (role, other) in others {
            let request = theft.read("customer", &["company"]);
            let written = other.store(world).try_write(&theft.call(&bearer, &request).await?, batch()).await;
            not_accepted(world, Service::Store, written, CallRefused::Role, ["Records/Write", &format!("/{role}/")])
                .await;
            if role == "authority" {
                continue;
            }
            let request = theft.read("customer", &["company"]);
            let released = other.keys(world).try_release(&theft.call(&bearer, &request).await?).await;
            not_accepted(world, Service::Keys, released, CallRefused::Role, ["role", &format!("/{role}/")]).await;
        }
        Ok(())
    })
}

#[test]
fn certificate_of_the_right_authority_for_another_role() -> Result<()> {
    theft(|theft| async move {
        let world = theft.world;
        let monitor = Attacker::invited(world, "monitor", "watcher").await?;
        let (bearer, request) = (theft.bearer(), theft.read("customer", &["company"]));
        let call = theft.call(&bearer, &request).await?;
        let (keys, store) = (monitor.keys(world), monitor.store(world));
        let who = "monitor/watcher";
        not_accepted(world, Service::Keys, keys.try_release(&call).await, CallRefused::Role, [who, "role"]).await;
        let sealed = keys.try_seal_key(&bearer, SealPurpose::Cursor).await;
        not_accepted(world, Service::Keys, sealed, CallRefused::Role, [who, "SealKey"]).await;
        let read = store.try_read(&call, &theft.scan("customer", &["company"])).await;
        not_accepted(world, Service::Store, read, CallRefused::Role, [who, "role"]).await;
        let written = store
            .try_write(&call, Batch { changes: Vec::new(), requires: Vec::new(), once: None, ..Batch::default() })
            .await;
        not_accepted(world, Service::Store, written, CallRefused::Role, [who, "Write"]).await;
        let peer = countersign_guard::Peer::default();
        let asked = monitor.front(world).try_control(Some(&bearer), peer, &request).await;
        not_accepted(world, Service::Authority, asked, CallRefused::Role, [who, "Control"]).await;
        Ok(())
    })
}

/// The keys that belong to a tenant as such: a gateway has its own, for a good token, and no other service's.
#[test]
fn keys_of_cursors_and_audit_records() -> Result<()> {
    theft(|theft| async move {
        let (world, bearer) = (theft.world, theft.bearer());
        let mine = theft.keys.try_seal_key(&bearer, SealPurpose::Audit).await?;
        let stores = Attacker::in_place_of(&world.store)?.keys(world);
        let theirs = stores.try_seal_key(&bearer, SealPurpose::Audit).await?;
        assert_ne!(mine.secret.expose(), theirs.secret.expose(), "one service's audit key opens no other's records");
        // Cursors are the gateways' alone.
        let cursor = stores.try_seal_key(&bearer, SealPurpose::Cursor).await.err();
        assert_eq!(cursor, Some(Failed::Refused(Refusal::Forbidden)));
        seal_refused(world, Reason::NotPermitted).await;
        let none = theft.keys.try_seal_key(&Bearer::new(String::new()), SealPurpose::Audit).await.err();
        assert_eq!(none, Some(Failed::Refused(Refusal::NoToken)));
        seal_refused(world, Reason::NoToken).await;
        let altered = with_payload(token(&theft.nancy), |claims| claims["tenant"] = json!(theft.tenants[1]))?;
        let other = theft.keys.try_seal_key(&Bearer::new(altered), SealPurpose::Audit).await.err();
        assert_eq!(other, Some(Failed::Refused(Refusal::Token(TokenError::BadSignature))));
        seal_refused(world, Reason::BadToken).await;
        Ok(())
    })
}

async fn seal_refused(world: &World, reason: Reason) {
    let is_it = |record: &Record| {
        record.verdict == Verdict::Refused && record.body.action == "seal_key" && record.body.reason == Some(reason)
    };
    let owners = [Unverified::read(token(&world.login("nancy@northwind").await.unwrap())).unwrap().tenant];
    let found = soon(Duration::from_secs(1), || world.keys.newest(&owners, 500).into_iter().rev().find(is_it)).await;
    assert!(found.is_some(), "the key service has no record of refusing a seal key as {reason:?}");
}

/// A follower of the facts that says that it is a key service, whatever its certificate says.
fn key_services_follower(world: &World) -> Result<Arc<Follower>> {
    let issuer = world.gateway.opened.config.tokens.issuer.clone();
    let audience = world.gateway.opened.config.tokens.audience.clone();
    let none = VerifyingKeys::new(Vec::new())?;
    Ok(Arc::new(Follower::new(FollowerParts {
        deployment: countersign_facts::Deployment {
            issuer: issuer.clone(),
            trust_domain: world.gateway_id()?.trust_domain().to_owned(),
        },
        service: Service::Keys,
        keys: Vec::new(),
        facts: Arc::new(FactsCell::following(nothing_known()?, 30_000)),
        verifier: Arc::new(Verifier::new(issuer, audience, none, 1)),
        clock: Arc::new(SystemClock),
        prepare: None,
    })))
}

#[test]
fn wrapped_keys_of_tenants() -> Result<()> {
    shared(|world| async move {
        let follow = async |who: Attacker| {
            let follower = key_services_follower(world)?;
            let stream = FactsStream::new(who.channel(&world.authority), Arc::clone(&follower), None);
            // It follows for ever.
            let followed = tokio::time::timeout(Duration::from_millis(1500), stream.run(|_| {})).await;
            assert!(followed.is_err());
            Ok::<_, anyhow::Error>(follower.wrapped().load().len())
        };
        assert!(follow(Attacker::in_place_of(&world.keys)?).await? >= 2, "a key service is told them");
        assert_eq!(follow(Attacker::in_place_of(&world.gateway)?).await?, 0);
        assert_eq!(follow(Attacker::in_place_of(&world.store)?).await?, 0);
        Ok(())
    })
}
