//! Whoever has a copy of everything from before a tenant was erased, and every key that there is afterwards, opens nothing of
//! that tenant: not with the program, and not in any byte. The keys are in a PKCS#11 token (SoftHSM).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use countersign_testkit::{Client, Postgres, Request};
use serde_json::json;

use crate::bench::{Bench, Ran, run};
use crate::kms::House;
use crate::on_postgres::moved;

const ANN: &str = "ann@acme";
const WANDA: &str = "wandaofold@vanishing";
/// Has no part in the breach.
const VERA: &str = "veraofold@vanishing";

/// What is the erased tenant's: its names, its people's, whom it is told by, its values, what it asked in vain.
const GONE: &[&str] = &[
    "vanishing",
    "wandaofold",
    "veraofold",
    "whoeverthatis",
    "Wanda's own desk",
    "Baltic Lanterns",
    "Formerly Baltic",
    "Posted Once Only",
    "Ruritania",
    "+99 555 0199",
];
/// What must be found wherever the others are looked for.
const STAYS: &[&str] = &["acme", "Alpine Instruments"];

fn words() -> Vec<Vec<u8>> {
    let hex = |word: &&str| word.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes();
    GONE.iter().map(|word| word.as_bytes().to_vec()).chain(GONE.iter().map(hex)).collect()
}

/// Which of the words occur in it.
fn found(content: &[u8]) -> BTreeSet<String> {
    let is_in = |word: &Vec<u8>| content.windows(word.len()).any(|here| here == word.as_slice());
    words().into_iter().filter(is_in).map(|word| String::from_utf8(word).unwrap()).collect()
}

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() { files(&entry.path(), all) } else { all.push(entry.path()) }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Nothing in any byte, but where people keep their own keys.
fn nothing_in(folder: &Path) {
    let mut all = Vec::new();
    files(folder, &mut all);
    assert!(all.len() > 10, "{all:?}");
    for file in all.iter().filter(|file| !file.components().any(|part| part.as_os_str() == "keys")) {
        let name = file.strip_prefix(folder).unwrap().display().to_string();
        assert_eq!(found(&fs::read(file).unwrap()), BTreeSet::new(), "in {name}");
        assert_eq!(found(name.as_bytes()), BTreeSet::new(), "a name");
    }
}

/// A deployment whose keys are in a token, with a repository of backups and everything that two tenants can leave behind.
fn world() -> House {
    let house = House::new();
    let bench = &house.bench;
    bench.run(&["init", "--kms", "pkcs11", "--module", house.module, "--token", "house"]).expect(0);
    bench.fill();
    bench.run(&["tenant", "add", "vanishing"]).expect(0);
    let key = bench.keygen(WANDA);
    bench.run(&["user", "add", WANDA, "--ssh-key", &key, "--role", "admin"]).expect(0);
    let key = bench.keygen(VERA);
    bench.run(&["--as", WANDA, "user", "add", VERA, "--ssh-key", &key, "--role", "admin"]).expect(0);
    let config = bench.dir().join("countersign.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n[backup.nightly]\nfolder = {:?}\n", bench.path("repository"))).unwrap();
    house
}

