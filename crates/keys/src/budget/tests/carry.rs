//! Budgets move between their places without giving anything back.

use super::shared::Database;
use super::*;

#[test]
fn what_was_spent_goes_along_both_ways_and_again_changes_nothing() {
    let database = Database::start();
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let budgets = open(&dir, NOW);
    let mut now = NOW;
    for number in 0..40 {
        budgets.spend(token(number), &[charge(number % 7), charge(8)], 10 + number as u64, now).unwrap();
        now = now.plus_ms(2 * MINUTE_MS);
    }
    let shared = database.open(now);
    let carried = budgets.carry_to(&shared, now).unwrap();
    assert_eq!(carried, 48);
    let same = |left: &Budgets, right: &Budgets| {
        for number in 0..40 {
            let of = |budgets| used(budgets, token(number), user(number % 9), now);
            assert_eq!(of(left), of(right), "{number}");
        }
    };
    same(&budgets, &shared);
    // While it is carried again it is used at its new place already.
    shared.spend(token(3), &[charge(3)], 500, now).unwrap();
    budgets.carry_to(&shared, now).unwrap();
    assert_eq!(used(&shared, token(3), user(3), now).token, used(&budgets, token(3), user(3), now).token + 500);

    shared.close().unwrap();
    let back = open(&other, now);
    assert_eq!(shared.carry_to(&back, now).unwrap(), 48);
    same(&shared, &back);
    drop(back);
    // It is in the journal, and charged from there.
    let back = open(&other, now);
    same(&shared, &back);
    assert_eq!(spent(back.spend(token(3), &[charge(3)], 600, now)).0, BudgetKind::PerToken);
    back.spend(token(3), &[charge(3)], 400, now).unwrap();
}
