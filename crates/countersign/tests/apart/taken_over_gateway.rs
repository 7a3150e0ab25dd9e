//! Whoever has taken over a gateway has its key, its certificate and its way to the key service and the store, and
//! speaks to them without asking the gateway's own guard. They get nothing that the token's owner may not have, and
//! every try is on the record of the service that refused it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::client::{Client, Token};
use countersign::manage::{self, Revoked};
use countersign_audit::{LedgerQuery, Reason, Record, Verdict};
use countersign_crypto::SystemEntropy;
use countersign_crypto::dpop::ProofKey;
use countersign_crypto::jws::VerifyingKeys;
use countersign_crypto::x509::WorkloadKey;
use countersign_facts::{Follower, FollowerParts, nothing_known};
use countersign_guard::{Bearer, FactsCell, Refusal};
use countersign_identity::Ask;
use countersign_model::clock::SystemClock;
use countersign_model::request::{Filter, Input, Insert, Narrowing, Operation, Read, Select, Update};
use countersign_model::{
    Clock, FieldId, FieldSet, Opened, RecordId, RecordTypes, Request, RequestId, Service, TenantId, TypeId,
};
use countersign_services::{Call, Records, SealPurpose};
use countersign_store::{Access, Batch, Requirement, Scan, SealedChange};
use countersign_token::{TokenError, Unverified, Verifier};
use countersign_wire::{CallRefused, FactsStream, Failed, RemoteKeys, RemoteRecords};
use http::Method;
use serde_json::{Value, json};

use crate::attacker::Attacker;
use crate::example::name;
use crate::world::{CALLED, World, carried, request, request_id, shared, soon, token};

/// The attacker, a token that came by the gateway, and what is known of the deployment by then.
struct Theft {
    world: &'static World,
    thief: Attacker,
    keys: RemoteKeys,
    store: RemoteRecords,
    /// An accountant of northwind: invoices, and of customers id, company and country.
    nancy: Client,
    types: RecordTypes,
    tenants: Vec<TenantId>,
}

impl Theft {
    async fn of(world: &'static World) -> Result<Self> {
        let thief = Attacker::in_place_of(&world.gateway)?;
        let nancy = world.login("nancy@northwind").await?;
        let other = world.login("andrew@chinook").await?;
        let tenant = |client| Ok::<_, anyhow::Error>(Unverified::read(token(client))?.tenant);
        let (keys, store) = (thief.keys(world), thief.store(world));
        let tenants = vec![tenant(&nancy)?, tenant(&other)?];
        Ok(Self { world, thief, keys, store, nancy, types: world.types().await?, tenants })
    }

    /// A read of these fields, as the gateway would ask for it.
    fn read(&self, record_type: &str, fields: &[&str]) -> Request {
        request(Operation::Read(reading(record_type, fields)))
    }

    /// The scan that goes with it.
    fn scan(&self, record_type: &str, fields: &[&str]) -> Scan {
        let (id, found) = self.types.find(record_type).unwrap();
        let cells = fields.iter().map(|field| found.find(field).unwrap().0).collect();
        Scan { record_type: id, access: Access::All, cells, limit: 1000, after: None }
    }

    fn field(&self, record_type: &str, field: &str) -> (TypeId, FieldId) {
        let (id, found) = self.types.find(record_type).unwrap();
        (id, found.find(field).unwrap().0)
    }

    /// Fails unless both services refuse this, each for that reason and on its own record.
    async fn refused(&self, token: &str, request: &Request, scan: &Scan, refusal: Refusal) -> Result<()> {
        let epoch = self.world.epoch().await?;
        self.refused_under(token, request, scan, epoch, refusal).await
    }

    async fn refused_under(
        &self,
        token: &str,
        request: &Request,
        scan: &Scan,
        epoch: u64,
        refusal: Refusal,
    ) -> Result<()> {
        let bearer = Bearer::new(token.to_owned());
        let call = carried(&bearer, request, epoch);
        let keys = self.keys.try_release(&call).await.err();
        assert_eq!(keys, Some(Failed::Refused(refusal.clone())), "the key service");
        let store = self.store.try_read(&call, scan).await.err();
        assert_eq!(store, Some(Failed::Refused(refusal.clone())), "the store");
        for service in CALLED {
            let record = self.world.refusal(service, &self.tenants, request.id).await;
            assert_eq!(record.body.reason, Some(refusal.reason()), "{service}");
        }
        Ok(())
    }

