//! What the services measure, read by Prometheus's own tool at the monitor's port and by an OpenTelemetry collector:
//! every service is there, a request is one trace at all of them, and nothing of anybody's is in it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_testkit::{Client, Deployment};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use prost::Message as _;

use crate::data::{self, TYPES};
use crate::{Layout, whole_and_apart};

whole_and_apart!(a_request_is_one_trace_at_every_service);

/// Nothing of these may be anywhere: names, values of every type, and tokens.
fn secrets(tokens: &[String]) -> Result<Vec<String>> {
    let mut secrets = tokens.to_vec();
    for tenant in ["northwind", "chinook"] {
        secrets.push(tenant.to_owned());
        for record_type in TYPES {
            let values = data::rows(tenant, record_type)?.into_iter().flatten().map(|(_, value)| value);
            // Shorter ones are numbers, and occur by chance.
            secrets.extend(values.filter(|value| value.len() >= 8 && value.contains(char::is_alphabetic)));
        }
    }
    secrets.extend(["andrew", "nancy", "janet", "robert", "michael"].map(str::to_owned));
    secrets.sort();
    secrets.dedup();
    Ok(secrets)
}

fn nothing_of(secrets: &[String], what: &str, bytes: &[u8]) {
    for secret in secrets {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{what} has a name, a value or a token: {}…", secret.chars().take(12).collect::<String>());
    }
}

#[test]
#[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
fn measures_are_for_who_may_read_them_and_grow_with_nobody() -> Result<()> {
    let (deployment, server) = crate::demo()?;
    let address = server.story().iter().find_map(|line| line.strip_prefix("measures https://"));
    let address = address.and_then(|line| line.strip_suffix("/metrics")).context("the demo says where measures are")?;
    let ca = std::fs::read_to_string(deployment.ca_file())?;
    let nobody = Client::new(address, &ca)?;
    assert_eq!(nobody.get("/healthz")?.text(), "ok\n");
    let ready = nobody.get("/readyz")?;
    for service in ["gateway", "keys", "store", "authority", "monitor"] {
        assert!(ready.text().contains(&format!("{service}: ready")), "{}", ready.text());
    }
    assert_eq!(nobody.get("/metrics")?.status, 401);
    assert_eq!(nobody.with_token("no.token.atall").get("/metrics")?.status, 401);
    let operator = deployment.login("operator@operators")?;
    let people: Vec<String> = ["andrew@northwind", "nancy@northwind", "janet@northwind", "andrew@chinook"]
        .into_iter()
        .map(|name| deployment.login(name))
        .collect::<Result<_>>()?;
    assert_eq!(nobody.with_token(&people[0]).get("/metrics")?.status, 403);
    let scraper = nobody.with_token(&operator);
    let client = server.client()?;
    let exercise = |rounds: usize| -> Result<()> {
        for round in 0..rounds {
            for token in &people {
                client.with_token(token).get(&format!("/rest/v1/customer?limit={}", round + 1))?;
                client.with_token(token).get(&format!("/rest/v1/nothing{round}"))?;
            }
        }
        Ok(())
    };
    exercise(1)?;
    scraper.get("/metrics")?.success()?;
    let before = scraper.get("/metrics")?.success()?.text();
    exercise(25)?;
    // Each login is another session and token.
    (0..20).try_for_each(|_| deployment.login("nancy@northwind").map(drop))?;
    let after = scraper.get("/metrics")?.success()?;
    assert_eq!(after.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let after = after.text();
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    println!("{} series, {} bytes", series(&after), after.len());
    assert_eq!(series(&before), series(&after), "{after}");
    promtool(&after)?;
    let tokens: Vec<String> = people.iter().chain([&operator]).cloned().collect();
    nothing_of(&secrets(&tokens)?, "/metrics", after.as_bytes());
    let printed = deployment.run(&["metrics"])?;
    assert!(printed.contains("countersign_requests_total{service=\"monitor\""), "{printed}");
    let status = deployment.run(&["status"])?;
    assert!(["gateway", "keys", "store", "authority", "monitor"].iter().all(|name| status.contains(name)), "{status}");
    server.stop()
}

/// `promtool check metrics`, which also says what is not as Prometheus's conventions have it.
fn promtool(text: &str) -> Result<()> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("promtool: `cargo xtask test --only tools` installs it")?;
    promtool.stdin.take().context("its input")?.write_all(text.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success() && said.trim().is_empty(), "promtool: {said}");
    Ok(())
}

/// The path and the body of a message.
type Taken = (String, Vec<u8>);

/// A collector on this machine that takes everything.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Taken>>>);

/// A span, as far as it is of interest here.
#[derive(Debug)]
struct Span {
    service: String,
    id: Vec<u8>,
    parent: Vec<u8>,
}

