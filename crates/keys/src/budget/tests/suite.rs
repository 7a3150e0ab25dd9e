//! What holds wherever budgets are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

pub(super) fn each_limit_holds_to_the_cell_and_says_which_it_is(place: &dyn Place) {
    let budgets = place.open(NOW);
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
    assert_eq!(used(&budgets, token(1), user(1), later), Used { token: 1_000, principal: 3_000, hour: 1_000 });
}

pub(super) fn a_limit_of_nothing_and_charging_nobody_release_nothing_and_numbers_do_not_wrap(place: &dyn Place) {
    let budgets = place.open(NOW);
    assert_eq!(spent(budgets.spend(token(1), &[], 1, NOW)).0, BudgetKind::PerToken);
    let none = Charge { principal: user(1), limits: BudgetLimits { per_principal: 0, ..LIMITS } };
    assert_eq!(spent(budgets.spend(token(1), &[none], 1, NOW)).0, BudgetKind::PerPrincipal);
    let unlimited = Charge { principal: user(2), limits: BudgetLimits::NONE };
    budgets.spend(token(2), &[unlimited], u64::MAX - 1, NOW).unwrap();
    assert_eq!(spent(budgets.spend(token(2), &[unlimited], 2, NOW)).0, BudgetKind::PerToken);
    budgets.spend(token(2), &[unlimited], 1, NOW).unwrap();
    assert_eq!(spent(budgets.spend(token(3), &[unlimited], 1, NOW)).0, BudgetKind::PerPrincipal);
}

pub(super) fn it_is_all_or_nothing_over_actor_and_subject(place: &dyn Place) {
    let budgets = place.open(NOW);
    let agent = Charge { principal: user(9), limits: BudgetLimits { per_token: 50, per_principal: 60, per_hour: 60 } };
    budgets.spend(token(1), &[charge(1), agent], 40, NOW).unwrap();
    let refused = budgets.spend(token(1), &[charge(1), agent], 11, NOW);
    assert_eq!(spent(refused), (BudgetKind::PerToken, None), "the smaller token limit holds");
    let refused = budgets.spend(token(2), &[charge(1), agent], 21, NOW);
    assert_eq!(spent(refused), (BudgetKind::PerPrincipal, Some(user(9))));
    assert_eq!(used(&budgets, token(1), user(1), NOW), Used { token: 40, principal: 40, hour: 40 });
    assert_eq!(used(&budgets, token(2), user(9), NOW), Used { token: 0, principal: 40, hour: 40 });
    budgets.spend(token(2), &[agent, agent], 10, NOW).unwrap();
    assert_eq!(used(&budgets, token(2), user(9), NOW).principal, 50, "named twice, charged once");
}

pub(super) fn windows_slide_and_are_never_shorter_than_they_say(place: &dyn Place) {
    let budgets = place.open(NOW);
    let limits = BudgetLimits { per_token: u64::MAX, per_principal: 100, per_hour: 10 };
    let charge = [Charge { principal: user(1), limits }];
    // Every other minute, as much as is let through.
    let mut released: Vec<(UnixMs, u64)> = Vec::new();
    for round in 0..(15 * 60) {
        let now = NOW.plus_ms(2 * round * MINUTE_MS);
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

pub(super) fn a_clock_that_is_set_back_gives_nothing_back(place: &dyn Place) {
    let budgets = place.open(NOW);
    budgets.spend(token(1), &[charge(1)], 1_000, NOW).unwrap();
    let back = NOW.minus_ms(20 * HOUR_MS);
    budgets.spend(token(2), &[charge(1)], 1_000, back).unwrap();
    assert_eq!(spent(budgets.spend(token(3), &[charge(1)], 1, back)).0, BudgetKind::PerHour);
    assert_eq!(spent(budgets.spend(token(3), &[charge(1)], 1, NOW)).0, BudgetKind::PerHour);
    drop(budgets);
    let budgets = place.open(back);
    assert_eq!(spent(budgets.spend(token(3), &[charge(1)], 1, back)).0, BudgetKind::PerHour);
}

pub(super) fn sixteen_threads_release_exactly_the_limit(place: &dyn Place) {
    let budgets = Arc::new(place.open(NOW));
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
    let others: u64 = (2..7).map(|number| used(&budgets, token(0), user(number), NOW).principal).sum();
    assert_eq!((used(&budgets, token(0), user(1), NOW).principal, others), (got, got));
    drop(budgets);
    let after = used(&place.open(NOW), token(0), user(1), NOW).principal;
    assert!((got..=5_000).contains(&after), "{after}");
}
