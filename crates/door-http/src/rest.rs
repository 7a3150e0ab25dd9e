//! PostgREST's dialect: pure functions between wire text and [`Request`](countersign_model::Request)s.
//!
//! Nothing here does I/O or decides anything. Each parser takes text and [`Limits`](crate::Limits) and gives
//! parts of a request or a [`Problem`](crate::Problem) that says where it stopped and what it expected there.

pub mod accept;
pub mod answer;
pub mod body;
pub mod cursor;
pub mod filter;
pub mod lower;
pub mod once;
pub mod order;
pub mod prefer;
pub mod query;
pub mod range;
pub mod render;
mod scan;
pub mod select;
