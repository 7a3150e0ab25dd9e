//! Keys are rotated while everybody works and the program is killed, and old ones can be destroyed then.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use countersign_store::carry::{Carry, Reseals as _};
use countersign_store::{Options as StoreOptions, SqliteStore};
use serde_json::Value;

use crate::bench::{Bench, POLICIES};
use crate::key_limits::without_history;
use crate::on_postgres::moved;

const ANN: &str = "ann@acme";
const WITHIN: Duration = Duration::from_secs(180);

fn paced(bench: &Bench, per_second: u32) {
    let path = bench.dir().join("countersign.toml");
    let text = fs::read_to_string(&path).unwrap();
    let paced = text.replacen("reseal_per_second = 2000", &format!("reseal_per_second = {per_second}"), 1);
    assert_ne!(paced, text);
    fs::write(path, paced).unwrap();
}

fn rows(of: &str, count: usize) -> String {
    let rows: String = (0..count).map(|number| format!("c{number:04},{of} {number},AT\n")).collect();
    format!("id,company,country\n{rows}")
}

fn keys(bench: &Bench) -> Vec<Value> {
    let listed = bench.run(&["--output", "json", "keys", "list", "--tenant", "acme"]).expect(0);
    serde_json::from_str::<Value>(&listed.out).unwrap().as_array().unwrap().clone()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < WITHIN, "{what}");
        thread::sleep(Duration::from_millis(200));
    }
}

fn is_resealed(bench: &Bench) -> bool {
    keys(bench).iter().all(|key| key["state"] != "resealing")
}

/// Reads everything, counts by tag, and changes, in turns, until it is told to stop; how many requests there were. Each must
/// succeed and find what is there.
fn load(bench: &Bench, stop: &AtomicBool, file: &str, rows: usize) -> u32 {
    let mut requests = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let read = bench.run(&["--as", ANN, "get", "customer", "--limit", "1000"]).expect(0).out;
        assert_eq!(read.matches("Alpine ").count(), rows);
        let counted = bench.run(&["--as", ANN, "get", "customer", "--where", "country=eq.AT", "--count"]).expect(0);
        assert_eq!(counted.out.trim(), rows.to_string());
        bench.run(&["--as", ANN, "import", "customer", file, "--upsert"]).expect(0);
        requests = requests.saturating_add(3);
    }
    requests
}

fn rotation(on_postgres: bool, count: usize, kills: u32, per_second: u32) {
    let bench = Bench::ready();
    paced(&bench, per_second);
    let all = bench.file("all.csv", rows("Alpine", count));
    let some = bench.file("some.csv", rows("Alpine", 5));
    bench.run(&["--as", ANN, "import", "customer", &all]).expect(0);
    let _database = on_postgres.then(|| moved(&bench));

    let mut served = bench.serve();
    bench.run(&["keys", "rotate", "acme"]).expect(0);
    let mut requests = 0_u32;
    for _ in 0..kills {
        let stop = AtomicBool::new(false);
        let made = thread::scope(|scope| {
            let loading = scope.spawn(|| load(&bench, &stop, &some, count));
            thread::sleep(Duration::from_secs(1));
            stop.store(true, Ordering::Relaxed);
            loading.join().unwrap()
        });
        requests = requests.saturating_add(made);
        // SIGKILL.
        drop(served);
        served = bench.serve();
    }
    assert!(requests > 0);
    until("the rotation does not come to its end", || is_resealed(&bench));
    let state = |epoch: u32| {
        let found = keys(&bench).into_iter().find(|key| key["key"] == "tenant" && key["epoch"] == epoch);
        found.map(|key| key["state"].as_str().unwrap().to_owned())
    };
    assert_eq!((state(1).as_deref(), state(2).as_deref()), (Some("retired"), Some("current")));

    // The keys of one field, and the deployment's own.
    bench.run(&["keys", "rotate", "acme", "--field", "customer.country", "--wait"]).expect(0);
    let country = keys(&bench).into_iter().filter(|key| key["key"] == "customer.country").collect::<Vec<_>>();
    assert_eq!((country.len(), &country[0]["epoch"]), (1, &Value::from(3)));
    bench.run(&["keys", "rotate", "--deployment"]).expect(0);
    assert_eq!(bench.run(&["keys", "rotate", "acme", "--field", "customer.none"]).code, 4);

    // What was before is in the tenant's own log, and can be read until the key is destroyed.
    let log = || bench.run(&["--as", ANN, "audit", "tail", "-n", "1000"]).expect(0).out;
    let before = log();
    assert!(before.contains("nothing older is left"), "{before}");
    assert_ne!(bench.run(&["keys", "destroy", "acme", "--epoch", "2", "--confirm", "acme"]).code, 0);
    assert_eq!(bench.run(&["keys", "destroy", "acme", "--epoch", "1", "--confirm", "other"]).code, 2);
    bench.run(&["keys", "destroy", "acme", "--epoch", "1", "--confirm", "acme"]).expect(0);
    assert_eq!(state(1).as_deref(), Some("destroyed"));

    // Without the old key: nothing that is stored needed it.
    assert_eq!(served.stop(), 0);
    let served = bench.serve();
    let read = bench.run(&["--as", ANN, "get", "customer", "--limit", "1000"]).expect(0).out;
    assert_eq!(read.matches("Alpine ").count(), count);
    let counted = bench.run(&["--as", ANN, "get", "customer", "--where", "country=eq.AT", "--count"]).expect(0);
    assert_eq!(counted.out.trim(), count.to_string());
    assert_eq!(served.stop(), 0);
}

