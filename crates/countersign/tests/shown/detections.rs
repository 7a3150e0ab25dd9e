//! Detections on the real program: what goes on is provoked by requests and by hands on files and processes, and the
//! alerts arrive at a webhook and in a mailbox.

mod parts;
mod services;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use countersign_testkit::{Client, Deployment, MailServer, MailTls, Receiver, Server};
use serde_json::Value;

use crate::{Layout, processes, program, root, target};

/// How long an alert may take on a machine that does much else; the aim is two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A deployment that tells a webhook and a mailbox of everything.
struct Watched {
    deployment: Deployment,
    hook: Receiver,
    mail: MailServer,
    found: BTreeMap<String, Duration>,
}

impl Watched {
    /// A demo that was stopped, with whom to tell in its configuration.
    fn new(layout: Layout, changes: &[(&str, &str, &str)]) -> Result<Self> {
        // On a machine that does much else, a demo apart may be refused its first requests: a service is still behind.
        let started = layout.start().or_else(|_| layout.start()).or_else(|_| layout.start());
        let (deployment, server) = started?;
        server.stop()?;
        let hook = Receiver::start()?;
        let python = target().join("clients/mail/bin/python");
        let mail = MailServer::start(&python, &root(), MailTls::None)?;
        let mut all = vec![
            ("monitor", "learning_hours", "0".to_owned()),
            ("alerts", "allow", format!("[\"{}\"]", hook.place())),
            ("alerts", "rule_per_minute", "1000".to_owned()),
            ("alerts", "all_per_minute", "10000".to_owned()),
            ("alerts.hook", "kind", "\"webhook\"".to_owned()),
            ("alerts.hook", "level", "\"informational\"".to_owned()),
            ("alerts.hook", "url", format!("\"{}\"", hook.url())),
            ("alerts.hook", "secret_file", secret(&deployment)?),
            ("alerts.post", "kind", "\"smtp\"".to_owned()),
            ("alerts.post", "level", "\"informational\"".to_owned()),
            ("alerts.post", "to", "[\"oncall@example.com\"]".to_owned()),
            ("mail", "server", format!("\"localhost:{}\"", mail.port())),
            ("mail", "tls", "\"none\"".to_owned()),
            ("mail", "from", "\"Countersign <countersign@example.com>\"".to_owned()),
        ];
        all.extend(changes.iter().map(|(section, key, value)| (*section, *key, (*value).to_owned())));
        for folder in layout.folders(&deployment) {
            configure(&folder.join("countersign.toml"), &all)?;
        }
        Ok(Self { deployment, hook, mail, found: BTreeMap::new() })
    }

