//! Countersign itself: an authority in two data centres, of which one serves, and gateway, key service and store in each of
//! them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use countersign_ha::Inventory;
use countersign_testkit::Client;

use crate::cluster::{Process, Site};
use crate::load::Doors;
use crate::network::Place;

const DOOR: u16 = 8443;
const AUTHORITY: u16 = 8444;
/// The first of three.
const SERVICES: u16 = 8446;
const STOPS_WITHIN: Duration = Duration::from_secs(40);
const READY_WITHIN: Duration = Duration::from_secs(120);

const TYPES: &str = "\
[types.probe.fields]
id     = { kind = \"text\", class = \"internal\" }
number = { kind = \"integer\", class = \"internal\" }
";
const POLICY: &str = "\
@id(\"admins: everything with records\")
permit (principal in Role::\"admin\", action in Data::Action::\"any\", resource);
";

/// The services of one data centre.
pub struct Services {
    place: Place,
    authority: PathBuf,
    services: PathBuf,
    program: PathBuf,
    logs: PathBuf,
    name: String,
    running: [Option<Process>; 2],
}

/// What is the same everywhere.
pub struct Deployment {
    base: PathBuf,
    program: PathBuf,
    /// The data centres that have services.
    places: Vec<(String, Place)>,
}

impl Deployment {
    /// One below `base`, with services in these data centres; the first is where it is made.
    #[must_use]
    pub fn new(base: &Path, program: &Path, places: Vec<(String, Place)>) -> Self {
        Self { base: base.to_owned(), program: program.to_owned(), places }
    }

    fn authority(&self, name: &str) -> PathBuf {
        self.base.join("authority").join(name)
    }

    fn services(&self, name: &str) -> PathBuf {
        self.base.join("services").join(name)
    }

    fn first(&self) -> Result<&(String, Place)> {
        self.places.first().context("no data centre")
    }

    /// Makes the authority's folder, embedded as every deployment begins, with a tenant, a user and a type.
    ///
    /// # Errors
    /// If the program refuses.
    pub fn begin(&self) -> Result<()> {
        let (name, place) = self.first()?;
        let dir = self.authority(name);
        fs::create_dir_all(self.base.join("authority"))?;
        fs::create_dir_all(self.base.join("services"))?;
        let listen = format!("{}:{AUTHORITY}", place.address);
        self.init(&dir, &["--wire-listen", &listen])?;
        let names: Vec<String> = self.places.iter().map(|(_, place)| format!("\"{}\"", place.address)).collect();
        set(&dir, "server", "names", &format!("[\"localhost\", {}]", names.join(", ")))?;
        for (file, text) in [("types.toml", TYPES), ("policies/probe.cedar", POLICY)] {
            let path = self.base.join(file);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, text)?;
        }
        let (types, policies) = (self.base.join("types.toml"), self.base.join("policies"));
        self.run(place, &dir, &["schema", "apply", text(&types)?])?;
        self.run(place, &dir, &["policy", "apply", text(&policies)?])?;
        self.run(place, &dir, &["tenant", "add", "acme"])?;
        let key = self.base.join("ann");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "ann", "-f"]).arg(&key).status()?;
        if !made.success() {
            bail!("ssh-keygen (Debian's package openssh-client) made no key");
        }
        let public = key.with_extension("pub");
        self.run(place, &dir, &["user", "add", "ann@acme", "--ssh-key", text(&public)?, "--role", "admin"])?;
        Ok(())
    }

    /// New certificates for a data centre's database.
    ///
    /// # Errors
    /// If the program refuses.
    pub fn certify(&self, inventory: &Path, site: &Site) -> Result<()> {
        let (name, place) = self.first()?;
        let to = text(site.config())?;
        self.run(place, &self.authority(name), &["ha", "certificates", text(inventory)?, &site.name, "--to", to])?;
        Ok(())
    }

    /// Moves it to the database, makes everybody else's folders and starts everything.
    ///
    /// # Errors
    /// If the program refuses, or something does not become ready.
    pub fn start(&self, inventory: &Inventory) -> Result<Vec<Services>> {
        let (name, place) = self.first()?;
        let first = self.authority(name);
        let address_for = |name: &str| inventory.datacentre(name).map(|one| inventory.address_for(&one));
        let address = address_for(name).context("no such data centre")?;
        self.run(place, &first, &["move", "--to", &address])?;
        set(&first, "services", "run", "\"authority\"")?;
        let authorities: Vec<String> =
            self.places.iter().map(|(_, place)| format!("{}:{AUTHORITY}", place.address)).collect();
        let mut all = Vec::new();
        for (name, place) in &self.places {
            let (authority, services) = (self.authority(name), self.services(name));
            let address = address_for(name).context("no such data centre")?;
            if authority != first {
                copy(&first, &authority)?;
                set(&authority, "services", "listen", &format!("\"{}:{AUTHORITY}\"", place.address))?;
                set(&authority, "postgres", "address", &format!("\"{address}\""))?;
            }
            let listen = format!("{}:{SERVICES}", place.address);
            let words =
                ["--services", "gateway,keys,store", "--authority", &authorities.join(","), "--wire-listen", &listen];
            self.init(&services, &words)?;
            let trusted = services.join("database-ca.pem");
            fs::copy(first.join("ca.pem"), &trusted)?;
            set(&services, "postgres", "server_ca", &format!("\"{}\"", trusted.display()))?;
            set(&services, "postgres", "address", &format!("\"{address}\""))?;
            let names: Vec<String> = self.places.iter().map(|(_, place)| format!("\"{}\"", place.address)).collect();
            set(&services, "server", "names", &format!("[\"localhost\", {}]", names.join(", ")))?;
            // Tenants' keys are wrapped by one key, wherever they are unwrapped.
            fs::copy(first.join("kms.key"), services.join("kms.key"))?;
            copy(&first.join("kms.own"), &services.join("kms.own"))?;
            for service in ["gateway", "keys", "store"] {
                let token = self.run(place, &first, &["service", "invite", service, "--name", name])?;
                let path = self.base.join(format!("{name}-{service}.join"));
                fs::write(path, token)?;
            }
            let (name, place) = (name.clone(), place.clone());
            let (program, logs) = (self.program.clone(), self.base.join("logs"));
            all.push(Services { place, authority, services, program, logs, name, running: [None, None] });
        }
        for one in &mut all {
            one.start_authority()?;
        }
        for one in &mut all {
            let tokens =
                ["gateway", "keys", "store"].map(|service| self.base.join(format!("{}-{service}.join", one.name)));
            one.start_services(&tokens)?;
        }
        for one in &all {
            one.ready(&first.join("ca.pem"))?;
        }
        Ok(all)
    }

    /// Logs the user in, and says where the gateways are.
    ///
    /// # Errors
    /// If the login is refused.
    pub fn doors(&self) -> Result<Doors> {
        let (name, place) = self.first()?;
        let dir = self.authority(name);
        let addresses: Vec<String> = self.places.iter().map(|(_, place)| format!("{}:{DOOR}", place.address)).collect();
        let url = format!("https://{}", addresses.first().context("no gateway")?);
        let key = self.base.join("ann");
        let words = ["--url", &url, "login", "ann@acme", "--key", text(&key)?];
        let token = self.run(place, &dir, &words)?.trim().to_owned();
        Ok(Doors { addresses, ca_pem: fs::read_to_string(dir.join("ca.pem"))?, token })
    }

    fn init(&self, dir: &Path, words: &[&str]) -> Result<()> {
        let output = Command::new(&self.program).arg("init").arg(dir).args(words).output()?;
        if !output.status.success() {
            bail!("countersign init: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn run(&self, place: &Place, dir: &Path, words: &[&str]) -> Result<String> {
        let mut command = place.command(text(&self.program)?);
        command.arg("--dir").arg(dir).args(words).env("NO_COLOR", "1").env_remove("SSH_AUTH_SOCK");
        let output = command.output()?;
        if !output.status.success() {
            bail!("countersign {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Services {
    /// Starts the authority.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start_authority(&mut self) -> Result<()> {
        let mut command = self.place.command(text(&self.program)?);
        command.arg("serve").arg(&self.authority);
        let log = self.logs.join(format!("{}-authority.log", self.name));
        self.running[0] = Some(Process::start(&format!("the authority in {}", self.name), &command, &log)?);
        Ok(())
    }

    /// Starts gateway, key service and store; with join tokens, the first time.
    ///
    /// # Errors
    /// If they can't be started.
    pub fn start_services(&mut self, tokens: &[PathBuf]) -> Result<()> {
        let mut command = self.place.command(text(&self.program)?);
        command.arg("serve").arg(&self.services).args(["--listen", &format!("{}:{DOOR}", self.place.address)]);
        for token in tokens {
            command.arg("--join-token").arg(token);
        }
        let log = self.logs.join(format!("{}-services.log", self.name));
        self.running[1] = Some(Process::start(&format!("the services in {}", self.name), &command, &log)?);
        Ok(())
    }

    /// Stops gateway, key service and store as an upgrade does, and starts them again.
    ///
    /// # Errors
    /// If they don't come back.
    pub fn restart_services(&self) -> Result<()> {
        if let Some(process) = &self.running[1] {
            process.restart("INT", STOPS_WITHIN)?;
        }
        let ca = self.authority.join("ca.pem");
        self.ready(&ca)
    }

    /// Stops the authority and starts it again.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn restart_authority(&self) -> Result<()> {
        self.running[0].as_ref().map_or(Ok(()), |process| process.restart("INT", STOPS_WITHIN))
    }

    /// Waits until the gateway answers.
    fn ready(&self, ca: &Path) -> Result<()> {
        let begun = Instant::now();
        let ca = fs::read_to_string(ca)?;
        let client = Client::new(&format!("{}:{DOOR}", self.place.address), &ca)?;
        while begun.elapsed() < READY_WITHIN {
            if client.get("/v1/jwks.json").is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = fs::read_to_string(self.logs.join(format!("{}-services.log", self.name))).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(10).collect();
        bail!("the services in {} were not ready within {READY_WITHIN:?}: {}", self.name, tail.join("\n"))
    }
}

/// Sets a key of a section in a folder's `countersign.toml`, where every default is written out.
fn set(dir: &Path, section: &str, key: &str, value: &str) -> Result<()> {
    let path = dir.join("countersign.toml");
    let text = fs::read_to_string(&path)?;
    let (mut inside, mut is_set, mut lines) = (false, false, Vec::new());
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line.trim() == format!("[{section}]");
        }
        let is_key = inside && line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
        is_set |= is_key;
        lines.push(if is_key { format!("{key} = {value}") } else { line.to_owned() });
    }
    if !is_set {
        bail!("{} has no {key} in [{section}]", path.display());
    }
    lines.push(String::new());
    Ok(fs::write(&path, lines.join("\n"))?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").args(["--archive", "--no-target-directory"]).arg(from).arg(to).status()?;
    if !status.success() {
        bail!("{} could not be copied", from.display());
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}
