//! What is wrong with a rule file. The operator's to mend.

/// Something in a rule file that is wrong, or outside of what is supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct RuleFault {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What it is.
    pub what: Wrong,
}

/// What can be wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The file is not YAML, or uses parts of YAML that rules have no use for.
    #[error("{0}")]
    Yaml(String),
    /// Sigma has it, and this program does not; or nobody has it.
    #[error("{what} '{name}' is not supported")]
    Unsupported {
        /// What sort of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Something every rule needs.
    #[error("'{0}' is missing")]
    Missing(&'static str),
    /// The same name in one place twice.
    #[error("'{0}' is there twice")]
    Twice(String),
    /// Not of the form that it must have.
    #[error("'{name}' is not {expected}")]
    Not {
        /// Which part of the rule.
        name: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A condition that can't be read.
    #[error("condition: {0}")]
    Condition(String),
    /// A field that no event of that log source has.
    #[error("no event has a field '{0}'")]
    NoField(String),
    /// A correlation names a rule that is not there.
    #[error("no rule has the name or id '{0}'")]
    NoRule(String),
}
