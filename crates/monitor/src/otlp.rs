//! Spans and measures for an OpenTelemetry collector, by OTLP over HTTP with Protocol Buffers (OTLP 1.x).
//!
//! Each service of each process makes one span of each thing that its guard decided. The trace's id is the request's
//! own 128 bits, so the spans of all services come together without anything being carried between them, and an id out
//! of a log, an answer or an audit record finds its trace. Everything in a span is a word of a closed list, a number
//! or the request's id: no value, no token, no name of a tenant or a person.
//!
//! What this is not: no request waits for it. What can't be sent in time is dropped, and counted. The messages are
//! written out here ([`proto`](self)) rather than taken from a library, because the ones there are come with a second
//! set of counters and a runtime of their own; a test reads what is sent with the official types.

mod convert;
mod export;
mod proto;
mod tracer;

pub use export::{Collecting, Exporter, Headers, HeadersError};
pub use tracer::Tracer;

#[cfg(test)]
mod tests;
