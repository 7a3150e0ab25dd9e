//! What a token gives the thief, and what it does not.

use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::client::{Client, Token};
use countersign::manage::{self, Revoked};
use countersign_audit::Reason;
use countersign_crypto::SystemEntropy;
use countersign_crypto::dpop::ProofKey;
use countersign_guard::{Bearer, Refusal};
use countersign_model::clock::SystemClock;
use countersign_model::request::Narrowing;
use countersign_model::{Clock, FieldSet, RecordId, Request, Service};
use countersign_store::{Access, Scan};
use countersign_token::{TokenError, Unverified};
use countersign_wire::{CallRefused, Failed};
use http::Method;
use serde_json::{Value, json};

use super::{not_accepted, theft, with_payload};
use crate::attacker::Attacker;
use crate::example::name;
use crate::world::{carried, request_id, token};

#[test]
fn no_token() -> Result<()> {
    theft(|theft| async move {
        let (request, scan) = (theft.read("customer", &["company"]), theft.scan("customer", &["company"]));
        theft.refused("", &request, &scan, Refusal::NoToken).await
    })
}

#[test]
fn other_tenant() -> Result<()> {
    theft(|theft| async move {
        let scan = theft.scan("customer", &["company"]);
        // A token of northwind, and a request that means chinook.
        let meant = Request { tenant: Some("chinook".into()), ..theft.read("customer", &["company"]) };
        theft.refused(token(&theft.nancy), &meant, &scan, Refusal::OtherTenant).await?;
        // A token of northwind, and the very records of chinook.
        let andrew = theft.world.login("andrew@chinook").await?;
        let (own, request) = (Bearer::new(token(&andrew).into()), theft.read("customer", &["company"]));
        let theirs = theft.store.try_read(&theft.call(&own, &request).await?, &scan).await?;
        let records: Vec<RecordId> = theirs.iter().map(|row| row.record).collect();
        assert!(!records.is_empty());
        let wanted = Scan { access: Access::Records(records), ..scan };
        let (bearer, request) = (theft.bearer(), theft.read("customer", &["company"]));
        let got = theft.store.try_read(&theft.call(&bearer, &request).await?, &wanted).await?;
        assert_eq!(got.len(), 0, "records of another tenant are records that don't exist");
        // The keys of northwind open nothing of chinook's, though the fields are the same.
        let request = theft.read("customer", &["company"]);
        let ring = theft.keys.try_release(&theft.call(&bearer, &request).await?).await?;
        let (customer, company) = theft.field("customer", "company");
        let sealed = theirs[0].cells.iter().find(|(field, _)| *field == company).unwrap().1.clone().unwrap();
        let kind = theft.types.record_type(customer).unwrap().field(company).unwrap().kind;
        assert!(ring.open(customer, company, kind, theirs[0].record, &sealed, &mut Vec::new()).is_err());
        Ok(())
    })
}

#[test]
fn other_field() -> Result<()> {
    theft(|theft| async move {
        // Asked for: the request is refused.
        let scan = theft.scan("customer", &["phone"]);
        theft.refused(token(&theft.nancy), &theft.read("customer", &["phone"]), &scan, Refusal::Forbidden).await?;
        // Not asked for, but read all the same.
        theft.beyond(token(&theft.nancy), &theft.read("customer", &["company"]), &scan).await?;
        // Found by.
        let (record_type, email) = theft.field("customer", "email");
        let access = Access::Tags { field: email, tags: Vec::new() };
        let by_tag = Scan { record_type, access, cells: FieldSet::EMPTY, limit: 10, after: None };
        theft.beyond(token(&theft.nancy), &theft.read("customer", &["company"]), &by_tag).await
    })
}

#[test]
fn other_type() -> Result<()> {
    theft(|theft| async move {
        let scan = theft.scan("employee", &["id"]);
        theft.refused(token(&theft.nancy), &theft.read("employee", &["id"]), &scan, Refusal::Forbidden).await?;
        theft.beyond(token(&theft.nancy), &theft.read("customer", &["company"]), &scan).await
    })
}

#[test]
fn expired_token() -> Result<()> {
    theft(|theft| async move {
        let short = theft.world.login_for("nancy@northwind", Some(1000)).await?;
        tokio::time::sleep(Duration::from_millis(2100)).await;
        let (request, scan) = (theft.read("customer", &["company"]), theft.scan("customer", &["company"]));
        theft.refused(token(&short), &request, &scan, Refusal::Token(TokenError::Expired)).await
    })
}

#[test]
fn revoked_token() -> Result<()> {
    theft(|theft| async move {
        let narrowed = manage::narrow(&theft.nancy, &Narrowing::default(), Some(600_000)).await?;
        let (request, scan) = (theft.read("customer", &["company"]), theft.scan("customer", &["company"]));
        let bearer = Bearer::new(narrowed.reveal().to_owned());
        assert!(theft.keys.try_release(&theft.call(&bearer, &request).await?).await.is_ok(), "good until then");
        let before = theft.world.epoch().await?;
        manage::revoke(&theft.nancy.with_token(narrowed.clone()), &Revoked::Own).await?;
        let request = Request { id: request_id(SystemClock.now()), ..request };
        theft.refused(narrowed.reveal(), &request, &scan, Refusal::Revoked).await?;
        // Nor under the facts of before, which still decide for requests that were under way.
        let request = Request { id: request_id(SystemClock.now()), ..request };
        let call = carried(&bearer, &request, before);
        let said = theft.keys.try_release(&call).await.err();
        assert!(
            matches!(said, Some(Failed::Refused(Refusal::Revoked | Refusal::Superseded))),
            "under an earlier epoch: {said:?}"
        );
        Ok(())
    })
}

