//! Verdicts that are lost, changed or made up are reported within five seconds; honest ones never.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign::client::Client;
use countersign::manage::{self, Revoked};
use countersign::transport::Ask;
use countersign_audit::{AuditSink, Body, Reason, Record, Verdict};
use countersign_model::clock::SystemClock;
use countersign_model::request::Narrowing;
use countersign_model::{Clock, FieldSet, RequestId, Service, Tally, TenantId, TokenId};
use countersign_token::Unverified;
use http::Method;
use serde_json::json;

use crate::example::{add_user, policies};
use crate::sinks::{Deed, Deeds};
use crate::world::{Setup, World, request_id, request_of, soon, token};

/// How soon a finding has to be on record.
const WITHIN: Duration = Duration::from_secs(5);

/// What the authority has on record as found by the reconciler, of all requests.
fn findings(world: &World, tenants: &[TenantId]) -> BTreeMap<RequestId, Vec<(Reason, String)>> {
    let mut found: BTreeMap<RequestId, Vec<(Reason, String)>> = BTreeMap::new();
    for record in world.authority.newest(tenants, 10_000) {
        if record.body.action == "reconcile" {
            let said = (record.body.reason.unwrap(), record.body.detail.unwrap_or_default());
            found.entry(record.request).or_default().push(said);
        }
    }
    found
}

async fn tenants(world: &World) -> Result<Vec<TenantId>> {
    let mut tenants = Vec::new();
    for who in ["andrew@northwind", "andrew@chinook"] {
        tenants.push(Unverified::read(token(&world.login(who).await?))?.tenant);
    }
    Ok(tenants)
}

/// A deed, and what has to be found of it.
struct Expected {
    what: String,
    request: RequestId,
    at: Instant,
    reason: Reason,
    says: String,
}

async fn a_read(client: &Client) -> Result<RequestId> {
    // One scan, so that each service has one verdict.
    let path = "/rest/v1/customer?select=company,phone&limit=10";
    request_of(&client.send(Ask::new(Method::GET, path)).await?)
}

