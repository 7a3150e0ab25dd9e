//! Encoded buckets that follow what they are made of: only those are encoded again in which something changed.

use std::collections::BTreeMap;

use crate::error::PublishError;
use crate::form::{Entry, Key, encode_bucket};
use crate::part::{Encoded, Index, PartId};

/// All buckets of one kind. `H` is how an entry is held: cheap to clone and to compare.
pub(crate) struct Buckets<K, H> {
    held: BTreeMap<u8, BTreeMap<K, H>>,
    encoded: BTreeMap<u8, Encoded>,
    len: usize,
}

impl<K, H> Default for Buckets<K, H> {
    fn default() -> Self {
        Self { held: BTreeMap::new(), encoded: BTreeMap::new(), len: 0 }
    }
}

impl<K: Key, H> Buckets<K, H> {
    /// Brings the buckets to exactly these entries. `len` is how many they are; `has` finds one by its key, and
    /// `same` tells whether an entry is still the one that was encoded.
    pub(crate) fn update<E>(
        &mut self,
        entries: impl Iterator<Item = (K, H)>,
        len: usize,
        has: impl Fn(&K) -> bool,
        same: impl Fn(&H, &H) -> bool,
    ) -> Result<(), PublishError>
    where
        E: Entry<Key = K>,
        H: std::ops::Deref<Target = E>,
    {
        let mut dirty = [false; 256];
        let mut mark = |bucket: u8| {
            if let Some(mark) = dirty.get_mut(usize::from(bucket)) {
                *mark = true;
            }
        };
        for (key, entry) in entries {
            let bucket = key.bucket();
            let held = self.held.entry(bucket).or_default();
            match held.get_mut(&key) {
                Some(known) if same(known, &entry) => {}
                Some(known) => {
                    *known = entry;
                    mark(bucket);
                }
                None => {
                    held.insert(key, entry);
                    self.len = self.len.saturating_add(1);
                    mark(bucket);
                }
            }
        }
        if self.len != len {
            for (bucket, held) in &mut self.held {
                let before = held.len();
                held.retain(|key, _| has(key));
                if held.len() != before {
                    mark(*bucket);
                }
            }
            self.len = len;
        }
        for (bucket, _) in (0u8..=u8::MAX).zip(dirty).filter(|(_, dirty)| *dirty) {
            match self.held.get(&bucket).filter(|held| !held.is_empty()) {
                Some(held) => {
                    let encoded = encode_bucket::<E>(held.iter().map(|(key, entry)| (key, &**entry)))?;
                    self.encoded.insert(bucket, encoded);
                }
                None => {
                    self.held.remove(&bucket);
                    self.encoded.remove(&bucket);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn collect<E: Entry>(&self, index: &mut Index, parts: &mut BTreeMap<PartId, bytes::Bytes>) {
        for (bucket, encoded) in &self.encoded {
            let id = PartId::bucket_of(E::KIND, *bucket);
            index.put(id, encoded.digest);
            parts.insert(id, encoded.bytes.clone());
        }
    }
}
