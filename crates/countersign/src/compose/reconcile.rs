//! Holds what the services recorded of each request against each other, and puts on record what does not agree.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use countersign_audit::reconcile::{Finding, Reconciler};
use countersign_audit::{AuditSink, Body, Ledger, Position, Record, TallyEntry, Verdict};
use countersign_model::{Clock, Service, UnixMs};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::remote::{AllTrails, There};

/// How often is looked for requests that should have come together by now, and for services that came or went.
const LOOK: Duration = Duration::from_millis(500);

/// How many entries of one ledger are taken at a time.
const CHUNK: usize = 4_096;

/// How long new entries of a ledger are left to gather.
const GATHER: Duration = Duration::from_millis(200);

/// What began this long before the reconciler did may have records from before its beginning.
const OVERLAP_MS: u64 = 60_000;

/// How long after its start the reconciler waits for what the ledgers have had until then.
const CATCH_UP_MS: u64 = 2_000;

/// What one ledger has that is new.
struct News {
    ledger: u32,
    /// Whose ledger it is.
    service: Service,
    entries: Vec<(Position, TallyEntry)>,
}

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
    pub(super) trails: Option<Arc<AllTrails>>,
    /// Where findings go: the authority's ledger.
    pub(super) audit: Arc<dyn AuditSink>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Reconciles for as long as it is polled.
pub(super) async fn run(parts: Parts) {
    let Parts { here, trails, audit, clock } = parts;
    let begun = clock.now();
    let (sender, mut news) = mpsc::channel::<News>(64);
    let mut following = Following { sender, tasks: HashMap::new(), numbers: HashMap::new(), begun };
    for ledger in here {
        following.here(ledger);
    }
    let mut reconciler = Reconciler::default().since(begun);
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            Some(News { ledger, service, entries }) = news.recv() => {
                let now = clock.now();
                for (position, entry) in entries {
                    reconciler.take(ledger, position, &in_its_own_name(entry, service), now);
                }
            }
            _ = looks.tick() => {
                if let Some(trails) = &trails {
                    following.elsewhere(trails);
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

/// The tasks that follow ledgers. They end with it.
struct Following {
    sender: mpsc::Sender<News>,
    tasks: HashMap<String, JoinHandle<()>>,
    /// A ledger keeps its number when it goes and comes again.
    numbers: HashMap<String, u32>,
    begun: UnixMs,
}

impl Following {
    fn number(&mut self, name: &str) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(name.to_owned()).or_insert(next)
    }

    fn here(&mut self, ledger: Arc<Ledger>) {
        let name = format!("here {}", ledger.service());
        let (number, service) = (self.number(&name), ledger.service());
        let (sender, from) = (self.sender.clone(), self.begun.minus_ms(OVERLAP_MS));
        let task = tokio::spawn(async move {
            let mut news = ledger.follow();
            let mut after = ledger.before(from).ok().flatten();
            loop {
                let (reading, place) = (Arc::clone(&ledger), after);
                let read = tokio::task::spawn_blocking(move || reading.tallies(place, CHUNK)).await;
                let Ok(Ok(entries)) = read else {
                    tokio::time::sleep(LOOK).await;
                    continue;
                };
                match entries.last() {
                    Some((position, _)) => {
                        after = Some(*position);
                        let is_behind = entries.len() >= CHUNK;
                        if sender.send(News { ledger: number, service, entries }).await.is_err() {
                            return;
                        }
                        // Many at a time cost little; a moment later is soon enough.
                        if !is_behind {
                            tokio::time::sleep(GATHER).await;
                        }
                    }
                    None if news.changed().await.is_err() => return,
                    None => {}
                }
            }
        });
        self.tasks.insert(name, task);
    }

    /// Begins to follow services that came, and leaves those that went.
    fn elsewhere(&mut self, trails: &AllTrails) {
        let present = trails.elsewhere();
        self.tasks.retain(|name, task| {
            let stays = name.starts_with("here ") || present.iter().any(|there| there.id == *name);
            let stays = stays && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for there in present {
            if self.tasks.contains_key(&there.id) {
                continue;
            }
            let (number, sender) = (self.number(&there.id), self.sender.clone());
            let from = self.begun.minus_ms(OVERLAP_MS);
            self.tasks.insert(there.id.clone(), tokio::spawn(follow(there, from, number, sender)));
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

async fn follow(there: There, from: UnixMs, ledger: u32, sender: mpsc::Sender<News>) {
    let There { service, trail, .. } = there;
    let mut after = None;
    loop {
        let stream = match after {
            Some(_) => trail.tallies(after).await,
            None => trail.tallies_since(from).await,
        };
        if let Ok(mut stream) = stream {
            while let Ok(Some(entries)) = stream.next().await {
                if let Some((position, _)) = entries.last() {
                    after = Some(*position);
                }
                if sender.send(News { ledger, service, entries }).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(LOOK).await;
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
