use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use super::super::tests::{MESSAGE, NAMESPACE, keygen, public, run};
use super::super::verify;
use super::*;

/// A real agent, ended when the test is.
struct Running {
    agent: Child,
    dir: tempfile::TempDir,
}

impl Running {
    /// `None` where OpenSSH isn't installed.
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(dir.path().join("agent.sock")).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(agent) = command.spawn() else {
            println!("skipped: ssh-agent is not installed (apt install openssh-client)");
            return None;
        };
        let running = Self { agent, dir };
        for _ in 0..500 {
            if UnixStream::connect(running.socket()).is_ok() {
                return Some(running);
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("ssh-agent did not start");
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("agent.sock")
    }

    fn add(&self, kind: &str, bits: &str) -> PublicKey {
        let path = keygen(self.dir.path(), kind, bits, "");
        assert!(run(Command::new("ssh-add").arg("-q").arg(&path).env("SSH_AUTH_SOCK", self.socket())));
        public(&path)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

#[test]
fn a_real_agent_lists_its_keys_and_signs_with_them() {
    let Some(running) = Running::start() else { return };
    let mut agent = Agent::connect(&running.socket()).unwrap();
    assert!(agent.identities().unwrap().is_empty());
    let keys = [
        running.add("ed25519", "256"),
        running.add("ecdsa", "256"),
        running.add("ecdsa", "384"),
        running.add("rsa", "2048"),
    ];
    let listed = agent.identities().unwrap();
    assert_eq!(listed, keys);
    assert!(listed.iter().all(|key| key.comment() == "nancy@northwind"));
    for key in &keys {
        let signature = agent.sign(key, NAMESPACE, MESSAGE).unwrap();
        assert_eq!(verify(key, NAMESPACE, MESSAGE, &signature), Ok(()), "{key:?}");
    }
}

#[test]
fn a_key_the_agent_doesn_t_have_is_refused() {
    let Some(running) = Running::start() else { return };
    let stranger = public(&keygen(running.dir.path(), "ed25519", "256", ""));
    let mut agent = Agent::connect(&running.socket()).unwrap();
    assert!(matches!(agent.sign(&stranger, NAMESPACE, MESSAGE), Err(AgentError::Refused)));
}

#[test]
fn no_agent_is_a_connection_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Agent::connect(&dir.path().join("nothing")).err(), Some(AgentError::Connection(_))));
}

/// What the client makes of an answer.
fn answered(answer: &[u8]) -> Result<Vec<PublicKey>, AgentError> {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("sock")).unwrap();
    let answer = answer.to_vec();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0u8; 5];
        stream.read_exact(&mut request).unwrap();
        assert_eq!(request, [0, 0, 0, 1, REQUEST_IDENTITIES]);
        stream.write_all(&answer).unwrap();
    });
    let result = Agent::connect(&dir.path().join("sock")).unwrap().identities();
    serving.join().unwrap();
    result
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, body);
    out
}

#[test]
fn malformed_answers_are_refused_and_strange_keys_left_out() {
    assert!(answered(&framed(&[IDENTITIES_ANSWER, 0, 0, 0, 0])).unwrap().is_empty());
    let strange = [&[IDENTITIES_ANSWER, 0, 0, 0, 1][..], &framed(b"not a key"), &framed(b"\xff")].concat();
    assert!(answered(&framed(&strange)).unwrap().is_empty());
    for body in
        [&[5u8][..], &[IDENTITIES_ANSWER], &[IDENTITIES_ANSWER, 0, 0, 0, 1], &[IDENTITIES_ANSWER, 255, 255, 255, 255]]
    {
        assert!(matches!(answered(&framed(body)), Err(AgentError::Answer)), "{body:?}");
    }
    assert!(matches!(answered(&[0, 0, 0, 0]), Err(AgentError::Answer)));
    assert!(matches!(answered(&[255, 255, 255, 255]), Err(AgentError::Answer)));
    assert!(matches!(answered(&[0, 0, 0, 9, 1]), Err(AgentError::Connection(_))));
}
