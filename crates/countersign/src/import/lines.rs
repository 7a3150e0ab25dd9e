//! Line numbers of records. The CSV reader's own are those of where it began to look for the record: one too low
//! after a CRLF or blank lines.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// Passes bytes through and remembers where lines end.
pub(super) struct Watched<R> {
    input: R,
    at: u64,
    after_return: bool,
    lines: Lines,
}

/// The line ends between the last place asked about and the last byte read.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Ends>>);

#[derive(Default)]
struct Ends {
    /// Lines that ended before the first byte in `ahead`.
    passed: u64,
    /// Carriage returns and line feeds: where, and whether it ends a line (the second of a CRLF does not).
    ahead: VecDeque<(u64, bool)>,
}

impl<R> Watched<R> {
    pub(super) fn new(input: R) -> (Self, Lines) {
        let lines = Lines::default();
        (Self { input, at: 0, after_return: false, lines: lines.clone() }, lines)
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let mut ends = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in buffer.iter().take(count) {
            if matches!(byte, b'\r' | b'\n') {
                ends.ahead.push_back((self.at, *byte == b'\r' || !self.after_return));
            }
            self.after_return = *byte == b'\r';
            self.at = self.at.saturating_add(1);
        }
        Ok(count)
    }
}

impl Lines {
    /// The line, from 1, of the first byte at or after `place` that is not a line end. Places only go up.
    pub(super) fn line(&self, mut place: u64) -> u64 {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(&(at, ends_line)) = ends.ahead.front()
            && at <= place
        {
            if at == place {
                place = place.saturating_add(1);
            }
            ends.passed = ends.passed.saturating_add(u64::from(ends_line));
            ends.ahead.pop_front();
        }
        ends.passed.saturating_add(1)
    }
}
