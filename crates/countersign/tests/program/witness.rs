//! A witness of a real deployment, from which the newest records are then taken away.

use std::path::Path;

use serde_json::Value;

use crate::bench::{Bench, Ran, Served};

const CUSTOMERS: &str = "id,company,country\nA1,Alpha,Brazil\nB2,Beta,Peru\n";

fn look(bench: &Bench) -> Ran {
    bench.run(&["--output", "json", "witness", "--state", &bench.path("witness.json"), "--once"])
}

/// The size of each log, by its name.
fn sizes(ran: &Ran) -> Vec<(String, u64)> {
    let logs: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    logs.iter().map(|log| (log["log"].as_str().unwrap().to_owned(), log["size"].as_u64().unwrap_or(0))).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn records_taken_away_from_all_services_at_once_are_missed_by_the_witness() {
    let bench = Bench::ready();
    let first = look(&bench).expect(0);
    let key = first.err.lines().find_map(|line| line.strip_prefix("witness ")).unwrap().to_owned();
    assert!(sizes(&first).iter().any(|(log, _)| log == "gateway/first"), "{}", first.out);
    let audit = bench.dir().join("audit");
    let (old, newer) = (bench.dir().join("audit.old"), bench.dir().join("audit.newer"));
    copy(&audit, &old);

    // What nobody shall know of, and a proof of it.
    let file = bench.file("customer.csv", CUSTOMERS);
    bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(0);
    // A checkpoint covers a record a second later at the latest, and on a busy machine later than that.
    let grown = |ran: &Ran| sizes(&first).iter().zip(sizes(ran)).filter(|((_, old), (_, new))| new > old).count();
    let looks = std::iter::repeat_with(|| look(&bench).expect(0));
    let second = looks.take(100).find(|ran| grown(ran) >= 3).unwrap();
    let tail = bench.run(&["--as", "ann@acme", "--output", "json", "audit", "tail", "-n", "100"]).expect(0);
    let records: Vec<Value> = serde_json::from_str(&tail.out).unwrap();
    let import = records.iter().find(|record| record["action"] == "create").unwrap();
    let proof = bench.path("proof.json");
    bench.run(&["--as", "ann@acme", "audit", "prove", import["request"].as_str().unwrap(), "-o", &proof]).expect(0);
    let checked = bench.run(&["--output", "json", "audit", "check", &proof]).expect(0);
    let checked_by: Value = serde_json::from_str(&checked.out).unwrap();
    assert!(checked_by["records"].as_array().unwrap().len() >= 3, "{}", checked.out);
    assert!(checked.err.contains("on trust"), "{}", checked.err);
    let by_witness = bench.bare(&["audit", "check", &proof, "--witness", &key]);
    crate::bench::run(by_witness).expect(0);

    // An older copy of all of it, which fits together in itself.
    std::fs::rename(&audit, &newer).unwrap();
    copy(&old, &audit);
    let refused = look(&bench).expect(5);
    assert!(refused.err.contains("ALARM gateway/first"), "{}", refused.err);
    println!("{}", refused.err);
    assert_eq!(sizes(&refused), sizes(&second), "what was seen has not moved");
    let seen =
        bench.file("seen", bench.run(&["witness", "--state", &bench.path("witness.json"), "--seen"]).expect(0).out);
    let verified = bench.run(&["audit", "verify", "--witnessed", &seen]).expect(1);
    println!("{}", verified.err);

    // It stays so when all records are back, until somebody says otherwise.
    std::fs::remove_dir_all(&audit).unwrap();
    std::fs::rename(&newer, &audit).unwrap();
    look(&bench).expect(5);
    let forget = |log: &str| bench.run(&["witness", "--state", &bench.path("witness.json"), "--forget", log]);
    for (log, _) in sizes(&second) {
        forget(&log).expect(0);
    }
    forget("store/none").expect(4);
    look(&bench).expect(0);
}

#[test]
fn a_witness_that_runs_takes_checkpoints_and_stops_when_asked() {
    let bench = Bench::ready();
    let address = "127.0.0.1:0";
    let server = Served::start(bench.command(&["serve", "--listen", address]));
    let state = bench.path("witness.json");
    let arguments = ["witness", "--state", state.as_str(), "--every", "1s", "--listen", address];
    let witness = Served::start_until(bench.command(&arguments), "ready http://");
    // One state, one witness.
    bench.run(&["witness", "--state", &state, "--once"]).expect(6);
    assert_eq!(witness.stop(), 0);
    look(&bench).expect(0);
    std::fs::write(&state, "{}").unwrap();
    let damaged = look(&bench).expect(5);
    assert!(damaged.err.contains("damaged"), "{}", damaged.err);
    assert_eq!(std::fs::read_to_string(&state).unwrap(), "{}");
    assert_eq!(server.stop(), 0);
}
