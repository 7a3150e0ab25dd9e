//! The one place where the environment is read.

use std::ffi::OsString;
use std::path::PathBuf;

/// The text of an environment variable, unless it is empty or not UTF-8.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the program, and the one place where it does")]
pub fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// Whether an environment variable is there and not empty.
#[must_use]
pub fn set(name: &str) -> bool {
    raw(name).is_some()
}

fn raw(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|text| !text.is_empty())
}

/// The folder for this user's data of this program (XDG Base Directory Specification).
#[must_use]
pub fn data_home() -> Option<PathBuf> {
    let given = raw("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    given.or_else(|| Some(PathBuf::from(raw("HOME")?).join(".local/share"))).map(|home| home.join("countersign"))
}

/// Where the user's ssh-agent listens.
#[must_use]
pub fn ssh_agent() -> Option<PathBuf> {
    raw("SSH_AUTH_SOCK").map(PathBuf::from)
}
