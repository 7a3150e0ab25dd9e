//! How long source files are: mostly under 300 lines, none over the bound without its reason.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::process::root;
use crate::steps::Outcome;

/// A file longer than this fails the check unless it is in [`EARNED`].
const LINES_MAX: usize = 500;

/// Files that are longer for a reason, and the reason.
const EARNED: &[(&str, &str)] = &[("crates/wire/src/generated/countersign.v1.rs", "made from the .proto files")];

/// Prints how lengths are spread, and fails on a file past the bound.
pub fn check() -> Result<Outcome> {
    let mut lengths: Vec<(usize, PathBuf)> = Vec::new();
    for file in tracked(&["crates", "examples", "xtask", "fuzz"], "rs")? {
        let text = std::fs::read_to_string(root().join(&file)).with_context(|| file.display().to_string())?;
        lengths.push((text.lines().count(), file));
    }
    lengths.sort();
    let share = |limit: usize| {
        let under = lengths.iter().filter(|(lines, _)| *lines <= limit).count();
        under.saturating_mul(100).checked_div(lengths.len()).unwrap_or(0)
    };
    println!("{} files, {}% of at most 200 lines, {}% of at most 300", lengths.len(), share(200), share(300));
    let mut too_long = Vec::new();
    for (lines, file) in lengths.iter().rev().take_while(|(lines, _)| *lines > 300) {
        let earned = EARNED.iter().find(|(name, _)| Path::new(name) == file).map(|(_, reason)| *reason);
        println!("{lines:>6} {}{}", file.display(), earned.map(|why| format!(" ({why})")).unwrap_or_default());
        if *lines > LINES_MAX && earned.is_none() {
            too_long.push(file.display().to_string());
        }
    }
    if !too_long.is_empty() {
        bail!(
            "over {LINES_MAX} lines: {}; split by idea, or give the reason in xtask/src/files.rs",
            too_long.join(", ")
        );
    }
    Ok(Outcome::Passed)
}

/// Files under `folders` with that extension, relative to the root, without build output.
pub fn tracked(folders: &[&str], extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    while let Some(folder) = left.pop() {
        let whole = root().join(&folder);
        if !whole.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&whole).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let path = if folder == Path::new(".") { entry.file_name().into() } else { folder.join(entry.file_name()) };
            let name = entry.file_name();
            let skipped = [".git", "target", "node_modules", ".venv"].iter().any(|skip| name == *skip);
            if entry.file_type()?.is_dir() && !skipped {
                left.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