async fn a_change(client: &Client, turn: usize) -> Result<RequestId> {
    let body = json!({ "category": format!("category {turn}") }).to_string();
    let ask = Ask::new(Method::PATCH, "/rest/v1/product?id=eq.2").body("application/json", body);
    request_of(&client.send(ask).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_altered_and_invented_verdicts_are_reported() -> Result<()> {
    let deeds = Arc::new(Deeds::default());
    let world = World::begin(Setup { sinks: Some(deeds.sinks()), ..Setup::default() }).await?;
    let tenants = tenants(&world).await?;
    let andrew = world.login("andrew@northwind").await?;
    let three = [Service::Gateway, Service::Keys, Service::Store];
    let mut expected = Vec::new();
    for service in three {
        let differs = |what: &str| format!("{what} differ: {service} against the others");
        let reads = [
            (Deed::Drop, Reason::NoFellow, format!("no record of {service}")),
            (Deed::FewerRows, Reason::Differs, differs("the numbers of rows opened")),
            (Deed::FewerFields, Reason::Differs, differs("the fields opened")),
            (Deed::OtherToken, Reason::Differs, "tokens differ".to_owned()),
        ];
        for (deed, reason, says) in reads {
            deeds.next(service, Verdict::Released, deed);
            let request = a_read(&andrew).await?;
            let what = format!("{service} {deed:?}");
            expected.push(Expected { what, request, at: Instant::now(), reason, says });
        }
    }
    for (turn, service) in [Service::Gateway, Service::Store].into_iter().enumerate() {
        let differ = "the numbers of changes differ".to_owned();
        // What the store read to change it is on its record; that it changed it is not.
        let dropped = match service {
            Service::Store => (Deed::Drop, Reason::Differs, differ.clone()),
            _ => (Deed::Drop, Reason::NoFellow, format!("no record of {service}")),
        };
        let changes = [dropped, (Deed::MoreWritten, Reason::Differs, differ)];
        for (deed, reason, says) in changes {
            deeds.next(service, Verdict::Changed, deed);
            let request = a_change(&andrew, turn).await?;
            let what = format!("{service} {deed:?} of a change");
            expected.push(Expected { what, request, at: Instant::now(), reason, says });
        }
    }
    let done = deeds.done();
    assert_eq!(done, expected.iter().map(|one| one.request).collect::<Vec<_>>(), "every deed was done");
    for service in three {
        let says = match service {
            Service::Gateway => "no record of keys, store".to_owned(),
            other => format!("only {other} has a record of it"),
        };
        let request = request_id(SystemClock.now());
        invent(&world, service, tenants[0], request).await?;
        let what = format!("{service} invents");
        expected.push(Expected { what, request, at: Instant::now(), reason: Reason::NoFellow, says });
    }

    let mut slowest = Duration::ZERO;
    for Expected { what, request, at, reason, says } in &expected {
        let left = WITHIN.saturating_sub(at.elapsed());
        let found = soon(left, || findings(&world, &tenants).remove(request)).await;
        let found = found.with_context(|| format!("{what}: nothing was reported within {WITHIN:?}"))?;
        slowest = slowest.max(at.elapsed());
        let is_it = |(why, said): &(Reason, String)| why == reason && said.contains(says.as_str());
        assert!(found.iter().any(is_it), "{what}: {found:?} instead of {says:?}");
    }
    println!("{} deeds, each reported; the last {slowest:.1?} after it was done", expected.len());
    tokio::time::sleep(WITHIN).await;
    let all = findings(&world, &tenants);
    assert_eq!(all.len(), expected.len(), "nothing else is reported");
    Ok(())
}

/// A record of a request that there never was.
async fn invent(world: &World, service: Service, tenant: TenantId, request: RequestId) -> Result<()> {
    let types = world.types().await?;
    let (customer, _) = types.find("customer").context("no customers")?;
    let mut tally = Tally::new(TokenId::from_u128(77), world.epoch().await?);
    tally.open(customer, FieldSet::first(2), 10);
    let record = Record {
        time: SystemClock.now(),
        request,
        service,
        door: None,
        verdict: Verdict::Released,
        tenant: Some(tenant),
        tally: Some(tally),
        body: Body { action: "read".into(), ..Body::default() },
    };
    world.node(service).opened.ledger(service).context("no ledger")?.append(record).await?;
    Ok(())
}

/// How long the honest run is.
const RUN: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_long_honest_run_reports_nothing() -> Result<()> {
    let deeds = Arc::new(Deeds::default());
    let world = Arc::new(World::begin(Setup { sinks: Some(deeds.sinks()), ..Setup::default() }).await?);
    let tenants = tenants(&world).await?;
    let until = Instant::now() + RUN;
    let counts: Arc<BTreeMap<&str, AtomicU64>> = Arc::new(
        ["answered", "refused", "hung up", "failed", "facts changed"].map(|name| (name, AtomicU64::new(0))).into(),
    );
    let mut work = Vec::new();
    for lane in 0..6usize {
        let (world, counts) = (Arc::clone(&world), Arc::clone(&counts));
        work.push(tokio::spawn(async move {
            let tenant = ["northwind", "chinook"][lane % 2];
            let people = ["andrew", "nancy", "michael"];
            let mut clients = Vec::new();
            for user in people {
                clients.push(world.login(&format!("{user}@{tenant}")).await?);
            }
            for turn in 0.. {
                if Instant::now() > until {
                    break;
                }
                let client = &clients[turn % clients.len()];
                let (ask, patience) = honest(lane, turn);
                let asked = tokio::time::timeout(patience, client.exchange(ask)).await;
                let what = match asked {
                    Err(_) => "hung up",
                    Ok(reply) => match reply?.status.as_u16() {
                        200..=299 => "answered",
                        401 | 403 | 409 => "refused",
                        _ => "failed",
                    },
                };
                counts[what].fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, anyhow::Error>(())
        }));
    }
    // Meanwhile tokens end, roles change and policies are applied.
    let operator = world.login("operator@operators").await?;
    let andrew = world.login("andrew@northwind").await?;
    for turn in 0usize.. {
        if Instant::now() > until {
            break;
        }
        let narrowed = manage::narrow(&andrew, &Narrowing::default(), Some(60_000)).await?;
        manage::revoke(&andrew.with_token(narrowed), &Revoked::Own).await?;
        let role = ["support", "analyst"][turn % 2];
        add_user(&world.folder, &andrew, "northwind", "michael", role).await?;
        if turn % 8 == 0 {
            manage::policies_apply(&operator, &policies(), false).await?;
        }
        counts["facts changed"].fetch_add(2, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    for lane in work {
        lane.await??;
    }
    // Until everything that was said has been held against everything else.
    tokio::time::sleep(WITHIN + Duration::from_secs(1)).await;
    let seen = deeds.seen.load(Ordering::Relaxed);
    println!("an honest run of {RUN:?}: {counts:?}, {seen} verdicts");
    let found = findings(&world, &tenants);
    assert!(found.is_empty(), "{} findings of nothing: {found:#?}", found.len());
    assert_eq!(counts["failed"].load(Ordering::Relaxed), 0, "requests that failed");
    let enough = |name: &str, least: u64| counts[name].load(Ordering::Relaxed) >= least;
    assert!(enough("answered", 200) && enough("refused", 20) && enough("hung up", 20) && enough("facts changed", 20));
    Ok(())
}

/// All that people do, and how long they wait for it.
fn honest(lane: usize, turn: usize) -> (Ask, Duration) {
    let get = |path: &str| Ask::new(Method::GET, path);
    let json = |method: Method, path: &str, body: serde_json::Value| {
        Ask::new(method, path).body("application/json", body.to_string())
    };
    let id = 100_000 + lane * 10_000 + turn / 10;
    let ask = match turn % 10 {
        0 => get("/rest/v1/customer?select=id,company&country=eq.Brazil"),
        1 => get("/rest/v1/employee?select=id,last_name,customer(company)&limit=3"),
        2 => json(
            Method::POST,
            "/rest/v1/product",
            json!({ "id": id, "name": "x", "unit_price": "1.50", "discontinued": false }),
        ),
        3 => get("/rest/v1/customer?select=*&order=company.desc&limit=20"),
        4 => json(Method::PATCH, &format!("/rest/v1/product?id=eq.{id}"), json!({ "category": "Tea" })),
        5 => get("/rest/v1/customer?select=phone&limit=1"),
        6 => get("/rest/v1/product?select=*&limit=50"),
        7 => Ask::new(Method::DELETE, format!("/rest/v1/product?id=eq.{id}")),
        8 => get("/rest/v1/customer?select=company&company=like.A*"),
        _ => get("/rest/v1/product?select=id,name,category&order=name&limit=200"),
    };
    // Every third hangs up at some moment between the first and the last record.
    let patience =
        if turn % 3 == 2 { Duration::from_micros(300 * (turn as u64 % 40)) } else { Duration::from_secs(30) };
    (ask, patience)
}
