//! What the tests of this crate share: record types, callers, records, and Cedar's own answer about them.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request, RestrictedExpression, Schema,
};
use countersign_model::control::PolicyFile;
use countersign_model::facts::{Actor, Principal, User};
use countersign_model::predicate::Fields;
use countersign_model::request::{Action, Narrowing};
use countersign_model::{
    Field, FieldId, Kind, Name, Predicate, RecordType, RecordTypes, Sensitivity, SessionId, TenantId, TokenId, TypeId,
    UnixMs, UserId, Value,
};

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A type as one line: `name: key kind class, field kind? class, field kind class > target`.
///
/// `?` after the kind is optional. The first field is the key. Targets may be types that come later.
pub fn record_types(lines: &[&str], principal: &[(&str, Kind)]) -> RecordTypes {
    let names: Vec<&str> = lines.iter().map(|line| line.split_once(':').unwrap().0.trim()).collect();
    let types = lines.iter().map(|line| {
        let (type_name, fields) = line.split_once(':').unwrap();
        let fields = fields.split(',').map(|field| {
            let (field, target) = field.split_once('>').map_or((field, None), |(field, to)| (field, Some(to.trim())));
            let words: Vec<&str> = field.split_whitespace().collect();
            let kind = words[1].trim_end_matches('?');
            Field {
                name: name(words[0]),
                kind: KINDS.into_iter().find(|one| one.as_str() == kind).unwrap(),
                required: !words[1].ends_with('?'),
                unique: false,
                indexed: false,
                references: target.map(|to| TypeId(names.iter().position(|name| *name == to).unwrap() as u16)),
                class: Sensitivity::ALL.into_iter().find(|class| class.as_str() == words[2]).unwrap(),
            }
        });
        RecordType { name: name(type_name.trim()), key: FieldId(0), fields: fields.collect() }
    });
    RecordTypes {
        types: types.collect(),
        principal: principal.iter().map(|(attribute, kind)| (name(attribute), *kind)).collect(),
    }
}

const KINDS: [Kind; 9] = [
    Kind::Text,
    Kind::Integer,
    Kind::Decimal,
    Kind::Boolean,
    Kind::Date,
    Kind::Timestamp,
    Kind::Uuid,
    Kind::Json,
    Kind::Bytes,
];

/// The record types of the trading example.
pub fn trading_types() -> RecordTypes {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/trading/types.toml");
    countersign_store::types_file::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The policies of the trading example.
pub fn trading_policies() -> Vec<PolicyFile> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/trading/policies");
    let mut files: Vec<PolicyFile> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cedar"))
        .map(|path| PolicyFile {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            text: std::fs::read_to_string(path).unwrap(),
        })
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

pub fn caller(tenant: &str, user: &str, roles: &[&str], attributes: &[(&str, Value)]) -> Principal {
    let number = |text: &str| text.bytes().fold(7u128, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let tenant_id = TenantId::from_u128(number(tenant));
    Principal {
        tenant: tenant_id,
        tenant_name: name(tenant),
        user: UserId::from_u128(number(user)),
        facts: Arc::new(User {
            tenant: tenant_id,
            name: name(user),
            roles: roles.iter().map(|role| name(role)).collect(),
            attributes: attributes.iter().map(|(attribute, value)| (name(attribute), value.clone())).collect(),
            ssh_keys: Vec::new(),
            changed: UnixMs(0),
            kind: Default::default(),
            external: None,
            expires: None,
        }),
        session: SessionId::from_u128(1),
        token: TokenId::from_u128(1),
        issued: UnixMs(0),
        expires: UnixMs(1),
        narrowing: Arc::new(Narrowing::default()),
        actor: None,
    }
}

/// `caller`, for whom `actor` acts.
pub fn acted_for(caller: &Principal, actor: &Principal) -> Principal {
    let actor = Actor { user: actor.user, facts: Arc::clone(&actor.facts) };
    Principal { actor: Some(actor), ..caller.clone() }
}

/// All records of a tenant, by type; a record's place in its type is its Cedar id.
#[derive(Clone, Default)]
pub struct World {
    pub tenant: String,
    pub records: BTreeMap<TypeId, Vec<Vec<Value>>>,
}

/// One record in its world.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub world: &'a World,
    pub record_type: TypeId,
    pub place: usize,
}

impl World {
    fn find(&self, target: TypeId, key: &Value) -> Option<usize> {
        self.records.get(&target)?.iter().position(|record| record[0].equals(key) == Some(true))
    }
}

impl Fields for At<'_> {
    fn value(&self, field: FieldId) -> &Value {
        &self.world.records[&self.record_type][self.place][usize::from(field.0)]
    }

    fn via(&self, reference: FieldId, target: TypeId, condition: &Predicate) -> Option<bool> {
        let place = self.world.find(target, self.value(reference))?;
        condition.evaluate(&At { world: self.world, record_type: target, place })
    }
}

/// Cedar itself, with everything known: one decision for one field of one record.
pub struct Oracle {
    types: RecordTypes,
    schema: Schema,
    policies: PolicySet,
}

/// What Cedar said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    pub allow: bool,
    pub errors: bool,
}

