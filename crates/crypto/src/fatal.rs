//! What happens when a primitive that can't fail does.

/// INVARIANT never-weaker: when the library refuses an operation that has no reason to fail (the random
/// generator, a key object of the right length, sealing a value that fits in memory), the thread stops.
/// Going on would mean a predictable nonce, a zero key or a value that nobody can open.
#[expect(clippy::panic, reason = "INVARIANT never-weaker: there is no safe result to return")]
#[cold]
pub(crate) fn never(what: &'static str) -> ! {
    panic!("cryptographic library failed: {what}")
}
