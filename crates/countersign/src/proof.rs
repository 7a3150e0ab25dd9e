//! Showing that a token is ours: a key that it is bound to, and a proof by it with every request (DPoP, RFC 9449).
//!
//! A command that logs in over the network for itself makes a key in memory, for this one run: a token of its that is
//! read somewhere on its way is of no use. Only one who asks for a token to print it can't do that for whoever is
//! going to use it, unless they say in which file the key is to be.

use std::path::Path;
use std::sync::Arc;

use countersign_crypto::SystemEntropy;
use countersign_crypto::dpop::{DpopError, ProofKey};
use countersign_model::Clock;
use countersign_model::clock::SystemClock;
use http::Method;
use zeroize::Zeroizing;

use crate::client::Token;
use crate::deployment::new_file;
use crate::problem::{Problem, io};
use crate::transport::Transport;

/// Who holds the key that tokens are bound to.
pub struct Holder {
    key: ProofKey,
}

impl Holder {
    /// With a new key that is nowhere but in memory.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn new() -> Result<Arc<Self>, Problem> {
        Ok(Arc::new(Self { key: ProofKey::generate(&SystemEntropy).map_err(|error| no_key(&error))? }))
    }

    /// For a login through `transport`: with a new key if it goes over a network; none in this process, where there is
    /// no way on which a token could be read.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn for_login(transport: &Transport) -> Result<Option<Arc<Self>>, Problem> {
        match transport {
            Transport::Network(_) => Self::new().map(Some),
            Transport::InProcess(_) => Ok(None),
        }
    }

    /// With the key in a file, as [`Self::kept`] made it.
    ///
    /// # Errors
    /// If the file can't be read, can be read by others, or is no key.
    pub fn of_file(path: &Path) -> Result<Arc<Self>, Problem> {
        let bytes = Zeroizing::new(std::fs::read(path).map_err(io("read the proof key", path))?);
        private(path)?;
        let key = ProofKey::from_pkcs8(&bytes).map_err(|_| {
            Problem::usage(format!("{}: not a proof key (an Ed25519 private key in PKCS #8, DER)", path.display()))
                .next("have one made: countersign login USER@TENANT --bind FILE, with a file that is not there yet")
        })?;
        Ok(Arc::new(Self { key }))
    }

    /// With the key in a file, which is made if it isn't there, for its owner alone.
    ///
    /// # Errors
    /// As [`Self::of_file`], or if it can't be written.
    pub fn kept(path: &Path) -> Result<Arc<Self>, Problem> {
        if path.exists() {
            return Self::of_file(path);
        }
        let holder = Self::new()?;
        new_file(path, &holder.key.to_pkcs8().map_err(|error| no_key(&error))?, true)?;
        Ok(holder)
    }

    /// The proof for one request, with `token` unless it comes with none.
    ///
    /// # Errors
    /// If the address is none that a proof can be for.
    pub(crate) fn prove(&self, method: &Method, url: &str, token: Option<&Token>) -> Result<String, Problem> {
        let proof = self.key.sign(method.as_str(), url, token.map(Token::reveal), SystemClock.now(), &SystemEntropy);
        proof.map_err(|error| Problem::failed(format!("can't prove that the token is ours: {error}")))
    }
}

fn no_key(error: &DpopError) -> Problem {
    Problem::failed(format!("can't make a proof key: {error}"))
}

#[cfg(unix)]
fn private(path: &Path) -> Result<(), Problem> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).map_err(io("read the proof key", path))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Problem::failed(format!("{path} can be read by others on this machine")).next(format!("chmod 600 {path}")))
}

#[cfg(not(unix))]
fn private(_: &Path) -> Result<(), Problem> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_key_is_the_same_every_time_and_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proof.key");
        let first = Holder::kept(&path).unwrap().key.jkt();
        assert_eq!(Holder::kept(&path).unwrap().key.jkt(), first);
        assert_eq!(Holder::of_file(&path).unwrap().key.jkt(), first);
        assert!(Holder::of_file(&folder.path().join("none")).is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            let refused = Holder::of_file(&path).err().unwrap().to_string();
            assert!(refused.contains("chmod 600"), "{refused}");
        }
    }
}
