//! Ledgers read from elsewhere, the authority called from elsewhere, health and reflection.

use std::net::IpAddr;

use countersign_audit::{
    AuditError, AuditKeys, AuditSink, Body, Ledger, LedgerQuery, Options, Position, Record, Verdict,
};
use countersign_crypto::SealKey;
use countersign_guard::{Dpop, Peer};
use countersign_model::control::Control;
use countersign_model::{Tally, TokenId, UnixMs};
use countersign_services::{
    ControlFault, ControlRefused, ControlReply, Front, PublicCall, PublicReply, Trail, TrailPage,
};

use super::*;
use crate::{Failed, RemoteFront, RemoteTrail, methods};

struct OneKey(Arc<SealKey>);

impl AuditKeys for OneKey {
    fn audit_key(&self, _: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
        Ok(Arc::clone(&self.0))
    }
}

fn record(number: u64) -> Record {
    let mut tally = Tally::new(TokenId::from_u128(5), 42);
    tally.open(TYPE, FieldSet::first(3), number + 1);
    Record {
        time: UnixMs(1_000 + number),
        request: RequestId::from_u128(u128::from(number)),
        service: Service::Store,
        door: Some(Door::Http),
        verdict: Verdict::Released,
        tenant: Some(TENANT),
        tally: Some(tally),
        body: Body { action: "read".into(), epoch: 42, ..Body::default() },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tallies_are_followed_from_any_place() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(OneKey(Arc::new(SealKey::new(&SecretKey::generate(&SystemEntropy)))));
    let ledger =
        Ledger::open(folder.path(), Service::Store, keys, Arc::new(SystemEntropy), Options::default()).unwrap();
    let ledger = Arc::new(ledger);
    for number in 0..600 {
        if number % 100 == 0 {
            ledger.append(record(number)).await.unwrap();
        } else {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { ledger.append(record(number)).await.unwrap() }).await.unwrap();
        }
    }
    let deployment = Deployment::new();
    let served = deployment.serve("store", Parts { ledger: Some(Arc::clone(&ledger)), ..Parts::default() }).await;
    let trail = RemoteTrail::new(deployment.channel("authority", "store", &served.address));
    let mut all = trail.tallies(None).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 600 {
        seen.extend(all.next().await.unwrap().unwrap());
    }
    for (number, (position, entry)) in (0u64..).zip(&seen) {
        assert_eq!(*position, Position(number));
        assert_eq!(*entry, countersign_audit::TallyEntry::of(&record(number)));
    }
    // From a moment on: the record before it tells where.
    let mut since = trail.tallies_since(UnixMs(1_000 + 590)).await.unwrap();
    let first = since.next().await.unwrap().unwrap();
    assert_eq!((first[0].0, first.len()), (Position(590), 10));
    assert_eq!(trail.tallies_since(UnixMs(1)).await.unwrap().next().await.unwrap().unwrap()[0].0, Position(0));
    // And what comes next, as it comes.
    let mut some = trail.tallies(Some(Position(597))).await.unwrap();
    assert_eq!(some.next().await.unwrap().unwrap().len(), 2);
    ledger.append(record(600)).await.unwrap();
    let next = tokio::time::timeout(Duration::from_secs(1), async {
        loop {
            let next = some.next().await.unwrap().unwrap();
            if !next.is_empty() {
                return next;
            }
        }
    });
    let next = next.await.unwrap();
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].0, Position(600));

    // Then that this was all, again and again.
    for _ in 0..2 {
        let all = tokio::time::timeout(Duration::from_secs(30), some.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(all, []);
    }

    let gateway = RemoteTrail::new(deployment.channel("gateway", "store", &served.address));
    assert_eq!(gateway.tallies(None).await.err(), Some(Failed::Call(CallRefused::Role)));
}

struct Pages;

#[async_trait]
impl Trail for Pages {
    async fn query(
        &self,
        call: &Call<'_>,
        owners: &[Option<TenantId>],
        query: &LedgerQuery,
    ) -> Result<TrailPage, ServiceFailure> {
        assert_eq!((owners, call.caller), (&[Some(TENANT), None][..], Service::Authority));
        let records = (0..700u64).take(query.limit).map(|number| (Position(number), record(number))).collect();
        Ok(TrailPage { size: 1_000, records })
    }
}

#[tokio::test]
async fn audit_records_come_as_they_are() {
    let deployment = Deployment::new();
    let served = deployment.serve("store", Parts { trail: Some(Arc::new(Pages)), ..Parts::default() }).await;
    let trail = RemoteTrail::new(deployment.channel("authority", "store", &served.address));
    let (bearer, request) = (bearer(), deployment.request());
    for limit in [0, 10, 700] {
        let query = LedgerQuery { since: Some(UnixMs(5)), limit, ..LedgerQuery::default() };
        let page = trail.query(&call(&bearer, &request), &[Some(TENANT), None], &query).await.unwrap();
        assert_eq!((page.size, page.records.len()), (1_000, limit));
        for (position, one) in &page.records {
            assert_eq!(*one, record(position.0));
        }
    }
}

struct Answering;

