//! Log lines on standard error. Request ids, never a value, a token or a key.
//!
//! Libraries are heard from at `warn` and above only, whatever the level: what they say below that is about bytes on
//! connections, and those are other people's records.

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Format, Log};
use crate::terminal::Terminal;

/// What the names of this project's crates begin with.
const OWN: &str = "countersign";

/// Logs as the configuration says.
pub fn start(log: &Log, terminal: &Terminal) {
    begin(log.level.filter(), log.format, terminal);
}

/// Logs only what somebody should look at: for commands, which speak for themselves.
pub fn quiet(terminal: &Terminal) {
    begin(LevelFilter::WARN, Format::Text, terminal);
}

fn begin(level: LevelFilter, format: Format, terminal: &Terminal) {
    let libraries = level.min(LevelFilter::from_level(Level::WARN));
    let filter = Targets::new().with_default(libraries).with_target(OWN, level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    // A second start in one process changes nothing: the first one's settings stay.
    let _already_started = match format {
        Format::Text => registry.with(lines.with_ansi(terminal.err && terminal.colours())).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
}
