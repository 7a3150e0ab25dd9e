//! Changes whose answer is lost, and changes that are made once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what does not fit fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::*;
use countersign_audit::{Reason, Verdict};
use countersign_engine::{Answer, Failure, Once};
use countersign_guard::{Bearer, Peer, Refusal};
use countersign_model::request::{Filter, Insert, Operation, Read};
use countersign_model::{Request, Service};
use countersign_services::{Call, Records, ServiceFailure};
use countersign_store::{Batch, Done, Rejected, Scan, SealedRow};
use tokio::sync::Semaphore;

/// What becomes of a write on its way to the store and back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    /// It never got there.
    LostBefore,
    /// It was made.
    LostAfter,
}

/// Stands between a gateway and the store. Each write takes the next fate; with none left it waits for leave.
struct Between {
    records: Arc<dyn Records>,
    fates: Vec<Fate>,
    next: AtomicUsize,
    leave: Semaphore,
}

impl Between {
    fn new(stage: &Stage, fates: &[Fate]) -> Arc<Self> {
        let (records, next) = (stage.records.clone(), AtomicUsize::new(0));
        Arc::new(Self { records, fates: fates.to_vec(), next, leave: Semaphore::new(0) })
    }
}

#[async_trait::async_trait]
impl Records for Between {
    async fn read(&self, call: &Call<'_>, scan: &Scan) -> Result<Vec<SealedRow>, ServiceFailure> {
        self.records.read(call, scan).await
    }
    async fn write(&self, call: &Call<'_>, batch: Batch) -> Result<Result<(), Rejected>, ServiceFailure> {
        match self.fates.get(self.next.fetch_add(1, Ordering::SeqCst)) {
            Some(Fate::Arrives) => self.records.write(call, batch).await,
            Some(Fate::LostBefore) => Err(ServiceFailure::Unknown),
            Some(Fate::LostAfter) => {
                self.records.write(call, batch).await?.unwrap();
                Err(ServiceFailure::Unknown)
            }
            None => {
                self.leave.acquire().await.unwrap().forget();
                self.records.write(call, batch).await
            }
        }
    }
    async fn done(&self, call: &Call<'_>, id: [u8; 32]) -> Result<Option<Done>, ServiceFailure> {
        self.records.done(call, id).await
    }
    async fn create_tenant(&self, _: &Call<'_>, _: countersign_model::TenantId) -> Result<(), ServiceFailure> {
        Err(ServiceFailure::Unavailable)
    }
    async fn any_records(&self, _: &Call<'_>, _: countersign_model::TypeId) -> Result<bool, ServiceFailure> {
        Err(ServiceFailure::Unavailable)
    }
}

fn once(key: u8) -> Once {
    Once { key: [key; 32], request: [7; 32] }
}

fn making(id: &str) -> Operation {
    let values = [("id", id), ("company", "New"), ("contact_name", "P"), ("country", "Chile")]
        .map(|(k, v)| (k, format!("{v:?}")));
    let row = row(&values.each_ref().map(|(field, json)| (*field, json.as_str())));
    let returning = Some(select(&["id", "company"]));
    Operation::Insert(Insert { record_type: "customer".into(), rows: vec![row], on_conflict: None, returning })
}

async fn send(gateway: &Gateway, token: &str, request: Request, once: Option<Once>) -> Result<Answer, Failure> {
    let permit = gateway.guard.admit(Some(Bearer::new(token.to_owned())), &Peer::default(), request).await?;
    gateway.engine.execute_once(permit, once).await
}

async fn chilean(stage: &Stage) -> usize {
    let filter: Filter = eq("country", "Chile");
    let read = Operation::Read(Read { filter, ..read("customer", &["id", "country"]) });
    stage.call(&stage.token("admin", ACME), read).await.unwrap().rows.rows.len()
}

#[tokio::test]
async fn a_lost_answer_is_unknown_to_the_caller_and_on_record_and_contradicts_nobody() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    for (fate, made, id) in [(Fate::LostBefore, 0, "N1"), (Fate::LostAfter, 1, "N2")] {
        let gateway = stage.another_gateway(Between::new(&stage, &[fate]));
        let request = stage.request(making(id));
        let asked = request.id;
        assert_eq!(send(&gateway, &admin, request, None).await.unwrap_err(), Failure::Unknown);
        assert_eq!(chilean(&stage).await, made);
        let of_it =
            |verdict| stage.recorded(verdict).into_iter().filter(|one| one.request == asked).collect::<Vec<_>>();
        let [unknown] = &of_it(Verdict::Unknown)[..] else { panic!("one record of it") };
        assert_eq!((unknown.service, unknown.body.reason), (Service::Gateway, Some(Reason::Unknown)));
        assert_eq!((of_it(Verdict::Intent).len(), of_it(Verdict::Failed).len()), (1, 0));
        let store = stage.counted(asked, Service::Store).map_or(0, |tally| tally.written);
        assert_eq!(store, made as u64, "the store knows");
    }
    stage.agree();
}

