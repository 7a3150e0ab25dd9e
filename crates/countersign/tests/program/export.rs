//! Questions, proofs and the export of audit records.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use crate::bench::Bench;

const ANN: [&str; 2] = ["--as", "ann@acme"];

/// A deployment with something on record, served.
fn busy() -> (Bench, crate::bench::Served) {
    let bench = Bench::ready();
    let served = bench.serve();
    let rows = (0..5).map(|number| format!("C{number},Company {number}\n")).collect::<String>();
    let file = bench.file("rows.csv", format!("id,company\n{rows}"));
    ask(&bench, &["import", "customer", &file]).expect(0);
    for _ in 0..5 {
        bench.run(&["--as", "carl@acme", "get", "customer", "--limit", "2"]).expect(0);
    }
    (bench, served)
}

fn ask(bench: &Bench, arguments: &[&str]) -> crate::bench::Ran {
    bench.run(&[&ANN[..], arguments].concat())
}

fn records(out: &str) -> Vec<serde_json::Value> {
    serde_json::from_str(out).unwrap()
}

fn identifiers(events: &str) -> Vec<String> {
    let uid = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event.pointer("/metadata/uid").unwrap().to_string()
    };
    events.lines().map(uid).collect()
}

#[test]
fn who_did_what_and_its_proof() {
    let (bench, _served) = busy();
    let by = records(&ask(&bench, &["--output", "json", "audit", "by", "carl", "--since", "1h"]).expect(0).out);
    assert!(by.len() >= 5 && by.iter().all(|record| record["user"] == "carl"), "{by:?}");
    let session = by[0]["session"].as_str().unwrap();
    let of_session = records(&ask(&bench, &["--output", "json", "audit", "session", session]).expect(0).out);
    assert!(!of_session.is_empty() && of_session.iter().all(|record| record["session"] == session));
    let saw = |field: &str| {
        let asked = ["--output", "json", "audit", "who-saw", "customer/C1", "--field", field];
        ask(&bench, &asked)
    };
    assert!(records(&saw("company").expect(0).out).iter().any(|record| record["user"] == "carl"));
    saw("nothing").expect(4);
    ask(&bench, &["audit", "by", "nobody"]).expect(4);
    ask(&bench, &["audit", "by", "carl", "--until", "1d"]).expect(4);
    ask(&bench, &["audit", "by", "carl", "--since", "yesterday"]).expect(2);

    let request = by.last().unwrap()["request"].as_str().unwrap();
    let proof = bench.path("proof.json");
    ask(&bench, &["audit", "prove", request, "-o", &proof]).expect(0);
    let text = std::fs::read_to_string(&proof).unwrap();
    assert!(!text.contains("carl") && text.contains("c2sp.org/tlog-proof@v1"), "{text}");
    // Without the deployment.
    crate::bench::run(crate::bench::program(&["audit", "check", &proof])).expect(0);
    let other: String = text.replacen("index ", "index 1", 1);
    let other = bench.file("other.json", other);
    assert_ne!(crate::bench::run(crate::bench::program(&["audit", "check", &other])).code, 0);
}

/// INVARIANT taken-before-forgotten: killed at any moment, it leaves nothing out.
#[test]
fn an_export_that_is_killed_leaves_nothing_out() {
    let (bench, _served) = busy();
    let (file, state) = (bench.path("events.ndjson"), bench.path("events.state"));
    let wanted = identifiers(&ask(&bench, &["audit", "export"]).expect(0).out);
    assert!(wanted.len() > 30, "{}", wanted.len());
    let export = ["audit", "export", "--to", &file, "--state", &state, "--batch", "1"];
    for round in 0..6 {
        let mut child = bench.command(&[&ANN[..], &export, &["--follow"]].concat()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300 + round * 130));
        child.kill().unwrap();
        child.wait().unwrap();
        // As if it had been killed within a write.
        let mut torn = std::fs::OpenOptions::new().append(true).create(true).open(&file).unwrap();
        torn.write_all(b"{\"class_uid\":60").unwrap();
    }
    ask(&bench, &["audit", "export", "--to", &file, "--state", &state]).expect(0);
    let given = identifiers(&std::fs::read_to_string(&file).unwrap());
    let distinct: BTreeSet<&String> = given.iter().collect();
    assert!(wanted.iter().all(|uid| distinct.contains(uid)), "{} of {}", distinct.len(), wanted.len());
    println!("{} events of {} records after six kills", given.len(), distinct.len());
    // And it goes on where it ended.
    let before = given.len();
    ask(&bench, &["audit", "export", "--to", &file, "--state", &state]).expect(0);
    let given = identifiers(&std::fs::read_to_string(&file).unwrap());
    let again = given[before..].iter().filter(|uid| wanted.contains(uid)).count();
    assert_eq!(again, 0, "what was given before is not given again");
}

/// A collector that is not ready at first, then takes one batch after another.
#[test]
fn an_address_gets_every_batch_with_the_token() {
    let (mut bench, _served) = busy();
    bench.set("COUNTERSIGN_EXPORT_TOKEN", "let-me-in");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let collector = std::thread::spawn(move || {
        let (mut taken, mut number) = (String::new(), 0);
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let body = loop {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece).unwrap();
                request.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    assert_ne!(read, 0);
                    continue;
                };
                let head = head.to_lowercase();
                assert!(head.contains("authorization: bearer let-me-in"), "{head}");
                assert!(head.contains("application/x-ndjson"), "{head}");
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if body.len() >= length.trim().parse().unwrap() {
                    break body.to_owned();
                }
                assert_ne!(read, 0);
            };
            number += 1;
            let status = if number == 1 { "503 Service Unavailable" } else { "202 Accepted" };
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            if number > 1 {
                taken.push_str(&body);
            }
            if number > 6 {
                return taken;
            }
        }
    });
    let url = format!("http://{address}/in");
    let wanted = identifiers(&ask(&bench, &["audit", "export"]).expect(0).out);
    let batch = (wanted.len() / 4).to_string();
    // The collector goes away after the sixth, which is an error in the end, or there is nothing more.
    let mut export =
        bench.command(&[&ANN[..], &["audit", "export", "--to", &url, "--batch", &batch, "--follow"]].concat());
    let mut export = export.spawn().unwrap();
    let taken = identifiers(&collector.join().unwrap());
    export.kill().unwrap();
    export.wait().unwrap();
    let distinct: BTreeSet<&String> = taken.iter().collect();
    assert!(wanted.iter().all(|uid| distinct.contains(uid)), "{} of {}", distinct.len(), wanted.len());
}
