//! Whoever has taken over a gateway has its key, its certificate and its way to the key service and the store, and
//! speaks to them without asking the gateway's own guard. They get nothing that the token's owner may not have, and
//! every try is on the record of the service that refused it.

mod powers;
mod requests;
mod tokens;

use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::client::Client;
use countersign_audit::{Reason, Record, Verdict};
use countersign_guard::{Bearer, Refusal};
use countersign_model::request::{Operation, Read, Select};
use countersign_model::{FieldId, RecordTypes, Request, RequestId, Service, TenantId, TypeId};
use countersign_services::Call;
use countersign_store::{Access, Scan};
use countersign_token::Unverified;
use countersign_wire::{CallRefused, Failed, RemoteKeys, RemoteRecords};
use serde_json::Value;

use crate::attacker::Attacker;
use crate::world::{CALLED, World, carried, request, shared, soon, token};

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

/// The same token with another payload.
fn with_payload(token: &str, change: impl FnOnce(&mut Value)) -> Result<String> {
    let mut parts = token.split('.');
    let (header, payload, signature) = (parts.next(), parts.next(), parts.next());
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.context("no payload")?)?)?;
    change(&mut claims);
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    Ok([header.context("no header")?, &payload, signature.context("no signature")?].join("."))
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
