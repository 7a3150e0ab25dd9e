//! `countersign move`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use countersign_crypto::SystemEntropy;
use countersign_model::clock::SystemClock;
use countersign_model::{Clock as _, RequestId};

use super::context::Context;
use crate::commands;
use crate::compose;
use crate::deployment::{Deployment, Lock};
use crate::problem::{Exit, Problem, io};
use crate::progress::Progress;
use crate::relocate::{self, At, Goal, Phase, Wish};

/// How often the server is asked how far it is.
const LOOK: Duration = Duration::from_millis(200);
/// How long a server that does not say anything is waited for.
const SILENT: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where to: "postgres://HOST/DATABASE", without user or password, or "embedded", which is the folder.
    #[arg(long, value_name = "PLACE", required_unless_present = "stop")]
    to: Option<Goal>,
    /// The file of the certificate authority that the database's certificate is of; the deployment's own, if not given.
    #[arg(long, value_name = "FILE", requires = "to")]
    server_ca: Option<PathBuf>,
    /// Give up the move that is under way. The deployment stays where it is.
    #[arg(long, conflicts_with = "to")]
    stop: bool,
    /// The deployment's folder.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, arguments: &Arguments) -> Result<(), Problem> {
    let deployment = Deployment::at(context.one_dir(arguments.folder.as_ref())?);
    deployment.require()?;
    let clock = SystemClock;
    let Some(goal) = &arguments.to else {
        let begun = commands::begin(&deployment, &clock, "move --stop".to_owned())?;
        return begun.end(stop(context, &deployment));
    };
    let goal = with_authority(goal.clone(), arguments.server_ca.as_deref())?;
    let config = compose::config(&deployment)?;
    if goal.is_where(&config) {
        context.terminal.note(&format!("the deployment is there already: {goal}"));
        return Ok(());
    }
    if !config.services.run.is_all() {
        return Err(Problem::usage(format!("this folder is that of a deployment's {}", config.services.run)).next(
            "a deployment moves while its services are one process; docs/postgres.md says how to part them afterwards",
        ));
    }
    let begun = commands::begin(&deployment, &clock, format!("move --to {goal}"))?;
    let moved = match deployment.try_lock()? {
        Some(lock) => alone(context, &deployment, &goal, lock).await,
        None => ask(context, &deployment, goal).await,
    };
    begun.end(moved)
}

pub(super) fn with_authority(goal: Goal, file: Option<&Path>) -> Result<Goal, Problem> {
    match (goal, file) {
        (Goal::Postgres { address, .. }, Some(file)) => {
            let path = file.canonicalize().map_err(io("read", file))?;
            let text = path.to_str().ok_or_else(|| Problem::usage("the file's path is not UTF-8"))?;
            Ok(Goal::Postgres { address, server_ca: text.to_owned() })
        }
        (Goal::Embedded, Some(_)) => Err(Problem::usage("a folder has no certificate")),
        (goal, None) => Ok(goal),
    }
}

fn stop(context: &Context, deployment: &Deployment) -> Result<(), Problem> {
    match Wish::read(deployment)? {
        Some(wish) => {
            Wish::end(deployment);
            context.terminal.note(&format!("the move to {} is given up; what was copied is left there", wish.goal));
            Ok(())
        }
        None => Err(Problem::new(Exit::NotFound, "no move is under way")),
    }
}

/// Has the server that has the folder do it, and watches.
async fn ask(context: &Context, deployment: &Deployment, goal: Goal) -> Result<(), Problem> {
    let wish = match Wish::read(deployment)? {
        Some(wish) if wish.goal == goal => wish,
        Some(other) => {
            return Err(Problem::new(Exit::Conflict, format!("a move to {} is under way", other.goal))
                .next("wait for it, or give it up with: countersign move --stop"));
        }
        None => {
            let wish = Wish { id: RequestId::new(SystemClock.now(), &SystemEntropy).to_string(), goal };
            wish.write(deployment)?;
            wish
        }
    };
    let mut bar = Bar::new(context);
    let mut heard = (Instant::now(), None);
    loop {
        tokio::time::sleep(LOOK).await;
        let at = At::read(deployment)?.filter(|at| at.id == wish.id);
        let is_over = Wish::read(deployment)?.is_none_or(|now| now.id != wish.id);
        match &at {
            Some(At { phase: Phase::Done, said, .. }) => {
                bar.end();
                let said = said.clone();
                let paused = said.as_ref().map_or(0, |said| said.paused_ms);
                context.terminal.note(&format!("requests waited for {paused} ms while it was switched over"));
                return finish(context, &wish.goal, &said.map(|said| said.text).unwrap_or_default());
            }
            Some(At { phase: Phase::Failed, said, .. }) => {
                bar.end();
                let text = said.as_ref().map_or("it failed", |said| said.text.as_str());
                return Err(Problem::failed(text).during("the deployment stays where it is"));
            }
            Some(at) => bar.show(at),
            None => {}
        }
        if is_over {
            bar.end();
            return Err(Problem::new(Exit::Conflict, "the move was given up"));
        }
        if at != heard.1 {
            heard = (Instant::now(), at);
        } else if heard.0.elapsed() > SILENT {
            bar.end();
            return Err(Problem::new(
                Exit::Unavailable,
                "the process that has the folder open says nothing of the move",
            )
            .next("it is under way as soon as that is a server: countersign serve; then run this again"));
        }
    }
}

/// Does it here, as nobody serves the deployment.
async fn alone(context: &Context, deployment: &Deployment, goal: &Goal, lock: Lock) -> Result<(), Problem> {
    let bar = parking_lot::Mutex::new(Bar::new(context));
    let watch = |phase, done, total| {
        bar.lock().show(&At { id: String::new(), phase, done, total, said: None });
        true
    };
    let left = relocate::stopped(deployment, goal, false, &watch).await?;
    bar.into_inner().end();
    drop(lock);
    finish(context, goal, &left)
}

fn finish(context: &Context, goal: &Goal, left: &str) -> Result<(), Problem> {
    let terminal = &context.terminal;
    terminal.line(&format!("moved to {goal}; every record was compared in both places"))?;
    terminal.note(&format!(
        "{left}.\nThat is a second copy, sealed as it was, with the keys that tenants had. What is deleted from now on stays \
         in it, so whoever has to erase data has to delete it: {}",
        match goal {
            Goal::Embedded => "as the database's administrator, DROP SCHEMA countersign CASCADE.",
            Goal::Postgres { .. } => "remove that folder once you are sure of the new place, and its backups.",
        }
    ));
    Ok(())
}

/// A bar for each phase.
struct Bar<'a> {
    context: &'a Context,
    phase: Option<Phase>,
    bar: Option<Progress>,
}

impl<'a> Bar<'a> {
    const fn new(context: &'a Context) -> Self {
        Self { context, phase: None, bar: None }
    }

    fn show(&mut self, at: &At) {
        if self.phase != Some(at.phase) {
            self.end();
            self.phase = Some(at.phase);
            let total = (at.total > 0).then_some(at.total);
            self.bar = Some(Progress::new(self.context.terminal, at.phase.as_str(), total));
            if at.phase == Phase::Waiting {
                let why = at.said.as_ref().map_or("", |said| said.text.as_str());
                self.context.terminal.note(&format!("it is tried again: {why}"));
            }
        }
        if let Some(bar) = &mut self.bar {
            bar.reached(at.done);
        }
    }

    fn end(&mut self) {
        self.phase = None;
        if let Some(bar) = self.bar.take() {
            bar.done();
        }
    }
}
