//! The same reads as one process and as four: what it costs that no service trusts another.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign_testkit::{Deployment, Server};

use crate::Options;
use crate::load::{Load, Measured, request};
use crate::report::{Report, Row, Target};
use crate::stack::POINT_FIELDS;
use crate::timing::median;

/// A demo and what is asked of it.
struct Side {
    _deployment: Deployment,
    server: Server,
    ca_pem: String,
    requests: Arc<Vec<Vec<u8>>>,
}

impl Side {
    fn start(options: &Options, apart: bool) -> Result<Self> {
        let deployment = Deployment::temporary_in(&options.program, &options.disk)?;
        let server = if apart { deployment.demo_apart()? } else { deployment.demo()? };
        deployment.without_budgets()?;
        let token = deployment.login("andrew@northwind")?;
        let client = server.client()?.with_token(&token);
        let customers = client.get("/rest/v1/customer?select=id")?.rows()?;
        let ids = customers.iter().filter_map(|row| row.get("id")?.as_str());
        let path = |id| format!("/rest/v1/customer?select={POINT_FIELDS}&id=eq.{id}");
        let requests = ids.map(|id| request("GET", &path(id), &token, "", "")).collect();
        let ca_pem = std::fs::read_to_string(deployment.ca_file()).context("ca.pem")?;
        Ok(Self { _deployment: deployment, server, ca_pem, requests: Arc::new(requests) })
    }

    fn load(&self, connections: usize, duration: Duration) -> Result<Measured> {
        let requests = Arc::clone(&self.requests);
        let (address, process) = (self.server.address(), self.server.process_id());
        Load { address, ca_pem: &self.ca_pem, requests, connections, process, duration }.run()
    }
}

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let (whole, apart) = (Side::start(options, false)?, Side::start(options, true)?);
    let duration = Duration::from_millis(if options.quick { 300 } else { 3000 });
    for connections in [1, 16, 64, 256] {
        // In turns, so that a slow minute of the machine falls on both.
        let (mut one, mut four) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            one.push(whole.load(connections, duration)?);
            four.push(apart.load(connections, duration)?);
        }
        let middle = |all: &[Measured], of: fn(&Measured) -> f64| median(&mut all.iter().map(of).collect::<Vec<_>>());
        let p50 = [middle(&one, |one| one.p50_us), middle(&four, |one| one.p50_us)];
        let [p50_one, p50_four] = p50;
        report.add(Row {
            name: format!("HTTPS point read apart, {connections} connections"),
            figure: middle(&four, |one| one.rate),
            unit: "requests/s",
            limit: Some(("in one process".into(), middle(&one, |one| one.rate))),
            target: if connections == 1 { Target::Unset } else { Target::RatioAtLeast(0.4) },
            note: format!(
                "p50 {p50_four:.0} µs, in one process {p50_one:.0} µs: {:+.0} µs; p99 {:.0} µs",
                p50_four - p50_one,
                middle(&four, |one| one.p99_us)
            ),
        });
    }
    apart.server.stop()?;
    whole.server.stop()
}
