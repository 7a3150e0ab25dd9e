//! What a call between services costs, both ends in this process: over loopback with mutual TLS 1.3, with services
//! behind it that do nothing. What it costs above that is decisions and records, measured elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::tls::{CertificateSlot, ClientCertificates, mutual_client_config, mutual_server_config};
use countersign_crypto::x509::{CertificateAuthority, WorkloadKey};
use countersign_crypto::{FieldKeys, FieldSecrets, SecretKey, SystemEntropy};
use countersign_guard::Bearer;
use countersign_model::clock::SystemClock;
use countersign_model::request::{Door, Filter, Literal, Operation, Operator, Read, Select};
use countersign_model::{Clock, FieldId, FieldSet, Opened, RecordId, Request, RequestId, Service, TenantId, TypeId};
use countersign_services::{Call, KeyRelease, Keyring, LiveKeys, Records, SealGrant, SealPurpose, ServiceFailure, Use};
use countersign_store::{Access, Batch, Rejected, Scan, SealedRow};
use countersign_wire::{
    Channel, ChannelParts, ChannelSettings, Note, Parts, RefusedCall, RemoteKeys, RemoteRecords, Settings, Surroundings,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Options;
use crate::report::{Report, Row, Target};
use crate::timing::{median, processor_seconds};

/// Above this, a point read apart can't keep two fifths of the rate in one process.
const CALL_MICROS: f64 = 20.0;
const HOUR_MS: u64 = 3_600_000;
const TYPE: TypeId = TypeId(3);
const FIELDS: u8 = 4;

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let seconds = if options.quick { 0.2 } else { 3.0 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let bench = Bench::new().await?;
        for callers in [1, 16, 256] {
            for (name, kind) in [("release", Kind::Release), ("read of a row", Kind::Read), ("count", Kind::Count)] {
                let Cost { micros, calls_per_second, p50_micros } = bench.run(kind, callers, seconds).await?;
                report.add(Row {
                    name: format!("wire, {name}, {callers} callers"),
                    figure: micros,
                    unit: "µs processor",
                    limit: None,
                    target: if callers == 1 { Target::Unset } else { Target::Under(CALL_MICROS) },
                    note: format!("both ends; {calls_per_second:.0} calls/s, p50 {p50_micros:.0} µs"),
                });
            }
        }
        Ok(())
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Release,
    Read,
    Count,
}

struct Cost {
    micros: f64,
    calls_per_second: f64,
    p50_micros: f64,
}

/// A server that is both a key service and a store, and those who call it.
#[derive(Clone)]
struct Bench {
    keys: Arc<RemoteKeys>,
    records: Arc<RemoteRecords>,
    counting: Arc<RemoteKeys>,
}

impl Bench {
    async fn new() -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ca = CertificateAuthority::generate("bench", clock.now(), 1)?;
        let slot = |role: &str| -> Result<Arc<CertificateSlot>> {
            let key = WorkloadKey::generate()?;
            let id = SpiffeId::new("bench", role, "a")?;
            let issued = ca.issue_workload(&key.request()?, &id, &[], clock.now(), HOUR_MS)?;
            Ok(CertificateSlot::new(&key.with_chain(issued.chain_der)?)?)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let tls = mutual_server_config(&slot("keys")?, ca.ca_pem(), &clock, ClientCertificates::Required, |_| true)?;
        let services = Arc::new(Nothing::new());
        let parts = Parts { keys: Some(Arc::clone(&services) as _), records: Some(services as _), ..Parts::default() };
        let surroundings = Surroundings {
            clock: Arc::clone(&clock),
            note: Arc::new(Unnoted),
            is_removed: Arc::new(|_| false),
            is_it: None,
        };
        let shutdown = std::future::pending();
        tokio::spawn(countersign_wire::server(
            parts,
            Settings::default(),
            surroundings,
            tls.into(),
            listener,
            shutdown,
        ));
        let channel = |role: &str| -> Result<Channel> {
            let own = slot(role)?;
            let tls = mutual_client_config(&own, ca.ca_pem(), &clock, |id| id.role() == "keys")?;
            Ok(Channel::new(ChannelParts {
                tls: tls.into(),
                own: Some(own),
                addresses: watch::channel(vec![address.clone()]).1,
                clock: Arc::clone(&clock),
                entropy: Arc::new(SystemEntropy),
                settings: ChannelSettings::default(),
            }))
        };
        let gateway = channel("gateway")?;
        Ok(Self {
            keys: Arc::new(RemoteKeys::new(gateway.clone())),
            records: Arc::new(RemoteRecords::new(gateway)),
            counting: Arc::new(RemoteKeys::new(channel("store")?)),
        })
    }

    async fn run(&self, kind: Kind, callers: usize, seconds: f64) -> Result<Cost> {
        self.call(kind, &bearer()).await?;
        let began = Instant::now();
        let ends = began + Duration::from_secs_f64(seconds);
        let before = processor_seconds(std::process::id());
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let bench = self.clone();
                tokio::spawn(async move {
                    let bearer = bearer();
                    let mut took = Vec::new();
                    while Instant::now() < ends {
                        let began = Instant::now();
                        bench.call(kind, &bearer).await?;
                        took.push(began.elapsed().as_secs_f64() * 1e6);
                    }
                    anyhow::Ok(took)
                })
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.context("a caller failed")??);
        }
        let (count, elapsed) = (all.len() as f64, began.elapsed().as_secs_f64());
        let processor = processor_seconds(std::process::id()) - before;
        Ok(Cost { micros: processor * 1e6 / count, calls_per_second: count / elapsed, p50_micros: median(&mut all) })
    }

    async fn call(&self, kind: Kind, bearer: &Bearer) -> Result<()> {
        let request = request();
        let deadline = countersign_wire::deadline::current();
        let call = Call { bearer, request: &request, epoch: 1, caller: Service::Gateway, deadline };
        match kind {
            Kind::Release => drop(self.keys.release(&call).await?),
            Kind::Read => drop(self.records.read(&call, &scan()).await?),
            Kind::Count => {
                let opened = [Opened { record_type: TYPE, fields: FieldSet::first(FIELDS.into()), rows: 1 }];
                self.counting.count(&call, &opened).await?;
            }
        }
        Ok(())
    }
}

