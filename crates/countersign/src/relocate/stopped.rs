//! The whole of a move, of a deployment that nobody serves.

use std::sync::Arc;

use countersign_crypto::SystemEntropy;
use countersign_model::clock::SystemClock;
use countersign_model::{Clock as _, Service};

use super::pass::Watch;
use super::{Goal, Passes, Phase, Wish, configure, first, last, since};
use crate::compose::{self, side::Side};
use crate::deployment::Deployment;
use crate::problem::{Exit, Problem};

/// Carries a deployment that is locked by the caller. Says what there is still in the old place. With `is_new` nothing may be
/// in the new place, not even of this deployment.
///
/// # Errors
/// If either place does not work, or something is in the new one that may not be there. The deployment is where it was, unless
/// only putting away what is left there failed.
pub(crate) async fn stopped(
    deployment: &Deployment,
    goal: &Goal,
    is_new: bool,
    watch: Watch<'_>,
) -> Result<String, Problem> {
    let config = compose::config(deployment)?;
    let from = Arc::new(Side::open(deployment, config.clone()).await?);
    let to = Arc::new(Side::open(deployment, configure(&config, goal)).await?);
    if is_new {
        require_empty(&to).await?;
    }
    let registry = from.registry()?;
    if to.is_database() {
        first(&registry, &to).await?;
    }
    let facts = registry.facts();
    let types = move || Arc::clone(&facts.load().facts.types);
    let stored = from.stored()?;
    stored.store.apply_types(&types()).await.map_err(|error| Problem::failed(error.to_string()))?;
    let passes =
        Passes { from: stored, to: to.stored()?, moving: None, types: &types, since: since(SystemClock.now()), watch };
    passes.check().await?;
    let left = passes.run().await?;
    passes.rest(left).await?;
    watch(Phase::Switching, 0, 0);
    drop(passes);
    let closed = last(deployment, &from, &to, registry).await?;
    closed.put_in_charge(deployment, goal)?;
    Wish::end(deployment);
    closed.leave(deployment, &from).await
}

/// Refuses a place that has facts, records or audit records of any deployment.
async fn require_empty(to: &Arc<Side>) -> Result<(), Problem> {
    let tenants = to.stored()?.carry.tenants().await;
    let tenants = tenants.map_err(|error| Problem::new(Exit::Unavailable, format!("the database: {error}")))?;
    let side = Arc::clone(to);
    let rest = tokio::task::spawn_blocking(move || {
        let facts = side.place()?.is_empty(&SystemEntropy);
        if !facts.map_err(|error| Problem::failed(format!("the database: {error}")))? {
            return Ok(false);
        }
        for service in Service::ALL.into_iter().filter(|_| side.has_ledgers()) {
            let files = side.ledger(service)?.list();
            if !files.map_err(|error| Problem::failed(format!("the database: {error}")))?.is_empty() {
                return Ok(false);
            }
        }
        Ok::<_, Problem>(true)
    });
    let is_rest_empty = rest.await.map_err(|_| Problem::failed("it was interrupted"))??;
    if tenants.is_empty() && is_rest_empty {
        return Ok(());
    }
    Err(Problem::new(Exit::Conflict, "the database is not empty").next(
        "name one that is: nothing is ever restored over a deployment. What a restore that was cut off has left there, its \
         administrator removes: DROP SCHEMA countersign CASCADE, and what `countersign postgres sql` prints once more",
    ))
}