#[tokio::test]
async fn asked_again_under_its_key_a_change_is_made_once_wherever_the_answer_was_lost() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    for (key, fate, id) in [(1, Fate::LostBefore, "N1"), (2, Fate::LostAfter, "N2")] {
        let between = Between::new(&stage, &[fate, Fate::Arrives, Fate::Arrives]);
        let gateway = stage.another_gateway(between.clone());
        let ask = |once| send(&gateway, &admin, stage.request(making(id)), once);
        assert_eq!(ask(Some(once(key))).await.unwrap_err(), Failure::Unknown);
        let again = ask(Some(once(key))).await.unwrap();
        assert_eq!((again.affected, again.created, again.replayed), (Some(1), Some(1), fate == Fate::LostAfter));
        assert_eq!(all_texts(&again), [format!("{id}|New")]);
        assert!(ask(Some(once(key))).await.unwrap().replayed);
        assert_eq!(ask(Some(Once { request: [8; 32], ..once(key) })).await.unwrap_err(), Failure::KeyReused);
        assert_eq!(between.next.load(Ordering::SeqCst), if fate == Fate::LostAfter { 1 } else { 2 });
        // By another gateway, too.
        let other = stage.another_gateway(stage.records.clone());
        assert!(send(&other, &admin, stage.request(making(id)), Some(once(key))).await.unwrap().replayed);
    }
    assert_eq!(chilean(&stage).await, 2);
    stage.agree();
    // That it was answered again is on record, as what was read for it.
    let again = stage.recorded(Verdict::Released);
    let again = again.iter().filter(|one| one.body.detail.as_deref().is_some_and(|text| text.contains("idempotency")));
    assert_eq!(again.count(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_under_way_it_is_refused_here_and_waited_for_elsewhere() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    let between = Between::new(&stage, &[]);
    let gateway = stage.another_gateway(between.clone());
    let other = stage.another_gateway(stage.records.clone());
    let first = async { send(&gateway, &admin, stage.request(making("N1")), Some(once(1))).await };
    let meanwhile = async {
        while between.next.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let same = send(&gateway, &admin, stage.request(making("N1")), Some(once(1))).await;
        assert_eq!(same.unwrap_err(), Failure::UnderWay);
        // Another principal's, and another key, have nothing to do with it.
        let support = stage.token("support", ACME);
        let theirs = send(&gateway, &support, stage.request(making("N1")), Some(once(1))).await;
        assert_eq!(theirs.unwrap_err(), Failure::Refused(Refusal::Forbidden));
        // Another gateway makes it; the first then finds it made.
        let made = send(&other, &admin, stage.request(making("N1")), Some(once(1))).await.unwrap();
        assert!(!made.replayed);
        between.leave.add_permits(1);
    };
    let (first, ()) = tokio::join!(first, meanwhile);
    let first = first.unwrap();
    assert!(first.replayed);
    assert_eq!(all_texts(&first), ["N1|New"]);
    assert_eq!(chilean(&stage).await, 1);
    assert!(send(&gateway, &admin, stage.request(making("N1")), Some(once(1))).await.unwrap().replayed);
    stage.agree();
}

/// INVARIANT once-is-own, also against a gateway that says what it likes.
#[tokio::test]
async fn a_gateway_finds_by_a_token_what_its_owner_asked_for_and_nothing_else() {
    let stage = Stage::new().await;
    let admin = stage.token("admin", ACME);
    let own = stage.another_gateway(stage.records.clone());
    send(&own, &admin, stage.request(making("N1")), Some(once(1))).await.unwrap();
    let done = async |token: &str, operation: Operation| {
        let (bearer, request) = (Bearer::new(token.to_owned()), stage.request(operation));
        stage.records.done(&call(&bearer, &request), [1; 32]).await
    };
    let found = done(&admin, making("N1")).await.unwrap().unwrap();
    assert_eq!(found.request, [7; 32]);
    assert_eq!(done(&stage.token("admin", GLOBEX), making("N1")).await, Ok(None));
    let change = || update("customer", &[("phone", "\"1\"")], eq("id", "C1"));
    assert_eq!(done(&stage.token("support", ACME), change()).await, Ok(None));
    // It is for whoever may change records, by a request that does, and for gateways.
    let forbidden = Err(ServiceFailure::Refused(Refusal::Forbidden));
    assert_eq!(done(&admin, Operation::Read(read("customer", &["id"]))).await, forbidden);
    assert_eq!(done(&stage.token("auditor", ACME), change()).await, forbidden);
    let (bearer, request) = (Bearer::new(admin.clone()), stage.request(making("N1")));
    let as_keys = Call { caller: Service::Keys, ..call(&bearer, &request) };
    assert_eq!(stage.records.done(&as_keys, [1; 32]).await, forbidden);
}
