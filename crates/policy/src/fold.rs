//! From a policy expression to a [`Condition`].
//!
//! The expressions come from two places. When policies are compiled, each is folded as it was written, with the
//! caller still open, to refuse what no plan can express. When a plan is made, what Cedar's partial evaluation
//! left of each is folded, with everything about the caller known.

mod operand;

use std::cell::Cell;

use cedar_policy::pst::{BinaryOp, Expr, PatternElem, SmolStr, UnaryOp, Var};
use countersign_model::{Comparison, FieldSet, Kind, Predicate, Value};

use crate::condition::Condition;
use crate::vocabulary::{Attribute, TypeWords, Vocabulary};
use operand::{Known, Operand, Path};

/// The most comparisons in what one policy folds to.
const STEPS_MAX: usize = 20_000;

/// What is known about the caller while folding.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Caller<'a> {
    /// Nothing: only whether the expression can be folded is asked.
    Open,
    /// Everything. The records are those of this tenant.
    Known { records_of: &'a str },
}

/// Why an expression can't be folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfoldable {
    /// It is no condition that a plan can hold.
    Unusable {
        /// The part of the expression, as Cedar text.
        part: String,
        /// Why, and what to write instead.
        why: &'static str,
    },
    /// Cedar found that it fails for this caller.
    Fails,
}

/// Folds expressions about records of one type.
pub(crate) struct Folder<'a> {
    vocabulary: &'a Vocabulary,
    words: &'a TypeWords,
    caller: Caller<'a>,
    steps: Cell<usize>,
}

type Folded = Result<Condition, Unfoldable>;

const NEVER: Condition = Condition::Constant(false);
const ALWAYS: Condition = Condition::Constant(true);

impl<'a> Folder<'a> {
    pub(crate) fn new(vocabulary: &'a Vocabulary, words: &'a TypeWords, caller: Caller<'a>) -> Self {
        Self { vocabulary, words, caller, steps: Cell::new(0) }
    }

