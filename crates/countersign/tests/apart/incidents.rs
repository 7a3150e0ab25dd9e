//! A breach where services run apart: the authority has no tenant's key, and the tenant's admin brings it.

use std::collections::BTreeSet;

use anyhow::Result;
use countersign_authority::rfc3339;
use countersign_model::Clock;
use countersign_model::clock::SystemClock;
use http::Method;
use serde_json::{Value, json};

use crate::world::shared;

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[test]
fn the_tenants_admin_gets_the_exact_records_of_services_apart() -> Result<()> {
    shared(|world| async move {
        let since = SystemClock.now();
        let nancy = world.login("nancy@northwind").await?;
        let me = nancy.get("/v1/token").await?;
        let rows = nancy.get("/rest/v1/customer?select=id,company&country=eq.Brazil").await?;
        let read = rows.as_array().map_or(0, Vec::len);
        assert_eq!(read, 9);
        let other = world.login("nancy@northwind").await?;
        other.get("/rest/v1/customer?select=id&country=eq.USA").await?;

        let operator = world.login("operator@operators").await?;
        let body = json!({ "culprit": { "token": me["token"] }, "since": rfc3339(since) });
        let incident = operator.put(Method::POST, "/v1/incidents", &body).await?;
        let northwind = &list(&incident, "concerned")[0];
        let customer = &list(northwind, "types")[0];
        // Where the gateway has the tenant's key at hand they are told apart, and elsewhere counted.
        let counted = customer["records"].as_u64().unwrap_or(0) + customer["unopened_rows"].as_u64().unwrap_or(0);
        assert!(counted >= read as u64, "{northwind}");
        assert_eq!(incident["silent"], json!([]));
        assert!(
            list(&incident, "logs")
                .iter()
                .any(|log| log["log"].as_str().is_some_and(|log| log.starts_with("gateway/")))
        );
        let id = incident["id"].as_str().unwrap_or_default().to_owned();

        let contained = operator.put(Method::POST, &format!("/v1/incidents/{id}/containment"), &json!({})).await?;
        assert!(contained["contained"].is_string(), "{contained}");
        assert!(nancy.get("/rest/v1/customer?limit=1").await.is_err());
        other.get("/rest/v1/customer?select=id&limit=1").await?;

        let send = json!({ "send": true });
        operator.put(Method::POST, &format!("/v1/incidents/{id}/notices"), &send).await?;
        let andrew = world.login("andrew@northwind").await?;
        let notice = andrew.put(Method::POST, &format!("/v1/notices/{id}/delivery"), &json!({})).await?;
        let ids: BTreeSet<_> = list(&list(&notice, "records")[0], "read").iter().filter_map(Value::as_str).collect();
        assert_eq!(ids.len(), read, "{notice}");
        Ok(())
    })
}
