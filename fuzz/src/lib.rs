//! Fuzz targets: one for each parser that reads what a stranger may send, as plain functions over bytes.
//!
//! Each asserts a property, not only that nothing crashes, and gives back a signature of how the input was taken,
//! so that even a driver without coverage can tell a new path from an old one.
//!
//! Three drivers run the same functions: `cargo xtask test` for a few seconds with a fixed seed, `cargo xtask fuzz`
//! for as long as asked, and libFuzzer (`cargo xtask fuzz TARGET --coverage`, or cargo-fuzz on a nightly compiler).
//! What a run finds belongs into `corpus/TARGET/`, where every run begins.
//!
//! ```
//! let target = countersign_fuzz::find("token").unwrap();
//! (target.run)(b"no token at all");
//! ```

pub mod mutator;
mod signature;
mod structured;
mod targets;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use libfuzzer_sys;

/// One parser under test.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus`.
    pub name: &'static str,
    /// Panics if the property does not hold; otherwise says how the input was taken.
    pub run: fn(&[u8]) -> u64,
    /// Words that inputs are made of.
    pub words: &'static [&'static str],
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "token", run: targets::token::run, words: targets::token::WORDS },
    Target { name: "proof", run: targets::proof::run, words: targets::proof::WORDS },
    Target {
        name: "certificate_request",
        run: targets::certificate_request::run,
        words: targets::certificate_request::WORDS,
    },
    Target { name: "identity_token", run: targets::identity_token::run, words: targets::identity_token::WORDS },
    Target { name: "query_string", run: targets::query_string::run, words: targets::query_string::WORDS },
    Target { name: "filter", run: targets::filter::run, words: targets::filter::WORDS },
    Target { name: "csv_row", run: targets::csv_row::run, words: targets::csv_row::WORDS },
    Target { name: "cell", run: targets::cell::run, words: targets::cell::WORDS },
    Target { name: "cursor", run: targets::cursor::run, words: targets::cursor::WORDS },
    Target { name: "log_text", run: targets::log_text::run, words: targets::log_text::WORDS },
    Target { name: "types_file", run: targets::types_file::run, words: targets::types_file::WORDS },
    Target { name: "body", run: targets::body::run, words: targets::body::WORDS },
    Target { name: "backup", run: targets::backup::run, words: targets::backup::WORDS },
    Target { name: "snapshot", run: targets::snapshot::run, words: targets::snapshot::WORDS },
    Target { name: "wire_request", run: targets::wire_request::run, words: targets::wire_request::WORDS },
];

/// The target of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// A program for one target: libFuzzer's entry where it drives, otherwise one that runs the files it is given.
#[macro_export]
macro_rules! entry {
    ($name:ident) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            if let Some(target) = $crate::find(stringify!($name)) {
                (target.run)(data);
            }
        });

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            for file in std::env::args_os().skip(1) {
                let data = std::fs::read(file)?;
                if let Some(target) = $crate::find(stringify!($name)) {
                    (target.run)(&data);
                }
            }
            Ok(())
        }
    };
}
