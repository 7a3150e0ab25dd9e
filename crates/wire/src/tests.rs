//! Real servers on loopback, with certificates of a real authority; behind them services that only say what reached
//! them.

mod calls;
mod certificates;
mod connections;
mod facts;

mod latency;
mod logs;
mod refusals;
mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::tls::{
    CertificateSlot, ClientCertificates, TlsAcceptor, TlsConnector, join_client_config, mutual_client_config,
    mutual_server_config,
};
use countersign_crypto::x509::{CertificateAuthority, ServerCertificate, WorkloadKey};
use countersign_crypto::{FieldKeys, FieldSecrets, SecretKey, SystemEntropy};
use countersign_guard::{Bearer, Refusal};
use countersign_model::clock::SystemClock;
use countersign_model::request::{Door, Operation, Read};
use countersign_model::{Clock, FieldId, FieldSet, Opened, Request, RequestId, Service, TenantId, TypeId, UnixMs};
use countersign_services::{Call, KeyRelease, Keyring, LiveKeys, Records, SealGrant, SealPurpose, ServiceFailure, Use};
use countersign_store::{Access, Batch, Rejected, Scan, SealedRow, SealedState, StateScan};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::client::{Channel, ChannelParts, ChannelSettings};
use crate::server::{Note, Parts, RefusedCall, Settings, Surroundings, server};
use crate::{CallRefused, RemoteKeys, RemoteRecords};

const HOUR_MS: u64 = 3_600_000;
const TENANT: TenantId = TenantId::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001);
const TYPE: TypeId = TypeId(3);

/// A certificate authority and the time.
pub(crate) struct Deployment {
    pub(crate) ca: CertificateAuthority,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Deployment {
    pub(crate) fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Self { ca: CertificateAuthority::generate("test", clock.now(), 10).unwrap(), clock }
    }

    pub(crate) fn certificate(&self, role: &str, lifetime_ms: u64) -> ServerCertificate {
        let key = WorkloadKey::generate().unwrap();
        let id = SpiffeId::new("test", role, "a").unwrap();
        let issued = self.ca.issue_workload(&key.request().unwrap(), &id, &[], self.clock.now(), lifetime_ms);
        key.with_chain(issued.unwrap().chain_der).unwrap()
    }

    pub(crate) fn slot(&self, role: &str) -> Arc<CertificateSlot> {
        CertificateSlot::new(&self.certificate(role, HOUR_MS)).unwrap()
    }

    pub(crate) fn acceptor(&self, slot: &Arc<CertificateSlot>) -> TlsAcceptor {
        let admitted = |id: &SpiffeId| id.trust_domain() == "test";
        mutual_server_config(slot, self.ca.ca_pem(), &self.clock, ClientCertificates::Optional, admitted)
            .unwrap()
            .into()
    }

    pub(crate) fn connector(&self, slot: &Arc<CertificateSlot>, expected: &'static str) -> TlsConnector {
        let config = mutual_client_config(slot, self.ca.ca_pem(), &self.clock, move |id| id.role() == expected);
        config.unwrap().into()
    }

    pub(crate) async fn serve(&self, role: &str, parts: Parts) -> Served {
        self.serve_with(role, parts, Settings::default(), "127.0.0.1:0").await
    }

    pub(crate) async fn serve_with(&self, role: &str, parts: Parts, settings: Settings, address: &str) -> Served {
        let slot = self.slot(role);
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let noted = Arc::new(Noted::default());
        let removed = Arc::new(Mutex::new(Vec::<SpiffeId>::new()));
        let is_removed = {
            let removed = Arc::clone(&removed);
            Arc::new(move |id: &SpiffeId| removed.lock().contains(id))
        };
        let note = Arc::clone(&noted) as Arc<dyn Note>;
        let surroundings = Surroundings { clock: Arc::clone(&self.clock), note, is_removed, is_it: None };
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(server(parts, settings, surroundings, self.acceptor(&slot), listener, shutdown));
        Served { address, noted, removed, slot, stop: Some(stop), task }
    }

    pub(crate) fn channel(&self, role: &str, expected: &'static str, address: &str) -> Channel {
        self.channel_with(&self.slot(role), expected, address, ChannelSettings::default())
    }

