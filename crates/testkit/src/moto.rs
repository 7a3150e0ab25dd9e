//! A real object store on loopback that speaks S3: `moto_server` from PyPI, as a process of its own. It forgets everything
//! when it ends; a test that cuts it off puts a [`Proxy`](crate::Proxy) before it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// An object store with one bucket. It asks nobody for a password. Ended by its process id when it is dropped.
pub struct ObjectStore {
    child: Child,
    port: u16,
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        // Nothing is left to do about either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl ObjectStore {
    /// The bucket's name.
    pub const BUCKET: &str = "bucket";

    /// Starts one on a free port with this `moto_server`, of an environment that has `tests/s3/requirements.txt`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(program: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{}; `cargo xtask test --only s3` installs it", program.display()))?;
        let lines = BufReader::new(child.stderr.take().context("no output")?).lines();
        let mut store = Self { child, port: 0 };
        let mut lines = lines.map_while(Result::ok);
        let port = lines.find_map(|line| line.split_once("http://127.0.0.1:")?.1.trim().parse().ok());
        store.port = port.context("moto_server did not start")?;
        // It would stop at a full pipe: it writes a line for each request.
        std::thread::spawn(move || lines.for_each(drop));
        store.make_bucket()?;
        Ok(store)
    }

    /// Where it listens, without encryption.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    fn make_bucket(&self) -> Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        let bucket = Self::BUCKET;
        write!(stream, "PUT /{bucket} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "no bucket: {answer}");
        Ok(())
    }
}
