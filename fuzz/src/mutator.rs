//! Making new inputs of old ones, the same ones for the same seed.

/// The splitmix64 generator: small, and good enough to choose places and bytes.
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, or zero if that is zero.
    pub fn below(&mut self, limit: usize) -> usize {
        let number = self.number() as usize;
        number.checked_rem(limit).unwrap_or(0)
    }

    fn pick<'t, T>(&mut self, several: &'t [T]) -> Option<&'t T> {
        let index = self.below(several.len());
        several.get(index)
    }
}

/// Bytes that parsers care about.
const NOTABLE: &[u8] = b"\0\n\r\t \"'\\,.:;()[]{}*%_-+=&/?#<>|~0129azAZ\x7f\x80\xc3\xff";

/// The longest input that is made.
const LONGEST: usize = 4096;

/// A new input: `one`, changed in a few places, with parts of `other` and of `words`.
#[must_use]
pub fn mutate(random: &mut Random, one: &[u8], other: &[u8], words: &[&str]) -> Vec<u8> {
    let mut input = one.to_vec();
    let changes = [1, 1, 1, 2, 3, 5, 9][random.below(7)];
    for _ in 0..changes {
        change(random, &mut input, other, words);
    }
    input.truncate(LONGEST);
    input
}

fn change(random: &mut Random, input: &mut Vec<u8>, other: &[u8], words: &[&str]) {
    let at = random.below(input.len().saturating_add(1));
    let to = at.saturating_add(random.below(17)).min(input.len());
    match random.below(11) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1u8.wrapping_shl(random.below(8) as u32);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.number() as u8;
            }
        }
        2 => {
            let byte = random.pick(NOTABLE).copied().unwrap_or(0);
            input.insert(at, byte);
        }
        3 => {
            if let (Some(byte), Some(notable)) = (input.get_mut(at), random.pick(NOTABLE)) {
                *byte = *notable;
            }
        }
        4 => drop(input.drain(at..to)),
        5 => {
            let copy = input.get(at..to).unwrap_or_default().to_vec();
            let place = random.below(input.len().saturating_add(1));
            input.splice(place..place, copy);
        }
        6 | 7 => {
            let word = random.pick(words).copied().unwrap_or("").as_bytes();
            input.splice(at..at, word.iter().copied());
        }
        8 => {
            let word = random.pick(words).copied().unwrap_or("").as_bytes();
            input.splice(at..to, word.iter().copied());
        }
        9 => {
            let from = random.below(other.len().saturating_add(1));
            let until = from.saturating_add(random.below(65)).min(other.len());
            input.splice(at..to, other.get(from..until).unwrap_or_default().iter().copied());
        }
        _ => {
            // Nesting and length are where time is lost: repeat a short piece often.
            let piece = input.get(at..to.min(at.saturating_add(3))).unwrap_or_default().to_vec();
            let times = [8, 64, 512][random.below(3)];
            input.splice(at..at, piece.repeat(times));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        let run = |seed| {
            let mut random = Random::new(seed);
            (0..500).map(|_| mutate(&mut random, b"id=eq.1", b"limit=2", &["or=("])).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(3).iter().all(|input| input.len() <= LONGEST));
    }
}
