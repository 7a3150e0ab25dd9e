//! How a command fails: what went wrong, what to do next, and the exit code that says which kind it was.

use std::fmt;

/// Exit codes, as documented by `countersign help` and in docs/cli.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Something went wrong on this side or inside the server.
    Failed = 1,
    /// The command line, or the configuration file, is not right.
    Usage = 2,
    /// Not logged in, or not permitted (HTTP 401, 403).
    Refused = 3,
    /// What was named is not there (HTTP 404).
    NotFound = 4,
    /// Input that is not valid, or that conflicts with what is there (HTTP 400, 409, 413, 422).
    Conflict = 5,
    /// The server can't be reached or can't answer now (HTTP 429, 503, 504).
    Unavailable = 6,
}

impl Exit {
    /// The kind of failure that an HTTP status means.
    #[must_use]
    pub const fn of_status(status: http::StatusCode) -> Self {
        match status.as_u16() {
            401 | 403 => Self::Refused,
            404 | 406 | 410 => Self::NotFound,
            400 | 402 | 405..=499 if status.as_u16() != 408 && status.as_u16() != 429 => Self::Conflict,
            408 | 429 | 502..=504 => Self::Unavailable,
            _ => Self::Failed,
        }
    }
}

/// Why a command failed, in words for the person who ran it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The kind.
    pub exit: Exit,
    message: String,
    next: Option<String>,
}

impl Problem {
    /// A failure of that kind.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), next: None }
    }

    /// Something went wrong that no other code describes.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command line is not right.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Input is not valid.
    #[must_use]
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Exit::Conflict, message)
    }

    /// What went wrong, without what to do next.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same as a failure of another kind.
    #[must_use]
    pub const fn kind(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn next(mut self, step: impl Into<String>) -> Self {
        self.next = Some(step.into());
        self
    }

    /// Says what to do next, unless that has been said.
    #[must_use]
    pub fn or_next(self, step: impl Into<String>) -> Self {
        if self.next.is_some() { self } else { self.next(step) }
    }

    /// Says what to do after what there is to do next.
    #[must_use]
    pub fn also(mut self, step: &str) -> Self {
        self.next = Some(match self.next {
            Some(first) => format!("{first}; then {step}"),
            None => step.to_owned(),
        });
        self
    }

    /// The same with words before the message that say during what it happened.
    #[must_use]
    pub fn during(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.next {
            Some(step) => write!(f, "\n  next: {step}"),
            None => Ok(()),
        }
    }
}

/// A file or folder could not be read or written.
pub fn io(what: &str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Problem {
    let message = format!("can't {what} {}", path.display());
    move |error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
        Problem::new(exit, format!("{message}: {error}"))
    }
}
