//! A deployment's folder: what lies where, and the lock that keeps two processes from opening one.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use countersign_model::Service;
use serde::{Deserialize, Serialize};

use crate::problem::{Exit, Problem, io};

/// A deployment on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    dir: PathBuf,
}

/// Where a server can be reached, as it wrote it down itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its address.
    pub address: SocketAddr,
    /// Its process.
    pub pid: u32,
}

/// Held as long as this process may open the deployment; given back when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    server: Option<PathBuf>,
}

impl Deployment {
    /// The deployment in `dir`, which need not exist.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("countersign.toml")
    }

    /// The key encryption key.
    #[must_use]
    pub fn kms_key(&self) -> PathBuf {
        self.dir.join("kms.key")
    }

    /// The certificate that clients trust.
    #[must_use]
    pub fn ca_pem(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The authority's database.
    #[must_use]
    pub fn control_db(&self) -> PathBuf {
        self.data().join("control.db")
    }

    /// The one sealed file with which the authority makes its certificates before it has reached its database.
    #[must_use]
    pub fn bootstrap(&self) -> PathBuf {
        self.data().join("bootstrap")
    }

    /// The control database and tenants' records.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// What of the plaintext budgets is used.
    #[must_use]
    pub fn budgets(&self) -> PathBuf {
        self.data().join("budgets")
    }

    /// The key and certificate of one service of this folder.
    #[must_use]
    pub fn identity(&self, service: Service) -> PathBuf {
        self.dir.join("identity").join(service.as_str())
    }

    /// The key of one service's own audit records, wrapped.
    #[must_use]
    pub fn service_key(&self, service: Service) -> PathBuf {
        self.data().join(format!("{service}.key"))
    }

    /// Audit records.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.dir.join("audit")
    }

    /// The private key that USER@TENANT logs in with, if it lies here.
    #[must_use]
    pub fn ssh_key(&self, login: &str) -> PathBuf {
        self.keys().join(login)
    }

    /// SSH keys that were made here.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// What commands that work on this folder did, until a server takes it into its ledger.
    #[must_use]
    pub fn commands(&self) -> PathBuf {
        self.dir.join("commands.jsonl")
    }

    /// How the key management services are, as the process that serves last wrote it down.
    #[must_use]
    pub fn kms_json(&self) -> PathBuf {
        self.run().join("kms.json")
    }

    /// The move that somebody asked for, until it is over.
    #[must_use]
    pub fn move_wish(&self) -> PathBuf {
        self.run().join("move.json")
    }

    /// How far that is.
    #[must_use]
    pub fn move_progress(&self) -> PathBuf {
        self.run().join("move-progress.json")
    }

    fn server_json(&self) -> PathBuf {
        self.run().join("server.json")
    }

    /// Whether there is a deployment.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.config().exists()
    }

    /// Fails unless there is a deployment.
    ///
    /// # Errors
    /// With the command that makes one.
    pub fn require(&self) -> Result<(), Problem> {
        if self.exists() {
            return Ok(());
        }
        let dir = self.dir.display();
        Err(Problem::new(Exit::NotFound, format!("there is no deployment in {dir} (no countersign.toml)"))
            .next(format!("make one with: countersign init {dir}")))
    }

    /// Makes the folders. They and everything in them are for their owner alone.
    ///
    /// # Errors
    /// If one can't be made.
    pub fn make_folders(&self) -> Result<(), Problem> {
        for folder in [self.dir.clone(), self.data(), self.audit(), self.keys(), self.run()] {
            private_folder(&folder)?;
        }
        Ok(())
    }

    /// Fails if others than the owner can enter a folder that is not for them.
    ///
    /// # Errors
    /// With the command that closes it.
    pub fn require_private(&self) -> Result<(), Problem> {
        #[cfg(unix)]
        for folder in [self.data(), self.audit(), self.keys(), self.run()] {
            use std::os::unix::fs::PermissionsExt;
            let Ok(about) = fs::metadata(&folder) else { continue };
            let mode = about.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                let folder = folder.display();
                return Err(Problem::failed(format!("{folder} has mode {mode:o}: others than its owner can enter it"))
                    .next(format!("chmod 700 {folder}")));
            }
        }
        Ok(())
    }

    /// Takes the lock, or says who has it.
    ///
    /// # Errors
    /// If the lock file can't be opened.
    pub fn try_lock(&self) -> Result<Option<Lock>, Problem> {
        private_folder(&self.run())?;
        let path = self.run().join("lock");
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path).map_err(io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {
                // Whoever wrote it is gone: the lock says so.
                drop(fs::remove_file(self.server_json()));
                Ok(Some(Lock { _file: file, server: None }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(io("lock", &path)(error)),
        }
    }

    /// The server that has the lock, if it has said where it is.
    #[must_use]
    pub fn running(&self) -> Option<Running> {
        serde_json::from_slice(&fs::read(self.server_json()).ok()?).ok()
    }

    /// Writes down where a gateway that runs elsewhere can be reached.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn point_to(&self, running: &Running) -> Result<(), Problem> {
        let path = self.server_json();
        let beside = path.with_extension("tmp");
        let text = serde_json::to_vec(running).map_err(|error| Problem::failed(error.to_string()))?;
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, &path)).map_err(io("write", &path))
    }

    /// Forgets what [`Self::point_to`] wrote down.
    pub fn point_to_nobody(&self) {
        drop(fs::remove_file(self.server_json()));
    }

    /// Writes down where this process, which has the lock, can be reached.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn announce(&self, lock: &mut Lock, running: &Running) -> Result<(), Problem> {
        self.point_to(running)?;
        lock.server = Some(self.server_json());
        Ok(())
    }
}

