//! Reading and writing files that only the program's user may see.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::FolderFault;

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const GROUP_AND_OTHERS: u32 = 0o077;

/// The longest file that is read. A key with its chain has about 2 KiB.
const READ_MAX_BYTES: u64 = 64 * 1024;

/// Opens without following a link, and without waiting for the other end of a pipe.
fn open(path: &Path, more: OFlags) -> Result<File, FolderFault> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | more).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    opened.map_err(|error| {
        let is_kind = [rustix::io::Errno::LOOP, rustix::io::Errno::NOTDIR]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
        if is_kind { FolderFault::Kind } else { FolderFault::Io(error) }
    })
}

fn check(metadata: &Metadata) -> Result<(), FolderFault> {
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        return Err(FolderFault::Owner { owner: metadata.uid(), user });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & GROUP_AND_OTHERS != 0 {
        return Err(FolderFault::Access { mode });
    }
    Ok(())
}

/// Makes the folder if there is none, and checks that it is one and whose.
pub(super) fn make_folder(path: &Path) -> Result<(), FolderFault> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    check(&open(path, OFlags::DIRECTORY)?.metadata()?)
}

/// The file's text; `None` if there is no such file. Everything is asked of the file that was opened, so that nothing
/// can be exchanged in between.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, FolderFault> {
    let mut file = match open(path, OFlags::empty()) {
        Err(FolderFault::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FolderFault::Kind);
    }
    check(&metadata)?;
    if metadata.len() > READ_MAX_BYTES {
        return Err(FolderFault::Content);
    }
    let mut bytes = Zeroizing::new(vec![0u8; usize::try_from(metadata.len()).map_err(|_| FolderFault::Content)?]);
    file.read_exact(&mut bytes)?;
    let text = str::from_utf8(&bytes).map_err(|_| FolderFault::Content)?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// Writes `content` beside `path` and gives it that name: a crash leaves the old file or the new one.
pub(super) fn replace(beside: &Path, path: &Path, content: &[u8]) -> Result<(), FolderFault> {
    let written = write_and_rename(beside, path, content);
    if written.is_err() {
        // It may hold a key; that it can't be removed is no worse than that it can't be written.
        fs::remove_file(beside).ok();
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn write_and_rename(beside: &Path, path: &Path, content: &[u8]) -> Result<(), FolderFault> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    Ok(())
}
