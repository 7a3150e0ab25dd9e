//! Chunks that are as the rows have them: ends of files, to be written to, and what was read last.

use std::collections::HashMap;
use std::sync::Arc;

use super::chunk::Chunk;

/// So many chunks at most: 8 MiB.
const CHUNKS_MAX: usize = 128;

/// A file, and which chunk of it.
type Place = (Arc<str>, u64);

#[derive(Default)]
pub(super) struct Cache {
    chunks: HashMap<Place, (u64, Chunk)>,
    used: u64,
}

impl Cache {
    pub(super) fn get(&mut self, file: &Arc<str>, number: u64) -> Option<&Chunk> {
        self.used = self.used.saturating_add(1);
        let used = self.used;
        let (last, chunk) = self.chunks.get_mut(&(Arc::clone(file), number))?;
        *last = used;
        Some(chunk)
    }

    pub(super) fn take(&mut self, file: &Arc<str>, number: u64) -> Option<Chunk> {
        self.chunks.remove(&(Arc::clone(file), number)).map(|(_, chunk)| chunk)
    }

    pub(super) fn put(&mut self, file: &Arc<str>, number: u64, chunk: Chunk) {
        if self.chunks.len() >= CHUNKS_MAX {
            let oldest = self.chunks.iter().min_by_key(|(_, (used, _))| *used).map(|(place, _)| place.clone());
            oldest.map(|oldest| self.chunks.remove(&oldest));
        }
        self.used = self.used.saturating_add(1);
        self.chunks.insert((Arc::clone(file), number), (self.used, chunk));
    }

    /// Forgets a file from a chunk on.
    pub(super) fn forget(&mut self, file: &str, from: u64) {
        self.chunks.retain(|(name, number), _| &**name != file || *number < from);
    }
}
