//! Structure out of bytes: a target that checks a round trip builds a valid thing from its input and prints it.

/// Bytes, taken one after another; zeros when they run out.
pub struct Bytes<'a> {
    left: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// From the start.
    pub const fn new(data: &'a [u8]) -> Self {
        Self { left: data }
    }

    /// The next byte.
    pub const fn byte(&mut self) -> u8 {
        match self.left.split_first() {
            Some((first, rest)) => {
                self.left = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()).checked_rem(limit).unwrap_or(0)
    }

    /// One of several.
    pub fn pick<'t, T>(&mut self, several: &'t [T]) -> &'t T {
        let index = self.below(several.len());
        several.get(index).expect("a list with at least one member")
    }

    /// Short text of any characters that can be made of bytes.
    pub fn text(&mut self) -> String {
        let length = self.below(12);
        let bytes: Vec<u8> = (0..length).map(|_| self.byte()).collect();
        String::from_utf8_lossy(&bytes).replace('\0', "")
    }
}
