//! A PostgreSQL server of a test's own: in a temporary folder, on a free loopback port, with TLS and certificate login
//! as a real one has it. Ended by its process id when it is dropped.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::tls::CertificateSlot;
use countersign_crypto::x509::{CertificateAuthority, WorkloadKey};
use countersign_model::clock::SystemClock;
use countersign_model::{Clock as _, Service};
use countersign_postgres::{Identity, SCHEMA_ROLE, Settings, pg_hba, pg_ident, role_of, setup_sql};

/// The database in it.
pub const DATABASE: &str = "countersign";
const TRUST_DOMAIN: &str = "test.internal";
const START_WITHIN: Duration = Duration::from_secs(60);
const HOUR_MS: u64 = 3_600_000;

/// A running server. Dropping it ends it and removes its folder.
pub struct Postgres {
    child: Child,
    guard: Guard,
    folder: tempfile::TempDir,
    port: u16,
    ca_pem: String,
    /// Nobody's but the test's own.
    authority: Option<CertificateAuthority>,
}

/// What a server shows to its clients, and whom it trusts, all in PEM.
pub struct Certified {
    /// The authority of its clients' certificates.
    pub ca_pem: String,
    /// Its own certificate.
    pub certificate_pem: String,
    /// The key of that.
    pub key_pem: String,
}

/// A process that ends the server and removes its folder once this process is gone, however it went.
struct Guard(Child);

impl Guard {
    fn over(folder: &Path) -> Result<Self> {
        // It reads from a pipe that nobody writes to, and that ends with whoever holds its other end.
        let script = "cat >/dev/null; pid=$(head -n 1 \"$0/data/postmaster.pid\" 2>/dev/null) \
                      && kill -INT \"$pid\" && sleep 2 && rm -rf -- \"$0\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, text(folder)?]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn()?))
    }

    /// The server has ended.
    fn leave(&mut self) {
        let _ = self.0.kill();
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The account that a server runs as: not the administrator's, which it refuses.
struct Account {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// Starts an empty server with a certificate authority of its own, and sets it up for Countersign.
    ///
    /// # Errors
    /// If there is no PostgreSQL on this machine (Debian's package `postgresql`), or it does not start.
    pub fn start() -> Result<Self> {
        Self::start_with("")
    }

    /// The same, with lines for `postgresql.conf`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(settings: &str) -> Result<Self> {
        Self::start_of(CertificateAuthority::generate("Test", SystemClock.now(), 2)?, settings)
    }

    /// The same, trusting an authority that is there already.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_of(authority: CertificateAuthority, settings: &str) -> Result<Self> {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let certificate = authority.issue_server(&names, SystemClock.now(), HOUR_MS)?;
        let certified = Certified {
            ca_pem: authority.ca_pem().to_owned(),
            certificate_pem: certificate.certificate_pem(),
            key_pem: certificate.expose_key_pem().to_string(),
        };
        let mut server = Self::start_certified(&certified, settings)?;
        server.sql(DATABASE, &setup_sql())?;
        server.authority = Some(authority);
        Ok(server)
    }

    /// The same with certificates that were made elsewhere, and an empty database.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_certified(certified: &Certified, settings: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("countersign-pg-").tempdir()?;
        let account = account()?;
        give(folder.path(), account.as_ref())?;
        let data = folder.path().join("data");
        run(
            &account,
            "initdb",
            &["-D", text(&data)?, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        )?;
        write(&data.join("server.key"), &certified.key_pem, account.as_ref())?;
        write(&data.join("server.pem"), &certified.certificate_pem, account.as_ref())?;
        write(&data.join("ca.pem"), &certified.ca_pem, account.as_ref())?;
        // The socket is in a folder that only the server's account may enter.
        let hba = format!("local all postgres trust\n{}", pg_hba("all", &["127.0.0.1/32"]));
        write(&data.join("pg_hba.conf"), &hba, account.as_ref())?;
        write(&data.join("pg_ident.conf"), &pg_ident(), account.as_ref())?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let config = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nssl = on\n\
             ssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\nssl_ca_file = 'ca.pem'\n\
             ssl_min_protocol_version = 'TLSv1.3'\nfsync = off\nshared_buffers = '64MB'\nmax_connections = 200\n\
             log_line_prefix = '%m %u '\n{settings}\n",
            folder.path().display()
        );
        write(&data.join("postgresql.conf"), &config, account.as_ref())?;
        let child = serve(&account, &data, &folder.path().join("log"))?;
        let guard = Guard::over(folder.path())?;
        let server = Self { child, guard, folder, port, ca_pem: certified.ca_pem.clone(), authority: None };
        server.wait()?;
        server.sql("postgres", &format!("CREATE DATABASE {DATABASE}"))?;
        Ok(server)
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> String {
        format!("postgres://127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its socket; its data are in `data` there.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Who its clients' certificates, and its own, are of.
    ///
    /// # Panics
    /// If its certificates were made elsewhere.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "a test that asks for what is not there stops")]
    pub fn authority(&self) -> &CertificateAuthority {
        self.own().unwrap()
    }

    fn own(&self) -> Result<&CertificateAuthority> {
        self.authority.as_ref().context("the server's certificates were made elsewhere")
    }

    /// Settings for its clients.
    ///
    /// # Errors
    /// None that is to be expected.
    pub fn settings(&self) -> Result<Settings> {
        Ok(Settings::parse(&self.address(), self.ca_pem.clone())?)
    }

    /// Another database in it, set up for Countersign and empty, and settings for its clients.
    ///
    /// # Errors
    /// If it is there already.
    pub fn another(&self, name: &str) -> Result<Settings> {
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        self.sql(name, &setup_sql())?;
        Ok(Settings { database: name.to_owned(), ..self.settings()? })
    }

    /// A service as its clients know themselves.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub fn identity(&self, service: Service) -> Result<Identity> {
        Ok(Identity { role: role_of(service), slot: self.slot(service)? })
    }

    /// The owner of the tables.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub fn owner(&self) -> Result<Identity> {
        Ok(Identity { role: SCHEMA_ROLE.to_owned(), slot: self.slot(Service::Authority)? })
    }

