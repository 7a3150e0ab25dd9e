//! What somebody has who copies the disk: every file of the deployment, searched for values that are in the data.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::problem::{Problem, io};

/// What a search found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Loot {
    /// Files searched.
    pub(super) files: usize,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Values searched for.
    pub(super) values: usize,
    /// Values found.
    pub(super) found: usize,
}

/// Shorter values occur in sealed bytes by chance.
const SHORTEST: usize = 8;

/// Up to `count` different values of at least eight bytes out of CSV texts, evenly spread.
pub(super) fn sample<'t>(texts: impl Iterator<Item = &'t str>, count: usize) -> Vec<String> {
    let mut values = BTreeSet::new();
    for text in texts {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        for record in reader.records().flatten() {
            values.extend(record.iter().filter(|value| value.len() >= SHORTEST).map(str::to_owned));
        }
    }
    let step = values.len().checked_div(count).unwrap_or(1).max(1);
    values.into_iter().step_by(step).take(count).collect()
}

/// Searches every file under `dir` for every value.
pub(super) fn search(dir: &Path, values: &[String]) -> Result<Loot, Problem> {
    let needles = Needles::new(values);
    let mut loot = Loot { values: values.len(), ..Loot::default() };
    let mut found = BTreeSet::new();
    for file in files(dir)? {
        // Files are replaced while they serve: one that has just gone has its successor beside it.
        let bytes = match std::fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.map_err(io("read", &file))?,
        };
        loot.files = loot.files.saturating_add(1);
        loot.bytes = loot.bytes.saturating_add(bytes.len() as u64);
        needles.find(&bytes, &mut found);
    }
    loot.found = found.len();
    Ok(loot)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(io("read", &folder))? {
            let entry = entry.map_err(io("read", &folder))?;
            let kind = match entry.file_type() {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                kind => kind.map_err(io("read", &folder))?,
            };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// Values by their first three bytes, with a bit for each such triple: most places in a file are passed by one look.
struct Needles<'v> {
    bits: Vec<u64>,
    by_start: std::collections::HashMap<u32, Vec<&'v [u8]>>,
}

impl<'v> Needles<'v> {
    fn new(values: &'v [String]) -> Self {
        let mut needles = Self { bits: vec![0; 1 << 18], by_start: std::collections::HashMap::new() };
        for value in values.iter().map(String::as_bytes) {
            if let Some(start) = start(value) {
                if let Some(word) = needles.bits.get_mut(start as usize >> 6) {
                    *word |= 1 << (start & 63);
                }
                needles.by_start.entry(start).or_default().push(value);
            }
        }
        needles
    }

    fn find(&self, bytes: &[u8], found: &mut BTreeSet<&'v [u8]>) {
        for (place, triple) in bytes.windows(3).enumerate() {
            let Some(start) = start(triple) else { continue };
            if self.bits.get(start as usize >> 6).is_none_or(|word| word & (1 << (start & 63)) == 0) {
                continue;
            }
            let rest = bytes.get(place..).unwrap_or_default();
            let here = self.by_start.get(&start).into_iter().flatten();
            found.extend(here.filter(|value| rest.starts_with(value)).copied());
        }
    }
}

fn start(bytes: &[u8]) -> Option<u32> {
    match bytes {
        [a, b, c, ..] => Some(u32::from_be_bytes([0, *a, *b, *c])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_open_is_found_and_what_does_not_is_not() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("below")).unwrap();
        std::fs::write(folder.path().join("below/a"), b"\0\0Alfreds Futterkiste\xff").unwrap();
        std::fs::write(folder.path().join("b"), b"Alfreds Futterkist").unwrap();
        let values = ["Alfreds Futterkiste", "Ana Trujillo"].map(str::to_owned);
        let loot = search(folder.path(), &values).unwrap();
        assert_eq!(loot, Loot { files: 2, bytes: 40, values: 2, found: 1 });
    }

    #[test]
    fn samples_are_spread_and_long_enough() {
        let csv = "id,name\n1,short\n2,long enough\n3,\"also, long\"\n4,long enough\n";
        assert_eq!(sample(std::iter::once(csv), 500), ["also, long", "long enough"]);
        let companies = super::super::example::COMPANIES;
        let texts = companies.iter().flat_map(|company| company.data.iter().map(|(_, text)| *text));
        let sample = sample(texts, 500);
        assert_eq!(sample.len(), 500);
        // What the program itself writes in the clear has none of them, so one that is found was leaked.
        let own = crate::config::Config::default().to_text();
        assert!(sample.iter().all(|value| !own.contains(value.as_str())));
    }
}
