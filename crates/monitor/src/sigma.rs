//! Sigma rules: read strictly, compiled once, matched against events.
//!
//! A documented subset of the Sigma specification 2: detection rules and correlation rules. What is outside the subset
//! is refused by name, with file and line: a rule that is understood by halves would be taken for one that watches.
//!
//! What this is not: it knows no event but ours. A rule that names a field that no event has is refused too.
//!
//! Spec: <https://sigmahq.io/sigma-specification/>, rules and correlation rules, version 2.1.

mod condition;
mod correlate;
mod correlation;
mod embedded;
mod fault;
mod read;
mod rule;
mod set;
mod test;
mod yaml;

pub use correlate::{Matched, StoredWindows, Windows};
pub use correlation::{Correlation, CorrelationKind};
pub use fault::{RuleFault, Wrong};
pub use rule::{Heading, Rule, Source};
pub use set::{LoadFault, RuleSet};

#[cfg(test)]
mod tests;
