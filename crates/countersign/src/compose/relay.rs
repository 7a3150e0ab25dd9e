//! Takes each service's checkpoints to all the others, which cosign them as witnesses, and their cosignatures back.
//!
//! The authority carries, and is trusted with nothing: a checkpoint is signed by its log, a cosignature by its witness, and
//! whoever is shown a history that is not the one it has seen refuses.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_audit::{AuditSink, Body, Reason, Record, Verdict};
use countersign_model::{Clock, Entropy, RequestId, Service, UnixMs};
use countersign_services::{AddCheckpoint, Log, LogFailure, LogName, Logs, TileName};
use countersign_tlog::{Checkpoint, Fetched, consistency, tiles_for_consistency};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

/// How long one log's round may take.
const ROUND: Duration = Duration::from_secs(5);

/// How long a service that did not answer is left alone.
const REST: Duration = Duration::from_secs(3);

/// How often the same contradiction is put on record, in milliseconds.
const REPORT_MS: u64 = 600_000;

/// What the relay is made of.
pub(super) struct Parts {
    pub(super) logs: Arc<dyn Logs>,
    /// Where contradictions go on record: the authority's ledger.
    pub(super) audit: Arc<dyn AuditSink>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// How long between two rounds.
    pub(super) every: Duration,
}

/// What is known of one log.
#[derive(Default)]
struct Known {
    /// Its verifier key and its witness's.
    keys: Option<[String; 2]>,
    /// Which of its checkpoints each witness has seen and cosigned.
    cosigned: HashMap<LogName, String>,
    /// The size that each witness has seen.
    seen: HashMap<LogName, u64>,
}

/// One service's log, with what is known of it.
struct Taken {
    name: LogName,
    log: Arc<dyn Log>,
    known: Mutex<Known>,
}

/// Who did not answer, and until when it is left alone.
type Resting = Mutex<HashMap<LogName, Instant>>;

/// Relays for as long as it is polled.
pub(super) async fn run(parts: Parts) {
    let mut known: HashMap<LogName, Arc<Taken>> = HashMap::new();
    let (resting, reported) = (Resting::default(), Mutex::default());
    let mut rounds = tokio::time::interval(parts.every);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let all = parts.logs.all();
        known.retain(|name, taken| all.iter().any(|(other, log)| other == name && Arc::ptr_eq(log, &taken.log)));
        for (name, log) in all {
            let taken = || Arc::new(Taken { name: name.clone(), log, known: Mutex::default() });
            known.entry(name.clone()).or_insert_with(taken);
        }
        let taken: Vec<_> = known.values().cloned().collect();
        let round = Round { taken: &taken, resting: &resting, parts: &parts, reported: &reported };
        join_all(taken.iter().map(|log| timeout(ROUND, round.relay(log)))).await;
    }
}

/// One time around.
struct Round<'a> {
    taken: &'a [Arc<Taken>],
    resting: &'a Resting,
    parts: &'a Parts,
    /// Of which log and by which witness a contradiction is on record, since when.
    reported: &'a Mutex<HashMap<(LogName, LogName), UnixMs>>,
}

