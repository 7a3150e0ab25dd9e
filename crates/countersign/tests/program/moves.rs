//! A deployment goes into PostgreSQL and comes back, stopped and while it is used.
#![expect(
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    reason = "figures are to be seen; a test fails by panicking"
)]

use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign_testkit::{Certified, Client, DATABASE, Postgres};
use serde_json::json;

use crate::bench::{Bench, Ran, program, run};

/// A server that trusts the deployment, set up by what the program prints.
fn database(bench: &Bench) -> Postgres {
    let out = bench.path("database-tls");
    bench.run(&["postgres", "certificate", "127.0.0.1", "localhost", "--out", &out]).expect(0);
    let read = |name: &str| std::fs::read_to_string(Path::new(&out).join(name)).unwrap();
    let certified = Certified { ca_pem: read("ca.pem"), certificate_pem: read("cert.pem"), key_pem: read("key.pem") };
    let server = Postgres::start_certified(&certified, "").unwrap();
    server.sql(DATABASE, &run(program(&["postgres", "sql"])).expect(0).out).unwrap();
    server
}

/// Records `0` to `count`.
fn fill(bench: &Bench, count: u32) {
    let rows: String = (0..count).map(|number| format!("c{number:06},Company {number},AT\n")).collect();
    let file = bench.file("customers.csv", format!("id,company,country\n{rows}"));
    bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(0);
}

fn as_ann(bench: &Bench, arguments: &[&str]) -> Ran {
    bench.run(&[&["--as", "ann@acme"], arguments].concat())
}

fn all(bench: &Bench) -> String {
    as_ann(bench, &["get", "customer", "--limit", "100000", "--output", "csv"]).expect(0).out
}

fn tables(server: &Postgres) -> String {
    server.sql(DATABASE, "SELECT count(*) FROM countersign.r0; SELECT count(*) FROM countersign.control").unwrap()
}

#[test]
fn a_stopped_deployment_goes_there_and_back() {
    let bench = Bench::ready();
    fill(&bench, 1200);
    let server = database(&bench);
    let mut bench = bench;
    let token = bench.run(&["login", "ann@acme"]).expect(0).out.trim().to_owned();
    let before = all(&bench);
    let moved = bench.run(&["move", "--to", &server.address()]).expect(0);
    assert!(moved.out.contains("every record was compared") && moved.err.contains("second copy"), "{}", moved.err);
    assert!(!bench.dir().join("data/control.db").exists());
    assert!(tables(&server).starts_with("1200\n"), "{}", tables(&server));
    assert_eq!(all(&bench), before);
    bench.set("COUNTERSIGN_TOKEN", token);
    let count = |bench: &Bench| bench.run(&["get", "customer", "--count"]).expect(0).out;
    assert_eq!(count(&bench).trim(), "1200", "a token from before is as good as it was");
    as_ann(&bench, &["audit", "verify"]).expect(0);
    let again = bench.run(&["move", "--to", &server.address()]).expect(0);
    assert!(again.err.contains("already"), "{}", again.err);

    // Something is done there, and all comes back with it.
    let more = bench.file("more.csv", "id,company\nc000001,Another\nnew,New\n");
    as_ann(&bench, &["import", "customer", &more, "--upsert"]).expect(0);
    let after = all(&bench);
    assert_ne!(after, before);
    let back = bench.run(&["move", "--to", "embedded"]).expect(0);
    assert!(back.err.contains("DROP SCHEMA"), "{}", back.err);
    assert_eq!(all(&bench), after);
    assert_eq!(count(&bench).trim(), "1201");
    as_ann(&bench, &["audit", "verify"]).expect(0);
    assert!(tables(&server).ends_with("\n0"), "no authority begins again there: {}", tables(&server));

    // And there again, where an older state of it is.
    as_ann(&bench, &["import", "customer", &more, "--upsert"]).expect(0);
    let newest = all(&bench);
    bench.run(&["move", "--to", &server.address()]).expect(0);
    assert_eq!(all(&bench), newest);
    as_ann(&bench, &["audit", "verify"]).expect(0);

    // Nobody else may go there.
    let other = Bench::ready();
    let elsewhere = other.run(&["move", "--to", &server.address()]);
    assert_ne!(elsewhere.code, 0, "{}", elsewhere.err);
}

