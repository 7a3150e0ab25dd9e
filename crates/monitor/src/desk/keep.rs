//! The one file in which the desk keeps what it knows: sealed, for its owner alone, replaced as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::{Aad, SealKey};
use countersign_model::Entropy;

use super::DeskError;

/// The file's name.
const FILE: &str = "alerts";

/// Where the desk's state is kept.
pub(crate) struct Keep {
    folder: PathBuf,
    key: Arc<SealKey>,
    entropy: Arc<dyn Entropy>,
}

impl Keep {
    /// In this folder, which is made if it isn't there.
    pub(crate) fn open(folder: &Path, key: Arc<SealKey>, entropy: Arc<dyn Entropy>) -> Result<Self, DeskError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(DeskError::folder)?;
        Ok(Self { folder: folder.to_owned(), key, entropy })
    }

    fn aad() -> Aad {
        Aad::new("alerts.1")
    }

    /// What was written last, if anything was.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>, DeskError> {
        match fs::read(self.folder.join(FILE)) {
            Ok(sealed) => self.key.open(&Self::aad(), &sealed).map(Some).map_err(|_| DeskError::Damaged),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DeskError::folder(error)),
        }
    }

    /// Durable when it returns. Whenever the machine stops, the file is the old one or the new one.
    pub(crate) fn write(&self, plain: &[u8]) -> io::Result<()> {
        let sealed = self.key.seal(&*self.entropy, &Self::aad(), plain);
        let beside = self.folder.join("alerts.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&sealed)?;
        file.sync_all()?;
        fs::rename(&beside, self.folder.join(FILE))?;
        File::open(&self.folder)?.sync_all()
    }
}
