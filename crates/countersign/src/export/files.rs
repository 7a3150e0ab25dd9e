//! The folder: files for their owner alone, `.part` until they are complete, and never through a link.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use countersign_crypto::{Sha256, sha256};
use rustix::fs::OFlags;
use serde_json::value::RawValue;

use super::form::Kinds;
use super::manifest::{Position, State};
use super::{FileEntry, Form, MANIFEST, Manifest, TYPES_FILE, TypeEntry};
use crate::problem::{Exit, Problem, io};

const PART: &str = ".part";
/// How far an export is that is not complete.
const STATE: &str = "manifest.json.part";
/// What is written before it takes the place of another.
const BESIDE: &str = "manifest.json.part.part";

/// The folder that is written to.
pub(super) struct Files {
    folder: PathBuf,
    /// Opened and locked, so that one export at a time writes to it.
    handle: File,
}

/// The files of the type at hand.
pub(super) struct Out {
    folder: PathBuf,
    files: Vec<OneFile>,
}

struct OneFile {
    form: Form,
    name: String,
    file: File,
    bytes: u64,
    hash: Sha256,
}

impl Files {
    /// An empty folder, a new one, or one that has a part of the same.
    pub(super) fn open(folder: &Path, wished: &Manifest) -> Result<(Self, State), Problem> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io("make", folder))?;
        let handle = File::open(folder).map_err(io("read", folder))?;
        let files = Self { folder: folder.to_owned(), handle };
        files.lock()?;
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(io("read", folder))? {
            names.push(entry.map_err(io("read", folder))?.file_name().to_string_lossy().into_owned());
        }
        let fresh = State { manifest: wished.clone(), position: None };
        if names.is_empty() {
            // One that was there may be open to others.
            let private = fs::Permissions::from_mode(0o700);
            files.handle.set_permissions(private).map_err(io("change the mode of", folder))?;
            return Ok((files, fresh));
        }
        let shown = folder.display();
        let refused = |why: String| {
            Problem::new(Exit::Conflict, format!("{shown} {why}")).next("name a folder of its own for it")
        };
        if names.iter().any(|name| name == MANIFEST) {
            return Err(refused("has a complete export already".to_owned()));
        }
        let Some(text) = files.read_small(STATE)? else {
            return Err(refused("is not empty, and what is in it is no interrupted export".to_owned()));
        };
        let mut state: State = serde_json::from_slice(&text)
            .map_err(|_| refused("has an interrupted export that can't be read".to_owned()))?;
        if !state.manifest.is_same_wish(wished) {
            return Err(refused("has an interrupted export of something else, or by somebody else".to_owned()));
        }
        let known = |name: &str| {
            // What is written beside a state has the ending twice.
            let name = name.trim_end_matches(PART);
            let of_type = name.rsplit_once('.').is_some_and(|(of, extension)| {
                countersign_model::Name::new(of).is_ok() && ["ndjson", "csv"].contains(&extension)
            });
            name == MANIFEST || name == TYPES_FILE || of_type
        };
        if let Some(strange) = names.iter().find(|name| !known(name)) {
            let strange = crate::terminal::harmless(strange);
            return Err(refused(format!("has {strange}, which is not part of an export")));
        }
        // What was finished stays if it still is what it was.
        let mut kept = Vec::new();
        for entry in std::mem::take(&mut state.manifest.types) {
            let is_whole = entry.files.iter().all(|file| {
                matches!(hash_file(&folder.join(&file.name), drop), Ok(found) if found == (file.bytes, file.sha256.clone()))
            });
            if is_whole {
                kept.push(entry);
            }
        }
        state.manifest.types = kept;
        state.manifest.withheld.clone_from(&wished.withheld);
        Ok((files, state))
    }

    /// The files of a type, empty but for what stands before the first record.
    pub(super) fn begin(&self, entry: &TypeEntry, forms: &[Form]) -> Result<Out, Problem> {
        let mut files = Vec::new();
        for form in forms {
            let name = format!("{}.{}", entry.name, form.extension());
            let path = self.folder.join(format!("{name}{PART}"));
            self.remove(&format!("{name}{PART}"))?;
            let file = opened(&path, true).map_err(io("write", &path))?;
            let mut one = OneFile { form: *form, name, file, bytes: 0, hash: Sha256::default() };
            one.write(&self.folder, &form.header(&entry.fields))?;
            files.push(one);
        }
        Ok(Out { folder: self.folder.clone(), files })
    }

    /// The same as far as they were when the position was noted; `None` if they are not there any more.
    pub(super) fn resume(&self, entry: &TypeEntry, forms: &[Form], at: &Position) -> Result<Option<Out>, Problem> {
        if forms.len() != at.lengths.len() {
            return Ok(None);
        }
        let mut files = Vec::new();
        for (form, length) in forms.iter().zip(&at.lengths) {
            let name = format!("{}.{}", entry.name, form.extension());
            let path = self.folder.join(format!("{name}{PART}"));
            let Ok(mut file) = opened(&path, false) else { return Ok(None) };
            let about = file.metadata().map_err(io("read", &path))?;
            if !about.is_file() || about.len() < *length {
                return Ok(None);
            }
            file.set_len(*length).map_err(io("write", &path))?;
            let hash = hashed(&mut file, drop).map_err(io("read", &path))?;
            file.seek(SeekFrom::End(0)).map_err(io("write", &path))?;
            let header = form.header(&entry.fields);
            let mut begins = vec![0; header.len()];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut begins, 0).map_err(io("read", &path))?;
            if begins != header {
                // The fields are others by now.
                return Ok(None);
            }
            files.push(OneFile { form: *form, name, file, bytes: *length, hash });
        }
        Ok(Some(Out { folder: self.folder.clone(), files }))
    }

    fn lock(&self) -> Result<(), Problem> {
        match self.handle.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                let shown = self.folder.display();
                Err(Problem::new(Exit::Conflict, format!("{shown} is being written to by another export"))
                    .next("wait until that has ended, or name another folder"))
            }
            Err(TryLockError::Error(error)) => Err(io("lock", &self.folder)(error)),
        }
    }

    /// A small file, in place of what it was.
    pub(super) fn write_whole(&self, name: &str, content: &[u8]) -> Result<FileEntry, Problem> {
        self.replace(name, content, true)?;
        Ok(FileEntry { name: name.to_owned(), bytes: content.len() as u64, sha256: hex(&sha256(content)) })
    }

    /// Notes how far it is. Not durable: a machine that stops costs at most what was done since.
    pub(super) fn save(&self, state: &State) -> Result<(), Problem> {
        let text = serde_json::to_vec(state).map_err(|error| Problem::failed(error.to_string()))?;
        self.replace(STATE, &text, false)
    }

    /// Writes the manifest and says its digest.
    pub(super) fn finish(&self, manifest: &Manifest) -> Result<String, Problem> {
        let mut text = serde_json::to_vec_pretty(manifest).map_err(|error| Problem::failed(error.to_string()))?;
        text.push(b'\n');
        self.replace(MANIFEST, &text, true)?;
        self.remove(STATE)?;
        self.handle.sync_all().map_err(io("write", &self.folder))?;
        Ok(hex(&sha256(&text)))
    }

    /// Writes beside it, where nothing else is, and puts that in its place.
    fn replace(&self, name: &str, content: &[u8], is_durable: bool) -> Result<(), Problem> {
        let (beside, done) = (self.folder.join(BESIDE), self.folder.join(name));
        self.remove(BESIDE)?;
        let mut file = opened(&beside, true).map_err(io("write", &beside))?;
        file.write_all(content).map_err(io("write", &beside))?;
        if is_durable {
            file.sync_all().map_err(io("write", &beside))?;
        }
        fs::rename(&beside, &done).map_err(io("write", &done))
    }

    /// A file of at most 16 MiB; `None` if it is not there.
    fn read_small(&self, name: &str) -> Result<Option<Vec<u8>>, Problem> {
        const MOST: u64 = 16 << 20;
        let path = self.folder.join(name);
        let file = match opened(&path, false) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("read", &path)(error)),
        };
        let mut text = Vec::new();
        file.take(MOST).read_to_end(&mut text).map_err(io("read", &path))?;
        Ok(Some(text))
    }

    fn remove(&self, name: &str) -> Result<(), Problem> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", &path)(error)),
            _ => Ok(()),
        }
    }
}

