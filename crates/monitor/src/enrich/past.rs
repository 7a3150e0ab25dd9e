//! How much each user has read, hour by hour: against their own past and nobody else's.
//!
//! Time is that of the store's records. Memory is bounded by users; past it, those who have read nothing for the longest
//! time are forgotten.

use std::collections::{HashMap, VecDeque};

use countersign_model::{UnixMs, UserId};
use serde::{Deserialize, Serialize};

/// How many users are remembered.
const USERS_MAX: usize = 100_000;
/// The last hour is six of these.
const SLOT_MS: u64 = 600_000;
const SLOTS: u64 = 6;
const HOUR_MS: u64 = 3_600_000;
const HOURS_OF_A_DAY: u64 = 24;
/// How far the past goes back.
const DAYS: u64 = 14;

/// All users' reading.
#[derive(Debug, Default)]
pub(super) struct Past {
    users: HashMap<UserId, Reading>,
}

/// The form in which it is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StoredPast(Vec<(UserId, Reading)>);

/// One user's reading: number of slot, hour or day since 1970, and cells.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Reading {
    slots: VecDeque<(u64, u64)>,
    /// Whole hours of the clock that the last hour still overlaps.
    hours: VecDeque<(u64, u64)>,
    /// The most of any hour of that day.
    days: VecDeque<(u64, u64)>,
}

/// Where one user stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Cells within the last hour, this read's among them; in steps of ten minutes.
    pub(super) hour: u64,
    /// The most of any hour of the clock before that.
    pub(super) past_max: Option<u64>,
}

impl Past {
    /// A user has read so many cells.
    pub(super) fn read(&mut self, user: UserId, time: UnixMs, cells: u64) -> Standing {
        if self.users.len() >= USERS_MAX && !self.users.contains_key(&user) {
            self.forget();
        }
        self.users.entry(user).or_default().read(time, cells)
    }

    fn forget(&mut self) {
        let last = |reading: &Reading| reading.slots.back().map_or(0, |(slot, _)| *slot);
        let mut times: Vec<u64> = self.users.values().map(last).collect();
        let middle = times.len().checked_div(2).unwrap_or(0);
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        let mut room = middle;
        self.users.retain(|_, reading| {
            let stays = last(reading) >= median && room > 0;
            room = room.saturating_sub(usize::from(stays));
            stays
        });
    }

    pub(super) fn stored(&self) -> StoredPast {
        StoredPast(self.users.iter().map(|(user, reading)| (*user, reading.clone())).collect())
    }

    pub(super) fn restored(stored: StoredPast) -> Self {
        Self { users: stored.0.into_iter().collect() }
    }
}

impl Reading {
    fn read(&mut self, time: UnixMs, cells: u64) -> Standing {
        let number = |unit: u64| time.0.checked_div(unit).unwrap_or(0);
        // A record that is a little late counts with the newest.
        let slot = number(SLOT_MS).max(self.slots.back().map_or(0, |(slot, _)| *slot));
        let hour = number(HOUR_MS).max(self.hours.back().map_or(0, |(hour, _)| *hour));
        add(&mut self.slots, slot, cells);
        while self.slots.front().is_some_and(|(of, _)| slot.saturating_sub(*of) >= SLOTS) {
            self.slots.pop_front();
        }
        // An hour of the clock is past when the last hour no longer reaches into it.
        while let Some((of, sum)) = self.hours.front().copied()
            && hour.saturating_sub(of) >= 2
        {
            self.hours.pop_front();
            let day = of.checked_div(HOURS_OF_A_DAY).unwrap_or(0);
            match self.days.back_mut() {
                Some((last, most)) if *last == day => *most = (*most).max(sum),
                _ => self.days.push_back((day, sum)),
            }
        }
        add(&mut self.hours, hour, cells);
        let today = hour.checked_div(HOURS_OF_A_DAY).unwrap_or(0);
        while self.days.front().is_some_and(|(day, _)| today.saturating_sub(*day) > DAYS) {
            self.days.pop_front();
        }
        let sum = self.slots.iter().fold(0u64, |sum, (_, cells)| sum.saturating_add(*cells));
        Standing { hour: sum, past_max: self.days.iter().map(|(_, most)| *most).max() }
    }
}

fn add(to: &mut VecDeque<(u64, u64)>, number: u64, cells: u64) {
    match to.back_mut() {
        Some((last, sum)) if *last == number => *sum = sum.saturating_add(cells),
        _ => to.push_back((number, cells)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * HOUR_MS;

    #[test]
    fn an_hour_is_held_against_earlier_ones() {
        let (mut past, user) = (Past::default(), UserId::from_u128(1));
        let start = UnixMs(20_000 * DAY_MS);
        let first = past.read(user, start, 100);
        assert_eq!(first, Standing { hour: 100, past_max: None });
        assert_eq!(past.read(user, start.plus_ms(SLOT_MS), 50).hour, 150);
        let later = past.read(user, start.plus_ms(HOUR_MS), 7);
        assert_eq!(later, Standing { hour: 57, past_max: None }, "the hour before may overlap");
        let later = past.read(user, start.plus_ms(2 * HOUR_MS), 1);
        assert_eq!(later, Standing { hour: 1, past_max: Some(150) });
        assert_eq!(past.read(UserId::from_u128(2), start.plus_ms(2 * HOUR_MS), 1).past_max, None, "another's past");
        let days_later = past.read(user, start.plus_ms(13 * DAY_MS), 1);
        assert_eq!(days_later.past_max, Some(150));
        let long_after = past.read(user, start.plus_ms(16 * DAY_MS), 1);
        assert_eq!(long_after.past_max, Some(1), "of the last 14 days");
    }

    #[test]
    fn memory_is_bounded_and_those_who_read_stay() {
        let mut past = Past::default();
        let start = UnixMs(20_000 * DAY_MS);
        for user in 0..USERS_MAX {
            past.read(UserId::from_u128(user as u128), start, 1);
        }
        for user in [7u128, 8] {
            past.read(UserId::from_u128(user), start.plus_ms(HOUR_MS), 1);
        }
        past.read(UserId::from_u128(u128::MAX), start.plus_ms(HOUR_MS), 1);
        assert!(past.users.len() <= USERS_MAX / 2 + 1);
        let restored = Past::restored(past.stored());
        assert_eq!(restored.users.len(), past.users.len());
    }
}
