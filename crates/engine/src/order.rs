//! Where rows stand in an ordered result.

use std::cmp::Ordering;

use countersign_model::Value;
use countersign_model::query::SortKey;
use countersign_model::row::Position;

use crate::lookup::Found;

/// By the sort keys, then by the record's id.
pub(crate) fn compare(order: &[SortKey], a: &Found, b: &Found) -> Ordering {
    let by_keys = order.iter().map(|key| compare_key(key, a.row.at(key.field), b.row.at(key.field)));
    by_keys.fold(Ordering::Equal, Ordering::then).then(a.row.record.cmp(&b.row.record))
}

fn compare_key(key: &SortKey, a: &Value, b: &Value) -> Ordering {
    let nulls = |a_is_null: bool| match (a_is_null, key.nulls_first) {
        (true, true) | (false, false) => Ordering::Less,
        _ => Ordering::Greater,
    };
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => nulls(true),
        (false, true) => nulls(false),
        (false, false) => {
            let ascending = a.compare(b).unwrap_or(Ordering::Equal);
            if key.descending { ascending.reverse() } else { ascending }
        }
    }
}

/// Whether a row comes after a place.
pub(crate) fn is_after(order: &[SortKey], found: &Found, position: &Position) -> bool {
    let by_keys = order.iter().zip(&position.keys).map(|(key, value)| compare_key(key, found.row.at(key.field), value));
    let by_keys = by_keys.fold(Ordering::Equal, Ordering::then);
    by_keys.then(found.row.record.cmp(&position.record)).is_gt()
}

/// The place right after a row.
pub(crate) fn position_of(order: &[SortKey], found: &Found) -> Position {
    Position { keys: order.iter().map(|key| found.row.at(key.field).clone()).collect(), record: found.row.record }
}
