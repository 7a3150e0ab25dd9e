//! PostgreSQL under Patroni with etcd in each data centre, started from what the inventory renders to.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use countersign_ha::{Inventory, render};
use serde_json::Value;

use crate::network::{Place, signal};

/// The accounts of Debian's packages.
const POSTGRES: &str = "postgres";
const ETCD: &str = "etcd";
/// Everything of one data centre's PostgreSQL is on a disk of this size, so that it can be filled.
const DISK: &str = "size=1300m,mode=0755";
const SETTLES_WITHIN: Duration = Duration::from_secs(180);

/// A process with its log, which is started again when it ends by itself, as a supervisor such as systemd does.
pub struct Process {
    inner: Arc<Inner>,
    /// For messages.
    pub name: String,
}

struct Inner {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    log: PathBuf,
    child: Mutex<Child>,
    /// Whether it is to run.
    wanted: AtomicBool,
}

impl Inner {
    fn start(&self) -> Result<Child> {
        spawn(&self.program, &self.arguments, &self.variables, &self.log)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn(program: &OsStr, words: &[OsString], variables: &[(OsString, OsString)], log: &Path) -> Result<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command.args(words).envs(variables.iter().cloned()).env_remove("SSH_AUTH_SOCK");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("starting {}", program.display()))
}

impl Process {
    /// Starts it; what it says is appended to `log`.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(name: &str, command: &Command, log: &Path) -> Result<Self> {
        let program = command.get_program().to_owned();
        let arguments: Vec<OsString> = command.get_args().map(OsStr::to_owned).collect();
        let set = command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        let variables: Vec<(OsString, OsString)> = set.collect();
        let child = Mutex::new(spawn(&program, &arguments, &variables, log)?);
        let (log, wanted) = (log.to_owned(), AtomicBool::new(true));
        let inner = Arc::new(Inner { program, arguments, variables, log, child, wanted });
        let watched = Arc::downgrade(&inner);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(STARTED_AGAIN_AFTER);
                let Some(inner) = watched.upgrade() else { return };
                let mut child = inner.child();
                let has_ended = matches!(child.try_wait(), Ok(Some(_)));
                if has_ended
                    && inner.wanted.load(Ordering::Relaxed)
                    && let Ok(new) = inner.start()
                {
                    *child = new;
                }
            }
        });
        Ok(Self { inner, name: name.to_owned() })
    }

    /// Its id. Every program before it in the command has become it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.inner.child().id()
    }

    /// From now on it is not started again.
    pub fn hold(&self) {
        self.inner.wanted.store(false, Ordering::Relaxed);
    }

    /// It is started again.
    pub fn release(&self) {
        self.inner.wanted.store(true, Ordering::Relaxed);
    }

    /// Asks it to end and waits; after `patience` it is ended. It is not started again before [`Self::release`].
    ///
    /// # Errors
    /// If the system refuses.
    pub fn stop(&self, word: &str, patience: Duration) -> Result<()> {
        self.hold();
        let _ = signal(word, self.id());
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if self.inner.child().try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("  {} did not end within {patience:?} and is killed", self.name);
        let mut child = self.inner.child();
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Stops it and starts it again.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn restart(&self, word: &str, patience: Duration) -> Result<()> {
        self.stop(word, patience)?;
        *self.inner.child() = self.inner.start()?;
        self.release();
        Ok(())
    }
}

/// As the rendered units say.
const STARTED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// One data centre's database.
pub struct Site {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: Place,
    config: PathBuf,
    data: PathBuf,
    logs: PathBuf,
    etcd: Option<Process>,
    patroni: Option<Process>,
    disk: Option<Process>,
}

/// What Patroni says of a member.
#[derive(Debug, Clone)]
pub struct Member {
    name: String,
    role: String,
    state: String,
}

/// The three of them.
pub struct Cluster {
    /// Each data centre's.
    pub sites: Vec<Site>,
    patroni: PathBuf,
}

/// The inventory of the run, below `base`.
#[must_use]
pub fn inventory_text(base: &Path, names: &[&str], programs: (&Path, &Path, &Path)) -> String {
    let (base, (countersign, patroni, postgres)) = (base.display(), programs);
    let mut text = "cluster = \"countersign\"\ndatabase = \"countersign\"\none_machine = true\n".to_owned();
    for (index, name) in names.iter().enumerate() {
        let place = Place::datacentre(index, name);
        text.push_str(&format!("\n[[datacentre]]\nname = \"{name}\"\naddress = \"{}\"\n", place.address));
    }
    text.push_str(&format!(
        "\n[paths]\nconfig = \"{base}/etc\"\ndata = \"{base}/data\"\nauthority = \"{base}/authority\"\n\
         services = \"{base}/services\"\ncountersign = \"{}\"\npatroni = \"{}\"\npostgres = \"{}\"\n\n[postgresql]\n\
         shared_buffers = \"64MB\"\nmax_wal_size = \"96MB\"\nmin_wal_size = \"32MB\"\ncheckpoint_timeout = \"1min\"\n\
         wal_keep_size = \"32MB\"\nmax_slot_wal_keep_size = \"96MB\"\nlog_checkpoints = \"off\"\n",
        countersign.display(),
        patroni.display(),
        postgres.display(),
    ));
    text
}

