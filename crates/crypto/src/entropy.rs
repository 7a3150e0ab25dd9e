//! The machine's secure random generator, drawn in blocks.

use std::cell::RefCell;

use countersign_model::Entropy;
use zeroize::Zeroize;

use crate::fatal::never;

/// One call to the library costs about as much for 12 bytes as for 1,000 and more than sealing a cell, so
/// each thread draws a block and hands out parts of it. What was handed out is wiped from the block.
const BLOCK_BYTES: usize = 1024;

/// The machine's random generator (AWS-LC's, seeded by the operating system). Cryptographically secure.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

struct Block {
    bytes: [u8; BLOCK_BYTES],
    used: usize,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

thread_local! {
    static BLOCK: RefCell<Block> = const { RefCell::new(Block { bytes: [0; BLOCK_BYTES], used: BLOCK_BYTES }) };
}

impl Block {
    /// Fills `out` if it fits in one block.
    fn take(&mut self, out: &mut [u8]) -> bool {
        if BLOCK_BYTES.saturating_sub(self.used) < out.len() {
            if out.len() > BLOCK_BYTES {
                return false;
            }
            draw(&mut self.bytes);
            self.used = 0;
        }
        let end = self.used.saturating_add(out.len());
        let Some(part) = self.bytes.get_mut(self.used..end) else { return false };
        out.copy_from_slice(part);
        part.zeroize();
        self.used = end;
        true
    }
}

fn draw(out: &mut [u8]) {
    if aws_lc_rs::rand::fill(out).is_err() {
        never("random generator");
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        // A thread that is ending has no block any more; it draws straight from the generator.
        let filled = BLOCK.try_with(|block| block.try_borrow_mut().is_ok_and(|mut block| block.take(out)));
        if !filled.unwrap_or(false) {
            draw(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_are_handed_out_twice_across_block_ends_and_threads() {
        let draw_all = || {
            (0..200)
                .map(|_| {
                    let mut out = [0u8; 24];
                    SystemEntropy.fill(&mut out);
                    out
                })
                .collect::<Vec<_>>()
        };
        let mut all = draw_all();
        all.extend(std::thread::spawn(draw_all).join().unwrap());
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 400);
    }

    #[test]
    fn requests_larger_than_a_block_are_filled_too() {
        let mut out = vec![0u8; BLOCK_BYTES * 3 + 1];
        SystemEntropy.fill(&mut out);
        assert!(out.chunks(64).all(|chunk| chunk.len() < 64 || chunk.iter().any(|byte| *byte != 0)));
        SystemEntropy.fill(&mut []);
    }

    #[test]
    fn what_was_handed_out_is_wiped_from_the_block() {
        let mut block = Block { bytes: [0; BLOCK_BYTES], used: BLOCK_BYTES };
        let mut out = [0u8; 100];
        assert!(block.take(&mut out));
        assert!(block.bytes[..100].iter().all(|byte| *byte == 0));
        assert!(block.bytes[100..].iter().any(|byte| *byte != 0));
    }
}