#[test]
fn a_tenants_key_is_rotated_under_load_and_through_kills() {
    rotation(false, 300, 3, 60);
}

#[test]
fn a_tenants_key_is_rotated_under_load_and_through_kills_on_postgres() {
    rotation(true, 300, 3, 60);
}

#[test]
fn keys_are_rotated_by_the_service_itself_before_they_have_sealed_all_that_they_may() {
    const LIMIT: u64 = 200;
    let bench = Bench::ready();
    // With what they were, there would be more values of a field than one key may seal.
    without_history(&bench);
    let served = bench.serve();
    let periods = bench.file("keys.toml", format!("seals_max = {LIMIT}\n"));
    let policies = bench.file("policies.cedar", POLICIES);
    bench.run(&["policy", "apply", &policies, &periods]).expect(0);
    let file = bench.file("rows.csv", rows("Alpine", 20));
    for _ in 0..25 {
        bench.run(&["--as", ANN, "import", "customer", &file, "--upsert"]).expect(0);
    }
    until("nothing is rotated", || {
        let keys = keys(&bench);
        let sealed = keys.iter().filter_map(|key| key["sealed"].as_u64());
        assert!(sealed.max().unwrap_or_default() <= LIMIT, "{keys:?}");
        keys.iter().any(|key| key["key"] == "customer.company" && key["epoch"].as_u64() > Some(1))
    });
    let log = bench.run(&["--as", ANN, "audit", "tail", "-n", "1000"]).expect(0).out;
    assert!(log.contains("by the service itself"), "{log}");
    assert_eq!(served.stop(), 0);
}

/// As a gateway that was taken over could, before the store looked at it.
fn brought_past_every_key(bench: &Bench) {
    let store = SqliteStore::open(&bench.dir().join("data"), StoreOptions::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for tenant in Carry::tenants(&store).await.unwrap() {
            store.raise(tenant, u32::MAX).await.unwrap();
        }
    });
}

#[test]
fn a_store_that_was_brought_past_every_key_is_put_down_again() {
    let bench = Bench::ready();
    let file = bench.file("rows.csv", rows("Alpine", 5));
    bench.run(&["--as", ANN, "import", "customer", &file]).expect(0);
    let mut database = None;
    for on_postgres in [false, true] {
        brought_past_every_key(&bench);
        if on_postgres {
            database = Some(moved(&bench));
        }
        let served = bench.serve();
        bench.run(&["--as", ANN, "import", "customer", &file, "--upsert"]).expect(0);
        bench.run(&["keys", "rotate", "acme", "--wait"]).expect(0);
        let log = bench.run(&["--as", ANN, "audit", "tail", "-n", "1000"]).expect(0).out;
        assert!(log.contains("the store was at epoch 4294967295, which nobody issued"), "{log}");
        assert_eq!(served.stop(), 0);
    }
    drop(database);
}

/// As a disk that has lost a bit.
fn damaged(bench: &Bench) {
    let store = SqliteStore::open(&bench.dir().join("data"), StoreOptions::default()).unwrap();
    let types = countersign_store::types_file::parse(crate::bench::TYPES).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        countersign_store::Store::apply_types(&store, &types).await.unwrap();
        for tenant in Carry::tenants(&store).await.unwrap() {
            let mut rows = store.rows(tenant, countersign_model::TypeId(0), None, 1).await.unwrap();
            for (_, cell) in rows.iter_mut().flat_map(|row| row.cells.last_mut()) {
                *cell.last_mut().unwrap() ^= 1;
            }
            store.put(tenant, countersign_model::TypeId(0), &[], rows).await.unwrap();
        }
    });
}

#[test]
fn a_value_that_does_not_open_keeps_its_key_and_nobody_waits_for_it() {
    let bench = Bench::ready();
    let file = bench.file("rows.csv", rows("Alpine", 5));
    bench.run(&["--as", ANN, "import", "customer", &file]).expect(0);
    damaged(&bench);
    let served = bench.serve();
    // Operators have no records to wait for.
    bench.run(&["keys", "rotate", "operators", "--wait"]).expect(0);
    for more in [&[][..], &["--field", "customer.phone"]] {
        let ran = bench.run(&[&["keys", "rotate", "acme", "--wait"], more].concat()).expect(1);
        assert!(ran.err.contains("1 records have values that do not open"), "{}", ran.err);
    }
    let left = keys(&bench).into_iter().filter(|key| key["unopened"] == 1).collect::<Vec<_>>();
    assert!(left.iter().any(|key| key["key"] == "tenant" && key["epoch"] == 1), "{left:?}");
    assert_ne!(bench.run(&["keys", "destroy", "acme", "--epoch", "1", "--confirm", "acme"]).code, 0);
    assert_eq!(served.stop(), 0);
}
