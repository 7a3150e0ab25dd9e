//! A request as it came, for a callee that calls on: it passes on the very bytes instead of writing them anew.

use std::future::Future;

use bytes::Bytes;
use countersign_model::Request;

tokio::task_local! {
    static RECEIVED: (usize, Bytes);
}

fn place(request: &Request) -> usize {
    std::ptr::from_ref(request).addr()
}

/// Runs `work` as part of answering `request`, which came as `raw`.
pub(crate) async fn answering<F: Future>(request: &Request, raw: Bytes, work: F) -> F::Output {
    RECEIVED.scope((place(request), raw), work).await
}

/// The bytes of exactly this request, if this runs inside of answering it. It is borrowed for as long as the work
/// lasts, so nothing else can be in its place.
pub(crate) fn raw(request: &Request) -> Option<Bytes> {
    RECEIVED.try_with(|(at, raw)| (*at == place(request)).then(|| raw.clone())).ok().flatten()
}
