use countersign_model::clock::Entropy;

use super::*;

struct Fixed;
impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) {
        out.fill(9);
    }
}

#[test]
fn the_time_of_a_request_is_in_its_id() {
    let now = UnixMs(1_763_000_000_123);
    assert_eq!(made(RequestId::new(now, &Fixed)), now);
}

#[test]
fn a_call_is_taken_once_for_as_long_as_its_request_is_fresh() {
    let seen = Seen::new();
    let begin = UnixMs(1_000_000);
    let id = RequestId::new(begin, &Fixed);
    let take = |role, sequence, at: u64| seen.first_time(role, id, sequence, begin.plus_ms(at));
    assert_eq!(take(Service::Gateway, 1, 0), Ok(()));
    assert_eq!(take(Service::Gateway, 2, 0), Ok(()));
    assert_eq!(take(Service::Store, 1, 0), Ok(()), "another role counts for itself");
    for at in (0..=GENERATION_MS).step_by(500) {
        assert_eq!(take(Service::Gateway, 1, at), Err(CallRefused::Replay), "{at}");
        // Others keep the generations turning.
        let other = RequestId::new(begin.plus_ms(at + 1), &Fixed);
        seen.first_time(Service::Gateway, other, at, begin.plus_ms(at)).unwrap();
    }
}

#[test]
fn what_is_remembered_is_bounded_and_goes_away() {
    let seen = Seen::new();
    let begin = UnixMs(1_000_000);
    let mut refused = 0;
    for sequence in 0..(SHARD_CALLS_MAX * SHARDS + 50_000) as u64 {
        let taken = seen.first_time(Service::Gateway, RequestId::from_u128(0), sequence, begin);
        refused += u64::from(taken == Err(CallRefused::Busy));
    }
    assert!(refused > 0, "full shards refuse instead of forgetting");
    let later = begin.plus_ms(3 * GENERATION_MS);
    assert_eq!(seen.first_time(Service::Gateway, RequestId::from_u128(1), 0, later), Ok(()));
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let seen = Seen::new();
    let begin = UnixMs(10_000_000);
    let take = |id: u128, at| seen.first_time(Service::Gateway, RequestId::from_u128(id), 0, at);
    take(0, begin).unwrap();
    let back = begin.minus_ms(3_600_000);
    assert_eq!(take(0, back), Err(CallRefused::Replay), "nothing is forgotten");
    let mut refused = 0;
    for id in 0..(SHARD_CALLS_MAX * SHARDS) as u128 {
        // As many as there are, over three generations.
        let at = back.plus_ms(u64::try_from(id).unwrap() * 3 * GENERATION_MS / (SHARD_CALLS_MAX * SHARDS) as u64);
        refused += u64::from(take(id + 1, at) == Err(CallRefused::Busy));
    }
    assert_eq!(refused, 0);
}
