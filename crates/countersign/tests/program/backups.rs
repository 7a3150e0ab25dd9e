//! Backups as operators use them: made, listed, tried, restored whole and by tenant, cut off, damaged, and of no use to
//! whoever has them.
#![expect(clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use countersign_testkit::Postgres;
use serde_json::Value;

use crate::bench::{Bench, NOTES, Ran, Served, TYPES, program, run};
use crate::on_postgres::{empty, moved};

/// A deployment with two tenants, and a repository beside it.
struct World {
    bench: Bench,
    database: Option<Postgres>,
}

const ANN: &str = "ann@acme";
const BOB: &str = "bob@beta";

impl World {
    fn new(on_postgres: bool) -> Self {
        let bench = Bench::ready();
        let types = bench.file("types.toml", format!("{TYPES}{NOTES}"));
        bench.run(&["schema", "apply", &types]).expect(0);
        bench.run(&["tenant", "add", "beta"]).expect(0);
        let key = bench.keygen(BOB);
        bench.run(&["user", "add", BOB, "--ssh-key", &key, "--role", "admin"]).expect(0);
        let config = bench.dir().join("countersign.toml");
        let folder = bench.path("repository");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{text}\n[backup.nightly]\nfolder = {folder:?}\n")).unwrap();
        import(&bench, ANN, 0..400, "Alpine Instruments");
        import(&bench, BOB, 0..60, "Baltic Lanterns");
        let notes = bench.file("notes.csv", "id,words,customer_id\nn1,first words,c000007\nn2,other words,c000008\n");
        for who in [ANN, BOB] {
            bench.run(&["--as", who, "import", "note", &notes]).expect(0);
        }
        let database = on_postgres.then(|| moved(&bench));
        Self { bench, database }
    }

    fn repository(&self) -> PathBuf {
        self.bench.path("repository").into()
    }

    /// Begins a job, waits for it, and gives it.
    fn job(&self, arguments: &[&str]) -> Value {
        json(&self.bench.run(arguments).expect(0))
    }

    fn back_up(&self) -> String {
        let job = self.job(&["backup", "create", "nightly"]);
        job["backup"].as_str().unwrap().to_owned()
    }

    /// The state of each backup, by its id.
    fn states(&self) -> Vec<(String, String)> {
        let listed: Value = serde_json::from_str(&self.bench.run(&["backup", "list", "nightly"]).out).unwrap();
        let all = listed["backups"].as_array().unwrap().iter();
        all.map(|one| (one["id"].as_str().unwrap().to_owned(), one["state"].as_str().unwrap().to_owned())).collect()
    }

    /// A whole restore into a new folder of this name.
    fn restore(&self, name: &str, more: &[&str]) -> (PathBuf, Ran) {
        let (dir, from) = (self.bench.path(name), self.bench.path("repository"));
        let safe = self.bench.dir().display().to_string();
        let mut arguments = vec!["--dir", &dir, "backup", "restore", "--from", &from, "--kms-from", &safe];
        arguments.extend(more);
        let ran = run(program(&arguments));
        (dir.into(), ran)
    }
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap()
}

fn import(bench: &Bench, who: &str, numbers: std::ops::Range<u32>, company: &str) {
    let rows: String = numbers.map(|number| format!("c{number:06},{company} {number},AT\n")).collect();
    let file = bench.file("customers.csv", format!("id,company,country\n{rows}"));
    bench.run(&["--as", who, "import", "customer", &file, "--upsert"]).expect(0);
}

/// Every row of every type, with all that its holder may see, in one order.
fn rows(dir: &Path, who: &str) -> Vec<String> {
    let dir = dir.display().to_string();
    let of = |name: &str| {
        let ran = run(program(&["--dir", &dir, "--as", who, "get", name, "--limit", "100000", "--output", "csv"]));
        let mut rows: Vec<String> = ran.expect(0).out.lines().map(str::to_owned).collect();
        rows.sort();
        rows
    };
    ["customer", "note"].into_iter().flat_map(of).collect()
}

fn with_keys_of(bench: &Bench, dir: &Path) {
    for user in ["operator@operators", ANN, BOB] {
        fs::copy(bench.dir().join("keys").join(user), dir.join("keys").join(user)).unwrap();
    }
}