    /// A service's certificate.
    ///
    /// # Errors
    /// If none can be made.
    pub fn slot(&self, service: Service) -> Result<Arc<CertificateSlot>> {
        let key = WorkloadKey::generate()?;
        let id = SpiffeId::new(TRUST_DOMAIN, service.as_str(), "1")?;
        let issued = self.own()?.issue_workload(&key.request()?, &id, &[], SystemClock.now(), HOUR_MS)?;
        Ok(CertificateSlot::new(&key.with_chain(issued.chain_der)?)?)
    }

    /// Runs SQL as the database's own administrator and gives what it prints, unaligned and without headings.
    ///
    /// # Errors
    /// If it fails; the message has what the server said.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let (folder, port) = (text(self.folder.path())?, self.port.to_string());
        let arguments = ["-h", folder, "-p", &port, "-U", "postgres", "-d", database, "-X", "-q", "-A", "-t"];
        let mut command = tool(&account()?, "psql")?;
        command.args(arguments).args(["-v", "ON_ERROR_STOP=1", "-c", sql]);
        output(command)
    }

    /// A program of PostgreSQL's (`pg_dump`, `pgbench`), as the account that may enter the socket's folder, told by its
    /// environment where the server is.
    ///
    /// # Errors
    /// If there is no such program.
    pub fn tool(&self, name: &str) -> Result<Command> {
        let mut command = tool(&account()?, name)?;
        command.env("PGHOST", self.folder.path()).env("PGPORT", self.port.to_string());
        command.env("PGUSER", "postgres").env("PGDATABASE", DATABASE);
        Ok(command)
    }

    /// The server's process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the server as `signal` does (`INT`: at once; `QUIT`: as a crash) and starts it again on the same data.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn restart(&mut self, signal: &str) -> Result<()> {
        self.end(signal)?;
        let data = self.folder.path().join("data");
        self.child = serve(&account()?, &data, &self.folder.path().join("log"))?;
        self.wait()
    }

    /// Sends a signal to the server's own process and to those of its connections, such as `STOP` and `CONT`: as if the
    /// machine stood still.
    ///
    /// # Errors
    /// If it can't be sent.
    pub fn signal(&self, signal: &str) -> Result<()> {
        for process in self.processes()? {
            // One that ended meanwhile needs none.
            let _ = crate::server::signal(signal, process);
        }
        Ok(())
    }

    /// The server's own process and those that it started.
    fn processes(&self) -> Result<Vec<u32>> {
        let own = self.child.id();
        let mut all = vec![own];
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // After the name, which may hold anything: the state, and then the parent.
            let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
            if parent == Some(own) {
                all.push(id);
            }
        }
        Ok(all)
    }

    fn end(&mut self, signal: &str) -> Result<()> {
        crate::server::signal(signal, self.child.id())?;
        self.child.wait()?;
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < START_WITHIN {
            if self.sql("postgres", "SELECT 1").is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("PostgreSQL did not start within {START_WITHIN:?}:\n{}", self.log())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.end("INT");
        self.guard.leave();
    }
}

fn serve(account: &Option<Account>, data: &Path, log: &Path) -> Result<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = tool(account, "postgres")?;
    command.args(["-D", text(data)?]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?)
}

/// Who PostgreSQL runs as: `None` is whoever runs this.
fn account() -> Result<Option<Account>> {
    if !is_root()? {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    let line = accounts.lines().find(|line| line.starts_with("postgres:"));
    let line = line.context("there is no account `postgres`; install Debian's package postgresql")?;
    let mut fields = line.split(':').skip(2);
    let mut number = || fields.next().and_then(|field| field.parse().ok()).context("/etc/passwd is not as expected");
    Ok(Some(Account { uid: number()?, gid: number()? }))
}

fn is_root() -> Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

fn give(path: &Path, account: Option<&Account>) -> Result<()> {
    if let Some(account) = account {
        chown(path, Some(account.uid), Some(account.gid))?;
    }
    Ok(())
}

fn write(path: &Path, content: &str, account: Option<&Account>) -> Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    give(path, account)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not UTF-8")
}

/// Where PostgreSQL's programs are: the newest of Debian's, or wherever the search path has them.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    versions.pop().map(|(_, path)| path)
}

fn tool(account: &Option<Account>, name: &str) -> Result<Command> {
    let path = programs().map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
    let mut command = Command::new(path);
    command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    Ok(command)
}

fn run(account: &Option<Account>, name: &str, arguments: &[&str]) -> Result<String> {
    let mut command = tool(account, name)?;
    command.args(arguments);
    output(command)
}

fn output(mut command: Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let ended =
        command.output().with_context(|| format!("starting {name}; is Debian's package postgresql installed?"))?;
    if !ended.status.success() {
        bail!("{name} ended with {}: {}", ended.status, String::from_utf8_lossy(&ended.stderr));
    }
    Ok(String::from_utf8(ended.stdout)?.trim_end().to_owned())
}
