//! What may be opened is counted by the key service, so it is the same budget by whichever gateway somebody comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use countersign::client::Client;
use countersign::manage;
use countersign::transport::{Ask, Reply};
use countersign_audit::Reason;
use countersign_model::control::PolicyFile;
use countersign_model::{Service, TenantId};
use countersign_token::Unverified;
use http::{Method, StatusCode};

use crate::example::policies;
use crate::world::{Setup, World, request_of, token, transport_of};

/// Cells that an accountant may open in all: ten reads of ten companies.
const BUDGET: &str = "[roles.accountant]\nper_principal = 100\n";
const READ: &str = "/rest/v1/customer?select=company&limit=10";

async fn read(client: &Client) -> Result<Reply> {
    Ok(client.exchange(Ask::new(Method::GET, READ)).await?)
}

/// Refused, and on the key service's record.
async fn is_spent(world: &World, tenant: TenantId, reply: &Reply) -> Result<()> {
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{}", String::from_utf8_lossy(&reply.body));
    let record = world.refusal(Service::Keys, &[tenant], request_of(reply)?).await;
    assert_eq!(record.body.reason, Some(Reason::Budget));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn past_it_reads_are_refused_everywhere_at_once() -> Result<()> {
    let mut world = World::begin(Setup::default()).await?;
    let second = world.another(Service::Gateway, "second").await?;
    let operator = world.login("operator@operators").await?;
    let budget = PolicyFile { name: "budget.toml".into(), text: BUDGET.into() };
    let files: Vec<_> = policies().into_iter().chain([budget]).collect();
    manage::policies_apply(&operator, &files, false).await?;
    // Whichever gateway has not heard of it yet is let through under the budget of before.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let one = world.login("nancy@northwind").await?;
    let other = Client::new(transport_of(&second), one.token().cloned());
    let tenant = Unverified::read(token(&one))?.tenant;
    let clients = [Arc::new(one), Arc::new(other)];
    let reads = (0..24).map(|turn| {
        let client = Arc::clone(&clients[turn % 2]);
        tokio::spawn(async move { read(&client).await })
    });
    let mut given = 0;
    let mut spent = Vec::new();
    for done in futures_util::future::join_all(reads).await {
        let reply = done??;
        if reply.status.is_success() { given += 1 } else { spent.push(reply) }
    }
    for reply in &spent {
        is_spent(&world, tenant, reply).await?;
    }
    // What the key service notes is in its ledger a moment later.
    let counted = || -> u64 {
        let records = world.keys.newest(&[tenant], 1000);
        let of_nancy = records.iter().filter(|record| record.body.user_name.as_deref() == Some("nancy"));
        let released = of_nancy.filter(|record| record.verdict == countersign_audit::Verdict::Released);
        released.filter_map(|record| record.tally.as_ref()).map(countersign_model::Tally::cells).sum()
    };
    let until = Instant::now() + Duration::from_secs(10);
    while counted() < 100 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let counted = counted();
    println!("24 reads at two gateways at once: {given} given, {} refused; {counted} of 100 cells", spent.len());
    assert_eq!((given, spent.len(), counted), (10, 14, 100));
    // By either gateway, also with another token of the same person.
    for client in &clients {
        is_spent(&world, tenant, &read(client).await?).await?;
    }
    let again = world.login("nancy@northwind").await?;
    is_spent(&world, tenant, &read(&again).await?).await?;

    // And after the key service has ended and begun again.
    let stopped = world.keys.stop().await;
    world.keys = stopped.start().await?;
    for client in &clients {
        let until = Instant::now() + Duration::from_secs(10);
        let reply = loop {
            let reply = read(client).await?;
            if reply.status != StatusCode::SERVICE_UNAVAILABLE || Instant::now() > until {
                break reply;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        is_spent(&world, tenant, &reply).await?;
    }
    // Others have their own.
    let andrew = world.login("andrew@northwind").await?;
    assert_eq!(read(&andrew).await?.status, StatusCode::OK);
    second.stop().await;
    Ok(())
}
