//! Repositories as a whole: what goes in comes out, what was changed is named, what is stored is noise.

mod damages;
mod going_on;
mod noise;
mod roundtrip;
mod s3;
mod setting;
mod store;
