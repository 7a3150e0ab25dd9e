//! Being the authority where several processes could be: one at a time is, by a lease in the database, and the others
//! wait for it to end.

use std::sync::Arc;
use std::time::Duration;

use countersign_authority::Registry;

use super::Base;
use crate::problem::{Exit, Problem};

/// How often a standby looks whether it can be the authority.
const LOOK: Duration = Duration::from_secs(1);

/// Told that this process waits for its turn to be the authority.
pub type OnStandby = Arc<dyn Fn() + Send + Sync>;

/// For how long the one that has it is waited for by whoever does not wait for its turn: longer than a lease lasts that
/// nobody renews.
const PATIENCE: u32 = 12;

impl Base {
    /// The deployment's facts and keys, once nobody else is the authority. With `waits` for as long as that takes, as a
    /// standby that listens nowhere; without, for as long as one that was killed seems to be there.
    pub(super) async fn only_registry(&self, waits: bool) -> Result<Arc<Registry>, Problem> {
        let mut tries = 0u32;
        loop {
            match self.try_registry() {
                Ok(Some(registry)) => {
                    if tries > 0 {
                        tracing::info!("this process is the authority now");
                    }
                    return Ok(registry);
                }
                Ok(None) if !waits && tries >= PATIENCE => return Err(held_elsewhere()),
                // A standby waits for the database too, once it has been one.
                Err(problem) if tries == 0 || !waits || problem.exit != Exit::Unavailable => return Err(problem),
                Ok(None) | Err(_) => {}
            }
            if tries == 0 && waits {
                tracing::info!("another process is the authority; this one waits to take its place");
                if let Some(tell) = &self.on_standby {
                    tell();
                }
            }
            tries = tries.saturating_add(1);
            tokio::time::sleep(LOOK).await;
        }
    }
}

pub(super) fn held_elsewhere() -> Problem {
    Problem::new(Exit::Unavailable, "another process is the authority of this deployment")
        .next("name its gateway's address as well: --url https://HOST:PORT")
}

/// Why a process ends that was the authority.
pub(crate) fn lost() -> Problem {
    Problem::new(Exit::Unavailable, "another process is the authority now, so this one ends")
        .next("start it again: it will be a standby (a supervisor such as systemd does that by itself)")
}
