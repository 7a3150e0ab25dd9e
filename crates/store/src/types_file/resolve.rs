//! From declarations to record types: names become ids, references get their kinds.

use std::collections::HashMap;

use countersign_model::{Field, FieldId, Kind, RecordType, RecordTypes, TypeId};

use super::document::{At, RawField, RawFile, RawType};
use super::error::{Problem, Quoted, TypesError};

pub(super) fn resolve(text: &str, raw: RawFile) -> Result<RecordTypes, TypesError> {
    let by_name = (0u16..=u16::MAX).map(TypeId).zip(&raw.types).map(|(id, one)| (one.name.it.as_str(), (id, one)));
    let resolver = Resolver { text, types: &raw.types, by_name: by_name.collect() };
    resolver.distinct_in_policies()?;
    let types = raw.types.iter().map(|one| resolver.record_type(one)).collect::<Result<_, _>>()?;
    let principal = raw.principal.iter().cloned().collect();
    Ok(RecordTypes { types, principal })
}

struct Resolver<'a> {
    text: &'a str,
    types: &'a [RawType],
    by_name: HashMap<&'a str, (TypeId, &'a RawType)>,
}

impl Resolver<'_> {
    fn wrong(&self, offset: usize, problem: Problem) -> TypesError {
        TypesError::at(self.text, offset, problem)
    }

    /// Policies write `invoice_line` and `invoice-line` alike.
    fn distinct_in_policies(&self) -> Result<(), TypesError> {
        let mut seen: HashMap<String, &str> = HashMap::new();
        for one in self.types {
            let name = one.name.it.as_str();
            if let Some(earlier) = seen.insert(name.replace('-', "_"), name) {
                let problem = Problem::SameInPolicies(Quoted::new(earlier), Quoted::new(name));
                return Err(self.wrong(one.name.offset, problem));
            }
        }
        Ok(())
    }

    fn record_type(&self, raw: &RawType) -> Result<RecordType, TypesError> {
        let key = self.key(raw)?;
        self.references_named_apart(raw)?;
        let numbered = (0u8..=u8::MAX).map(FieldId).zip(&raw.fields);
        let fields = numbered.map(|(id, field)| self.field(field, id == key)).collect::<Result<_, _>>()?;
        Ok(RecordType { name: raw.name.it.clone(), key, fields })
    }

    fn key(&self, raw: &RawType) -> Result<FieldId, TypesError> {
        let find = |name: &str| (0u8..=u8::MAX).zip(&raw.fields).find(|(_, field)| field.name.it.as_str() == name);
        let found = match &raw.key {
            None => {
                find("id").ok_or_else(|| self.wrong(raw.name.offset, Problem::NoId(Quoted::new(raw.name.it.as_str()))))
            }
            Some(key) => find(&key.it).ok_or_else(|| {
                let record_type = Quoted::new(raw.name.it.as_str());
                let error = self.wrong(key.offset, Problem::UnknownField { record_type, field: Quoted::new(&key.it) });
                error.suggest(&key.it, raw.fields.iter().map(|field| field.name.it.as_str()))
            }),
        };
        found.map(|(place, _)| FieldId(place))
    }

    /// `customer_id = { references = "customer" }` makes `customer` the name by which policies reach the record.
    fn references_named_apart(&self, raw: &RawType) -> Result<(), TypesError> {
        for reference in raw.fields.iter().filter(|field| field.references.is_some()) {
            let Some(record_name) = reference.name.it.as_str().strip_suffix("_id") else { continue };
            let taken = raw.fields.iter().find(|field| field.name.it.as_str() == record_name);
            if let Some(field) = taken {
                let reference = Quoted::new(reference.name.it.as_str());
                let problem = Problem::ReferenceName { field: Quoted::new(record_name), reference };
                return Err(self.wrong(field.name.offset, problem));
            }
        }
        Ok(())
    }

    fn field(&self, raw: &RawField, is_key: bool) -> Result<Field, TypesError> {
        let quoted = || Quoted::new(raw.name.it.as_str());
        let references = raw.references.as_ref().map(|target| self.target(target)).transpose()?;
        let kind = self.kind(raw)?;
        if is_key {
            for (attribute, said) in [("required", &raw.required), ("unique", &raw.unique)] {
                if let Some(At { offset, it: false }) = said {
                    return Err(self.wrong(*offset, Problem::KeyIsOptional { field: quoted(), attribute }));
                }
            }
        }
        let flag = |said: &Option<At<bool>>| is_key || said.as_ref().is_some_and(|flag| flag.it);
        let unique = flag(&raw.unique);
        let indexed = raw.indexed || unique || references.is_some();
        if kind == Kind::Json && indexed {
            return Err(self.wrong(raw.name.offset, Problem::JsonNotFindable(quoted())));
        }
        let name = raw.name.it.clone();
        Ok(Field { name, kind, required: flag(&raw.required), unique, indexed, references, class: raw.class })
    }

    fn find(&self, target: &At<String>) -> Result<(TypeId, &RawType), TypesError> {
        self.by_name.get(target.it.as_str()).copied().ok_or_else(|| {
            let error = self.wrong(target.offset, Problem::UnknownType(Quoted::new(&target.it)));
            error.suggest(&target.it, self.types.iter().map(|one| one.name.it.as_str()))
        })
    }

    fn target(&self, target: &At<String>) -> Result<TypeId, TypesError> {
        self.find(target).map(|(id, _)| id)
    }

    /// The kind that a field says, or that the key to which it refers has; both if it says both.
    fn kind(&self, raw: &RawField) -> Result<Kind, TypesError> {
        let inherited = self.inherited_kind(raw)?;
        match (&raw.kind, inherited) {
            (None, None) => Err(self.wrong(raw.name.offset, Problem::NoKind(Quoted::new(raw.name.it.as_str())))),
            (None, Some(kind)) => Ok(kind),
            (Some(said), None) => Ok(said.it),
            (Some(said), Some(kind)) if said.it == kind => Ok(kind),
            (Some(said), Some(kind)) => {
                let target = raw.references.as_ref().map_or("", |target| target.it.as_str());
                Err(self.wrong(
                    said.offset,
                    Problem::KindMismatch {
                        field: Quoted::new(raw.name.it.as_str()),
                        kind: said.it.as_str(),
                        target: Quoted::new(target),
                        target_kind: kind.as_str(),
                    },
                ))
            }
        }
    }

    /// Follows references from key to key: a key may itself refer to another type's key.
    fn inherited_kind(&self, raw: &RawField) -> Result<Option<Kind>, TypesError> {
        let Some(mut target) = raw.references.as_ref() else { return Ok(None) };
        // Each step goes to a type's one key, so more steps than types is a circle.
        for _ in 0..=self.types.len() {
            let (_, record_type) = self.find(target)?;
            let FieldId(place) = self.key(record_type)?;
            let Some(key) = record_type.fields.get(usize::from(place)) else { break };
            if let Some(said) = &key.kind {
                return Ok(Some(said.it));
            }
            match &key.references {
                Some(next) => target = next,
                None => {
                    let problem = Problem::NoKind(Quoted::new(key.name.it.as_str()));
                    return Err(self.wrong(key.name.offset, problem));
                }
            }
        }
        Err(self.wrong(raw.name.offset, Problem::CircularKey(Quoted::new(&target.it))))
    }
}
