//! The files of a ledger as the process sees them that writes it: what the rows have, and what they don't have yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::cache::Cache;
use super::chunk::{CHUNK, Chunk};
use super::table::{Batch, FileSize};

const CHUNK_U64: u64 = CHUNK as u64;

/// What is wanted can't be had before a chunk was read.
pub(super) struct Needs {
    pub(super) chunk: u64,
    pub(super) version: u64,
}

/// All files.
#[derive(Default)]
pub(super) struct Files {
    files: BTreeMap<Arc<str>, File>,
    /// Those that the rows don't have as they are.
    changed: BTreeSet<Arc<str>>,
    cache: Cache,
    /// The last number that a file or a version of one was given.
    number: u64,
}

struct File {
    /// Tells a file from another one of the same name.
    id: u64,
    size: u64,
    /// Grows with each change.
    version: u64,
    /// Chunks that the rows don't have, or may not have yet.
    chunks: BTreeMap<u64, Chunk>,
    /// Rows from here on are to go first.
    cut: Option<u64>,
}

fn chunk_of(offset: u64) -> u64 {
    offset / CHUNK_U64
}

fn place_in(offset: u64) -> usize {
    usize::try_from(offset % CHUNK_U64).unwrap_or_default()
}

/// The chunks that have bytes from `offset` on and before `end`.
pub(super) fn chunks_of(offset: u64, end: u64) -> std::ops::Range<u64> {
    if end <= offset { 0..0 } else { chunk_of(offset)..chunk_of(end.saturating_sub(1)).saturating_add(1) }
}

/// Where a chunk begins.
pub(super) const fn start_of(chunk: u64) -> u64 {
    chunk.saturating_mul(CHUNK_U64)
}

impl Files {
    /// As the rows have them.
    pub(super) fn new(files: Vec<FileSize>) -> Self {
        let mut all = Self::default();
        for (name, size) in files {
            let (id, version) = (all.next(), all.next());
            let file = File { id, size, version, chunks: BTreeMap::new(), cut: None };
            all.files.insert(name.into(), file);
        }
        all
    }

    const fn next(&mut self) -> u64 {
        self.number = self.number.saturating_add(1);
        self.number
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.files.keys().map(ToString::to_string).collect()
    }

    /// The id of a file, if there is one of that name.
    pub(super) fn find(&self, name: &str) -> Option<u64> {
        self.files.get(name).map(|file| file.id)
    }

    /// The id of a file, which is made if there is none.
    pub(super) fn make(&mut self, name: &str) -> u64 {
        if let Some(id) = self.find(name) {
            return id;
        }
        let (id, version) = (self.next(), self.next());
        let name: Arc<str> = name.into();
        // There may be rows of one that was removed, and is there still for the database.
        let cut = self.changed.contains(&name).then_some(0);
        self.changed.insert(Arc::clone(&name));
        let chunks = BTreeMap::from([(0, Chunk::begun())]);
        self.files.insert(name, File { id, size: 0, version, chunks, cut });
        id
    }