    pub(crate) fn channel_with(
        &self,
        slot: &Arc<CertificateSlot>,
        expected: &'static str,
        address: &str,
        settings: ChannelSettings,
    ) -> Channel {
        self.channel_of(self.connector(slot, expected), Some(Arc::clone(slot)), address, settings)
    }

    pub(crate) fn joining(&self, address: &str) -> Channel {
        let tls = join_client_config(self.ca.ca_sha256(), &self.clock).unwrap().into();
        self.channel_of(tls, None, address, ChannelSettings { connections: 1, ..ChannelSettings::default() })
    }

    fn channel_of(
        &self,
        tls: TlsConnector,
        own: Option<Arc<CertificateSlot>>,
        address: &str,
        settings: ChannelSettings,
    ) -> Channel {
        let (_, addresses) = watch::channel(vec![address.to_owned()]);
        Channel::new(ChannelParts {
            tls,
            own,
            addresses,
            clock: Arc::clone(&self.clock),
            entropy: Arc::new(SystemEntropy),
            settings,
        })
    }

    pub(crate) fn request(&self) -> Request {
        let operation = Operation::Read(Read { record_type: "customer".into(), ..Read::default() });
        let id = RequestId::new(self.clock.now(), &SystemEntropy);
        Request { id, door: Door::Http, tenant: None, purpose: Some("test".into()), operation }
    }
}

