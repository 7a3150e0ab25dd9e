//! How callers learn that their records are durable.
//!
//! Waking a task from a thread outside its runtime costs a system call or two; waking it from inside costs none. So
//! the writer wakes one caller for each write, and that one wakes the others.

use tokio::sync::oneshot;

use super::Position;
use crate::error::AuditError;

type Outcome = Result<Position, AuditError>;

/// What a caller waits for. Whoever receives one, or drops it unreceived, answers the others of the same write.
pub(super) struct Answer {
    outcome: Option<Outcome>,
    others: Vec<(oneshot::Sender<Answer>, Outcome)>,
}

impl Answer {
    /// The caller's own outcome; the others are answered on the way.
    pub(super) fn into_outcome(mut self) -> Outcome {
        self.outcome.take().unwrap_or(Err(AuditError::Unavailable))
    }
}

/// INVARIANT everyone-is-answered: also if the caller that was to pass answers on has stopped waiting.
impl Drop for Answer {
    fn drop(&mut self) {
        for (other, outcome) in self.others.drain(..) {
            // Whoever stopped waiting doesn't need the answer.
            let _ = other.send(Self { outcome: Some(outcome), others: Vec::new() });
        }
    }
}

/// Answers all callers of one write.
pub(super) fn answer_all(mut outcomes: Vec<(oneshot::Sender<Answer>, Outcome)>) {
    let Some((first, outcome)) = outcomes.pop() else { return };
    // If the first has stopped waiting, the answer comes back and is dropped here, which answers the others.
    let _ = first.send(Answer { outcome: Some(outcome), others: outcomes });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_stops_waiting_keeps_nobody_else_waiting() {
        for gone in 0..4 {
            let (senders, mut callers): (Vec<_>, Vec<_>) = (0..4).map(|_| oneshot::channel::<Answer>()).unzip();
            let outcomes = senders.into_iter().zip(0..).map(|(sender, place)| (sender, Ok(Position(place))));
            let (before, outcomes) = (gone % 2 == 0, outcomes.collect());
            if before {
                drop(callers.remove(gone));
            }
            answer_all(outcomes);
            if !before {
                drop(callers.remove(gone));
            }
            let mut places = Vec::new();
            // The last in line is told first, and passes on.
            for caller in callers.into_iter().rev() {
                places.push(caller.await.unwrap().into_outcome().unwrap().0);
            }
            places.reverse();
            let expected: Vec<u64> = (0..4).filter(|place| *place != gone as u64).collect();
            assert_eq!(places, expected);
        }
    }
}
