//! Following the authority's facts.

use std::sync::Arc;
use std::time::Duration;

use countersign_facts::{Applied, ApplyError, Follower, Gathering};
use tonic::Streaming;

use super::channel::Channel;
use crate::convert::authority::facts_in;
use crate::failure::Failed;
use crate::{methods, pb};

/// The authority signs anew every five seconds: with nothing for this long the stream is as good as dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Keeps a service's facts the newest, through all reconnections.
pub struct FactsStream {
    channel: Channel,
    follower: Arc<Follower>,
    /// Where this service is reached by others.
    address: Option<String>,
}

/// Why a stream of facts ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Ended {
    #[error("the authority can't be reached")]
    Unreachable,
    #[error("the authority sent facts that can't be taken")]
    Refused,
}

impl FactsStream {
    /// Follows over `channel`, for `follower`. `address` is where others reach this service, if they do.
    #[must_use]
    pub const fn new(channel: Channel, follower: Arc<Follower>, address: Option<String>) -> Self {
        Self { channel, follower, address }
    }

    /// Follows for as long as it is polled. `applied` is told of each update that is in force.
    pub async fn run(&self, applied: impl Fn(&Applied) + Send + Sync) {
        let settings = self.channel.settings();
        let (shortest, longest) = (settings.backoff_min, settings.backoff_max.min(Duration::from_secs(2)));
        let mut pause = shortest;
        loop {
            let mut heard = false;
            let ended = self.follow(&mut heard, &applied).await;
            if let Err(ended) = ended {
                tracing::debug!(%ended, "the stream of facts ended");
            }
            pause = if heard { shortest } else { pause.saturating_mul(2).min(longest) };
            let mut random = [0u8; 1];
            self.channel.entropy().fill(&mut random);
            let part = f64::from(random[0]) / f64::from(u8::MAX);
            tokio::time::sleep(pause.mul_f64(0.5f64.mul_add(part, 0.5))).await;
        }
    }

    async fn follow(&self, heard: &mut bool, applied: &(impl Fn(&Applied) + Send + Sync)) -> Result<(), Ended> {
        let have = self.follower.index();
        let have = if have.is_empty() { Vec::new() } else { have.encode().to_vec() };
        let message = pb::FactsRequest { have, address: self.address.clone() };
        let stream = self.channel.streaming(&methods::FACTS, &message).await;
        let mut stream: Streaming<pb::FactsMessage> = stream.map_err(|_: Failed| Ended::Unreachable)?;
        let mut gathering = Gathering::default();
        loop {
            let message = tokio::time::timeout(SILENCE_MAX, stream.message()).await;
            let Ok(Ok(Some(message))) = message else { return Err(Ended::Unreachable) };
            if let Some(keys) = &message.keys {
                // From the authority itself: the connection says so. The signatures are for what comes after.
                self.follower.trust(serde_json::from_slice(keys).map_err(|_| Ended::Refused)?);
            }
            let message = facts_in(message).map_err(|_| Ended::Refused)?;
            let Some(update) = gathering.add(message).map_err(|error| refused(&error))? else { continue };
            let follower = Arc::clone(&self.follower);
            // Compiling policies takes its time, and requests are answered meanwhile.
            let outcome = tokio::task::spawn_blocking(move || follower.apply(&update)).await;
            match outcome {
                Ok(Ok(done)) => {
                    *heard = true;
                    applied(&done);
                }
                Ok(Err(error)) => return Err(refused(&error)),
                Err(_) => return Err(Ended::Refused),
            }
        }
    }
}

fn refused(error: &ApplyError) -> Ended {
    tracing::warn!(%error, "facts from the authority were refused");
    Ended::Refused
}
