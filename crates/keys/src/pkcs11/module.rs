//! A PKCS#11 module in this process. It is started once, whoever uses it.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use countersign_model::UnixMs;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};

use crate::outage::Outage;

/// A module is started anew at most this often, because that ends the sessions of every token that it serves.
const START_EVERY_MS: u64 = 2_000;

/// How long starting anew waits for calls that are under way.
const WAIT: Duration = Duration::from_secs(1);

/// `C_Initialize` and `C_Finalize` concern the whole process, so everybody shares what is here.
static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

/// A module, started or not.
pub(super) struct Module {
    path: PathBuf,
    loaded: RwLock<Option<Loaded>>,
    /// Digests of token and PIN that a token refused.
    refused: Mutex<HashSet<[u8; 32]>>,
}

/// A module that is started. While one of these is borrowed, it is not started anew.
pub(super) struct Loaded {
    context: Pkcs11,
    generation: u64,
    started: UnixMs,
}

impl Loaded {
    pub(super) fn context(&self) -> &Pkcs11 {
        &self.context
    }

    /// Counts the starts. Sessions of an earlier one are gone, and their numbers are given out again.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

impl Module {
    pub(super) fn at(path: &Path) -> Arc<Self> {
        let new = || Arc::new(Self { path: path.to_owned(), loaded: RwLock::default(), refused: Mutex::default() });
        Arc::clone(MODULES.lock().entry(path.to_owned()).or_insert_with(new))
    }

    /// The module, started if it was not.
    pub(super) fn loaded(&self, now: UnixMs) -> Result<MappedRwLockReadGuard<'_, Loaded>, Outage> {
        loop {
            if let Ok(loaded) = RwLockReadGuard::try_map(self.loaded.read(), Option::as_ref) {
                return Ok(loaded);
            }
            let mut loaded = self.loaded.write();
            if loaded.is_none() {
                let unusable = |error: Error| Outage::Module { path: self.path.clone(), why: why(&error) };
                let context = Pkcs11::new(&self.path).map_err(unusable)?;
                start(&context).map_err(unusable)?;
                *loaded = Some(Loaded { context, generation: 0, started: now });
            }
        }
    }

    /// The module, if it is started and is not being started anew.
    pub(super) fn as_it_is(&self) -> Option<MappedRwLockReadGuard<'_, Loaded>> {
        RwLockReadGuard::try_map(self.loaded.try_read()?, Option::as_ref).ok()
    }

    /// Starts the module anew, if it is still at that generation: some never see a token that was away otherwise.
    /// Whether it is worth trying again.
    pub(super) fn start_anew(&self, generation: u64, now: UnixMs) -> bool {
        let Some(mut loaded) = self.loaded.try_write_for(WAIT) else { return false };
        let Some(was) = loaded.as_mut() else { return true };
        if was.generation != generation {
            return true;
        }
        if now.0.abs_diff(was.started.0) < START_EVERY_MS {
            return false;
        }
        was.generation = generation.wrapping_add(1);
        was.started = now;
        // A module that could not stop may still be able to start, and one that can't start is loaded anew.
        let _ = was.context.clone().finalize();
        if start(&was.context).is_err() {
            *loaded = None;
        }
        true
    }

    /// Whether a token refused this before.
    pub(super) fn was_refused(&self, token_and_pin: &[u8; 32]) -> bool {
        self.refused.lock().contains(token_and_pin)
    }

    pub(super) fn note_refused(&self, token_and_pin: [u8; 32]) {
        self.refused.lock().insert(token_and_pin);
    }
}

fn start(context: &Pkcs11) -> Result<(), Error> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        result => result,
    }
}

/// The function and the return value, or what went wrong before there was one.
pub(super) fn why(error: &Error) -> String {
    match error {
        Error::Pkcs11(value, function) => format!("C_{function:?}: {value:?}"),
        other => other.to_string(),
    }
}
