//! The monitor: measures, detections and alerts.
//!
//! What this is not: it sees no record, no key and no token. What it watches are the signals of the services' ledgers
//! and what the services say of themselves.

pub mod alert;
pub mod desk;
pub mod detect;
pub mod enrich;
pub mod event;
pub mod http;
pub mod measure;
pub mod otlp;
pub mod sigma;

pub use alert::{Alert, Level, Raise};
pub use event::{Event, FieldValue};
