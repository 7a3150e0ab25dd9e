//! What reaches the services, and what comes back.

use countersign_crypto::Tag;
use countersign_model::RecordId;
use countersign_model::request::History;
use countersign_store::SealedChange;

use super::*;
use crate::Failed;
use crate::deadline;
use tokio::time::Instant;

#[tokio::test]
async fn keys_are_released_as_they_are() {
    let (deployment, fake, _served, keys, _) = gateway().await;
    let (bearer, request) = (bearer(), deployment.request());
    let ring = keys.release(&call(&bearer, &request)).await.unwrap();
    assert_eq!(ring.tenant(), TENANT);
    let slots: Vec<_> = ring.iter().collect();
    assert_eq!(slots.len(), 1);
    let (record_type, field, slot) = slots[0];
    assert_eq!((record_type, field), (TYPE, FieldId(5)));
    assert!(slot.uses.open && !slot.uses.seal && slot.uses.tag);
    assert_eq!((ring.epoch(), slot.keys.tenant_epoch(), slot.keys.iter().count()), (9, 9, 2));
    for (sent, got) in fake.keys.iter().zip(slot.keys.iter()) {
        let (sent, got) = (sent.secrets(), got.secrets());
        assert!(sent.cell.expose() == got.cell.expose() && sent.tag.expose() == got.tag.expose());
        assert_eq!(sent.epoch, got.epoch);
    }

    let seen = fake.seen.lock().pop().unwrap();
    // The role is the certificate's, not what the caller says of itself.
    assert_eq!(seen, ("header.claims.signature".to_owned(), request, 42, Service::Gateway));
}

#[tokio::test]
async fn rows_come_in_chunks_and_none_is_lost() {
    let (deployment, fake, _served, _, records) = gateway().await;
    let row = |number: u128| SealedRow {
        record: RecordId::from_u128(number),
        version: 1,
        cells: vec![(FieldId(0), Some(vec![7; 3_000])), (FieldId(1), None)],
    };
    let (bearer, request) = (bearer(), deployment.request());
    let few = Scan { access: Access::Records(vec![RecordId::from_u128(1)]), ..scan(1_000) };
    for count in [0, 1, 1_000] {
        let rows: Vec<_> = (0..count).map(row).collect();
        *fake.rows.lock() = rows.clone();
        // By a stream of its own, and among other calls.
        for scan in [&scan(1_000), &few] {
            assert_eq!(records.read(&call(&bearer, &request), scan).await.unwrap(), rows);
        }
    }
    // A store that gives more than was asked for is not believed.
    for scan in [scan(999), Scan { limit: 999, ..few }] {
        let more = records.read(&call(&bearer, &request), &scan).await;
        assert_eq!(more, Err(ServiceFailure::Unavailable));
    }
}

#[tokio::test]
async fn a_slow_call_holds_up_no_other_in_its_stream() {
    let (deployment, fake, served, _, _) = gateway().await;
    let settings = ChannelSettings { connections: 1, ..ChannelSettings::default() };
    let slot = deployment.slot("gateway");
    let keys = RemoteKeys::new(deployment.channel_with(&slot, "keys", &served.address, settings));
    let (bearer, request) = (bearer(), deployment.request());
    let call = call(&bearer, &request);
    keys.release(&call).await.unwrap();
    *fake.pause.lock() = Duration::from_secs(2);
    let slow = keys.release(&call);
    let quick = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        *fake.pause.lock() = Duration::ZERO;
        let began = Instant::now();
        keys.release(&call).await.unwrap();
        began.elapsed()
    };
    let (slow, quick) = tokio::join!(slow, quick);
    slow.unwrap();
    assert!(quick < Duration::from_secs(1), "{quick:?}");
}

#[tokio::test]
async fn writes_say_what_came_of_them() {
    let (deployment, _fake, _served, _, records) = gateway().await;
    let (bearer, request) = (bearer(), deployment.request());
    let call = call(&bearer, &request);
    assert_eq!(records.write(&call, Batch::default()).await, Ok(Ok(())));
    let change = SealedChange::Delete { record_type: TYPE, record: RecordId::from_u128(1), version: 1 };
    let batch = Batch { changes: vec![change], requires: vec![], once: None, ..Batch::default() };
    assert_eq!(records.write(&call, batch).await, Ok(Err(Rejected::Stale { change: 0 })));
}

#[tokio::test]
async fn a_refusal_is_what_the_service_said() {
    let (deployment, fake, _served, keys, records) = gateway().await;
    let (bearer, request) = (bearer(), deployment.request());
    for refusal in [Refusal::Forbidden, Refusal::Budget, Refusal::Stale, Refusal::Revoked] {
        *fake.refusal.lock() = Some(refusal.clone());
        let released = keys.release(&call(&bearer, &request)).await.map(|_| ());
        assert_eq!(released, Err(ServiceFailure::Refused(refusal.clone())));
        let read = records.read(&call(&bearer, &request), &scan(1)).await;
        assert_eq!(read, Err(ServiceFailure::Refused(refusal)));
    }
}

