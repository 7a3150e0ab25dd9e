//! The monitor as a service of its own: it follows all others, and goes on where it was when it comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign::transport::Ask;
use countersign_audit::Verdict;
use countersign_model::Service;
use http::{Method, StatusCode};
use serde_json::Value;

use crate::sinks::{Deed, Deeds};
use crate::world::{Setup, World, request_of};

/// Within which an alert is there, on a machine that does other things as well.
const ALERTED: Duration = Duration::from_secs(30);

/// The alerts, newest last.
async fn alerts(world: &World) -> Result<Vec<Value>> {
    let operator = world.login("operator@operators").await?;
    let answer = operator.get("/v1/alerts?all=true").await?;
    Ok(answer["alerts"].as_array().context("no alerts")?.clone())
}

/// Asks for another tenant's data, in vain. Gives the request's id.
async fn wrong_tenant(world: &World) -> Result<String> {
    let nancy = world.login("nancy@northwind").await?;
    let ask = Ask::new(Method::GET, "/rest/v1/customer?select=company&limit=1");
    let reply = nancy.exchange(ask.header(http::HeaderName::from_static("accept-profile"), "chinook")).await?;
    anyhow::ensure!(reply.status == StatusCode::FORBIDDEN, "{}", reply.status);
    Ok(request_of(&reply)?.to_string())
}

async fn alerted(world: &World, request: &str) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let names = |alert: &Value| {
            let requests = alert["requests"].as_array();
            requests.is_some_and(|requests| requests.iter().any(|one| one == request))
        };
        let all = alerts(world).await;
        if all.as_ref().is_ok_and(|all| all.iter().any(names)) {
            return Ok(began.elapsed());
        }
        anyhow::ensure!(began.elapsed() < ALERTED, "no alert names {request}: {all:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_follows_all_services_and_goes_on_after_it_was_away() -> Result<()> {
    let world = World::begin(Setup::default()).await?;
    let operator = world.login("operator@operators").await?;
    let none = operator.exchange(Ask::new(Method::GET, "/v1/alerts")).await?;
    assert_eq!(none.status, StatusCode::SERVICE_UNAVAILABLE);
    let said = String::from_utf8_lossy(&none.body).into_owned();
    assert!(said.contains("no monitor runs"), "{said}");

    let monitor = world.another(Service::Monitor, "watch").await?;
    let request = wrong_tenant(&world).await?;
    println!("an alert is there after {:?}", alerted(&world, &request).await?);

    // It knows how each of the others is, by their own word.
    let operator = world.login("operator@operators").await?;
    let until = Instant::now() + ALERTED;
    let services = loop {
        let answer = operator.get("/v1/metrics").await?;
        let services = answer["services"].as_array().context("no services")?.clone();
        if services.len() >= 5 && services.iter().all(|one| one["is_ready"] == true) {
            break services;
        }
        assert!(Instant::now() < until, "not all services are ready: {services:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let names: Vec<_> = services.iter().filter_map(|one| one["name"].as_str()?.split('/').next()).collect();
    for service in ["authority", "gateway", "keys", "store", "monitor"] {
        assert!(names.contains(&service), "{service} is not among {names:?}");
    }

    // What happens while it is away is not lost.
    let stopped = monitor.stop().await;
    let request = wrong_tenant(&world).await?;
    let monitor = stopped.start().await?;
    println!("what happened while it was away is alerted {:?} after its start", alerted(&world, &request).await?);
    monitor.stop().await;
    world.end().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_countersignature_is_alerted() -> Result<()> {
    let deeds = Arc::new(Deeds::default());
    let world = World::begin(Setup { sinks: Some(deeds.sinks()), ..Setup::default() }).await?;
    let monitor = world.another(Service::Monitor, "watch").await?;
    let andrew = world.login("andrew@northwind").await?;
    let read = || andrew.exchange(Ask::new(Method::GET, "/rest/v1/customer?select=company,phone&limit=10"));
    let whole = request_of(&read().await?)?.to_string();
    deeds.next(Service::Store, Verdict::Released, Deed::Drop);
    let lacking = request_of(&read().await?)?.to_string();
    println!("a record that the store did not keep is alerted after {:?}", alerted(&world, &lacking).await?);
    let all = alerts(&world).await?;
    let titles: Vec<_> = all.iter().filter_map(|alert| alert["title"].as_str()).collect();
    assert!(titles.contains(&"The services do not agree about a request"), "{titles:?}");
    assert!(!all.iter().any(|alert| alert.to_string().contains(&whole)), "{all:?}");
    monitor.stop().await;
    world.end().await;
    Ok(())
}
