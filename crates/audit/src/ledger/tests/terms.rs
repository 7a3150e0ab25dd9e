//! Questions are answered from the index as they would be without: the same records, whatever became of its files.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]

use countersign_model::{FieldId, RecordId, RequestId, SessionId, TenantId, TokenId, TypeId, UnixMs, UserId};

use super::*;

use crate::record::Access;
use crate::testing::Dice;

const NOW: UnixMs = UnixMs(1_780_000_000_000);
const TENANTS: u64 = 3;
const ALL: LedgerQuery = LedgerQuery {
    record: None,
    field: None,
    request: None,
    by: None,
    session: None,
    token: None,
    since: None,
    until: None,
    after: None,
    oldest_first: true,
    limit: usize::MAX,
};

fn user(number: u64) -> UserId {
    UserId::from_u128(u128::from(number) | 1 << 100)
}

fn some(dice: &mut Dice, out_of: u64) -> Option<u64> {
    let rolled = dice.below(out_of + 1);
    (rolled < out_of).then_some(rolled)
}

/// A record that shares everything with some others. Each seventh is about many records.
fn record(dice: &mut Dice, number: u64) -> Record {
    let owner = some(dice, TENANTS).map(|tenant_number| tenant(u128::from(tenant_number) + 1));
    let mut record = sample(SERVICE, owner, number);
    record.request = RequestId::from_u128(u128::from(dice.below(200)));
    let body = &mut record.body;
    body.user = some(dice, 5).map(user);
    body.user_name = some(dice, 5).map(|name| format!("user{name}"));
    body.on_behalf_of = some(dice, 20).map(user);
    body.session = some(dice, 20).map(|session| SessionId::from_u128(u128::from(session)));
    body.token = some(dice, 40).map(|token| TokenId::from_u128(u128::from(token)));
    body.accesses = (0..dice.below(3))
        .map(|at| {
            let first = u128::from(dice.below(50));
            let many = if dice.below(7) == 0 { 5_000 } else { u128::from(dice.below(4)) };
            let step = if many == 5_000 && at == 1 { 1 << 70 } else { 1 };
            Access {
                record_type: TypeId(u16::try_from(at).unwrap()),
                fields: [FieldId(u8::try_from(dice.below(4)).unwrap())].into_iter().collect(),
                filter_fields: [FieldId(5)].into_iter().collect(),
                records: (0..many).map(|more| RecordId::from_u128(first + more * step)).collect(),
                rows: 1,
            }
        })
        .collect();
    record
}

fn question(dice: &mut Dice) -> LedgerQuery {
    let mut query = ALL;
    for _ in 0..=dice.below(2) {
        match dice.below(6) {
            0 => {
                let record_type = TypeId(u16::try_from(dice.below(2)).unwrap());
                query.record = Some((record_type, RecordId::from_u128(u128::from(dice.below(60)))));
                query.field = some(dice, 6).map(|field| FieldId(u8::try_from(field).unwrap()));
            }
            1 => query.request = Some(RequestId::from_u128(u128::from(dice.below(220)))),
            2 => {
                let name = some(dice, 6).map(|name| format!("user{name}"));
                query.by = Some(By { user: Some(user(dice.below(22))), name });
            }
            3 => query.session = Some(SessionId::from_u128(u128::from(dice.below(21)))),
            4 => query.token = Some(TokenId::from_u128(u128::from(dice.below(41)))),
            _ => {
                query.since = Some(UnixMs(NOW.0 + dice.below(400)));
                query.until = Some(UnixMs(NOW.0 + dice.below(800)));
            }
        }
    }
    query
}

/// What the answer has to be, from all records of the owner.
fn expected(all: &[(Position, Record)], query: &LedgerQuery) -> Vec<Position> {
    let holds = |record: &Record| {
        let body = &record.body;
        let by = |by: &By| {
            [body.user, body.on_behalf_of].iter().flatten().any(|user| Some(*user) == by.user)
                || (by.name.is_some() && body.user_name == by.name)
        };
        let about = |(record_type, id): (TypeId, RecordId)| {
            body.accesses.iter().any(|access| {
                let field = query
                    .field
                    .is_none_or(|field| access.fields.contains(field) || access.filter_fields.contains(field));
                access.record_type == record_type && access.records.contains(id) && field
            })
        };
        query.record.is_none_or(about)
            && query.request.is_none_or(|request| record.request == request)
            && query.by.as_ref().is_none_or(by)
            && query.session.is_none_or(|session| body.session == Some(session))
            && query.token.is_none_or(|token| body.token == Some(token))
            && query.since.is_none_or(|since| record.time >= since)
            && query.until.is_none_or(|until| record.time < until)
    };
    all.iter().filter(|(_, record)| holds(record)).map(|(position, _)| *position).collect()
}

