//! INVARIANT crash-takes-never-gives: whatever is left of the journal, what is left of a budget is never more than it
//! was.

#![expect(clippy::arithmetic_side_effects, reason = "overflow fails the test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::*;

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn reopened(bytes: &[u8], now: UnixMs) -> Result<(TempDir, Budgets), JournalFault> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budget");
    fs::write(&path, bytes).unwrap();
    Ok((dir, Budgets::open(&path, now)?))
}

fn never_more_left(after: &Budgets, before: &Budgets, now: UnixMs) {
    for number in 0..4 {
        let (after, before) =
            (used(after, token(number), user(number), now), used(before, token(number), user(number), now));
        let less = after.token < before.token || after.principal < before.principal || after.hour < before.hour;
        assert!(!less, "{after:?} {before:?}");
        // And a crash takes no more than a hundredth of a limit.
        assert!(after.token <= before.token + 10 && after.principal <= before.principal + 20, "{after:?} {before:?}");
    }
}

#[test]
fn after_a_crash_at_any_moment_no_more_is_left_than_before() {
    for seed in 1..=3 {
        let mut random = Random(seed * 0x9e37_79b9);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("budget");
        let mut budgets = open(&dir, NOW);
        let mut now = NOW;
        for step in 0..120 {
            now = now.plus_ms(random.below(3) * 4 * MINUTE_MS);
            let number = u128::from(random.below(4));
            let charges = [charge(number), charge(u128::from(random.below(4)))];
            let synced = fs::read(&path).unwrap();
            let _ = budgets.spend(token(number), &charges, 1 + random.below(30), now);
            let full = fs::read(&path).unwrap();
            never_more_left(&reopened(&full, now).unwrap().1, &budgets, now);
            // The crash is in the middle of the next write: any part of it is there.
            let before = reopened(&full, now).unwrap().1;
            let mut cut = full.clone();
            cut.extend(std::iter::repeat_n(0, usize::try_from(random.below(400)).unwrap()));
            never_more_left(&reopened(&cut, now).unwrap().1, &before, now);
            if full.starts_with(&synced) && full.len() > synced.len() {
                let left = synced.len() + usize::try_from(random.below((full.len() - synced.len()) as u64)).unwrap();
                reopened(&full[..left], now).unwrap();
            }
            if step % 40 == 39 {
                drop(budgets);
                budgets = open(&dir, now);
            }
        }
    }
}

#[test]
fn a_write_that_was_cut_anywhere_is_left_out_and_what_was_before_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budget");
    let budgets = open(&dir, NOW);
    budgets.spend(token(1), &[charge(1)], 5, NOW).unwrap();
    let synced = fs::read(&path).unwrap().len();
    budgets.spend(token(2), &[charge(1), charge(2)], 100, NOW).unwrap();
    let full = fs::read(&path).unwrap();
    assert_eq!((synced - 64) / 64, 2);
    assert_eq!((full.len() - synced) / 64, 3);
    // Every subset of the last write's three slots, the others never having reached the disk, cut at any byte.
    for kept in 0..8u8 {
        let mut torn = full.clone();
        for slot in 0..3 {
            if kept & (1 << slot) == 0 {
                torn[synced + slot * 64..][..64].fill(0);
            }
        }
        for end in synced..=torn.len() {
            let (_dir, after) = reopened(&torn[..end], NOW).unwrap();
            assert!(used(&after, token(1), user(1), NOW).token >= 5);
            assert!(used(&after, token(1), user(1), NOW).principal >= 5);
        }
    }
}

