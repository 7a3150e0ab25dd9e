//! Puts calls on record that a service did not accept.

use std::sync::Arc;

use async_trait::async_trait;
use countersign_audit::{AuditSink, Body, Reason, Record, Verdict};
use countersign_model::{Clock, Entropy, RequestId, Service};
use countersign_wire::{Note, RefusedCall};

/// Puts calls on record that were not accepted.
pub(super) struct Noting {
    pub(super) audit: Arc<dyn AuditSink>,
    pub(super) service: Service,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

#[async_trait]
impl Note for Noting {
    async fn refused(&self, refused: &RefusedCall<'_>) {
        let by = refused.peer.map_or_else(|| "nobody known".to_owned(), |peer| peer.id.to_string());
        let (method, why) = (refused.method, refused.why);
        tracing::warn!(service = %self.service, %by, method, %why, "a call was not accepted");
        let now = self.clock.now();
        let detail = format!("{method} by {by}: {why}");
        let (request, door, action, epoch) = match refused.request {
            Some((request, epoch)) => (request.id, Some(request.door), request.operation.action(), epoch),
            None => (RequestId::new(now, &*self.entropy), None, "call", 0),
        };
        let record = Record {
            time: now,
            request,
            service: self.service,
            door,
            verdict: Verdict::Refused,
            tenant: None,
            tally: None,
            body: Body {
                action: action.to_owned(),
                reason: Some(Reason::NotPermitted),
                detail: Some(detail),
                epoch,
                ..Body::default()
            },
        };
        let noted = self.audit.note(record).await;
        if let Err(error) = noted {
            tracing::error!(%error, "a refused call could not be put on record");
        }
    }
}