/// Asks many questions of many kinds; gives back how many records were found.
fn ask(ledger: &Ledger, seed: u64, what: &str) -> usize {
    let (mut dice, mut found_in_all) = (Dice(seed), 0);
    let owners: Vec<Option<TenantId>> = (0..=TENANTS).map(|n| (n > 0).then(|| tenant(u128::from(n)))).collect();
    for owner in owners {
        let all = ledger.query(owner, &ALL).unwrap();
        for _ in 0..30 {
            let query = question(&mut dice);
            let right = expected(&all, &query);
            let found = |query: &LedgerQuery| -> Vec<Position> {
                ledger.query(owner, query).unwrap().into_iter().map(|(position, _)| position).collect()
            };
            assert_eq!(found(&query), right, "{what}: {query:?}");
            let newest = LedgerQuery { oldest_first: false, limit: 3, ..query.clone() };
            assert_eq!(found(&newest), right[right.len().saturating_sub(3)..], "{what}, newest: {query:?}");
            if let Some(middle) = right.get(right.len() / 2) {
                let rest = LedgerQuery { after: Some(*middle), ..query.clone() };
                assert_eq!(found(&rest), right[right.len() / 2 + 1..], "{what}, after: {query:?}");
            }
            found_in_all += right.len();
        }
    }
    found_in_all
}

fn index_files(bench: &Bench) -> Vec<String> {
    let mut names = bench.storage.list().unwrap();
    names.retain(|name| name.starts_with("index/"));
    names
}

async fn filled(seed: u64, count: u64) -> (Bench, Ledger) {
    let bench = Bench::new(Options { segment_bytes: 200_000, ..Options::default() });
    let ledger = bench.open();
    let mut dice = Dice(seed);
    for number in 0..count {
        ledger.append(record(&mut dice, number)).await.unwrap();
    }
    (bench, ledger)
}

#[tokio::test]
async fn questions_are_answered_as_by_reading_everything() {
    let (bench, ledger) = filled(7, 500).await;
    let found = ask(&ledger, 11, "in memory");
    assert!(found > 300, "{found}");
    ledger.keeper.settle();
    let files = index_files(&bench);
    assert!(files.len() > 2, "{files:?}");
    ask(&ledger, 12, "in files");
    drop(ledger);
    assert_eq!(
        index_files(&bench).len(),
        files.len() + 1,
        "that of the segment that is written to is saved at the end"
    );
    let ledger = bench.open();
    ask(&ledger, 13, "opened again");
    let mut dice = Dice(99);
    for number in 500..560 {
        ledger.append(record(&mut dice, number)).await.unwrap();
    }
    ask(&ledger, 14, "written to again");
}

#[tokio::test]
async fn an_index_that_was_deleted_damaged_or_exchanged_is_made_again() {
    let (bench, ledger) = filled(8, 300).await;
    ledger.keeper.settle();
    drop(ledger);
    let files = index_files(&bench);
    let whole = |name: &String| bench.storage.contents(name).unwrap();
    for name in &files {
        bench.storage.set_contents(name, None);
    }
    let ledger = bench.open();
    ask(&ledger, 21, "deleted");
    ledger.keeper.settle();
    ask(&ledger, 22, "made again");
    drop(ledger);
    assert_eq!(index_files(&bench), files);

    let mut dice = Dice(5);
    for round in 0..16 {
        let (name, other) = (&files[round % files.len()], &files[(round + 1) % files.len()]);
        let mut bytes = whole(name);
        match round % 4 {
            0 => bytes = whole(other),
            1 => bytes.truncate(usize::try_from(dice.below(bytes.len() as u64)).unwrap()),
            _ => {
                let at = usize::try_from(dice.below(bytes.len() as u64)).unwrap();
                bytes[at] ^= 1 << dice.below(8);
            }
        }
        bench.storage.set_contents(name, Some(bytes));
        let ledger = bench.open();
        ask(&ledger, 30 + round as u64, "damaged");
        ledger.keeper.settle();
        ask(&ledger, 50 + round as u64, "mended");
    }
}

