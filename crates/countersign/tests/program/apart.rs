//! Four services in four folders, step by step as docs/apart.md has it, and what each of them says that lacks something.

use std::process::Command;

use crate::bench::{Bench, Ran, Served, program, run};

/// An address on loopback that nobody has, for the authority: the others are told of it before it is served.
fn free_address() -> String {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().to_string()
}

struct Folders {
    bench: Bench,
    authority: String,
}

impl Folders {
    fn new() -> Self {
        let (bench, authority) = (Bench::empty(), free_address());
        let made = Self { bench, authority };
        made.init("authority", &["--services", "authority", "--wire-listen", &made.authority]).expect(0);
        for service in ["keys", "store", "gateway"] {
            made.init(service, &made.apart(service)).expect(0);
        }
        made
    }

    fn apart<'a>(&'a self, services: &'a str) -> [&'a str; 6] {
        ["--services", services, "--authority", &self.authority, "--wire-listen", "127.0.0.1:0"]
    }

    fn init(&self, folder: &str, arguments: &[&str]) -> Ran {
        let dir = self.bench.path(folder);
        run(program(&[&["init", &dir], arguments].concat()))
    }

    /// A file with a join token, of the authority before it is served.
    fn invite(&self, role: &str) -> String {
        let token = run(program(&["--dir", &self.bench.path("authority"), "service", "invite", role])).expect(0).out;
        assert!(token.starts_with("csj1.") && token.lines().count() == 1);
        self.bench.file(&format!("{role}.join"), token)
    }

    fn command(&self, folder: &str, arguments: &[&str]) -> Command {
        program(&[&["serve", &self.bench.path(folder)], arguments].concat())
    }

    /// Serves what is not going to come so far, and gives what it says.
    fn refused(&self, folder: &str, arguments: &[&str], code: i32) -> String {
        let ran = run(self.command(folder, arguments)).expect(code);
        assert!(ran.out.is_empty() && ran.err.contains("\n  next: "), "{}", ran.err);
        ran.err
    }
}

#[test]
fn four_services_in_four_folders() {
    let folders = Folders::new();
    let [keys, store, gateway] = ["keys", "store", "gateway"].map(|role| folders.invite(role));
    let authority = Served::start_until(folders.command("authority", &[]), "ready authority");
    assert_eq!(authority.told, [format!("ready authority {}", folders.authority)]);

    // A token is for one service, once.
    for other in [&keys, &gateway] {
        let said = folders.refused("store", &["--join-token", other], 3);
        assert!(said.contains("does not take this join token") && said.contains("service invite store"), "{said}");
    }
    let keys = Served::start_until(folders.command("keys", &["--join-token", &keys]), "ready keys");
    let first = Served::start_until(folders.command("store", &["--join-token", &store]), "ready store");
    assert_eq!(first.stop(), 0);
    // From the second start on it needs none.
    let again = Served::start_until(folders.command("store", &[]), "ready store");
    folders.init("other", &folders.apart("store")).expect(0);
    assert!(folders.refused("other", &["--join-token", &store], 3).contains("it was used"));
    let door = folders.command("gateway", &["--join-token", &gateway, "--listen", "127.0.0.1:0"]);
    let door = Served::start_with_own_log(door);

    // What an operator asks goes through the gateway, with the keys in the authority's folder.
    let dir = folders.bench.path("authority");
    let said = run(program(&["--dir", &dir, "service", "list"])).expect(6).err;
    assert!(said.contains("--url https://HOST:PORT"), "{said}");
    let operator = |arguments: &[&str]| {
        run(program(&[&["--dir", &dir, "--url", &door.url, "--output", "csv"], arguments].concat()))
    };
    let listed = operator(&["service", "list"]).expect(0).out;
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert!(["keys,", "store,", "gateway,"].into_iter().all(|role| listed.contains(role)), "{listed}");
    operator(&["tenant", "add", "acme"]).expect(0);

    // A name for the deployment that is not the authority's.
    assert_eq!(again.stop(), 0);
    let file = folders.bench.path("store/countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("issuer = \"https://localhost:8443\"", "issuer = \"https://elsewhere:8443\""))
        .unwrap();
    let said = folders.refused("store", &[], 2);
    assert!(said.contains("a deployment of another name") && said.contains("[tokens] issuer"), "{said}");
    for served in [door, keys, authority] {
        assert_eq!(served.stop(), 0);
    }
}

#[test]
fn what_is_missing_is_said_with_how_to_get_it() {
    let folders = Folders::new();
    let whole = folders.init("whole", &[]).expect(0);
    assert!(whole.err.contains("countersign serve"), "{}", whole.err);
    // In init.
    let refused = |services: &[&str]| folders.init("none", services).expect(2).err;
    assert!(refused(&["--services", "store"]).contains("--authority HOST:PORT"));
    assert!(refused(&["--services", "authority,keys", "--authority", "127.0.0.1:1"]).contains("leave out --authority"));
    assert!(refused(&["--services", "console"]).contains("gateway"));
    let two = folders.init("two", &folders.apart("keys,store")).expect(0).err;
    assert!(two.contains("--join-token keys.join --join-token store.join"), "{two}");
    // In serve.
    for (folder, arguments, code, message) in [
        ("whole", &["--services", "gateway"][..], 2, "countersign init DIR --services gateway --authority HOST:PORT"),
        ("store", &["--services", "authority"], 2, "was made for store, not for authority"),
        ("store", &["--services", "keys"], 2, "was made for store, not for keys"),
        ("store", &["--wire-listen", "0.0.0.0:0"], 2, "[services] advertise"),
        ("store", &["--authority", ""], 2, "give --authority HOST:PORT"),
        ("store", &[], 3, "countersign service invite store"),
    ] {
        let said = folders.refused(folder, arguments, code);
        assert!(said.contains(message), "{folder} {arguments:?}: {said}");
    }
    let bad = folders.bench.file("bad.join", "hello");
    assert!(folders.refused("store", &["--join-token", &bad], 2).contains("csj1."));
    std::fs::remove_file(folders.bench.path("authority/data/control.db")).unwrap();
    assert!(folders.refused("authority", &[], 2).contains("no control database"));
}

#[test]
fn an_authority_that_is_not_there_is_waited_for_and_then_named() {
    let folders = Folders::new();
    let token = folders.invite("store");
    let said = folders.refused("store", &["--join-token", &token], 6);
    assert!(said.contains(&folders.authority) && said.contains("[services] authority"), "{said}");
}
