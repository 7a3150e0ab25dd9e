//! How far a long job has come: a bar on a terminal, a line every few seconds elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::terminal::Terminal;

const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// One job.
pub struct Progress {
    what: String,
    total: u64,
    bar: Option<ProgressBar>,
    terminal: Terminal,
    said: Instant,
}

impl Progress {
    /// A job called `what` that ends at `total`.
    #[must_use]
    pub fn new(terminal: Terminal, what: impl Into<String>, total: u64) -> Self {
        let what = what.into();
        let bar = terminal.err.then(|| {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template("{msg:<28} [{bar:28}] {human_pos}/{human_len}  {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_message(what.clone());
            bar
        });
        Self { what, total, bar, terminal, said: Instant::now() }
    }

    /// The job has come to `done`.
    pub fn reached(&mut self, done: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if self.said.elapsed() >= BETWEEN_LINES && done < self.total => {
                self.said = Instant::now();
                self.terminal.note(&format!("{}: {done} of {}", self.what, self.total));
            }
            None => {}
        }
    }

    /// The job is over; its bar goes away.
    pub fn done(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
