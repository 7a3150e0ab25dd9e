//! What can be wrong with policies, and what can go wrong when they are used.

use std::fmt;

use crate::vocabulary::Unnameable;

/// Policies that were refused, and every reason why. For the person who wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    problems: Vec<Problem>,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    file: String,
    line: usize,
    column: usize,
    message: String,
}

/// A decision that could not be made. The request must be refused. Says nothing about the caller or any value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// There is no record type of that id.
    #[error("unknown record type")]
    UnknownType,
    /// What is known about the caller does not fit what the record types declare.
    #[error("the caller's attributes do not fit their declaration")]
    Caller,
    /// Cedar could not evaluate a policy.
    #[error("a policy could not be evaluated")]
    Evaluation,
}

impl PolicyError {
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self { problems }
    }

    pub(crate) fn types(unnameable: Unnameable) -> Self {
        Self::internal(&unnameable)
    }

    /// Not about any place in a policy file.
    pub(crate) fn internal(message: &impl ToString) -> Self {
        Self::new(vec![Problem::new(String::new(), (0, 0), message.to_string())])
    }

    /// Everything that is wrong, by file and line.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl Problem {
    pub(crate) const fn new(file: String, (line, column): (usize, usize), message: String) -> Self {
        Self { file, line, column, message }
    }

    /// The policy file; empty if the record types are at fault.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, counted from 1; 0 if it is not about a line.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// The column, counted from 1 in characters; 0 if it is not about a line.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }

    /// What is wrong, and what would be right where that is known.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        } else if !self.file.is_empty() {
            write!(f, "{}: ", self.file)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyError {}