/// Has them leave it.
fn exercise(bench: &Bench) {
    let served = bench.serve();
    let of_acme = (ANN, "Alpine Instruments", "Austria", "+43 1 0000");
    for (who, company, country, phone) in [of_acme, (WANDA, "Baltic Lanterns", "Ruritania", "+99 555 0199")] {
        let rows: String =
            (0..20).map(|number| format!("c{number:02},{company} {number},{country},{phone}\n")).collect();
        let file = bench.file("customers.csv", format!("id,company,country,phone\n{rows}"));
        bench.run(&["--as", who, "import", "customer", &file]).expect(0);
    }
    fs::remove_file(bench.path("customers.csv")).unwrap();
    let ca = fs::read_to_string(bench.dir().join("ca.pem")).unwrap();
    let token = bench.run(&["login", WANDA]).expect(0).out.trim().to_owned();
    let client = Client::new(served.url.trim_start_matches("https://"), &ca).unwrap().with_token(&token);
    // The past, answers to changes made once, a change that is refused, a page with more to come, what nobody is.
    client.patch("/rest/v1/customer?id=eq.c07", &json!({ "company": "Formerly Baltic" })).unwrap().success().unwrap();
    client.patch("/rest/v1/customer?id=eq.c07", &json!({ "company": "Baltic Lanterns" })).unwrap().success().unwrap();
    let once = json!({ "id": "once", "company": "Posted Once Only", "country": "Ruritania" }).to_string();
    let request = Request::new("POST", "/rest/v1/customer").header("Idempotency-Key", "\"0f9d3c7b-11\"");
    let request = request.header("Content-Type", "application/json").header("Prefer", "return=representation");
    client.send(&request.body(once)).unwrap().success().unwrap();
    assert!(
        client.post("/rest/v1/customer", &json!({ "id": "c07", "company": "Baltic Lanterns" })).unwrap().status >= 400
    );
    client.get("/rest/v1/customer?country=eq.Ruritania&order=company&limit=3").unwrap().success().unwrap();
    assert!(client.get("/rest/v1/customer?whoeverthatis=eq.Ruritania").unwrap().status >= 400);
    bench.run(&["--as", WANDA, "tenant", "contacts", "--email", "desk@vanishing.example"]).expect(0);
    bench.run(&["--as", WANDA, "get", "customer", "--purpose", "Wanda's own desk"]).expect(0);
    bench.keygen("whoeverthatis@vanishing");
    assert_ne!(bench.run(&["login", "whoeverthatis@vanishing"]).code, 0);
    // A breach, contained and told; a rotation; jobs.
    let opened = bench.run(&["--output", "json", "incident", "open", "--principal", WANDA, "--since", "1h"]).expect(0);
    let incident: serde_json::Value = serde_json::from_str(&opened.out).unwrap();
    let incident = incident["id"].as_str().unwrap().to_owned();
    bench.run(&["incident", "notices", &incident, "--send"]).expect(0);
    bench.run(&["keys", "rotate", "vanishing", "--wait"]).expect(0);
    bench.run(&["backup", "create", "nightly"]).expect(0);
    bench.run(&["backup", "restore", "--tenant", "vanishing", "--from", "nightly"]).expect(0);
    bench.run(&["incident", "contain", &incident]).expect(0);
    bench.run(&["backup", "create", "nightly"]).expect(0);
    // As if the machine lost its power.
    drop(served);
}

/// Everything that can be asked of a deployment, by whoever has whatever keys.
fn asked(bench: &Bench, dir: &str) -> Vec<(String, Ran)> {
    let mut answers = Vec::new();
    for (who, questions) in [
        (
            "operator@operators",
            &[
                "tenant list",
                "audit tail -n 1000",
                "incident list",
                "alert list",
                "backup list nightly",
                "backup jobs",
                "erase list",
                "keys list",
                "keys status",
                "status",
                "access list",
                "user list --tenant vanishing",
            ][..],
        ),
        (ANN, &["get customer", "audit tail -n 1000", "user list", "history customer/c07", "notice list"]),
        (WANDA, &["get customer", "history customer/c07", "audit tail -n 1000", "user list"]),
    ] {
        for question in questions {
            let mut command = bench.bare(&["--dir", dir, "--output", "json", "--as", who]);
            command.args(question.split(' ')).stdin(Stdio::null());
            answers.push((format!("{who}: {question}"), run(command)));
        }
    }
    answers
}

/// Nothing but what was asked comes back. Gives all that was said.
fn nothing_said(answers: Vec<(String, Ran)>) -> String {
    let mut all = String::new();
    for (question, ran) in answers {
        // Who asks for it by its name is told that there is none, by that name.
        let asked_by_name = ran.code != 0 && question.contains("vanishing");
        let said = format!("{}{}", ran.out, if asked_by_name { "" } else { &ran.err });
        let words = found(said.as_bytes());
        let at = words.iter().next().and_then(|word| said.find(word.as_str()));
        assert_eq!(
            at.map(|at| &said[at.saturating_sub(400)..(at + 60).min(said.len())]),
            None,
            "{question}: {words:?}"
        );
        if question.starts_with(WANDA) {
            assert_ne!(ran.code, 0, "{question}");
        }
        all += &said;
    }
    all
}

