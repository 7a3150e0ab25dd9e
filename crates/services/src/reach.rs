//! What a judged request has to touch: computed by the key service to know which keys to release, and by the store
//! to know which cells to hand out. Both compute it from their own judgement of the request, never from what the
//! engine says.

use countersign_model::control::{AuditQuery, Control};
use countersign_model::custody::EraseControl;
use countersign_model::query::{Change, Column, Insertion, Judged, Link, Query, output_fields};
use countersign_model::{FieldId, FieldSet, Plan, Predicate, RecordTypes, TypeId};

/// What a field's keys are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Opening cells.
    pub open: bool,
    /// Sealing new cells.
    pub seal: bool,
    /// Making tags.
    pub tag: bool,
}

/// The fields of each record type that a request touches, and how.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    types: Vec<TypeReach>,
}

#[derive(Debug, Clone)]
struct TypeReach {
    id: TypeId,
    open: FieldSet,
    seal: FieldSet,
    tag: FieldSet,
}

impl Reach {
    /// What this request has to touch.
    #[must_use]
    pub fn of(judged: &Judged, types: &RecordTypes) -> Self {
        let mut reach = Self::default();
        match judged {
            Judged::Read(query) => reach.query(query, types),
            Judged::Insert(insertion) => reach.insertion(insertion, types),
            Judged::Change(change) => reach.change(change, types),
            Judged::History(past) => {
                reach.key(past.record_type, types);
                reach.plan(past.record_type, &past.plan, types);
                reach.columns(past.record_type, &past.columns, types);
            }
            // Whoever asks who saw a record names it by its key, which is found by its tag and not opened.
            Judged::Control(Control::AuditRead(AuditQuery { record: Some((type_name, _)), .. })) => {
                if let Some((id, record_type)) = types.find(type_name) {
                    reach.tag(id, FieldSet::EMPTY.with(record_type.key));
                }
            }
            // The same, and the references that point at it: none may be left.
            Judged::Control(Control::Erase(EraseControl::Record { record_type, .. })) => {
                if let Some((id, erased)) = types.find(record_type) {
                    reach.tag(id, FieldSet::EMPTY.with(erased.key));
                    for (child, reference) in types.references_to(id) {
                        reach.tag(child, FieldSet::EMPTY.with(reference));
                    }
                }
            }
            Judged::Control(_) => {}
        }
        reach
    }

