//! One typed file, `DIR/countersign.toml`: every key has a default, a comment and a checked value.
//!
//! A key that nobody knows is refused, because a misspelt limit that is silently ignored is a limit that is not
//! there. The message names file, line and the nearest known key.

mod alerts;
mod audit;
mod backup;
mod keys;
mod kms;
mod limits;
mod log;
mod mail;
mod monitor;
mod postgres;
mod section;
mod server;
mod services;
mod setting;
mod sso;
mod store;
mod tokens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use countersign_model::Name;
use countersign_model::control::DEFAULT_KMS;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use alerts::{Addresses, AlertSink, Alerts, SinkKind};
pub use audit::Audit;
pub use backup::Backup;
pub use keys::{Keys, OwnKeys, Provider};
pub use kms::Kms;
pub use limits::Limits;
pub use log::{Format, Level, Log};
pub use mail::{Mail, MailTls};
pub use monitor::Monitor;
pub use postgres::Postgres;
use section::{Refused, Section};
pub use server::Server;
pub use services::Services;
pub use setting::{Names, Roles, Text, Whole};
pub use sso::{Places, Sso};
pub use store::Store;
pub use tokens::Tokens;

/// The whole configuration of a deployment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Where and as whom the server listens.
    pub server: Server,
    /// Which services the process is, and how it finds the others.
    pub services: Services,
    /// How much a request may ask for.
    pub limits: Limits,
    /// Access tokens.
    pub tokens: Tokens,
    /// Tenants' identity providers.
    pub sso: Sso,
    /// Where the key encryption key lives.
    pub keys: Keys,
    /// Other key management services, for tenants who bring their own key.
    pub kms: BTreeMap<Name, Kms>,
    /// Where everything that must survive is kept.
    pub postgres: Postgres,
    /// Tenants' records.
    pub store: Store,
    /// Repositories of backups.
    pub backups: BTreeMap<Name, Backup>,
    /// Audit records.
    pub audit: Audit,
    /// What is measured.
    pub monitor: Monitor,
    /// Alerts.
    pub alerts: Alerts,
    /// Who is told of them.
    pub sinks: BTreeMap<Name, AlertSink>,
    /// The mail server.
    pub mail: Mail,
    /// What the server says about itself.
    pub log: Log,
}

/// The file is not a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {problem}", file.display())]
pub struct ConfigError {
    file: PathBuf,
    line: usize,
    column: usize,
    problem: Problem,
}

