use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;

mod crash;

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const LIMITS: BudgetLimits = BudgetLimits { per_token: 1_000, per_principal: 3_000, per_hour: 2_000 };

fn token(number: u128) -> TokenId {
    TokenId::from_u128(number)
}

fn user(number: u128) -> UserId {
    UserId::from_u128(number)
}

fn charge(number: u128) -> Charge {
    Charge { principal: user(number), limits: LIMITS }
}

fn open(dir: &TempDir, now: UnixMs) -> Budgets {
    Budgets::open(&dir.path().join("budget"), now).unwrap()
}

fn spent(result: Result<(), BudgetError>) -> (BudgetKind, Option<UserId>) {
    match result {
        Err(BudgetError::Spent(spent)) => (spent.which, spent.principal),
        other => panic!("expected a limit, not {other:?}"),
    }
}

#[test]
fn each_limit_holds_to_the_cell_and_says_which_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = open(&dir, NOW);
    budgets.spend(token(1), &[charge(1)], 999, NOW).unwrap();
    assert_eq!(spent(budgets.spend(token(1), &[charge(1)], 2, NOW)), (BudgetKind::PerToken, None));
    budgets.spend(token(1), &[charge(1)], 1, NOW).unwrap();
    assert_eq!(spent(budgets.spend(token(1), &[charge(1)], 1, NOW)), (BudgetKind::PerToken, None));
    budgets.spend(token(2), &[charge(1)], 1_000, NOW).unwrap();
    assert_eq!(spent(budgets.spend(token(3), &[charge(1)], 1, NOW)), (BudgetKind::PerHour, Some(user(1))));
    let later = NOW.plus_ms(65 * MINUTE_MS);
    budgets.spend(token(3), &[charge(1)], 1_000, later).unwrap();
    assert_eq!(spent(budgets.spend(token(4), &[charge(1)], 1, later)), (BudgetKind::PerPrincipal, Some(user(1))));
    budgets.spend(token(1), &[charge(1)], 0, later).unwrap();
    assert!(budgets.spend(token(5), &[charge(2)], 1, later).is_ok(), "another principal has its own");
    assert_eq!(budgets.used(token(1), user(1), later), Used { token: 1_000, principal: 3_000, hour: 1_000 });
}

#[test]
fn a_limit_of_nothing_and_charging_nobody_release_nothing_and_numbers_do_not_wrap() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = open(&dir, NOW);
    assert_eq!(spent(budgets.spend(token(1), &[], 1, NOW)).0, BudgetKind::PerToken);
    let none = Charge { principal: user(1), limits: BudgetLimits { per_principal: 0, ..LIMITS } };
    assert_eq!(spent(budgets.spend(token(1), &[none], 1, NOW)).0, BudgetKind::PerPrincipal);
    let unlimited = Charge { principal: user(2), limits: BudgetLimits::NONE };
    budgets.spend(token(2), &[unlimited], u64::MAX - 1, NOW).unwrap();
    assert_eq!(spent(budgets.spend(token(2), &[unlimited], 2, NOW)).0, BudgetKind::PerToken);
    budgets.spend(token(2), &[unlimited], 1, NOW).unwrap();
    assert_eq!(spent(budgets.spend(token(3), &[unlimited], 1, NOW)).0, BudgetKind::PerPrincipal);
}

#[test]
fn it_is_all_or_nothing_over_actor_and_subject() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = open(&dir, NOW);
    let agent = Charge { principal: user(9), limits: BudgetLimits { per_token: 50, per_principal: 60, per_hour: 60 } };
    budgets.spend(token(1), &[charge(1), agent], 40, NOW).unwrap();
    let refused = budgets.spend(token(1), &[charge(1), agent], 11, NOW);
    assert_eq!(spent(refused), (BudgetKind::PerToken, None), "the smaller token limit holds");
    let refused = budgets.spend(token(2), &[charge(1), agent], 21, NOW);
    assert_eq!(spent(refused), (BudgetKind::PerPrincipal, Some(user(9))));
    assert_eq!(budgets.used(token(1), user(1), NOW), Used { token: 40, principal: 40, hour: 40 });
    assert_eq!(budgets.used(token(2), user(9), NOW), Used { token: 0, principal: 40, hour: 40 });
    budgets.spend(token(2), &[agent, agent], 10, NOW).unwrap();
    assert_eq!(budgets.used(token(2), user(9), NOW).principal, 50, "named twice, charged once");
}

#[test]
fn windows_slide_and_are_never_shorter_than_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = open(&dir, NOW);
    let limits = BudgetLimits { per_token: u64::MAX, per_principal: 100, per_hour: 10 };
    let charge = [Charge { principal: user(1), limits }];
    // Every minute, as much as is let through.
    let mut released: Vec<(UnixMs, u64)> = Vec::new();
    for minute in 0..(30 * 60) {
        let now = NOW.plus_ms(minute * MINUTE_MS);
        while budgets.spend(token(1), &charge, 1, now).is_ok() {
            released.push((now, 1));
        }
        let within =
            |ms: u64| released.iter().filter(|(at, _)| now.since(*at) < ms).map(|(_, cells)| cells).sum::<u64>();
        assert!(within(HOUR_MS) <= 10 && within(12 * HOUR_MS) <= 100);
    }
    let total = released.len();
    assert!(total >= 200, "{total}: a window that has passed gives its budget back");
}