impl Out {
    /// Adds the records of a page, a JSON list, and says how many there are.
    pub(super) fn page(&mut self, body: &[u8], kinds: &Kinds) -> Result<u64, Problem> {
        let rows: Vec<&RawValue> = serde_json::from_slice(body)
            .map_err(|_| Problem::failed("the server's answer is not a list of records"))?;
        for one in &mut self.files {
            let mut lines = Vec::with_capacity(body.len());
            for row in &rows {
                one.form.line(&mut lines, row, kinds)?;
            }
            one.write(&self.folder, &lines)?;
        }
        Ok(rows.len() as u64)
    }

    /// How long each file is.
    pub(super) fn lengths(&self) -> Vec<u64> {
        self.files.iter().map(|one| one.bytes).collect()
    }

    /// Makes them durable under their own names.
    pub(super) fn finish(self) -> Result<Vec<FileEntry>, Problem> {
        let mut entries = Vec::new();
        for OneFile { name, file, bytes, hash, .. } in self.files {
            let path = self.folder.join(format!("{name}{PART}"));
            file.sync_all().map_err(io("write", &path))?;
            fs::rename(&path, self.folder.join(&name)).map_err(io("write", &path))?;
            entries.push(FileEntry { name, bytes, sha256: hex(&hash.finish()) });
        }
        Ok(entries)
    }
}

impl OneFile {
    fn write(&mut self, folder: &Path, bytes: &[u8]) -> Result<(), Problem> {
        self.file.write_all(bytes).map_err(io("write", &folder.join(&self.name)))?;
        self.hash.update(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

/// For its owner alone. A link in its place is refused.
fn opened(path: &Path, is_new: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(is_new).mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path)
}

fn hashed(file: &mut File, mut read_more: impl FnMut(u64)) -> std::io::Result<Sha256> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::default();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hash);
        }
        hash.update(buffer.get(..read).unwrap_or_default());
        read_more(read as u64);
    }
}

/// How long a file is, and the SHA-256 of its content in hexadecimal. Says of each piece how long it was.
///
/// # Errors
/// If it can't be read, is a link or no file.
pub fn hash_file(path: &Path, read_more: impl FnMut(u64)) -> Result<(u64, String), Problem> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    let no_file = || Problem::input(format!("{} is no file", path.display()));
    let is_link = |error: &std::io::Error| error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    let opened = options.open(path);
    let mut file = opened.map_err(|error| if is_link(&error) { no_file() } else { io("read", path)(error) })?;
    let about = file.metadata().map_err(io("read", path))?;
    if !about.is_file() {
        return Err(no_file());
    }
    let hash = hashed(&mut file, read_more).map_err(io("read", path))?;
    Ok((about.len(), hex(&hash.finish())))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}
