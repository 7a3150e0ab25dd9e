//! What keys may seal, and no more: rotated by the service itself, over kills, moves and restores.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::{Bench, POLICIES, Ran, Served, program, run};
use crate::on_postgres::moved;

const ANN: &str = "ann@acme";
const WITHIN: Duration = Duration::from_secs(180);

/// Keys may seal so much from now on.
fn limited(bench: &Bench, seals_max: u64) {
    let periods = bench.file("keys.toml", format!("seals_max = {seals_max}\n"));
    let policies = bench.file("policies.cedar", POLICIES);
    bench.run(&["policy", "apply", &policies, &periods]).expect(0);
}

/// Earlier states are sealed again like records: without them, what there is to seal again stays as little as it is.
pub fn without_history(bench: &Bench) {
    let path = bench.dir().join("countersign.toml");
    let text = fs::read_to_string(&path).unwrap();
    let changed = text.replacen("history_days = 30", "history_days = 0", 1);
    assert_ne!(changed, text);
    fs::write(path, changed).unwrap();
}

fn import(bench: &Bench, numbers: std::ops::Range<u32>, of: &str) -> Ran {
    let rows: String = numbers.map(|number| format!("c{number:04},{of} {number},AT\n")).collect();
    let file = bench.file("rows.csv", format!("id,company,country\n{rows}"));
    bench.run(&["--as", ANN, "import", "customer", &file, "--upsert"])
}

fn listed(dir: &str) -> Vec<Value> {
    let ran = run(program(&["--dir", dir, "--output", "json", "keys", "list", "--tenant", "acme"])).expect(0);
    serde_json::from_str::<Value>(&ran.out).unwrap().as_array().unwrap().clone()
}

fn keys(bench: &Bench) -> Vec<Value> {
    listed(&bench.dir().display().to_string())
}

/// How much each key of fields has sealed, by its field and epoch.
fn sealed(keys: &[Value]) -> BTreeMap<(String, u64), u64> {
    let counted =
        |key: &Value| Some((key["key"].as_str()?.to_owned(), key["epoch"].as_u64()?, key["sealed"].as_u64()?));
    keys.iter().filter_map(counted).map(|(key, epoch, sealed)| ((key, epoch), sealed)).collect()
}

fn newest(keys: &[Value], field: &str) -> u64 {
    keys.iter().filter(|key| key["key"] == field).filter_map(|key| key["epoch"].as_u64()).max().unwrap_or_default()
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < WITHIN, "{what}");
        thread::sleep(Duration::from_millis(200));
    }
}

fn tail(bench: &Bench) -> String {
    bench.run(&["--as", ANN, "audit", "tail", "-n", "2000"]).expect(0).out
}

#[test]
fn what_a_key_can_not_seal_gets_another_key_or_is_refused_by_name() {
    const LIMIT: u64 = 100;
    let bench = Bench::ready();
    without_history(&bench);
    limited(&bench, LIMIT);
    let served = bench.serve();
    for _ in 0..3 {
        import(&bench, 0..20, "First").expect(0);
    }
    assert_eq!(newest(&keys(&bench), "customer.company"), 1);
    // More than what is left, far below three quarters of the limit.
    import(&bench, 20..70, "Second").expect(0);
    assert!(newest(&keys(&bench), "customer.company") > 1);
    let refused = import(&bench, 200..310, "Too many");
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("than one key may seal"), "{}", refused.err);
    let all = sealed(&keys(&bench));
    assert!(all.values().all(|sealed| *sealed <= LIMIT), "{all:?}");
    // More records than a key lasts for: sealing them again uses key after key up. That ends, and is on record.
    until("it goes on for ever", || {
        drop(import(&bench, 70..130, "Third"));
        tail(&bench).contains("not rotated by the service itself any more")
    });
    let stopped = keys(&bench);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(newest(&keys(&bench), "customer.company"), newest(&stopped, "customer.company"));
    let live = stopped.iter().filter(|key| key["key"] == "customer.company").count();
    assert!(live <= 8, "{live} epochs of one field");
    let all = sealed(&stopped);
    assert!(all.values().all(|sealed| *sealed <= LIMIT), "{all:?}");
    // With a limit that fits it comes to its end.
    limited(&bench, 10_000);
    until("it is not sealed again", || keys(&bench).iter().all(|key| key["state"] != "resealing"));
    import(&bench, 70..310, "Not too many").expect(0);
    let read = bench.run(&["--as", ANN, "get", "customer", "--where", "country=eq.AT", "--count"]).expect(0).out;
    assert_eq!(read.trim(), "310");
    assert_eq!(served.stop(), 0);
}

