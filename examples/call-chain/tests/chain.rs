//! The call chain, run as four processes and a Countersign: the token that a user sends to the first service is the one
//! that Countersign sees from the last one, and what comes back is what that user may see.
#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it measured"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use countersign_testkit::{Client, Deployment, Response, Server};
use serde_json::Value;

/// The example's own program.
fn call_chain() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_call-chain"));
    command.env_remove("COUNTERSIGN_TOKEN");
    command
}

/// Countersign's program, which is built beside the example's; here, if nobody has done so.
fn countersign() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_BIN_EXE_call-chain")).parent().context("no folder")?;
    let program = folder.join("countersign");
    if !program.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--package", "countersign"]).status()?;
        ensure!(built.success(), "countersign does not build");
    }
    Ok(program)
}

/// A demo, the three services in front of it, and a partner that nobody trusts.
struct World {
    deployment: Deployment,
    demo: Server,
    services: [Server; 3],
    partner: Server,
    ca: String,
}

/// First to last.
const NAMES: [&str; 3] = ["front", "orders", "records"];

impl World {
    fn start() -> Result<Self> {
        let deployment = Deployment::temporary(&countersign()?)?;
        let demo = deployment.demo()?;
        let folder = deployment.dir().with_file_name("call-chain");
        let made = call_chain().arg("certificates").arg(&folder).stdin(Stdio::null()).status()?;
        ensure!(made.success(), "no certificates");

        let start = |role: &str, extra: &[&str]| {
            let mut command = call_chain();
            command.args([role, "--listen", "127.0.0.1:0", "--tls"]).arg(&folder);
            if NAMES.contains(&role) {
                command.args(["--countersign", &format!("https://{}", demo.address()), "--ca"]);
                command.arg(deployment.ca_file());
            }
            command.args(extra);
            Server::start(command, folder.join("ca.pem"), &folder.join(format!("{role}.log")))
        };
        let url = |server: &Server| format!("https://{}", server.address());
        let partner = start("partner", &[])?;
        let records = start("records", &[])?;
        let orders = start("orders", &["--next", &url(&records)])?;
        let front = start("front", &["--next", &url(&orders), "--partner", &url(&partner)])?;
        let ca = std::fs::read_to_string(folder.join("ca.pem"))?;
        Ok(Self { deployment, demo, services: [front, orders, records], partner, ca })
    }

    /// A client of one of the services.
    fn service(&self, index: usize, token: &str) -> Result<Client> {
        Ok(Client::new(self.services[index].address(), &self.ca)?.with_token(token))
    }

    /// What `GET path` at the first service gives.
    fn ask(&self, token: &str, path: &str) -> Result<Response> {
        self.service(0, token)?.get(path)
    }