fn change_much(bench: &Bench) {
    import(bench, ANN, 50..150, "Changed Since");
    import(bench, ANN, 400..450, "New Since");
    let notes = bench.file("notes.csv", "id,words,customer_id\nn1,changed words,c000009\nn3,new words,c000410\n");
    bench.run(&["--as", ANN, "import", "note", &notes, "--upsert"]).expect(0);
    bench.run(&["--as", BOB, "get", "customer", "--count"]).expect(0);
}

fn whole_and_by_tenant(on_postgres: bool) {
    let world = World::new(on_postgres);
    let served = world.bench.serve();
    let dir = world.bench.dir();
    let (ann, bob) = (rows(&dir, ANN), rows(&dir, BOB));
    let first = world.back_up();
    std::thread::sleep(Duration::from_millis(1100));
    let between = rfc3339_now();
    std::thread::sleep(Duration::from_millis(1100));
    change_much(&world.bench);
    let (ann_later, bob_later) = (rows(&dir, ANN), rows(&dir, BOB));
    assert_ne!(ann, ann_later);
    let second = world.back_up();
    assert_eq!(world.states(), [(second.clone(), "good".to_owned()), (first.clone(), "good".to_owned())]);
    world.job(&["backup", "verify", "nightly"]);
    assert!(!dir.join("scratch").exists());

    // Whole: each of both, compared row by row.
    for (name, backup, ann, bob) in [("one", &first, &ann, &bob), ("two", &second, &ann_later, &bob_later)] {
        let (restored, ran) = world.restore(name, &["--backup", backup]);
        ran.expect(0);
        with_keys_of(&world.bench, &restored);
        assert_eq!((&rows(&restored, ANN), &rows(&restored, BOB)), (ann, bob), "{name}");
        let there = restored.display().to_string();
        let asked = |arguments: &[&str]| run(program(&[&["--dir", &there], arguments].concat())).expect(0);
        asked(&["--as", ANN, "audit", "verify"]);
        let server = Served::start(program(&["serve", &there, "--listen", "127.0.0.1:0"]));
        asked(&["--as", ANN, "get", "customer", "--count"]);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !asked(&["--as", "operator@operators", "--output", "json", "audit", "tail", "-n", "300"])
            .out
            .contains("backup restore of")
        {
            assert!(Instant::now() < deadline, "the record that says so");
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(server.stop(), 0);
        asked(&["--as", ANN, "audit", "verify"]);
    }

    // One tenant to a moment, of what the store keeps, without any backup; and nobody else.
    world.job(&["backup", "restore", "--tenant", "acme", "--to", &between]);
    assert_eq!((rows(&dir, ANN), rows(&dir, BOB)), (ann.clone(), bob_later.clone()));
    world.bench.run(&["--as", ANN, "audit", "verify"]).expect(0);
    // One tenant, and nobody else.
    world.job(&["backup", "restore", "--tenant", "acme", "--from", "nightly", "--backup", &second]);
    assert_eq!((rows(&dir, ANN), rows(&dir, BOB)), (ann_later.clone(), bob_later.clone()));
    world.job(&["backup", "restore", "--tenant", "acme", "--from", "nightly", "--backup", &first]);
    assert_eq!((rows(&dir, ANN), rows(&dir, BOB)), (ann.clone(), bob_later.clone()));
    world.job(&["backup", "restore", "--tenant", "acme", "--from", "nightly"]);
    assert_eq!(rows(&dir, ANN), ann_later, "the newest");
    // To a moment before the backup.
    world.job(&["backup", "restore", "--tenant", "acme", "--from", "nightly", "--backup", &second, "--to", &between]);
    assert_eq!(rows(&dir, ANN), ann);
    // It can be written to, found by tag, and goes on.
    import(&world.bench, ANN, 0..10, "After");
    let found = world.bench.run(&["--as", ANN, "get", "customer", "--where", "country=eq.AT", "--count"]).expect(0);
    assert_eq!(found.out.trim(), "400");
    let told = world.bench.run(&["--as", ANN, "--output", "json", "audit", "tail", "-n", "300"]).expect(0);
    assert!(told.out.contains("restore"), "the tenant is told");
    world.bench.run(&["--as", ANN, "audit", "verify"]).expect(0);
    assert_eq!(served.stop(), 0);
}

#[test]
fn a_deployment_in_a_folder_is_restored_whole_and_by_tenant() {
    whole_and_by_tenant(false);
}

#[test]
fn a_deployment_on_postgres_is_restored_whole_and_by_tenant() {
    whole_and_by_tenant(true);
}

/// Straight into a database, by one command; never over anything that is in one, and whatever fails leaves no folder.
#[test]
fn a_whole_deployment_is_restored_into_an_empty_database() {
    let world = World::new(false);
    let database = empty(&world.bench, "empty-tls");
    let used = moved(&world.bench);
    let dir = world.bench.dir();
    let (ann, bob) = (rows(&dir, ANN), rows(&dir, BOB));
    let backup = world.back_up();
    change_much(&world.bench);
    let ann_later = rows(&dir, ANN);

    // The database of the deployment that was backed up.
    let (restored, ran) = world.restore("over", &["--backup", &backup, "--postgres", &used.address()]);
    let said = ran.expect(5).err;
    assert!(said.contains("database is not empty"), "{said}");
    assert!(!restored.exists() && !restored.with_file_name(".over.restoring").exists());
    assert_eq!((rows(&dir, ANN), rows(&dir, BOB)), (ann_later.clone(), bob.clone()));

    let (restored, ran) = world.restore("new", &["--backup", &backup, "--postgres", &database.address()]);
    ran.expect(0);
    with_keys_of(&world.bench, &restored);
    assert_eq!((rows(&restored, ANN), rows(&restored, BOB)), (ann.clone(), bob));
    for gone in ["data/control.db", "data/tenants"] {
        assert!(!restored.join(gone).exists(), "{gone} is in the folder");
    }
    let left = fs::read_dir(&restored).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with("moved-")), "a second copy is left");
    let there = restored.display().to_string();
    let asked = |arguments: &[&str]| run(program(&[&["--dir", &there], arguments].concat())).expect(0);
    asked(&["postgres", "check"]);
    asked(&["--as", ANN, "audit", "verify"]);
    let server = Served::start(program(&["serve", &there, "--listen", "127.0.0.1:0"]));
    assert_eq!(rows(&restored, ANN), ann);
    assert_eq!(server.stop(), 0);
    // Once more: now there is something.
    let (_, ran) = world.restore("again", &["--backup", &backup, "--postgres", &database.address()]);
    assert!(ran.expect(5).err.contains("database is not empty"));
    assert_eq!(rows(&restored, ANN), ann);
    assert_eq!(rows(&dir, ANN), ann_later);
}