impl Round<'_> {
    fn is_resting(&self, name: &LogName) -> bool {
        self.resting.lock().get(name).is_some_and(|until| Instant::now() < *until)
    }

    /// What a service answered; one that doesn't is left alone for a while.
    fn heard<T>(&self, name: &LogName, answer: Result<T, LogFailure>) -> Result<T, LogFailure> {
        if matches!(answer, Err(LogFailure::Unavailable)) {
            let until = Instant::now().checked_add(REST).unwrap_or_else(Instant::now);
            self.resting.lock().insert(name.clone(), until);
        }
        answer
    }

    async fn keys(&self, taken: &Taken) -> Option<[String; 2]> {
        if let Some(keys) = taken.known.lock().keys.clone() {
            return Some(keys);
        }
        let keys = self.heard(&taken.name, taken.log.keys().await).ok()?;
        taken.known.lock().keys = Some(keys.clone());
        Some(keys)
    }

    /// Has one log's newest checkpoint cosigned by everybody who has not cosigned it.
    async fn relay(&self, taken: &Taken) -> Option<()> {
        if self.is_resting(&taken.name) {
            return None;
        }
        let note = self.heard(&taken.name, taken.log.checkpoint().await).ok()?;
        let checkpoint = Checkpoint::unverified(&note).ok()?;
        let text = checkpoint.to_text();
        let [key, _] = self.keys(taken).await?;
        let lacking = |witness: &&Arc<Taken>| {
            let is_other = witness.name != taken.name && !self.is_resting(&witness.name);
            is_other && taken.known.lock().cosigned.get(&witness.name) != Some(&text)
        };
        let asked = self.taken.iter().filter(lacking).map(|witness| async {
            if let Err(failure) = self.cosign(taken, witness, &key, &note, checkpoint.size).await {
                self.failed(taken, witness, &failure, &checkpoint).await;
                return;
            }
            taken.known.lock().cosigned.insert(witness.name.clone(), text.clone());
        });
        join_all(asked).await;
        Some(())
    }

    /// Has one witness cosign, and gives the log its cosignature.
    async fn cosign(&self, taken: &Taken, witness: &Taken, key: &str, note: &str, size: u64) -> Result<(), LogFailure> {
        let [_, witness_key] = self.keys(witness).await.ok_or(LogFailure::Unavailable)?;
        let mut old_size = taken.known.lock().seen.get(&witness.name).copied().unwrap_or_default();
        let mut tries = 0u8;
        let lines = loop {
            let proof = self.proof(taken, old_size, size).await?;
            let asked = AddCheckpoint { old_size, proof, checkpoint: note.to_owned() };
            match self.heard(&witness.name, witness.log.cosign(key, &asked).await) {
                // It has seen another size than was thought: once more, from there.
                Err(LogFailure::Seen { size: seen }) if tries < 2 && seen != old_size => {
                    (old_size, tries) = (seen, tries.saturating_add(1));
                }
                answer => break answer?,
            }
        };
        taken.known.lock().seen.insert(witness.name.clone(), size);
        match self.heard(&taken.name, taken.log.cosigned(size, &witness_key, &lines).await) {
            // It has a newer checkpoint by now, which is on its way.
            Err(LogFailure::NotFound | LogFailure::Seen { .. }) | Ok(()) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// The proof that the tree of one size is the beginning of the tree of another, out of the log's own tiles. There is
    /// none from a larger size to a smaller one, and the witness says so itself.
    async fn proof(&self, taken: &Taken, old_size: u64, size: u64) -> Result<Vec<[u8; 32]>, LogFailure> {
        if old_size == 0 || old_size >= size {
            return Ok(Vec::new());
        }
        let tiles = tiles_for_consistency(old_size, size).map_err(|_| LogFailure::NotTaken)?;
        let mut fetched = Fetched::default();
        for tile in tiles {
            let name = TileName { level: tile.level, index: tile.index, width: tile.width };
            let bytes = self.heard(&taken.name, taken.log.tile(name).await)?;
            fetched.insert(tile, &bytes).map_err(|_| LogFailure::NotTaken)?;
        }
        let proof = consistency(&fetched, old_size, size).map_err(|_| LogFailure::NotTaken)?;
        Ok(proof.into_iter().map(|hash| hash.0).collect())
    }

    async fn failed(&self, taken: &Taken, witness: &Taken, failure: &LogFailure, checkpoint: &Checkpoint) {
        let (log, by) = (&taken.name, &witness.name);
        let said = match failure {
            LogFailure::Contradicts { size } => {
                format!(
                    "{log}: its checkpoint of {} records contradicts one of {size} that {by} has seen",
                    checkpoint.size
                )
            }
            LogFailure::NotTaken => {
                format!("{log}: its checkpoint of {} records is not one of the log that {by} knows", checkpoint.size)
            }
            LogFailure::NotFound | LogFailure::Unavailable | LogFailure::Seen { .. } => {
                tracing::debug!(%log, %by, %failure, "a checkpoint was not cosigned");
                return;
            }
        };
        let now = self.parts.clock.now();
        {
            let mut reported = self.reported.lock();
            let pair = (log.clone(), by.clone());
            if reported.get(&pair).is_some_and(|before| now.since(*before) < REPORT_MS) {
                return;
            }
            reported.insert(pair, now);
        }
        tracing::error!(%log, %by, size = checkpoint.size, %failure, "a ledger's history was refused by a witness");
        let record = Record {
            time: now,
            request: RequestId::new(now, &*self.parts.entropy),
            service: Service::Authority,
            door: None,
            verdict: Verdict::Failed,
            tenant: None,
            tally: None,
            body: Body {
                action: "log_witness".to_owned(),
                reason: Some(Reason::Forked),
                detail: Some(said),
                ..Body::default()
            },
        };
        if let Err(error) = self.parts.audit.append(record).await {
            tracing::error!(%log, %error, "a refusal by a witness could not be put on record");
        }
    }
}
