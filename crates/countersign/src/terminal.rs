//! Standard output and standard error as one value, so that no command prints past the rules: results go to
//! standard output, everything said about them to standard error; a reader that went away is no error; colour
//! only on a terminal and never with NO_COLOR.

use std::io::{self, IsTerminal, Write};

use zeroize::Zeroizing;

use crate::environment;
use crate::problem::Problem;

/// Where a command writes.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// Whether standard output is a terminal.
    pub out: bool,
    /// Whether standard error is a terminal.
    pub err: bool,
    colour: bool,
}

impl Terminal {
    /// As the program was started.
    #[must_use]
    pub fn detect() -> Self {
        let out = io::stdout().is_terminal();
        let plain = environment::set("NO_COLOR") || environment::text("TERM").as_deref() == Some("dumb");
        Self { out, err: io::stderr().is_terminal(), colour: !plain }
    }

    /// Whether colour may be used, on what is a terminal.
    #[must_use]
    pub const fn colours(&self) -> bool {
        self.colour
    }

    /// Writes bytes to standard output.
    ///
    /// # Errors
    /// If they can't be written for another reason than that nobody reads them.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Problem> {
        let mut out = io::stdout().lock();
        quietly(out.write_all(bytes).and_then(|()| out.flush()))
    }

    /// Writes a line to standard output.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn line(&self, text: &str) -> Result<(), Problem> {
        self.write(format!("{text}\n").as_bytes())
    }

    /// Writes a line to standard error. What can't be said there can't be said anywhere.
    pub fn note(&self, text: &str) {
        let mut err = io::stderr().lock();
        drop(writeln!(err, "{text}"));
    }

    /// How many characters fit in a line; `None` where lines are not shown to anybody.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        self.out.then(|| usize::from(console::Term::stdout().size().1))
    }

    /// The text in bold, on a terminal.
    #[must_use]
    pub fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    /// The text dimmed, on a terminal.
    #[must_use]
    pub fn dim(&self, text: &str) -> String {
        self.styled("2", text)
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.colour && self.out { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Asks the person at the terminal for a secret, which is not shown.
///
/// # Errors
/// If there is no terminal, or nothing is typed.
pub fn ask_secret(question: &str) -> Result<Zeroizing<String>, Problem> {
    let terminal = console::Term::stderr();
    let unasked = || Problem::usage("a secret is needed, and there is no terminal to ask for it at");
    if !terminal.is_term() {
        return Err(unasked());
    }
    terminal.write_str(question).map_err(|_| unasked())?;
    let answer = terminal.read_secure_line().map(Zeroizing::new).map_err(|_| unasked())?;
    if answer.is_empty() { Err(Problem::usage("nothing was typed")) } else { Ok(answer) }
}

/// `countersign get … | head` ends the pipe early on purpose.
fn quietly(result: io::Result<()>) -> Result<(), Problem> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Problem::failed(format!("can't write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The text with every control character made visible, so that a stored value can't steer the terminal.
#[must_use]
pub fn harmless(text: &str) -> String {
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(steers) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '\n' => out.push('⏎'),
            '\t' => out.push(' '),
            c if steers(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_can_not_steer_the_terminal() {
        assert_eq!(harmless("Luís Gonçalves"), "Luís Gonçalves");
        assert_eq!(harmless("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb⏎c");
        assert_eq!(harmless("\u{202e}evil"), "\\u{202e}evil");
    }
}
