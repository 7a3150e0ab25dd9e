//! Conditions over a record's fields: row filters from policy and filters from requests are the same thing.
//!
//! Evaluation is three-valued, as SQL's is. A condition that meets a null is unknown, and a row is let through
//! only by `Some(true)`. INVARIANT deny-on-doubt: `not` keeps unknown unknown, so an absent value never turns a
//! refusal into a permit.

use crate::fieldset::FieldSet;
use crate::id::{FieldId, TypeId};
use crate::value::Value;

/// A condition over one record.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// The same for every record.
    Always(bool),
    /// All hold.
    And(Vec<Predicate>),
    /// At least one holds.
    Or(Vec<Predicate>),
    /// Does not hold.
    Not(Box<Predicate>),
    /// A comparison of one field.
    Field(FieldId, Comparison),
    /// The record that a reference field points at exists and holds a condition of its own.
    Via {
        /// The reference field of this record.
        reference: FieldId,
        /// The type that it points at.
        target: TypeId,
        /// The condition over the record pointed at.
        condition: Box<Predicate>,
    },
}

/// How one field is compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Comparison {
    /// Has no value. Never unknown.
    IsNull,
    /// Is this boolean; an absent value is not. Never unknown.
    Is(bool),
    /// Equals.
    Eq(Value),
    /// Differs.
    Neq(Value),
    /// Greater.
    Gt(Value),
    /// Greater or equal.
    Gte(Value),
    /// Less.
    Lt(Value),
    /// Less or equal.
    Lte(Value),
    /// Equals one of these.
    In(Vec<Value>),
    /// Matches a pattern in which `%` stands for any text and `_` for one character; `\` escapes.
    Like {
        /// The pattern.
        pattern: String,
        /// Whether case is folded.
        fold_case: bool,
    },
}

/// A record as a condition sees it.
pub trait Fields {
    /// The value of a field; [`Value::Null`] if it is absent.
    fn value(&self, field: FieldId) -> &Value;

    /// Whether the record that `reference` points at holds `condition`; `None` if that can't be known.
    fn via(&self, reference: FieldId, target: TypeId, condition: &Predicate) -> Option<bool>;
}

impl Predicate {
    /// Holds for every record.
    pub const TRUE: Self = Self::Always(true);
    /// Holds for none.
    pub const FALSE: Self = Self::Always(false);

    /// Both, simplified where one of them is constant.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Always(true), rest) | (rest, Self::Always(true)) => rest,
            (Self::Always(false), _) | (_, Self::Always(false)) => Self::FALSE,
            (Self::And(mut all), Self::And(more)) => {
                all.extend(more);
                Self::And(all)
            }
            (Self::And(mut all), one) => {
                all.push(one);
                Self::And(all)
            }
            (one, Self::And(mut all)) => {
                all.insert(0, one);
                Self::And(all)
            }
            (one, other) => Self::And(vec![one, other]),
        }
    }

    /// Either, simplified where one of them is constant or both are the same.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Always(false), rest) | (rest, Self::Always(false)) => rest,
            (Self::Always(true), _) | (_, Self::Always(true)) => Self::TRUE,
            (one, other) if one == other => one,
            (Self::Or(mut any), one) => {
                any.push(one);
                Self::Or(any)
            }
            (one, other) => Self::Or(vec![one, other]),
        }
    }

    /// The opposite; unknown stays unknown.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "`!` on a condition would read as evaluating it")]
    pub fn not(self) -> Self {
        match self {
            Self::Always(constant) => Self::Always(!constant),
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Whether the record holds the condition; `None` is unknown, which lets nothing through.
    pub fn evaluate(&self, record: &impl Fields) -> Option<bool> {
        match self {
            Self::Always(constant) => Some(*constant),
            Self::And(all) => {
                let mut verdict = Some(true);
                for one in all {
                    match one.evaluate(record) {
                        Some(true) => {}
                        Some(false) => return Some(false),
                        None => verdict = None,
                    }
                }
                verdict
            }
            Self::Or(any) => {
                let mut verdict = Some(false);
                for one in any {
                    match one.evaluate(record) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => verdict = None,
                    }
                }
                verdict
            }
            Self::Not(inner) => inner.evaluate(record).map(|holds| !holds),
            Self::Field(field, comparison) => comparison.evaluate(record.value(*field)),
            Self::Via { reference, target, condition } => record.via(*reference, *target, condition),
        }
    }

    /// The fields of this record that the condition looks at, references included.
    #[must_use]
    pub fn fields(&self) -> FieldSet {
        match self {
            Self::Always(_) => FieldSet::EMPTY,
            Self::And(parts) | Self::Or(parts) => {
                parts.iter().fold(FieldSet::EMPTY, |all, part| all.union(part.fields()))
            }
            Self::Not(inner) => inner.fields(),
            Self::Field(field, _) => FieldSet::EMPTY.with(*field),
            Self::Via { reference, .. } => FieldSet::EMPTY.with(*reference),
        }
    }

    /// Calls `visit` for each [`Predicate::Via`] directly in this condition, not inside another one.
    pub fn for_each_via<'a>(&'a self, visit: &mut impl FnMut(FieldId, TypeId, &'a Predicate)) {
        match self {
            Self::Always(_) | Self::Field(..) => {}
            Self::And(parts) | Self::Or(parts) => {
                for part in parts {
                    part.for_each_via(visit);
                }
            }
            Self::Not(inner) => inner.for_each_via(visit),
            Self::Via { reference, target, condition } => visit(*reference, *target, condition),
        }
    }
}

