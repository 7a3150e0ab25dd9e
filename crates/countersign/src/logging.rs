//! Log lines on standard error. Request ids, never a value, a token or a key.

use tracing::level_filters::LevelFilter;

use crate::config::{Format, Log};
use crate::terminal::Terminal;

/// Logs as the configuration says.
pub fn start(log: &Log, terminal: &Terminal) {
    let begin = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(log.level.filter());
    // A second start in one process changes nothing: the first one's settings stay.
    let _already_started = match log.format {
        Format::Text => begin.with_ansi(terminal.err && terminal.colours()).with_target(false).try_init(),
        Format::Json => begin.json().flatten_event(true).try_init(),
    };
}

/// Logs only what somebody should look at: for commands, which speak for themselves.
pub fn quiet(terminal: &Terminal) {
    let begin = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(LevelFilter::WARN);
    let _already_started = begin.with_ansi(terminal.err && terminal.colours()).with_target(false).try_init();
}
