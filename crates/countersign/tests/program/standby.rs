//! Several authorities on one database, as processes: one is the authority, the others wait for their turn.
#![expect(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use countersign_testkit::Postgres;

use crate::bench::{Bench, Ran, Served, program, run};

/// What no test waits longer for: a lease of ten seconds, on a machine that is busy with other tests.
const AT_LAST: Duration = Duration::from_secs(120);

fn free_address() -> String {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().to_string()
}

/// A server that says more than one line.
struct Watched {
    child: Child,
    said: Receiver<String>,
}

impl Watched {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (say, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        Self { child, said }
    }

    /// The next line that begins so, after what must not come before.
    #[track_caller]
    fn says(&self, line: &str, never: &str) -> String {
        let until = Instant::now() + AT_LAST;
        loop {
            let next = self.said.recv_timeout(until.saturating_duration_since(Instant::now()));
            let next = next.unwrap_or_else(|_| panic!("it did not say: {line}"));
            assert!(never.is_empty() || !next.starts_with(never), "{next}");
            if next.starts_with(line) {
                return next;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended, and gives its exit code; -1 for a signal.
    #[track_caller]
    fn ends(mut self) -> i32 {
        let until = Instant::now() + AT_LAST;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ended = (self.child.kill(), self.child.wait());
    }
}

/// Sets a key of a section in a folder's configuration.
fn set(folder: &Path, section: &str, key: &str, value: &str) {
    let path = folder.join("countersign.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut here = false;
    let mut was_set = false;
    let lines = text.lines().map(|line| {
        if line.starts_with('[') {
            here = line == format!("[{section}]");
        }
        if here && line.starts_with(&format!("{key} = ")) {
            was_set = true;
            return format!("{key} = {value:?}\n");
        }
        format!("{line}\n")
    });
    let text: String = lines.collect();
    assert!(was_set, "[{section}] {key}");
    std::fs::write(path, text).unwrap();
}

/// The folder as another machine has it: what an authority needs that has moved to a database, and nothing else.
fn copied(bench: &Bench, name: &str) -> PathBuf {
    use std::os::unix::fs::DirBuilderExt as _;
    let (from, to) = (bench.dir(), PathBuf::from(bench.path(name)));
    for folder in ["", "data", "audit", "keys", "run"] {
        std::fs::DirBuilder::new().mode(0o700).create(to.join(folder)).unwrap();
    }
    for file in ["countersign.toml", "kms.key", "ca.pem", "data/bootstrap"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    copy_own_keys(&from, &to);
    to
}

fn copy_own_keys(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().mode(0o700).create(to.join("kms.own")).unwrap();
    for own in std::fs::read_dir(from.join("kms.own")).unwrap().map(|own| own.unwrap()) {
        std::fs::copy(own.path(), to.join("kms.own").join(own.file_name())).unwrap();
    }
}

fn moved(bench: &Bench) -> Postgres {
    let server = crate::on_postgres::moved(bench);
    let rows = bench.file("customers.csv", "id,company,country\na,Alpha,AT\n");
    bench.run(&["--as", "ann@acme", "import", "customer", &rows]).expect(0);
    server
}

fn serve(folder: &Path) -> Watched {
    Watched::start(program(&["serve", &folder.display().to_string(), "--listen", "127.0.0.1:0"]))
}

/// Asks at an address, with the keys of the bench's folder.
fn ask(bench: &Bench, url: &str, token: Option<&str>, arguments: &[&str]) -> Ran {
    let mut command = bench.command(&[&["--url", url], arguments].concat());
    if let Some(token) = token {
        command.env("COUNTERSIGN_TOKEN", token);
    }
    run(command)
}

/// Asks until the answer is as wanted.
#[track_caller]
fn ask_until(bench: &Bench, url: &str, token: Option<&str>, arguments: &[&str], code: i32) -> Ran {
    let until = Instant::now() + AT_LAST;
    loop {
        let ran = ask(bench, url, token, arguments);
        if ran.code == code || Instant::now() > until {
            return ran.expect(code);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_process_that_is_everything_waits_until_the_one_before_is_gone() {
    let bench = Bench::ready();
    let _server = moved(&bench);
    let (one, other) = (bench.dir(), copied(&bench, "other"));
    let first = serve(&one);
    let url = first.says("ready https://", "standby").trim_start_matches("ready ").to_owned();
    let second = serve(&other);
    second.says("standby", "ready");
    // It is nowhere to be reached, and no command acts behind the back of who is the authority.
    let third = copied(&bench, "third");
    let refused = run(program(&["--dir", &third.display().to_string(), "tenant", "list"]));
    assert!(refused.expect(6).err.contains("another process is the authority"));
    let token = ask(&bench, &url, None, &["login", "carl@acme"]).expect(0).out.trim().to_owned();
    ask(&bench, &url, Some(&token), &["token", "revoke"]).expect(0);
    assert!(second.said.try_recv().is_err());

    // One that ends as asked is followed at once.
    first.signal("TERM");
    assert_eq!(first.ends(), 0);
    let asked = Instant::now();
    let url = second.says("ready https://", "standby").trim_start_matches("ready ").to_owned();
    println!("the next one is there {:?} after the end of the one before", asked.elapsed());
    ask(&bench, &url, Some(&token), &["get", "customer"]).expect(3);
    let seen = ask(&bench, &url, None, &["--as", "ann@acme", "get", "customer"]).expect(0).out;
    assert!(seen.contains("Alpha"), "{seen}");

    // One that is killed is followed when its lease has ended; one that only seemed dead ends as soon as it knows.
    let third = serve(&one);
    third.says("standby", "ready");
    second.signal("STOP");
    let stopped = Instant::now();
    let url = third.says("ready https://", "standby").trim_start_matches("ready ").to_owned();
    println!("the next one is there {:?} after the one before stood still", stopped.elapsed());
    second.signal("CONT");
    assert!(second.ends() > 0);
    ask(&bench, &url, Some(&token), &["get", "customer"]).expect(3);
    third.signal("TERM");
    assert_eq!(third.ends(), 0);
}

#[test]
fn services_apart_follow_whichever_authority_is_there() {
    let bench = Bench::ready();
    let server = moved(&bench);
    let addresses = [free_address(), free_address()];
    set(&bench.dir(), "services", "run", "authority");
    let folders = [bench.dir(), copied(&bench, "other")];
    for (folder, address) in folders.iter().zip(&addresses) {
        set(folder, "services", "listen", address);
    }
    // The rest of the deployment, with the key service's key and the database's address.
    let rest = PathBuf::from(bench.path("rest"));
    let (rest_text, both) = (rest.display().to_string(), addresses.join(","));
    let services = ["--services", "gateway,keys,store", "--authority", &both, "--wire-listen", "127.0.0.1:0"];
    run(program(&[&["init", &rest_text], &services[..]].concat())).expect(0);
    std::fs::copy(bench.dir().join("kms.key"), rest.join("kms.key")).unwrap();
    copy_own_keys(&bench.dir(), &rest);
    set(&rest, "postgres", "address", &server.address());
    set(&rest, "postgres", "server_ca", &bench.dir().join("ca.pem").display().to_string());
    let tokens = ["gateway", "keys", "store"].map(|role| {
        let token = bench.run(&["service", "invite", role, "--name", "one"]).expect(0).out;
        bench.file(&format!("{role}.join"), token)
    });

    let first = serve(&folders[0]);
    first.says("ready authority", "standby");
    let second = serve(&folders[1]);
    second.says("standby", "ready");
    let mut joining = program(&["serve", &rest_text, "--listen", "127.0.0.1:0"]);
    for token in &tokens {
        joining.args(["--join-token", token]);
    }
    let door = Served::start(joining);
    let login = |who: &str| ask_until(&bench, &door.url, None, &["login", who], 0).out.trim().to_owned();
    let get = |token: &str, code: i32| ask_until(&bench, &door.url, Some(token), &["get", "customer"], code);
    let (kept, revoked) = (login("carl@acme"), login("carl@acme"));
    assert!(get(&kept, 0).out.contains("Alpha"));
    get(&revoked, 0);
    ask(&bench, &door.url, Some(&revoked), &["token", "revoke"]).expect(0);

    // It stands still; the next one takes its place, and has what was revoked at the one before.
    first.signal("STOP");
    let stopped = Instant::now();
    second.says("ready authority", "");
    println!("the next authority is there {:?} after the one before stood still", stopped.elapsed());
    get(&revoked, 3);
    get(&kept, 0);
    let later = login("ann@acme");
    println!("a login came through {:?} after that", stopped.elapsed());
    get(&later, 0);
    ask(&bench, &door.url, Some(&later), &["token", "revoke", "--user", "carl"]).expect(0);
    get(&kept, 3);

    // It wakes up, and knows that it is over.
    first.signal("CONT");
    assert!(first.ends() > 0);
    get(&kept, 3);
    get(&later, 0);

    // And back, by the death of the other.
    let third = serve(&folders[0]);
    third.says("standby", "ready");
    second.signal("KILL");
    assert_eq!(second.ends(), -1);
    third.says("ready authority", "");
    get(&kept, 3);
    get(&revoked, 3);
    get(&later, 0);
    let last = login("ann@acme");
    ask(&bench, &door.url, Some(&last), &["token", "revoke"]).expect(0);
    get(&last, 3);
    assert_eq!(door.stop(), 0);
    third.signal("TERM");
    assert_eq!(third.ends(), 0);
}