#[test]
fn what_can_not_be_moved_to_is_said() {
    let bench = Bench::ready();
    let nobody = bench.run(&["move", "--to", "postgres://127.0.0.1:1/countersign"]).expect(6);
    assert!(nobody.err.contains("reached"), "{}", nobody.err);
    bench.run(&["move", "--to", "mysql://127.0.0.1/x"]).expect(2);
    bench.run(&["move", "--to", "embedded"]).expect(0);
    bench.run(&["move", "--stop"]).expect(4);
    // A database whose certificate is another authority's.
    let other = Postgres::start().unwrap();
    assert_ne!(bench.run(&["move", "--to", &other.address()]).code, 0);
    assert_eq!(all(&bench).lines().count(), 1, "it is where it was");
}

/// Asks and writes for as long as it is let.
struct Load {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    slowest_us: Arc<AtomicU64>,
    reader: std::thread::JoinHandle<Vec<String>>,
    writer: std::thread::JoinHandle<(Vec<String>, Vec<String>)>,
}

impl Load {
    fn start(address: &str, ca_pem: &str, token: &str) -> Self {
        let (stop, reads, slowest_us) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let client = Client::new(address, ca_pem).unwrap().with_token(token);
        let reader = std::thread::spawn({
            let (client, stop, reads, slowest_us) =
                (client.clone(), Arc::clone(&stop), Arc::clone(&reads), Arc::clone(&slowest_us));
            move || {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    match client.get("/rest/v1/customer?id=eq.c000001") {
                        Ok(answer) if answer.status == 200 => {
                            reads.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => failed.push(format!("{} {}", answer.status, answer.text())),
                        Err(error) => failed.push(format!("{error:#}")),
                    }
                    let took = u64::try_from(began.elapsed().as_micros()).unwrap();
                    slowest_us.fetch_max(took, Ordering::Relaxed);
                }
                failed
            }
        });
        let writer = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let (mut made, mut failed) = (Vec::new(), Vec::new());
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let id = format!("w{number:06}");
                    match client.post("/rest/v1/customer", &json!({ "id": id, "company": "Written" })) {
                        Ok(answer) if answer.status == 201 => made.push(id),
                        Ok(answer) => failed.push(format!("{id}: {} {}", answer.status, answer.text())),
                        Err(error) => failed.push(format!("{id}: {error:#}")),
                    }
                }
                (made, failed)
            }
        });
        Self { stop, reads, slowest_us, reader, writer }
    }

    /// What was acknowledged. Nothing may have failed.
    fn end(self, what: &str) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.reader.join().unwrap();
        assert_eq!(failed.first(), None, "{what}: {} reads failed", failed.len());
        let (made, failed) = self.writer.join().unwrap();
        assert_eq!(failed.first(), None, "{what}: {} writes failed", failed.len());
        let slowest = Duration::from_micros(self.slowest_us.load(Ordering::Relaxed));
        println!(
            "{what}: {} reads, {} writes, slowest read {slowest:?}",
            self.reads.load(Ordering::Relaxed),
            made.len()
        );
        made
    }
}

#[test]
fn a_deployment_that_is_used_goes_there_and_back() {
    let bench = Bench::ready();
    fill(&bench, 2000);
    let server = database(&bench);
    let served = bench.serve();
    let token = bench.run(&["login", "ann@acme"]).expect(0).out.trim().to_owned();
    let ca_pem = std::fs::read_to_string(bench.dir().join("ca.pem")).unwrap();
    let address = served.url.trim_start_matches("https://").to_owned();

    let mut acknowledged = Vec::new();
    for (place, what) in [(server.address(), "into the database"), ("embedded".to_owned(), "into the folder")] {
        let load = Load::start(&address, &ca_pem, &token);
        let moved = bench.run(&["move", "--to", &place]);
        std::thread::sleep(Duration::from_millis(300));
        let made = load.end(what);
        let moved = moved.expect(0);
        assert!(moved.err.contains("requests waited for"), "{}", moved.err);
        println!("{what}: {}", moved.err.lines().find(|line| line.contains("waited")).unwrap_or_default());
        assert!(!made.is_empty());
        // The next round writes the same ids again: remove these, so that deletions are carried as well.
        acknowledged.push(made.len());
        let client = Client::new(&address, &ca_pem).unwrap().with_token(&token);
        for id in &made {
            let found = client.get(&format!("/rest/v1/customer?id=eq.{id}")).unwrap();
            assert!(found.text().contains(id), "{id} was acknowledged and is not there");
            client.delete(&format!("/rest/v1/customer?id=eq.{id}")).unwrap();
        }
    }
    as_ann(&bench, &["audit", "verify"]).expect(0);
    assert_eq!(as_ann(&bench, &["get", "customer", "--count"]).expect(0).out.trim(), "2000");
    assert_eq!(served.stop(), 0);
    as_ann(&bench, &["audit", "verify"]).expect(0);
}

