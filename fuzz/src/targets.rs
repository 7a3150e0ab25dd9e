//! The targets, one module each.

pub mod body;
pub mod cell;
pub mod csv_row;
pub mod cursor;
pub mod filter;
pub mod query_string;
pub mod snapshot;
pub mod token;
pub mod types_file;

use countersign_model::Entropy;

/// The same "random" bytes every time, so that keys and tokens of the corpus stay valid.
pub struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) {
        for (byte, value) in out.iter_mut().zip((1u8..=251).cycle()) {
            *byte = value;
        }
    }
}
