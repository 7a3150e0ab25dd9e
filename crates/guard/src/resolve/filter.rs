//! Filters: each field must be the caller's to read, each literal of its field's kind.

use countersign_model::request::{Filter, Literal, Operator};
use countersign_model::{Comparison, Field, Kind, Predicate, Value};

use super::{Budget, Subject};
use crate::refusal::{Invalid, Refusal};

/// How deep `and`, `or` and `not` may nest: the resolved filter is evaluated by recursion.
const NESTING_MAX: usize = 32;

/// How long a pattern may be: matching takes at most as many steps as pattern and text have characters, multiplied,
/// and nothing else runs on that thread meanwhile.
const PATTERN_MAX: usize = 256;

pub(super) fn resolve(subject: &Subject<'_>, filter: &Filter, budget: &mut Budget) -> Result<Predicate, Refusal> {
    nested(subject, filter, budget, NESTING_MAX)
}

fn nested(subject: &Subject<'_>, filter: &Filter, budget: &mut Budget, depth: usize) -> Result<Predicate, Refusal> {
    let deeper = depth.checked_sub(1).ok_or(Invalid::TooMany { what: "levels in a filter", max: NESTING_MAX })?;
    match filter {
        Filter::And(parts) => {
            let mut all = Predicate::TRUE;
            for part in parts {
                all = all.and(nested(subject, part, budget, deeper)?);
            }
            Ok(all)
        }
        Filter::Or(parts) => {
            let mut any = Predicate::FALSE;
            for part in parts {
                any = any.or(nested(subject, part, budget, deeper)?);
            }
            Ok(any)
        }
        Filter::Not(inner) => Ok(nested(subject, inner, budget, deeper)?.not()),
        Filter::Test { field, operator, literal } => {
            let (id, field) = subject.field(field)?;
            let cost = match literal {
                Literal::One(_) => 1,
                Literal::List(list) => list.len().max(1),
            };
            budget.comparisons = budget
                .comparisons
                .checked_sub(cost)
                .ok_or(Invalid::TooMany { what: "comparisons in a filter", max: budget.comparisons_max })?;
            Ok(match comparison(field, *operator, literal)? {
                Test::Is(comparison) => Predicate::Field(id, comparison),
                Test::IsNot(comparison) => Predicate::Field(id, comparison).not(),
            })
        }
    }
}

enum Test {
    Is(Comparison),
    IsNot(Comparison),
}

fn comparison(field: &Field, operator: Operator, literal: &Literal) -> Result<Test, Invalid> {
    let does_not_apply = || Invalid::Comparison { field: field.name.clone(), kind: field.kind };
    let parse = |text: &str| {
        let wrong = |_| Invalid::WrongKind { field: field.name.clone(), expected: field.kind, row: None };
        Value::parse(field.kind, text).map_err(wrong)
    };
    let one = match (operator, literal) {
        (Operator::In, Literal::List(list)) => {
            let values = list.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
            return Ok(Test::Is(Comparison::In(values)));
        }
        (Operator::In, Literal::One(_)) | (_, Literal::List(_)) => return Err(does_not_apply()),
        (_, Literal::One(text)) => text,
    };
    let ordered = |make: fn(Value) -> Comparison| {
        if field.kind.is_ordered() { Ok(make(parse(one)?)) } else { Err(does_not_apply()) }
    };
    Ok(Test::Is(match operator {
        Operator::Eq => Comparison::Eq(parse(one)?),
        Operator::Neq => Comparison::Neq(parse(one)?),
        Operator::Gt => ordered(Comparison::Gt)?,
        Operator::Gte => ordered(Comparison::Gte)?,
        Operator::Lt => ordered(Comparison::Lt)?,
        Operator::Lte => ordered(Comparison::Lte)?,
        Operator::Like | Operator::Ilike if field.kind.is_text() => {
            if one.chars().count() > PATTERN_MAX {
                return Err(Invalid::TooMany { what: "characters in a pattern", max: PATTERN_MAX });
            }
            Comparison::Like { pattern: one.clone(), fold_case: operator == Operator::Ilike }
        }
        Operator::Like | Operator::Ilike | Operator::In => return Err(does_not_apply()),
        Operator::Is => match one.as_str() {
            "null" => Comparison::IsNull,
            "not_null" => return Ok(Test::IsNot(Comparison::IsNull)),
            "true" | "false" if field.kind != Kind::Boolean => return Err(does_not_apply()),
            "true" => Comparison::Is(true),
            "false" => Comparison::Is(false),
            _ => return Err(Invalid::Is { field: field.name.clone() }),
        },
    }))
}
