//! The monitor's own port: `/healthz`, `/readyz` and `/metrics`, by HTTPS.
//!
//! Whether the process lives and which services are ready may be asked by anybody who reaches the port: it says names of
//! services and nothing else. The measures want an access token that may `read_metrics`, which the monitor's guard judges
//! and puts on record, unless the operator has opened them.

mod pages;
mod server;

pub use pages::{Pages, PagesParts};
pub use server::{CONNECTIONS_MAX, serve};

#[cfg(test)]
mod tests;
