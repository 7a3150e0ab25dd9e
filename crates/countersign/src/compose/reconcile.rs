//! Holds what the services recorded of each request against each other, and puts on record what does not agree.

use std::sync::Arc;
use std::time::Duration;

use countersign_audit::reconcile::{Finding, Reconciler};
use countersign_audit::{AuditSink, Body, Ledger, Record, TallyEntry, Verdict};
use countersign_model::{Clock, Service, UnixMs};

use super::fellows::Fellows;
use super::following::{Following, News, Start};

/// How often is looked for requests that should have come together by now, and for services that came or went.
const LOOK: Duration = Duration::from_millis(500);

/// What began this long before the reconciler did may have records from before its beginning.
const OVERLAP_MS: u64 = 60_000;

/// How long after its start the reconciler waits for what the ledgers have had until then.
const CATCH_UP_MS: u64 = 2_000;

/// What a service says is its own word, whatever it says of who says it: one that was taken over must not speak for
/// the others, and make up what they have to agree with.
fn in_its_own_name(entry: TallyEntry, service: Service) -> TallyEntry {
    TallyEntry { service, ..entry }
}

/// What the reconciler is made of.
pub(super) struct Parts {
    /// The ledgers of this process.
    pub(super) here: Vec<Arc<Ledger>>,
    /// Those of others, where there are any.
    pub(super) fellows: Option<Arc<Fellows>>,
    /// Where findings go: the authority's ledger.
    pub(super) audit: Arc<dyn AuditSink>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Reconciles for as long as it is polled.
pub(super) async fn run(parts: Parts) {
    let Parts { here, fellows, audit, clock } = parts;
    let begun = clock.now();
    let from = begun.minus_ms(OVERLAP_MS);
    let (mut following, mut news) = Following::new(move |_| Start::Since(from));
    for ledger in here {
        following.here(ledger.service().as_str(), ledger);
    }
    let mut reconciler = Reconciler::default().since(begun);
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            Some(News { ledger, service, entries, is_all, .. }) = news.recv() => {
                let now = clock.now();
                for (position, entry) in entries {
                    reconciler.take(ledger, position, &in_its_own_name(entry, service), now);
                }
                if is_all {
                    reconciler.all(ledger, now);
                }
            }
            _ = looks.tick() => {
                if let Some(fellows) = &fellows {
                    following.elsewhere(fellows);
                }
                let now = clock.now();
                if now.since(begun) < CATCH_UP_MS {
                    continue;
                }
                for finding in reconciler.due(now) {
                    report(&finding, &*audit, now).await;
                }
            }
        }
    }
}

async fn report(finding: &Finding, audit: &dyn AuditSink, now: UnixMs) {
    let Finding { request, tenant, what } = finding;
    tracing::error!(%request, finding = %what, "the services' records of a request do not agree");
    let record = Record {
        time: now,
        request: *request,
        service: Service::Authority,
        door: None,
        verdict: Verdict::Failed,
        tenant: *tenant,
        tally: None,
        body: Body {
            action: "reconcile".to_owned(),
            reason: Some(what.reason()),
            detail: Some(what.to_string()),
            ..Body::default()
        },
    };
    if let Err(error) = audit.append(record).await {
        tracing::error!(%request, %error, "a finding could not be put on record");
    }
}

#[cfg(test)]
mod tests {
    use countersign_audit::reconcile::{What, judge};
    use countersign_model::{FieldSet, RequestId, Tally, TenantId, TokenId, TypeId};

    use super::*;

    #[test]
    fn a_service_speaks_for_itself_alone() {
        let mut tally = Tally::new(TokenId::from_u128(1), 7);
        tally.open(TypeId(1), FieldSet::first(2), 10);
        let said = |service| TallyEntry {
            request: RequestId::from_u128(2),
            service,
            verdict: Verdict::Released,
            tenant: Some(TenantId::from_u128(3)),
            time: UnixMs(4),
            tally: Some(tally.clone()),
            signal: None,
        };
        // A store that was taken over makes up all three.
        let entries = Service::ALL.map(|service| in_its_own_name(said(service), Service::Store));
        assert_eq!(judge(&entries), [What::Unknown { service: Service::Store }]);
    }
}
