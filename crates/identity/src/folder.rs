//! The files: the current key and certificate, and what is known of the authority.

mod guarded;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::x509::ServerCertificate;
use countersign_model::Entropy;
use zeroize::Zeroizing;

use crate::held::{Held, Known};

/// The key and the certificates, in one file so that both are replaced at once.
const IDENTITY: &str = "identity.pem";

/// What is known of the authority.
const AUTHORITY: &str = "authority.json";

/// How files end that are not finished.
const UNFINISHED: &str = ".new";

/// What is wrong with a file or folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderFault {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A symbolic link, pipe or device, or a file in place of a folder.
    #[error("is not of the right kind (links are not followed)")]
    Kind,
    /// Somebody other than its owner may read or change it.
    #[error("has mode {mode:o}: group and others must have no access (chmod go-rwx)")]
    Access {
        /// The permission bits.
        mode: u32,
    },
    /// It belongs to another user than the one running the program.
    #[error("belongs to user {owner}, but the program runs as user {user}")]
    Owner {
        /// The file's owner.
        owner: u32,
        /// Who the program runs as.
        user: u32,
    },
    /// It doesn't hold what it should.
    #[error("does not hold an identity: remove the folder and join again")]
    Content,
}

/// Why an identity can't be read or kept. The operator's to mend.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", .path.display())]
pub struct FolderError {
    path: PathBuf,
    fault: FolderFault,
}

impl FolderError {
    /// Where.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong there.
    #[must_use]
    pub const fn fault(&self) -> &FolderFault {
        &self.fault
    }
}

/// The folder of a service's identity.
pub struct Folder {
    path: PathBuf,
    entropy: Arc<dyn Entropy>,
}

fn at(path: &Path) -> impl FnOnce(FolderFault) -> FolderError {
    move |fault| FolderError { path: path.to_owned(), fault }
}

impl Folder {
    /// The folder at `path`, which is made if there is none. Removes what a crash left unfinished.
    ///
    /// # Errors
    /// [`FolderError`]: it or a file in it is a link, belongs to somebody else, or is open to others.
    pub fn open(path: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, FolderError> {
        guarded::make_folder(path).map_err(at(path))?;
        let unfinished = fs::read_dir(path).map_err(|error| at(path)(error.into()))?;
        for entry in unfinished {
            let entry = entry.map_err(|error| at(path)(error.into()))?;
            if entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
                fs::remove_file(entry.path()).map_err(|error| at(&entry.path())(error.into()))?;
            }
        }
        Ok(Self { path: path.to_owned(), entropy })
    }

    /// The identity that is kept here, expired or not; `None` if the service hasn't joined.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn load(&self) -> Result<Option<Held>, FolderError> {
        let path = self.path.join(IDENTITY);
        let Some(text) = read_text(&path)? else { return Ok(None) };
        let content = || at(&path)(FolderFault::Content);
        let certificate = ServerCertificate::from_pem(&text).map_err(|_| content())?;
        let known = self.known()?.ok_or_else(content)?;
        Held::new(certificate, known, None).map(Some).ok_or_else(content)
    }

    /// What is known of the authority, if the service has joined.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn known(&self) -> Result<Option<Known>, FolderError> {
        let path = self.path.join(AUTHORITY);
        let Some(text) = read_text(&path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|_| at(&path)(FolderFault::Content))
    }

    /// Keeps `held` in place of what was here. Each file is replaced whole; the key and its certificate are one file.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn save(&self, held: &Held) -> Result<(), FolderError> {
        if self.known().ok().flatten().as_ref() != Some(&held.known) {
            let text = serde_json::to_string_pretty(&held.known);
            let text = text.map_err(|_| at(&self.path)(FolderFault::Content))?;
            self.replace(AUTHORITY, text.as_bytes())?;
        }
        self.replace(IDENTITY, held.certificate.expose_pem().as_bytes())
    }

    /// Removes key and certificate: the service has to join again.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn forget(&self) -> Result<(), FolderError> {
        for name in [IDENTITY, AUTHORITY] {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error.into())),
                _ => {}
            }
        }
        Ok(())
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), FolderError> {
        let path = self.path.join(name);
        let mut random = [0u8; 8];
        self.entropy.fill(&mut random);
        let beside = self.path.join(format!("{name}.{:016x}{UNFINISHED}", u64::from_be_bytes(random)));
        guarded::replace(&beside, &path, content).map_err(at(&path))
    }
}

fn read_text(path: &Path) -> Result<Option<Zeroizing<String>>, FolderError> {
    guarded::read(path).map_err(at(path))
}

#[cfg(test)]
mod tests;