/// A text as long as a token.
fn bearer() -> Bearer {
    Bearer::new("t".repeat(600))
}

/// A point read of four fields.
fn request() -> Request {
    let select = |field: &str| Select::Field { field: field.to_owned(), alias: None };
    let id = RequestId::new(SystemClock.now(), &SystemEntropy);
    let filter = Filter::Test { field: "id".into(), operator: Operator::Eq, literal: Literal::One("17".into()) };
    let read = Read {
        record_type: "customer".into(),
        select: ["id", "company", "country", "balance"].into_iter().map(select).collect(),
        filter,
        ..Read::default()
    };
    Request { id, door: Door::Http, tenant: None, purpose: None, operation: Operation::Read(read) }
}

fn scan() -> Scan {
    let access = Access::Records(vec![RecordId::from_u128(1)]);
    Scan { record_type: TYPE, access, cells: FieldSet::first(FIELDS.into()), limit: 10_000, after: None }
}

/// Services that have the answer.
struct Nothing {
    keys: Vec<Arc<LiveKeys>>,
    row: SealedRow,
}

impl Nothing {
    fn new() -> Self {
        let secret = || SecretKey::generate(&SystemEntropy);
        let one = || Arc::new(FieldKeys::from_secrets(FieldSecrets { cell: secret(), tag: secret(), epoch: 1 }));
        let keys = || LiveKeys::new(vec![one()], 1).map(Arc::new);
        let cells = (0..FIELDS).map(|field| (FieldId(field), Some(vec![7; 60]))).collect();
        let row = SealedRow { record: RecordId::from_u128(1), version: 1, cells };
        Self { keys: (0..FIELDS).filter_map(|_| keys()).collect(), row }
    }
}

#[async_trait]
impl KeyRelease for Nothing {
    async fn release(&self, _: &Call<'_>) -> Result<Keyring, ServiceFailure> {
        let mut ring = Keyring::new(TenantId::from_u128(1), 1);
        for (field, keys) in (0..).zip(&self.keys) {
            ring.add(TYPE, FieldId(field), Arc::clone(keys), Use { open: true, seal: false, tag: field == 0 });
        }
        Ok(ring)
    }

    async fn count(&self, _: &Call<'_>, _: &[Opened]) -> Result<(), ServiceFailure> {
        Ok(())
    }

    async fn seal_key(&self, _: &Bearer, _: Service, _: SealPurpose) -> Result<SealGrant, ServiceFailure> {
        Err(ServiceFailure::Unavailable)
    }

    async fn new_tenant_key(&self, _: &Call<'_>, _: TenantId) -> Result<Vec<u8>, ServiceFailure> {
        Err(ServiceFailure::Unavailable)
    }

    async fn rewrap_tenant_key(&self, _: &Call<'_>, _: TenantId) -> Result<Vec<u8>, ServiceFailure> {
        Err(ServiceFailure::Unavailable)
    }
}

#[async_trait]
impl Records for Nothing {
    async fn read(&self, _: &Call<'_>, _: &Scan) -> Result<Vec<SealedRow>, ServiceFailure> {
        Ok(vec![self.row.clone()])
    }

    async fn write(&self, _: &Call<'_>, _: Batch) -> Result<Result<(), Rejected>, ServiceFailure> {
        Err(ServiceFailure::Unavailable)
    }

    async fn create_tenant(&self, _: &Call<'_>, _: TenantId) -> Result<(), ServiceFailure> {
        Err(ServiceFailure::Unavailable)
    }

    async fn any_records(&self, _: &Call<'_>, _: TypeId) -> Result<bool, ServiceFailure> {
        Err(ServiceFailure::Unavailable)
    }
}

struct Unnoted;

#[async_trait]
impl Note for Unnoted {
    async fn refused(&self, _: &RefusedCall<'_>) {}
}
