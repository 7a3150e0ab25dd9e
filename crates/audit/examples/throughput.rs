//! How many audit records a second a ledger takes: `throughput [FOLDER] [APPENDERS] [SECONDS] [NOTES]`.
//!
//! The folder (a fresh temporary one by default) decides which disk is measured. Measured are appends alone, notes
//! alone (so many a second), both together, and following the tallies meanwhile; then the reconciler, at 15,000
//! requests a second of its own time.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign_audit::reconcile::Reconciler;
use countersign_audit::{
    Access, AuditError, AuditKeys, AuditSink, Body, Ledger, LedgerQuery, Options, Position, Record, Service,
    TallyEntry, Verdict,
};
use countersign_crypto::{SealKey, SecretKey, SystemEntropy};
use countersign_model::request::Door;
use countersign_model::{
    Clock, FieldSet, RecordId, RequestId, SessionId, Tally, TenantId, TokenId, TypeId, UserId, clock::SystemClock,
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
    let mut tally = Tally::new(TokenId::from_u128(3), 7);
    tally.open(TypeId(1), FieldSet::first(4), 1);
    Record {
        time: now,
        request: RequestId::new(now, &SystemEntropy),
        service: Service::Gateway,
        door: Some(Door::Http),
        verdict: Verdict::Released,
        tenant: Some(tenant),
        tally: Some(tally),
        body,
    }
}

