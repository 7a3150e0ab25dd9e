//! What stands on either side of a comparison.

use cedar_policy::pst::{Expr, Literal, Var};
use countersign_model::{FieldId, FieldSet, Kind, Predicate, TypeId, Value};

use super::{Folder, Unfoldable, unusable};
use crate::condition::Condition;
use crate::vocabulary::{Attribute, TypeWords};

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    /// A constant.
    Known(Known),
    /// Something about the caller, who is not known yet.
    Open,
    /// The record, or one that it refers to.
    Record(Path),
    /// The tenant of such a record.
    Tenant(Path),
    /// A field of such a record.
    Value { path: Path, field: FieldId, kind: Kind },
    /// The field asked for.
    Field,
    /// Its class.
    Class,
    /// The record that holds both.
    Context,
}

/// A constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    Bool(bool),
    Long(i64),
    Text(String),
    Entity { type_name: String, id: String },
    Set(Vec<Known>),
}

/// The way from the record asked for to another, over references.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Path(Vec<(FieldId, TypeId)>);

impl Folder<'_> {
    pub(super) fn operand(&self, expr: &Expr) -> Result<Operand, Unfoldable> {
        if self.is_open(expr) {
            return Ok(Operand::Open);
        }
        match expr {
            Expr::Var(Var::Resource) => Ok(Operand::Record(Path::default())),
            Expr::Var(Var::Context) => Ok(Operand::Context),
            Expr::Literal(literal) => Ok(Operand::Known(known(expr, literal)?)),
            Expr::Set(elements) => {
                let elements = elements.iter().map(|element| match self.operand(element)? {
                    Operand::Known(known) => Ok(known),
                    _ => Err(unusable(expr, "a set must hold fixed values or facts about the principal")),
                });
                Ok(Operand::Known(Known::Set(elements.collect::<Result<_, _>>()?)))
            }
            Expr::GetAttr { expr: of, attr } => match self.operand(of)? {
                Operand::Context if attr == "field" => Ok(Operand::Field),
                Operand::Context if attr == "class" => Ok(Operand::Class),
                Operand::Record(path) => match self.words_at(&path)?.attributes.get(attr.as_str()) {
                    Some(Attribute::Tenant) => Ok(Operand::Tenant(path)),
                    Some(Attribute::Field { field, kind, .. }) => {
                        Ok(Operand::Value { path, field: *field, kind: *kind })
                    }
                    Some(Attribute::Reference { field, target, .. }) => {
                        Ok(Operand::Record(path.follow(*field, *target)))
                    }
                    None => Err(unusable(expr, "this record type has no such attribute")),
                },
                _ => Err(unusable(expr, "this has no attributes")),
            },
            Expr::ResidualError => Err(Unfoldable::Fails),
            _ => Err(unusable(expr, "plans can't compute with fields; compare one with a fixed value")),
        }
    }

    /// The words of the type that a path leads to.
    pub(super) fn words_at(&self, path: &Path) -> Result<&TypeWords, Unfoldable> {
        match path.0.last() {
            None => Ok(self.words),
            Some((_, target)) => self.vocabulary.words(*target).ok_or(Unfoldable::Fails),
        }
    }

    /// The Cedar type of an entity, and the condition under which Cedar reaches it.
    pub(super) fn type_of(&self, expr: &Expr) -> Result<(String, Condition), Unfoldable> {
        let always = Condition::Constant(true);
        match self.operand(expr)? {
            Operand::Record(path) => {
                let type_name = format!("{}::Record", self.words_at(&path)?.namespace);
                Ok((type_name, path.parent().exists()))
            }
            Operand::Tenant(path) => Ok(("Tenant".to_owned(), path.exists())),
            Operand::Field => Ok((format!("{}::Field", self.words.namespace), always)),
            Operand::Class => Ok(("Class".to_owned(), always)),
            Operand::Known(Known::Entity { type_name, .. }) => Ok((type_name, always)),
            _ => Err(unusable(expr, "only an entity is of an entity type")),
        }
    }

    /// The fields that equal a constant, or whose class does.
    pub(super) fn fields_named(&self, operand: &Operand, known: &Known) -> FieldSet {
        let Known::Entity { type_name, id } = known else { return FieldSet::EMPTY };
        let named = match operand {
            Operand::Class if type_name == "Class" => self.words.class(id),
            Operand::Field if type_name.strip_suffix("::Field") == Some(&self.words.namespace) => {
                self.words.fields.get(id).map(|field| FieldSet::EMPTY.with(*field))
            }
            _ => None,
        };
        named.unwrap_or(FieldSet::EMPTY)
    }
}

fn known(expr: &Expr, literal: &Literal) -> Result<Known, Unfoldable> {
    Ok(match literal {
        Literal::Bool(flag) => Known::Bool(*flag),
        Literal::Long(number) => Known::Long(*number),
        Literal::String(text) => Known::Text(text.to_string()),
        Literal::EntityUID(uid) => Known::Entity { type_name: uid.ty.to_string(), id: uid.eid.to_string() },
        _ => return Err(unusable(expr, "plans don't know this kind of value")),
    })
}

impl Known {
    /// As a field of this kind would hold it; `None` if no such field can.
    pub(super) fn value(&self, kind: Kind) -> Option<Value> {
        match (self, kind) {
            (Self::Text(text), Kind::Text) => Some(Value::Text(text.clone())),
            (Self::Long(number), Kind::Integer) => Some(Value::Integer(*number)),
            (Self::Bool(flag), Kind::Boolean) => Some(Value::Boolean(*flag)),
            _ => None,
        }
    }

    pub(super) fn is_tenant(&self, name: &str) -> bool {
        matches!(self, Self::Entity { type_name, id } if type_name == "Tenant" && id == name)
    }
}

impl Path {
    pub(super) fn follow(mut self, field: FieldId, target: TypeId) -> Self {
        self.0.push((field, target));
        self
    }

    /// The path but for its last step.
    pub(super) fn parent(mut self) -> Self {
        self.0.pop();
        self
    }

    /// Whether it leads nowhere else.
    pub(super) const fn is_here(&self) -> bool {
        self.0.is_empty()
    }

    /// A condition on the record at the end of the path, as one on the record at its start.
    pub(super) fn row(&self, condition: Predicate) -> Condition {
        let whole = self.0.iter().rev().fold(condition, |condition, (reference, target)| Predicate::Via {
            reference: *reference,
            target: *target,
            condition: Box::new(condition),
        });
        Condition::Row(whole)
    }

    /// That the path leads to a record.
    pub(super) fn exists(&self) -> Condition {
        if self.is_here() { Condition::Constant(true) } else { self.row(Predicate::TRUE) }
    }
}