    /// Fails unless the store refuses this on record although the token is good for the request.
    async fn beyond(&self, token: &str, request: &Request, scan: &Scan) -> Result<()> {
        let bearer = Bearer::new(token.to_owned());
        let call = self.call(&bearer, request).await?;
        assert_eq!(self.store.try_read(&call, scan).await.err(), Some(Failed::Refused(Refusal::Forbidden)));
        self.on_record(Service::Store, request.id, Reason::NotPermitted).await;
        Ok(())
    }

    async fn call<'a>(&self, bearer: &'a Bearer, request: &'a Request) -> Result<Call<'a>> {
        Ok(carried(bearer, request, self.world.epoch().await?))
    }

    async fn on_record(&self, service: Service, request: RequestId, reason: Reason) {
        let record = self.world.refusal(service, &self.tenants, request).await;
        assert_eq!(record.body.reason, Some(reason), "{service}");
    }

    fn bearer(&self) -> Bearer {
        Bearer::new(token(&self.nancy).to_owned())
    }
}

fn reading(record_type: &str, fields: &[&str]) -> Read {
    let select = fields.iter().map(|field| Select::Field { field: (*field).to_owned(), alias: None }).collect();
    Read { record_type: record_type.to_owned(), select, ..Read::default() }
}

/// Waits for a record of a call that was not accepted, which says so of this method and these words.
async fn noted(world: &World, service: Service, words: [&str; 2]) -> Record {
    let is_it = |record: &Record| {
        let said = record.body.detail.as_deref().unwrap_or_default();
        record.verdict == Verdict::Refused && words.iter().all(|word| said.contains(word))
    };
    let node = world.node(service);
    let found = soon(Duration::from_secs(1), || node.newest(&[], 500).into_iter().rev().find(is_it)).await;
    found.unwrap_or_else(|| panic!("{service} has no record that says {words:?}"))
}

/// Refused by the wire for this reason, and on record with it.
async fn not_accepted<T>(
    world: &World,
    service: Service,
    done: Result<T, Failed>,
    why: CallRefused,
    words: [&str; 2],
) -> Record {
    assert_eq!(done.err(), Some(Failed::Call(why)), "{service}: {words:?}");
    noted(world, service, words).await
}

fn theft<F: Future<Output = Result<()>>>(test: impl FnOnce(Theft) -> F) -> Result<()> {
    shared(|world| async move { test(Theft::of(world).await?).await })
}

/// The gateway's certificate and a user's good token give what the token's owner may have: the tests below fail for
/// what they say, and not because nothing would work.
#[test]
fn a_good_token_gives_what_its_owner_may_have() -> Result<()> {
    theft(|theft| async move {
        let request = theft.read("customer", &["id", "company"]);
        let bearer = theft.bearer();
        let call = theft.call(&bearer, &request).await?;
        let ring = theft.keys.try_release(&call).await?;
        let (_, phone) = theft.field("customer", "phone");
        assert!(ring.iter().count() >= 2 && ring.iter().all(|(_, field, _)| field != phone));
        let rows = theft.store.try_read(&call, &theft.scan("customer", &["id", "company"])).await?;
        assert_eq!(rows.len(), 91);
        Ok(())
    })
}

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

/// The same token with another payload.
fn with_payload(token: &str, change: impl FnOnce(&mut Value)) -> Result<String> {
    let mut parts = token.split('.');
    let (header, payload, signature) = (parts.next(), parts.next(), parts.next());
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.context("no payload")?)?)?;
    change(&mut claims);
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    Ok([header.context("no header")?, &payload, signature.context("no signature")?].join("."))
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
            let batch = Batch { changes: vec![change], requires: Vec::new() };
            let done = theft.store.try_write(&theft.call(&bearer, &request).await?, batch).await;
            assert_eq!(done, Err(Failed::Refused(Refusal::Forbidden)), "{what}");
            theft.on_record(Service::Store, request.id, Reason::NotPermitted).await;
        }
        // Whether a value is there may only be asked of fields that the request writes.
        let request = update(&["company"]);
        let tag = countersign_crypto::Tag([7; 16]);
        let requires = vec![Requirement::Absent { record_type: customer, field: email, tag }];
        let batch = Batch { changes: Vec::new(), requires };
        let done = theft.store.try_write(&theft.call(&bearer, &request).await?, batch).await;
        assert_eq!(done, Err(Failed::Refused(Refusal::Forbidden)));
        theft.on_record(Service::Store, request.id, Reason::NotPermitted).await;
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
        let batch =
            || Batch { changes: vec![SealedChange::Delete { record_type, record, version: 1 }], requires: Vec::new() };
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
        let written = store.try_write(&call, Batch { changes: Vec::new(), requires: Vec::new() }).await;
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
