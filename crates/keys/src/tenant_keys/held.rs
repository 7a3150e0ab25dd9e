//! A key in memory, with the time for which it may be used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use countersign_model::UnixMs;

/// Clocks that are kept in step go back by less than this.
const SET_BACK_MS: u64 = 60_000;

/// When the key management service last unwrapped a tenant's key. Shared by everything that was derived from it.
pub(super) struct Lease {
    unwrapped_ms: AtomicU64,
    used: AtomicBool,
}

impl Lease {
    /// How long ago the key was unwrapped; for ever, if the clock was set back since, because then nobody knows.
    pub(super) fn age(&self, now: UnixMs) -> u64 {
        let unwrapped = UnixMs(self.unwrapped_ms.load(Ordering::Acquire));
        if unwrapped.since(now) > SET_BACK_MS { u64::MAX } else { now.since(unwrapped) }
    }

    pub(super) fn renew(&self, at: UnixMs) {
        self.unwrapped_ms.store(at.0, Ordering::Release);
        self.used.store(false, Ordering::Relaxed);
    }

    /// Written only when it changes something: this is on every request's path, from every thread.
    pub(super) fn note_use(&self) {
        if !self.in_use() {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Used since it was last renewed.
    pub(super) fn in_use(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }
}

pub(super) struct Held<T> {
    pub(super) key: Arc<T>,
    pub(super) lease: Arc<Lease>,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self { key: Arc::clone(&self.key), lease: Arc::clone(&self.lease) }
    }
}

impl<T> Held<T> {
    pub(super) fn new(key: T, unwrapped: UnixMs) -> Self {
        let lease = Lease { unwrapped_ms: AtomicU64::new(unwrapped.0), used: AtomicBool::new(true) };
        Self { key: Arc::new(key), lease: Arc::new(lease) }
    }

    /// Another key that lives as long as this one.
    pub(super) fn derived<D>(&self, key: &Arc<D>) -> Held<D> {
        Held { key: Arc::clone(key), lease: Arc::clone(&self.lease) }
    }
}
