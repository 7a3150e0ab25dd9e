//! A client for ssh-agent (draft-miller-ssh-agent), which signs without giving keys away.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::wire::{Reader, put_string};
use super::{PublicKey, SshError, assemble, signed_data};

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Asks for RSA with SHA-512; the agent ignores it for other keys.
const RSA_SHA2_512: u32 = 4;

/// The longest answer that is read, the bound that OpenSSH's own client has.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
const MAX_IDENTITIES: usize = 2048;

/// An agent may ask its owner for confirmation or for a touch, so signing may take a while.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Why the agent did not help.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The socket can't be reached, or the agent took longer than a minute.
    #[error("ssh-agent can't be reached")]
    Connection(#[from] io::Error),
    /// The agent's answer is not one.
    #[error("ssh-agent gave an answer that can't be read")]
    Answer,
    /// The agent doesn't have the key, or its owner said no.
    #[error("ssh-agent refused to sign")]
    Refused,
    /// The signature can't be used.
    #[error(transparent)]
    Signature(#[from] SshError),
}

/// A connection to an agent.
pub struct Agent(UnixStream);

impl Agent {
    /// Connects to the agent at `socket` (the path that `SSH_AUTH_SOCK` holds).
    ///
    /// # Errors
    /// [`AgentError::Connection`].
    pub fn connect(socket: &Path) -> Result<Self, AgentError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self(stream))
    }

    /// The keys that the agent holds, those left out that no login would be accepted with.
    ///
    /// # Errors
    /// [`AgentError::Connection`] or [`AgentError::Answer`].
    pub fn identities(&mut self) -> Result<Vec<PublicKey>, AgentError> {
        let answer = self.ask(&[REQUEST_IDENTITIES])?;
        read_identities(&answer).ok_or(AgentError::Answer)
    }

    /// Signs `message` for the purpose `namespace` with the agent's `key`; the text that [`super::verify`] reads.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn sign(&mut self, key: &PublicKey, namespace: &str, message: &[u8]) -> Result<String, AgentError> {
        let mut request = vec![SIGN_REQUEST];
        put_string(&mut request, &key.blob()?);
        put_string(&mut request, &signed_data(namespace, message)?);
        request.extend_from_slice(&RSA_SHA2_512.to_be_bytes());
        let answer = self.ask(&request)?;
        let mut reader = Reader(&answer);
        if reader.byte() != Some(SIGN_RESPONSE) {
            return Err(AgentError::Refused);
        }
        let signature = reader.string().ok_or(AgentError::Answer)?;
        Ok(assemble(key, namespace, signature)?)
    }

    fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, AgentError> {
        let mut framed = Vec::with_capacity(request.len().saturating_add(4));
        put_string(&mut framed, request);
        self.0.write_all(&framed)?;
        let mut length = [0u8; 4];
        self.0.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| AgentError::Answer)?;
        if length == 0 || length > MAX_ANSWER_BYTES {
            return Err(AgentError::Answer);
        }
        let mut answer = vec![0u8; length];
        self.0.read_exact(&mut answer)?;
        Ok(answer)
    }
}

fn read_identities(answer: &[u8]) -> Option<Vec<PublicKey>> {
    let mut reader = Reader(answer);
    if reader.byte()? != IDENTITIES_ANSWER {
        return None;
    }
    let count = usize::try_from(reader.u32()?).ok().filter(|count| *count <= MAX_IDENTITIES)?;
    let mut keys = Vec::new();
    for _ in 0..count {
        let blob = reader.string()?;
        let comment = String::from_utf8_lossy(reader.string()?);
        keys.extend(PublicKey::from_blob(blob, &comment));
    }
    Some(keys)
}

#[cfg(test)]
mod tests;