/// A command that is watched by nobody goes on, and one that is asked again finds it.
#[test]
fn a_move_goes_on_without_its_command_and_after_its_server() {
    let bench = Bench::ready();
    fill(&bench, 3000);
    let server = database(&bench);
    let served = bench.serve();
    let mut watching: Child = bench.command(&["move", "--to", &server.address()]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    watching.kill().unwrap();
    watching.wait().unwrap();
    drop(served);
    let served = bench.serve();
    bench.run(&["move", "--to", &server.address()]).expect(0);
    assert!(tables(&server).starts_with("3000\n"));
    assert_eq!(as_ann(&bench, &["get", "customer", "--count"]).expect(0).out.trim(), "3000");
    assert_eq!(served.stop(), 0);
}

/// Killed at any moment, one side is in charge, and the move goes on when the server is started again.
#[test]
fn a_move_that_is_killed_again_and_again_ends_with_all_there() {
    const KILLS: u64 = 5;
    let bench = Bench::ready();
    fill(&bench, 6000);
    let server = database(&bench);
    let token = bench.run(&["login", "ann@acme"]).expect(0).out.trim().to_owned();
    let ca_pem = std::fs::read_to_string(bench.dir().join("ca.pem")).unwrap();
    let before = all(&bench);
    for (place, what) in [(server.address(), "into the database"), ("embedded".to_owned(), "into the folder")] {
        // Where it is asked; nowhere while it is killed and started.
        let address: Arc<std::sync::Mutex<Option<String>>> = Arc::default();
        let stop = Arc::<AtomicBool>::default();
        let reader = std::thread::spawn({
            let (address, stop, token, ca_pem) =
                (Arc::clone(&address), Arc::clone(&stop), token.clone(), ca_pem.clone());
            move || {
                let (mut reads, mut failed) = (0u64, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let Some(at) = address.lock().unwrap().clone() else {
                        std::thread::sleep(Duration::from_millis(2));
                        continue;
                    };
                    let client = Client::new(&at, &ca_pem).unwrap().with_token(&token);
                    let answer = client.get("/rest/v1/customer?id=eq.c000001");
                    let is_there = address.lock().unwrap().as_ref() == Some(&at);
                    match answer {
                        Ok(answer) if answer.status == 200 && answer.text().contains("Company 1") => reads += 1,
                        // It was being killed.
                        _ if !is_there => {}
                        Ok(answer) => failed.push(format!("{} {}", answer.status, answer.text())),
                        Err(error) => failed.push(format!("{error:#}")),
                    }
                }
                (reads, failed)
            }
        });
        let mut kills = 0;
        for round in 0..KILLS {
            let served = bench.serve();
            *address.lock().unwrap() = Some(served.url.trim_start_matches("https://").to_owned());
            let mut watching = bench.command(&["move", "--to", &place]).spawn().unwrap();
            // From the first look at the new place to the moment of switching over, and beyond.
            let lives = Duration::from_millis(500 + 450 * round);
            std::thread::sleep(lives);
            *address.lock().unwrap() = None;
            drop(served);
            kills += 1;
            let _ended = (watching.kill(), watching.wait());
        }
        let served = bench.serve();
        *address.lock().unwrap() = Some(served.url.trim_start_matches("https://").to_owned());
        bench.run(&["move", "--to", &place]).expect(0);
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        let (reads, failed) = reader.join().unwrap();
        assert_eq!(failed.first(), None, "{what}: {} reads failed", failed.len());
        assert!(reads > 0);
        assert_eq!(served.stop(), 0);
        println!("{what}: killed {kills} times, {reads} reads");
        assert_eq!(all(&bench), before, "{what}");
        as_ann(&bench, &["audit", "verify"]).expect(0);
    }
}
