//! Restoring a whole deployment into an empty folder. It is made in a folder beside it, which gets its name at the end: a
//! restore that fails, or is cut off, leaves nothing that could be taken for a deployment.

mod kms;
mod place;
mod renewed;

use std::fs;
use std::path::{Path, PathBuf};

use countersign_model::clock::SystemClock;
use serde_json::{Value, json};

pub(crate) use self::kms::Kms;
pub(crate) use self::place::Place;
use crate::compose;
use crate::deployment::{Deployment, private_folder};
use crate::problem::{Exit, Problem, io};
use crate::relocate::{self, Goal, Phase};

/// What is wanted.
pub(crate) struct Wanted {
    pub(crate) place: Place,
    /// The backup's id; `None` is the newest of a whole deployment.
    pub(crate) backup: Option<String>,
    /// The digest of its manifest, in hexadecimal, if that is known.
    pub(crate) manifest: Option<String>,
    pub(crate) kms: Kms,
    /// The database that it goes into, which has to be empty; `None` is the folder.
    pub(crate) database: Option<Goal>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) backup: String,
    pub(crate) at: String,
    pub(crate) tenants: u64,
    pub(crate) records: u64,
    /// What the operator has to know, a line each.
    pub(crate) notes: Vec<String>,
}

impl Restored {
    pub(crate) fn to_json(&self) -> Value {
        let Self { backup, at, tenants, records, notes } = self;
        json!({ "backup": backup, "at": at, "tenants": tenants, "records": records, "notes": notes })
    }
}

/// Hears how far it is: phase, what is done of it, and what there is.
pub(crate) type Watch<'a> = &'a mut (dyn FnMut(&str, u64, u64) + Send);

/// Restores a deployment into `dir`.
///
/// # Errors
/// If the folder is not empty; if the key management service is not the one that wrapped the keys; if anything of the backup
/// is missing, damaged or another's, by name. Nothing is left then.
pub(crate) async fn restore(dir: &Path, wanted: Wanted, watch: Watch<'_>) -> Result<Restored, Problem> {
    let dir = std::path::absolute(dir).map_err(io("find", dir))?;
    let folder = Unfinished::make(&dir)?;
    let deployment = Deployment::at(&folder.path);
    deployment.make_folders()?;
    let database = wanted.database.clone();
    let restored = place::fill(&deployment, wanted, watch).await?;
    let begun = compose_record(&deployment, &restored)?;
    watch("opening what was restored", 0, 0);
    check(&deployment).await?;
    if let Some(database) = &database {
        carry(&deployment, database, watch).await?;
        check(&deployment).await?;
    }
    begun.end(Ok(()))?;
    folder.put_in_place(&dir)?;
    Ok(restored)
}

fn compose_record<'a>(deployment: &'a Deployment, restored: &Restored) -> Result<crate::commands::Begun<'a>, Problem> {
    let what = format!("backup restore of {} of {}", restored.backup, restored.at);
    crate::commands::begin(deployment, &SystemClock, what)
}

/// Carries what was restored into a database, as a move does: records are compared in both places, and the folder says that it
/// is there only once all of it is.
async fn carry(deployment: &Deployment, database: &Goal, watch: Watch<'_>) -> Result<(), Problem> {
    let lock = deployment.try_lock()?;
    let told = parking_lot::Mutex::new(watch);
    let hear = |phase: Phase, done, total| {
        (*told.lock())(phase.as_str(), done, total);
        true
    };
    relocate::stopped(deployment, database, true, &hear)
        .await
        .map_err(|problem| problem.during("into the database"))?;
    drop(lock);
    // Nobody has ever used what was in the folder.
    for entry in fs::read_dir(deployment.dir()).map_err(io("read", deployment.dir()))? {
        let path = entry.map_err(io("read", deployment.dir()))?.path();
        let is_left =
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(relocate::MOVED));
        if is_left {
            fs::remove_dir_all(&path).map_err(io("remove", &path))?;
        }
    }
    Ok(())
}

/// Opens it as a server would: facts, ledgers and records are all looked at.
async fn check(deployment: &Deployment) -> Result<(), Problem> {
    let config = compose::config(deployment)?;
    let lock = deployment.try_lock()?;
    let opened = compose::open(deployment, config).await.map_err(|problem| problem.during("what was restored"))?;
    std::sync::Arc::new(opened).end().await;
    drop(lock);
    Ok(())
}

/// The folder beside the one that is wanted.
struct Unfinished {
    path: PathBuf,
    is_done: bool,
}

/// What tells such a folder from one that somebody else has made.
const MARK: &str = "restoring";

impl Unfinished {
    fn make(dir: &Path) -> Result<Self, Problem> {
        refuse_what_is_there(dir)?;
        let name = dir.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Problem::usage("the folder's name is not UTF-8"))?;
        let path = dir.with_file_name(format!(".{name}.restoring"));
        if path.join(MARK).exists() {
            // A restore was cut off. Nothing of it was ever used.
            fs::remove_dir_all(&path).map_err(io("remove", &path))?;
        } else if path.exists() {
            let message = format!("{} is in the way, and was not made by a restore", path.display());
            return Err(Problem::new(Exit::Conflict, message));
        }
        private_folder(&path)?;
        fs::write(path.join(MARK), b"").map_err(io("write", &path))?;
        Ok(Self { path, is_done: false })
    }

    fn put_in_place(mut self, dir: &Path) -> Result<(), Problem> {
        refuse_what_is_there(dir)?;
        let mark = self.path.join(MARK);
        sync_all(&self.path)?;
        fs::rename(&self.path, dir).map_err(io("rename", &self.path))?;
        self.is_done = true;
        fs::remove_file(dir.join(MARK)).map_err(io("remove", &mark))?;
        let parent = dir.parent().unwrap_or(Path::new("/"));
        fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(io("write", parent))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_done {
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

fn refuse_what_is_there(dir: &Path) -> Result<(), Problem> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io("read", dir)(error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Problem::new(Exit::Conflict, format!("{} is not empty", dir.display()))
                .next("name a folder that is not there: nothing is ever restored over a deployment")),
        },
    }
}

/// Makes durable what is in a folder and below.
fn sync_all(folder: &Path) -> Result<(), Problem> {
    for entry in fs::read_dir(folder).map_err(io("read", folder))? {
        let path = entry.map_err(io("read", folder))?.path();
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            fs::File::open(&path).and_then(|file| file.sync_all()).map_err(io("write", &path))?;
        }
    }
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("write", folder))
}
