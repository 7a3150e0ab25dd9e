//! What a move is known by: a wish that a command leaves in the deployment's folder, and what its mover says of it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use countersign_postgres::Settings;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::deployment::Deployment;
use crate::problem::{Problem, io};

/// Where a deployment is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Goal {
    /// Into its folder.
    Embedded,
    /// Into a database.
    Postgres {
        /// Its address.
        address: String,
        /// The file of the authority that its certificate is of; empty is the deployment's own.
        server_ca: String,
    },
}

impl Goal {
    /// Whether the configuration says that it is there.
    pub(crate) fn is_where(&self, config: &Config) -> bool {
        match self {
            Self::Embedded => config.postgres.address.get().is_none(),
            Self::Postgres { address, .. } => config.postgres.address.get() == Some(address),
        }
    }
}

impl std::str::FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        let known = Settings::parse(text, String::new());
        known.map_err(|error| format!("{error}; or \"embedded\""))?;
        Ok(Self::Postgres { address: text.to_owned(), server_ca: String::new() })
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Postgres { address, .. } => f.write_str(address),
        }
    }
}

/// A move that somebody asked for and that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// Tells it from others.
    pub(crate) id: String,
    /// Where to.
    pub(crate) goal: Goal,
}

/// What a move is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Looking at the new place.
    Checking,
    /// Copying records.
    Copying,
    /// Comparing them.
    Comparing,
    /// Carrying what changed meanwhile.
    Following,
    /// Carrying the rest while requests wait.
    Switching,
    /// It could not go on, and tries again.
    Waiting,
    /// It is where it should be.
    Done,
    /// It is where it was.
    Failed,
}

impl Phase {
    /// In words.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Checking => "looking at the new place",
            Self::Copying => "copying records",
            Self::Comparing => "comparing records",
            Self::Following => "carrying what has changed",
            Self::Switching => "switching over",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// How far a move is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct At {
    /// Of which move.
    pub(crate) id: String,
    /// What it is doing.
    pub(crate) phase: Phase,
    /// Records that are done in this phase.
    pub(crate) done: u64,
    /// Records that there are.
    pub(crate) total: u64,
    /// What there is to say: why it waits or failed, where the old data are.
    pub(crate) said: Option<Said>,
}

/// More about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    /// In words.
    pub(crate) text: String,
    /// For how long requests waited, in milliseconds.
    pub(crate) paused_ms: u64,
}

impl Wish {
    /// The one that is there.
    ///
    /// # Errors
    /// If the file can't be read.
    pub(crate) fn read(deployment: &Deployment) -> Result<Option<Self>, Problem> {
        read(&deployment.move_wish())
    }

    /// Leaves it for whoever serves the deployment.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn write(&self, deployment: &Deployment) -> Result<(), Problem> {
        write(&deployment.move_wish(), self)
    }

    /// It is over.
    pub(crate) fn end(deployment: &Deployment) {
        drop(fs::remove_file(deployment.move_wish()));
    }
}

impl At {
    /// What was said last.
    ///
    /// # Errors
    /// If the file can't be read.
    pub(crate) fn read(deployment: &Deployment) -> Result<Option<Self>, Problem> {
        read(&deployment.move_progress())
    }

    /// Says it. What can't be said is not worth stopping for.
    pub(crate) fn write(&self, deployment: &Deployment) {
        drop(write(&deployment.move_progress(), self));
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Problem> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|_| {
            Problem::failed(format!("{} is not what this program wrote", path.display()))
                .next("remove it, then run countersign move again")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io("read", path)(error)),
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), Problem> {
    let text = serde_json::to_vec(value).map_err(|error| Problem::failed(error.to_string()))?;
    replace(path, &text).map_err(io("write", path))
}

/// Gives a file other contents: it has the old ones or the new ones, whatever happens.
pub(crate) fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("unfinished");
    drop(fs::remove_file(&beside));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}