/// A server that runs.
pub(crate) struct Served {
    pub(crate) address: String,
    pub(crate) noted: Arc<Noted>,
    pub(crate) removed: Arc<Mutex<Vec<SpiffeId>>>,
    pub(crate) slot: Arc<CertificateSlot>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        let _ = (&mut self.task).await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What was noted of calls that were not accepted.
#[derive(Default)]
pub(crate) struct Noted(Mutex<Vec<(String, &'static str, CallRefused)>>);

impl Noted {
    pub(crate) fn last(&self) -> Option<(String, &'static str, CallRefused)> {
        self.0.lock().last().cloned()
    }
}

#[async_trait]
impl Note for Noted {
    async fn refused(&self, refused: &RefusedCall<'_>) {
        let role = refused.peer.map_or("", |peer| peer.id.role()).to_owned();
        self.0.lock().push((role, refused.method, refused.why));
    }
}

/// A key service and store that do as they are told.
pub(crate) struct Fake {
    pub(crate) pause: Mutex<Duration>,
    pub(crate) refusal: Mutex<Option<Refusal>>,
    pub(crate) rows: Mutex<Vec<SealedRow>>,
    pub(crate) begun: AtomicUsize,
    pub(crate) done: AtomicUsize,
    pub(crate) counted: AtomicU64,
    pub(crate) seen: Mutex<Vec<(String, Request, u64, Service)>>,
    keys: Arc<LiveKeys>,
}

impl Default for Fake {
    fn default() -> Self {
        let secret = || SecretKey::generate(&SystemEntropy);
        let keys = |epoch| FieldSecrets { cell: secret(), tag: secret(), epoch };
        let keys = [7, 4].map(|epoch| Arc::new(FieldKeys::from_secrets(keys(epoch))));
        Self {
            pause: Mutex::default(),
            refusal: Mutex::default(),
            rows: Mutex::default(),
            begun: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            counted: AtomicU64::new(0),
            seen: Mutex::default(),
            keys: Arc::new(LiveKeys::new(keys.to_vec(), 9).unwrap()),
        }
    }
}

impl Fake {
    async fn called(&self, call: &Call<'_>) -> Result<(), ServiceFailure> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if self.seen.lock().len() < 100 {
            let seen = (call.bearer.as_str().to_owned(), call.request.clone(), call.epoch, call.caller);
            self.seen.lock().push(seen);
        }
        let pause = *self.pause.lock();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        self.refusal.lock().clone().map_or(Ok(()), |refusal| Err(ServiceFailure::Refused(refusal)))
    }
}

#[async_trait]
impl KeyRelease for Fake {
    async fn release(&self, call: &Call<'_>) -> Result<Keyring, ServiceFailure> {
        self.called(call).await?;
        let mut ring = Keyring::new(TENANT, 9);
        let uses = Use { open: true, seal: false, tag: true };
        ring.add(TYPE, FieldId(5), Arc::clone(&self.keys), uses);
        Ok(ring)
    }

    async fn issued_epoch(&self, call: &Call<'_>) -> Result<u32, ServiceFailure> {
        self.called(call).await?;
        Ok(9)
    }

    async fn count(&self, call: &Call<'_>, opened: &[Opened]) -> Result<(), ServiceFailure> {
        self.called(call).await?;
        self.counted.fetch_add(opened.iter().map(Opened::cells).sum(), Ordering::SeqCst);
        Ok(())
    }

    async fn seal_key(&self, _: &Bearer, caller: Service, _: SealPurpose) -> Result<SealGrant, ServiceFailure> {
        if caller == Service::Store {
            return Err(ServiceFailure::Refused(Refusal::Forbidden));
        }
        Ok(SealGrant { tenant: TENANT, secret: SecretKey::from_bytes([4; 32]), epoch: 9 })
    }

    async fn new_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, ServiceFailure> {
        self.called(call).await?;
        Ok(tenant.as_bytes().to_vec())
    }

    async fn rewrap_tenant_key(&self, call: &Call<'_>, tenant: TenantId) -> Result<Vec<u8>, ServiceFailure> {
        self.called(call).await?;
        Ok(tenant.as_bytes().to_vec())
    }
}

#[async_trait]
impl Records for Fake {
    async fn read(&self, call: &Call<'_>, _: &Scan) -> Result<Vec<SealedRow>, ServiceFailure> {
        self.called(call).await?;
        Ok(self.rows.lock().clone())
    }

    async fn history(&self, call: &Call<'_>, scan: &StateScan) -> Result<Vec<SealedState>, ServiceFailure> {
        self.called(call).await?;
        let rows = self.rows.lock().clone().into_iter().zip(1u64..);
        let until = |number: u64| scan.after.map(|(_, version)| UnixMs(version + number));
        Ok(rows.map(|(row, number)| SealedState { row, at: UnixMs(number), until: until(number) }).collect())
    }

    async fn write(&self, call: &Call<'_>, batch: Batch) -> Result<Result<(), Rejected>, ServiceFailure> {
        self.called(call).await?;
        Ok(if batch.changes.is_empty() { Ok(()) } else { Err(Rejected::Stale { change: 0 }) })
    }

    async fn create_tenant(&self, call: &Call<'_>, _: TenantId) -> Result<(), ServiceFailure> {
        self.called(call).await
    }

    async fn any_records(&self, call: &Call<'_>, record_type: TypeId) -> Result<bool, ServiceFailure> {
        self.called(call).await?;
        Ok(record_type == TYPE)
    }
}

pub(crate) fn parts(fake: &Arc<Fake>) -> Parts {
    Parts { keys: Some(Arc::clone(fake) as _), records: Some(Arc::clone(fake) as _), ..Parts::default() }
}

pub(crate) fn scan(limit: usize) -> Scan {
    Scan { record_type: TYPE, access: Access::All, cells: FieldSet::first(4), limit, after: None }
}

pub(crate) fn bearer() -> Bearer {
    Bearer::new("header.claims.signature".to_owned())
}

pub(crate) fn call<'a>(bearer: &'a Bearer, request: &'a Request) -> Call<'a> {
    let deadline = tokio::time::Instant::now() + crate::deadline::CALL_MAX;
    Call { bearer, request, epoch: 42, caller: Service::Authority, deadline }
}

/// A key service and a store on one server, and a gateway that calls it.
pub(crate) async fn gateway() -> (Deployment, Arc<Fake>, Served, RemoteKeys, RemoteRecords) {
    let deployment = Deployment::new();
    let fake = Arc::new(Fake::default());
    let served = deployment.serve("keys", parts(&fake)).await;
    let channel = deployment.channel("gateway", "keys", &served.address);
    (deployment, fake, served, RemoteKeys::new(channel.clone()), RemoteRecords::new(channel))
}
