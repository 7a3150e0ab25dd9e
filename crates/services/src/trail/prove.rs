//! Proofs that records are in their ledger's log.

use std::time::Duration;

use countersign_audit::{AuditError, Ledger, LedgerQuery, Log, Position};
use countersign_model::{RequestId, TenantId};
use countersign_tlog::inclusion;
use tokio::time::{Instant, timeout_at};

use super::Proved;

/// The most records that are proved at a time.
const RECORDS_MAX: usize = 1_000;
/// How long a checkpoint is waited for that covers the records, and then for one that somebody has cosigned. A log
/// publishes one every second, and the others cosign it within another.
const WAIT: Duration = Duration::from_secs(3);

/// The places of a request's records.
pub(super) fn places(
    ledger: &Ledger,
    owners: &[Option<TenantId>],
    request: RequestId,
) -> Result<Vec<Position>, AuditError> {
    let query = LedgerQuery { request: Some(request), limit: RECORDS_MAX, ..LedgerQuery::default() };
    let mut places = Vec::new();
    for owner in owners {
        places.extend(ledger.query(*owner, &query)?.into_iter().map(|(position, _)| position));
    }
    places.sort_unstable();
    places.truncate(RECORDS_MAX);
    Ok(places)
}

/// A checkpoint that covers everything up to a place: one that a witness has cosigned, if there soon is one.
pub(super) async fn covering(log: &Log, last: Position) -> Option<(u64, String)> {
    let until = Instant::now().checked_add(WAIT)?;
    let mut newest = log.follow();
    loop {
        let cosigned = log.newest_cosigned().filter(|cosigned| cosigned.size > last.0);
        if let Some(cosigned) = cosigned {
            return Some((cosigned.size, cosigned.text.to_string()));
        }
        if !matches!(timeout_at(until, newest.changed()).await, Ok(Ok(()))) {
            let newest = newest.borrow();
            return (newest.size > last.0).then(|| (newest.size, newest.text.to_string()));
        }
    }
}

/// The records at these places, each with its proof.
pub(super) fn prove(
    ledger: &Ledger,
    log: &Log,
    places: &[Position],
    (size, checkpoint): (u64, String),
) -> Result<Vec<Proved>, AuditError> {
    let [key, _] = log.verifier_keys().map(|key| key.to_string());
    let hashes = log.hashes();
    let one = |position: &Position| {
        let position = *position;
        let leaf = ledger.leaves(position, 1)?.into_iter().next().ok_or(AuditError::Damaged(position))?;
        let proof = inclusion(&hashes, position.0, size).map_err(|_| AuditError::Damaged(position))?;
        let proof = proof.into_iter().map(|hash| hash.0).collect();
        Ok(Proved { position, leaf, size, proof, checkpoint: checkpoint.clone(), key: key.clone() })
    };
    places.iter().map(one).collect()
}
