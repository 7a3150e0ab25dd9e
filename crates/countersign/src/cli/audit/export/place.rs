//! Where an export goes on.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::problem::{Problem, io};

/// What the server takes as the place before everything: a ledger that is not named is read from its beginning.
const BEGINNING: &str = "gateway=0";
const NOW: &str = "now";

/// A place in all ledgers, as the server gave it, and the file it is kept in.
pub(super) struct Place {
    text: String,
    file: Option<PathBuf>,
}

impl Place {
    /// The place that the file has; the given one if there is no file yet.
    pub(super) fn open(file: Option<PathBuf>, from: &str) -> Result<Self, Problem> {
        let mut text = if from == "beginning" { BEGINNING } else { from }.to_owned();
        if let Some(path) = &file {
            match std::fs::read_to_string(path) {
                Ok(kept) => text = parse(&kept).ok_or_else(|| bad(path))?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(io("read", path)(error)),
            }
        }
        Ok(Self { text, file })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_now(&self) -> bool {
        self.text == NOW
    }

    /// Goes on from here; durable where it is kept in a file.
    pub(super) fn set(&mut self, text: String) -> Result<(), Problem> {
        if text == self.text {
            return Ok(());
        }
        self.text = text;
        let Some(path) = &self.file else { return Ok(()) };
        let mut fresh = path.clone().into_os_string();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&fresh)?;
            file.write_all(format!("{}\n", json!({ "version": 1, "next": self.text })).as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or_else(|| ".".as_ref()))?.sync_all()
        };
        write().map_err(io("write", path))
    }
}

fn parse(text: &str) -> Option<String> {
    let state: Value = serde_json::from_str(text).ok()?;
    let next = state.get("next")?.as_str()?;
    (state.get("version")? == 1).then(|| next.to_owned())
}

fn bad(path: &std::path::Path) -> Problem {
    Problem::usage(format!("{} is not the state of an export", path.display()))
        .next("remove it to begin again, or name another file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_and_a_strange_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        let mut place = Place::open(Some(file.clone()), "beginning").unwrap();
        assert_eq!(place.text(), BEGINNING);
        place.set("gateway=7,keys=9".to_owned()).unwrap();
        let place = Place::open(Some(file.clone()), "now").unwrap();
        assert_eq!(place.text(), "gateway=7,keys=9", "the file goes before what is given");
        std::fs::write(&file, "gateway=7").unwrap();
        assert!(Place::open(Some(file), "now").is_err());
    }
}
