//! What looks after data at rest needs all services at hand. Apart they say so, before anything is begun.

use anyhow::Result;
use http::Method;
use serde_json::json;

use crate::world::shared;

#[test]
fn what_one_process_alone_can_do_is_refused_and_nothing_is_begun() -> Result<()> {
    shared(|world| async move {
        let operator = world.login("operator@operators").await?;
        let keys = operator.get("/v1/keys?tenant=northwind").await?;
        for (path, body) in [
            ("/v1/erasures", json!({ "tenant": "northwind", "confirm": "northwind" })),
            ("/v1/keys/rotation", json!({ "tenant": "northwind" })),
            ("/v1/keys/rotation", json!({ "tenant": "northwind", "type": "customer", "field": "company" })),
            ("/v1/backups", json!({ "repository": "nightly" })),
            ("/v1/backups/verification", json!({ "repository": "nightly" })),
            ("/v1/backups/restoration", json!({ "tenant": "northwind", "to": "2026-07-01T09:30:00Z" })),
        ] {
            let refused = operator.put(Method::POST, path, &body).await.unwrap_err().to_string();
            assert!(refused.contains("process that is all services"), "{path}: {refused}");
        }
        assert_eq!(operator.get("/v1/erasures").await?, json!([]));
        assert_eq!(operator.get("/v1/keys?tenant=northwind").await?, keys);
        // What goes on all the same.
        operator.put(Method::POST, "/v1/keys/rotation", &json!({})).await?;
        let nancy = world.login("nancy@northwind").await?;
        let one = nancy.get("/rest/v1/customer?select=id&limit=1").await?;
        let id = one[0]["id"].as_str().unwrap_or_default().to_owned();
        let states = nancy.get(&format!("/rest/v1/customer/{id}/history?select=id")).await?;
        assert!(states.to_string().contains(&id), "{states}");
        Ok(())
    })
}
