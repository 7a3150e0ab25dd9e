//! What the detector knows, as it is stored: one file, sealed, replaced as a whole.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_crypto::{Aad, SealKey};
use countersign_model::Entropy;
use serde::{Deserialize, Serialize};

use super::gather::Gather;
use super::{Detector, DetectorParts};
use crate::enrich::health::{Health, StoredHealth};
use crate::enrich::{Enricher, StoredEnricher};
use crate::sigma::{StoredWindows, Windows};

const FILE: &str = "detections";
/// The first byte of what is stored.
const FORMAT: u8 = 1;

#[derive(Default, Deserialize)]
struct Stored {
    next: HashMap<String, u64>,
    enricher: StoredEnricher,
    health: StoredHealth,
    windows: StoredWindows,
    gather: Gather,
}

/// As [`Stored`], without a copy of what needs none.
#[derive(Serialize)]
struct StoredRef<'a> {
    next: &'a HashMap<String, u64>,
    enricher: StoredEnricher,
    health: StoredHealth,
    windows: StoredWindows,
    gather: &'a Gather,
}

/// Why there is no state. The operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    /// The file is not one that this deployment wrote, or is damaged. Without it the monitor begins anew.
    #[error("what the monitor knew can't be read: '{FILE}' is damaged")]
    Damaged,
    /// The folder can't be read or written.
    #[error("the monitor's folder: {0}")]
    Folder(#[from] io::Error),
}

impl Detector {
    /// Goes on from what was stored. What another release stored in another form is not read: it begins anew then.
    ///
    /// # Errors
    /// [`StateFault::Damaged`].
    pub fn restored(stored: &[u8], parts: DetectorParts) -> Result<Self, StateFault> {
        let (format, stored) = stored.split_first().ok_or(StateFault::Damaged)?;
        if *format != FORMAT {
            tracing::warn!("what the monitor knew is of another release: it begins anew");
            return Ok(Self::new(parts));
        }
        let stored: Stored = postcard::from_bytes(stored).map_err(|_| StateFault::Damaged)?;
        let Stored { next, enricher, health, windows, gather } = stored;
        let mut detector = Self::new(parts);
        detector.next = next;
        detector.enricher = Enricher::restored(enricher, detector.learning_ms);
        detector.health = Health::restored(health);
        detector.windows = Windows::restored(windows, &detector.rules);
        detector.gather = gather;
        Ok(detector)
    }

    /// All that it knows.
    #[must_use]
    pub fn stored(&self) -> Vec<u8> {
        let stored = StoredRef {
            next: &self.next,
            enricher: self.enricher.stored(),
            health: self.health.stored(),
            windows: self.windows.stored(&self.rules),
            gather: &self.gather,
        };
        postcard::to_extend(&stored, vec![FORMAT]).unwrap_or_default()
    }
}

/// Where it is stored.
pub struct Keep {
    folder: PathBuf,
    key: Arc<SealKey>,
    entropy: Arc<dyn Entropy>,
}

impl Keep {
    /// In this folder, which is made if it isn't there, under the monitor's own key.
    ///
    /// # Errors
    /// [`StateFault::Folder`].
    pub fn open(folder: &Path, key: Arc<SealKey>, entropy: Arc<dyn Entropy>) -> Result<Self, StateFault> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned(), key, entropy })
    }

    fn aad() -> Aad {
        Aad::new("detections.1")
    }

    /// What was stored last.
    ///
    /// # Errors
    /// [`StateFault`].
    pub fn read(&self) -> Result<Option<Vec<u8>>, StateFault> {
        match fs::read(self.folder.join(FILE)) {
            Ok(sealed) => self.key.open(&Self::aad(), &sealed).map(Some).map_err(|_| StateFault::Damaged),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Durable when it returns. Whenever the machine stops, the file is the old one or the new one.
    ///
    /// # Errors
    /// [`StateFault::Folder`].
    pub fn write(&self, plain: &[u8]) -> Result<(), StateFault> {
        let sealed = self.key.seal(&*self.entropy, &Self::aad(), plain);
        let beside = self.folder.join("detections.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&sealed)?;
        file.sync_all()?;
        fs::rename(&beside, self.folder.join(FILE))?;
        Ok(File::open(&self.folder)?.sync_all()?)
    }
}
