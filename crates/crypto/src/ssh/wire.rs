//! SSH's binary encoding (RFC 4251, section 5), as far as signatures and agents need it.

/// Reads fields off the front of a message; `None` when it is too short.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*first))
    }

    /// A length and that many bytes.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }

    /// A positive integer, big-endian without leading zeros.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        let bytes = self.string()?;
        match bytes {
            [0, rest @ ..] if rest.first().is_some_and(|byte| *byte >= 0x80) => Some(rest),
            [first, ..] if (1..0x80).contains(first) => Some(bytes),
            _ => None,
        }
    }
}

pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A signature: the algorithm's name, then its bytes.
pub(super) fn signature(algorithm: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, algorithm.as_bytes());
    put_string(&mut out, bytes);
    out
}

/// From two numbers of equal length side by side (IEEE P1363) to two integers, the form of RFC 5656.
pub(super) fn two_integers(fixed: &[u8]) -> Vec<u8> {
    let (r, s) = fixed.split_at(fixed.len() / 2);
    let mut out = Vec::new();
    for number in [r, s] {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = number.get(zeros..).unwrap_or_default();
        let mut bytes = Vec::with_capacity(number.len().saturating_add(1));
        if number.first().is_some_and(|byte| *byte >= 0x80) {
            bytes.push(0);
        }
        bytes.extend_from_slice(number);
        put_string(&mut out, &bytes);
    }
    out
}

/// From two integers to two numbers of `size` bytes side by side. `None` if there is anything else in `bytes`.
pub(super) fn fixed_numbers(bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut reader = Reader(bytes);
    let mut out = Vec::with_capacity(size.saturating_mul(2));
    for _ in 0..2 {
        let number = reader.integer()?;
        let padding = size.checked_sub(number.len())?;
        out.resize(out.len().saturating_add(padding), 0);
        out.extend_from_slice(number);
    }
    reader.0.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_way_to_integers_and_back() {
        for fixed in [[0x80u8, 1, 0, 9], [0, 1, 0, 0x80], [0xff, 0xff, 1, 0]] {
            assert_eq!(fixed_numbers(&two_integers(&fixed), 2).unwrap(), fixed);
        }
    }

    #[test]
    fn zero_negative_padded_long_and_trailing_integers_are_refused() {
        let pair = |r: &[u8], s: &[u8]| {
            let mut out = Vec::new();
            put_string(&mut out, r);
            put_string(&mut out, s);
            out
        };
        assert!(fixed_numbers(&pair(&[1], &[2]), 2).is_some());
        for bad in [&[][..], &[0], &[0x80], &[0, 1], &[1, 2, 3]] {
            assert!(fixed_numbers(&pair(bad, &[1]), 2).is_none(), "{bad:?}");
            assert!(fixed_numbers(&pair(&[1], bad), 2).is_none(), "{bad:?}");
        }
        let mut trailing = pair(&[1], &[2]);
        trailing.push(0);
        assert!(fixed_numbers(&trailing, 2).is_none());
    }
}
