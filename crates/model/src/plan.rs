//! What a caller may do with one record type: the answer of policy, ready to be evaluated without it.

use crate::fieldset::FieldSet;
use crate::id::{FieldId, TypeId};
use crate::predicate::{Fields, Predicate};

/// The decision for one (caller, action, record type): which fields, on which rows.
///
/// A field may be used on a row if some rule has the field and its row condition is `Some(true)`.
/// An empty plan permits nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Fields and the rows on which they are permitted.
    pub rules: Vec<Rule>,
}

/// Fields that share a row condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The fields.
    pub fields: FieldSet,
    /// The rows; never constant false.
    pub rows: Predicate,
}

impl Plan {
    /// A plan that permits `fields` on every row.
    #[must_use]
    pub fn all_rows(fields: FieldSet) -> Self {
        Self { rules: vec![Rule { fields, rows: Predicate::TRUE }] }
    }

    /// The fields permitted on at least some rows. Any other field must seem not to exist.
    #[must_use]
    pub fn fields(&self) -> FieldSet {
        self.rules.iter().fold(FieldSet::EMPTY, |all, rule| all.union(rule.fields))
    }

    /// The fields that row conditions look at, permitted or not.
    #[must_use]
    pub fn condition_fields(&self) -> FieldSet {
        self.rules.iter().fold(FieldSet::EMPTY, |all, rule| all.union(rule.rows.fields()))
    }

    /// The fields permitted on this row; empty means that the row must seem not to exist.
    pub fn fields_on(&self, record: &impl Fields) -> FieldSet {
        self.rules
            .iter()
            .filter(|rule| rule.rows.evaluate(record) == Some(true))
            .fold(FieldSet::EMPTY, |all, rule| all.union(rule.fields))
    }

    /// The rows on which all of `fields` are permitted, as one condition.
    #[must_use]
    pub fn rows_with_all(&self, fields: FieldSet) -> Predicate {
        let mut conditions: Vec<Predicate> = Vec::new();
        for condition in fields.iter().map(|field| self.rows_with(field)) {
            if !conditions.contains(&condition) {
                conditions.push(condition);
            }
        }
        conditions.into_iter().fold(Predicate::TRUE, Predicate::and)
    }

    /// The rows on which any field is permitted, as one condition.
    #[must_use]
    pub fn rows_with_any(&self) -> Predicate {
        self.rules.iter().fold(Predicate::FALSE, |any, rule| any.or(rule.rows.clone()))
    }

    fn rows_with(&self, field: FieldId) -> Predicate {
        let with_field = self.rules.iter().filter(|rule| rule.fields.contains(field));
        with_field.fold(Predicate::FALSE, |any, rule| any.or(rule.rows.clone()))
    }

    /// This plan with only `fields` left; for narrowed tokens.
    #[must_use]
    pub fn narrowed_to(&self, fields: FieldSet) -> Self {
        let kept =
            self.rules.iter().map(|rule| Rule { fields: rule.fields.intersection(fields), rows: rule.rows.clone() });
        Self { rules: kept.filter(|rule| !rule.fields.is_empty()).collect() }
    }

    /// What both plans permit: a field on a row where it is permitted by both, and nothing else.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let mut rules: Vec<Rule> = Vec::new();
        for one in &self.rules {
            for another in &other.rules {
                let fields = one.fields.intersection(another.fields);
                let rows = if one.rows == another.rows {
                    one.rows.clone()
                } else {
                    one.rows.clone().and(another.rows.clone())
                };
                if fields.is_empty() || rows == Predicate::FALSE {
                    continue;
                }
                match rules.iter_mut().find(|rule| rule.rows == rows) {
                    Some(rule) => rule.fields = rule.fields.union(fields),
                    None => rules.push(Rule { fields, rows }),
                }
            }
        }
        Self { rules }
    }

    /// Every type and field that evaluating the row conditions has to read, through references too.
    #[must_use]
    pub fn reads(&self, own: TypeId) -> Vec<(TypeId, FieldSet)> {
        fn collect(type_id: TypeId, condition: &Predicate, into: &mut Vec<(TypeId, FieldSet)>) {
            let fields = condition.fields();
            match into.iter_mut().find(|(known, _)| *known == type_id) {
                Some((_, set)) => *set = set.union(fields),
                None => into.push((type_id, fields)),
            }
            condition.for_each_via(&mut |_, target, inner| collect(target, inner, into));
        }
        let mut reads = Vec::new();
        for rule in &self.rules {
            collect(own, &rule.rows, &mut reads);
        }
        reads
    }
}

#[cfg(test)]
mod tests;
