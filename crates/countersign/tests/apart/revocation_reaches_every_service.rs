//! Revocations, roles and policies are in force at every service within a second, a service that hears nothing of the
//! authority refuses, and one request is decided under one epoch by all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign::client::Client;
use countersign::manage::{self, Revoked};
use countersign::transport::Ask;
use countersign_audit::Reason;
use countersign_guard::{Bearer, Refusal};
use countersign_model::request::{Narrowing, Operation, Read, Select};
use countersign_model::{FieldSet, Request, Service, TenantId};
use countersign_store::{Access, Scan};
use countersign_token::Unverified;
use countersign_wire::{Failed, RemoteKeys, RemoteRecords};
use http::{Method, StatusCode};

use crate::attacker::Attacker;
use crate::example::{add_user, policies};
use crate::world::{CALLED, Setup, World, carried, request, request_of, token};

const ROUNDS: usize = 20;
/// Within which a change is in force everywhere.
const WITHIN: Duration = Duration::from_secs(1);
const PATH: &str = "/rest/v1/customer?select=company&limit=1";

/// Asks each service directly.
struct Prober {
    keys: RemoteKeys,
    store: RemoteRecords,
    scan: Scan,
}

impl Prober {
    async fn new(world: &World) -> Result<Self> {
        let gateway = Attacker::in_place_of(&world.gateway)?;
        let types = world.types().await?;
        let (record_type, customer) = types.find("customer").context("no customers")?;
        let cells = FieldSet::EMPTY.with(customer.find("company").context("no company")?.0);
        let scan = Scan { record_type, access: Access::All, cells, limit: 1, after: None };
        Ok(Self { keys: gateway.keys(world), store: gateway.store(world), scan })
    }

    fn request() -> Request {
        let select = vec![Select::Field { field: "company".into(), alias: None }];
        request(Operation::Read(Read { record_type: "customer".into(), select, limit: Some(1), ..Read::default() }))
    }

    async fn keys(&self, token: &str, epoch: u64) -> Option<Failed> {
        let (bearer, request) = (Bearer::new(token.to_owned()), Self::request());
        self.keys.try_release(&carried(&bearer, &request, epoch)).await.err()
    }

    async fn store(&self, token: &str, epoch: u64) -> Option<Failed> {
        let (bearer, request) = (Bearer::new(token.to_owned()), Self::request());
        self.store.try_read(&carried(&bearer, &request, epoch), &self.scan).await.err()
    }

    /// How long after `since` the gateway, the key service and the store refuse, each asked all the time; the latter
    /// two under the epoch of before, as a gateway would that hides what it was told.
    async fn until_refused(&self, client: &Client, epoch: u64, since: Instant) -> Result<[Duration; 3]> {
        let gateway = async {
            while client.exchange(Ask::new(Method::GET, PATH)).await?.status.is_success() {}
            Ok::<_, anyhow::Error>(since.elapsed())
        };
        let keys = async {
            while self.keys(token(client), epoch).await.is_none() {}
            Ok(since.elapsed())
        };
        let store = async {
            while self.store(token(client), epoch).await.is_none() {}
            Ok(since.elapsed())
        };
        let asked = async { tokio::try_join!(gateway, keys, store) };
        let (gateway, keys, store) =
            tokio::time::timeout(Duration::from_secs(15), asked).await.context("not refused")??;
        Ok([gateway, keys, store])
    }
}

/// Prints the figures of many rounds, and holds them to the bound.
fn show(what: &str, rounds: &[[Duration; 3]]) {
    for (place, service) in ["gateway", "keys", "store"].into_iter().enumerate() {
        let mut took: Vec<Duration> = rounds.iter().map(|round| round[place]).collect();
        took.sort();
        let (middle, last) = (took[took.len() / 2], took[took.len() - 1]);
        println!(
            "{what}: {service:<8} refuses after {middle:>9.2?} (median), {last:>9.2?} (longest of {})",
            took.len()
        );
        assert!(last < WITHIN, "{what}: {service} took {last:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, so it runs alone: `cargo xtask test --only apart`"]
async fn within_a_second() -> Result<()> {
    let world = World::begin(Setup::default()).await?;
    let prober = Prober::new(&world).await?;
    let (nancy, andrew) = (world.login("nancy@northwind").await?, world.login("andrew@northwind").await?);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let epoch = world.epoch().await?;
        let own = nancy.with_token(manage::narrow(&nancy, &Narrowing::default(), Some(600_000)).await?);
        assert_eq!((prober.keys(token(&own), epoch).await, prober.store(token(&own), epoch).await), (None, None));
        manage::revoke(&own, &Revoked::Own).await?;
        rounds.push(prober.until_refused(&own, epoch, Instant::now()).await?);
        let revoked =
            [prober.keys(token(&own), world.epoch().await?).await, prober.store(token(&own), epoch + 1).await];
        assert!(revoked.iter().all(|said| *said == Some(Failed::Refused(Refusal::Revoked))), "{revoked:?}");
    }
    show("token revoked", &rounds);

    // Everything that somebody holds, ended by another.
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let own = world.login("nancy@northwind").await?;
        let epoch = world.epoch().await?;
        manage::revoke(&andrew, &Revoked::User(crate::example::name("nancy"))).await?;
        rounds.push(prober.until_refused(&own, epoch, Instant::now()).await?);
        // What was issued in the same moment is ended too.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    show("user's tokens revoked", &rounds);

    let mut rounds = Vec::new();
    for _ in 0..5 {
        let own = world.login("nancy@northwind").await?;
        let epoch = world.epoch().await?;
        add_user(&world.folder, &andrew, "northwind", "nancy", "auditor").await?;
        rounds.push(prober.until_refused(&own, epoch, Instant::now()).await?);
        add_user(&world.folder, &andrew, "northwind", "nancy", "accountant").await?;
    }
    show("role changed", &rounds);

    let operator = world.login("operator@operators").await?;
    let mut fewer = policies();
    fewer.retain(|file| file.name != "accountant.cedar");
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let own = world.login("nancy@northwind").await?;
        let epoch = world.epoch().await?;
        manage::policies_apply(&operator, &fewer, false).await?;
        rounds.push(prober.until_refused(&own, epoch, Instant::now()).await?);
        manage::policies_apply(&operator, &policies(), false).await?;
    }
    show("policy changed", &rounds);
    Ok(())
}