/// A token narrowed to companies of customers.
async fn narrowed(nancy: &Client) -> Result<Token> {
    let narrowing =
        Narrowing { types: Some(vec![name("customer")]), fields: Some(vec![name("company")]), ..Narrowing::default() };
    Ok(manage::narrow(nancy, &narrowing, Some(600_000)).await?)
}

#[test]
fn widened_token() -> Result<()> {
    theft(|theft| async move {
        let narrow = narrowed(&theft.nancy).await?;
        // What its owner may read and it may not.
        let (beyond, scan) = (theft.read("customer", &["country"]), theft.scan("customer", &["country"]));
        theft.refused(narrow.reveal(), &beyond, &scan, Refusal::Forbidden).await?;
        theft.beyond(narrow.reveal(), &theft.read("customer", &["company"]), &scan).await?;
        // Its limits taken away, and its limits changed.
        let bad = Refusal::Token(TokenError::BadSignature);
        let free = with_payload(narrow.reveal(), |claims| {
            drop(claims.as_object_mut().unwrap().remove("authorization_details"));
        })?;
        theft.refused(&free, &theft.read("customer", &["country"]), &scan, bad.clone()).await?;
        let wide = with_payload(narrow.reveal(), |claims| {
            claims["authorization_details"][0]["fields"] = json!(["company", "country"]);
        })?;
        theft.refused(&wide, &theft.read("customer", &["country"]), &scan, bad).await
    })
}

#[test]
fn altered_token() -> Result<()> {
    theft(|theft| async move {
        let (own, scan) = (token(&theft.nancy), theft.scan("customer", &["company"]));
        let andrew = theft.world.login("andrew@northwind").await?;
        let other = Unverified::read(token(&andrew))?;
        let claims: [(&str, Value); 4] = [
            ("sub", json!(other.user)),
            ("tenant", json!(theft.tenants[1])),
            ("exp", json!(SystemClock.now().0 / 1000 + 40_000)),
            ("jti", json!(other.token)),
        ];
        for (claim, value) in claims {
            let altered = with_payload(own, |claims| claims[claim] = value)?;
            let request = theft.read("customer", &["company"]);
            theft.refused(&altered, &request, &scan, Refusal::Token(TokenError::BadSignature)).await?;
        }
        // Parts of two tokens that are both good.
        let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
        let (mine, theirs) = (parts(own), parts(token(&andrew)));
        let mixed = [mine[0].as_str(), &theirs[1], &mine[2]].join(".");
        let request = theft.read("customer", &["company"]);
        theft.refused(&mixed, &request, &scan, Refusal::Token(TokenError::BadSignature)).await?;
        // No algorithm at all.
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "none", "typ": "at+jwt" }).to_string());
        let unsigned = [header.as_str(), &mine[1], ""].join(".");
        let request = theft.read("customer", &["company"]);
        let bearer = Bearer::new(unsigned);
        let said = theft.keys.try_release(&theft.call(&bearer, &request).await?).await.err();
        assert!(matches!(said, Some(Failed::Refused(Refusal::Token(_)))), "{said:?}");
        theft.on_record(Service::Keys, request.id, Reason::BadToken).await;
        Ok(())
    })
}

/// A token bound to a key is worth nothing at the gateway without the proof, and nothing further on without the
/// certificate of a service that carries users' tokens.
#[test]
fn bound_token_in_hands_that_may_not_carry_it() -> Result<()> {
    theft(|theft| async move {
        let key = ProofKey::generate(&SystemEntropy)?;
        let body = json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": token(&theft.nancy),
            "dpop_jkt": URL_SAFE_NO_PAD.encode(key.jkt()),
            "expires_in": 600,
        });
        let bound = Token::granted(&theft.nancy.put(Method::POST, "/v1/token", &body).await?)?;
        // At the gateway, as its thief brings it.
        let refused = theft.nancy.with_token(bound.clone()).get("/rest/v1/customer?select=company&limit=1").await;
        assert!(refused.is_err());
        // Behind it, brought by a service that is none of those that carry tokens.
        let monitor = Attacker::invited(theft.world, "monitor", "carrier").await?;
        let request = theft.read("customer", &["company"]);
        let bearer = Bearer::new(bound.reveal().to_owned());
        let call = theft.call(&bearer, &request).await?;
        let released = monitor.keys(theft.world).try_release(&call).await;
        not_accepted(theft.world, Service::Keys, released, CallRefused::Role, ["monitor/carrier", "role"]).await;
        let read = monitor.store(theft.world).try_read(&call, &theft.scan("customer", &["company"])).await;
        not_accepted(theft.world, Service::Store, read, CallRefused::Role, ["monitor/carrier", "role"]).await;
        // The gateway's certificate is what makes it good here: that is what the proof was shown for.
        assert!(theft.keys.try_release(&call).await.is_ok());
        Ok(())
    })
}
