//! Texts of statements. They are kept, because putting one together takes longer than running it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::RwLock;

/// Every caller sees other fields, so there are many texts; beyond this many, all are made anew.
const KEPT_MAX: usize = 4096;

/// Statement texts by what they do.
pub(crate) struct Texts<K> {
    known: RwLock<HashMap<K, Arc<str>>>,
}

impl<K> Default for Texts<K> {
    fn default() -> Self {
        Self { known: RwLock::default() }
    }
}

impl<K: Eq + Hash> Texts<K> {
    /// The text for `key`, as `make` makes it.
    pub(crate) fn of(&self, key: K, make: impl FnOnce(&K) -> String) -> Arc<str> {
        if let Some(text) = self.known.read().get(&key) {
            return Arc::clone(text);
        }
        let text: Arc<str> = make(&key).into();
        let mut known = self.known.write();
        if known.len() >= KEPT_MAX {
            known.clear();
        }
        known.insert(key, Arc::clone(&text));
        text
    }
}