fn rfc3339_now() -> String {
    let out = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The largest file below a folder of the repository.
fn largest(folder: &Path) -> PathBuf {
    files(folder).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn what_is_damaged_is_named_and_restores_nothing() {
    damaged(false);
}

#[test]
fn what_is_damaged_is_named_and_restores_nothing_on_postgres() {
    damaged(true);
}

/// Whether every one of these words is said, or one of those between bars: what is in a chunk's place depends on its name,
/// which is another in each repository.
fn is_named(words: &[&str], said: &str) -> bool {
    words.iter().all(|word| word.split('|').any(|one| said.contains(one)))
}

/// Every damage is named, nothing is restored, and the trial finds it too.
fn damaged(on_postgres: bool) {
    let world = World::new(on_postgres);
    assert_eq!(world.database.is_some(), on_postgres);
    let first = world.back_up();
    change_much(&world.bench);
    let second = world.back_up();
    let repository = world.repository();
    let kept = world.bench.path("kept");
    let copy = |from: &Path, to: &Path| {
        drop(fs::remove_dir_all(to));
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    copy(&repository, kept.as_ref());
    let chunk = largest(&repository.join("chunks"));
    let backup = |id: &str| files(&repository.join("backups")).into_iter().find(|path| path.ends_with(id)).unwrap();
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    type Damage<'a> = (&'static str, &'static [&'static str], Box<dyn Fn() + 'a>);
    let damages: [Damage<'_>; 8] = [
        ("a chunk that is gone", &["chunk", " is missing"], Box::new(|| fs::remove_file(&chunk).unwrap())),
        (
            "a chunk cut off",
            &["chunk", " is truncated"],
            Box::new(|| {
                let bytes = fs::read(&chunk).unwrap();
                fs::write(&chunk, &bytes[..bytes.len() - 7]).unwrap();
            }),
        ),
        ("a bit of a chunk", &["chunk", " is damaged"], Box::new(|| flip(&chunk))),
        (
            "a chunk in another's place",
            &[" is a chunk of |: they were reordered| was swapped for one of backup "],
            Box::new(|| {
                let other = files(&repository.join("chunks")).into_iter().find(|path| *path != chunk).unwrap();
                fs::copy(other, &chunk).unwrap();
            }),
        ),
        (
            "a manifest swapped by an older one",
            &["in place of backup"],
            Box::new(|| assert!(fs::copy(backup(&first), backup(&second)).unwrap() > 0)),
        ),
        ("a bit of a manifest", &["the manifest of backup", " is damaged"], Box::new(|| flip(&backup(&second)))),
        (
            "a manifest cut off",
            &["the manifest of backup", " is truncated"],
            Box::new(|| {
                let bytes = fs::read(backup(&second)).unwrap();
                fs::write(backup(&second), &bytes[..bytes.len() - 7]).unwrap();
            }),
        ),
        (
            "a manifest that is gone",
            &["backup ", " is missing"],
            Box::new(|| fs::remove_file(backup(&second)).unwrap()),
        ),
    ];
    for (number, (what, words, damage)) in damages.iter().enumerate() {
        damage();
        let (dir, ran) = world.restore(&format!("no-{number}"), &["--backup", &second]);
        let ran = ran.expect(1);
        assert!(is_named(words, &ran.err), "{what}: {}", ran.err);
        assert!(!dir.exists(), "{what}: something is left");
        let beside = dir.with_file_name(format!(".no-{number}.restoring"));
        assert!(!beside.exists(), "{what}: something is left beside it");
        let before = rows(&world.bench.dir(), ANN);
        let tenant =
            world.bench.run(&["backup", "restore", "--tenant", "acme", "--from", "nightly", "--backup", &second]);
        if tenant.code == 0 {
            assert!(what.contains("chunk"), "{what}: the chunk may be another tenant's");
        }
        let trial = world.bench.run(&["backup", "verify", "nightly", "--backup", &second]).expect(1);
        assert!(is_named(words, &trial.err), "{what}: {}", trial.err);
        assert_eq!(rows(&world.bench.dir(), ANN), before);
        copy(kept.as_ref(), &repository);
    }
    // An id for which the deployment made something, and something else is there.
    fs::copy(backup(&first), backup(&second)).unwrap();
    assert!(world.states().contains(&(second.clone(), "swapped".to_owned())), "{:?}", world.states());
    fs::remove_file(backup(&second)).unwrap();
    assert!(world.states().contains(&(second.clone(), "missing".to_owned())));
    copy(kept.as_ref(), &repository);
    // Without its key, or with another's.
    let (dir, from) = (world.bench.path("keyless"), world.bench.path("repository"));
    let other = Bench::ready();
    let safe = other.dir().display().to_string();
    let ran = run(program(&["--dir", &dir, "backup", "restore", "--from", &from, "--kms-from", &safe]));
    assert_ne!(ran.code, 0);
    assert!(!Path::new(&dir).exists());
    // Never over anything.
    let (_, ran) = world.restore("deployment", &[]);
    assert!(ran.expect(5).err.contains("not empty"));
}

/// A backup of one tenant is no other's, and one of another deployment nobody's here.
#[test]
fn one_tenant_is_never_restored_into_another() {
    let world = World::new(false);
    let job = world.job(&["backup", "create", "nightly", "--tenant", "acme"]);
    let backup = job["backup"].as_str().unwrap();
    let refused = world.bench.run(&["backup", "restore", "--tenant", "beta", "--from", "nightly", "--backup", backup]);
    assert!(refused.expect(1).err.contains("tenant"));
    assert_eq!(rows(&world.bench.dir(), BOB).len(), 64);
    change_much(&world.bench);
    world.job(&["backup", "restore", "--tenant", "acme", "--from", "nightly"]);
    assert_eq!(rows(&world.bench.dir(), ANN).len(), 404);
    // Alone it is no deployment.
    let (_, ran) = world.restore("alone", &[]);
    assert_ne!(ran.code, 0);
    // Only operators.
    for arguments in [&["backup", "create", "nightly"][..], &["backup", "list", "nightly"], &["backup", "jobs"]] {
        world.bench.run(&[&["--as", ANN], arguments].concat()).expect(3);
    }
    world.bench.run(&["backup", "create", "elsewhere"]).expect(4);
}

/// Killed on the way, each goes on when it is begun again.
#[test]
fn what_was_cut_off_is_said_and_goes_on() {
    let world = World::new(false);
    import(&world.bench, ANN, 0..6000, "Many");
    for round in 0..3u64 {
        let served = world.bench.serve();
        world.bench.run(&["backup", "create", "nightly", "--detach"]).expect(0);
        std::thread::sleep(Duration::from_millis(10 + 120 * round));
        // As SIGKILL would: this kills it.
        drop(served);
    }
    let served = world.bench.serve();
    let jobs = json(&world.bench.run(&["backup", "jobs"]).expect(0));
    for job in jobs.as_array().unwrap() {
        assert!(["cut off", "done"].contains(&job["state"].as_str().unwrap()), "{job}");
    }
    let backup = world.back_up();
    world.job(&["backup", "verify", "nightly", "--backup", &backup]);
    let all = rows(&world.bench.dir(), ANN);
    let before = all.clone();
    // A restore of a tenant that is killed has changed all or nothing.
    import(&world.bench, ANN, 0..10, "Changed");
    let changed = rows(&world.bench.dir(), ANN);
    world.bench.run(&["backup", "restore", "--tenant", "acme", "--from", "nightly", "--detach"]).expect(0);
    std::thread::sleep(Duration::from_millis(60));
    drop(served);
    let now = rows(&world.bench.dir(), ANN);
    assert!(now == before || now == changed);
    world.job(&["backup", "restore", "--tenant", "acme", "--from", "nightly"]);
    assert_eq!(rows(&world.bench.dir(), ANN), before);
    // A whole one that is killed leaves nothing that could be taken for a deployment.
    let (dir, from) = (world.bench.path("killed"), world.bench.path("repository"));
    let safe = world.bench.dir().display().to_string();
    for wait in [50, 300] {
        let mut child =
            program(&["--dir", &dir, "backup", "restore", "--from", &from, "--kms-from", &safe]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        drop((child.kill(), child.wait()));
        // It may have been quicker than that.
        if Path::new(&dir).join("countersign.toml").exists() {
            with_keys_of(&world.bench, dir.as_ref());
            assert_eq!(rows(dir.as_ref(), ANN), before);
        }
        drop(fs::remove_dir_all(&dir));
    }
    let (restored, ran) = world.restore("killed", &[]);
    ran.expect(0);
    with_keys_of(&world.bench, &restored);
    assert_eq!(rows(&restored, ANN), before);
}

/// Every byte of a repository is noise without its key.
#[test]
fn a_repository_shows_nothing() {
    let world = World::new(false);
    world.back_up();
    let mut words: Vec<String> =
        ["Alpine Instruments", "Baltic Lanterns", "c000042", "acme", "beta", "ann", "customer"]
            .map(str::to_owned)
            .to_vec();
    words.extend(["company", "country", "listen", "[server]", "operator", "BEGIN"].map(str::to_owned));
    let files = files(&world.repository());
    assert!(files.len() > 5);
    for file in files {
        let bytes = fs::read(&file).unwrap();
        for word in words.iter().filter(|word| word.len() > 4) {
            let is_there = bytes.windows(word.len()).any(|part| part == word.as_bytes());
            assert!(!is_there, "{word} in {}", file.display());
        }
    }
}

/// What the configuration says is done without anybody's asking.
#[test]
fn backups_and_trials_are_made_by_the_clock() {
    let world = World::new(false);
    let config = world.bench.dir().join("countersign.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}every_ms = 1500\nverify_every_ms = 1500\nkeep = 2\n")).unwrap();
    let served = world.bench.serve();
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let jobs = json(&world.bench.run(&["backup", "jobs"]).expect(0));
        let done = |kind: &str| {
            let all = jobs.as_array().unwrap().iter();
            all.filter(|job| job["kind"] == kind && job["state"] == "done" && job["by"] == "schedule").count()
        };
        if done("backup") >= 4 && done("verify") >= 1 {
            break;
        }
        assert!(Instant::now() < deadline, "{jobs}");
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(served.stop(), 0);
    let states = world.states();
    assert!((2..=3).contains(&states.len()) && states.iter().all(|(_, state)| state == "good"), "{states:?}");
}
