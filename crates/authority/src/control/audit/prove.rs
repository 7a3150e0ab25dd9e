//! Proofs that a request's records are in the services' logs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_guard::Permit;
use countersign_model::{RequestId, Service};
use countersign_services::{Call, Proved};
use countersign_tlog::{Hash, LogProof};

use super::owners;
use crate::answer::{ControlAnswer, ProofAnswer, ProofEntry};
use crate::authority::Authority;
use crate::control::{Done, called};
use crate::error::ControlFailure;

impl Authority {
    /// The stored records of one request of the caller's tenant, each with the proof that it is in its service's log.
    pub(in crate::control) async fn prove(&self, permit: &Permit, request: RequestId) -> Result<Done, ControlFailure> {
        let (call, owners) = (Call::of(permit, Service::Authority), owners(permit.principal()));
        let mut records = Vec::new();
        for (name, trail) in self.trails.all() {
            let proved = trail.prove(&call, &owners, request).await.map_err(called("log"))?;
            records.extend(proved.into_iter().map(|one| entry(&name, one)));
        }
        if records.is_empty() {
            return Err(ControlFailure::NotFound { what: "request", name: request.to_string() });
        }
        Ok(Done::looked(ControlAnswer::Proof(ProofAnswer { version: 1, request, records })))
    }
}

fn entry(log: &str, proved: Proved) -> ProofEntry {
    let Proved { position, leaf, size: _, proof, checkpoint, key } = proved;
    let path = proof.into_iter().map(Hash).collect();
    let proof = LogProof { extra: None, index: position.0, path, checkpoint };
    ProofEntry { log: log.to_owned(), key, leaf: STANDARD.encode(leaf), proof: proof.to_text() }
}