    /// The types touched.
    pub fn types(&self) -> impl Iterator<Item = TypeId> + '_ {
        self.types.iter().map(|one| one.id)
    }

    /// Every field touched and its uses.
    pub fn iter(&self) -> impl Iterator<Item = (TypeId, FieldId, Use)> + '_ {
        self.types.iter().flat_map(|one| {
            let all = one.open.union(one.seal).union(one.tag);
            all.iter().map(|field| {
                let uses = Use {
                    open: one.open.contains(field),
                    seal: one.seal.contains(field),
                    tag: one.tag.contains(field),
                };
                (one.id, field, uses)
            })
        })
    }

    /// The fields of a type whose cells are opened; empty if the type is not touched.
    #[must_use]
    pub fn opened(&self, id: TypeId) -> FieldSet {
        self.find(id).map_or(FieldSet::EMPTY, |one| one.open)
    }

    /// The fields of a type that are written.
    #[must_use]
    pub fn sealed(&self, id: TypeId) -> FieldSet {
        self.find(id).map_or(FieldSet::EMPTY, |one| one.seal)
    }

    /// The fields of a type that are tagged.
    #[must_use]
    pub fn tagged(&self, id: TypeId) -> FieldSet {
        self.find(id).map_or(FieldSet::EMPTY, |one| one.tag)
    }

    /// Whether the type is touched at all.
    #[must_use]
    pub fn touches(&self, id: TypeId) -> bool {
        self.find(id).is_some()
    }

    fn find(&self, id: TypeId) -> Option<&TypeReach> {
        self.types.iter().find(|one| one.id == id)
    }

    fn entry(&mut self, id: TypeId, change: impl FnOnce(&mut TypeReach)) {
        if let Some(one) = self.types.iter_mut().find(|one| one.id == id) {
            return change(one);
        }
        let mut one = TypeReach { id, open: FieldSet::EMPTY, seal: FieldSet::EMPTY, tag: FieldSet::EMPTY };
        change(&mut one);
        self.types.push(one);
    }

    fn open(&mut self, id: TypeId, fields: FieldSet) {
        self.entry(id, |one| one.open = one.open.union(fields));
    }

    fn tag(&mut self, id: TypeId, fields: FieldSet) {
        self.entry(id, |one| one.tag = one.tag.union(fields));
    }

    fn query(&mut self, query: &Query, types: &RecordTypes) {
        let own = query.record_type;
        self.open(own, query.deciding_fields());
        self.condition(own, &query.filter, types);
        self.plan(own, &query.plan, types);
        self.columns(own, &query.columns, types);
    }

    fn columns(&mut self, own: TypeId, columns: &[Column], types: &RecordTypes) {
        self.open(own, output_fields(columns));
        for column in columns {
            let Column::Embed(embed) = column else { continue };
            let target = embed.query.record_type;
            match embed.via {
                Link::ToOne(reference) => {
                    self.open(own, FieldSet::EMPTY.with(reference));
                    self.key(target, types);
                }
                Link::ToMany(reference) => {
                    self.key(own, types);
                    self.open(target, FieldSet::EMPTY.with(reference));
                    self.tag(target, FieldSet::EMPTY.with(reference));
                }
            }
            self.query(&embed.query, types);
        }
    }

    /// A type's key, to find records by and to tell them apart.
    fn key(&mut self, id: TypeId, types: &RecordTypes) {
        if let Some(record_type) = types.record_type(id) {
            let key = FieldSet::EMPTY.with(record_type.key);
            self.open(id, key);
            self.tag(id, key);
        }
    }

    /// The fields that the row conditions of a plan look at, also those the caller may not see: they are opened to
    /// decide and never given out.
    fn plan(&mut self, own: TypeId, plan: &Plan, types: &RecordTypes) {
        for rule in &plan.rules {
            self.condition(own, &rule.rows, types);
        }
    }

    fn condition(&mut self, own: TypeId, condition: &Predicate, types: &RecordTypes) {
        let fields = condition.fields();
        if fields.is_empty() {
            return;
        }
        self.open(own, fields);
        self.tag(own, fields.intersection(indexed(own, types)));
        condition.for_each_via(&mut |_, target, inner| {
            self.key(target, types);
            self.condition(target, inner, types);
        });
    }

    fn insertion(&mut self, insertion: &Insertion, types: &RecordTypes) {
        let own = insertion.record_type;
        let given: FieldSet = insertion.rows.iter().flatten().map(|(field, _)| *field).collect();
        self.key(own, types);
        let key = types.record_type(own).map(|record_type| record_type.key);
        self.writes(own, key.map_or(given, |key| given.with(key)), types);
        self.plan(own, &insertion.create, types);
        self.plan(own, &insertion.read, types);
        if let Some(conflict) = insertion.on_conflict {
            self.open(own, FieldSet::EMPTY.with(conflict.field));
            self.plan(own, &insertion.update, types);
            // Only a merge that another field decides can change a key.
            if conflict.merge && Some(conflict.field) != key {
                self.referrers(own, &insertion.read_targets, types);
            }
        }
        self.targets(&insertion.read_targets, types);
        if let Some(columns) = &insertion.returning {
            self.columns(own, columns, types);
        }
    }

    fn change(&mut self, change: &Change, types: &RecordTypes) {
        let own = change.record_type;
        self.key(own, types);
        self.condition(own, &change.filter, types);
        self.plan(own, &change.plan, types);
        self.plan(own, &change.read, types);
        match &change.set {
            Some(values) => {
                let set: FieldSet = values.iter().map(|(field, _)| *field).collect();
                self.writes(own, set, types);
                if types.record_type(own).is_some_and(|record_type| set.contains(record_type.key)) {
                    self.referrers(own, &change.read_targets, types);
                }
            }
            None => self.referrers(own, &change.read_targets, types),
        }
        self.targets(&change.read_targets, types);
        if let Some(columns) = &change.returning {
            self.columns(own, columns, types);
        }
    }

    fn writes(&mut self, own: TypeId, fields: FieldSet, types: &RecordTypes) {
        let Some(record_type) = types.record_type(own) else { return };
        self.entry(own, |one| one.seal = one.seal.union(fields));
        self.tag(own, fields.intersection(indexed(own, types)));
        for target in fields.iter().filter_map(|field| record_type.field(field)?.references) {
            self.key(target, types);
        }
    }

    /// The references that point at a record whose key goes: found by tag, and opened only for who may read them.
    fn referrers(&mut self, own: TypeId, read: &[(TypeId, std::sync::Arc<Plan>)], types: &RecordTypes) {
        for (child, reference) in types.references_to(own) {
            let reference_alone = FieldSet::EMPTY.with(reference);
            self.tag(child, reference_alone);
            let readable = read.iter().any(|(id, plan)| *id == child && plan.fields().contains(reference));
            if readable {
                self.open(child, reference_alone);
            }
        }
    }

    fn targets(&mut self, targets: &[(TypeId, std::sync::Arc<Plan>)], types: &RecordTypes) {
        for (target, plan) in targets {
            self.plan(*target, plan, types);
        }
    }
}

fn indexed(id: TypeId, types: &RecordTypes) -> FieldSet {
    let Some(record_type) = types.record_type(id) else { return FieldSet::EMPTY };
    record_type.iter().filter(|(_, field)| field.indexed).map(|(field, _)| field).collect()
}
