//! PROPERTY: what is in a chunk or a manifest of a backup has one form: what is read is written again as the same bytes, and
//! nothing is larger than what it was read from.

use countersign_backup::parse_manifest_for_tests;
use countersign_backup::tenant::{Page, parse_page_for_tests};

use crate::signature;

/// Pieces of both.
pub const WORDS: &[&str] = &[
    "\u{1}\u{1}\0\0",
    "\u{1}\u{2}\0\0",
    "\u{1}\u{3}\0\0",
    "\0\0\0\0",
    "\0\0\0\u{1}",
    "\0\0\0\u{11}",
    "\0\u{1}",
    "0123456789abcdef",
    "\u{2}0123456789abcdef",
    "\u{7f}\u{7f}\u{7f}\u{7f}",
];

/// Runs the target: the first byte chooses the parser.
pub fn run(data: &[u8]) -> u64 {
    let Some((first, bytes)) = data.split_first() else { return 0 };
    let seen = if *first == b'm' {
        parse_manifest_for_tests(bytes).map(|(manifest, again)| {
            assert_eq!(again, bytes, "a manifest has two forms");
            let kinds: Vec<_> = manifest.sections.iter().map(|one| (one.epoch > 0, one.chunks.len().min(2))).collect();
            assert!(manifest.chunks() <= bytes.len() as u64, "more chunks than bytes");
            format!("manifest {kinds:?} {}", manifest.note.is_empty())
        })
    } else {
        parse_page_for_tests(bytes).map(|(page, again)| {
            assert_eq!(again, bytes, "a chunk has two forms");
            let (kind, count) = match &page {
                Page::Rows(_, rows) => {
                    assert!(rows.windows(2).all(|two| two[0].record < two[1].record), "out of order");
                    ("rows", rows.len())
                }
                Page::Past(_, rows) => ("past", rows.len()),
                Page::Known(known) => ("known", known.len()),
            };
            format!("{kind} {}", ["a", "b", "c"][count.min(2)])
        })
    };
    signature::of(&seen.unwrap_or_default())
}
