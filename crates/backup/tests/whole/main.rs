//! Repositories as a whole: what goes in comes out, what was changed is named, what is stored is noise.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod beside;
mod damages;
mod going_on;
mod mending;
mod noise;
mod roundtrip;
mod s3;
mod setting;
mod store;