    /// What the hook was told of a rule, by its title, if it was.
    fn told(&mut self, title: &str, since: Instant) -> Result<Option<Value>> {
        for hook in self.hook.hooks() {
            let body: Value = serde_json::from_str(&hook.body)?;
            if body.to_string().contains(title) {
                let took = since.elapsed();
                println!("{:>6.1} s  {title}", took.as_secs_f64());
                self.found.insert(title.to_owned(), took);
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    /// Waits until the hook was told of a rule.
    fn expect(&mut self, title: &str, since: Instant) -> Result<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(body) = self.told(title, since)? {
                return Ok(body);
            }
            if Instant::now() > until {
                let told: Vec<String> = self.hook.hooks().iter().map(|hook| hook.body.clone()).collect();
                bail!("nobody was told: {title}\nof these they were:\n{}", told.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Fails if anybody was told of one of these rules.
    fn untold(&self, titles: &[&str]) {
        for hook in self.hook.hooks() {
            for title in titles {
                assert!(!hook.body.contains(title), "told too early: {}", hook.body);
            }
        }
    }

    /// Does something of which nobody was told yet, and waits for the alert.
    fn provokes(&mut self, title: &str, act: impl FnOnce(&Deployment) -> Result<()>) -> Result<Value> {
        self.untold(&[title]);
        let since = Instant::now();
        act(&self.deployment).with_context(|| title.to_owned())?;
        self.expect(title, since)
    }

    /// All that was found is in the mailbox too, and names ids and numbers alone.
    fn mailed(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let missing = loop {
            let mails: Vec<String> = self.mail.taken().iter().map(decoded).collect();
            let missing: Vec<&String> =
                self.found.keys().filter(|title| !mails.iter().any(|mail| mail.contains(title.as_str()))).collect();
            if missing.is_empty() || Instant::now() > until {
                break missing.into_iter().cloned().collect::<Vec<_>>();
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        assert!(missing.is_empty(), "not mailed: {missing:?}");
        for told in self.hook.hooks().iter().map(|hook| hook.body.clone()) {
            for word in ["andrew", "nancy", "janet", "Around the Horn", "eyJ", "PRIVATE"] {
                assert!(!told.contains(word), "{word} in {told}");
            }
        }
        println!("{} rules were told of by webhook and by mail", self.found.len());
        Ok(())
    }
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

/// A mail without its line breaks, so that what was folded is found.
fn decoded(mail: &Value) -> String {
    let content = mail["content"].as_str().unwrap_or_default();
    content.replace("=\r\n", "").replace("\r\n ", " ").replace("=27", "'").replace("=3D", "=").replace("=E2=80=99", "'")
}

fn secret(deployment: &Deployment) -> Result<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = deployment.dir().join("hook.secret");
    std::fs::write(&path, Receiver::SECRET)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(format!("\"{}\"", path.display()))
}

/// Sets keys of a configuration file: in their sections where these are, and in new ones otherwise.
fn configure(path: &Path, changes: &[(&str, &str, String)]) -> Result<()> {
    let mut lines: Vec<String> = std::fs::read_to_string(path)?.lines().map(str::to_owned).collect();
    for (section, key, value) in changes {
        let head = format!("[{section}]");
        let at = lines.iter().position(|line| line.trim() == head).unwrap_or_else(|| {
            lines.push(head);
            lines.len() - 1
        });
        let end = lines.iter().skip(at + 1).position(|line| line.starts_with('[')).map_or(lines.len(), |n| at + 1 + n);
        let is_key = |line: &String| line.trim_start_matches(['#', ' ']).split(['=', ' ']).next() == Some(key);
        let there = (at + 1..end).find(|number| is_key(&lines[*number]) && lines[*number].contains('='));
        let line = format!("{key} = {value}");
        match there {
            Some(number) => lines[number] = line,
            None => lines.insert(at + 1, line),
        }
    }
    Ok(std::fs::write(path, lines.join("\n") + "\n")?)
}

/// `countersign …` that may be refused.
fn attempt(deployment: &Deployment, arguments: &[&str]) -> Result<bool> {
    Ok(deployment.command(arguments).output()?.status.success())
}

#[test]
#[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
fn what_people_do() -> Result<()> {
    let mut watched = Watched::new(Layout::Whole, &[])?;
    let server = watched.deployment.serve()?;
    let client = server.client()?;
    let andrew = client.with_token(&watched.deployment.login("andrew@northwind")?);

    // Of roles that its story has, the demo may have told already.
    let analyst = new_key(&watched.deployment, 8)?.display().to_string();
    let add = ["--as", "andrew@northwind", "user", "add", "ann@northwind", "--role", "analyst", "--ssh-key"];
    watched.deployment.run(&[&add[..], &[&format!("{analyst}.pub")]].concat())?;
    let ann = client.with_token(watched.deployment.run(&["login", "ann@northwind", "--key", &analyst])?.trim());
    let told = watched
        .provokes("first_use=analyst/", |_| ann.get("/rest/v1/customer?select=id&limit=5")?.success().map(drop))?;
    assert!(told.to_string().contains("A role reads fields of a class for the first time"), "{told}");
    let nancy = client.with_token(&watched.deployment.login("nancy@northwind")?);
    watched.provokes("Another tenant was asked for", |deployment| {
        let is_given = attempt(deployment, &["--as", "andrew@northwind", "user", "list", "--tenant", "chinook"])?;
        assert!(!is_given);
        Ok(())
    })?;
    watched.provokes("One user is refused again and again", |_| {
        (0..20).try_for_each(|_| {
            assert_eq!(nancy.get("/rest/v1/employee?select=id")?.status, 403);
            Ok(())
        })
    })?;
    watched.provokes("Requests without a good token in a burst", |_| {
        (0..50).try_for_each(|_| {
            assert_eq!(client.get("/rest/v1/customer?select=id")?.status, 401);
            Ok(())
        })
    })?;
    watched.provokes("Somebody reads far more than they ever did", |deployment| {
        let chinook = client.with_token(&deployment.login("andrew@chinook")?);
        for offset in [0, 1_000, 2_000, 3_000, 0, 1_000, 2_000, 3_000] {
            chinook.get(&format!("/rest/v1/product?select=*&order=id&limit=1000&offset={offset}"))?.success()?;
        }
        Ok(())
    })?;
    watched.provokes("A revoked token was used", |deployment| {
        let token = deployment.login("michael@northwind")?;
        let revoke = deployment.command(&["token", "revoke"]).env("COUNTERSIGN_TOKEN", &token).output()?;
        assert!(revoke.status.success(), "{}", text(&revoke.stderr));
        assert_eq!(client.with_token(&token).get("/rest/v1/customer?select=id")?.status, 401);
        Ok(())
    })?;
    watched.provokes("One user logs in with many keys", |deployment| {
        let keys: Vec<PathBuf> = (0..3).map(|number| new_key(deployment, number)).collect::<Result<_>>()?;
        let mut add = deployment.command(&["--as", "andrew@northwind", "user", "add", "many@northwind"]);
        add.args(["--role", "accountant"]);
        for key in &keys {
            add.arg("--ssh-key").arg(key.with_extension("pub"));
        }
        let added = add.output()?;
        assert!(added.status.success(), "{}", text(&added.stderr));
        for key in &keys {
            deployment.run(&["login", "many@northwind", "--key", &key.display().to_string()])?;
        }
        Ok(())
    })?;
    watched.provokes("A plaintext budget is used up", |deployment| {
        let budget = deployment.dir().join("policies/budget.toml");
        std::fs::create_dir_all(deployment.dir().join("policies"))?;
        let folder = root().join("examples/trading/policies");
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            std::fs::copy(entry.path(), deployment.dir().join("policies").join(entry.file_name()))?;
        }
        std::fs::write(budget, "[roles.rep]\nper_hour = 10\n")?;
        deployment.run(&["policy", "apply", &deployment.dir().join("policies").display().to_string()])?;
        let janet = client.with_token(&deployment.login("janet@northwind")?);
        assert_eq!(janet.get("/rest/v1/customer?select=*")?.status, 429);
        Ok(())
    })?;
    watched.provokes("Policies can't be evaluated", |deployment| {
        let policies = deployment.dir().join("policies");
        let condition = "principal has employee && principal.employee + 9223372036854775807 > 0";
        let policy = format!(
            "permit (principal in Role::\"rep\", action == Customer::Action::\"read\", resource) when {{ {condition} }};\n"
        );
        std::fs::write(policies.join("overflow.cedar"), policy)?;
        deployment.run(&["policy", "apply", &policies.display().to_string()])?;
        // It is about nobody else.
        assert_eq!(andrew.get("/rest/v1/customer?select=id&limit=1")?.status, 200);
        let janet = client.with_token(&deployment.login("janet@northwind")?);
        assert_eq!(janet.get("/rest/v1/customer?select=id&limit=1")?.status, 500);
        std::fs::remove_file(policies.join("overflow.cedar"))?;
        deployment.run(&["policy", "apply", &policies.display().to_string()]).map(drop)
    })?;
    let told = watched.provokes("An operator's access to a tenant began or ended", |deployment| {
        let asked = ["access", "request", "northwind", "--role", "support", "--reason", "ticket 1", "--for", "1h"];
        deployment.run(&asked)?;
        let id = grant(&client, deployment, "northwind")?;
        deployment.run(&["--as", "andrew@northwind", "access", "approve", &id]).map(drop)
    })?;
    assert!(told.to_string().contains("tenant="), "{told}");
    watched.provokes("The glass was broken", |deployment| {
        let key = new_key(deployment, 9)?;
        let public = key.with_extension("pub").display().to_string();
        deployment.run(&["user", "add", "second@operators", "--ssh-key", &public, "--role", "operator"])?;
        std::fs::rename(&key, deployment.dir().join("keys/second@operators"))?;
        let asked = ["access", "request", "chinook", "--role", "support", "--reason", "stuck", "--for", "30m"];
        deployment.run(&[&asked[..], &["--break-glass"]].concat())?;
        let id = grant(&client, deployment, "chinook")?;
        deployment.run(&["--as", "second@operators", "access", "confirm", &id]).map(drop)
    })?;
    watched.provokes("A time limit of an incident runs out", |deployment| {
        // Some clocks run out at once.
        let opened = ["incident", "open", "--principal", "nancy@northwind", "--since", "1h"];
        deployment.run(&opened).map(drop)
    })?;
    watched.mailed()?;
    server.stop()
}

/// The newest grant for a tenant, as the operator sees it.
fn grant(client: &Client, deployment: &Deployment, tenant: &str) -> Result<String> {
    let operator = client.with_token(&deployment.login("operator@operators")?);
    let list: Value = serde_json::from_str(&operator.get("/v1/access")?.text())?;
    let entries = list.as_array().with_context(|| list.to_string())?;
    let found = entries.iter().rev().find(|entry| entry["tenant"] == tenant && entry["state"] == "asked");
    Ok(found.and_then(|entry| entry["id"].as_str()).with_context(|| list.to_string())?.to_owned())
}

fn new_key(deployment: &Deployment, number: usize) -> Result<PathBuf> {
    let path = deployment.dir().join(format!("key-{number}"));
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status()?;
    assert!(made.success());
    Ok(path)
}

#[test]
#[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
fn what_happens_to_ledgers() -> Result<()> {
    let mut watched = Watched::new(Layout::Whole, &[])?;
    let server = watched.deployment.serve()?;
    let client = server.client()?.with_token(&watched.deployment.login("andrew@northwind")?);
    let read = || client.get("/rest/v1/customer?select=id,company&limit=20")?.success().map(drop);
    (0..20).try_for_each(|_| read())?;
    // Checkpoints of everything so far are out and witnessed by then, and the monitor has written down what it knows.
    std::thread::sleep(Duration::from_secs(4));
    let (audit, copy) = (watched.deployment.dir().join("audit/store"), watched.deployment.dir().join("copy"));
    copied(&audit, &copy)?;
    (0..20).try_for_each(|_| read())?;
    std::thread::sleep(Duration::from_secs(12));
    server.stop()?;
    // The store's newest records are taken away, and everything that is beside them: a backup is put back.
    std::fs::remove_dir_all(&audit)?;
    copied(&copy, &audit)?;
    std::fs::remove_dir_all(&copy)?;
    let since = Instant::now();
    let server = watched.deployment.serve()?;
    let told = watched.expect("Records of a ledger are missing", since)?;
    assert!(told.to_string().contains("ledger_gap=shrank"), "{told}");
    let client = server.client()?.with_token(&watched.deployment.login("andrew@northwind")?);
    client.get("/rest/v1/customer?select=id,company&limit=20")?.success()?;
    watched.expect("A log contradicts what was seen of it before", since)?;
    server.stop()?;

    // Somebody without the key writes over cells.
    let overwritten = overwrite(&watched.deployment.dir().join("data"))?;
    assert!(overwritten > 0, "no table was found");
    let server = watched.deployment.serve()?;
    let client = server.client()?.with_token(&watched.deployment.login("andrew@northwind")?);
    let since = Instant::now();
    assert!(client.get("/rest/v1/customer?select=*&limit=20")?.status >= 500);
    watched.expect("Stored data can't be opened", since)?;
    server.stop()?;

    // To the process a full disk: no file may grow past a little more than the longest audit file has now.
    let longest = longest_file(&watched.deployment.dir().join("audit"))?;
    let line = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", longest / 512 + 48);
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(line).arg(program()).arg("serve").arg(watched.deployment.dir());
    limited.args(["--listen", "127.0.0.1:0"]);
    let since = Instant::now();
    let server = Server::start(limited, watched.deployment.ca_file(), &watched.deployment.log())?;
    let client = server.client()?.with_token(&watched.deployment.login("andrew@northwind")?);
    for _ in 0..20_000 {
        if client.get("/rest/v1/customer?select=id&limit=20")?.status != 200 {
            break;
        }
    }
    watched.expect("A ledger takes no records", since)?;
    watched.mailed()?;
    server.kill()
}

/// Zeroes the second field's cells of every type, in every tenant's file.
fn overwrite(folder: &Path) -> Result<usize> {
    let mut overwritten = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            overwritten += overwrite(&path)?;
        }
        if path.extension().is_none_or(|ending| ending != "db") {
            continue;
        }
        for place in 0..8 {
            let sql = format!("UPDATE r{place} SET c1 = zeroblob(length(c1))");
            overwritten += usize::from(Command::new("sqlite3").arg(&path).arg(sql).output()?.status.success());
        }
    }
    Ok(overwritten)
}

fn copied(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copied(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

fn longest_file(folder: &Path) -> Result<u64> {
    let mut longest = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let length = if entry.file_type()?.is_dir() { longest_file(&entry.path())? } else { entry.metadata()?.len() };
        longest = longest.max(length);
    }
    Ok(longest)
}

#[test]
#[ignore = "starts a demo; a step of `cargo xtask test` runs it"]
fn what_happens_to_services() -> Result<()> {
    // Certificates of ten minutes are always near their end.
    let mut watched = Watched::new(Layout::Apart, &[("services", "certificate_ms", "600000")])?;
    let run = [("services", "run", "\"authority,monitor\"".to_owned())];
    configure(&watched.deployment.dir().join("countersign.toml"), &run)?;
    let since = Instant::now();
    let server = Layout::Apart.again(&watched.deployment)?;
    watched.expect("A service's certificate was not renewed", since)?;
    let id = |server: &Server, service: &str| -> Result<String> {
        let found = processes::services(server)?.into_iter().find(|process| process.service == service);
        Ok(found.with_context(|| format!("no process is {service}"))?.id.to_string())
    };
    let signal = |signal: &str, id: &str| -> Result<()> {
        assert!(Command::new("kill").args([signal, id]).status()?.success());
        Ok(())
    };
    let keys = id(&server, "keys")?;
    let since = Instant::now();
    signal("-STOP", &keys)?;
    let told = watched.expect("A service does not answer", since);
    signal("-CONT", &keys)?;
    told?;
    watched.mailed()?;
    server.stop()
}
