//! What a service counts and measures, and how it is shown.
//!
//! A service's [`Measures`] are atomic counters at fixed places: one for each combination of closed lists of words, so
//! that neither memory nor series grow with tenants, people or requests. They travel as bytes inside the service's
//! [`ServiceStatus`](countersign_services::ServiceStatus); whoever shows them makes [`Point`]s of all services' and
//! writes those as text (`text`) or gives them to a collector ([`crate::otlp`]).
//!
//! What this is not: a general metrics library. Those keep a map from labels to numbers, write one of the two text
//! formats and none of what has to travel; the counters, the journey and the two texts together are less than that.

mod collect;
mod counters;
mod family;
mod local;
mod points;
mod samples;
mod sink;
pub(crate) mod text;
mod words;

pub use collect::{Collector, Known, is_ready};
pub use counters::{Measures, Watching};
pub use family::{FAMILIES, Family, Kind};
pub use local::{LedgerState, LocalParts, LocalReport};
pub use points::{Data, Point, points};
pub use samples::{Hist, Samples};
pub use sink::MeasuredSink;
pub use text::{Format, render};

#[cfg(test)]
pub(crate) mod tests;