impl Cluster {
    /// Lays out folders, disks and rendered files. Certificates come from somebody else.
    ///
    /// # Errors
    /// If a folder or a disk can't be made.
    pub fn lay_out(base: &Path, inventory: &Inventory, patroni: &Path) -> Result<Self> {
        let files = render(inventory);
        let logs = base.join("logs");
        fs::create_dir_all(&logs)?;
        let mut sites = Vec::new();
        for (index, datacentre) in inventory.datacentres().into_iter().enumerate() {
            let name = datacentre.name.clone();
            let (config, data) = (base.join("etc").join(&name), base.join("data").join(&name));
            for folder in [config.join("postgres"), config.join("etcd"), data.join("postgres"), data.join("etcd/data")]
            {
                fs::create_dir_all(folder)?;
            }
            mount(&data.join("postgres"))?;
            fs::create_dir_all(data.join("postgres/socket"))?;
            for (folder, account) in [
                (config.join("postgres"), POSTGRES),
                (config.join("etcd"), ETCD),
                (data.join("postgres"), POSTGRES),
                (data.join("postgres/socket"), POSTGRES),
                (data.join("etcd"), ETCD),
                (data.join("etcd/data"), ETCD),
            ] {
                let (uid, gid) = account_of(account)?;
                chown(&folder, Some(uid), Some(gid))?;
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
            }
            for file in files.iter().filter(|file| file.path.starts_with(&format!("{name}/"))) {
                let path = config.join(file.path.trim_start_matches(&format!("{name}/")));
                path.parent().map_or(Ok(()), fs::create_dir_all)?;
                fs::write(&path, &file.content)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(if file.is_program { 0o755 } else { 0o644 }))?;
            }
            let place = Place::datacentre(index, &name);
            sites.push(Site { name, place, config, data, logs: logs.clone(), etcd: None, patroni: None, disk: None });
        }
        Ok(Self { sites, patroni: patroni.to_owned() })
    }

    /// Starts everything and waits until it has a primary and two standbys that follow it.
    ///
    /// # Errors
    /// If it does not come to that.
    pub fn start(&mut self) -> Result<()> {
        for site in &mut self.sites {
            site.start_etcd()?;
        }
        let patroni = self.patroni.clone();
        for site in &mut self.sites {
            site.start_patroni(&patroni)?;
            site.start_disk()?;
        }
        let primary = self.settle()?;
        let primary = self.sites.get(primary).context("no such data centre")?;
        // Without it nothing below would mean anything.
        let confirm = primary.sql("postgres", "SHOW synchronous_standby_names")?;
        if !confirm.starts_with("ANY 1 (") {
            bail!("commits wait for {confirm:?}, not for one of two standbys");
        }
        Ok(())
    }

    /// Waits until there is a primary, and everybody else follows it.
    ///
    /// # Errors
    /// If it takes too long; the message has what Patroni says.
    pub fn settle(&self) -> Result<usize> {
        let begun = Instant::now();
        let mut last = String::new();
        while begun.elapsed() < SETTLES_WITHIN {
            for site in &self.sites {
                let Ok(members) = self.members(site) else { continue };
                last = format!("{members:?}");
                let leader = members.iter().find(|member| member.role == "leader" && member.state == "running");
                let follow =
                    members.iter().filter(|member| member.state == "streaming" && member.role != "leader").count();
                let confirm = members.iter().filter(|member| member.role == "quorum_standby").count();
                let all = self.sites.len().saturating_sub(1);
                if let Some(leader) = leader
                    && follow == all
                    && confirm == all
                    && let Some(index) = self.sites.iter().position(|site| site.name == leader.name)
                {
                    return Ok(index);
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        bail!("the cluster did not settle within {SETTLES_WITHIN:?}: {last}")
    }

    fn members(&self, site: &Site) -> Result<Vec<Member>> {
        let output = self.ctl(site, &["list", "--format", "json"])?;
        let list: Value = serde_json::from_str(&output)?;
        let text = |member: &Value, name: &str| member.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let members = list.as_array().context("not a list")?.iter().map(|member| Member {
            name: text(member, "Member"),
            role: text(member, "Role").to_lowercase().replace(' ', "_"),
            state: text(member, "State"),
        });
        Ok(members.collect())
    }

    /// Runs `patronictl` in a data centre.
    ///
    /// # Errors
    /// If it fails, or takes more than half a minute.
    pub fn ctl(&self, site: &Site, words: &[&str]) -> Result<String> {
        let program = self.patroni.with_file_name("patronictl");
        let mut command = site.place.command_as(POSTGRES, "timeout");
        command.args(["30".as_ref(), program.as_os_str(), "-c".as_ref(), site.config.join("patroni.yml").as_os_str()]);
        let output = command.args(words).env("COLUMNS", "300").output()?;
        if !output.status.success() {
            bail!("patronictl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Site {
    /// Starts etcd.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start_etcd(&mut self) -> Result<()> {
        let mut command = self.place.command_as(ETCD, "sh");
        command.arg(self.config.join("etcd.sh"));
        self.etcd = Some(Process::start(&format!("etcd in {}", self.name), &command, &self.log("etcd"))?);
        Ok(())
    }

    /// Starts Patroni, which starts PostgreSQL.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start_patroni(&mut self, program: &Path) -> Result<()> {
        let mut command = self.place.command_as(POSTGRES, program.to_str().context("a path that is not UTF-8")?);
        command.arg(self.config.join("patroni.yml"));
        self.patroni = Some(Process::start(&format!("Patroni in {}", self.name), &command, &self.log("patroni"))?);
        Ok(())
    }

    /// Starts what looks whether the disk is full.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start_disk(&mut self) -> Result<()> {
        let mut command = self.place.command_as(POSTGRES, "sh");
        command.arg(self.config.join("disk.sh"));
        self.disk = Some(Process::start(&format!("disk.sh in {}", self.name), &command, &self.log("disk"))?);
        Ok(())
    }

    /// Stops etcd and starts it again.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn restart_etcd(&self) -> Result<()> {
        self.etcd.as_ref().context("etcd does not run")?.restart("TERM", Duration::from_secs(15))
    }

    /// Stops Patroni and PostgreSQL and starts them again.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn restart_patroni(&self) -> Result<()> {
        self.patroni()?.restart("TERM", Duration::from_secs(60))
    }

    /// Patroni.
    ///
    /// # Errors
    /// If it was never started.
    pub fn patroni(&self) -> Result<&Process> {
        self.patroni.as_ref().context("Patroni does not run")
    }

    /// Tells Patroni that there are new certificates, as the rendered `renew.sh` does.
    ///
    /// # Errors
    /// If it does not run.
    pub fn reload(&self) -> Result<()> {
        signal("HUP", self.patroni()?.id())
    }

    /// The process id of PostgreSQL's first process.
    ///
    /// # Errors
    /// If it does not run.
    pub fn postmaster(&self) -> Result<u32> {
        let text = fs::read_to_string(self.data.join("postgres/data/postmaster.pid"))?;
        text.lines().next().and_then(|line| line.trim().parse().ok()).context("postmaster.pid is not as expected")
    }

    /// Every process of PostgreSQL and Patroni.
    ///
    /// # Errors
    /// If they can't be listed.
    pub fn database_processes(&self) -> Result<Vec<u32>> {
        use std::os::unix::fs::MetadataExt as _;
        let (uid, _) = account_of(POSTGRES)?;
        let of_postgres =
            |process: &u32| fs::metadata(format!("/proc/{process}")).is_ok_and(|metadata| metadata.uid() == uid);
        Ok(self.place.processes()?.into_iter().filter(of_postgres).collect())
    }

    /// Fills the disk of PostgreSQL's data, to the last byte.
    ///
    /// # Errors
    /// If the file can't be made.
    pub fn fill_disk(&self) -> Result<()> {
        use std::io::Write as _;
        let mut file = fs::File::create(self.ballast())?;
        let chunk = vec![b'x'; 1 << 20];
        while file.write_all(&chunk).is_ok() {}
        while file.write_all(b"xxxxxxxx").is_ok() {}
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    /// If the file can't be removed.
    pub fn empty_disk(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.data.join("postgres/ballast")
    }

    /// The folder of the rendered files and the certificates.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// A log.
    #[must_use]
    pub fn log(&self, what: &str) -> PathBuf {
        self.logs.join(format!("{}-{what}.log", self.name))
    }

    /// Runs SQL as the database's administrator, by the socket.
    ///
    /// # Errors
    /// If it fails.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = self.place.command_as(POSTGRES, "psql");
        command.arg("-h").arg(self.data.join("postgres/socket")).args(["-d", database, "-XqAt", "-c", sql]);
        let output = command.output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

fn mount(folder: &Path) -> Result<()> {
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(folder).status()?;
    if !status.success() {
        bail!("no disk could be mounted at {}", folder.display());
    }
    Ok(())
}

fn account_of(name: &str) -> Result<(u32, u32)> {
    let accounts = fs::read_to_string("/etc/passwd")?;
    let line = accounts.lines().find(|line| line.starts_with(&format!("{name}:")));
    let line = line.with_context(|| format!("there is no account {name:?}: is its Debian package installed?"))?;
    let mut fields = line.split(':').skip(2);
    let mut number = || fields.next().and_then(|field| field.parse().ok()).context("/etc/passwd is not as expected");
    Ok((number()?, number()?))
}
