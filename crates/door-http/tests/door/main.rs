//! The door as clients find it: one program, because each of them links everything.

mod endpoints;
mod incidents;
mod matrix;
mod once;
mod support;
mod whole;
