//! Which folder, and how far its loading has come.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::deployment::{Deployment, new_file, private_folder};
use crate::environment;
use crate::problem::{Problem, io};

/// Stands in a demo's folder from before anything is in it until both companies are loaded.
const MARK: &str = "demo.loading";

/// The folder asked for, or the first `demo-N` under the user's data folder that is not there.
pub(super) fn choose(asked: Option<&PathBuf>) -> Result<PathBuf, Problem> {
    if let Some(dir) = asked {
        return Ok(dir.clone());
    }
    let home = environment::data_home().ok_or_else(|| {
        Problem::usage("there is no folder for this user's data (neither XDG_DATA_HOME nor HOME is set)")
            .next("name one: countersign --dir DIR demo")
    })?;
    private_folder(&home)?;
    for dir in (1u32..=9999).map(|number| home.join(format!("demo-{number}"))) {
        // Made here and now, so that two demos that start together get a folder each.
        match std::fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io("make", &dir)(error)),
        }
    }
    Err(Problem::failed(format!("{} is full of demos", home.display())).next("remove some"))
}

/// A new folder: it is a demo whose loading is not finished.
pub(super) fn begin(deployment: &Deployment) -> Result<(), Problem> {
    private_folder(deployment.dir())?;
    let mark = deployment.dir().join(MARK);
    if mark.exists() {
        return Ok(());
    }
    new_file(&mark, b"The demo is loading its companies. If it was stopped, the next start goes on.\n", false)
}

/// Whether the demo began to load here and was stopped.
pub(super) fn unfinished(deployment: &Deployment) -> bool {
    deployment.dir().join(MARK).exists()
}

/// Both companies are loaded.
pub(super) fn finish(deployment: &Deployment) -> Result<(), Problem> {
    let mark = deployment.dir().join(MARK);
    std::fs::remove_file(&mark).map_err(io("remove", &mark))
}
