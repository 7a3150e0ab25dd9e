//! Connections that break, servers that come and go.

use super::*;
use crate::Failed;

fn quick() -> ChannelSettings {
    ChannelSettings { backoff_max: Duration::from_millis(100), wait_max: Duration::from_secs(2), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_answers_what_it_has_and_its_successor_gets_the_rest() {
    let deployment = Arc::new(Deployment::new());
    let fake = Arc::new(Fake::default());
    let served = deployment.serve("keys", parts(&fake)).await;
    let address = served.address.clone();
    let slot = deployment.slot("gateway");
    let channel = deployment.channel_with(&slot, "keys", &address, quick());
    let ends = tokio::time::Instant::now() + Duration::from_secs(3);
    let mut callers = Vec::new();
    for _ in 0..8 {
        let (keys, deployment) = (RemoteKeys::new(channel.clone()), Arc::clone(&deployment));
        callers.push(tokio::spawn(async move {
            let mut done = 0u64;
            while tokio::time::Instant::now() < ends {
                let (bearer, request) = (bearer(), deployment.request());
                keys.try_release(&call(&bearer, &request)).await.unwrap();
                done += 1;
            }
            done
        }));
    }
    let mut served = Some(served);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        served.take().unwrap().stop().await;
        served = Some(deployment.serve_with("keys", parts(&fake), Settings::default(), &address).await);
    }
    for caller in callers {
        assert!(caller.await.unwrap() > 50);
    }
}

#[tokio::test]
async fn without_a_server_calls_fail_in_time_and_work_once_there_is_one() {
    let deployment = Deployment::new();
    let fake = Arc::new(Fake::default());
    let served = deployment.serve("keys", parts(&fake)).await;
    let address = served.address.clone();
    served.stop().await;
    let slot = deployment.slot("gateway");
    let settings = ChannelSettings { wait_max: Duration::from_millis(200), ..quick() };
    let keys = RemoteKeys::new(deployment.channel_with(&slot, "keys", &address, settings));
    let (bearer, request) = (bearer(), deployment.request());
    let began = tokio::time::Instant::now();
    let absent = keys.try_release(&call(&bearer, &request)).await;
    assert_eq!(absent.err(), Some(Failed::Unavailable));
    assert!(began.elapsed() < Duration::from_secs(1));
    let _served = deployment.serve_with("keys", parts(&fake), Settings::default(), &address).await;
    tokio::time::timeout(Duration::from_secs(5), async {
        while keys.release(&call(&bearer, &request)).await.is_err() {}
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_directory_that_changes_is_followed() {
    let deployment = Deployment::new();
    let (first, second) = (Arc::new(Fake::default()), Arc::new(Fake::default()));
    let one = deployment.serve("keys", parts(&first)).await;
    let other = deployment.serve("keys", parts(&second)).await;
    let slot = deployment.slot("gateway");
    let (directory, addresses) = watch::channel(Vec::new());
    let channel = Channel::new(ChannelParts {
        tls: deployment.connector(&slot, "keys"),
        own: Some(slot),
        addresses,
        clock: Arc::clone(&deployment.clock),
        entropy: Arc::new(SystemEntropy),
        settings: quick(),
    });
    let keys = RemoteKeys::new(channel.clone());
    let (bearer, request) = (bearer(), deployment.request());
    let call = call(&bearer, &request);
    assert!(!channel.is_connected());
    directory.send(vec![one.address.clone()]).unwrap();
    keys.release(&call).await.unwrap();
    assert_eq!(first.begun.load(Ordering::SeqCst), 1);
    directory.send(vec![other.address.clone()]).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    keys.release(&call).await.unwrap();
    keys.release(&call).await.unwrap();
    assert_eq!((first.begun.load(Ordering::SeqCst), second.begun.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test]
async fn a_write_is_not_sent_twice_when_its_connection_dies() {
    let deployment = Deployment::new();
    let fake = Arc::new(Fake::default());
    *fake.pause.lock() = Duration::from_secs(2);
    let settings = Settings { drain_max: Duration::from_millis(50), ..Settings::default() };
    let served = deployment.serve_with("store", parts(&fake), settings, "127.0.0.1:0").await;
    let slot = deployment.slot("gateway");
    let records = RemoteRecords::new(deployment.channel_with(&slot, "store", &served.address, quick()));
    let (bearer, request) = (bearer(), deployment.request());
    let call = call(&bearer, &request);
    let write = records.try_write(&call, Batch::default());
    let removal = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // The connection is cut while the write is under way.
        served.removed.lock().push(SpiffeId::new("test", "gateway", "a").unwrap());
        tokio::time::sleep(Duration::from_millis(700)).await;
        served.removed.lock().clear();
    };
    let (written, ()) = tokio::join!(write, removal);
    assert_eq!(written, Err(Failed::Unknown), "it was sent, and nobody said what came of it");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!((fake.begun.load(Ordering::SeqCst), fake.done.load(Ordering::SeqCst)), (1, 1));
}