    fn file(&mut self, name: &str, id: u64) -> io::Result<&mut File> {
        self.files.get_mut(name).filter(|file| file.id == id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn size(&self, name: &str, id: u64) -> io::Result<u64> {
        let file = self.files.get(name).filter(|file| file.id == id);
        file.map(|file| file.size).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        let (name, _) = self.files.remove_entry(name).ok_or(io::ErrorKind::NotFound)?;
        self.cache.forget(&name, 0);
        self.changed.insert(name);
        Ok(())
    }

    /// Gives a file other contents.
    pub(super) fn replace(&mut self, name: &str, bytes: &[u8]) {
        let (id, version) = (self.make(name), self.next());
        self.cache.forget(name, 0);
        let Ok(file) = self.file(name, id) else { return };
        file.version = version;
        file.size = bytes.len() as u64;
        file.cut = Some(0);
        file.chunks = (0..).zip(bytes.chunks(CHUNK).map(Chunk::of)).collect();
        file.chunks.entry(0).or_insert_with(Chunk::begun);
        self.changed.insert(name.into());
    }

    /// Has a chunk to change it. `None` if it has to be read first.
    fn chunk(&mut self, name: &str, id: u64, number: u64) -> io::Result<Option<&mut Chunk>> {
        let cached = self.cache.take(&name.into(), number);
        let file = self.file(name, id)?;
        if let Some(chunk) = cached {
            file.chunks.entry(number).or_insert(chunk);
        }
        let is_new = start_of(number) >= file.size && number > 0;
        match file.chunks.get(&number) {
            None if is_new => Ok(Some(file.chunks.entry(number).or_insert_with(Chunk::begun))),
            None => Ok(None),
            Some(_) => Ok(file.chunks.get_mut(&number)),
        }
    }

    /// Writes at a place, as far as the chunks are there that are changed.
    pub(super) fn write(&mut self, name: &str, id: u64, bytes: &[u8], offset: u64) -> io::Result<Result<(), Needs>> {
        let size = self.size(name, id)?;
        if bytes.is_empty() {
            return Ok(Ok(()));
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        // Zeros between the end and what is written after it are written too.
        let first = chunk_of(offset.min(size));
        let last = chunk_of(end.saturating_sub(1));
        for number in first..=last {
            if self.chunk(name, id, number)?.is_none() {
                let version = self.file(name, id)?.version;
                return Ok(Err(Needs { chunk: number, version }));
            }
        }
        let version = self.next();
        let file = self.file(name, id)?;
        file.version = version;
        file.size = file.size.max(end);
        for number in first..=last {
            let start = start_of(number);
            let Some(chunk) = file.chunks.get_mut(&number) else { continue };
            if offset >= start.saturating_add(CHUNK_U64) {
                // Zeros.
                chunk.write(CHUNK, &[]);
                continue;
            }
            let from = usize::try_from(start.saturating_sub(offset)).unwrap_or(usize::MAX);
            let at = place_in(offset.max(start));
            chunk.write(at, bytes.get(from..).unwrap_or_default());
        }
        self.changed.insert(name.into());
        Ok(Ok(()))
    }

    /// Cuts a file, if the chunk is there that is cut in two.
    pub(super) fn truncate(&mut self, name: &str, id: u64, size: u64) -> io::Result<Result<(), Needs>> {
        if size >= self.size(name, id)? {
            return Ok(Ok(()));
        }
        let number = chunk_of(size);
        let part = place_in(size);
        if part > 0 && self.chunk(name, id, number)?.is_none() {
            let version = self.file(name, id)?.version;
            return Ok(Err(Needs { chunk: number, version }));
        }
        let version = self.next();
        let gone = if part > 0 { number.saturating_add(1) } else { number };
        self.cache.forget(name, gone);
        let file = self.file(name, id)?;
        file.version = version;
        file.size = size;
        file.chunks.retain(|number, _| *number < gone);
        file.cut = Some(file.cut.unwrap_or(u64::MAX).min(start_of(gone)));
        if part > 0 {
            if let Some(chunk) = file.chunks.get_mut(&number) {
                chunk.truncate(part);
            }
        } else if size == 0 {
            file.chunks.insert(0, Chunk::begun());
        }
        self.changed.insert(name.into());
        Ok(Ok(()))
    }

    /// Takes a chunk in that was read, unless the file was changed meanwhile.
    pub(super) fn took_in(&mut self, name: &str, id: u64, needs: &Needs, chunk: Chunk) {
        let is_same = self.file(name, id).is_ok_and(|file| file.version == needs.version);
        let is_there = self.files.get(name).is_some_and(|file| file.chunks.contains_key(&needs.chunk));
        if is_same && !is_there {
            self.cache.put(&name.into(), needs.chunk, chunk);
        }
    }

    /// Fills what there is in memory of a piece of a file, and says which chunks are to be read, in order, and the version
    /// that they must be of to be kept.
    pub(super) fn read(&mut self, name: &str, id: u64, out: &mut [u8], offset: u64) -> io::Result<(Vec<u64>, u64)> {
        let end = offset.checked_add(out.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        let file = self.files.get(name).filter(|file| file.id == id).ok_or(io::ErrorKind::NotFound)?;
        if end > file.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut missing = Vec::new();
        let name: Arc<str> = name.into();
        for number in chunks_of(offset, end) {
            let chunk = file.chunks.get(&number).or_else(|| self.cache.get(&name, number));
            match chunk {
                Some(chunk) => copy_out(chunk, number, out, offset)?,
                None => missing.push(number),
            }
        }
        Ok((missing, file.version))
    }

    /// Takes what the rows don't have yet.
    pub(super) fn take_batch(&mut self) -> (Batch, Vec<Arc<str>>) {
        let mut batch = Batch::default();
        let names: Vec<Arc<str>> = std::mem::take(&mut self.changed).into_iter().collect();
        for name in &names {
            let Some(file) = self.files.get_mut(name) else {
                batch.cut(name, 0, u64::MAX);
                continue;
            };
            if let Some(cut) = file.cut.take() {
                batch.cut(name, cut, u64::MAX);
            }
            for (number, chunk) in &mut file.chunks {
                let start = start_of(*number);
                let Some(change) = chunk.take_change() else { continue };
                if let Some(cut) = change.cut {
                    batch.cut(name, start.saturating_add(cut as u64), start.saturating_add(CHUNK_U64));
                }
                if let Some(put) = change.put {
                    let bytes = chunk.bytes().get(put..).unwrap_or_default();
                    batch.put(name, start.saturating_add(put as u64), bytes);
                }
            }
        }
        (batch, names)
    }

    /// A batch with these files is durable.
    pub(super) fn settle(&mut self, names: &[Arc<str>]) {
        for name in names {
            let Some(file) = self.files.get_mut(name) else { continue };
            let (clean, rest) = std::mem::take(&mut file.chunks).into_iter().partition(|(_, chunk)| chunk.is_clean());
            file.chunks = rest;
            let clean: BTreeMap<u64, Chunk> = clean;
            // Where writing goes on.
            if let Some((number, chunk)) = clean.into_iter().next_back()
                && chunk.bytes().len() < CHUNK
            {
                self.cache.put(name, number, chunk);
            }
        }
    }
}

/// Copies the part of a chunk that is wanted.
pub(super) fn copy_out(chunk: &Chunk, number: u64, out: &mut [u8], offset: u64) -> io::Result<()> {
    let start = start_of(number);
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let from = place_in(offset.max(start));
    let to = usize::try_from(start.max(offset).saturating_sub(offset)).map_err(|_| short())?;
    let out = out.get_mut(to..).ok_or_else(short)?;
    let length = out.len().min(CHUNK.saturating_sub(from));
    let bytes = chunk.bytes().get(from..from.saturating_add(length)).ok_or_else(short)?;
    out.get_mut(..length).ok_or_else(short)?.copy_from_slice(bytes);
    Ok(())
}
