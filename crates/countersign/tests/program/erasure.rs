//! What is erased stays erased: in the deployment, in audit views, and in what is restored from a backup of before.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Bench, NOTES, Ran, TYPES, program, run};
use crate::on_postgres::moved;

const ANN: &str = "ann@acme";
const BOB: &str = "bob@beta";

/// A deployment with the tenants acme and beta, and a repository of backups beside it.
fn world() -> Bench {
    let bench = Bench::ready();
    let types = bench.file("types.toml", format!("{TYPES}{NOTES}"));
    bench.run(&["schema", "apply", &types]).expect(0);
    bench.run(&["tenant", "add", "beta"]).expect(0);
    let key = bench.keygen(BOB);
    bench.run(&["user", "add", BOB, "--ssh-key", &key, "--role", "admin"]).expect(0);
    let config = bench.dir().join("countersign.toml");
    let text = fs::read_to_string(&config).unwrap();
    let folder = bench.path("repository");
    fs::write(&config, format!("{text}\n[backup.nightly]\nfolder = {folder:?}\n")).unwrap();
    for (who, company) in [(ANN, "Alpine Instruments"), (BOB, "Baltic Lanterns")] {
        let rows: String = (0..20).map(|number| format!("c{number:02},{company} {number},AT\n")).collect();
        let file = bench.file("customers.csv", format!("id,company,country\n{rows}"));
        bench.run(&["--as", who, "import", "customer", &file]).expect(0);
        let notes = bench.file("notes.csv", "id,words,customer_id\nn1,erased words,c07\nn2,kept words,c08\n");
        bench.run(&["--as", who, "import", "note", &notes]).expect(0);
    }
    bench
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}\n{}", ran.out, ran.err))
}

fn receipt(ran: &Ran) -> String {
    let receipt = json(ran);
    assert!(receipt["finished"].is_string(), "{receipt}");
    receipt["receipt"].as_str().unwrap().to_owned()
}

struct Erased {
    record: String,
    carl: String,
    receipts: [String; 3],
}

/// Whether the erased record is named in JSON or CSV. Its name by itself may be a part of any identifier.
fn is_named(text: &str) -> bool {
    text.contains("\"c07\"") || text.contains("c07,") || text.contains("customer/c07")
}

