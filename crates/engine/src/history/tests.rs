use super::*;

fn seen(record: u128, from: u64, until: Option<u64>, value: i64) -> Seen {
    let values = vec![Value::Integer(value)];
    Seen { record: RecordId::from_u128(record), from: UnixMs(from), until: until.map(UnixMs), values }
}

/// (number, from, until, ended, value)
fn told(states: Vec<Seen>, limit: u64) -> Vec<(Value, Value, Value, Value, Value)> {
    let mut all = Vec::new();
    states.into_iter().for_each(|state| add(&mut all, state));
    let five = |row: Row| {
        let mut cells = row.cells.into_iter().map(|cell| match cell {
            Cell::Value(value) => value,
            other => panic!("{other:?}"),
        });
        let mut next = || cells.next().unwrap();
        (next(), next(), next(), next(), next())
    };
    rows(all, limit).into_iter().map(five).collect()
}

fn at(ms: u64) -> Value {
    Value::moment(UnixMs(ms)).unwrap()
}

#[test]
fn states_that_look_the_same_are_one() {
    let states =
        vec![seen(1, 10, Some(20), 1), seen(1, 20, Some(30), 1), seen(1, 30, Some(40), 2), seen(1, 40, None, 2)];
    let (one, two) = (Value::Integer(1), Value::Integer(2));
    let expected = vec![
        (one.clone(), at(10), at(30), Value::Boolean(false), one),
        (two.clone(), at(30), Value::Null, Value::Boolean(false), two),
    ];
    assert_eq!(told(states, 9), expected);
}

#[test]
fn what_ended_and_what_came_after_a_gap() {
    let states = [seen(1, 0, Some(20), 1), seen(1, 30, Some(40), 1), seen(2, 50, None, 1)];
    let told_of = |limit| {
        told(
            states
                .iter()
                .map(|s| Seen { record: s.record, from: s.from, until: s.until, values: s.values.clone() })
                .collect(),
            limit,
        )
    };
    let all = told_of(9);
    let ended: Vec<_> = all.iter().map(|state| state.3.clone()).collect();
    assert_eq!(ended, [Value::Boolean(true), Value::Boolean(true), Value::Boolean(false)]);
    let numbers: Vec<_> = all.iter().map(|state| state.0.clone()).collect();
    assert_eq!(numbers, [Value::Integer(1), Value::Integer(2), Value::Integer(1)]);
    assert_eq!(all[0].1, Value::Null, "nobody knows since when");
    assert_eq!(told_of(2), all[1..], "the newest");
    assert!(told_of(0).is_empty());
}
