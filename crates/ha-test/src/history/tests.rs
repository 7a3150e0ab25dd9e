use super::*;

fn at(ms: u64) -> Moment {
    Duration::from_millis(ms)
}

fn event(client: u32, act: Act, times: (u64, u64), told: Told) -> Event {
    let thing = Thing::Register(1);
    Event { client, gateway: 0, thing, act, begun: at(times.0), ended: at(times.1), told }
}

fn write(number: i64, times: (u64, u64), told: Told) -> Event {
    event(1, Act::Write(number), times, told)
}

fn read(client: u32, times: (u64, u64), number: i64) -> Event {
    event(client, Act::Read, times, Told::Value((number != 0).then_some(number)))
}

fn kinds(events: &[Event], end: i64) -> Vec<Kind> {
    let end = if end == 0 { End::new() } else { End::from([(Thing::Register(1), end)]) };
    judge(events, &end).wrong.into_iter().map(|wrong| wrong.kind).collect()
}

fn refused() -> Told {
    Told::Refused("503".into())
}

fn unknown() -> Told {
    Told::Unknown("504".into())
}

#[test]
fn what_is_as_it_should_be() {
    let events = [
        write(1, (0, 10), Told::Done),
        read(2, (5, 8), 0), // not acknowledged yet when it was asked for
        read(2, (5, 9), 1),
        write(2, (20, 30), refused()),
        write(3, (40, 50), unknown()),
        read(2, (60, 70), 1),
        read(2, (80, 90), 3),
    ];
    assert_eq!(kinds(&events, 3), []);
    assert_eq!(judge(&events, &End::from([(Thing::Register(1), 3)])).unknown_done, 1);
}

#[test]
fn what_is_lost() {
    let events = [write(1, (0, 10), Told::Done), write(2, (20, 30), Told::Done)];
    assert_eq!(kinds(&events, 2), []);
    assert_eq!(kinds(&events, 1), [Kind::Lost]);
    assert_eq!(kinds(&events, 0), [Kind::Lost]);
}

#[test]
fn what_is_older_than_it_may_be() {
    let written = write(1, (0, 10), Told::Done);
    let second = write(2, (20, 30), Told::Done);
    let late = read(2, (31, 40), 1);
    assert_eq!(kinds(&[written.clone(), second.clone(), late], 2), [Kind::OlderThanAny]);
    // Not acknowledged to anybody yet, and told to this client before: it must not go back.
    let open = write(2, (20, 90), Told::Done);
    let (first, then) = (read(2, (30, 40), 2), read(2, (50, 60), 1));
    assert_eq!(kinds(&[written.clone(), open.clone(), first, then], 2), [Kind::OlderThanOwn]);
    let elsewhere = [written.clone(), open, read(2, (30, 40), 2), read(3, (50, 60), 1)];
    assert_eq!(kinds(&elsewhere, 2), []);
    // Nothing where something was acknowledged.
    assert_eq!(kinds(&[written, read(2, (50, 60), 0)], 1), [Kind::OlderThanAny]);
}

#[test]
fn what_was_never_written() {
    let events = [write(1, (0, 10), Told::Done), write(2, (20, 30), refused()), read(2, (40, 50), 2)];
    assert_eq!(kinds(&events, 1), [Kind::NeverWritten]);
    assert_eq!(kinds(&events[..2], 2), [Kind::NeverWritten]);
    assert_eq!(kinds(&[read(2, (40, 50), 7)], 0), [Kind::NeverWritten]);
    // Read before anybody began to write it.
    assert_eq!(kinds(&[read(2, (0, 5), 1), write(1, (10, 20), Told::Done)], 1), [Kind::NeverWritten]);
}

#[test]
fn the_longest_wait() {
    let answered = vec![at(5), at(10), at(400), at(420)];
    assert_eq!(longest_wait(answered.clone(), at(8), at(500)), (at(392), at(390)));
    assert_eq!(longest_wait(answered, at(8), at(2000)), (at(1992), at(1580)));
}
