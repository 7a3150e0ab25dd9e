//! Four processes that speak only TLS: everything that they listen on is found and spoken to in clear, and what goes
//! between them is listened to.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_testkit::{Deployment, Server};

use crate::leaks::{Needles, exercise, sample};
use crate::processes::{self, Port, Process};
use crate::{Layout, root};

/// How long a port is given to say something.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one is given that is told nothing; the longest time for a handshake is 10 s.
const SILENCE: Duration = Duration::from_secs(12);

#[test]
#[ignore = "starts a demo; `cargo xtask test --only ports` runs it"]
fn four_processes_speak_only_tls() -> Result<()> {
    let (deployment, server) = Layout::Apart.start()?;
    let services = processes::services(&server)?;
    let names: BTreeSet<&str> = services.iter().map(|process| process.service.as_str()).collect();
    assert_eq!(names, ["authority", "gateway", "keys", "store"].into());
    assert_eq!(services.len(), 4, "four processes, one for each service");
    let own = processes::own(&server)?;
    assert_eq!(own.ports.len(), 0, "the process that started them listens itself");
    for Process { id, service, ports, others } in services.iter().chain([&own]) {
        assert_eq!(others, &[] as &[String], "{service}, process {id}, can be reached otherwise");
        let numbers: Vec<String> = ports.iter().map(|port| port.number.to_string()).collect();
        println!("  {service:<10} process {id:<8} listens on {}", numbers.join(" and "));
    }
    for process in &services {
        let doors = process.ports.iter().filter(|port| port.is_door).count();
        // The monitor is one process with the authority, and has a port of its own there, besides the one for measures.
        let expected = usize::from(["gateway", "authority"].contains(&process.service.as_str()));
        assert_eq!(doors, expected, "{}: ports for users and measures", process.service);
        let expected = if process.service == "authority" { 2 } else { 1 };
        assert_eq!(process.ports.len() - doors, expected, "{}: ports for other services", process.service);
    }
    let ports: Vec<Port> = services.iter().flat_map(|process| process.ports.clone()).collect();
    nothing_in_clear(&ports)?;
    services_only(&deployment, &services)?;
    nothing_to_overhear(&deployment, &server, &ports)?;
    server.stop()
}

/// What somebody may say who does not speak TLS.
fn in_clear() -> Vec<(&'static str, Vec<u8>)> {
    // RFC 9113, section 3.4, with an empty SETTINGS frame.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // PostgreSQL's frontend/backend protocol, section 55.7: StartupMessage of protocol 3.0, and SSLRequest.
    let names = b"user\0andrew\0database\0northwind\0\0";
    let mut startup = (8 + names.len() as u32).to_be_bytes().to_vec();
    startup.extend(196_608u32.to_be_bytes());
    startup.extend(names);
    let mut ssl_request = 8u32.to_be_bytes().to_vec();
    ssl_request.extend(80_877_103u32.to_be_bytes());
    // An xorshift: the same bytes each time.
    let mut state = 88_172_645_463_325_252u64;
    let random = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    });
    vec![
        ("HTTP/1.1", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n".to_vec()),
        ("an HTTP/2 preface", preface),
        ("a PostgreSQL startup packet", startup),
        ("a PostgreSQL request for TLS", ssl_request),
        ("random bytes", random.take(64).flatten().collect()),
        ("an end of line", b"\r\n".to_vec()),
    ]
}

/// Speaks to each port in clear, and says nothing to it.
fn nothing_in_clear(ports: &[Port]) -> Result<()> {
    let began = Instant::now();
    let mut threads = Vec::new();
    for port in ports {
        for (what, said) in in_clear() {
            threads.push((port.address(), what, std::thread::spawn(answer(port.address(), said, PATIENCE))));
        }
        let silent = std::thread::spawn(answer(port.address(), Vec::new(), SILENCE));
        threads.push((port.address(), "silence", silent));
    }
    let asked = threads.len();
    for (address, what, thread) in threads {
        let answer = thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        assert!(is_alert(&answer), "{address} answered {what} with {:?}", String::from_utf8_lossy(&answer));
    }
    println!("  {asked} times spoken to in clear: never more than a TLS alert ({:.1?})", began.elapsed());
    Ok(())
}

