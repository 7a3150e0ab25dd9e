//! Calls that are not accepted, each for its reason, and each noted.

use countersign_model::UnixMs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::{Failed, methods, pb};

async fn refused(keys: &RemoteKeys, request: &Request) -> Option<Failed> {
    let bearer = bearer();
    keys.try_release(&call(&bearer, request)).await.err()
}

#[tokio::test]
async fn a_role_may_call_what_the_table_says_and_nothing_else() {
    let deployment = Deployment::new();
    let fake = Arc::new(Fake::default());
    let served = deployment.serve("keys", parts(&fake)).await;
    let (bearer, request) = (bearer(), deployment.request());
    for role in ["store", "monitor", "keys", "something"] {
        let keys = RemoteKeys::new(deployment.channel(role, "keys", &served.address));
        assert_eq!(refused(&keys, &request).await, Some(Failed::Call(CallRefused::Role)), "{role}");
        // Whoever makes none of the calls of the stream does not get as far as the call.
        let method = if role == "store" { "/countersign.v1.Pipe/Calls/release" } else { "/countersign.v1.Pipe/Calls" };
        assert_eq!(served.noted.last(), Some((role.to_owned(), method, CallRefused::Role)));
    }
    let gateway = RemoteKeys::new(deployment.channel("gateway", "keys", &served.address));
    let counted = gateway.try_count(&call(&bearer, &request), &[]).await;
    assert_eq!(counted, Err(Failed::Call(CallRefused::Role)));
    assert_eq!(fake.begun.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn requests_that_are_not_of_now_are_refused() {
    let (deployment, fake, served, keys, _) = gateway().await;
    let now = deployment.clock.now();
    let made = |at: UnixMs| Request { id: RequestId::new(at, &SystemEntropy), ..deployment.request() };
    assert_eq!(refused(&keys, &made(now.minus_ms(31_000))).await, Some(Failed::Call(CallRefused::Old)));
    assert_eq!(served.noted.last().unwrap().2, CallRefused::Old);
    assert_eq!(refused(&keys, &made(now.plus_ms(7_000))).await, Some(Failed::Call(CallRefused::Early)));
    assert_eq!(served.noted.last().unwrap().2, CallRefused::Early);
    assert_eq!(fake.begun.load(Ordering::SeqCst), 0);
    assert_eq!(refused(&keys, &made(now.minus_ms(25_000))).await, None);
    assert_eq!(refused(&keys, &made(now.plus_ms(3_000))).await, None);
}

#[tokio::test]
async fn a_call_that_was_seen_is_refused() {
    let (deployment, fake, served, keys, _) = gateway().await;
    let request = deployment.request();
    assert_eq!(refused(&keys, &request).await, None);
    assert_eq!(refused(&keys, &request).await, None, "another call for the same request");
    let channel = || deployment.channel("gateway", "keys", &served.address);
    let again = RemoteKeys::new(channel());
    assert_eq!(refused(&again, &request).await, None, "the same service by another channel");
    // Whoever recorded it sends it again.
    let request = crate::write_request(&request).unwrap();
    let recorded = pb::Call { token: "t".into(), request: request.into(), epoch: 1, sequence: channel().sequence() };
    let sent = async || again.release_message(pb::ReleaseRequest { call: Some(recorded.clone()) }).await.err();
    assert_eq!(sent().await, None);
    assert_eq!(sent().await, Some(Failed::Call(CallRefused::Replay)));
    assert_eq!(served.noted.last().unwrap().2, CallRefused::Replay);
    assert_eq!(fake.begun.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_call_that_can_not_be_read_is_refused() {
    let (deployment, fake, served, _, _) = gateway().await;
    let channel = deployment.channel("gateway", "keys", &served.address);
    let keys = RemoteKeys::new(channel.clone());
    let release = async |call: Option<pb::Call>| keys.release_message(pb::ReleaseRequest { call }).await.err();
    let good = || pb::Call {
        token: "t".into(),
        request: crate::write_request(&deployment.request()).unwrap().into(),
        epoch: 1,
        sequence: channel.sequence(),
    };
    assert_eq!(release(Some(good())).await, None);
    let unnamed = pb::Call { token: String::new(), ..good() };
    assert_eq!(release(Some(unnamed)).await, None, "that is for the guard behind to refuse");
    let malformed = Some(Failed::Call(CallRefused::Malformed));
    assert_eq!(release(None).await, malformed);
    assert_eq!(release(Some(pb::Call { request: vec![0xff; 20].into(), ..good() })).await, malformed);
    assert_eq!(release(Some(pb::Call { request: Vec::new().into(), ..good() })).await, malformed);
    assert_eq!(served.noted.last().unwrap().2, CallRefused::Malformed);
    assert_eq!(fake.begun.load(Ordering::SeqCst), 2);
    // Bytes that are no message at all.
    let junk = pb::SealKeyReply { tenant: vec![0xff; 9], ..pb::SealKeyReply::default() };
    let reply: Result<pb::Empty, _> = channel.unary(&methods::WRITE, &junk).await;
    assert_eq!(reply.err(), malformed);
}

#[tokio::test]
async fn what_is_not_served_is_not_there() {
    let deployment = Deployment::new();
    let served = deployment.serve("keys", Parts::default()).await;
    let keys = RemoteKeys::new(deployment.channel("gateway", "keys", &served.address));
    assert_eq!(refused(&keys, &deployment.request()).await, Some(Failed::Call(CallRefused::NotHere)));
    let channel = deployment.channel("gateway", "keys", &served.address);
    let odd = methods::Method { path: "/countersign.v1.Keys/Everything", ..methods::WRITE };
    let reply: Result<pb::Empty, _> = channel.unary(&odd, &pb::Empty {}).await;
    assert_eq!(reply.err(), Some(Failed::Call(CallRefused::NotHere)));
}

#[tokio::test]
async fn too_much_at_once_is_refused_as_busy() {
    let deployment = Deployment::new();
    let fake = Arc::new(Fake::default());
    *fake.pause.lock() = Duration::from_millis(300);
    let settings = Settings { in_flight_max: 2, ..Settings::default() };
    let served = deployment.serve_with("keys", parts(&fake), settings, "127.0.0.1:0").await;
    let keys = RemoteKeys::new(deployment.channel("gateway", "keys", &served.address));
    let requests: Vec<_> = (0..5).map(|_| deployment.request()).collect();
    let all = requests.iter().map(|request| refused(&keys, request));
    let all = futures_util::future::join_all(all).await;
    assert_eq!(all.iter().filter(|one| one.is_none()).count(), 2);
    assert_eq!(all.iter().filter(|one| **one == Some(Failed::Call(CallRefused::Busy))).count(), 3);
    // And then there is room again.
    assert_eq!(refused(&keys, &requests[0]).await, None);
}

#[tokio::test]
async fn a_channel_keeps_its_own_bound() {
    let (deployment, fake, served, _, _) = gateway().await;
    *fake.pause.lock() = Duration::from_millis(200);
    let settings = ChannelSettings { in_flight_max: 1, ..ChannelSettings::default() };
    let slot = deployment.slot("gateway");
    let keys = RemoteKeys::new(deployment.channel_with(&slot, "keys", &served.address, settings));
    let (one, other) = (deployment.request(), deployment.request());
    let (one, other) = tokio::join!(refused(&keys, &one), refused(&keys, &other));
    assert_eq!((one, other), (None, Some(Failed::Call(CallRefused::Busy))));
}

#[tokio::test]
async fn an_identity_that_was_removed_is_refused_at_once_and_loses_its_connection() {
    let (deployment, _fake, served, keys, _) = gateway().await;
    let request = deployment.request();
    assert_eq!(refused(&keys, &request).await, None);
    served.removed.lock().push(SpiffeId::new("test", "gateway", "a").unwrap());
    assert_eq!(refused(&keys, &request).await, Some(Failed::Call(CallRefused::Removed)));
    let (role, method, why) = served.noted.last().unwrap();
    assert_eq!((&*role, why), ("gateway", CallRefused::Removed));
    assert!(method.starts_with("/countersign.v1.Pipe/Calls"));
}

/// Plain HTTP, plain HTTP/2 and nothing at all: no byte comes back but a TLS alert.
#[tokio::test]
async fn whoever_speaks_in_clear_is_not_answered() {
    let deployment = Deployment::new();
    let served = deployment.serve("keys", Parts::default()).await;
    for said in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(&served.address).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() <= 7 && answer.first().is_none_or(|kind| *kind == 0x15), "{answer:?}");
    }
}

#[tokio::test]
async fn a_server_in_another_role_is_not_spoken_to() {
    let deployment = Deployment::new();
    let fake = Arc::new(Fake::default());
    let served = deployment.serve("store", parts(&fake)).await;
    let settings = ChannelSettings { wait_max: Duration::from_millis(300), ..ChannelSettings::default() };
    let slot = deployment.slot("gateway");
    let keys = RemoteKeys::new(deployment.channel_with(&slot, "keys", &served.address, settings));
    assert_eq!(refused(&keys, &deployment.request()).await, Some(Failed::Unavailable));
    assert_eq!(fake.begun.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn another_authority_s_certificate_is_worth_nothing() {
    let (deployment, other) = (Deployment::new(), Deployment::new());
    let fake = Arc::new(Fake::default());
    let served = deployment.serve("keys", parts(&fake)).await;
    let settings = ChannelSettings { wait_max: Duration::from_millis(300), ..ChannelSettings::default() };
    // It trusts the server; the server does not trust it.
    let slot = other.slot("gateway");
    let keys = RemoteKeys::new(deployment.channel_with(&slot, "keys", &served.address, settings));
    assert_eq!(refused(&keys, &deployment.request()).await, Some(Failed::Unavailable));
    assert_eq!(fake.begun.load(Ordering::SeqCst), 0);
}
