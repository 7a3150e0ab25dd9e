//! Key management services: a passphrase, a PKCS#11 token (SoftHSM, Debian's `softhsm2`), one for a tenant alone, and
//! keys that are rotated.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Bench, POLICIES, Ran, Served, TYPES, program, run};

const MODULES: [&str; 2] = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"];
const PIN: &str = "493817";
/// How long keys stay open in these tests.
const OPEN: Duration = Duration::from_millis(2_000);
/// How long a change may take to show.
const PATIENCE: Duration = Duration::from_secs(20);
const SAID: &str = "the key management service is not available";

/// A deployment, and a folder of tokens beside it.
pub struct House {
    pub bench: Bench,
    pub module: &'static str,
}

impl House {
    /// With one token, `house`.
    pub fn new() -> Self {
        let Some(module) = MODULES.into_iter().find(|path| fs::exists(path).unwrap()) else {
            panic!("SoftHSM is missing: `sudo apt-get install --yes softhsm2`");
        };
        let mut bench = Bench::empty();
        let tokens = bench.path("tokens");
        fs::create_dir(&tokens).unwrap();
        let conf = format!("directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n");
        let conf = bench.file("softhsm2.conf", conf);
        let mut init = Command::new("softhsm2-util");
        init.args(["--init-token", "--free", "--label", "house", "--pin", PIN, "--so-pin", "58203117"]);
        assert!(init.env("SOFTHSM2_CONF", &conf).stdout(Stdio::null()).status().unwrap().success());
        bench.set("SOFTHSM2_CONF", conf);
        bench.set("COUNTERSIGN_PIN", PIN);
        bench.set("COUNTERSIGN_PIN_ACME_HSM", PIN);
        Self { bench, module }
    }

    /// As if it was pulled out.
    fn take_token_away(&self) {
        fs::rename(self.bench.path("tokens"), self.bench.path("away")).unwrap();
        fs::create_dir(self.bench.path("tokens")).unwrap();
    }

    fn put_token_back(&self) {
        fs::remove_dir(self.bench.path("tokens")).unwrap();
        fs::rename(self.bench.path("away"), self.bench.path("tokens")).unwrap();
    }

    /// Keys stay open for [`OPEN`].
    fn open_briefly(&self) {
        self.open_briefly_in(&self.bench.dir().display().to_string());
    }

    fn open_briefly_in(&self, dir: &str) {
        let path = PathBuf::from(dir).join("countersign.toml");
        let text = fs::read_to_string(&path).unwrap();
        let brief = text.replace("max_open_ms = 3600000", &format!("max_open_ms = {}", OPEN.as_millis()));
        assert_ne!(text, brief);
        fs::write(&path, brief).unwrap();
    }

    fn store_something(&self, user: &str) {
        let file = self.bench.file("customer.csv", "id,company,country\nA1,Alpha,Brazil\n");
        self.bench.run(&["--as", user, "import", "customer", &file]).expect(0);
    }

    /// Serves with its log in a file.
    fn serve(&self) -> Server<'_> {
        let log = PathBuf::from(self.bench.path("log"));
        let mut command = self.bench.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.stderr(fs::File::create(&log).unwrap());
        Server { house: self, served: Served::start_with_own_log(command), log }
    }
}

struct Server<'a> {
    house: &'a House,
    served: Served,
    log: PathBuf,
}