#[tokio::test]
async fn counts_that_come_together_go_together_and_each_has_its_answer() {
    let deployment = Deployment::new();
    let fake = Arc::new(Fake::default());
    let served = deployment.serve("keys", parts(&fake)).await;
    let keys = Arc::new(RemoteKeys::new(deployment.channel("store", "keys", &served.address)));
    let opened = [Opened { record_type: TYPE, fields: FieldSet::first(3), rows: 2 }];
    let mut tasks = Vec::new();
    for _ in 0..500 {
        let (keys, request) = (Arc::clone(&keys), deployment.request());
        tasks.push(tokio::spawn(async move {
            let bearer = bearer();
            keys.count(&call(&bearer, &request), &opened).await
        }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(fake.counted.load(Ordering::SeqCst), 500 * 6);

    // One that is refused says nothing about the others.
    let mut old = deployment.request();
    old.id = RequestId::new(deployment.clock.now().minus_ms(60_000), &SystemEntropy);
    let (bearer, fresh) = (bearer(), deployment.request());
    let (old_call, fresh_call) = (call(&bearer, &old), call(&bearer, &fresh));
    let (one, other) = tokio::join!(keys.try_count(&old_call, &opened), keys.try_count(&fresh_call, &opened));
    assert_eq!(one, Err(Failed::Call(CallRefused::Old)));
    assert_eq!(other, Ok(()));
}

#[tokio::test]
async fn states_of_records_come_with_their_times() {
    let (deployment, fake, served, _, records) = gateway().await;
    let cells = vec![(FieldId(0), Some(vec![7; 50_000])), (FieldId(1), None)];
    let row = |number: u128| SealedRow { record: RecordId::from_u128(number), version: 3, cells: cells.clone() };
    *fake.rows.lock() = (1..=9).map(row).collect();
    let (bearer, mut request) = (bearer(), deployment.request());
    let select = vec!["phone".to_owned()];
    let asked = History { record_type: "customer".into(), key: "A/1".into(), select, limit: Some(3) };
    request.operation = Operation::History(asked);
    let call = call(&bearer, &request);
    let scan = |after, limit| StateScan {
        record_type: TYPE,
        access: Access::Tags { field: FieldId(5), tags: vec![Tag([1; 16])] },
        cells: FieldSet::first(2),
        limit,
        after,
    };
    let states = records.history(&call, &scan(Some((RecordId::from_u128(1), 40)), 9)).await.unwrap();
    assert_eq!(states.iter().map(|state| state.row.clone()).collect::<Vec<_>>(), *fake.rows.lock());
    let times: Vec<_> = states.iter().map(|state| (state.at.0, state.until.map(|until| until.0))).collect();
    assert_eq!((times[0], times[8]), ((1, Some(41)), (9, Some(49))));
    let states = records.history(&call, &scan(None, 9)).await.unwrap();
    assert!(states.iter().all(|state| state.until.is_none()));
    assert_eq!(
        records.history(&call, &scan(None, 8)).await,
        Err(ServiceFailure::Unavailable),
        "more than was asked for"
    );
    let others = RemoteRecords::new(deployment.channel("authority", "keys", &served.address));
    assert_eq!(others.try_history(&call, &scan(None, 9)).await, Err(Failed::Call(CallRefused::Role)));
}

#[tokio::test]
async fn seal_keys_and_tenant_keys() {
    let (deployment, fake, served, keys, records) = gateway().await;
    let grant = keys.seal_key(&bearer(), Service::Store, SealPurpose::Cursor).await.unwrap();
    assert_eq!((grant.tenant, *grant.secret.expose(), grant.epoch), (TENANT, [4; 32], 9));

    let (bearer, request) = (bearer(), deployment.request());
    let call = call(&bearer, &request);
    assert_eq!(keys.try_new_tenant_key(&call, TENANT).await, Err(Failed::Call(CallRefused::Role)));
    assert_eq!(keys.try_issued_epoch(&call).await, Err(Failed::Call(CallRefused::Role)));
    let stores = RemoteKeys::new(deployment.channel("store", "keys", &served.address));
    assert_eq!(stores.issued_epoch(&call).await.unwrap(), 9);
    let channel = deployment.channel("authority", "keys", &served.address);
    let (keys, authority_records) = (RemoteKeys::new(channel.clone()), RemoteRecords::new(channel));
    assert_eq!(keys.new_tenant_key(&call, TENANT).await.unwrap(), TENANT.as_bytes());
    assert_eq!(keys.rewrap_tenant_key(&call, TENANT).await.unwrap(), TENANT.as_bytes());
    authority_records.create_tenant(&call, TENANT).await.unwrap();
    assert!(authority_records.any_records(&call, TYPE).await.unwrap());
    assert!(!authority_records.any_records(&call, TypeId(9)).await.unwrap());
    assert_eq!(fake.begun.load(Ordering::SeqCst), 6);
    assert_eq!(records.create_tenant(&call, TENANT).await, Err(ServiceFailure::Unavailable));
}

#[tokio::test]
async fn a_call_ends_with_its_request_and_the_work_with_it() {
    let (deployment, fake, _served, keys, _) = gateway().await;
    let (bearer, request) = (bearer(), deployment.request());
    let call = call(&bearer, &request);
    keys.release(&call).await.unwrap();
    *fake.pause.lock() = Duration::from_millis(600);
    let began = Instant::now();
    let ends = began + Duration::from_millis(150);
    let late = deadline::within(ends, keys.try_release(&call)).await.map(|_| ());
    assert_eq!(late, Err(Failed::Call(CallRefused::Late)));
    assert!(began.elapsed() < Duration::from_millis(500));
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(fake.begun.load(Ordering::SeqCst), 2);
    assert_eq!(fake.done.load(Ordering::SeqCst), 1, "nobody waits for it, so nobody works for it");
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_work_but_not_a_write() {
    let (deployment, fake, _served, keys, records) = gateway().await;
    *fake.pause.lock() = Duration::from_millis(400);
    let (bearer, request) = (bearer(), deployment.request());
    let call = call(&bearer, &request);
    let gone = tokio::time::timeout(Duration::from_millis(150), keys.release(&call)).await;
    assert!(gone.is_err());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!((fake.begun.load(Ordering::SeqCst), fake.done.load(Ordering::SeqCst)), (1, 0));
    let gone = tokio::time::timeout(Duration::from_millis(150), records.write(&call, Batch::default())).await;
    assert!(gone.is_err());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!((fake.begun.load(Ordering::SeqCst), fake.done.load(Ordering::SeqCst)), (2, 1));
}

/// The store tells the key service of the very request it got, without writing it anew.
#[tokio::test]
async fn a_callee_that_calls_on_passes_on_what_it_got() {
    struct Store {
        keys: RemoteKeys,
        raw: Arc<AtomicUsize>,
    }
    #[async_trait]
    impl Records for Store {
        async fn read(&self, call: &Call<'_>, _: &Scan) -> Result<Vec<SealedRow>, ServiceFailure> {
            let as_it_came = crate::received::raw(call.request);
            self.raw.fetch_add(usize::from(as_it_came.is_some()), Ordering::SeqCst);
            assert!(crate::received::raw(&call.request.clone()).is_none(), "another request is not this one");
            let opened = [Opened { record_type: TYPE, fields: FieldSet::first(1), rows: 1 }];
            self.keys.count(call, &opened).await?;
            Ok(Vec::new())
        }
        async fn write(&self, call: &Call<'_>, _: Batch) -> Result<Result<(), Rejected>, ServiceFailure> {
            self.raw.fetch_add(usize::from(crate::received::raw(call.request).is_some()), Ordering::SeqCst);
            Ok(Ok(()))
        }
        async fn create_tenant(&self, _: &Call<'_>, _: TenantId) -> Result<(), ServiceFailure> {
            Err(ServiceFailure::Unavailable)
        }
        async fn any_records(&self, _: &Call<'_>, _: TypeId) -> Result<bool, ServiceFailure> {
            Err(ServiceFailure::Unavailable)
        }
    }
    let deployment = Deployment::new();
    let fake = Arc::new(Fake::default());
    let key_service = deployment.serve("keys", parts(&fake)).await;
    let raw = Arc::new(AtomicUsize::new(0));
    let keys = RemoteKeys::new(deployment.channel("store", "keys", &key_service.address));
    let store = Arc::new(Store { keys, raw: Arc::clone(&raw) });
    let store = deployment.serve("store", Parts { records: Some(store), ..Parts::default() }).await;
    let records = RemoteRecords::new(deployment.channel("gateway", "store", &store.address));
    let (bearer, request) = (bearer(), deployment.request());
    records.read(&call(&bearer, &request), &scan(1)).await.unwrap();
    records.write(&call(&bearer, &request), Batch::default()).await.unwrap().unwrap();
    assert_eq!(raw.load(Ordering::SeqCst), 2);
    let seen = fake.seen.lock().pop().unwrap();
    assert_eq!(seen, ("header.claims.signature".to_owned(), request, 42, Service::Store));
}
