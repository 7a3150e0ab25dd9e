//! Moving a deployment that is being served, by the process that serves it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_authority::Remembered;
use countersign_door_http::{App, Router};
use tokio::task::JoinHandle;

use super::files::{At, Phase, Said, Wish};
use super::last;
use super::pass::{Passes, since};
use super::rewrite::configure;
use crate::compose::side::{Moving, Side};
use crate::compose::{self, Opening};
use crate::config::Config;
use crate::deployment::Deployment;
use crate::problem::{Exit, Problem};
use crate::server::Current;

/// How often it is looked for a wish.
const LOOK: Duration = Duration::from_millis(500);
/// How long until it is tried again where something did not answer.
const AGAIN: Duration = Duration::from_secs(3);
/// How long to wait for requests under way. Those that come meanwhile wait as well.
const OVER: Duration = Duration::from_secs(5);
/// How often it is said how far it is.
const SAY: Duration = Duration::from_millis(200);

/// Follows wishes until it is stopped.
pub(crate) struct Following {
    task: JoinHandle<()>,
    /// Held while requests wait.
    switching: Arc<tokio::sync::Mutex<()>>,
}

impl Following {
    /// Stops, not in the middle of switching over.
    pub(crate) async fn stop(self) {
        let _over = self.switching.lock().await;
        self.task.abort();
    }
}

/// Begins to follow, where this process can move its deployment.
pub(crate) fn follow(deployment: &Deployment, current: &Arc<Current>) -> Result<Option<Following>, Problem> {
    let opened = current.get().ok_or_else(|| Problem::failed("nothing is open"))?;
    if opened.moving().is_none() {
        return Ok(None);
    }
    let switching = Arc::<tokio::sync::Mutex<()>>::default();
    let mover = Mover {
        deployment: deployment.clone(),
        current: Arc::clone(current),
        router: opened.router()?.clone(),
        switching: Arc::clone(&switching),
    };
    Ok(Some(Following { task: tokio::spawn(mover.run()), switching }))
}

struct Mover {
    deployment: Deployment,
    current: Arc<Current>,
    router: Router<App>,
    switching: Arc<tokio::sync::Mutex<()>>,
}

/// How it came out.
struct Moved {
    left: String,
    paused: Duration,
}

