//! The last part of a move, when nobody is answered: facts and keys, budgets, ledgers, and the moment itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_audit::ledger::carry;
use countersign_authority::{Carried, Registry, RegistryError};
use countersign_model::clock::SystemClock;
use countersign_model::{Clock as _, Service};

use super::files::Goal;
use super::rewrite::put_in_charge;
use crate::compose::side::Side;
use crate::config::Config;
use crate::deployment::{Deployment, private_folder};
use crate::problem::{Exit, Problem, io};

/// How the names of folders begin that have what a deployment had before it moved.
pub(crate) const MOVED: &str = "moved-";

/// How long to wait for what a server of this process is letting go.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);

/// The old place, in which nothing changes any more for as long as this is kept.
pub(crate) struct Closed {
    registry: Arc<Registry>,
    carried: Carried,
}

/// The facts and keys of the old place. Waits for who has them open in this process.
pub(crate) async fn registry(from: &Side) -> Result<Arc<Registry>, Problem> {
    let began = Instant::now();
    loop {
        match from.registry() {
            Err(_) if began.elapsed() < PATIENCE => tokio::time::sleep(LOOK).await,
            opened => return opened,
        }
    }
}

/// Carries facts and keys as they are now: whether the new place takes them is known then, before anything else is done.
pub(crate) async fn first(registry: &Arc<Registry>, to: &Side) -> Result<(), Problem> {
    registry.carry_to(to.place()?).await.map(drop).map_err(|error| facts(&error))
}

/// Carries everything but records, and compares it. Nobody uses the old place.
///
/// # Errors
/// If either place does not work, or the new one has another deployment's data.
pub(crate) async fn last(
    deployment: &Deployment,
    from: &Arc<Side>,
    to: &Arc<Side>,
    registry: Arc<Registry>,
) -> Result<Closed, Problem> {
    if !to.is_database() {
        // What an earlier try has left: it was never in charge.
        forget(&deployment.control_db())?;
    }
    let carried = registry.carry_to(to.place()?).await.map_err(|error| facts(&error))?;
    let (from, to) = (Arc::clone(from), Arc::clone(to));
    let rest = tokio::task::spawn_blocking(move || {
        budgets(&from, &to)?;
        ledgers(&from, &to)
    });
    rest.await.map_err(|_| Problem::failed("the move was interrupted"))??;
    Ok(Closed { registry, carried })
}

fn facts(error: &RegistryError) -> Problem {
    let exit = if matches!(error, RegistryError::InUse) { Exit::Unavailable } else { Exit::Failed };
    Problem::new(exit, format!("facts and keys could not be carried: {error}"))
}

fn budgets(from: &Side, to: &Side) -> Result<(), Problem> {
    let failed = |error: &dyn std::fmt::Display| Problem::failed(format!("budgets could not be carried: {error}"));
    let there = to.budgets()?;
    from.budgets()?.carry_to(&there, from.clock().now()).map_err(|error| failed(&error))?;
    there.close().map_err(|error| failed(&error))
}

fn ledgers(from: &Side, to: &Side) -> Result<(), Problem> {
    if from.has_ledgers() == to.has_ledgers() {
        return Ok(());
    }
    for service in Service::ALL {
        let failed = |error: &dyn std::fmt::Display| {
            Problem::failed(format!("the audit log of {service} could not be carried: {error}"))
        };
        let began = Instant::now();
        let source = loop {
            match from.ledger(service) {
                // A server of this process is closing it.
                Err(_) if began.elapsed() < PATIENCE => std::thread::sleep(LOOK),
                opened => break opened?,
            }
        };
        if source.list().map_err(|error| failed(&error))?.is_empty() {
            continue;
        }
        let target = to.ledger(service)?;
        carry::copy(&*source, &*target, &mut |_, _| {}).map_err(|error| failed(&error))?;
        if let Some(name) = carry::differing(&*source, &*target).map_err(|error| failed(&error))? {
            return Err(failed(&format!("{name} is not the same in both places")));
        }
    }
    Ok(())
}

impl Closed {
    /// The moment: from here on the deployment is in the new place.
    ///
    /// # Errors
    /// If the configuration file can't be replaced; then it is where it was.
    pub(crate) fn put_in_charge(&self, deployment: &Deployment, goal: &Goal) -> Result<(), Problem> {
        put_in_charge(deployment, goal)
    }

    /// Has nobody begin again in the old place. Says what there is still.
    ///
    /// # Errors
    /// If it can't be put away; the deployment is in the new place all the same.
    pub(crate) async fn leave(self, deployment: &Deployment, from: &Side) -> Result<String, Problem> {
        if from.is_database() {
            self.registry.clear(&self.carried).await.map_err(|error| facts(&error))?;
            let database = from.config().postgres.address.get().unwrap_or_default();
            return Ok(format!("the database {database} still has sealed records and audit records"));
        }
        let now = from.clock().now().0;
        drop(self);
        put_away(deployment, !from.config().postgres.ledger, now)
    }
}

/// Puts away what a move that was cut off after its moment has left. Says what there is still.
///
/// # Errors
/// If it can't be put away.
pub(super) fn tidy(deployment: &Deployment, config: &Config) -> Result<String, Problem> {
    match config.postgres.address.get() {
        Some(_) if deployment.control_db().exists() => {
            put_away(deployment, !config.postgres.ledger, SystemClock.now().0)
        }
        Some(_) => Ok("what was in the folder before is put away".to_owned()),
        // Whose address nobody knows any more.
        None => {
            Ok("the database still has what was there, perhaps facts and keys too: stop every process that has its \
             address in its configuration"
                .to_owned())
        }
    }
}

/// Where the old data are put in the folder of a deployment that has moved to a database.
fn put_away(deployment: &Deployment, keeps_ledgers: bool, now: u64) -> Result<String, Problem> {
    let folder = deployment.dir().join(format!("{MOVED}{now}"));
    private_folder(&folder)?;
    let control = deployment.control_db();
    let mut these: Vec<PathBuf> = vec![deployment.data().join("tenants"), deployment.data().join("store.lock")];
    these.extend([deployment.budgets(), control.clone()]);
    these.extend(beside(&control));
    if !keeps_ledgers {
        these.push(deployment.audit());
    }
    for path in these {
        let Some(name) = path.file_name() else { continue };
        match fs::rename(&path, folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("move", &path)(error)),
            _ => {}
        }
    }
    private_folder(&deployment.audit())?;
    Ok(format!("{} has what was in the folder before", folder.display()))
}

/// What a control database may have beside it.
fn beside(control: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|suffix| {
        let mut name = control.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}

fn forget(control: &Path) -> Result<(), Problem> {
    for path in [control.to_owned()].into_iter().chain(beside(control)) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", &path)(error)),
            _ => {}
        }
    }
    Ok(())
}