fn an_old_disk_shows_nothing(on_postgres: bool) {
    let house = world();
    let bench = &house.bench;
    let database = on_postgres.then(|| moved(bench));
    exercise(bench);

    let old = PathBuf::from(bench.path("old"));
    copy(&bench.dir(), &old.join("deployment"));
    copy(Path::new(&bench.path("repository")), &old.join("repository"));
    copy(Path::new(&bench.path("tokens")), &old.join("tokens"));
    let dump = database.as_ref().map(dumped);

    let served = bench.serve();
    let erased = bench.run(&["--output", "json", "erase", "tenant", "vanishing", "--confirm", "vanishing"]).expect(0);
    let receipt: serde_json::Value = serde_json::from_str(&erased.out).unwrap();
    let proof = bench.run(&["--output", "json", "erase", "prove", receipt["receipt"].as_str().unwrap()]);
    assert_eq!(proof.code, 0, "{}\n{}", proof.out, proof.err);
    served.stop();
    // What it is now, by every byte and every question.
    nothing_in(&bench.dir());
    nothing_in(Path::new(&bench.path("repository")));

    // Every byte of before. The token has the keys of afterwards.
    nothing_in(&old);
    if let (Some(server), Some(dump)) = (&database, &dump) {
        assert_eq!(found(dump), BTreeSet::new(), "in the database");
        put_back(server, dump);
    }
    // The program on the copy.
    let dir = old.join("deployment").display().to_string();
    nothing_said(asked(bench, &dir));
    // With the token of before everything would be there: it is the keys that are gone.
    let conf = fs::read_to_string(bench.path("softhsm2.conf")).unwrap();
    let conf = conf.replace(&bench.path("tokens"), &old.join("tokens").display().to_string());
    let conf = bench.file("softhsm2-of-before.conf", conf);
    let mut before = bench.bare(&["--dir", &dir, "--as", VERA, "get", "customer"]);
    let all = run_with(&mut before, &conf);
    assert!(all.contains("Baltic Lanterns"), "{all}");
    // The repository in the copy, which has no receipt, restored with the keys that there are.
    let (new, from) = (bench.path("new"), old.join("repository").display().to_string());
    let mut restore = bench.bare(&["--dir", &new, "backup", "restore", "--from", &from]);
    restore.args(["--kms", "pkcs11", "--module", house.module, "--token", "house"]);
    let restored = run(restore).expect(0);
    assert_eq!(found(format!("{}{}", restored.out, restored.err).as_bytes()), BTreeSet::new(), "{}", restored.err);
    let new = PathBuf::from(new);
    copy(&bench.dir().join("keys"), &new.join("keys"));
    let said = nothing_said(asked(bench, &new.display().to_string()));
    for word in STAYS {
        assert!(said.contains(word), "{word} is to be found");
    }
    nothing_in(&new);
}

fn run_with(command: &mut std::process::Command, conf: &str) -> String {
    command.env("SOFTHSM2_CONF", conf);
    let output = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Everything in a database, as its administrator writes it out.
fn dumped(server: &Postgres) -> Vec<u8> {
    let output = server.tool("pg_dump").unwrap().stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success() && output.stdout.len() > 10_000);
    output.stdout
}

/// The database as it was.
fn put_back(server: &Postgres, dump: &[u8]) {
    use std::io::Write as _;
    server.sql("postgres", "DROP DATABASE countersign WITH (FORCE)").unwrap();
    server.sql("postgres", "CREATE DATABASE countersign").unwrap();
    let mut psql = server.tool("psql").unwrap();
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut psql = psql.spawn().unwrap();
    psql.stdin.take().unwrap().write_all(dump).unwrap();
    assert!(psql.wait().unwrap().success());
}

#[test]
fn an_old_disk_and_the_keys_of_afterwards_show_nothing_of_an_erased_tenant() {
    an_old_disk_shows_nothing(false);
}

#[test]
fn an_old_database_and_the_keys_of_afterwards_show_nothing_of_an_erased_tenant() {
    an_old_disk_shows_nothing(true);
}
