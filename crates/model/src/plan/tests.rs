//! The laws of intersecting plans, on random plans and every row of a small world.

#![allow(clippy::arithmetic_side_effects, reason = "tests compute with known numbers")]

use super::*;
use crate::predicate::Comparison;
use crate::value::Value;

const FIELDS: u8 = 5;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn field(&mut self) -> FieldId {
        FieldId(self.below(FIELDS.into()) as u8)
    }

    fn fields(&mut self) -> FieldSet {
        FieldSet::from_bits(u128::from(self.below(1 << FIELDS)))
    }

    fn condition(&mut self, depth: u64) -> Predicate {
        match self.below(if depth == 0 { 5 } else { 8 }) {
            0 => Predicate::Always(self.below(2) == 0),
            1 => Predicate::Field(self.field(), Comparison::IsNull),
            2 => Predicate::Field(self.field(), Comparison::Neq(Value::Integer(self.below(2) as i64))),
            3 | 4 => Predicate::Field(self.field(), Comparison::Eq(Value::Integer(self.below(2) as i64))),
            5 => self.condition(depth - 1).and(self.condition(depth - 1)),
            6 => self.condition(depth - 1).or(self.condition(depth - 1)),
            _ => self.condition(depth - 1).not(),
        }
    }

    fn plan(&mut self) -> Plan {
        let rules = (0..self.below(4)).map(|_| Rule { fields: self.fields(), rows: self.condition(2) });
        Plan { rules: rules.filter(|rule| !rule.fields.is_empty() && rule.rows != Predicate::FALSE).collect() }
    }
}

/// A record of five fields, each 0, 1 or absent.
struct Row([Value; FIELDS as usize]);

impl Fields for Row {
    fn value(&self, field: FieldId) -> &Value {
        &self.0[usize::from(field.0)]
    }

    fn via(&self, _: FieldId, _: TypeId, _: &Predicate) -> Option<bool> {
        None
    }
}

fn rows() -> Vec<Row> {
    let value = |digit: u32| match digit {
        0 => Value::Null,
        digit => Value::Integer(i64::from(digit) - 1),
    };
    (0..3u32.pow(FIELDS.into()))
        .map(|n| Row(std::array::from_fn(|place| value(n / 3u32.pow(place as u32) % 3))))
        .collect()
}

#[test]
fn an_intersection_permits_exactly_what_both_permit() {
    let mut dice = Dice(0x2545_F491_4F6C_DD1D);
    let rows = rows();
    let mut seen = (0, 0);
    for _ in 0..500 {
        let (one, other) = (dice.plan(), dice.plan());
        let both = one.intersect(&other);
        let reversed = other.intersect(&one);
        assert!(both.fields().is_subset(one.fields().intersection(other.fields())));
        for row in &rows {
            let expected = one.fields_on(row).intersection(other.fields_on(row));
            assert_eq!(both.fields_on(row), expected, "{one:?}\n{other:?}\n{both:?}");
            assert_eq!(reversed.fields_on(row), expected);
            if expected.is_empty() { seen.0 += 1 } else { seen.1 += 1 }
        }
        for rule in &both.rules {
            assert!(!rule.fields.is_empty() && rule.rows != Predicate::FALSE);
        }
    }
    assert!(seen.0 > 10_000 && seen.1 > 10_000, "{seen:?}");
}

#[test]
fn three_in_any_order_are_the_same() {
    let mut dice = Dice(99);
    let rows = rows();
    for _ in 0..100 {
        let (a, b, c) = (dice.plan(), dice.plan(), dice.plan());
        let (left, right) = (a.intersect(&b).intersect(&c), c.intersect(&a.intersect(&b)));
        for row in &rows {
            assert_eq!(left.fields_on(row), right.fields_on(row));
        }
    }
}

#[test]
fn with_itself_a_plan_stays_what_it_is_and_with_nothing_nothing_is_left() {
    let plan = Plan {
        rules: vec![
            Rule { fields: FieldSet::first(2), rows: Predicate::TRUE },
            Rule {
                fields: FieldSet::first(4).difference(FieldSet::first(2)),
                rows: Predicate::Field(FieldId(0), Comparison::Eq(Value::Integer(1))),
            },
        ],
    };
    assert_eq!(plan.intersect(&plan), plan);
    assert_eq!(plan.intersect(&Plan::all_rows(FieldSet::first(128))), plan);
    assert_eq!(plan.intersect(&Plan::default()), Plan::default());
    assert_eq!(plan.intersect(&Plan::all_rows(FieldSet::EMPTY.with(FieldId(9)))), Plan::default());
}
