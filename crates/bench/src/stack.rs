//! Reads through the whole stack over HTTPS, beside a bare HTTPS server that answers with the same bytes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_testkit::{Deployment, Server};

use crate::Options;
use crate::hello;
use crate::load::{Load, Measured, request};
use crate::report::{Report, Row, Target};
use crate::timing::median;

/// Four of the thirteen fields of a customer.
pub const POINT_FIELDS: &str = "company,contact_name,city,country";

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let deployment = Deployment::temporary_in(&options.program, &options.disk)?;
    let server = deployment.demo()?;
    deployment.without_budgets()?;
    let token = deployment.login("andrew@northwind")?;
    let client = server.client()?.with_token(&token);
    let customers = client.get("/rest/v1/customer?select=id")?.rows()?;
    let ids: Vec<&str> = customers.iter().filter_map(|row| row.get("id")?.as_str()).collect();
    let points: Vec<String> =
        ids.iter().map(|id| format!("/rest/v1/customer?select={POINT_FIELDS}&id=eq.{id}")).collect();
    let list = format!("/rest/v1/customer?select={POINT_FIELDS}&limit=20");
    let point_body = client.get(points.first().context("no customers")?)?.success()?.body;
    let list_body = client.get(&list)?.success()?.body;

    let folder = tempfile::tempdir()?;
    let hello = hello::start(folder.path(), &[("point", &point_body), ("list", &list_body)])?;
    let hello_ca = std::fs::read_to_string(folder.path().join("hello-ca.pem"))?;
    let ca = std::fs::read_to_string(deployment.ca_file())?;

    for (name, path, paths, body, target) in [
        ("point read, 4 of 13 fields", "/point", points, &point_body, Target::RatioAtLeast(0.5)),
        ("list read, 20 rows", "/list", vec![list], &list_body, Target::Unset),
    ] {
        // The bare server gets the same token, so that both read requests of the same size.
        let bare = Arc::new(vec![request("GET", path, &token, "", "")]);
        let ours = Arc::new(paths.iter().map(|path| request("GET", path, &token, "", "")).collect());
        for connections in [16, 64, 256] {
            let one = |server: &Server, ca: &str, requests: &Arc<Vec<Vec<u8>>>| {
                let duration = Duration::from_millis(if options.quick { 300 } else { 3000 });
                let requests = Arc::clone(requests);
                let process = server.process_id();
                Load { address: server.address(), ca_pem: ca, requests, connections, process, duration }.run()
            };
            // In turns, so that a slow minute of the machine falls on both.
            let (mut limits, mut figures) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                limits.push(one(&hello, &hello_ca, &bare)?);
                figures.push(one(&server, &ca, &ours)?);
            }
            let middle =
                |all: &[Measured], of: fn(&Measured) -> f64| median(&mut all.iter().map(of).collect::<Vec<_>>());
            let (p50, p99) = (middle(&figures, |one| one.p50_us), middle(&figures, |one| one.p99_us));
            let (ours_us, bare_us) = (middle(&figures, |one| one.server_us), middle(&limits, |one| one.server_us));
            report.add(Row {
                name: format!("HTTPS {name}, {connections} connections"),
                figure: middle(&figures, |one| one.rate),
                unit: "requests/s",
                limit: Some(("bare axum HTTPS".into(), middle(&limits, |one| one.rate))),
                target,
                note: format!(
                    "{} bytes, p50 {p50:.0} µs, p99 {p99:.0} µs; processor {ours_us:.0} µs a request, bare {bare_us:.0} µs",
                    body.len()
                ),
            });
        }
    }
    hello.kill()?;
    server.stop()
}
