//! Signatures: a number that says how an input was taken, without its details.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Of a text such as an error message: digits and what is quoted don't count, so that places and names make no new way.
pub fn of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in text.split(['"', '`', '\'']).step_by(2) {
        for character in part.chars().filter(|c| !c.is_ascii_digit()) {
            character.hash(&mut hasher);
        }
    }
    hasher.finish()
}