/// What a port answers until it closes the connection or time is up.
fn answer(address: String, said: Vec<u8>, patience: Duration) -> impl FnOnce() -> Result<Vec<u8>> {
    move || {
        let mut stream = TcpStream::connect(&address).with_context(|| address.clone())?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(&said)?;
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        // An error is a connection that was reset, or nothing until time was up.
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            heard.extend_from_slice(&buffer[..length]);
        }
        let _ = stream.shutdown(Shutdown::Both);
        Ok(heard)
    }
}

/// Nothing, or one alert (RFC 8446, section 6): record type 21, version 3.x, two bytes.
fn is_alert(answer: &[u8]) -> bool {
    answer.is_empty() || matches!(answer, [21, 3, _, 0, 2, 1 | 2, _])
}

/// Ports for services take no TLS 1.2, and from somebody without a certificate nothing but a request to join.
fn services_only(deployment: &Deployment, services: &[Process]) -> Result<()> {
    let methods = methods()?;
    let mut refused = 0;
    for process in services {
        for port in process.ports.iter().filter(|port| !port.is_door) {
            // The port after the authority's own is the monitor's.
            let first = process.ports.iter().filter(|port| !port.is_door).map(|port| port.number).min();
            let is_authority = process.service == "authority" && first == Some(port.number);
            let service = if process.service == "authority" && !is_authority { "monitor" } else { &process.service };
            let who = format!("{service} at {}", port.address());
            let older = curl(deployment, *port, "/", &["--tls-max", "1.2"])?;
            assert_eq!(older, Heard::NoConnection, "{who}: TLS 1.2");
            for method in &methods {
                let heard = curl(deployment, *port, method, &[])?;
                match (service, method.as_str()) {
                    // It is heard there, and what is not a join token is refused.
                    ("authority", "/countersign.v1.Authority/Join") => {
                        assert!(matches!(heard, Heard::Status(3 | 7 | 16)), "{who}: {method}: {heard:?}");
                    }
                    // PERMISSION_DENIED or UNAUTHENTICATED, whatever there is.
                    ("authority", _) => assert!(matches!(heard, Heard::Status(7 | 16)), "{who}: {method}: {heard:?}"),
                    _ => assert_eq!(heard, Heard::NoConnection, "{who}: {method}"),
                }
                refused += 1;
            }
        }
    }
    println!("  {refused} calls of {} methods without a certificate: all refused", methods.len());
    Ok(())
}

/// What came of a call.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// The handshake failed, or the connection ended before there was an answer.
    NoConnection,
    /// The gRPC status.
    Status(u32),
}

/// Calls a method as somebody without a certificate, who does not mind whose certificate the other end has.
fn curl(deployment: &Deployment, port: Port, path: &str, more: &[&str]) -> Result<Heard> {
    // An empty message: not compressed, no bytes.
    let empty = deployment.dir().join("empty.grpc");
    std::fs::write(&empty, [0; 5])?;
    let mut command = Command::new("curl");
    command.args(["--silent", "--http2", "--insecure", "--max-time", "10", "--include", "--request", "POST"]);
    command.args(["--header", "content-type: application/grpc", "--header", "te: trailers"]).args(more);
    command.arg("--data-binary").arg(format!("@{}", empty.display()));
    command.arg(format!("https://{}{path}", port.address()));
    // Where an answer comes before the whole request has gone, curl often forgets it: it ends as if all were well, or
    // with CURLE_HTTP2_STREAM.
    let answers = std::iter::repeat_with(|| command.output()).take(30);
    let mut said = None;
    for output in answers {
        let output = output?;
        if !matches!(output.status.code(), Some(0 | 92)) || !output.stdout.is_empty() {
            said = Some(output);
            break;
        }
    }
    std::fs::remove_file(&empty)?;
    let output = said.with_context(|| format!("{path}: curl forgets every answer"))?;
    if output.stdout.is_empty() {
        // CURLE_SSL_CONNECT_ERROR, CURLE_GOT_NOTHING, CURLE_SEND_ERROR, CURLE_RECV_ERROR and kin.
        let code = output.status.code().context("curl was killed")?;
        ensure!([16, 35, 52, 55, 56].contains(&code), "{path}: curl ended with {code}");
        return Ok(Heard::NoConnection);
    }
    let text = String::from_utf8_lossy(&output.stdout).to_ascii_lowercase();
    let status = text.lines().find_map(|line| line.trim().strip_prefix("grpc-status:")?.trim().parse().ok());
    Ok(Heard::Status(status.with_context(|| format!("{path}: no gRPC status: {text}"))?))
}

