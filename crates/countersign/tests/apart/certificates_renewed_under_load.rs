//! Certificates that last ten seconds are renewed every five while requests go on, and none fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign::client::{Client, Token};
use countersign::transport::{Ask, Network, Transport};
use countersign_crypto::tls::server_config;
use countersign_guard::Bearer;
use countersign_model::request::{Operation, Read};
use countersign_model::{Service, UnixMs};
use http::Method;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::attacker::Attacker;
use crate::world::{OTHERS, Setup, World, carried, request, token};

const LIFETIME_MS: u64 = 10_000;
const RUN: Duration = Duration::from_secs(36);
/// Connections that stay, besides one that is made for each request.
const CONNECTIONS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes 40 s; `cargo xtask test --only apart` runs it"]
async fn no_request_fails() -> Result<()> {
    let world = World::begin(Setup { certificate_ms: Some(LIFETIME_MS), ..Setup::default() }).await?;
    let copied = Attacker::in_place_of(&world.gateway)?;
    let door = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let url = format!("https://{}", door.local_addr()?);
    let slot = world.gateway.opened.slot(Service::Gateway).context("no certificate")?;
    let (stop, mut stopped) = watch::channel(false);
    let router = world.gateway.opened.router()?.clone();
    let serving = tokio::spawn(countersign_door_http::serve(door, server_config(&slot)?, router, async move {
        drop(stopped.wait_for(|stop| *stop).await);
    }));

    let andrew = world.login("andrew@northwind").await?;
    let own = Token::new(token(&andrew));
    let until = Instant::now() + RUN;
    let (done, failed, made) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut lanes = Vec::new();
    for lane in 0..=CONNECTIONS {
        let (ca, url, own) = (world.folder.ca_pem(), url.clone(), own.clone());
        let (done, failed, made) = (Arc::clone(&done), Arc::clone(&failed), Arc::clone(&made));
        lanes.push(tokio::spawn(async move {
            let connect = || Ok::<_, anyhow::Error>(Arc::new(Transport::Network(Network::new(&url, &ca)?)));
            let mut client = Client::new(connect()?, Some(own.clone()));
            for turn in 0u64.. {
                if Instant::now() > until {
                    break;
                }
                if lane == CONNECTIONS {
                    client = Client::new(connect()?, Some(own.clone()));
                    made.fetch_add(1, Ordering::Relaxed);
                }
                let ask = match turn % 5 {
                    0 => Ask::new(Method::PATCH, format!("/rest/v1/product?id=eq.{}", lane + 1))
                        .body("application/json", json!({ "category": format!("{turn}") }).to_string()),
                    1 => Ask::new(Method::GET, "/v1/token"),
                    2 => Ask::new(Method::GET, "/v1/users"),
                    _ => Ask::new(Method::GET, "/rest/v1/customer?select=id,company&limit=20"),
                };
                match client.exchange(ask).await {
                    Ok(reply) if reply.status.is_success() => done.fetch_add(1, Ordering::Relaxed),
                    other => {
                        let said = other.map(|reply| (reply.status, String::from_utf8_lossy(&reply.body).into_owned()));
                        println!("failed, {:.1?} before the end: {said:?}", until - Instant::now());
                        failed.fetch_add(1, Ordering::Relaxed)
                    }
                };
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
            Ok::<_, anyhow::Error>(())
        }));
    }

    let mut renewals: BTreeMap<&str, (UnixMs, u32)> = BTreeMap::new();
    let all = OTHERS.into_iter().chain([Service::Authority]);
    let slots: Vec<_> = all.map(|service| (service, world.node(service).opened.slot(service).unwrap())).collect();
    while Instant::now() < until {
        for (service, slot) in &slots {
            let expires = slot.expires();
            let (known, count) = renewals.entry(service.as_str()).or_insert((expires, 0));
            if *known != expires {
                (*known, *count) = (expires, *count + 1);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for lane in lanes {
        lane.await??;
    }
    let counts: Vec<_> = renewals.iter().map(|(service, (_, count))| (*service, *count)).collect();
    let (done, failed) = (done.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!(
        "{done} requests in {RUN:?} over {CONNECTIONS} connections that stayed and {} that were made anew, \
         {failed} failed; certificates of {} s, renewals {counts:?}",
        made.load(Ordering::Relaxed),
        LIFETIME_MS / 1000,
    );
    assert_eq!(failed, 0);
    assert!(done > 1000 && counts.len() == 4 && counts.iter().all(|(_, count)| *count >= 5));

    // The first certificate has expired, and counts for nothing.
    let (bearer, epoch) = (Bearer::new(own.reveal().to_owned()), world.epoch().await?);
    let request = request(Operation::Read(Read { record_type: "customer".into(), ..Read::default() }));
    let call = carried(&bearer, &request, epoch);
    assert!(copied.keys(&world).try_release(&call).await.is_err());
    let scan = countersign_store::Scan {
        record_type: world.types().await?.find("customer").context("no customers")?.0,
        access: countersign_store::Access::All,
        cells: countersign_model::FieldSet::EMPTY,
        limit: 1,
        after: None,
    };
    assert!(copied.store(&world).try_read(&call, &scan).await.is_err());
    let new = Attacker::in_place_of(&world.gateway)?;
    assert!(new.keys(&world).try_release(&call).await.is_ok(), "the present one does");
    stop.send_replace(true);
    serving.await?;
    Ok(())
}