/// Nothing is sealed past the limit, whatever is in between.
#[test]
fn keys_are_rotated_by_the_service_itself_on_postgres_and_over_kills() {
    const LIMIT: u64 = 200;
    let bench = Bench::ready();
    without_history(&bench);
    limited(&bench, LIMIT);
    import(&bench, 0..20, "Alpine").expect(0);
    let _database = moved(&bench);
    let mut most: BTreeMap<(String, u64), u64> = BTreeMap::new();
    let mut note = |bench: &Bench| {
        for (key, sealed) in sealed(&keys(bench)) {
            assert!(sealed <= LIMIT, "{key:?} has sealed {sealed}");
            let before = most.insert(key.clone(), sealed).unwrap_or_default();
            assert!(before <= sealed, "{key:?} had sealed {before}, and {sealed} since");
        }
    };
    for _ in 0..3 {
        let served = bench.serve();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let ran = import(&bench, 0..20, "Alpine");
                    // What the kill cuts off fails.
                    assert!(ran.code == 0 || stop.load(Ordering::Relaxed), "{}", ran.err);
                }
            });
            thread::sleep(Duration::from_secs(3));
            note(&bench);
            stop.store(true, Ordering::Relaxed);
            // SIGKILL, while it writes and seals again.
            drop(served);
            writing.join().unwrap();
        });
    }
    let served = bench.serve();
    note(&bench);
    until("nothing is rotated", || newest(&keys(&bench), "customer.company") > 1);
    let log = tail(&bench);
    assert!(log.contains("by the service itself"), "{log}");
    until("it is not sealed again", || keys(&bench).iter().all(|key| key["state"] != "resealing"));
    note(&bench);
    let read = bench.run(&["--as", ANN, "get", "customer", "--where", "country=eq.AT"]).expect(0).out;
    assert_eq!(read.matches("Alpine ").count(), 20);
    assert_eq!(served.stop(), 0);
}

/// What was sealed after the backup was made is not forgotten: no key seals more than it may because of a restore.
#[test]
fn a_restore_lets_no_key_seal_more_than_it_may() {
    let bench = Bench::ready();
    let (config, folder) = (bench.dir().join("countersign.toml"), bench.path("repository"));
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n[backup.nightly]\nfolder = {folder:?}\n")).unwrap();
    // A period that ends soon is on record for the operators.
    let periods = bench.file("keys.toml", "seals_max = 1_000\ndeployment_days = 5\n");
    let policies = bench.file("policies.cedar", POLICIES);
    bench.run(&["policy", "apply", &policies, &periods]).expect(0);
    let served = bench.serve();
    import(&bench, 0..50, "Before").expect(0);
    bench.run(&["backup", "create", "nightly"]).expect(0);
    for _ in 0..4 {
        import(&bench, 0..100, "After").expect(0);
    }
    let before = sealed(&keys(&bench));
    let company = ("customer.company".to_owned(), 1);
    assert!(before[&company] >= 450, "{before:?}");
    // One tenant, in place: what was counted stays, and what is put back is counted too.
    bench.run(&["backup", "restore", "--tenant", "acme", "--from", "nightly"]).expect(0);
    let after = sealed(&keys(&bench));
    assert!(after[&company] >= before[&company].saturating_add(50), "{before:?} {after:?}");
    assert!(after.iter().all(|(key, sealed)| before.get(key).is_none_or(|before| before <= sealed)));
    until("the period of what wraps the deployment's key", || {
        let tail = bench.run(&["--as", "operator@operators", "audit", "tail", "-n", "300"]).expect(0).out;
        tail.contains("the cryptoperiod of the key that wraps the deployment's")
    });
    let status = bench.run(&["--output", "json", "keys", "list"]).expect(0).out;
    let status: Value = serde_json::from_str(&status).unwrap();
    let deployment = status.as_array().unwrap().iter().find(|key| key["key"] == "deployment").unwrap();
    assert_eq!((&deployment["period_days"], &deployment["left_days"]), (&5.into(), &5.into()));
    assert_eq!(served.stop(), 0);

    // The whole, elsewhere: nobody knows there what was sealed since, so nothing is sealed under those keys any more.
    let (there, safe) = (bench.path("there"), bench.dir().display().to_string());
    run(program(&["--dir", &there, "backup", "restore", "--from", &folder, "--kms-from", &safe])).expect(0);
    for user in ["operator@operators", ANN] {
        fs::copy(bench.dir().join("keys").join(user), std::path::Path::new(&there).join("keys").join(user)).unwrap();
    }
    let elsewhere = |arguments: &[&str]| run(program(&[&["--dir", &there], arguments].concat())).expect(0);
    let first = sealed(&listed(&there));
    assert_eq!(newest(&listed(&there), "customer.company"), 2);
    let server = Served::start(program(&["serve", &there, "--listen", "127.0.0.1:0"]));
    let file = bench.file("more.csv", "id,company,country\nc0001,Later,AT\nd0001,Later,AT\n");
    elsewhere(&["--as", ANN, "import", "customer", &file, "--upsert"]);
    until("it is not sealed again", || listed(&there).iter().all(|key| key["state"] != "resealing"));
    let last = sealed(&listed(&there));
    assert!(last.keys().all(|(_, epoch)| *epoch == 2), "{last:?}");
    assert!(first.contains_key(&company), "{first:?}");
    let count = elsewhere(&["--as", ANN, "get", "customer", "--where", "country=eq.AT", "--count"]).out;
    assert_eq!(count.trim(), "51");
    assert_eq!(server.stop(), 0);
}