impl Server<'_> {
    fn token(&self, user: &str) -> String {
        self.house.bench.run(&["login", user]).expect(0).out.trim().to_owned()
    }

    fn get(&self, token: &str) -> Ran {
        let mut command = program(&["--output", "csv", "get", "customer", "--select", "id,company"]);
        command.env("COUNTERSIGN_URL", &self.served.url).env("COUNTERSIGN_TOKEN", token);
        command.env("COUNTERSIGN_CA", self.house.bench.dir().join("ca.pem"));
        run(command)
    }

    /// Asks until the answer has that exit code, and gives the time and what it said.
    #[track_caller]
    fn until(&self, token: &str, code: i32) -> (Duration, Ran) {
        let begun = Instant::now();
        loop {
            let ran = self.get(token);
            if ran.code == code {
                return (begun.elapsed(), ran);
            }
            assert!(begun.elapsed() < PATIENCE, "still {}: {}", ran.code, ran.err);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn logged(&self, words: &str) -> usize {
        fs::read_to_string(&self.log).unwrap().lines().filter(|line| line.contains(words)).count()
    }

    /// The log is written within this after what it tells.
    #[track_caller]
    fn soon_logged(&self, words: &str) {
        let begun = Instant::now();
        while self.logged(words) == 0 {
            let log = fs::read_to_string(&self.log).unwrap();
            assert!(begun.elapsed() < Duration::from_secs(3), "no {words:?} in:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn rows(ran: &Ran) -> String {
    ran.out.replace('\r', "")
}

const ROWS: &str = "id,company\nA1,Alpha\n";

#[test]
fn a_token_lost_and_back_needs_no_restart() {
    let house = House::new();
    let init = ["init", "--kms", "pkcs11", "--module", house.module, "--token", "house"];
    house.bench.run(&init).expect(0);
    house.bench.fill();
    house.open_briefly();
    house.store_something("ann@acme");
    let server = house.serve();
    let token = server.token("ann@acme");
    assert_eq!(rows(&server.get(&token).expect(0)), ROWS);
    assert!(house.bench.run(&["--output", "csv", "kms", "status"]).expect(0).out.contains("pkcs11,available"));

    house.take_token_away();
    // What is open serves on.
    assert_eq!(rows(&server.get(&token).expect(0)), ROWS);
    let (lost, refused) = server.until(&token, 6);
    assert!(refused.err.contains(SAID), "{}", refused.err);
    assert!(!refused.err.contains("PKCS") && !refused.err.contains("house"), "{}", refused.err);
    assert!(lost < OPEN + Duration::from_millis(1_500), "{lost:?}");
    for _ in 0..5 {
        server.get(&token).expect(6);
    }
    server.soon_logged("has a token labelled");
    assert_eq!(server.logged("a key management service is not available"), 1);
    let status = house.bench.run(&["--output", "csv", "kms", "status"]).expect(6).out;
    assert!(status.contains("pkcs11,not available") && status.contains("labelled"), "{status}");
    let add = house.bench.run(&["tenant", "add", "late"]).expect(6);
    assert!(add.err.contains("key management service is not available"), "{}", add.err);

    house.put_token_back();
    let (back, served) = server.until(&token, 0);
    assert_eq!(rows(&served), ROWS);
    server.soon_logged("a key management service is back");
    println!("token lost: refused after {lost:?} (keys stay open for {OPEN:?}); back: served after {back:?}");
    assert!(back < Duration::from_secs(3), "{back:?}");
    assert_eq!(server.served.stop(), 0);

    // Without its token the deployment does not start, and says what is missing.
    house.take_token_away();
    let ran = house.bench.run(&["serve", "--listen", "127.0.0.1:0"]).expect(6);
    assert!(ran.err.contains("has a token labelled \"house\""), "{}", ran.err);
}

#[test]
fn a_tenants_own_token_that_is_away_stops_that_tenant_alone() {
    let house = House::new();
    let bench = &house.bench;
    bench.run(&["init"]).expect(0);
    house.open_briefly();
    let path = bench.dir().join("countersign.toml");
    let section = format!("\n[kms.acme-hsm]\nprovider = \"pkcs11\"\nmodule = {:?}\ntoken = \"house\"\n", house.module);
    let repository = format!("\n[backup.nightly]\nfolder = {:?}\nkeep = 1\nkeep_days = 0\n", bench.path("nightly"));
    fs::write(&path, fs::read_to_string(&path).unwrap() + &section + &repository).unwrap();
    let states = |expected: &str| {
        let listed = bench.run(&["--output", "csv", "backup", "list", "nightly"]).out;
        let states: Vec<&str> = listed.lines().skip(1).filter_map(|line| line.split(',').nth(2)).collect();
        assert_eq!(states.join(" "), expected, "{listed}");
    };
    bench.run(&["schema", "apply", &bench.file("types.toml", TYPES)]).expect(0);
    bench.run(&["policy", "apply", &bench.file("policies.cedar", POLICIES)]).expect(0);
    bench.run(&["kms", "create", "acme-hsm"]).expect(0);
    let unknown = bench.run(&["tenant", "add", "acme", "--kms", "nobody"]).expect(5);
    assert!(unknown.err.contains("there is no key management service of that name"), "{}", unknown.err);
    bench.run(&["tenant", "add", "acme", "--kms", "acme-hsm"]).expect(0);
    bench.people();
    bench.run(&["tenant", "add", "zenith"]).expect(0);
    let key = bench.keygen("zoe@zenith");
    bench.run(&["user", "add", "zoe@zenith", "--ssh-key", &key, "--role", "admin"]).expect(0);
    house.store_something("ann@acme");
    house.store_something("zoe@zenith");
    assert!(bench.run(&["--output", "csv", "tenant", "list"]).expect(0).out.contains("acme,2,acme-hsm,"));

    let server = house.serve();
    let (ann, zoe) = (server.token("ann@acme"), server.token("zoe@zenith"));
    assert_eq!(rows(&server.get(&ann).expect(0)), ROWS);
    bench.run(&["backup", "create", "nightly"]).expect(0);
    house.take_token_away();
    let (lost, _) = server.until(&ann, 6);
    // A backup without the tenant is none, and lets no old one go.
    assert!(bench.run(&["backup", "create", "nightly"]).expect(1).err.contains("WITHOUT the tenants"));
    states("incomplete good");
    for _ in 0..3 {
        assert_eq!(rows(&server.get(&zoe).expect(0)), ROWS);
        assert!(server.get(&ann).expect(6).err.contains(SAID));
    }
    // Keys that can be wrapped again are, although one can't.
    let ran = bench.run(&["--output", "csv", "kms", "rewrap"]).expect(6);
    assert!(ran.out.contains("zenith,default,0") && ran.err.contains("acme"), "{} {}", ran.out, ran.err);
    assert!(bench.run(&["tenant", "kms", "acme", "default"]).expect(6).err.contains("not available"));
    house.put_token_back();
    let (back, _) = server.until(&ann, 0);
    println!("a tenant's token lost: refused after {lost:?}; back: served after {back:?}; others served throughout");
    bench.run(&["backup", "create", "nightly"]).expect(0);
    states("good");

    // Once it has left for the deployment's own, the token is not needed any more.
    assert!(
        bench.run(&["--output", "csv", "tenant", "kms", "acme", "default"]).expect(0).out.contains("acme,default,0")
    );
    house.take_token_away();
    std::thread::sleep(OPEN + Duration::from_millis(500));
    assert_eq!(rows(&server.get(&ann).expect(0)), ROWS);
}

#[test]
fn a_passphrase_is_asked_for_at_start_and_stored_nowhere() {
    const RIGHT: &str = "correct horse battery staple";
    let mut bench = Bench::empty();
    let none = bench.run(&["init", "--kms", "passphrase"]).expect(2);
    assert!(none.err.contains("COUNTERSIGN_PASSPHRASE"), "{}", none.err);
    let with = |bench: &Bench, passphrase: &str, arguments: &[&str]| {
        let mut command = bench.command(arguments);
        command.env("COUNTERSIGN_PASSPHRASE", passphrase);
        run(command)
    };
    assert!(with(&bench, "short", &["init", "--kms", "passphrase"]).expect(5).err.contains("at least 12"));
    with(&bench, RIGHT, &["init", "--kms", "passphrase"]).expect(0);
    for wrong in [&["serve", "--listen", "127.0.0.1:0"][..], &["tenant", "list"]] {
        let ran = with(&bench, "another horse", wrong).expect(3);
        assert!(ran.err.contains("wrong passphrase") && !ran.err.contains("another"), "{}", ran.err);
    }
    bench.run(&["tenant", "list"]).expect(2);
    for file in ["countersign.toml", "kms.key"] {
        let bytes = fs::read(bench.dir().join(file)).unwrap();
        assert!(!bytes.windows(RIGHT.len()).any(|part| part == RIGHT.as_bytes()), "{file}");
    }
    let mut change = bench.command(&["kms", "passphrase"]);
    change.env("COUNTERSIGN_PASSPHRASE", RIGHT).env("COUNTERSIGN_NEW_PASSPHRASE", "a new one altogether");
    run(change).expect(0);
    with(&bench, RIGHT, &["tenant", "list"]).expect(3);
    bench.set("COUNTERSIGN_PASSPHRASE", "a new one altogether");
    let served = bench.serve();
    bench.run(&["tenant", "add", "acme"]).expect(0);
    let rotate = bench.run(&["kms", "rotate"]).expect(5);
    assert!(rotate.err.contains("stop it"), "{}", rotate.err);
    assert_eq!(served.stop(), 0);
    assert!(bench.run(&["--output", "csv", "kms", "rotate"]).expect(0).out.contains("acme,default,2"));
}

#[test]
fn a_rotated_key_wraps_every_tenants_key_and_the_old_one_opens_none() {
    let bench = Bench::ready();
    let file = bench.file("customer.csv", "id,company,country\nA1,Alpha,Brazil\n");
    bench.run(&["--as", "ann@acme", "import", "customer", &file]).expect(0);
    let served = bench.serve();
    let ran = bench.run(&["--output", "csv", "kms", "rotate"]).expect(0);
    assert!(ran.out.contains("acme,default,1") && ran.out.contains("operators,default,1"), "{}", ran.out);
    let get = ["--as", "ann@acme", "--output", "csv", "get", "customer", "--select", "id,company"];
    assert_eq!(rows(&bench.run(&get).expect(0)), ROWS);
    assert!(bench.run(&["--as", "carl@acme", "kms", "rewrap"]).expect(3).err.contains("next"));
    assert_eq!(served.stop(), 0);
    assert_eq!(rows(&bench.run(&get).expect(0)), ROWS);
}

/// The key service alone has a token; the authority, the gateway and the store are another process with a key of theirs.
#[test]
fn a_key_service_apart_loses_its_token_and_the_gateway_says_so() {
    let house = House::new();
    let keys = house.bench.path("keys-apart");
    let run_in = |house: &House, dir: &str, arguments: &[&str]| {
        let mut command = house.bench.bare(arguments);
        command.args(["--dir", dir]);
        run(command)
    };
    house.bench.run(&["init", "--services", "authority,gateway,store"]).expect(0);
    let authority = ["--wire-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"];
    let log = PathBuf::from(house.bench.path("log"));
    let mut serve = house.bench.command(&[&["serve"], authority.as_slice()].concat());
    serve.stderr(fs::File::create(&log).unwrap());
    let front = Served::start_with_own_log(serve);
    let wire = front.told.iter().find_map(|line| line.strip_prefix("ready authority ")).unwrap_or_else(|| {
        panic!("where the authority listens: {:?}", front.told);
    });
    let init = ["init", "--services", "keys", "--authority", wire, "--kms", "pkcs11", "--module", house.module];
    run_in(&house, &keys, &[init.as_slice(), &["--token", "house"]].concat()).expect(0);
    house.open_briefly_in(&keys);
    let invited = house.bench.run(&["service", "invite", "keys", "--name", "keys-1"]).expect(0);
    assert!(invited.out.starts_with("csj1.") && invited.err.contains("once"), "{} {}", invited.out, invited.err);
    let join = house.bench.file("join", &invited.out);
    let mut serve = house.bench.bare(&["serve", "--dir", &keys, "--wire-listen", "127.0.0.1:0", "--join-token", &join]);
    let keys_log = PathBuf::from(house.bench.path("keys-log"));
    serve.stderr(fs::File::create(&keys_log).unwrap());
    let back = Served::start_until(serve, "ready keys ");
    let listed = house.bench.run(&["--output", "csv", "service", "list"]).expect(0).out;
    assert!(listed.contains("keys,keys-1,"), "{listed}");

    house.bench.fill();
    house.store_something("ann@acme");
    let server = Server { house: &house, served: front, log: keys_log };
    let token = server.token("ann@acme");
    assert_eq!(rows(&server.get(&token).expect(0)), ROWS);
    // Rotated where the key service is, wrapped again where the authority is.
    let rotated = run_in(&house, &keys, &["kms", "rotate"]).expect(0);
    assert!(rotated.err.contains("version 2") && rotated.err.contains("kms rewrap"), "{}", rotated.err);
    let rewrapped = house.bench.run(&["--output", "csv", "kms", "rewrap", "--tenant", "acme"]).expect(0).out;
    assert!(rewrapped.contains("acme,default,2"), "{rewrapped}");
    assert_eq!(rows(&server.get(&token).expect(0)), ROWS);

    house.take_token_away();
    let (lost, refused) = server.until(&token, 6);
    assert!(refused.err.contains(SAID) && !refused.err.contains("house"), "{}", refused.err);
    server.soon_logged("has a token labelled");
    run_in(&house, &keys, &["kms", "status"]).expect(6);
    house.put_token_back();
    let (again, _) = server.until(&token, 0);
    println!("apart, token lost: refused after {lost:?}; back: served after {again:?}");
    assert_eq!(back.stop(), 0);
}