impl Comparison {
    /// Compares a value; `None` is unknown.
    #[must_use]
    pub fn evaluate(&self, value: &Value) -> Option<bool> {
        match self {
            Self::IsNull => Some(value.is_null()),
            Self::Is(flag) => Some(matches!(value, Value::Boolean(held) if held == flag)),
            Self::Eq(wanted) => value.equals(wanted),
            Self::Neq(wanted) => value.equals(wanted).map(|equal| !equal),
            Self::Gt(bound) => value.compare(bound).map(std::cmp::Ordering::is_gt),
            Self::Gte(bound) => value.compare(bound).map(std::cmp::Ordering::is_ge),
            Self::Lt(bound) => value.compare(bound).map(std::cmp::Ordering::is_lt),
            Self::Lte(bound) => value.compare(bound).map(std::cmp::Ordering::is_le),
            Self::In(wanted) if value.is_null() => wanted.is_empty().then_some(false),
            Self::In(wanted) => Some(wanted.iter().any(|one| value.equals(one) == Some(true))),
            Self::Like { pattern, fold_case } => match value {
                Value::Text(text) => Some(like(pattern, text, *fold_case)),
                _ => None,
            },
        }
    }
}

/// SQL's LIKE. Linear in space, at most pattern × text in time: on a mismatch only the last `%` is retried.
fn like(pattern: &str, text: &str, fold_case: bool) -> bool {
    let fold = |text: &str| -> Vec<char> {
        if fold_case { text.chars().flat_map(char::to_lowercase).collect() } else { text.chars().collect() }
    };
    let tokens = pattern_tokens(&fold(pattern));
    let text = fold(text);
    let (mut at_token, mut at_text) = (0usize, 0usize);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(&character) = text.get(at_text) {
        match tokens.get(at_token) {
            Some(Token::AnyText) => {
                retry = Some((at_token, at_text));
                at_token = at_token.saturating_add(1);
                continue;
            }
            Some(Token::AnyOne) => {}
            Some(Token::Exactly(wanted)) if *wanted == character => {}
            _ => match retry {
                Some((token, from)) => {
                    at_text = from.saturating_add(1);
                    at_token = token.saturating_add(1);
                    retry = Some((token, at_text));
                    continue;
                }
                None => return false,
            },
        }
        at_token = at_token.saturating_add(1);
        at_text = at_text.saturating_add(1);
    }
    tokens.iter().skip(at_token).all(|rest| matches!(rest, Token::AnyText))
}

enum Token {
    AnyText,
    AnyOne,
    Exactly(char),
}

fn pattern_tokens(pattern: &[char]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut characters = pattern.iter();
    while let Some(&character) = characters.next() {
        tokens.push(match character {
            '%' => Token::AnyText,
            '_' => Token::AnyOne,
            '\\' => Token::Exactly(characters.next().copied().unwrap_or('\\')),
            other => Token::Exactly(other),
        });
    }
    tokens
}

#[cfg(test)]
mod tests;