/// The least that can be configured: twice what passes between two words of the authority.
const FACTS_AGE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes 25 s; `cargo xtask test --only apart` runs it"]
async fn who_hears_nothing_of_the_authority_refuses() -> Result<()> {
    let facts_age_ms = Some(u64::try_from(FACTS_AGE.as_millis())?);
    let mut world = World::begin(Setup { facts_age_ms, ..Setup::default() }).await?;
    let prober = Prober::new(&world).await?;
    let nancy = world.login("nancy@northwind").await?;
    let tenant = Unverified::read(token(&nancy))?.tenant;
    let epoch = world.epoch().await?;
    // Longer than the bound, while the authority is there.
    tokio::time::sleep(FACTS_AGE + Duration::from_secs(1)).await;
    assert_eq!(nancy.exchange(Ask::new(Method::GET, PATH)).await?.status, StatusCode::OK);

    let stopped = world.authority.stop().await;
    let gone = Instant::now();
    let ended = prober.until_refused(&nancy, epoch, gone).await?;
    println!("the authority is gone: gateway, keys and store refuse after {ended:.1?}");
    assert!(ended.iter().all(|took| *took < FACTS_AGE + Duration::from_millis(500)), "{ended:?}");
    let reply = nancy.exchange(Ask::new(Method::GET, PATH)).await?;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let stale = Some(Failed::Refused(Refusal::Stale));
    assert_eq!(
        (prober.keys(token(&nancy), epoch).await, prober.store(token(&nancy), epoch).await),
        (stale.clone(), stale)
    );
    for node in [&world.gateway, &world.keys, &world.store] {
        let found = crate::world::soon(WITHIN, || {
            node.newest(&[tenant], 100).into_iter().find(|record| record.body.reason == Some(Reason::Stale))
        });
        assert!(found.await.is_some(), "{} has no record of it", node.service);
    }

    world.authority = stopped.start().await?;
    let back = Instant::now();
    while !nancy.exchange(Ask::new(Method::GET, PATH)).await?.status.is_success() {
        assert!(back.elapsed() < Duration::from_secs(15), "it does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("the authority is back: read again after {:.1?}", back.elapsed());
    Ok(())
}

/// The epoch that each of the three has recorded for a request.
fn epochs(world: &World, tenant: TenantId, request: countersign_model::RequestId) -> Vec<(Service, Vec<u64>)> {
    let of = |service: Service| {
        let records = world.node(service).records(&[tenant], request);
        (service, records.iter().map(|record| record.body.epoch).collect())
    };
    [Service::Gateway].into_iter().chain(CALLED).map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_is_decided_under_one_epoch() -> Result<()> {
    let world = Arc::new(World::begin(Setup::default()).await?);
    let (nancy, andrew) = (world.login("nancy@northwind").await?, world.login("andrew@northwind").await?);
    let tenant = Unverified::read(token(&nancy))?.tenant;
    let until = Instant::now() + Duration::from_secs(3);
    let nancy = Arc::new(nancy);
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let nancy = Arc::clone(&nancy);
            tokio::spawn(async move {
                let (mut read, mut superseded) = (Vec::new(), 0u32);
                while Instant::now() < until {
                    // Several scans: invoices' customers are looked up one page after another.
                    let path = "/rest/v1/customer?select=id,company,country&order=company&limit=90";
                    let reply = nancy.exchange(Ask::new(Method::GET, path)).await?;
                    match reply.status.is_success() {
                        true => read.push(request_of(&reply)?),
                        false => superseded += 1,
                    }
                }
                Ok::<_, anyhow::Error>((read, superseded))
            })
        })
        .collect();
    let mut changes = 0;
    while Instant::now() < until {
        let role = ["support", "analyst"][changes % 2];
        add_user(&world.folder, &andrew, "northwind", "michael", role).await?;
        changes += 1;
    }
    let (mut requests, mut refused) = (Vec::new(), 0);
    for reader in readers {
        let (read, superseded) = reader.await??;
        requests.extend(read);
        refused += superseded;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut under = std::collections::BTreeSet::new();
    // Looking them all up would take longer than the run.
    let step = (requests.len() / 300).max(1);
    for request in requests.iter().step_by(step) {
        let said = epochs(&world, tenant, *request);
        let all: std::collections::BTreeSet<u64> = said.iter().flat_map(|(_, epochs)| epochs.iter().copied()).collect();
        assert!(all.len() == 1 && said.iter().all(|(_, epochs)| !epochs.is_empty()), "{request}: {said:?}");
        under.extend(all);
    }
    println!(
        "{} reads while facts changed {changes} times: {} looked up, under {} epochs, each under one; {refused} refused",
        requests.len(),
        requests.len() / step,
        under.len()
    );
    assert!(under.len() > 5 && changes > 10 && refused == 0);
    Ok(())
}