/// Appends as fast as so many callers can.
#[expect(clippy::print_stdout, reason = "a program for the terminal")]
async fn append(ledger: &Arc<Ledger>, appenders: u64, seconds: f64) -> Result<(), Box<dyn std::error::Error>> {
    let (stop, waited_us) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (appended, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let tasks: Vec<_> = (0..appenders)
        .map(|number| {
            let (ledger, stop, waited_us) = (Arc::clone(ledger), Arc::clone(&stop), Arc::clone(&waited_us));
            let appended = Arc::clone(&appended);
            tokio::spawn(async move {
                let tenant = TenantId::from_u128(u128::from(number.checked_rem(10).unwrap_or_default()));
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    ledger.append(point_read(SystemClock.now(), tenant)).await?;
                    waited_us.fetch_add(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
                    appended.fetch_add(1, Ordering::Relaxed);
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
    let (took, records) = (started.elapsed(), appended.load(Ordering::Relaxed));
    println!("  append: {appenders} appenders, {:.0} records/s", records as f64 / took.as_secs_f64());
    println!("  append: {:.0} µs each on average", waited_us.load(Ordering::Relaxed) as f64 / records.max(1) as f64);
    Ok(())
}

/// Notes about so many records a second, as evenly as sleeping allows.
#[expect(clippy::print_stdout, reason = "a program for the terminal")]
async fn note(ledger: &Ledger, per_second: u64, seconds: f64) -> Result<(), AuditError> {
    let tenant = TenantId::from_u128(1);
    let (started, mut noted, mut took, mut slowest) = (Instant::now(), 0u64, Duration::ZERO, Duration::ZERO);
    while started.elapsed().as_secs_f64() < seconds {
        while noted < (started.elapsed().as_secs_f64() * per_second as f64) as u64 {
            let record = point_read(SystemClock.now(), tenant);
            let begun = Instant::now();
            ledger.note(record).await?;
            let this = begun.elapsed();
            (took, slowest) = (took.saturating_add(this), slowest.max(this));
            noted = noted.saturating_add(1);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let each = took.as_secs_f64() * 1e6 / noted.max(1) as f64;
    println!("  note: {:.0} records/s, {each:.2} µs each on average, {slowest:?} at most", noted as f64 / seconds);
    Ok(())
}

/// Reads tallies as they become durable, until `stop`.
#[expect(clippy::print_stdout, reason = "a program for the terminal")]
async fn follow(ledger: Arc<Ledger>, stop: Arc<AtomicBool>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut durable, mut last) = (ledger.follow(), ledger.size().checked_sub(1).map(Position));
    let (mut read, mut took) = (0u64, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let _ = tokio::time::timeout(Duration::from_millis(100), durable.changed()).await;
        let (ledger, begun) = (Arc::clone(&ledger), Instant::now());
        let more = tokio::task::spawn_blocking(move || ledger.tallies(last, 1000)).await??;
        took = took.saturating_add(begun.elapsed());
        read = read.saturating_add(more.len() as u64);
        last = more.last().map(|(position, _)| *position).or(last);
        // Whoever holds ledgers against each other has seconds.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("  follow: {read} tallies read, {:.2} µs each", took.as_secs_f64() * 1e6 / read.max(1) as f64);
    Ok(())
}

/// Holds the records of many requests against each other.
#[expect(clippy::print_stdout, reason = "a program for the terminal")]
fn reconcile(requests: u64) {
    let (mut reconciler, now) = (Reconciler::default(), SystemClock.now());
    let of = [
        (Service::Keys, Verdict::Intent),
        (Service::Keys, Verdict::Released),
        (Service::Store, Verdict::Released),
        (Service::Gateway, Verdict::Released),
    ];
    let mut findings = 0;
    let (mut most, mut position, started) = (0, Position(0), Instant::now());
    for number in 0..requests {
        let record = point_read(now.plus_ms(number.checked_div(15).unwrap_or_default()), TenantId::from_u128(1));
        for (service, verdict) in of {
            let mut entry = TallyEntry { service, verdict, ..TallyEntry::of(&record) };
            if let (Verdict::Intent, Some(tally)) = (verdict, &mut entry.tally) {
                tally.opened.clear();
            }
            reconciler.take(0, position, &entry, record.time);
            position.0 = position.0.saturating_add(1);
        }
        if number % 1_000 == 0 {
            findings = reconciler.due(record.time).len().max(findings);
            most = most.max(reconciler.open());
        }
    }
    let each = started.elapsed().as_secs_f64() * 1e6 / requests as f64;
    println!("reconcile: {each:.2} µs a request of four records, at most {most} open, {findings} findings");
}

#[expect(clippy::print_stdout, reason = "a program for the terminal")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let fresh = std::env::temp_dir().join(format!("countersign-throughput-{}", std::process::id()));
    let folder = arguments.next().map_or(fresh, PathBuf::from);
    let appenders: u64 = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(5.0), |text| text.parse())?;
    let notes: u64 = arguments.next().map_or(Ok(15_000), |text| text.parse())?;

    let key = Arc::new(SealKey::new(&SecretKey::from_bytes([1; 32])));
    let entropy = Arc::new(SystemEntropy);
    let open = || {
        let keys = Arc::new(OneKey(Arc::clone(&key)));
        Ledger::open(&folder, Service::Gateway, keys, Arc::<SystemEntropy>::clone(&entropy), Options::default())
    };
    let ledger = Arc::new(open()?);
    println!("appends alone");
    append(&ledger, appenders, seconds).await?;
    println!("notes alone");
    note(&ledger, notes, seconds).await?;
    println!("both");
    let noting = Arc::clone(&ledger);
    let noting = tokio::spawn(async move { note(&noting, notes, seconds).await });
    append(&ledger, appenders, seconds).await?;
    noting.await??;
    println!("notes, and following them");
    let stop = Arc::new(AtomicBool::new(false));
    let following = tokio::spawn(follow(Arc::clone(&ledger), Arc::clone(&stop)));
    note(&ledger, notes, seconds).await?;
    stop.store(true, Ordering::Relaxed);
    following.await?.map_err(|error| error.to_string())?;

    let started = Instant::now();
    let record = Some((TypeId(1), RecordId::from_u128(1)));
    let found = ledger.query(Some(TenantId::from_u128(1)), &LedgerQuery { record, ..LedgerQuery::default() })?;
    println!("who-saw: {} of {} records in {:?}", found.len(), ledger.size(), started.elapsed());

    reconcile(300_000);

    ledger.close().await;
    let records = ledger.size();
    drop(ledger);
    let started = Instant::now();
    open()?;
    println!("open: {records} records in {:?}", started.elapsed());
    Ok(())
}