#[async_trait]
impl Front for Answering {
    async fn control(
        &self,
        bearer: Option<Bearer>,
        peer: Peer,
        request: Request,
    ) -> Result<ControlReply, ControlRefused> {
        assert_eq!(peer.address, Some(IpAddr::from([10, 0, 0, 7])));
        assert_eq!(peer.certificate, Some([3; 32]));
        assert_eq!(
            peer.dpop.map(|dpop| (dpop.proof, dpop.method, dpop.url)),
            Some(("p".into(), "M".into(), "u".into()))
        );
        match (bearer, request.operation) {
            (None, _) => Err(ControlRefused::Refused(Refusal::NoToken)),
            (Some(_), Operation::Control(Control::TypesRead)) => {
                Ok(ControlReply { json: b"{}".into(), created: true, epoch: 7 })
            }
            _ => Err(ControlRefused::Failed { fault: ControlFault::Exists, message: "there is one".into() }),
        }
    }

    async fn public(&self, call: PublicCall) -> PublicReply {
        assert_eq!(call.bearer.as_ref().map(Bearer::as_str), Some("t"));
        assert_eq!(call.certificate, Some([7; 32]));
        let headers = vec![("content-type".to_owned(), "text/plain".to_owned())];
        PublicReply { status: 418, headers, body: [call.path.as_bytes(), &call.body].concat(), epoch: 7 }
    }
}

#[tokio::test]
async fn the_authority_is_called_as_if_it_were_here() {
    let deployment = Deployment::new();
    let served = deployment.serve("authority", Parts { front: Some(Arc::new(Answering)), ..Parts::default() }).await;
    let front = RemoteFront::new(deployment.channel("gateway", "authority", &served.address));
    let peer = || Peer {
        address: Some(IpAddr::from([10, 0, 0, 7])),
        certificate: Some([3; 32]),
        dpop: Some(Dpop { proof: "p".into(), method: "M".into(), url: "u".into() }),
        deadline: None,
    };
    let control = |control| Request { operation: Operation::Control(control), ..deployment.request() };
    let read = front.control(Some(bearer()), peer(), control(Control::TypesRead)).await;
    assert_eq!(read, Ok(ControlReply { json: b"{}".into(), created: true, epoch: 7 }));
    let failed = front.control(Some(bearer()), peer(), control(Control::WhoAmI)).await;
    let message = "there is one".to_owned();
    assert_eq!(failed, Err(ControlRefused::Failed { fault: ControlFault::Exists, message }));
    let refused = front.control(None, peer(), control(Control::WhoAmI)).await;
    assert_eq!(refused, Err(ControlRefused::Refused(Refusal::NoToken)));
    // Requests for records are not for the authority.
    let records = front.try_control(None, peer(), &deployment.request()).await;
    assert_eq!(records, Err(Failed::Call(CallRefused::Malformed)));

    let public = |request| PublicCall {
        request,
        method: "POST".into(),
        path: "/v1/token".into(),
        query: None,
        content_type: Some("text/plain".into()),
        bearer: Some(Bearer::new("t".into())),
        dpop: None,
        url: "https://here/v1/token".into(),
        body: b"!".into(),
        address: None,
        certificate: Some([7; 32]),
    };
    let reply = front.public(public(deployment.request().id)).await;
    assert_eq!((reply.status, reply.body), (418, b"/v1/token!".to_vec()));
    let old = RequestId::new(deployment.clock.now().minus_ms(40_000), &SystemEntropy);
    assert_eq!(front.try_public(public(old)).await.err(), Some(Failed::Call(CallRefused::Old)));
}

#[tokio::test]
async fn health_and_reflection_answer_services() {
    use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
    let deployment = Deployment::new();
    let served = deployment.serve("keys", parts(&Arc::new(Fake::default()))).await;
    let channel = deployment.channel("monitor", "keys", &served.address);
    let method = methods::find("/grpc.health.v1.Health/Check").unwrap();
    // The client decodes only our own messages, so these answers are looked at as they are.
    let check = async |service: &str| {
        let message = HealthCheckRequest { service: service.to_owned() };
        let reply: Result<Raw, _> = channel.unary(method, &message).await;
        reply.map(|raw| raw.0.status)
    };
    assert_eq!(check("countersign.v1.Keys").await, Ok(1));
    assert!(check("countersign.v1.Authority").await.is_err());

    /// Named as one of our messages, so that the bounds are known.
    #[derive(Default)]
    struct Raw(HealthCheckResponse);
    impl prost::Message for Raw {
        fn encode_raw(&self, buffer: &mut impl bytes::BufMut) {
            self.0.encode_raw(buffer);
        }
        fn merge_field(
            &mut self,
            tag: u32,
            wire_type: prost::encoding::WireType,
            buffer: &mut impl bytes::Buf,
            context: prost::encoding::DecodeContext,
        ) -> Result<(), prost::DecodeError> {
            self.0.merge_field(tag, wire_type, buffer, context)
        }
        fn encoded_len(&self) -> usize {
            self.0.encoded_len()
        }
        fn clear(&mut self) {
            self.0.clear();
        }
    }
    impl prost::Name for Raw {
        const NAME: &'static str = "Empty";
        const PACKAGE: &'static str = "countersign.v1";
    }
}
