//! A piece of a file, as it is kept in rows.
//!
//! Files are cut into chunks of [`CHUNK`] bytes. What is appended becomes a row of its own, so that an append never writes
//! again what is there; a chunk that is full becomes one row in the place of those. So a byte is written twice at most,
//! and only the last chunk of a file is in many rows.

/// How many bytes a chunk has.
pub(super) const CHUNK: usize = 64 * 1024;

/// The bytes of a chunk, and in which rows they are.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    /// Where in the chunk each row begins, ascending.
    rows: Vec<usize>,
    /// How many bytes those have.
    kept: usize,
    /// The first byte that the rows don't have as it is; `None` if they have all.
    changed: Option<usize>,
}

/// How a chunk's rows become what the chunk is. Places are in the chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The row that begins here is to have all bytes from here on.
    pub(super) put: Option<usize>,
    /// Rows that begin here or later in the chunk are to go.
    pub(super) cut: Option<usize>,
}

impl Chunk {
    /// One that no row has yet.
    pub(super) fn begun() -> Self {
        Self { changed: Some(0), ..Self::default() }
    }

    /// One that is whole, and that no row has yet.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), ..Self::begun() }
    }

    /// From its rows, by their places in it. `None` if they don't follow each other.
    pub(super) fn from_rows(rows: impl Iterator<Item = (usize, Vec<u8>)>) -> Option<Self> {
        let mut chunk = Self::default();
        for (start, bytes) in rows {
            if start != chunk.bytes.len() {
                return None;
            }
            chunk.rows.push(start);
            chunk.bytes.extend(bytes);
        }
        chunk.kept = chunk.bytes.len();
        (chunk.bytes.len() <= CHUNK).then_some(chunk)
    }

    /// The same for who only looks: zeros where there is no row, so that it is found what is missing.
    pub(super) fn from_any_rows(rows: impl Iterator<Item = (usize, Vec<u8>)>) -> Self {
        let mut chunk = Self::default();
        chunk.write(CHUNK, &[]);
        rows.for_each(|(start, bytes)| chunk.write(start, &bytes));
        chunk
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) const fn is_clean(&self) -> bool {
        self.changed.is_none()
    }

    /// Writes at a place in it, with zeros before that if it lies after the end. What lies after the chunk is left out.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let (at, end) = (at.min(CHUNK), at.saturating_add(bytes.len()).min(CHUNK));
        self.changed = Some(self.changed.unwrap_or(CHUNK).min(at).min(self.bytes.len()));
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let (Some(to), Some(from)) = (self.bytes.get_mut(at..end), bytes.get(..end.saturating_sub(at))) {
            to.copy_from_slice(from);
        }
    }

    /// Cuts it.
    pub(super) fn truncate(&mut self, size: usize) {
        if size < self.bytes.len() {
            self.bytes.truncate(size);
            self.changed = Some(self.changed.unwrap_or(CHUNK).min(size));
        }
    }

    /// What is to be done with its rows; clean from now on.
    pub(super) fn take_change(&mut self) -> Option<Change> {
        let changed = self.changed.take()?;
        let (kept, size) = (self.kept, self.bytes.len());
        self.kept = size;
        if size == CHUNK {
            let cut = (self.rows.len() > 1).then_some(1);
            self.rows = vec![0];
            return Some(Change { put: Some(0), cut });
        }
        if changed >= kept {
            let is_there = !self.rows.is_empty();
            if size == kept && is_there {
                return None;
            }
            if self.rows.last() != Some(&kept) {
                self.rows.push(kept);
            }
            return Some(Change { put: Some(kept), cut: None });
        }
        // The row that has the first byte that changed.
        let after = self.rows.partition_point(|row| *row <= changed);
        let at = after.saturating_sub(1);
        let start = self.rows.get(at).copied().unwrap_or_default();
        if size > start || start == 0 {
            let cut = (self.rows.len() > after).then(|| start.saturating_add(1));
            self.rows.truncate(after);
            return Some(Change { put: Some(start), cut });
        }
        self.rows.truncate(at);
        Some(Change { put: None, cut: Some(start) })
    }
}

#[cfg(test)]
mod tests;
