//! How long it takes to find out who saw a record, among ten million audit records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use countersign_audit::{
    Access, AuditError, AuditKeys, AuditSink as _, Body, By, Ledger, LedgerQuery, Options as LedgerOptions, Record,
    RecordSet, Selector, Service, Verdict,
};
use countersign_crypto::{SealKey, SecretKey, SystemEntropy};
use countersign_model::{FieldSet, RecordId, RequestId, SessionId, TenantId, TokenId, TypeId, UnixMs, UserId};

use crate::Options;
use crate::report::{Report, Row, Target};

/// An answer takes less than this.
const ANSWER_MS: f64 = 200.0;
const IN_FLIGHT: u64 = 4096;
const TENANTS: u64 = 10;
const USERS: u64 = 10_000;
const SESSIONS: u64 = 100_000;
const RECORDS: u64 = 1_000_000;
/// How many times each question is asked.
const ASKED: u64 = 50;

struct OneKey(Arc<SealKey>);

impl AuditKeys for OneKey {
    fn audit_key(&self, _: Option<TenantId>) -> Result<Arc<SealKey>, AuditError> {
        Ok(Arc::clone(&self.0))
    }
}

/// Spread, and the same each time.
const fn spread(number: u64, below: u64) -> u64 {
    let mixed = (number ^ (number >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16) % below
}

const fn id(kind: u64, number: u64) -> u128 {
    ((kind as u128) << 64) | number.wrapping_mul(0x9e37_79b9_7f4a_7c15) as u128
}

fn tenant(number: u64) -> TenantId {
    TenantId::from_u128(id(1, number % TENANTS))
}

fn record(number: u64) -> Record {
    let session = spread(number, SESSIONS);
    let accessed = Access {
        record_type: TypeId(1),
        fields: FieldSet::first(4),
        filter_fields: FieldSet::EMPTY,
        records: RecordSet::from_iter([RecordId::from_u128(id(2, spread(number.wrapping_add(7), RECORDS)))]),
        rows: 1,
    };
    Record {
        time: UnixMs(1_780_000_000_000 + number),
        request: RequestId::from_u128(id(3, number)),
        service: Service::Gateway,
        door: None,
        verdict: Verdict::Released,
        tenant: Some(tenant(number)),
        tally: None,
        body: Body {
            user: Some(UserId::from_u128(id(4, session % USERS))),
            user_name: Some("michael".into()),
            session: Some(SessionId::from_u128(id(5, session))),
            token: Some(TokenId::from_u128(id(6, session))),
            action: "read".into(),
            accesses: vec![accessed],
            ..Body::default()
        },
    }
}

/// Measures.
pub fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let records: u64 = if options.quick { 200_000 } else { 10_000_000 };
    let folder = tempfile::Builder::new().prefix("countersign-bench-").tempdir_in(&options.disk)?;
    let path = folder.path().join("gateway");
    let keys = Arc::new(OneKey(Arc::new(SealKey::new(&SecretKey::generate(&SystemEntropy)))));
    let open = || {
        Ledger::open(
            &path,
            Service::Gateway,
            Arc::<OneKey>::clone(&keys),
            Arc::new(SystemEntropy),
            LedgerOptions::default(),
        )
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ledger = Arc::new(open()?);
    let began = Instant::now();
    runtime.block_on(fill(&ledger, records))?;
    let took = began.elapsed().as_secs_f64();
    runtime.block_on(ledger.close());
    drop(ledger);
    let (stored, index) = (bytes_in(&path)?, bytes_in(&path.join("index"))?);
    let began = Instant::now();
    let ledger = open()?;
    let opened = began.elapsed().as_secs_f64();
    eprintln!(
        "{records} records at {:.0}/s; {} bytes a record and {} in the index; opened in {opened:.1} s",
        records as f64 / took,
        stored / records,
        index / records
    );
    let million = records as f64 / 1e6;
    for (name, ask) in QUESTIONS {
        let (mut times, mut found) = (Vec::new(), 0);
        for round in 0..ASKED {
            let number = spread(round.wrapping_mul(977), records);
            let began = Instant::now();
            found += ask(&ledger, number)?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        ensure!(found as u64 >= ASKED, "{name} found too little");
        times.sort_by(f64::total_cmp);
        let slowest = times.last().copied().unwrap_or_default();
        let middle = times.get(times.len() / 2).copied().unwrap_or_default();
        report.add(Row {
            name: format!("{name}, of {million} million"),
            figure: slowest,
            unit: "ms",
            limit: None,
            target: Target::Under(ANSWER_MS),
            note: format!("slowest of {ASKED}; half within {middle:.2} ms; {} records each", found as u64 / ASKED),
        });
    }
    Ok(())
}

async fn fill(ledger: &Arc<Ledger>, records: u64) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (ledger, next) = (Arc::clone(ledger), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= records {
                        return Ok::<_, AuditError>(());
                    }
                    ledger.append(record(number)).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.context("a task")??;
    }
    Ok(())
}

type Ask = fn(&Ledger, u64) -> Result<usize, AuditError>;

const QUESTIONS: [(&str, Ask); 5] = [
    ("who saw a record", |ledger, number| {
        let seen = RecordId::from_u128(id(2, spread(number.wrapping_add(7), RECORDS)));
        found(ledger, number, LedgerQuery { record: Some((TypeId(1), seen)), ..LedgerQuery::default() })
    }),
    ("what a principal did", |ledger, number| {
        let user = Some(UserId::from_u128(id(4, spread(number, SESSIONS) % USERS)));
        found(ledger, number, LedgerQuery { by: Some(By { user, name: None }), ..LedgerQuery::default() })
    }),
    ("what a login did", |ledger, number| {
        let session = Some(SessionId::from_u128(id(5, spread(number, SESSIONS))));
        found(ledger, number, LedgerQuery { session, ..LedgerQuery::default() })
    }),
    ("records of a request", |ledger, number| {
        let request = Some(RequestId::from_u128(id(3, number)));
        found(ledger, number, LedgerQuery { request, ..LedgerQuery::default() })
    }),
    ("what a token reached", |ledger, number| {
        let tokens = vec![TokenId::from_u128(id(6, spread(number, SESSIONS)))];
        Ok(ledger.exposures(&Selector { tokens, ..Selector::default() })?.len())
    }),
];

fn found(ledger: &Ledger, number: u64, query: LedgerQuery) -> Result<usize, AuditError> {
    Ok(ledger.query(Some(tenant(number)), &query)?.len())
}

fn bytes_in(folder: &std::path::Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
