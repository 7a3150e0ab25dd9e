//! How far a long job has come: a bar on a terminal, a line every few seconds elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::terminal::Terminal;

const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// One job.
pub struct Progress {
    what: String,
    total: Option<u64>,
    bar: Option<ProgressBar>,
    terminal: Terminal,
    said: Instant,
}

impl Progress {
    /// A job called `what` that ends at `total`, if that is known.
    #[must_use]
    pub fn new(terminal: Terminal, what: impl Into<String>, total: Option<u64>) -> Self {
        let what = what.into();
        let bar = terminal.err.then(|| {
            let (bar, template) = match total {
                Some(total) => (ProgressBar::new(total), "{msg:<28} [{bar:28}] {human_pos}/{human_len}  {eta}"),
                None => (ProgressBar::no_length(), "{msg:<28} {human_pos}  {elapsed}"),
            };
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            bar.set_message(what.clone());
            bar
        });
        Self { what, total, bar, terminal, said: Instant::now() }
    }

    /// The job has come to `done`.
    pub fn reached(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.said.elapsed() >= BETWEEN_LINES {
            self.said = Instant::now();
            let total = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
            self.terminal.note(&format!("{}: {done}{total}", self.what));
        }
    }

    /// The job is over; its bar goes away.
    pub fn done(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