impl Running {
    /// Where clients on this machine reach it.
    #[must_use]
    pub fn url(&self) -> String {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        format!("https://{}", SocketAddr::new(ip, self.address.port()))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            drop(fs::remove_file(server));
        }
    }
}

/// Makes a folder that only its owner can enter, or does nothing if it is there.
///
/// # Errors
/// If it can't be made.
pub fn private_folder(path: &Path) -> Result<(), Problem> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(io("make", path))
}

/// Writes a file that must not exist yet; with `secret`, for its owner alone. It is there with all of its content or not at
/// all, whenever the process is killed.
///
/// # Errors
/// If it exists or can't be written.
pub fn new_file(path: &Path, content: &[u8], secret: bool) -> Result<(), Problem> {
    let mut beside = std::ffi::OsString::from(".");
    beside.push(path.file_name().unwrap_or_default());
    beside.push(".new");
    let beside = path.with_file_name(beside);
    // What a process that was killed has left.
    drop(fs::remove_file(&beside));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, if secret { 0o600 } else { 0o644 });
    let mut file = options.open(&beside).map_err(io("write", path))?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    // Unlike a change of the name this takes no other file's place.
    let there = written.and_then(|()| fs::hard_link(&beside, path));
    drop(fs::remove_file(&beside));
    there.map_err(io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_there_whole_and_takes_no_others_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        // Killed while it was written.
        fs::write(folder.path().join(".key.new"), "ha").unwrap();
        new_file(&path, b"all of it", true).unwrap();
        assert!(new_file(&path, b"another", true).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"all of it");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_lock_at_a_time_and_a_dead_servers_address_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let deployment = Deployment::at(folder.path());
        let running = Running { address: "127.0.0.1:8443".parse().unwrap(), pid: 1 };
        let mut lock = deployment.try_lock().unwrap().unwrap();
        deployment.announce(&mut lock, &running).unwrap();
        assert!(deployment.try_lock().unwrap().is_none());
        assert_eq!(deployment.running(), Some(running));
        drop(lock);
        assert_eq!(deployment.running(), None);
        assert!(deployment.try_lock().unwrap().is_some());
    }
}
