//! From the thread that writes records to the one that makes the log: hashes of records that are durable.

use std::time::Instant;

use countersign_tlog::Hash;
use parking_lot::{Condvar, Mutex};

/// So many hashes wait at most, 32 MiB. If the log lags further behind, they are read from the segments again.
const WAITING_MAX: usize = 1 << 20;

/// Hashes of durable records that are not in the log yet.
pub(crate) struct Intake {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    /// The position of the first of `hashes`; those before it that are not in the log are in the segments.
    from: u64,
    hashes: Vec<Hash>,
    /// When the oldest came that waits.
    since: Option<Instant>,
    /// Something else is to be done: keep what witnesses said.
    nudged: bool,
    closed: bool,
}

/// What there is to do.
pub(super) struct Taken {
    /// The position of the first of `hashes`.
    pub(super) from: u64,
    pub(super) hashes: Vec<Hash>,
    /// When the oldest of them came.
    pub(super) since: Option<Instant>,
    /// It is the last.
    pub(super) closed: bool,
}

impl Intake {
    /// One that begins after so many records.
    pub(crate) fn new(from: u64) -> Self {
        let state = State { from, hashes: Vec::new(), since: None, nudged: false, closed: false };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Takes in the hashes of records that were made durable just now.
    pub(crate) fn add(&self, mut hashes: Vec<Hash>) {
        if hashes.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        state.hashes.append(&mut hashes);
        if state.hashes.len() > WAITING_MAX {
            state.from = state.from.saturating_add(state.hashes.len() as u64);
            state.hashes = Vec::new();
        }
        let first = state.since.is_none();
        if first {
            state.since = Some(Instant::now());
        }
        drop(state);
        if first {
            self.wake.notify_one();
        }
    }

    /// Wakes the log's thread although no record came.
    pub(super) fn nudge(&self) {
        self.state.lock().nudged = true;
        self.wake.notify_one();
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }

    /// Waits until something is there, then until `due` says that it is time, and takes it. Does not wait at all for
    /// something to be there if `at_once`.
    pub(super) fn take(&self, at_once: bool, due: impl Fn(Option<Instant>) -> Option<Instant>) -> Taken {
        let mut state = self.state.lock();
        while !state.closed && !at_once && !state.nudged && state.since.is_none() {
            self.wake.wait(&mut state);
        }
        while !state.closed {
            match due(state.since) {
                Some(due) if due > Instant::now() => {
                    self.wake.wait_until(&mut state, due);
                }
                _ => break,
            }
        }
        state.nudged = false;
        let hashes = std::mem::take(&mut state.hashes);
        let (from, since, closed) = (state.from, state.since.take(), state.closed);
        state.from = from.saturating_add(hashes.len() as u64);
        Taken { from, hashes, since, closed }
    }
}
