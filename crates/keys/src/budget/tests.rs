#![allow(clippy::arithmetic_side_effects, reason = "overflow fails the test")]

use tempfile::TempDir;

use super::own::Own;
use super::*;

mod carry;
mod crash;
mod file;
mod shared;
mod suite;

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const LIMITS: BudgetLimits = BudgetLimits { per_token: 1_000, per_principal: 3_000, per_hour: 2_000 };

/// Where budgets are kept. What is opened a second time has what was charged before.
trait Place {
    fn open(&self, now: UnixMs) -> Budgets;
}

impl Place for TempDir {
    fn open(&self, now: UnixMs) -> Budgets {
        Budgets::open(&self.path().join("budget"), now).unwrap()
    }
}

macro_rules! in_a_journal {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            suite::$name(&tempfile::tempdir().unwrap());
        })*

        /// On one server, one after the other.
        fn each_in(mut place: impl FnMut() -> Box<dyn Place>) {
            $(suite::$name(&*place());)*
        }
    };
}

in_a_journal!(
    each_limit_holds_to_the_cell_and_says_which_it_is,
    a_limit_of_nothing_and_charging_nobody_release_nothing_and_numbers_do_not_wrap,
    it_is_all_or_nothing_over_actor_and_subject,
    windows_slide_and_are_never_shorter_than_they_say,
    a_clock_that_is_set_back_gives_nothing_back,
    sixteen_threads_release_exactly_the_limit,
);

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
    Place::open(dir, now)
}

fn own(budgets: &Budgets) -> &Own {
    match &budgets.backing {
        Backing::Own(own) => own,
        Backing::Shared(_) => panic!("not in a journal"),
    }
}

fn used(budgets: &Budgets, token: TokenId, principal: UserId, now: UnixMs) -> Used {
    budgets.used(token, principal, now).unwrap()
}

fn spent(result: Result<(), BudgetError>) -> (BudgetKind, Option<UserId>) {
    match result {
        Err(BudgetError::Spent(spent)) => (spent.which, spent.principal),
        other => panic!("expected a limit, not {other:?}"),
    }
}
