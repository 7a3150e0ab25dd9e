//! `[log]`

use super::section::section;
use super::setting::choice;

choice! {
    /// How log lines look.
    Format {
        /// For people.
        Text = "text",
        /// For machines, one JSON object a line.
        Json = "json",
    }
}

choice! {
    /// What is worth a line.
    Level {
        /// What needs somebody to act.
        Error = "error",
        /// What somebody should look at.
        Warn = "warn",
        /// The usual events.
        Info = "info",
        /// Every request.
        Debug = "debug",
    }
}

section! {
    /// What the server says about itself, on standard error. Request ids, never a value, a token or a key.
    Log = "log" {
        /// "text" for people, "json" for machines.
        format: Format = Format::Text;
        /// "error", "warn", "info" or "debug".
        level: Level = Level::Info;
    }
}

impl Level {
    /// The same for the logging library.
    #[must_use]
    pub const fn filter(self) -> tracing::level_filters::LevelFilter {
        use tracing::level_filters::LevelFilter;
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}
