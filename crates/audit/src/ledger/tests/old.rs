//! A ledger of the first format, as the program wrote it that had no other: `format-1`.

use super::*;
use crate::record::Verdict;
use crate::testing::FixedKeys;

const SEGMENTS: [(&str, &[u8]); 3] = [
    (FIRST, include_bytes!("format-1/00000000.log")),
    ("00000001.log", include_bytes!("format-1/00000001.log")),
    (mark::NAME, include_bytes!("format-1/durable")),
];

fn old_ledger() -> (MemoryStorage, Vec<Record>) {
    let storage = MemoryStorage::new();
    for (name, bytes) in SEGMENTS {
        storage.set_contents(name, Some(bytes.to_vec()));
    }
    let owners = [None, Some(tenant(1)), Some(tenant(2))];
    let record = |number: u64| Record {
        verdict: Verdict::ALL[number as usize % 5],
        tally: None,
        ..sample(SERVICE, owners[number as usize % 3], number)
    };
    (storage, (0..12).map(record).collect())
}

fn open(storage: &MemoryStorage) -> Ledger {
    let (storage, keys) = (Arc::new(storage.clone()), Arc::new(FixedKeys));
    Ledger::open_on(storage, SERVICE, keys, Arc::new(SystemEntropy), small_segments(), None).unwrap()
}

#[tokio::test]
async fn a_ledger_of_the_first_format_is_read_and_goes_on() {
    let (storage, mut written) = old_ledger();
    let ledger = open(&storage);
    assert_eq!(ledger.size(), 12);
    for number in 12..20 {
        let owner = written[number as usize % 3].tenant;
        let record = sample(SERVICE, owner, number);
        ledger.append(record.clone()).await.unwrap();
        written.push(record);
    }
    drop(ledger);
    let ledger = open(&storage);
    for owner in [None, Some(tenant(1)), Some(tenant(2))] {
        let found = ledger.query(owner, &LedgerQuery::default()).unwrap();
        let expected = written.iter().filter(|record| record.tenant == owner);
        assert!(found.iter().map(|(_, record)| record).eq(expected));
    }
    for (name, bytes) in SEGMENTS.into_iter().filter(|(name, _)| *name != mark::NAME) {
        assert!(storage.contents(name).unwrap().starts_with(bytes), "what was written stays as it is");
    }
    let all = super::tallies::read_all(&ledger, 7);
    assert!(all.iter().map(|(_, entry)| entry.tally.is_some()).eq((0..20).map(|number| number >= 12)));
}