#[test]
fn a_clock_that_is_set_back_gives_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = open(&dir, NOW);
    budgets.spend(token(1), &[charge(1)], 1_000, NOW).unwrap();
    let back = NOW.minus_ms(20 * HOUR_MS);
    budgets.spend(token(2), &[charge(1)], 1_000, back).unwrap();
    assert_eq!(spent(budgets.spend(token(3), &[charge(1)], 1, back)).0, BudgetKind::PerHour);
    assert_eq!(spent(budgets.spend(token(3), &[charge(1)], 1, NOW)).0, BudgetKind::PerHour);
    drop(budgets);
    let budgets = open(&dir, back);
    assert_eq!(spent(budgets.spend(token(3), &[charge(1)], 1, back)).0, BudgetKind::PerHour);
}

#[test]
fn sixteen_threads_release_exactly_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = Arc::new(open(&dir, NOW));
    let limits = BudgetLimits { per_token: u64::MAX, per_principal: 5_000, per_hour: 5_000 };
    let got = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..16u128 {
            let (budgets, got) = (&budgets, &got);
            scope.spawn(move || {
                for round in 0..400u128 {
                    let charges = [
                        Charge { principal: user(1), limits },
                        Charge { principal: user(2 + (thread + round) % 5), limits: BudgetLimits::NONE },
                    ];
                    if budgets.spend(token(thread), &charges, 1 + (round as u64 % 3), NOW).is_ok() {
                        got.fetch_add(1 + (round as u64 % 3), Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let got = got.into_inner();
    assert!((4_998..=5_000).contains(&got), "{got}");
    let others: u64 = (2..7).map(|number| budgets.used(token(0), user(number), NOW).principal).sum();
    assert_eq!((budgets.used(token(0), user(1), NOW).principal, others), (got, got));
    drop(budgets);
    let after = open(&dir, NOW).used(token(0), user(1), NOW).principal;
    assert!((got..=5_000).contains(&after), "{after}");
}

#[test]
fn a_release_within_its_ceiling_touches_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = open(&dir, NOW);
    assert_eq!(budgets.spend_now(token(1), &[charge(1)], 1, NOW), None, "the first has to be made durable");
    assert_eq!(budgets.used(token(1), user(1), NOW), Used::default(), "and was not charged");
    budgets.spend(token(1), &[charge(1)], 1, NOW).unwrap();
    let size = || std::fs::metadata(dir.path().join("budget")).unwrap().len();
    let before = size();
    for _ in 0..9 {
        assert_eq!(budgets.spend_now(token(1), &[charge(1)], 1, NOW), Some(Ok(())));
    }
    assert_eq!(budgets.spend_now(token(1), &[charge(1)], 1, NOW), None, "a hundredth of the token's limit");
    assert_eq!(size(), before);
    let refused = budgets.spend_now(token(1), &[charge(1)], 1_000, NOW);
    assert_eq!(refused, Some(Err(Spent { which: BudgetKind::PerToken, principal: None })));
}

#[test]
fn what_is_past_its_window_leaves_memory_and_journal() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = open(&dir, NOW);
    budgets.journal.rewrite_at(u32::MAX);
    let many = SHARDS as u128 * 1_100;
    let unlimited = |number| [Charge { principal: user(number), limits: BudgetLimits::NONE }];
    // Without the disk: what the sweep sees is in memory.
    for number in 0..many {
        let _ = budgets.spend_now(token(number), &unlimited(number), 1, NOW);
    }
    budgets.spend(token(1), &unlimited(1), 1, NOW).unwrap();
    let later = NOW.plus_ms(13 * HOUR_MS);
    for number in many..2 * many {
        let _ = budgets.spend_now(token(number), &unlimited(number), 1, later);
    }
    assert!(budgets.entries() < 3 * many as usize, "{}", budgets.entries());
    drop(budgets);
    assert!(open(&dir, NOW).entries() > 0);
    assert_eq!(open(&dir, later).entries(), 0);
    assert_eq!(std::fs::metadata(dir.path().join("budget")).unwrap().len(), 64, "only the header is left");
}

#[test]
fn a_journal_that_cannot_be_written_refuses_until_it_can_be_again() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = open(&dir, NOW);
    budgets.spend(token(1), &[charge(1)], 1, NOW).unwrap();
    budgets.journal.break_it();
    // The way out of it is barred too: there is a folder where the new file would be.
    let beside = dir.path().join("budget.new");
    std::fs::create_dir(&beside).unwrap();
    assert!(budgets.spend(token(1), &[charge(1)], 1, NOW).is_ok(), "within what is durable");
    for number in 2..5 {
        let refused = budgets.spend(token(number), &[charge(number)], 7, NOW);
        assert!(matches!(refused, Err(BudgetError::Journal(JournalFault::Io(_)))), "{refused:?}");
    }
    std::fs::remove_dir(&beside).unwrap();
    budgets.spend(token(5), &[charge(5)], 1, NOW).unwrap();
    budgets.spend(token(6), &[charge(6)], 1, NOW).unwrap();
    drop(budgets);
    let after = open(&dir, NOW);
    for (number, least) in [(1, 2), (2, 7), (3, 7), (4, 7), (5, 1), (6, 1)] {
        let used = after.used(token(number), user(number), NOW);
        assert!(used.token >= least && used.principal >= least, "{number}: {used:?}");
    }
}

#[test]
fn two_processes_do_not_share_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = open(&dir, NOW);
    let second = Budgets::open(&dir.path().join("budget"), NOW);
    assert!(matches!(second.err(), Some(JournalFault::InUse)));
    drop(budgets);
    // What a crash left while it was written anew is no obstacle.
    std::fs::write(dir.path().join("budget.new"), vec![7; 1000]).unwrap();
    drop(open(&dir, NOW));
    open(&dir, NOW);
}
