//! In a journal.

use super::super::own::SHARDS;
use super::*;

#[test]
fn a_release_within_its_ceiling_touches_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let budgets = open(&dir, NOW);
    assert_eq!(budgets.spend_now(token(1), &[charge(1)], 1, NOW), None, "the first has to be made durable");
    assert_eq!(used(&budgets, token(1), user(1), NOW), Used::default(), "and was not charged");
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
    own(&budgets).journal.rewrite_at(u32::MAX);
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
    own(&budgets).journal.break_it();
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
        let used = used(&after, token(number), user(number), NOW);
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
