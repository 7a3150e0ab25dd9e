//! How many audit records a second a ledger takes: `throughput [FOLDER] [APPENDERS] [SECONDS]`.
//!
//! The folder (a fresh temporary one by default) decides which disk is measured.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign_audit::{
    Access, AuditError, AuditKeys, AuditSink, Body, Ledger, LedgerQuery, Options, Record, Service, Verdict,
};
use countersign_crypto::{SealKey, SecretKey, SystemEntropy};
use countersign_model::request::Door;
use countersign_model::{
    Clock, FieldSet, RecordId, RequestId, SessionId, TenantId, TokenId, TypeId, UserId, clock::SystemClock,
};

struct OneKey(Arc<SealKey>);

impl AuditKeys for OneKey {
    fn audit_key(&self, _: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
        Ok(Arc::clone(&self.0))
    }
}

fn point_read(now: countersign_model::UnixMs, tenant: TenantId) -> Record {
    let access = Access {
        record_type: TypeId(1),
        fields: FieldSet::first(4),
        filter_fields: FieldSet::first(1),
        records: [RecordId::new(now, &SystemEntropy)].into_iter().collect(),
        rows: 1,
    };
    let body = Body {
        accesses: vec![access],
        user: Some(UserId::from_u128(1)),
        user_name: Some("nancy".into()),
        session: Some(SessionId::from_u128(2)),
        token: Some(TokenId::from_u128(3)),
        action: "read".into(),
        ..Body::default()
    };
    Record {
        time: now,
        request: RequestId::new(now, &SystemEntropy),
        service: Service::Gateway,
        door: Some(Door::Http),
        verdict: Verdict::Released,
        tenant: Some(tenant),
        tally: None,
        body,
    }
}

#[expect(clippy::print_stdout, reason = "a program for the terminal")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let fresh = std::env::temp_dir().join(format!("countersign-throughput-{}", std::process::id()));
    let folder = arguments.next().map_or(fresh, PathBuf::from);
    let appenders: u64 = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(5.0), |text| text.parse())?;

    let key = Arc::new(SealKey::new(&SecretKey::from_bytes([1; 32])));
    let entropy = Arc::new(SystemEntropy);
    let open = || {
        let keys = Arc::new(OneKey(Arc::clone(&key)));
        Ledger::open(&folder, Service::Gateway, keys, Arc::<SystemEntropy>::clone(&entropy), Options::default())
    };
    let ledger = Arc::new(open()?);
    let (stop, waited_us) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (before, started) = (ledger.size(), Instant::now());
    let tasks: Vec<_> = (0..appenders)
        .map(|number| {
            let (ledger, stop, waited_us) = (Arc::clone(&ledger), Arc::clone(&stop), Arc::clone(&waited_us));
            tokio::spawn(async move {
                let tenant = TenantId::from_u128(u128::from(number.checked_rem(10).unwrap_or_default()));
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    ledger.append(point_read(SystemClock.now(), tenant)).await?;
                    waited_us.fetch_add(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
                }
                Ok::<_, AuditError>(())
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    let (took, records) = (started.elapsed(), ledger.size().saturating_sub(before));
    println!("append: {appenders} appenders, {:.0} records/s", records as f64 / took.as_secs_f64());
    println!("append: {:.0} µs each on average", waited_us.load(Ordering::Relaxed) as f64 / records.max(1) as f64);

    let started = Instant::now();
    let record = Some((TypeId(1), RecordId::from_u128(1)));
    let found = ledger.query(Some(TenantId::from_u128(1)), &LedgerQuery { record, ..LedgerQuery::default() })?;
    println!("who-saw: {} of {} records in {:?}", found.len(), ledger.size(), started.elapsed());

    let records = ledger.size();
    ledger.close().await;
    drop(ledger);
    let started = Instant::now();
    open()?;
    println!("open: {records} records in {:?}", started.elapsed());
    Ok(())
}
