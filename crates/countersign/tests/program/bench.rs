//! A workbench: a deployment in a folder that goes away, and runs of the program on it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a server may take to be ready; a debug build on a busy machine loads the demo in well under that.
const START_WITHIN: Duration = Duration::from_secs(240);

/// What one run of the program gave.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The run if it ended with that code; fails the test with what it said if not.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }
}

/// A run of the program with nothing of this environment in it.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments);
    for name in [
        "COUNTERSIGN_URL",
        "COUNTERSIGN_CA",
        "COUNTERSIGN_TOKEN",
        "COUNTERSIGN_PROOF_KEY",
        "SSH_AUTH_SOCK",
        "XDG_DATA_HOME",
    ] {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder for one test, with a deployment in it once `init` has run.
pub struct Bench {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

pub const TYPES: &str = r#"
[principal]
employee = "integer"

[types.customer.fields]
id      = { kind = "text", class = "internal" }
company = { kind = "text", required = true, class = "internal" }
country = { kind = "text", class = "internal", index = "exact" }
since   = { kind = "date", class = "internal" }
phone   = { kind = "text", class = "personal" }
"#;

/// What refers to a customer.
pub const NOTES: &str = r#"
[types.note.fields]
id       = { kind = "text", class = "internal" }
words    = { kind = "text", class = "internal" }
customer_id = { references = "customer", class = "internal" }
"#;

pub const POLICIES: &str = r#"
@id("own token") permit (principal, action == Control::Action::"use_own_token", resource);
@id("admin data") permit (principal in Role::"admin", action in Data::Action::"any", resource);
@id("admin control") permit (
  principal in Role::"admin",
  action in [Control::Action::"read_types", Control::Action::"read_audit", Control::Action::"manage_users",
             Control::Action::"read_users", Control::Action::"revoke_tokens", Control::Action::"read_access",
             Control::Action::"decide_access", Control::Action::"manage_contacts", Control::Action::"read_notices",
             Control::Action::"erase"],
  resource
);
@id("clerk") permit (principal in Role::"clerk", action == Customer::Action::"read", resource)
when { context.field in [Customer::Field::"id", Customer::Field::"company", Customer::Field::"country"] };
"#;

impl Bench {
    /// An empty folder.
    pub fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("countersign-").tempdir().unwrap();
        Self { folder, environment: Vec::new() }
    }

    /// A deployment with one tenant, `acme`, its admin `ann` and its clerk `carl`, and nothing stored.
    pub fn ready() -> Self {
        let bench = Self::empty();
        bench.run(&["init", bench.dir_text()]).expect(0);
        bench.fill();
        bench
    }

    /// Sets a variable in the environment of every command to come.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Types, policies, `acme` and its people.
    pub fn fill(&self) {
        let types = self.file("types.toml", TYPES);
        self.run(&["schema", "apply", &types]).expect(0);
        let policies = self.file("policies.cedar", POLICIES);
        self.run(&["policy", "apply", &policies]).expect(0);
        self.run(&["tenant", "add", "acme"]).expect(0);
        self.people();
    }

    /// The people of `acme`.
    pub fn people(&self) {
        for (user, role) in [("ann@acme", "admin"), ("carl@acme", "clerk")] {
            let key = self.keygen(user);
            // The operator adds the first; she adds the others.
            let by = if role == "admin" { "operator@operators" } else { "ann@acme" };
            self.run(&["--as", by, "user", "add", user, "--ssh-key", &key, "--role", role]).expect(0);
        }
    }

    /// The deployment's folder.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("deployment")
    }

    fn dir_text(&self) -> &'static str {
        self.dir().display().to_string().leak()
    }

    /// Writes a file beside the deployment and gives its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// The path of a file beside the deployment that need not exist.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Makes a key where the program looks for it, and gives the path of its public half.
    pub fn keygen(&self, user: &str) -> String {
        use countersign_crypto::{SystemEntropy, ssh::PrivateKey};
        let key = PrivateKey::generate_ed25519(&SystemEntropy, user).unwrap();
        let path = self.dir().join("keys").join(user);
        std::fs::write(&path, key.write().unwrap().as_bytes()).unwrap();
        let public = path.with_file_name(format!("{user}.pub"));
        std::fs::write(&public, key.public().unwrap().to_line()).unwrap();
        public.display().to_string()
    }

    /// `countersign --dir DIR …`, not started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare(&["--dir", self.dir_text()]);
        command.args(arguments);
        command
    }

    /// `countersign …` with no folder named, not started.
    pub fn bare(&self, arguments: &[&str]) -> Command {
        let mut command = program(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `countersign --dir DIR …` to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments))
    }

    /// The same with text on standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts the server on a free port.
    pub fn serve(&self) -> Served {
        Served::start(self.command(&["serve", "--listen", "127.0.0.1:0"]))
    }
}

/// A server, ended when this goes out of scope.
pub struct Served {
    child: Child,
    /// What it wrote to standard output until it was ready, that line included.
    pub told: Vec<String>,
    /// Where it serves.
    pub url: String,
}

impl Served {
    /// Starts a command and waits until it says that it is ready. Its log goes where the test's goes.
    pub fn start(mut command: Command) -> Self {
        command.stderr(Stdio::inherit());
        Self::start_with_own_log(command)
    }

    /// The same, with the log where the command says.
    pub fn start_with_own_log(command: Command) -> Self {
        Self::start_until(command, "ready https://")
    }

    /// The same, ready when it says a line that begins so.
    pub fn start_until(mut command: Command, ready: &str) -> Self {
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (say, hear) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                let Ok(line) = line else { return };
                if say.send(line).is_err() {
                    return;
                }
            }
        });
        let mut told = Vec::new();
        loop {
            let line = match hear.recv_timeout(START_WITHIN) {
                Ok(line) => line,
                Err(_) => {
                    let _ended = (child.kill(), child.wait());
                    panic!("not ready; it said:\n{}", told.join("\n"));
                }
            };
            told.push(line.clone());
            if line.starts_with(ready) {
                let url = line.trim_start_matches("ready ").to_owned();
                return Self { child, told, url };
            }
        }
    }

    /// Asks it to end as an operator would, and gives its exit code.
    pub fn stop(mut self) -> i32 {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ended = (self.child.kill(), self.child.wait());
    }
}

/// Whether a file or folder is for its owner alone.
pub fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0
}
