//! Counts are gathered: while some are on their way, those that come wait and go together.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::channel::{Again, Channel};
use crate::convert::failure::failure_in;
use crate::failure::{CallRefused, Failed};
use crate::{deadline, methods, pb};

/// The most counts in one call.
const BATCH_MAX: usize = 256;
/// How many calls may be under way: one that waits for facts must not keep all others waiting.
const FLYING_MAX: usize = 4;

struct Waiting {
    count: pb::Count,
    deadline: Instant,
    answer: oneshot::Sender<Result<(), Failed>>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    flying: usize,
}

/// Sends counts together.
pub(crate) struct Batcher {
    channel: Channel,
    state: Mutex<State>,
}

impl Batcher {
    pub(crate) fn new(channel: Channel) -> Arc<Self> {
        Arc::new(Self { channel, state: Mutex::default() })
    }

    /// Sends one, with those that come at the same time.
    pub(crate) async fn count(self: &Arc<Self>, count: pb::Count) -> Result<(), Failed> {
        let deadline = deadline::current();
        let (answer, answered) = oneshot::channel();
        let fly = {
            let mut state = self.state.lock();
            state.waiting.push(Waiting { count, deadline, answer });
            let fly = state.flying < FLYING_MAX;
            if fly {
                state.flying = state.flying.saturating_add(1);
            }
            fly
        };
        if fly {
            tokio::spawn(Arc::clone(self).fly());
        }
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failed::Unavailable),
            Err(_) => Err(Failed::Call(CallRefused::Late)),
        }
    }

    /// Sends what waits until nothing does.
    async fn fly(self: Arc<Self>) {
        loop {
            let batch = {
                let mut state = self.state.lock();
                // Who stopped waiting wants nothing counted.
                state.waiting.retain(|one| !one.answer.is_closed());
                if state.waiting.is_empty() {
                    state.flying = state.flying.saturating_sub(1);
                    return;
                }
                let count = state.waiting.len().min(BATCH_MAX);
                state.waiting.drain(..count).collect::<Vec<_>>()
            };
            self.send(batch).await;
        }
    }

    async fn send(&self, batch: Vec<Waiting>) {
        let until = batch.iter().map(|one| one.deadline).max().unwrap_or_else(Instant::now);
        let (counts, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.count, one.answer)).unzip();
        let message = pb::CountBatchRequest { counts };
        let call = self.channel.unary(&methods::COUNT_BATCH, Again::IfRefused, &message);
        let reply: Result<pb::CountBatchReply, Failed> = deadline::within(until, call).await;
        match reply {
            Ok(reply) if reply.results.len() == answers.len() => {
                for (answer, result) in answers.into_iter().zip(reply.results) {
                    let _ = answer.send(result.failure.map_or(Ok(()), |failure| Err(failure_in(failure))));
                }
            }
            Ok(_) => answer_all(answers, &Failed::Unavailable),
            Err(failed) => answer_all(answers, &failed),
        }
    }
}

fn answer_all(answers: Vec<oneshot::Sender<Result<(), Failed>>>, failed: &Failed) {
    for answer in answers {
        let _ = answer.send(Err(failed.clone()));
    }
}