    /// `countersign …` with a token, which fails if the program does.
    fn with_token(&self, token: &str, arguments: &[&str]) -> Result<String> {
        let output = self.deployment.command(arguments).env("COUNTERSIGN_TOKEN", token).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

/// The identifier of a token, as the program tells its holder.
fn id(world: &World, token: &str) -> Result<String> {
    let about: Value = serde_json::from_str(&world.with_token(token, &["token", "inspect"])?)?;
    Ok(about["token"].as_str().context("no token id")?.to_owned())
}

fn names(row: &Value) -> Vec<&str> {
    row.as_object().map(|row| row.keys().map(String::as_str).collect()).unwrap_or_default()
}

const BRAZIL: &str = "/customer?select=*&country=eq.Brazil&order=id";

#[test]
#[ignore = "starts a demo; `cargo xtask test --only chain` runs it"]
fn the_last_service_can_do_what_the_first_caller_may() -> Result<()> {
    let world = World::start()?;
    same_token_same_rows(&world)?;
    narrowed_stays_narrowed(&world)?;
    each_service_decides(&world)?;
    revoked_is_refused_everywhere(&world)?;
    let World { demo, services, partner, .. } = world;
    // Ended by their process ids.
    services.into_iter().chain([partner]).try_for_each(Server::kill)?;
    demo.stop()
}

/// Two users, the same request: one token id all along, and to each exactly what Countersign gives them itself.
fn same_token_same_rows(world: &World) -> Result<()> {
    let mut seen = Vec::new();
    for user in ["nancy@northwind", "michael@northwind"] {
        let token = world.deployment.login(user)?;
        let id = id(world, &token)?;
        let answer = world.ask(&token, BRAZIL)?.success()?.json()?;
        let hops = answer["hops"].as_array().context("no hops")?;
        let told: Vec<_> = hops.iter().map(|hop| (hop["service"].as_str(), hop["token"].as_str())).collect();
        assert_eq!(told, NAMES.map(|name| (Some(name), Some(id.as_str()))), "{user}");

        let direct = world.demo.client()?.with_token(&token);
        let direct = direct.get(&format!("/rest/v1{BRAZIL}"))?.rows()?;
        assert_eq!(answer["rows"].as_array(), Some(&direct), "{user}");
        let mut fields = names(&direct[0]).iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        fields.sort_unstable();
        for hop in hops {
            let mut may: Vec<&str> =
                hop["may_read"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let mut fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            may.sort_unstable();
            fields.sort_unstable();
            assert_eq!(may, fields, "{user}: what `may` says is what comes");
        }
        println!("{user}: token {id} at {} services and Countersign, {} rows of {fields:?}", hops.len(), direct.len());
        // Countersign's own record of who saw a customer names the same token.
        let key = direct[0]["id"].as_str().context("no id")?;
        let audit = ["--as", "robert@northwind", "audit", "who-saw", &format!("customer/{key}")];
        let audit = world.deployment.run(&audit)?;
        assert!(audit.contains(&id), "{user}: {audit}");
        seen.push(fields);

        // INVARIANT token-stays-home: the same client, to a server that isn't trusted.
        let got = &hops[0]["partner_got"];
        assert_eq!(got["token"], Value::Bool(false));
        assert!(!got["headers"].as_array().context("no headers")?.contains(&"authorization".into()), "{got}");
    }
    assert_eq!(seen[0], ["company", "country", "id"]);
    assert!(seen[1].contains(&"phone".to_owned()) && !seen[1].contains(&"fax".to_owned()));
    let nancy = world.deployment.login("nancy@northwind")?;
    // A field that is hidden and one that doesn't exist are one answer, also at the end of a chain.
    let hidden = world.ask(&nancy, "/customer?select=phone")?;
    let absent = world.ask(&nancy, "/customer?select=no_such_field")?;
    assert_eq!((hidden.status, absent.status), (403, 403));
    assert_eq!(hidden.json()?["rows"], absent.json()?["rows"]);
    Ok(())
}

/// A token of fewer fields, from whoever may see all of them.
fn narrowed_stays_narrowed(world: &World) -> Result<()> {
    let whole = world.deployment.login("andrew@northwind")?;
    let narrow =
        ["token", "narrow", "--read-only", "--type", "customer", "--fields", "company,country", "--for", "10m"];
    let narrowed = world.with_token(&whole, &narrow)?;
    let answer = world.ask(&narrowed, "/customer?select=*&limit=1")?.success()?.json()?;
    assert_eq!(names(&answer["rows"][0]), ["company", "country"]);
    for hop in answer["hops"].as_array().context("no hops")? {
        assert_eq!(hop["may_read"], serde_json::json!(["company", "country"]));
    }
    assert_eq!(world.ask(&narrowed, "/customer?select=phone&limit=1")?.status, 403);
    assert_eq!(world.ask(&narrowed, "/invoice?select=id&limit=1")?.status, 403);
    assert_eq!(world.ask(&whole, "/invoice?select=id&limit=1")?.status, 200);
    Ok(())
}

/// None relies on the one before it; a token of another Countersign is good nowhere.
fn each_service_decides(world: &World) -> Result<()> {
    let other = Deployment::temporary(&countersign()?)?;
    other.init()?;
    let elsewhere = other.serve()?;
    let foreign = other.login("operator@operators")?;
    elsewhere.stop()?;
    let good = world.deployment.login("andrew@northwind")?;
    let altered = altered(&good)?;
    for (index, name) in NAMES.iter().enumerate() {
        for (what, token) in [("of another issuer", &foreign), ("altered", &altered), ("no token", &"x".to_owned())] {
            let refused = world.service(index, token)?.get("/customer?limit=1")?;
            assert_eq!((refused.status, refused.text().as_str()), (401, ""), "{name}, {what}");
            let challenge = refused.header("www-authenticate").context("no challenge")?;
            assert_eq!(challenge, r#"Bearer realm="countersign", error="invalid_token""#, "{name}, {what}");
        }
        let nobody = Client::new(world.services[index].address(), &world.ca)?.get("/customer?limit=1")?;
        assert_eq!(nobody.header("www-authenticate"), Some(r#"Bearer realm="countersign""#), "{name}");
        assert_eq!(world.service(index, &good)?.get("/customer?limit=1")?.status, 200, "{name}");
    }
    Ok(())
}

/// Other claims under the old signature.
fn altered(token: &str) -> Result<String> {
    let (head, signature) = token.rsplit_once('.').context("no token")?;
    let last = head.chars().last().context("no claims")?;
    let other = if last == 'A' { 'B' } else { 'A' };
    Ok(format!("{}{other}.{signature}", &head[..head.len() - 1]))
}

/// Each service has just accepted the token, so that each remembers it at its longest. What is read is refused at once
/// all the same, because Countersign itself refuses; each service refuses by itself, without asking the next, in time.
fn revoked_is_refused_everywhere(world: &World) -> Result<()> {
    let token = world.deployment.login("andrew@northwind")?;
    for index in 0..NAMES.len() {
        assert_eq!(world.service(index, &token)?.get("/customer?limit=1")?.status, 200);
    }
    world.with_token(&token, &["token", "revoke"])?;
    let revoked = Instant::now();
    let mut by_itself = [None; 3];
    while by_itself.contains(&None) {
        for (index, after) in by_itself.iter_mut().enumerate() {
            let refused = world.service(index, &token)?.get("/customer?limit=1")?;
            assert_eq!(refused.status, 401, "{}, {:?} after", NAMES[index], revoked.elapsed());
            if refused.body.is_empty() {
                after.get_or_insert(revoked.elapsed());
            } else {
                assert_eq!(refused.json()?["rows"]["code"], "PGRST303", "somebody further on refused it");
            }
        }
        ensure!(revoked.elapsed() < Duration::from_secs(10), "still accepted: {by_itself:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    for (name, after) in NAMES.iter().zip(by_itself.into_iter().flatten()) {
        println!("{name}: refuses a revoked token by itself after {:.1} s", after.as_secs_f64());
        assert!(after < Duration::from_millis(5_900), "{name}: {after:?}");
    }
    Ok(())
}