/// Nothing of what was erased is there, and everything else is.
fn check(dir: &Path, erased: &Erased) {
    let dir = dir.display().to_string();
    let asked = |arguments: &[&str]| run(program(&[&["--dir", &dir, "--output", "json"], arguments].concat()));
    // Not read, not found by tag, not counted.
    let all = asked(&["--as", ANN, "get", "customer", "--limit", "100"]).expect(0).out;
    assert!(!all.contains("c07") && all.contains("c08"), "{all}");
    assert!(!asked(&["--as", ANN, "get", "customer", "--where", "id=eq.c07"]).expect(0).out.contains("c07"));
    assert_eq!(asked(&["--as", ANN, "get", "customer", "--count"]).expect(0).out.trim(), "19");
    for condition in ["country=eq.AT", "company=eq.Alpine Instruments 7", "company=like.*Instruments*"] {
        let found = asked(&["--as", ANN, "get", "customer", "--where", condition, "--limit", "100"]).expect(0).out;
        let counted = asked(&["--as", ANN, "get", "customer", "--where", condition, "--count"]).expect(0).out;
        assert!(!found.contains("c07"), "{condition}: {found}");
        assert_eq!(counted.trim(), found.matches("\"company\"").count().to_string(), "{condition}");
    }
    // It never was, and is in nothing that is taken out or that another record leads to.
    let was = asked(&["--as", ANN, "history", "customer/c07"]);
    assert_eq!(was.expect(0).out.trim(), "[]");
    let notes =
        asked(&["--as", ANN, "get", "customer", "--select", "id,note(id,words)", "--limit", "100"]).expect(0).out;
    assert!(notes.contains("kept words") && !notes.contains("erased words"), "{notes}");
    let of_note = asked(&["--as", ANN, "get", "note", "--select", "words,customer(company)"]).expect(0).out;
    assert!(of_note.contains("Alpine Instruments 8") && !of_note.contains("Alpine Instruments 7"), "{of_note}");
    let taken = tempfile::tempdir().unwrap();
    let to = taken.path().join("taken").display().to_string();
    asked(&["--as", ANN, "export", "--to", &to]).expect(0);
    let mut taken = String::new();
    for file in fs::read_dir(to).unwrap() {
        taken += &String::from_utf8_lossy(&fs::read(file.unwrap().path()).unwrap());
    }
    assert!(taken.contains("Alpine Instruments 8") && !taken.contains("Alpine Instruments 7\"") && !is_named(&taken));
    assert!(taken.contains("kept words") && !taken.contains("erased words"), "{taken}");
    // In audit views the record is an identifier, and so is who was erased.
    let log = asked(&["--as", ANN, "audit", "tail", "-n", "1000"]).expect(0).out;
    assert!(!log.contains("carl") && log.contains(&erased.carl) && log.contains("ann"), "{log}");
    let of_record = asked(&["--as", ANN, "audit", "who-saw", &format!("customer/{}", erased.record)]).expect(0);
    assert!(!is_named(&of_record.out), "{}", of_record.out);
    assert_eq!(asked(&["--as", ANN, "audit", "by", "carl"]).code, 4, "nobody is found by that name");
    // The tenant is nowhere.
    assert!(!asked(&["tenant", "list"]).expect(0).out.contains("beta"));
    let log = asked(&["--as", "operator@operators", "audit", "tail", "-n", "1000"]).expect(0).out;
    // But for what somebody types at a login.
    let log = log.replace("unknown tenant beta", "");
    let named = log.find("beta").map(|at| &log[at.saturating_sub(300)..(at + 40).min(log.len())]);
    assert_eq!(named, None);
    assert_ne!(asked(&["--as", BOB, "get", "customer"]).code, 0);
    for (receipt, who) in erased.receipts.iter().zip([Some(ANN), Some(ANN), None]) {
        let who: Vec<&str> = who.iter().flat_map(|who| ["--as", who]).collect();
        let proof = asked(&[&who[..], &["erase", "prove", receipt]].concat());
        let found = json(&proof);
        for finding in found["findings"].as_array().unwrap() {
            // Of the tenant nothing opens anywhere; of the others a sealed backup of before has what it had, and it is said.
            let is_of_before = who.len() == 2 && finding["place"] == "backups in nightly";
            assert_eq!(finding["clean"], !is_of_before, "{found}");
        }
        assert_eq!(proof.code, i32::from(who.len() == 2), "{found}");
    }
}

fn erased_stays_erased(on_postgres: bool) {
    let bench = world();
    let _database = on_postgres.then(|| moved(&bench));
    let served = bench.serve();
    bench.run(&["--as", "carl@acme", "get", "customer", "--where", "id=eq.c07"]).expect(0);
    let before = json(&bench.run(&["backup", "create", "nightly"]).expect(0))["backup"].as_str().unwrap().to_owned();

    let users = json(&bench.run(&["--as", ANN, "user", "list", "--output", "json"]).expect(0));
    let carl = users.as_array().unwrap().iter().find(|user| user["name"] == "carl").unwrap();
    let carl = carl["id"].as_str().unwrap().to_owned();
    // Only who may delete every record may erase one, and only operators a tenant, who say its name twice.
    assert_eq!(bench.run(&["--as", "carl@acme", "erase", "record", "customer/c07"]).code, 3);
    assert_eq!(bench.run(&["erase", "record", "customer/c07"]).code, 3);
    assert_eq!(bench.run(&["--as", ANN, "erase", "tenant", "beta", "--confirm", "beta"]).code, 3);
    assert_eq!(bench.run(&["erase", "tenant", "beta", "--confirm", "acme"]).code, 2);
    assert_eq!(bench.run(&["erase", "tenant", "operators", "--confirm", "operators"]).code, 3);
    assert_eq!(bench.run(&["--as", ANN, "erase", "record", "customer/none"]).code, 4);

    // Not while something refers to it.
    assert_ne!(bench.run(&["--as", ANN, "erase", "record", "customer/c07"]).code, 0);
    bench.run(&["--as", ANN, "erase", "record", "note/n1"]).expect(0);
    let record = bench.run(&["--as", ANN, "--output", "json", "erase", "record", "customer/c07"]).expect(0);
    let ids = json(&record)["records"].as_array().unwrap().clone();
    let principal = bench.run(&["--as", ANN, "--output", "json", "erase", "principal", "carl@acme"]).expect(0);
    let tenant = bench.run(&["--output", "json", "erase", "tenant", "beta", "--confirm", "beta"]).expect(0);
    for one in [&record, &principal, &tenant] {
        assert_eq!(json(one)["copies"], serde_json::json!([{ "repository": "nightly" }]), "{}", one.out);
    }
    let receipts = [receipt(&record), receipt(&principal), receipt(&tenant)];
    let erased = Erased { record: ids[0].as_str().unwrap().to_owned(), carl, receipts };
    check(&bench.dir(), &erased);

    // A tenant that is put back, in the deployment as it is.
    bench.run(&["backup", "restore", "--tenant", "acme", "--from", "nightly", "--backup", &before]).expect(0);
    check(&bench.dir(), &erased);
    assert_ne!(bench.run(&["backup", "restore", "--tenant", "beta", "--from", "nightly"]).code, 0);
    served.stop();

    // The whole deployment from before, elsewhere.
    let restored = PathBuf::from(bench.path("restored"));
    let (dir, from, safe) = (restored.display().to_string(), bench.path("repository"), bench.dir());
    let safe = safe.display().to_string();
    let more = ["--from", &from, "--kms-from", &safe, "--backup", &before];
    run(program(&[&["--dir", &dir, "backup", "restore"], &more[..]].concat())).expect(0);
    for user in ["operator@operators", ANN, BOB] {
        fs::copy(bench.dir().join("keys").join(user), restored.join("keys").join(user)).unwrap();
    }
    check(&restored, &erased);
}