/// The paths of all methods: ours as the `.proto` files have them, and those of health and reflection.
fn methods() -> Result<Vec<String>> {
    let mut methods: Vec<String> = ["Health/Check", "Health/List", "Health/Watch"]
        .map(|name| format!("/grpc.health.v1.{name}"))
        .into_iter()
        .chain(["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".into(), "/no.such.Service/Method".into()])
        .collect();
    let mut folders = vec![root().join("crates/wire/proto")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let text = std::fs::read_to_string(entry.path())?;
            let package = text.lines().find_map(|line| line.strip_prefix("package ")?.strip_suffix(';'));
            let package = package.unwrap_or_default();
            let mut service = "";
            for line in text.lines() {
                if let Some(rest) = line.strip_prefix("service ") {
                    service = rest.split([' ', '{']).next().unwrap_or_default();
                } else if let Some(rest) = line.trim().strip_prefix("rpc ") {
                    let name = rest.split(['(', ' ']).next().unwrap_or_default();
                    methods.push(format!("/{package}.{service}/{name}"));
                }
            }
        }
    }
    ensure!(methods.len() > 15, "only {} methods were found", methods.len());
    Ok(methods)
}

/// What is said in clear while everything is listened to, at the beginning and at the end, so that hearing nothing
/// between means something.
const PLANTED: [&str; 2] = ["begin-where-everybody-hears-it", "the-end-where-everybody-hears-it"];

/// Listens to the loopback interface while the demo is used.
fn nothing_to_overhear(deployment: &Deployment, server: &Server, ports: &[Port]) -> Result<()> {
    let file = deployment.dir().join("overheard.pcap");
    let Some(mut listening) = overhear(&file, ports)? else { return Ok(()) };
    say(&file, ports[0], PLANTED[0])?;
    let tokens = exercise(deployment, server)?;
    say(&file, ports[0], PLANTED[1])?;
    // The end of its input is not what it waits for; a signal is.
    let stopped = Command::new("sh").args(["-c", &format!("kill -INT {}", listening.id())]).status()?;
    ensure!(stopped.success(), "tcpdump had ended");
    listening.wait()?;
    let heard = std::fs::read(&file)?;
    let mut spellings = sample()?;
    let values = spellings.len();
    spellings.extend(tokens.iter().flat_map(|token| token.split('.').skip(1).map(str::to_owned)));
    spellings.extend(PLANTED.map(str::to_owned));
    let found: Vec<&str> = Needles::new(&spellings).find(&heard).into_iter().map(|at| spellings[at].as_str()).collect();
    assert_eq!(found, PLANTED, "overheard between the processes");
    ensure!(heard.len() > 100_000, "only {} bytes were overheard", heard.len());
    println!(
        "  {} bytes overheard: none of {values} values, no part of {} tokens; what was planted is found",
        heard.len(),
        tokens.len()
    );
    std::fs::remove_file(&file)?;
    Ok(())
}

/// Says something in clear until it is heard.
fn say(file: &Path, port: Port, what: &str) -> Result<()> {
    let needles = [what.to_owned()];
    let needles = Needles::new(&needles);
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        answer(port.address(), what.into(), PATIENCE)()?;
        std::thread::sleep(Duration::from_millis(200));
        if !needles.find(&std::fs::read(file)?).is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "what is said in clear is not heard");
    }
}

/// Starts `tcpdump`, or says why it can't.
fn overhear(file: &Path, ports: &[Port]) -> Result<Option<Child>> {
    let filter: Vec<String> = ports.iter().map(|port| format!("port {}", port.number)).collect();
    let child = Command::new("tcpdump")
        .args(["-i", "lo", "-s", "0", "-U", "--immediate-mode", "-B", "65536", "-Z", "root", "-w"])
        .arg(file)
        .arg(format!("tcp and ({})", filter.join(" or ")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            println!("  NOT SHOWN: what travels between the processes, as there is no tcpdump: {error}");
            return Ok(None);
        }
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    // It makes the file when it has begun to listen.
    while !file.exists() && Instant::now() < deadline {
        if child.try_wait()?.is_some() {
            let mut said = String::new();
            child.stderr.take().context("no standard error")?.read_to_string(&mut said)?;
            println!("  NOT SHOWN: what travels between the processes, as tcpdump may not listen: {}", said.trim());
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(Some(child))
}
