//! Every control request, permitted and refused.

mod access;
mod audit;
mod erase;
mod erased;
mod keys;
mod people;
mod tokens;
mod types;
