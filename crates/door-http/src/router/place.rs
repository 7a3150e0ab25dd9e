//! Where a router's backend is, and changing it for another while requests come.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::{Instant, timeout_at};

use super::Router;

/// The backend that requests meet; `None` after it was let go and before there is another.
pub(super) struct Place<B>(Arc<RwLock<Option<Arc<B>>>>);

/// What every request has while it is answered, and all that it began.
pub(super) struct Pass<B> {
    backend: Arc<B>,
    _entered: Arc<OwnedRwLockReadGuard<Option<Arc<B>>>>,
}

impl<B> Clone for Pass<B> {
    fn clone(&self) -> Self {
        Self { backend: Arc::clone(&self.backend), _entered: Arc::clone(&self._entered) }
    }
}

impl<B> Pass<B> {
    pub(super) fn backend(&self) -> Arc<B> {
        Arc::clone(&self.backend)
    }
}

impl<B> Place<B> {
    pub(super) fn new(backend: Arc<B>) -> Self {
        Self(Arc::new(RwLock::new(Some(backend))))
    }

    /// `None` if nobody is let in until the deadline.
    pub(super) async fn enter(&self, deadline: Instant) -> Option<Pass<B>> {
        let entered = match Arc::clone(&self.0).try_read_owned() {
            Ok(entered) => entered,
            Err(_) => timeout_at(deadline, Arc::clone(&self.0).read_owned()).await.ok()?,
        };
        Some(Pass { backend: Arc::clone(entered.as_ref()?), _entered: Arc::new(entered) })
    }

    pub(super) async fn pause(&self) -> Paused<B> {
        Paused(Arc::clone(&self.0).write_owned().await)
    }
}

/// A router that answers nothing, as it is about to have another backend. Dropped, it goes on with the one it has.
#[must_use]
pub struct Paused<B>(OwnedRwLockWriteGuard<Option<Arc<B>>>);

impl<B> Paused<B> {
    /// Lets the backend go. Without another, no request is answered any more.
    pub fn let_go(&mut self) {
        *self.0 = None;
    }

    /// Goes on with another router's backend.
    pub async fn go_on_with(mut self, other: &Router<B>) {
        let backend = other.place.0.read().await.clone();
        *self.0 = backend;
    }
}

#[cfg(test)]
mod tests;