impl Oracle {
    pub fn new(types: &RecordTypes, files: &[PolicyFile]) -> Self {
        let (schema, _) = Schema::from_cedarschema_str(&countersign_policy::schema_text(types).unwrap()).unwrap();
        let mut policies = PolicySet::new();
        let texts = files.iter().map(|file| file.text.as_str()).chain([countersign_policy::BUILT_IN]);
        for (file, text) in texts.enumerate() {
            for (place, policy) in text.parse::<PolicySet>().unwrap().policies().enumerate() {
                policies.add(policy.new_id(cedar_policy::PolicyId::new(format!("{file}/{place}")))).unwrap();
            }
        }
        Self { types: types.clone(), schema, policies }
    }

    /// Everything there is: the caller, its roles, and the records of a tenant.
    pub fn entities(&self, caller: &Principal, world: &World) -> Entities {
        let tenant = uid("Tenant", caller.tenant_name.as_str());
        let roles: HashSet<EntityUid> = caller.facts.roles.iter().map(|role| uid("Role", role.as_str())).collect();
        let mut attributes = HashMap::from([
            ("tenant".to_owned(), RestrictedExpression::new_entity_uid(tenant)),
            ("name".to_owned(), RestrictedExpression::new_string(caller.facts.name.to_string())),
        ]);
        for (attribute, value) in &caller.facts.attributes {
            attributes.extend(cedar_value(value).map(|value| (attribute.to_string(), value)));
        }
        let mut all = vec![Entity::new(caller_uid(caller), attributes, roles.clone()).unwrap()];
        all.extend(roles.into_iter().map(Entity::with_uid));
        let tenants: HashSet<&str> = HashSet::from([caller.tenant_name.as_str(), &world.tenant]);
        all.extend(tenants.into_iter().map(|tenant| Entity::with_uid(uid("Tenant", tenant))));
        for (type_id, records) in &world.records {
            for place in 0..records.len() {
                all.push(self.record(world, *type_id, place));
            }
        }
        Entities::from_entities(all, Some(&self.schema)).unwrap()
    }

    fn record(&self, world: &World, type_id: TypeId, place: usize) -> Entity {
        let record_type = self.types.record_type(type_id).unwrap();
        let tenant = RestrictedExpression::new_entity_uid(uid("Tenant", &world.tenant));
        let mut attributes = HashMap::from([("tenant".to_owned(), tenant)]);
        for ((_, field), value) in record_type.iter().zip(&world.records[&type_id][place]) {
            attributes.extend(cedar_value(value).map(|value| (field.name.to_string(), value)));
            if let (Some(target), false) = (field.references, value.is_null()) {
                let found = world.find(target, value).map_or("missing".to_owned(), |place| place.to_string());
                let id = uid(&format!("{}::Record", self.namespace(target)), &found);
                let attribute = match field.name.as_str().strip_suffix("_id") {
                    Some(short) => short.to_owned(),
                    None => format!("{}_record", field.name),
                };
                attributes.insert(attribute, RestrictedExpression::new_entity_uid(id));
            }
        }
        let id = uid(&format!("{}::Record", self.namespace(type_id)), &place.to_string());
        Entity::new(id, attributes, HashSet::new()).unwrap()
    }

    pub fn namespace(&self, type_id: TypeId) -> String {
        let name = &self.types.record_type(type_id).unwrap().name;
        name.as_str().split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
    }

    pub fn says(&self, caller: &Principal, known: &Entities, action: Action, record: At<'_>, field: FieldId) -> Said {
        let namespace = self.namespace(record.record_type);
        let field = self.types.record_type(record.record_type).unwrap().field(field).unwrap();
        let context = Context::from_pairs([
            (
                "field".to_owned(),
                RestrictedExpression::new_entity_uid(uid(&format!("{namespace}::Field"), field.name.as_str())),
            ),
            ("class".to_owned(), RestrictedExpression::new_entity_uid(uid("Class", field.class.as_str()))),
        ]);
        let request = Request::new(
            caller_uid(caller),
            uid(&format!("{namespace}::Action"), action.as_str()),
            uid(&format!("{namespace}::Record"), &record.place.to_string()),
            context.unwrap(),
            Some(&self.schema),
        );
        let response = Authorizer::new().is_authorized(&request.unwrap(), &self.policies, known);
        Said { allow: response.decision() == Decision::Allow, errors: response.diagnostics().errors().next().is_some() }
    }
}

fn caller_uid(caller: &Principal) -> EntityUid {
    uid("User", &format!("{}@{}", caller.facts.name, caller.tenant_name))
}

fn uid(type_name: &str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(type_name.parse().unwrap(), cedar_policy::EntityId::new(id))
}

fn cedar_value(value: &Value) -> Option<RestrictedExpression> {
    match value {
        Value::Text(text) => Some(RestrictedExpression::new_string(text.clone())),
        Value::Integer(number) => Some(RestrictedExpression::new_long(*number)),
        Value::Boolean(flag) => Some(RestrictedExpression::new_bool(*flag)),
        _ => None,
    }
}

/// Numbers that are the same in every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    pub fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
