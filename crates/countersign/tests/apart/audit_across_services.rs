//! What three services recorded of one request, asked for through a gateway.

use std::time::{Duration, Instant};

use anyhow::Result;
use countersign::ledger;
use countersign::transport::Ask;
use countersign_audit::Verdict;
use countersign_audit::receipt::ReceiptView;
use countersign_model::{RequestId, Service};
use http::Method;
use serde_json::json;

use crate::example::name;
use crate::world::{Setup, World, request_of, shared};

/// The receipt, once all services' records are durable.
async fn receipt(world: &World, who: &str, request: RequestId) -> Result<ReceiptView> {
    let client = world.login(who).await?;
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        let answer = client.get(&format!("/v1/audit/receipt/{request}")).await?;
        let receipt: ReceiptView = serde_json::from_value(answer)?;
        if receipt.agree || Instant::now() > until {
            return Ok(receipt);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const THREE: [Service; 3] = [Service::Gateway, Service::Keys, Service::Store];

#[test]
fn a_receipt_shows_the_three_side_by_side() -> Result<()> {
    shared(|world| async move {
        let nancy = world.login("nancy@northwind").await?;
        let path = "/rest/v1/customer?select=id,company&country=eq.Brazil";
        let reply = nancy.send(Ask::new(Method::GET, path)).await?;
        let receipt = receipt(world, "robert@northwind", request_of(&reply)?).await?;
        assert_eq!(receipt.services.iter().map(|view| view.service).collect::<Vec<_>>(), THREE);
        assert!(receipt.agree, "{:?}", receipt.wrong);
        let [gateway, rest @ ..] = receipt.services.as_slice() else { anyhow::bail!("nobody") };
        assert!(gateway.token.is_some() && !gateway.opened.is_empty());
        for other in rest {
            assert_eq!((other.token, other.epoch), (gateway.token, gateway.epoch), "{}", other.service);
            assert_eq!(other.opened, gateway.opened, "{}", other.service);
        }
        let released = |service| {
            receipt.service(service).is_some_and(|view| view.steps.iter().any(|step| step.verdict == Verdict::Released))
        };
        assert!(THREE.into_iter().all(released));
        Ok(())
    })
}

#[test]
fn a_receipt_of_a_change_and_of_a_refusal() -> Result<()> {
    shared(|world| async move {
        let andrew = world.login("andrew@northwind").await?;
        let ask = Ask::new(Method::PATCH, "/rest/v1/product?id=eq.1")
            .body("application/json", json!({ "category": "Tea" }).to_string());
        let reply = andrew.send(ask).await?;
        let changed = receipt(world, "robert@northwind", request_of(&reply)?).await?;
        assert!(changed.agree, "{:?}", changed.wrong);
        let written = |service| changed.service(service).map(|view| view.written);
        assert_eq!((written(Service::Gateway), written(Service::Store)), (Some(1), Some(1)));
        // What was refused at the gateway came no further.
        let nancy = world.login("nancy@northwind").await?;
        let refused = nancy.exchange(Ask::new(Method::GET, "/rest/v1/customer?select=phone")).await?;
        let refused = receipt(world, "robert@northwind", request_of(&refused)?).await?;
        assert_eq!(refused.services.iter().map(|view| view.service).collect::<Vec<_>>(), [Service::Gateway]);
        assert!(refused.agree);
        // Nobody else's.
        let robert = world.login("robert@chinook").await?;
        assert!(robert.get(&format!("/v1/audit/receipt/{}", changed.request)).await.is_err());
        Ok(())
    })
}

#[test]
fn who_saw_a_record() -> Result<()> {
    shared(|world| async move {
        let nancy = world.login("nancy@northwind").await?;
        let reply = nancy.send(Ask::new(Method::GET, "/rest/v1/customer?select=company&id=eq.BONAP")).await?;
        let request = request_of(&reply)?.to_string();
        let robert = world.login("robert@northwind").await?;
        let saw = ledger::who_saw(&robert, &name("customer"), "BONAP", 100).await?;
        let has = |name: &str, value: &str| saw.entries.iter().any(|entry| entry.json()[name].as_str() == Some(value));
        assert!(has("request", &request) && has("user", "nancy"));
        // One who looks at another's records learns nothing of this one.
        let other = world.login("robert@chinook").await?;
        assert!(ledger::who_saw(&other, &name("customer"), "BONAP", 100).await.is_err());
        Ok(())
    })
}

/// Services that have just started hold no tenant's audit key. Whoever may read the records gets them all the same.
#[tokio::test(flavor = "multi_thread")]
async fn records_can_be_read_by_services_that_have_served_nobody_yet() -> Result<()> {
    let mut world = World::begin(Setup::default()).await?;
    let nancy = world.login("nancy@northwind").await?;
    let reply = nancy.send(Ask::new(Method::GET, "/rest/v1/customer?select=company&country=eq.Brazil")).await?;
    let request = request_of(&reply)?;
    world.keys = world.keys.stop().await.start().await?;
    world.store = world.store.stop().await.start().await?;
    let receipt = receipt(&world, "robert@northwind", request).await?;
    assert!(receipt.agree, "{:?}", receipt.wrong);
    assert_eq!(receipt.services.iter().map(|view| view.service).collect::<Vec<_>>(), THREE);
    world.end().await;
    Ok(())
}