#[tokio::test]
async fn a_process_that_was_killed_finds_everything_again() {
    let (bench, ledger) = filled(9, 300).await;
    ledger.keeper.settle();
    let killed = Bench { storage: bench.storage.after_kill(), keys: Arc::clone(&bench.keys), options: bench.options };
    drop(ledger);
    let ledger = killed.open();
    ask(&ledger, 41, "killed");
    // Killed again after what was saved at the end is older than what was written since.
    drop(ledger);
    let ledger = killed.open();
    let mut dice = Dice(77);
    for number in 300..330 {
        ledger.append(record(&mut dice, number)).await.unwrap();
    }
    let again = Bench { storage: killed.storage.after_kill(), keys: Arc::clone(&bench.keys), options: bench.options };
    ask(&again.open(), 42, "killed with an old index");
}

#[tokio::test]
async fn a_tenant_whose_key_is_not_at_hand_is_learnt_of_when_it_is() {
    let (bench, ledger) = filled(10, 300).await;
    ledger.keeper.settle();
    drop(ledger);
    for name in index_files(&bench) {
        bench.storage.set_contents(&name, None);
    }
    bench.keys.withhold(Some(tenant(1)));
    let ledger = bench.open();
    ledger.keeper.settle();
    assert!(matches!(ledger.query(Some(tenant(1)), &ALL), Err(AuditError::NoKey)));
    bench.keys.give_back();
    ask(&ledger, 51, "by reading");
    // What was asked before this is done by now.
    ledger.keeper.settle();
    ask(&ledger, 52, "learnt");
    drop(ledger);
    bench.keys.withhold(Some(tenant(1)));
    let ledger = bench.open();
    ledger.keeper.settle();
    bench.keys.give_back();
    ask(&ledger, 53, "learnt for good");
}

/// What an incident asks: by tokens, logins, users and tenants together, without tenants' keys.
#[tokio::test]
async fn what_was_reached_is_found_without_tenants_keys() {
    let (bench, ledger) = filled(11, 400).await;
    ledger.keeper.settle();
    let mut all: Vec<(Position, Record)> = Vec::new();
    for owner in [None, Some(tenant(1)), Some(tenant(2)), Some(tenant(3))] {
        all.extend(ledger.query(owner, &ALL).unwrap());
    }
    all.sort_by_key(|(position, _)| *position);
    let right = |selector: &Selector| -> Vec<Position> {
        let named = |record: &Record| {
            let body = &record.body;
            let users = [body.user, body.on_behalf_of];
            let by = users.iter().flatten().any(|user| selector.users.contains(user));
            by || body.token.is_some_and(|token| selector.tokens.contains(&token))
                || body.session.is_some_and(|session| selector.sessions.contains(&session))
                || record.tenant.is_some_and(|tenant| selector.tenants.contains(&tenant))
        };
        let in_time = |record: &Record| record.time >= selector.since;
        all.iter().filter(|(_, record)| named(record) && in_time(record)).map(|(position, _)| *position).collect()
    };
    let selectors = [
        Selector { tokens: vec![TokenId::from_u128(3)], ..Selector::default() },
        Selector { sessions: vec![SessionId::from_u128(4)], users: vec![user(2)], ..Selector::default() },
        Selector { tenants: vec![tenant(2)], tokens: vec![TokenId::from_u128(5)], ..Selector::default() },
        Selector { users: vec![user(1)], since: UnixMs(NOW.0 + 200), ..Selector::default() },
    ];
    let places = |found: Vec<Exposure>| found.into_iter().map(|one| one.position).collect::<Vec<_>>();
    for selector in &selectors {
        let found = ledger.exposures(selector).unwrap();
        assert!(!found.is_empty() && found.iter().all(|one| one.accesses.is_some()));
        assert_eq!(places(found), right(selector));
    }
    let every = ledger.exposures(&Selector { limit: usize::MAX, ..Selector::default() }).unwrap();
    assert_eq!(every.len() as u64, ledger.size());
    drop(ledger);

    for name in index_files(&bench) {
        bench.storage.set_contents(&name, None);
    }
    bench.keys.withhold(Some(tenant(2)));
    let ledger = bench.open();
    ledger.keeper.settle();
    for selector in &selectors {
        let found = ledger.exposures(selector).unwrap();
        assert!(found.iter().all(|one| one.accesses.is_none() == (one.tenant == Some(tenant(2)))));
        assert_eq!(places(found), right(selector));
        // In pages.
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = ledger.exposures(&Selector { after, limit: 7, ..selector.clone() }).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.position);
            pages.extend(page);
        }
        assert_eq!(places(pages), right(selector));
    }
}