impl Collector {
    fn start() -> Result<(Self, String)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (collector, base) = (Self::default(), format!("http://{}", listener.local_addr()?));
        let kept = collector.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = kept.clone();
                std::thread::spawn(move || kept.take(stream));
            }
        });
        Ok((collector, base))
    }

    fn take(&self, mut stream: TcpStream) -> Option<()> {
        let mut bytes = Vec::new();
        let (head, end) = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break (String::from_utf8_lossy(&bytes[..at]).to_ascii_lowercase(), at + 4);
            }
            let mut more = [0; 4096];
            let read = stream.read(&mut more).ok().filter(|read| *read > 0)?;
            bytes.extend_from_slice(&more[..read]);
        };
        let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
        let mut body = bytes.split_off(end);
        let have = body.len();
        body.resize(length, 0);
        stream.read_exact(&mut body[have..]).ok()?;
        let path = head.split(' ').nth(1)?.to_owned();
        self.0.lock().ok()?.push((path, body));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()
    }

    fn taken(&self, path: &str) -> Vec<Vec<u8>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(of, _)| of == path).map(|(_, body)| body.clone()).collect()
    }

    /// The spans of a trace.
    fn spans(&self, trace: &[u8]) -> Result<Vec<Span>> {
        let mut found = Vec::new();
        for body in self.taken("/v1/traces") {
            for resource in ExportTraceServiceRequest::decode(body.as_slice())?.resource_spans {
                let name = service(&resource.resource.context("a resource")?.attributes)?;
                let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                let of = spans.filter(|span| span.trace_id == trace);
                found.extend(of.map(|span| Span {
                    service: name.clone(),
                    id: span.span_id,
                    parent: span.parent_span_id,
                }));
            }
        }
        Ok(found)
    }

    fn services_that_measure(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for body in self.taken("/v1/metrics") {
            for resource in ExportMetricsServiceRequest::decode(body.as_slice())?.resource_metrics {
                found.push(service(&resource.resource.context("a resource")?.attributes)?);
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

fn service(attributes: &[KeyValue]) -> Result<String> {
    let name = attributes.iter().find(|one| one.key == "service.name").and_then(|one| one.value.as_ref());
    match name.and_then(|name| name.value.as_ref()) {
        Some(Value::StringValue(name)) => Ok(name.clone()),
        _ => anyhow::bail!("no service.name"),
    }
}

/// Has every process of the deployment send to this collector.
fn send_to(folder: &Path, base: &str) -> Result<usize> {
    let mut changed = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            changed += send_to(&path, base)?;
        } else if path.ends_with("countersign.toml") {
            let text = std::fs::read_to_string(&path)?;
            ensure!(text.contains("otlp = \"\""), "{}", path.display());
            let text = text.replace("otlp = \"\"", &format!("otlp = \"{base}\""));
            std::fs::write(&path, text.replace("otlp_measures_seconds = 15", "otlp_measures_seconds = 1"))?;
            changed += 1;
        }
    }
    Ok(changed)
}

fn a_request_is_one_trace_at_every_service(layout: Layout) -> Result<()> {
    let deployment = Deployment::temporary(crate::program())?;
    layout.demo(&deployment)?.stop()?;
    let (collector, base) = Collector::start()?;
    let processes = send_to(&deployment.dir(), &base)?;
    let server = layout.again(&deployment)?;
    let token = deployment.login("nancy@northwind")?;
    let client = server.client()?.with_token(&token);
    let answer = client.get("/rest/v1/customer?select=id,company&limit=3")?.success()?;
    let request = answer.header("countersign-request").context("the request's id")?.replace('-', "");
    let trace: Vec<u8> =
        (0..16).map(|at| u8::from_str_radix(&request[2 * at..2 * at + 2], 16)).collect::<Result<_, _>>()?;
    let spans = until("spans of three services", || {
        let spans = collector.spans(&trace)?;
        let has = |name: &str| spans.iter().any(|span| span.service == name);
        let all = ["countersign-gateway", "countersign-keys", "countersign-store"].into_iter().all(has);
        Ok(all.then_some(spans))
    })?;
    let root: Vec<_> = spans.iter().filter(|span| span.parent.is_empty()).collect();
    assert_eq!(root.len(), 1, "{spans:?}");
    assert_eq!((root[0].service.as_str(), root[0].id.as_slice()), ("countersign-gateway", &trace[8..]));
    assert!(spans.iter().all(|span| span.parent.is_empty() || span.parent == root[0].id), "{spans:?}");
    let measuring = until("measures of every service", || {
        let all = collector.services_that_measure()?;
        let has = |name: &str| all.iter().any(|one| *one == format!("countersign-{name}"));
        Ok(["gateway", "keys", "store", "authority"].into_iter().all(has).then_some(all))
    })?;
    println!("{} spans of one request out of {processes} processes; measures of {measuring:?}", spans.len());
    let secrets = secrets(&[token])?;
    for path in ["/v1/traces", "/v1/metrics"] {
        collector.taken(path).iter().for_each(|body| nothing_of(&secrets, path, body));
    }
    server.stop()
}

fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        ensure!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(100));
    }
}