#[test]
fn what_is_erased_stays_erased() {
    erased_stays_erased(false);
}

#[test]
fn what_is_erased_stays_erased_on_postgres() {
    erased_stays_erased(true);
}

/// A tenant that is being erased when the process is killed: it is erased when the process is back, or it was not begun.
fn erased_through_kills(on_postgres: bool) {
    let bench = Bench::ready();
    let names: Vec<String> = (0..7).map(|number| format!("cut{number}")).collect();
    let file = bench.file("customers.csv", "id,company,country\nc1,Cut Off Company,AT\n");
    for name in &names {
        bench.run(&["tenant", "add", name]).expect(0);
        let user = format!("bob@{name}");
        let key = bench.keygen(&user);
        bench.run(&["user", "add", &user, "--ssh-key", &key, "--role", "admin"]).expect(0);
        bench.run(&["--as", &user, "import", "customer", &file]).expect(0);
    }
    let _database = on_postgres.then(|| moved(&bench));
    let mut served = bench.serve();
    let (mut erased, mut answered) = (0, 0);
    for (name, wait) in names.iter().zip([60, 120, 180, 240, 320, 450, 4_000]) {
        let asking = bench.command(&["erase", "tenant", name, "--confirm", name]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        // SIGKILL.
        drop(served);
        answered += usize::from(asking.wait_with_output().unwrap().status.success());
        served = bench.serve();
        let listed = json(&bench.run(&["--output", "json", "tenant", "list"]).expect(0)).to_string();
        let read = bench.run(&["--as", &format!("bob@{name}"), "get", "customer"]);
        if listed.contains(name.as_str()) {
            assert!(read.expect(0).out.contains("Cut Off Company"), "{name} is neither here nor gone");
            continue;
        }
        assert!(read.code != 0 && !read.out.contains("Cut Off"), "{name}: {}", read.out);
        erased += 1;
        let receipts = json(&bench.run(&["--output", "json", "erase", "list"]).expect(0));
        let receipts = receipts.as_array().unwrap();
        assert_eq!(receipts.len(), erased, "{receipts:?}");
        for receipt in receipts {
            assert!(receipt["finished"].is_string(), "{receipt}");
            let proof = bench.run(&["--output", "json", "erase", "prove", receipt["receipt"].as_str().unwrap()]);
            assert_eq!(proof.code, 0, "{}", proof.out);
        }
    }
    assert!(erased > 0 && answered <= erased, "{erased} erased, {answered} answered");
}

#[test]
fn a_tenants_end_comes_to_its_end_through_kills() {
    erased_through_kills(false);
}

#[test]
fn a_tenants_end_comes_to_its_end_through_kills_on_postgres() {
    erased_through_kills(true);
}
