//! The services of a demo, each started by the test: with what lies between them, and with the clock that it has, in the
//! test's hands.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use countersign_testkit::Deployment;

use crate::program;

/// A service's process. Dropping it ends it.
pub struct Part {
    child: Child,
    /// The process ends when this is closed, so also when the test is killed.
    _stdin: Option<ChildStdin>,
    /// Where it takes what it was awaited for: users' requests at a gateway, other services' calls otherwise.
    pub address: String,
}

impl Part {
    /// Starts the service of a folder and waits until it is ready.
    pub fn start(deployment: &Deployment, folder: &Path, arguments: &[&str], faked: Option<&Clock>) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(deployment.log())?;
        let mut command = Command::new(program());
        command.arg("serve").arg(folder).arg("--with-parent").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        if let Some(clock) = faked {
            clock.given_to(&mut command);
        }
        let mut child = command.spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().context("no standard output")?);
        let mut part = Self { child, _stdin: stdin, address: String::new() };
        let awaited = if arguments.contains(&"--listen") { "ready https://" } else { "ready " };
        let mut lines = BufReader::new(stdout).lines();
        for line in lines.by_ref() {
            let line = line?;
            if let Some(said) = line.strip_prefix(awaited) {
                let address = said.split(' ').next_back().unwrap_or_default();
                address.trim_end_matches('/').clone_into(&mut part.address);
                // So that the process never waits for somebody to read what it says.
                std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Ok(part);
            }
        }
        bail!("{} ended before it was ready: {}", folder.display(), std::fs::read_to_string(deployment.log())?)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free port with another free one after it, for the two services that are one process.
pub fn two_ports() -> Result<SocketAddr> {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0")?;
        let address = first.local_addr()?;
        if address.port() < u16::MAX && TcpListener::bind(("127.0.0.1", address.port() + 1)).is_ok() {
            return Ok(address);
        }
    }
    bail!("no two free ports in a row")
}

/// What goes between two services, and can be held up.
pub struct Line {
    address: SocketAddr,
    is_held: Arc<AtomicBool>,
}

impl Line {
    /// A line to this address.
    pub fn to(there: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, is_held) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let held = Arc::clone(&is_held);
        // It ends with the test.
        std::thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                let Ok(there) = TcpStream::connect(there) else { continue };
                let (Ok(back), Ok(forth)) = (here.try_clone(), there.try_clone()) else { continue };
                for (from, to) in [(here, forth), (there, back)] {
                    let held = Arc::clone(&held);
                    std::thread::spawn(move || carry(from, to, &held));
                }
            }
        });
        Ok(Self { address, is_held })
    }

    /// Where it begins.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Nothing arrives from now on, in either direction, or all that has waited.
    pub fn hold(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, is_held: &AtomicBool) {
    let mut bytes = [0; 16_384];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        while is_held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

/// The clock of a process that is given it, by libfaketime: time goes on as always, and when it is can be changed.
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that is right.
    pub fn right(deployment: &Deployment) -> Result<Self> {
        let clock = Self { library: library()?, file: deployment.dir().join("clock") };
        clock.set(0)?;
        Ok(clock)
    }

    /// So many seconds before everybody else's.
    pub fn set(&self, seconds: u32) -> Result<()> {
        let fresh = self.file.with_extension("new");
        std::fs::write(&fresh, format!("+{seconds}\n"))?;
        Ok(std::fs::rename(fresh, &self.file)?)
    }

    fn given_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        // The file is looked at each second, and what waits for a while waits for as long as always.
        command.env("FAKETIME_CACHE_DURATION", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

fn library() -> Result<PathBuf> {
    for entry in std::fs::read_dir("/usr/lib")? {
        let path = entry?.path().join("faketime/libfaketimeMT.so.1");
        if path.exists() {
            return Ok(path);
        }
    }
    bail!("libfaketime is missing; `cargo xtask test --only tools` installs it")
}