    /// The condition under which `expr` is `wanted`. If Cedar's evaluation would fail, the condition is not met.
    pub(crate) fn condition(&self, expr: &Expr, wanted: bool) -> Folded {
        self.steps.set(self.steps.get().saturating_add(1));
        if self.steps.get() > STEPS_MAX {
            return Err(unusable(expr, "the condition is too large; split the policy in several"));
        }
        match expr {
            Expr::UnaryOp { op: UnaryOp::Not, expr } => self.condition(expr, !wanted),
            Expr::BinaryOp { op: BinaryOp::And, left, right } => self.chain(left, right, wanted, true),
            Expr::BinaryOp { op: BinaryOp::Or, left, right } => self.chain(left, right, wanted, false),
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                let then = self.after(self.condition(cond, true)?, then_expr, wanted)?;
                Ok(then.or(self.after(self.condition(cond, false)?, else_expr, wanted)?))
            }
            _ if self.is_open(expr) => Ok(open()),
            Expr::BinaryOp { op, left, right } => self.comparison(expr, *op, left, right, wanted),
            Expr::HasAttr { expr: of, attrs } => self.has(of, attrs.iter(), wanted),
            Expr::Like { expr: of, pattern } => self.like(expr, of, pattern, wanted),
            Expr::Is { expr: of, entity_type, in_expr } => {
                let (type_name, reached) = self.type_of(of)?;
                let is = Condition::Constant((type_name == entity_type.to_string()) == wanted);
                match in_expr {
                    None => Ok(reached.and(is)),
                    Some(_) => Err(unusable(expr, "compare with `==` instead of `in`")),
                }
            }
            // Cedar fails here if it comes here, so it is neither so nor otherwise.
            Expr::ResidualError => Ok(NEVER),
            _ => match self.operand(expr)? {
                Operand::Known(Known::Bool(constant)) => Ok(Condition::Constant(constant == wanted)),
                Operand::Value { path, field, kind: Kind::Boolean } => {
                    Ok(path.row(Predicate::Field(field, Comparison::Eq(Value::Boolean(wanted)))))
                }
                _ => Err(unusable(expr, "this is no condition on a field or a record")),
            },
        }
    }

    /// `left && right`, and `left || right`, which is the same with everything the other way round.
    ///
    /// Cedar stops at a `left` that fails, whatever `right` is. A row condition does not, so where `left` can
    /// fail, `right` counts only if `left` is known to let it: `a || b` becomes `a || (!a && b)`.
    fn chain(&self, left: &Expr, right: &Expr, wanted: bool, and: bool) -> Folded {
        let first = self.condition(left, wanted)?;
        if and == wanted {
            return self.after(first, right, wanted);
        }
        if first == ALWAYS {
            return Ok(ALWAYS);
        }
        let second = self.condition(right, wanted)?;
        let goes_on = if self.can_fail(left) { self.condition(left, !wanted)? } else { ALWAYS };
        Ok(first.or(goes_on.and(second)))
    }

    /// `first`, and then that `expr` is `wanted`; not looked at if `first` never is, as Cedar's types may not fit then.
    fn after(&self, first: Condition, expr: &Expr, wanted: bool) -> Folded {
        if first == NEVER { Ok(NEVER) } else { Ok(first.and(self.condition(expr, wanted)?)) }
    }

    fn comparison(&self, whole: &Expr, op: BinaryOp, left: &Expr, right: &Expr, wanted: bool) -> Folded {
        match op {
            BinaryOp::Eq => self.equal(whole, self.operand(left)?, self.operand(right)?, wanted),
            BinaryOp::NotEq => self.equal(whole, self.operand(left)?, self.operand(right)?, !wanted),
            BinaryOp::In => self.one_of(whole, &self.operand(left)?, &self.operand(right)?, wanted),
            BinaryOp::Contains => self.one_of(whole, &self.operand(right)?, &self.operand(left)?, wanted),
            BinaryOp::Less => self.less(whole, left, right, wanted),
            BinaryOp::GreaterEq => self.less(whole, left, right, !wanted),
            BinaryOp::Greater => self.less(whole, right, left, wanted),
            BinaryOp::LessEq => self.less(whole, right, left, !wanted),
            _ => Err(unusable(whole, "plans know ==, !=, <, <=, >, >=, in, contains, has and like on records")),
        }
    }

    fn equal(&self, whole: &Expr, left: Operand, right: Operand, wanted: bool) -> Folded {
        match (left, right) {
            (Operand::Known(a), Operand::Known(b)) => Ok(Condition::Constant((a == b) == wanted)),
            (Operand::Known(known), other) | (other, Operand::Known(known)) => {
                self.equals_known(whole, &other, &known, wanted)
            }
            (Operand::Value { .. } | Operand::Tenant(_) | Operand::Field | Operand::Class, Operand::Open)
            | (Operand::Open, Operand::Value { .. } | Operand::Tenant(_) | Operand::Field | Operand::Class)
            | (Operand::Open, Operand::Open) => Ok(open()),
            (Operand::Record(_), _) | (_, Operand::Record(_)) => {
                Err(unusable(whole, "compare the record's key field instead of the record"))
            }
            _ => Err(unusable(whole, "only a field and a fixed value or a fact about the principal can be compared")),
        }
    }

    fn equals_known(&self, whole: &Expr, operand: &Operand, known: &Known, wanted: bool) -> Folded {
        match operand {
            Operand::Field | Operand::Class => Ok(self.fields(self.fields_named(operand, known), wanted)),
            Operand::Tenant(path) => self.tenant_is(path, |tenant| known.is_tenant(tenant), wanted),
            Operand::Value { path, field, kind } => {
                let Some(value) = known.value(*kind) else { return Ok(Condition::Constant(!wanted)) };
                let comparison = if wanted { Comparison::Eq(value) } else { Comparison::Neq(value) };
                Ok(path.row(Predicate::Field(*field, comparison)))
            }
            Operand::Record(_) => Err(unusable(whole, "compare the record's key field instead of the record")),
            _ => Err(unusable(whole, "plans can't compare this")),
        }
    }

    /// `operand in set`, and `set.contains(operand)`. Nothing but roles has members, so `in` is equality.
    fn one_of(&self, whole: &Expr, operand: &Operand, set: &Operand, wanted: bool) -> Folded {
        let known = match set {
            Operand::Known(Known::Set(known)) => known.as_slice(),
            Operand::Known(one @ Known::Entity { .. }) => std::slice::from_ref(one),
            Operand::Open if !matches!(operand, Operand::Record(_) | Operand::Context) => return Ok(open()),
            _ => return Err(unusable(whole, "the set must be fixed values or facts about the principal")),
        };
        match operand {
            Operand::Known(one) => Ok(Condition::Constant(known.contains(one) == wanted)),
            Operand::Open => Ok(open()),
            Operand::Field | Operand::Class => {
                let named = known.iter().map(|one| self.fields_named(operand, one));
                Ok(self.fields(named.fold(FieldSet::EMPTY, FieldSet::union), wanted))
            }
            Operand::Tenant(path) => {
                self.tenant_is(path, |tenant| known.iter().any(|one| one.is_tenant(tenant)), wanted)
            }
            Operand::Value { path, field, kind } => {
                let values: Vec<Value> = known.iter().filter_map(|one| one.value(*kind)).collect();
                if values.is_empty() {
                    return Ok(Condition::Constant(!wanted));
                }
                let is_one = Predicate::Field(*field, Comparison::In(values));
                Ok(path.row(if wanted { is_one } else { is_one.not() }))
            }
            Operand::Record(_) => Err(unusable(whole, "compare the record's key field instead of the record")),
            Operand::Context => Err(unusable(whole, "plans can't compare this")),
        }
    }

    /// `smaller < larger`.
    fn less(&self, whole: &Expr, smaller: &Expr, larger: &Expr, wanted: bool) -> Folded {
        match (self.operand(smaller)?, self.operand(larger)?) {
            (Operand::Value { path, field, .. }, Operand::Known(Known::Long(bound))) => {
                let bound = Value::Integer(bound);
                let comparison = if wanted { Comparison::Lt(bound) } else { Comparison::Gte(bound) };
                Ok(path.row(Predicate::Field(field, comparison)))
            }
            (Operand::Known(Known::Long(bound)), Operand::Value { path, field, .. }) => {
                let bound = Value::Integer(bound);
                let comparison = if wanted { Comparison::Gt(bound) } else { Comparison::Lte(bound) };
                Ok(path.row(Predicate::Field(field, comparison)))
            }
            (Operand::Known(Known::Long(a)), Operand::Known(Known::Long(b))) => {
                Ok(Condition::Constant((a < b) == wanted))
            }
            (Operand::Value { .. }, Operand::Open) | (Operand::Open, Operand::Value { .. }) => Ok(open()),
            _ => Err(unusable(whole, "only a field and a fixed value or a fact about the principal can be compared")),
        }
    }

    fn like(&self, whole: &Expr, of: &Expr, pattern: &[PatternElem], wanted: bool) -> Folded {
        let Operand::Value { path, field, .. } = self.operand(of)? else {
            return Err(unusable(whole, "only a field can be compared with `like`"));
        };
        let mut like = String::new();
        for element in pattern {
            match element {
                PatternElem::Wildcard => like.push('%'),
                PatternElem::Char(character @ ('%' | '_' | '\\')) => like.extend(['\\', *character]),
                PatternElem::Char(character) => like.push(*character),
            }
        }
        let is_like = Predicate::Field(field, Comparison::Like { pattern: like, fold_case: false });
        Ok(path.row(if wanted { is_like } else { is_like.not() }))
    }

    /// `of has a.b.c`: each has the next.
    fn has<'e>(&self, of: &Expr, mut attributes: impl Iterator<Item = &'e SmolStr>, wanted: bool) -> Folded {
        let mut here = match self.operand(of)? {
            Operand::Record(path) => path,
            Operand::Context => {
                let known = attributes.all(|name| name == "field" || name == "class");
                return Ok(Condition::Constant(known == wanted));
            }
            _ => return Err(unusable(of, "`has` can't be asked of this")),
        };
        let mut conditions = Vec::new();
        for name in attributes {
            let (field, onward) = match self.words_at(&here)?.attributes.get(name.as_str()) {
                None => {
                    conditions.push(Condition::Constant(!wanted));
                    break;
                }
                Some(Attribute::Tenant) => {
                    conditions.push(if wanted { here.exists() } else { NEVER });
                    break;
                }
                Some(Attribute::Field { field, .. }) => (*field, None),
                Some(Attribute::Reference { field, target, .. }) => (*field, Some(*target)),
            };
            let is_null = Predicate::Field(field, Comparison::IsNull);
            conditions.push(here.row(if wanted { is_null.not() } else { is_null }));
            match onward {
                Some(target) => here = here.follow(field, target),
                None => break,
            }
        }
        let all = conditions.into_iter().rev();
        Ok(if wanted { all.fold(ALWAYS, |rest, one| one.and(rest)) } else { all.fold(NEVER, |rest, one| one.or(rest)) })
    }

    fn tenant_is(&self, path: &Path, is: impl FnOnce(&str) -> bool, wanted: bool) -> Folded {
        Ok(match self.caller {
            Caller::Open => open(),
            Caller::Known { records_of } if is(records_of) == wanted => path.exists(),
            Caller::Known { .. } => NEVER,
        })
    }

    const fn fields(&self, named: FieldSet, wanted: bool) -> Condition {
        Condition::Field(if wanted { named } else { self.words.all.difference(named) })
    }

    /// Whether Cedar's evaluation can fail: by following a reference to a record that is not there, or for sure.
    fn can_fail(&self, expr: &Expr) -> bool {
        let fails = |part: &Expr| match part {
            Expr::ResidualError => Some(true),
            Expr::GetAttr { expr, .. } => match self.operand(expr) {
                Ok(Operand::Record(path)) if path.is_here() => None,
                Ok(Operand::Record(_)) => Some(true),
                _ => None,
            },
            _ => None,
        };
        expr.reduce(&fails, &|a, b| a || b, false)
    }

    /// Whether nothing but the caller decides the expression, while the caller is open.
    fn is_open(&self, expr: &Expr) -> bool {
        let about_request = |part: &Expr| match part {
            Expr::Var(Var::Resource | Var::Context) => Some(true),
            _ => None,
        };
        matches!(self.caller, Caller::Open) && !expr.reduce(&about_request, &|a, b| a || b, false)
    }
}

/// Stands for a condition on the caller; never simplified away, and never evaluated.
const fn open() -> Condition {
    Condition::Row(Predicate::TRUE)
}

fn unusable(part: &Expr, why: &'static str) -> Unfoldable {
    Unfoldable::Unusable { part: part.to_string(), why }
}
