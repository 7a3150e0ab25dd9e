//! Signatures: a number that says how an input was taken, without its details.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Of a text such as an error message: digits don't count, so that positions make no new path.
pub fn of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for character in text.chars().filter(|c| !c.is_ascii_digit()) {
        character.hash(&mut hasher);
    }
    hasher.finish()
}