/// What is wrong at that place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Syntax(String),
    #[error("there is no section [{name}]; {}", nearest_of(.name, .known))]
    UnknownSection { name: String, known: Vec<&'static str> },
    #[error("[{section}] has no key {key}; {}", nearest_of(.key, .known))]
    UnknownKey { section: &'static str, key: String, known: &'static [&'static str] },
    #[error("{key} belongs into a section, such as [{section}]")]
    NoSection { key: String, section: &'static str },
    #[error("[kms.{name}]: expected a section with a name: lower-case letters, digits, '_' and '-', not \"default\"")]
    Kms { name: String },
    #[error("[backup.{name}]: expected a section with a name: lower-case letters, digits, '_' and '-'")]
    Backup { name: String },
    #[error("[alerts.{name}]: expected a section with a name: lower-case letters, digits, '_' and '-'")]
    Sink { name: String },
    #[error("[{section}] {key}: expected {expected}")]
    Value { section: &'static str, key: String, expected: String },
}

/// The nearest known word, or all of them where none is near.
fn nearest_of(word: &str, known: &[&'static str]) -> String {
    match crate::nearest::nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("known are {}", known.join(", ")),
    }
}

impl Config {
    fn sections(&self) -> [&dyn Section; 13] {
        [
            &self.server,
            &self.services,
            &self.limits,
            &self.tokens,
            &self.sso,
            &self.keys,
            &self.postgres,
            &self.store,
            &self.audit,
            &self.monitor,
            &self.alerts,
            &self.mail,
            &self.log,
        ]
    }

    fn sections_mut(&mut self) -> [&mut dyn Section; 13] {
        [
            &mut self.server,
            &mut self.services,
            &mut self.limits,
            &mut self.tokens,
            &mut self.sso,
            &mut self.keys,
            &mut self.postgres,
            &mut self.store,
            &mut self.audit,
            &mut self.monitor,
            &mut self.alerts,
            &mut self.mail,
            &mut self.log,
        ]
    }

    /// Reads a configuration. What the text leaves out has its default.
    ///
    /// # Errors
    /// [`ConfigError`] for text that is not TOML, for an unknown section or key, and for a value that the key
    /// doesn't take. `file` is for the message.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let at = |offset: usize, problem| {
            let before = text.get(..offset).unwrap_or(text);
            let line = before.matches('\n').count().saturating_add(1);
            let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()).saturating_add(1);
            ConfigError { file: file.to_owned(), line, column, problem }
        };
        let document = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            at(offset, Problem::Syntax(error.message().to_owned()))
        })?;
        let mut config = Self::default();
        for (name, value) in document.get_ref() {
            config.read_section(name, value).map_err(|(offset, problem)| at(offset, problem))?;
        }
        Ok(config)
    }

    fn read_section(
        &mut self,
        name: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), (usize, Problem)> {
        let fixed = self.sections().map(|section| section.table());
        let known: Vec<&'static str> =
            fixed.into_iter().chain([Kms::default().table(), Backup::default().table()]).collect();
        let word = name.get_ref().as_ref();
        let Some(table) = value.get_ref().as_table() else {
            let owner = self.sections().into_iter().find(|section| section.keys().contains(&word));
            let section = owner.map_or("server", Section::table);
            return Err((name.span().start, Problem::NoSection { key: word.to_owned(), section }));
        };
        if word == "kms" {
            return self.read_kms(table);
        }
        if word == "alerts" {
            return self.read_alerts(table);
        }
        if word == "backup" {
            return self.read_backups(table);
        }
        let Some(section) = self.sections_mut().into_iter().find(|section| section.table() == word) else {
            return Err((name.span().start, Problem::UnknownSection { name: word.to_owned(), known }));
        };
        fill(section, table)
    }

    /// The sections of other key management services.
    fn read_kms(&mut self, table: &DeTable<'_>) -> Result<(), (usize, Problem)> {
        for (name, value) in table {
            let word = name.get_ref().as_ref();
            let refused = || (name.span().start, Problem::Kms { name: word.to_owned() });
            let known = Name::new(word).ok().filter(|name| name.as_str() != DEFAULT_KMS).ok_or_else(refused)?;
            let table = value.get_ref().as_table().ok_or_else(refused)?;
            fill(self.kms.entry(known).or_default(), table)?;
        }
        Ok(())
    }

    /// The sections of repositories.
    fn read_backups(&mut self, table: &DeTable<'_>) -> Result<(), (usize, Problem)> {
        for (name, value) in table {
            let word = name.get_ref().as_ref();
            let refused = || (name.span().start, Problem::Backup { name: word.to_owned() });
            let known = Name::new(word).map_err(|_| refused())?;
            let table = value.get_ref().as_table().ok_or_else(refused)?;
            fill(self.backups.entry(known).or_default(), table)?;
        }
        Ok(())
    }

    /// The section of alerts, with those of who is told of them below it.
    fn read_alerts(&mut self, table: &DeTable<'_>) -> Result<(), (usize, Problem)> {
        for (name, value) in table {
            let word = name.get_ref().as_ref();
            match value.get_ref().as_table() {
                Some(below) => {
                    let refused = || (name.span().start, Problem::Sink { name: word.to_owned() });
                    fill(self.sinks.entry(Name::new(word).map_err(|_| refused())?).or_default(), below)?;
                }
                None => set(&mut self.alerts, name, value)?,
            }
        }
        Ok(())
    }

    /// The file as `init` writes it: every key with its value here and a comment.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::from(
            "# The configuration of this Countersign deployment. Every key stands here with its default.\n\
             # A key that is not known is refused at start, with the line it stands on.\n",
        );
        for section in self.sections() {
            write_section(&mut text, section.table(), section);
        }
        for (name, section) in &self.kms {
            write_section(&mut text, &format!("kms.{name}"), section);
        }
        for (name, section) in &self.backups {
            write_section(&mut text, &format!("backup.{name}"), section);
        }
        for (name, section) in &self.sinks {
            write_section(&mut text, &format!("alerts.{name}"), section);
        }
        text
    }

    /// The same as a page of documentation.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let (mut page, kms, backup, sink) = (String::new(), Kms::default(), Backup::default(), AlertSink::default());
        for section in self.sections().into_iter().chain([&kms as &dyn Section, &backup, &sink]) {
            page.push_str(&format!("\n## `[{}]`\n\n", section.table()));
            page.push_str(&format!("{}\n\n", prose(section.about())));
            page.push_str("| key | default | meaning |\n|---|---|---|\n");
            for entry in section.entries() {
                page.push_str(&format!("| `{}` | `{}` | {} |\n", entry.key, entry.value, prose(entry.about)));
            }
        }
        page
    }
}

/// Sets every key of a section as a table of the file says.
fn fill(section: &mut dyn Section, table: &DeTable<'_>) -> Result<(), (usize, Problem)> {
    table.iter().try_for_each(|(key, value)| set(section, key, value))
}

fn set(
    section: &mut dyn Section,
    key: &Spanned<impl AsRef<str>>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), (usize, Problem)> {
    let word = key.get_ref().as_ref();
    section.set(word, value.get_ref()).map_err(|refused| match refused {
        Refused::Unknown => {
            let (section, known) = (section.table(), section.keys());
            (key.span().start, Problem::UnknownKey { section, key: word.to_owned(), known })
        }
        Refused::Value { expected } => {
            let section = section.table();
            (value.span().start, Problem::Value { section, key: word.to_owned(), expected })
        }
    })
}

fn write_section(text: &mut String, name: &str, section: &dyn Section) {
    text.push('\n');
    for line in section.about() {
        text.push_str(&format!("#{line}\n"));
    }
    text.push_str(&format!("[{name}]\n"));
    for entry in section.entries() {
        for line in entry.about {
            text.push_str(&format!("#{line}\n"));
        }
        text.push_str(&format!("{} = {}\n", entry.key, entry.value));
    }
}

fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
