//! What a connection is doing: waiting, receiving a request's head, or answering.
//!
//! hyper's own timer for request heads also runs while a connection rests between requests, so that one bound
//! would be both. Here a head gets its time from its first byte, and rest has a bound of its own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::limits::Limits;

/// Shared between a connection's stream, its requests and its guard.
pub(super) struct Activity {
    start: Instant,
    open: AtomicUsize,
    /// When the last request ended, in milliseconds after `start`.
    rested: AtomicU64,
    /// When the first byte of a head came, plus one; zero if none did.
    head: AtomicU64,
}

/// What has become of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    Idle,
    Slow,
}

/// A request that is being answered.
pub(super) struct Open<'a>(&'a Activity);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.rested.store(self.0.elapsed(), Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Activity {
    pub(super) fn new() -> Self {
        let (open, rested, head) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { start: Instant::now(), open, rested, head }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn request(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        Open(self)
    }

    fn received(&self) {
        if self.open.load(Ordering::Relaxed) == 0 && self.head.load(Ordering::Relaxed) == 0 {
            self.head.store(self.elapsed().saturating_add(1), Ordering::Relaxed);
        }
    }

    /// When the connection's state, if nothing happens, next becomes a reason to end it.
    pub(super) fn due(&self, limits: &Limits, http2: bool) -> Instant {
        let after = if self.open.load(Ordering::Relaxed) > 0 {
            self.elapsed().saturating_add(ms(limits.idle_time))
        } else {
            let idle = self.rested.load(Ordering::Relaxed).saturating_add(ms(limits.idle_time));
            match self.head(http2) {
                Some(head) => idle.min(head.saturating_add(ms(limits.header_time))),
                // Looked at often enough to see a head begin.
                None => idle.min(self.elapsed().saturating_add(ms(limits.header_time))),
            }
        };
        self.start.checked_add(Duration::from_millis(after)).unwrap_or_else(Instant::now)
    }

    pub(super) fn verdict(&self, limits: &Limits, http2: bool) -> Verdict {
        let now = self.elapsed();
        let passed = |since: u64, limit: Duration| now >= since.saturating_add(ms(limit));
        if self.open.load(Ordering::Relaxed) > 0 {
            Verdict::GoOn
        } else if self.head(http2).is_some_and(|head| passed(head, limits.header_time)) {
            Verdict::Slow
        } else if passed(self.rested.load(Ordering::Relaxed), limits.idle_time) {
            Verdict::Idle
        } else {
            Verdict::GoOn
        }
    }

    /// When a head began. Frames of HTTP/2 come without a request too; there the idle bound alone counts.
    fn head(&self, http2: bool) -> Option<u64> {
        if http2 { None } else { self.head.load(Ordering::Relaxed).checked_sub(1) }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A stream that reports what it receives.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub(super) const fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.received();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