impl Mover {
    async fn run(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let wish = match Wish::read(&self.deployment) {
                Ok(Some(wish)) => wish,
                Ok(None) => continue,
                Err(problem) => {
                    tracing::error!(%problem, "a move can't be begun");
                    continue;
                }
            };
            tracing::info!(to = %wish.goal, "the deployment moves");
            let moved = self.follow(&wish).await;
            let ended = moved.as_ref().err().is_none_or(|problem| problem.exit != Exit::Unavailable);
            match &moved {
                Ok(moved) => {
                    let paused_ms = u64::try_from(moved.paused.as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(to = %wish.goal, paused_ms, "the deployment has moved");
                    self.say(&wish, Phase::Done, Some(Said { text: moved.left.clone(), paused_ms }));
                }
                Err(problem) => {
                    tracing::error!(to = %wish.goal, %problem, "the deployment has not moved");
                    let phase = if ended { Phase::Failed } else { Phase::Waiting };
                    self.say(&wish, phase, Some(Said { text: problem.to_string(), paused_ms: 0 }));
                }
            }
            if ended {
                Wish::end(&self.deployment);
            } else {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    fn say(&self, wish: &Wish, phase: Phase, said: Option<Said>) {
        At { id: wish.id.clone(), phase, done: 0, total: 0, said }.write(&self.deployment);
    }

    async fn follow(&self, wish: &Wish) -> Result<Moved, Problem> {
        let opened = self.current.get().ok_or_else(|| Problem::failed("nothing is open"))?;
        let config = opened.config.clone();
        if wish.goal.is_where(&config) {
            // It was cut off after the moment.
            let left = last::tidy(&self.deployment, &config)?;
            return Ok(Moved { left, paused: Duration::ZERO });
        }
        let (Some(moving), Some(registry)) = (opened.moving(), opened.facts()) else {
            return Err(Problem::usage("only a deployment whose services are one process can move"));
        };
        if opened.custody().is_some_and(|custody| !custody.is_idle()) {
            return Err(Problem::new(Exit::Unavailable, "a backup or a restore is under way; it is tried again"));
        }
        drop(opened);
        self.say(wish, Phase::Checking, None);
        let to = Arc::new(Side::open(&self.deployment, configure(&config, &wish.goal)).await?);
        let said = parking_lot::Mutex::new((Instant::now(), Phase::Checking));
        let watch = |phase: Phase, done: u64, total: u64| {
            let mut said = said.lock();
            if said.0.elapsed() >= SAY || said.1 != phase {
                *said = (Instant::now(), phase);
                At { id: wish.id.clone(), phase, done, total, said: None }.write(&self.deployment);
                return self.is_wished(wish);
            }
            true
        };
        if to.is_database() {
            // Whether it may be carried there is found out before anything is.
            last::first(&registry, &to).await?;
        }
        let facts = registry.facts();
        drop(registry);
        let types = move || Arc::clone(&facts.load().facts.types);
        let stopping = Noting(moving.clone());
        let passes = Passes {
            from: moving.stored.clone(),
            to: to.stored()?,
            moving: Some(moving),
            types: &types,
            since: since(to.clock().now()),
            watch: &watch,
        };
        passes.check().await?;
        let left = passes.run().await?;
        let rest = async move {
            let done = passes.rest(left).await;
            // With all that holds the old place open.
            drop((passes, stopping));
            done
        };
        self.switch(wish, config, to, rest).await
    }

    fn is_wished(&self, wish: &Wish) -> bool {
        matches!(Wish::read(&self.deployment), Ok(Some(now)) if now.id == wish.id)
    }

    /// While requests wait: closes what there is, carries the rest, puts the old away, opens the new.
    async fn switch(
        &self,
        wish: &Wish,
        config: Config,
        to: Arc<Side>,
        rest: impl Future<Output = Result<(), Problem>>,
    ) -> Result<Moved, Problem> {
        let _switching = self.switching.lock().await;
        let began = Instant::now();
        let busy = |_| Problem::new(Exit::Unavailable, "requests under way take long; it is tried again");
        let mut paused = tokio::time::timeout(OVER, self.router.pause()).await.map_err(busy)?;
        self.say(wish, Phase::Switching, None);
        let Some(opened) = self.current.get() else { return Err(Problem::failed("nothing is open")) };
        let remembered = opened.remembered();
        self.current.set(None);
        paused.let_go();
        opened.end().await;
        let carried = self.carry(wish, &config, &to, rest).await;
        let config_now = match &carried {
            Ok(_) => to.config().clone(),
            Err(_) => config,
        };
        drop(to);
        let opened = match open(&self.deployment, config_now, remembered).await {
            Ok(opened) => Arc::new(opened),
            Err(problem) => {
                tracing::error!(%problem, "the deployment could not be opened again; this process ends");
                std::process::exit(i32::from(problem.exit as u8));
            }
        };
        paused.go_on_with(opened.router()?).await;
        self.current.set(Some(opened));
        let paused = began.elapsed();
        Ok(Moved { left: carried?, paused })
    }

    async fn carry(
        &self,
        wish: &Wish,
        config: &Config,
        to: &Arc<Side>,
        rest: impl Future<Output = Result<(), Problem>>,
    ) -> Result<String, Problem> {
        rest.await?;
        let from = Arc::new(Side::open(&self.deployment, config.clone()).await?);
        let registry = last::registry(&from).await?;
        let closed = last::last(&self.deployment, &from, to, registry).await?;
        closed.put_in_charge(&self.deployment, &wish.goal)?;
        // At once: should this process end now, a standby would begin with what a database still has.
        let left = closed.leave(&self.deployment, &from).await;
        Ok(left.unwrap_or_else(|problem| format!("the old place could not be put away: {problem}")))
    }
}

/// Opens it again, once everything that was open before is closed.
async fn open(
    deployment: &Deployment,
    config: Config,
    remembered: Option<Arc<Remembered>>,
) -> Result<compose::Opened, Problem> {
    let began = Instant::now();
    loop {
        let opening = Opening { serves: true, remembered: remembered.clone(), ..Opening::default() };
        match compose::open_as(deployment, config.clone(), opening).await {
            Err(problem) if began.elapsed() < Duration::from_secs(10) => {
                tracing::warn!(%problem, "the deployment could not be opened; it is tried again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            opened => return opened,
        }
    }
}

/// Ends the noting of changes when the move ends, however it does.
struct Noting(Moving);

impl Drop for Noting {
    fn drop(&mut self) {
        self.0.noting.end();
    }
}
