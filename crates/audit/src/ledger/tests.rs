//! The ledger on a storage in memory that fails on demand, and on a real folder.

mod carry;
mod crash;
mod faults;
mod folder;
mod lazy;
mod log;
mod old;
mod reading;
mod retain;
mod storages;
mod tallies;
mod terms;
mod verify;

use std::sync::Arc;

use countersign_crypto::SystemEntropy;

use super::memory::MemoryStorage;
use super::*;
use crate::conformance::{sample, tenant};
use crate::testing::TestKeys;

const SERVICE: Service = Service::Gateway;
const FIRST: &str = "00000000.log";

fn small_segments() -> Options {
    Options { segment_bytes: 2000, ..Options::default() }
}

/// A storage, the keys that go with it, and how it is opened.
struct Bench {
    storage: MemoryStorage,
    keys: Arc<TestKeys>,
    options: Options,
}

impl Bench {
    fn new(options: Options) -> Self {
        Self { storage: MemoryStorage::new(), keys: Arc::default(), options }
    }

    fn try_open(&self) -> Result<Ledger, LedgerError> {
        let storage = Arc::new(self.storage.clone());
        let keys: Arc<dyn AuditKeys> = Arc::<TestKeys>::clone(&self.keys);
        Ledger::open_on(storage, SERVICE, keys, Arc::new(SystemEntropy), self.options, None)
    }

    fn open(&self) -> Ledger {
        self.try_open().unwrap()
    }

    /// A ledger of `count` records of tenant 1, shut again.
    async fn filled(options: Options, count: u64) -> Self {
        let bench = Self::new(options);
        append(&bench.open(), 0..count).await;
        bench
    }
}

async fn append(ledger: &Ledger, numbers: std::ops::Range<u64>) {
    for number in numbers {
        ledger.append(sample(SERVICE, Some(tenant(1)), number)).await.unwrap();
    }
}

fn numbers(ledger: &Ledger) -> Vec<u64> {
    let all = LedgerQuery { limit: usize::MAX, ..LedgerQuery::default() };
    let found = ledger.query(Some(tenant(1)), &all).unwrap();
    found.into_iter().map(|(_, record)| record.body.epoch).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_in_memory() {
    crate::conformance::run(SERVICE, async || Bench::new(Options::default()).open()).await;
    crate::conformance::run(SERVICE, async || Bench::new(small_segments()).open()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sync_serves_all_that_wait() {
    let bench = Bench::new(Options::default());
    bench.storage.slow_syncs(std::time::Duration::from_millis(3));
    let ledger = Arc::new(bench.open());
    let before = bench.storage.syncs();
    let appenders: Vec<_> = (0..64)
        .map(|_| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { append(&ledger, 0..10).await })
        })
        .collect();
    for appender in appenders {
        appender.await.unwrap();
    }
    let syncs = bench.storage.syncs() - before;
    assert_eq!(ledger.size(), 640);
    assert!((10..=60).contains(&syncs), "{syncs} syncs for 640 records in at least 10 rounds");
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_refuses_the_rest() {
    let bench = Bench::new(Options::default());
    bench.storage.slow_syncs(std::time::Duration::from_millis(5));
    let ledger = Arc::new(bench.open());
    let waiting: Vec<_> = (0..50)
        .map(|number| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { ledger.append(sample(SERVICE, Some(tenant(1)), number)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    ledger.close().await;
    let mut acknowledged = 0;
    for append in waiting {
        acknowledged += u64::from(append.await.unwrap().is_ok());
    }
    assert_eq!(acknowledged, 50, "all were queued before");
    assert!(matches!(ledger.append(sample(SERVICE, None, 1)).await, Err(AuditError::Unavailable)));
    assert_eq!(numbers(&bench.open()).len(), 50);
}

#[tokio::test]
async fn a_follower_sees_the_ledger_grow_and_end() {
    let bench = Bench::new(Options::default());
    let ledger = bench.open();
    let mut follower = ledger.follow();
    assert_eq!(*follower.borrow_and_update(), 0);
    append(&ledger, 0..3).await;
    follower.changed().await.unwrap();
    assert_eq!(*follower.borrow_and_update(), 3);
    drop(ledger);
    assert!(follower.changed().await.is_err());
}

#[tokio::test]
async fn a_ledger_takes_only_its_own_services_records() {
    let bench = Bench::new(Options::default());
    let refused = bench.open().append(sample(Service::Keys, None, 1)).await;
    assert!(matches!(refused, Err(AuditError::OtherService)));
}

/// The bytes in `docs/formats.md`.
#[test]
fn the_form_is_the_one_written_down() {
    use super::frame::{Batch, SegmentHeader};
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        hex(&SegmentHeader::new(Service::Store, 258, [0xaa; 16]).to_bytes()),
        "435361756469740103000000000000000000000000000102dbbad82ac7d4cb90390a2f21ef8f7295aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    );
    let mut batch = Batch::new([0xaa; 16]);
    batch.push(b"leaf");
    batch.push(b"next");
    assert_eq!(
        hex(batch.bytes()),
        "800000046c656166f8cd4e3a158ef42d0956a4738447f8e1000000046e657874a3bf1b33e68ed93dd95ec2c548fa9cd8"
    );
    assert_eq!(
        hex(&mark::Mark { records: 258, check: [0xaa; 16] }.to_bytes()),
        "43536d61726b00010000000000000102aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac1e3b714d5ced0c42b4db18468cb1269"
    );
}
