//! The engine, asked as the gateway asks it: one program, because each of them links everything.

mod adversary;
mod between;
mod budget;
mod counted;
mod countersigned;
mod hidden_is_absent;
mod history;
mod on_record;
mod once;
mod rotated;
mod support;
mod writing;
