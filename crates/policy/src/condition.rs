//! A policy's condition for one record type: about the field asked for, and about the record.
//!
//! Conditions are kept in negation normal form: `!` is pushed down to the comparisons, where it becomes another
//! comparison. INVARIANT deny-on-doubt: what can't be known (an absent value, a record that a reference should
//! find and does not) lets nothing through, and with no negation above it nothing can turn that round.

mod rows;

use countersign_model::{FieldSet, Plan, Predicate, plan::Rule};

/// A condition over a field and a record, without negation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    /// Always or never.
    Constant(bool),
    /// The field asked for is one of these.
    Field(FieldSet),
    /// The record holds this.
    Row(Predicate),
    /// All hold.
    All(Vec<Condition>),
    /// At least one holds.
    Any(Vec<Condition>),
}

impl Condition {
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Constant(true), rest) | (rest, Self::Constant(true)) => rest,
            (Self::Constant(false), _) | (_, Self::Constant(false)) => Self::Constant(false),
            (Self::Field(a), Self::Field(b)) => Self::Field(a.intersection(b)),
            (Self::All(mut all), Self::All(more)) => {
                all.extend(more);
                Self::All(all)
            }
            (Self::All(mut all), one) => {
                all.push(one);
                Self::All(all)
            }
            (one, other) => Self::All(vec![one, other]),
        }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Constant(false), rest) | (rest, Self::Constant(false)) => rest,
            (Self::Constant(true), _) | (_, Self::Constant(true)) => Self::Constant(true),
            (Self::Field(a), Self::Field(b)) => Self::Field(a.union(b)),
            (one, other) if one == other => one,
            (Self::Any(mut any), Self::Any(more)) => {
                any.extend(more);
                Self::Any(any)
            }
            (Self::Any(mut any), one) => {
                any.push(one);
                Self::Any(any)
            }
            (one, other) => Self::Any(vec![one, other]),
        }
    }

    /// The condition on the record alone, for any one field of `fields`, which the test does not tell apart.
    fn rows(&self, fields: FieldSet) -> Predicate {
        match self {
            Self::Constant(constant) => Predicate::Always(*constant),
            Self::Field(named) => Predicate::Always(fields.is_subset(*named)),
            Self::Row(row) => row.clone(),
            Self::All(parts) => rows::all(parts.iter().map(|part| part.rows(fields))),
            Self::Any(parts) => rows::any(parts.iter().map(|part| part.rows(fields))),
        }
    }

    /// Cuts groups of fields until each is wholly inside or outside every field set of the test.
    fn tell_apart(&self, groups: &mut Vec<FieldSet>) {
        match self {
            Self::Constant(_) | Self::Row(_) => {}
            Self::Field(named) => {
                let cut = groups.iter().flat_map(|group| [group.intersection(*named), group.difference(*named)]);
                *groups = cut.filter(|group| !group.is_empty()).collect();
            }
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.tell_apart(groups)),
        }
    }

    /// The plan that permits exactly what the test does.
    pub(crate) fn into_plan(self, all: FieldSet) -> Plan {
        let mut groups = vec![all];
        self.tell_apart(&mut groups);
        let mut rules: Vec<Rule> = Vec::new();
        for fields in groups {
            let rows = self.rows(fields);
            if fields.is_empty() || rows == Predicate::FALSE {
                continue;
            }
            match rules.iter_mut().find(|rule| rule.rows == rows) {
                Some(rule) => rule.fields = rule.fields.union(fields),
                None => rules.push(Rule { fields, rows }),
            }
        }
        Plan { rules }
    }
}
