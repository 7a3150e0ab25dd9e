//! Every control request, permitted and refused.

mod audit;
mod people;
mod tokens;
mod types;
