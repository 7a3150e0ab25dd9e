//! Audit records per second, beside what the disk allows: bare appends of as many bytes, each synced.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use countersign_audit::{
    Access, AuditError, AuditKeys, AuditSink as _, Body, Ledger, LogParts, Options as LedgerOptions, Record, RecordSet,
    Service, Verdict,
};
use countersign_crypto::note::NoteKey;
use countersign_crypto::{SealKey, SecretKey, SystemEntropy};
use countersign_model::clock::SystemClock;
use countersign_model::{
    Clock as _, FieldId, FieldSet, RecordId, RequestId, SessionId, TenantId, TokenId, TypeId, UserId,
};
use countersign_tlog::Signer;

use crate::Options;
use crate::report::{Report, Row, Target};
use crate::timing::median;

struct OneKey(Arc<SealKey>);

impl AuditKeys for OneKey {
    fn audit_key(&self, _: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
        Ok(Arc::clone(&self.0))
    }
}

/// Opens a ledger to measure, as a log or not.
pub fn open(path: &std::path::Path, is_log: bool) -> Result<Arc<Ledger>> {
    let keys = Arc::new(OneKey(Arc::new(SealKey::new(&SecretKey::generate(&SystemEntropy)))));
    let key = |number| NoteKey::from_seed(&SecretKey::from_bytes([number; 32]));
    let name = "bench.example/log/gateway/first";
    let (signer, witness) = (Signer::log(name, key(1))?, Signer::witness(name, key(2))?);
    let log = is_log.then(|| LogParts { signer, witness, clock: Arc::new(SystemClock) });
    let options = LedgerOptions::default();
    Ok(Arc::new(Ledger::open_as_log(path, Service::Gateway, keys, Arc::new(SystemEntropy), options, log)?))
}

/// Records a second that so many callers at once have made durable.
fn rate(ledger: &Arc<Ledger>, clients: usize, duration: Duration) -> Result<f64> {
    let appended = Arc::new(AtomicU64::new(0));
    let tenant = TenantId::new(SystemClock.now(), &SystemEntropy);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let until = Instant::now() + duration;
        let tasks: Vec<_> = (0..clients)
            .map(|_| {
                let (ledger, appended) = (Arc::clone(ledger), Arc::clone(&appended));
                tokio::spawn(async move {
                    while Instant::now() < until {
                        ledger.append(record(tenant)).await?;
                        appended.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<_, AuditError>(())
                })
            })
            .collect();
        for task in tasks {
            task.await.context("a task")??;
        }
        Ok::<_, anyhow::Error>(appended.load(Ordering::Relaxed) as f64 / duration.as_secs_f64())
    })
}

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let duration = Duration::from_millis(if options.quick { 300 } else { 4000 });
    let folder = tempfile::Builder::new().prefix("countersign-bench-").tempdir_in(&options.disk)?;
    for clients in [1usize, 64] {
        let path = folder.path().join(format!("ledger-{clients}"));
        let ledger = open(&path, true)?;
        let rate = rate(&ledger, clients, duration)?;
        let bytes = folder_bytes(&path)? / ledger.size().max(1);
        let syncs = bare_syncs(&folder.path().join("bare"), usize::try_from(bytes)? * clients, duration)?;
        report.add(Row {
            name: format!("audit records, {clients} at once"),
            figure: rate,
            unit: "records/s",
            limit: Some(("bare appends, synced".into(), syncs * clients as f64)),
            target: Target::Unset,
            note: format!("{bytes} bytes a record; the limit syncs once for {clients}"),
        });
    }
    let with = open(&folder.path().join("with"), true)?;
    let without = open(&folder.path().join("without"), false)?;
    // In turns, so that a slow minute of the machine falls on both.
    let (mut figures, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        limits.push(rate(&without, 64, duration)?);
        figures.push(rate(&with, 64, duration)?);
    }
    let limit = median(&mut limits);
    report.add(Row {
        name: "audit records, 64 at once, as a log".into(),
        figure: median(&mut figures),
        unit: "records/s",
        limit: Some(("without the log".into(), limit)),
        target: Target::RatioAtLeast(0.95),
        note: "wanted: 20,000 records/s on 2 cores".into(),
    });
    Ok(())
}

/// A record of a point read.
pub fn record(tenant: TenantId) -> Record {
    let now = SystemClock.now();
    let accessed = Access {
        record_type: TypeId(1),
        fields: FieldSet::first(4),
        filter_fields: FieldSet::EMPTY.with(FieldId(0)),
        records: RecordSet::from_iter([RecordId::new(now, &SystemEntropy)]),
        rows: 1,
    };
    Record {
        time: now,
        request: RequestId::new(now, &SystemEntropy),
        service: Service::Gateway,
        door: Some(countersign_model::request::Door::Http),
        verdict: Verdict::Released,
        tenant: Some(tenant),
        tally: None,
        body: Body {
            user: Some(UserId::new(now, &SystemEntropy)),
            user_name: Some("michael".into()),
            session: Some(SessionId::new(now, &SystemEntropy)),
            token: Some(TokenId::new(now, &SystemEntropy)),
            action: "read".into(),
            epoch: 7,
            accesses: vec![accessed],
            ..Body::default()
        },
    }
}

fn folder_bytes(folder: &std::path::Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { folder_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

/// How often a second so many bytes can be appended to a file and made durable.
pub fn bare_syncs(path: &std::path::Path, bytes: usize, duration: Duration) -> Result<f64> {
    let mut file = std::fs::File::create(path)?;
    let content = vec![0x5a; bytes];
    let began = Instant::now();
    let mut count = 0u64;
    while began.elapsed() < duration {
        file.write_all(&content)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}
