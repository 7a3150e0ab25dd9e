//! Where backups are laid out for a while. Nothing in it outlives the process.

use std::path::PathBuf;

use countersign_backup::BackupId;

use crate::deployment::{Deployment, private_folder};
use crate::problem::Problem;

fn all(deployment: &Deployment) -> PathBuf {
    deployment.dir().join("scratch")
}

/// Removes what a process that was killed has left.
pub(super) fn clear(deployment: &Deployment) {
    drop(std::fs::remove_dir_all(all(deployment)));
}

/// A folder with a deployment's folders in it, that goes when this does.
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(super) fn make(deployment: &Deployment, what: &str, id: BackupId) -> Result<Self, Problem> {
        private_folder(&all(deployment))?;
        let path = all(deployment).join(format!("{what}-{id}"));
        drop(std::fs::remove_dir_all(&path));
        let scratch = Self { path };
        scratch.deployment().make_folders()?;
        Ok(scratch)
    }

    pub(super) fn deployment(&self) -> Deployment {
        Deployment::at(&self.path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.path));
        if let Some(all) = self.path.parent() {
            // With the last of them.
            drop(std::fs::remove_dir(all));
        }
    }
}
