//! The targets, one module each.

pub mod backup;
pub mod body;
pub mod cell;
pub mod certificate_request;
pub mod csv_row;
pub mod cursor;
pub mod filter;
pub mod identity_token;
pub mod log_text;
pub mod proof;
pub mod query_string;
pub mod snapshot;
pub mod token;
pub mod types_file;
pub mod wire_request;

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

/// What an input stands for that begins with `@`: one of `originals` with changes, a digit for which one, then (two bytes
/// of place, one of difference) for each change. So the corpus needs no secrets and mutants stay near what is good.
pub fn mutant(data: &[u8], originals: &[String]) -> Option<String> {
    let text = match data {
        [b'@', number, changes @ ..] => {
            let original = originals.get(usize::from(number.wrapping_sub(b'0')) % originals.len());
            let mut bytes = original.cloned().unwrap_or_default().into_bytes();
            for change in changes.chunks_exact(3) {
                let [high, low, difference] = change else { continue };
                let place = usize::from(u16::from_be_bytes([*high, *low])) % bytes.len();
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= difference & 0x7f;
                }
            }
            bytes
        }
        other => other.to_vec(),
    };
    String::from_utf8(text).ok()
}