#[test]
fn damage_before_the_last_write_is_an_error_that_names_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = open(&dir, NOW);
    for number in 0..5 {
        budgets.spend(token(number), &[charge(number)], 1, NOW).unwrap();
    }
    let full = fs::read(dir.path().join("budget")).unwrap();
    let last = full.len() - 128;
    for at in 0..full.len() {
        let mut changed = full.clone();
        changed[at] ^= 4;
        match reopened(&changed, NOW) {
            Err(JournalFault::Unknown) => assert!(at < 64),
            Err(JournalFault::Damaged { at: named }) => {
                assert!((64..last).contains(&at));
                assert_eq!(named, at as u64 / 64 * 64);
            }
            Ok(_) => assert!(at >= last),
            Err(other) => panic!("{other}"),
        }
    }
    // A slot that was copied to another place is none.
    let mut moved = full.clone();
    moved.copy_within(64..128, 192);
    assert!(matches!(reopened(&moved, NOW), Err(JournalFault::Damaged { at: 192 })));
    for other in [&b""[..], b"x", &[0; 64], &[0xff; 640]] {
        assert!(matches!(reopened(other, NOW), Err(JournalFault::Unknown)));
    }
}

#[test]
fn a_step_that_is_over_costs_what_was_used_of_it_and_not_its_ceiling() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = open(&dir, NOW);
    let mut now = NOW;
    for _ in 0..50 {
        budgets.spend(token(1), &[charge(1)], 1, now).unwrap();
        now = now.plus_ms(5 * MINUTE_MS);
    }
    let full = fs::read(dir.path().join("budget")).unwrap();
    let (_dir, after) = reopened(&full, now).unwrap();
    assert_eq!(used(&after, token(1), user(1), now).principal, 49 + 20);
}

#[test]
fn a_journal_written_anew_while_in_use_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budget");
    let budgets = open(&dir, NOW);
    let limits = BudgetLimits { per_token: 100_000, per_principal: 100_000, per_hour: 100_000 };
    std::thread::scope(|scope| {
        for thread in 0..4u128 {
            let budgets = &budgets;
            scope.spawn(move || {
                for round in 0..50 {
                    own(budgets).journal.rewrite_at(20);
                    let charges = [Charge { principal: user(thread), limits }];
                    budgets.spend(token(thread), &charges, 900, NOW.plus_ms(round * MINUTE_MS)).unwrap();
                }
            });
        }
    });
    let now = NOW.plus_ms(50 * MINUTE_MS);
    let full = fs::read(&path).unwrap();
    assert!(full.len() < 64 * 200, "{}", full.len());
    let (_dir, after) = reopened(&full, now).unwrap();
    for number in 0..4 {
        let used = used(&after, token(number), user(number), now);
        assert!((45_000..=46_000).contains(&used.token) && (45_000..=46_000).contains(&used.principal), "{used:?}");
    }
    own(&budgets).journal.rewrite_at(u32::MAX);
}

const CHILD: &str = "COUNTERSIGN_TEST_BUDGET";

/// Not a test: what the next one kills.
#[test]
fn spends_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let budgets = Budgets::open(&PathBuf::from(path), NOW).unwrap();
    let limits = BudgetLimits { per_token: 20_000, per_principal: 20_000, per_hour: 20_000 };
    for count in used(&budgets, token(1), user(1), NOW).token + 1.. {
        if budgets.spend(token(1), &[Charge { principal: user(1), limits }], 1, NOW).is_err() {
            return;
        }
        println!("\nspent {count}");
    }
}

#[test]
fn killed_while_it_spends_it_comes_back_with_no_more_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("budget");
    let mut highest = 0u64;
    for lines in [1, 50, 500] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "budget::tests::crash::spends_until_it_is_killed", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut output = output.filter_map(|line| line.strip_prefix("spent ").and_then(|count| count.parse().ok()));
        highest = highest.max(output.by_ref().take(lines).last().unwrap());
        child.kill().unwrap();
        // What it still said before it was gone.
        highest = output.last().unwrap_or(highest);
        child.wait().unwrap();
        let after = used(&Budgets::open(&path, NOW).unwrap(), token(1), user(1), NOW);
        assert!(after.token >= highest && after.principal >= highest, "{after:?} {highest}");
        highest = after.token;
    }
}
