//! Joining row conditions so that what is left is short, and an index can be used where there is one.
//!
//! Everything here leans on INVARIANT deny-on-doubt: no condition stands under a negation of its own, so that
//! "unknown" and "does not hold" come to the same and may be exchanged.

use countersign_model::{Comparison, FieldId, Predicate, TypeId, Value};

/// All hold.
pub(super) fn all(parts: impl Iterator<Item = Predicate>) -> Predicate {
    let mut kept: Vec<Predicate> = Vec::new();
    for part in parts.flat_map(|part| if let Predicate::And(parts) = part { parts } else { vec![part] }) {
        match part {
            Predicate::Always(true) => {}
            Predicate::Always(false) => return Predicate::FALSE,
            part if kept.contains(&part) => {}
            part => join_references(&mut kept, part, |a, b| all([a, b].into_iter())),
        }
    }
    if kept.contains(&Predicate::FALSE) {
        return Predicate::FALSE;
    }
    let says_more = kept.clone();
    kept.retain(|part| has_value(part).is_none_or(|field| !says_more.iter().any(|other| needs_value(other, field))));
    one_or(kept, Predicate::TRUE, Predicate::And)
}

/// At least one holds.
pub(super) fn any(parts: impl Iterator<Item = Predicate>) -> Predicate {
    let mut kept: Vec<Predicate> = Vec::new();
    for part in parts.flat_map(|part| if let Predicate::Or(parts) = part { parts } else { vec![part] }) {
        match part {
            Predicate::Always(false) => {}
            Predicate::Always(true) => return Predicate::TRUE,
            Predicate::Field(field, Comparison::Eq(value)) => add_values(&mut kept, field, vec![value]),
            Predicate::Field(field, Comparison::In(values)) => add_values(&mut kept, field, values),
            part if kept.contains(&part) => {}
            part => join_references(&mut kept, part, |a, b| any([a, b].into_iter())),
        }
    }
    kept.retain(|part| *part != Predicate::FALSE);
    one_or(kept, Predicate::FALSE, Predicate::Or)
}

/// The field equals one of `values`, or what is kept holds; all values of one field together are one condition.
fn add_values(kept: &mut Vec<Predicate>, field: FieldId, values: Vec<Value>) {
    let place = kept
        .iter()
        .position(|other| matches!(other, Predicate::Field(of, Comparison::Eq(_) | Comparison::In(_)) if *of == field));
    let mut all = match place.map(|place| kept.remove(place)) {
        Some(Predicate::Field(_, Comparison::In(known))) => known,
        Some(Predicate::Field(_, Comparison::Eq(known))) => vec![known],
        _ => Vec::new(),
    };
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    let comparison = match <[Value; 1]>::try_from(all) {
        Ok([one]) => Comparison::Eq(one),
        Err(all) => Comparison::In(all),
    };
    kept.insert(place.unwrap_or(kept.len()), Predicate::Field(field, comparison));
}

/// Two conditions on the record that one reference finds are one condition on it.
fn join_references(kept: &mut Vec<Predicate>, part: Predicate, join: impl Fn(Predicate, Predicate) -> Predicate) {
    let Predicate::Via { reference, target, condition } = part else {
        kept.push(part);
        return;
    };
    let place = kept.iter().position(|other| reference_of(other) == Some((reference, target)));
    let condition = match place.map(|place| kept.remove(place)) {
        Some(Predicate::Via { condition: other, .. }) => Box::new(join(*other, *condition)),
        _ => condition,
    };
    let joined =
        if *condition == Predicate::FALSE { Predicate::FALSE } else { Predicate::Via { reference, target, condition } };
    kept.insert(place.unwrap_or(kept.len()), joined);
}

const fn reference_of(predicate: &Predicate) -> Option<(FieldId, TypeId)> {
    match predicate {
        Predicate::Via { reference, target, .. } => Some((*reference, *target)),
        _ => None,
    }
}

/// The field, if the condition is no more than that it has a value.
fn has_value(predicate: &Predicate) -> Option<FieldId> {
    match predicate {
        Predicate::Not(inner) => match inner.as_ref() {
            Predicate::Field(field, Comparison::IsNull) => Some(*field),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the condition lets nothing through where the field has no value, and says more than that.
fn needs_value(predicate: &Predicate, field: FieldId) -> bool {
    match predicate {
        Predicate::Field(of, comparison) => *of == field && is_unknown_of_null(comparison),
        Predicate::Via { reference, .. } => *reference == field,
        Predicate::Not(inner) => match inner.as_ref() {
            Predicate::Field(of, comparison) => *of == field && is_unknown_of_null(comparison),
            _ => false,
        },
        _ => false,
    }
}

const fn is_unknown_of_null(comparison: &Comparison) -> bool {
    !matches!(comparison, Comparison::IsNull | Comparison::Is(_))
}

fn one_or(mut kept: Vec<Predicate>, none: Predicate, several: fn(Vec<Predicate>) -> Predicate) -> Predicate {
    match kept.len() {
        0 => none,
        1 => kept.pop().unwrap_or(none),
        _ => several(kept),
    }
}
