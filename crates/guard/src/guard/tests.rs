//! In which order requests are refused, what is recorded of it, and what limits on a token limit.

mod bound;
mod observed;

use std::collections::HashMap;
use std::sync::Mutex;

use countersign_audit::{AuditError, Position, Reason, Record};
use countersign_crypto::{SystemEntropy, jws};
use countersign_model::clock::ManualClock;
use countersign_model::control::{NewUser, PolicyFile, Revoke};
use countersign_model::facts::{Facts, Tenant, User};
use countersign_model::request::{
    Action, After, Door, Filter, Insert, Literal, Narrowing, OnConflict, Operator, Order, Read, Select, Update,
};
use countersign_model::types::{Field, RecordType, RecordTypes, Sensitivity};
use countersign_model::{FieldId, Kind, Name, RecordId, RequestId, SessionId, TenantId, UnixMs, UserId};
use countersign_policy::Policies;
use countersign_token::{MAX_LIFETIME_MS, Minter, TokenError};

use super::*;
use crate::refusal::Invalid;

const POLICIES: &str = r#"
permit (principal in Role::"admin", action in Data::Action::"any", resource);
permit (principal in Role::"admin", action in [Control::Action::"read_users", Control::Action::"manage_users"], resource);
permit (principal in Role::"clerk", action == Paper::Action::"read", resource)
when { context.field in [Paper::Field::"id", Paper::Field::"title"] };
permit (principal in Role::"clerk", action == Paper::Action::"create", resource)
when { context.field in [Paper::Field::"id", Paper::Field::"title"] };
permit (principal, action == Control::Action::"use_own_token", resource);
"#;

#[derive(Default)]
struct Records {
    all: Mutex<Vec<Record>>,
    failing: bool,
}

#[async_trait::async_trait]
impl AuditSink for Records {
    async fn append(&self, record: Record) -> Result<Position, AuditError> {
        if self.failing {
            return Err(AuditError::Unavailable);
        }
        self.all.lock().unwrap().push(record);
        Ok(Position(0))
    }
}

struct House {
    guard: Guard,
    cell: Arc<FactsCell>,
    records: Arc<Records>,
    clock: Arc<ManualClock>,
    minter: Minter,
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn types() -> RecordTypes {
    let field = |text: &str, kind, key: bool, required| Field {
        name: name(text),
        kind,
        required: key || required,
        unique: key,
        indexed: key,
        references: None,
        class: Sensitivity::Internal,
    };
    let fields = vec![
        field("id", Kind::Text, true, true),
        field("title", Kind::Text, false, false),
        field("secret", Kind::Integer, false, false),
        field("body", Kind::Json, false, false),
    ];
    let types = vec![RecordType { name: name("paper"), key: FieldId(0), fields }];
    RecordTypes { types, ..RecordTypes::default() }
}

impl House {
    fn new() -> Self {
        Self::with(Records::default())
    }

    fn with(records: Records) -> Self {
        let clock = Arc::new(ManualClock::at(UnixMs(1_800_000_000_000)));
        let mut facts = Facts { epoch: 7, policy_epoch: 7, types: Arc::new(types()), ..Facts::default() };
        facts.policies = Arc::new(vec![PolicyFile { name: "all.cedar".into(), text: POLICIES.into() }]);
        let (mut tenants, mut tenant_names) = (HashMap::new(), HashMap::new());
        let (mut users, mut user_names) = (HashMap::new(), HashMap::new());
        for tenant_name in ["acme", "globex", OPERATORS] {
            let tenant = TenantId::new(clock.now(), &SystemEntropy);
            tenants.insert(tenant, Tenant { name: name(tenant_name), created: clock.now() });
            tenant_names.insert(name(tenant_name), tenant);
            for role in ["admin", "clerk"] {
                let user = UserId::new(clock.now(), &SystemEntropy);
                user_names.insert((tenant, name(role)), user);
                let (roles, attributes, ssh_keys) = (vec![name(role)], Default::default(), Vec::new());
                let facts = User {
                    tenant,
                    name: name(role),
                    roles,
                    attributes,
                    ssh_keys,
                    changed: clock.now(),
                    kind: Default::default(),
                    external: None,
                    expires: None,
                };
                users.insert(user, Arc::new(facts));
            }
        }
        facts.tenants = Arc::new(tenants);
        facts.tenant_names = Arc::new(tenant_names);
        facts.users = Arc::new(users);
        facts.user_names = Arc::new(user_names);
        let policies = Arc::new(Policies::compile(&facts.types, &facts.policies).unwrap());
        let cell = Arc::new(FactsCell::new(State { facts: Arc::new(facts), policies }));
        let key = Arc::new(jws::SigningKey::generate(&SystemEntropy).unwrap());
        let keys = jws::VerifyingKeys::new(vec![key.public_jwk().clone()]).unwrap();
        let records = Arc::new(records);
        let guard = Guard::new(GuardParts {
            service: Service::Gateway,
            verifier: Arc::new(Verifier::new("here", "here", keys, 100)),
            facts: Arc::clone(&cell),
            audit: records.clone(),
            clock: clock.clone(),
            limits: Limits::default(),
            plan_capacity: 100,
            observe: Arc::new(crate::Unobserved),
        });
        Self { guard, cell, records, clock, minter: Minter::new("here", "here", key) }
    }

    fn token(&self, user: &str, tenant: &str) -> String {
        let facts = &self.cell.load().facts;
        let tenant = facts.tenant_names[&name(tenant)];
        let user = facts.user_names[&(tenant, name(user))];
        let now = self.clock.now();
        let session = SessionId::new(now, &SystemEntropy);
        let minted = self.minter.mint(user, tenant, session, MAX_LIFETIME_MS, now, &SystemEntropy).unwrap();
        minted.into_token()
    }

    fn narrowed(&self, token: &str, narrowing: &Narrowing) -> String {
        let verified = self.guard.parts.verifier.verify(token, self.clock.now()).unwrap();
        let minted = self.minter.narrow(&verified, narrowing, None, self.clock.now(), &SystemEntropy).unwrap();
        minted.into_token()
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        let state = self.cell.load();
        let mut facts = (*state.facts).clone();
        change(&mut facts);
        let state = State { facts: Arc::new(facts), policies: Arc::clone(&state.policies) };
        self.cell.publish(state, self.clock.now());
    }

    fn judge(&self, token: &str, operation: Operation) -> Result<Judgement, Refusal> {
        self.guard.judge(&Bearer::new(token.to_owned()), &request(operation))
    }

    async fn refused(&self, token: Option<&str>, request: Request) -> Refusal {
        let bearer = token.map(|token| Bearer::new(token.to_owned()));
        self.guard.admit(bearer, &Peer::default(), request).await.err().expect("it is refused")
    }

    fn last(&self) -> Record {
        self.records.all.lock().unwrap().last().expect("it is on record").clone()
    }
}

fn request(operation: Operation) -> Request {
    let id = RequestId::new(UnixMs(1), &SystemEntropy);
    Request { id, door: Door::Http, tenant: None, purpose: None, operation }
}

fn papers(fields: &[&str]) -> Read {
    let select = fields.iter().map(|field| Select::Field { field: (*field).into(), alias: None });
    Read { record_type: "paper".into(), select: select.collect(), ..Read::default() }
}

fn read(fields: &[&str]) -> Operation {
    Operation::Read(papers(fields))
}

fn filtered(field: &str, operator: Operator, literal: Literal) -> Operation {
    Operation::Read(Read { filter: Filter::Test { field: field.into(), operator, literal }, ..papers(&["id"]) })
}

fn refusal(judged: Result<Judgement, Refusal>) -> Refusal {
    judged.err().expect("it is refused")
}

#[tokio::test]
async fn a_refusal_is_on_record_before_it_is_answered_with_all_that_is_known() {
    let house = House::new();
    assert_eq!(house.refused(None, request(read(&["id"]))).await, Refusal::NoToken);
    let record = house.last();
    assert_eq!((record.verdict, record.tenant, record.body.user), (Verdict::Refused, None, None));
    assert_eq!((record.body.reason, record.body.epoch), (Some(Reason::NoToken), 7));

    let clerk = house.token("clerk", "acme");
    let hidden = request(read(&["secret"]));
    assert_eq!(house.refused(Some(&clerk), hidden.clone()).await, Refusal::Forbidden);
    let record = house.last();
    assert_eq!((record.request, record.body.user_name.as_deref()), (hidden.id, Some("clerk")));
    assert_eq!(record.body.reason, Some(Reason::NotPermitted));
    assert_eq!((record.body.action.as_str(), record.body.detail.as_deref()), ("read", Some("paper")));
    assert!(record.tenant.is_some() && record.body.accesses.is_empty());

    let mut not_a_name = request(read(&["id"]));
    not_a_name.operation = Operation::Read(Read { record_type: "Robert'); --".into(), ..Read::default() });
    house.refused(Some(&clerk), not_a_name).await;
    assert_eq!(house.last().body.detail, None);
}

#[tokio::test]
async fn a_refusal_that_can_not_be_recorded_is_not_answered_as_itself() {
    let house = House::with(Records { failing: true, ..Records::default() });
    assert_eq!(house.refused(None, request(read(&["id"]))).await, Refusal::AuditUnavailable);
    let clerk = house.token("clerk", "acme");
    assert_eq!(house.refused(Some(&clerk), request(read(&["secret"]))).await, Refusal::AuditUnavailable);
}

#[tokio::test]
async fn the_token_comes_first_then_who_then_revocation_then_the_tenant_then_the_names() {
    let house = House::new();
    let clerk = house.token("clerk", "acme");
    let mut worst = request(read(&["secret"]));
    worst.tenant = Some("globex".into());
    assert_eq!(house.refused(Some(&clerk), worst.clone()).await, Refusal::OtherTenant);
    assert_eq!(house.last().body.reason, Some(Reason::OtherTenant));
    let acme = house.cell.load().facts.tenant_names[&name("acme")];
    let of_clerk = house.cell.load().facts.user_names[&(acme, name("clerk"))];
    let now = house.clock.now();
    house.change(|facts| {
        Arc::make_mut(&mut facts.revocations).users.insert(of_clerk, now);
    });
    assert_eq!(house.refused(Some(&clerk), worst.clone()).await, Refusal::Revoked);
    assert_eq!(house.last().body.user_name.as_deref(), Some("clerk"));
    house.change(|facts| {
        Arc::make_mut(&mut facts.users).remove(&of_clerk);
    });
    assert_eq!(house.refused(Some(&clerk), worst.clone()).await, Refusal::UnknownPrincipal);
    assert_eq!((house.last().body.user, house.last().tenant), (None, None));
    house.clock.advance_ms(MAX_LIFETIME_MS);
    assert_eq!(house.refused(Some(&clerk), worst.clone()).await, Refusal::Token(TokenError::Expired));
    assert_eq!(house.last().body.reason, Some(Reason::Expired));
}

#[test]
fn a_user_that_moved_to_another_tenant_is_nobody_there() {
    let house = House::new();
    let clerk = house.token("clerk", "acme");
    house.change(|facts| {
        let globex = facts.tenant_names[&name("globex")];
        for user in Arc::make_mut(&mut facts.users).values_mut() {
            Arc::make_mut(user).tenant = globex;
        }
    });
    assert_eq!(refusal(house.judge(&clerk, read(&["id"]))), Refusal::UnknownPrincipal);
}

#[test]
fn a_hidden_field_is_refused_before_anything_about_it_is_looked_at() {
    let house = House::new();
    let clerk = house.token("clerk", "acme");
    for field in ["secret", "nothing"] {
        let wrong_kind = filtered(field, Operator::Eq, Literal::One("not a number".into()));
        assert_eq!(refusal(house.judge(&clerk, wrong_kind)), Refusal::Forbidden);
        let order = vec![Order { field: field.into(), descending: false, nulls_first: None }];
        let after = Some(After { keys: Vec::new(), record: RecordId::from_u128(1) });
        let sorted = Operation::Read(Read { order, after, ..papers(&["id"]) });
        assert_eq!(refusal(house.judge(&clerk, sorted)), Refusal::Forbidden);
        let on_conflict = Some(OnConflict { field: Some(field.into()), merge: false });
        let upsert = Insert { record_type: "paper".into(), rows: Vec::new(), on_conflict, returning: None };
        assert_eq!(refusal(house.judge(&clerk, Operation::Insert(upsert))), Refusal::Forbidden);
    }
    let shown = filtered("title", Operator::Is, Literal::One("true".into()));
    assert!(matches!(refusal(house.judge(&clerk, shown)), Refusal::Invalid(Invalid::Comparison { .. })));
}

#[test]
fn requests_without_end_are_refused() {
    let house = House::new();
    let admin = house.token("admin", "acme");
    let too_many = |operation| match refusal(house.judge(&admin, operation)) {
        Refusal::Invalid(Invalid::TooMany { what, .. }) => what,
        other => panic!("refused otherwise: {other}"),
    };
    let long = Literal::One("_".repeat(257));
    assert_eq!(too_many(filtered("title", Operator::Like, long)), "characters in a pattern");
    let list = Literal::List(vec!["a".into(); 201]);
    assert_eq!(too_many(filtered("title", Operator::In, list)), "comparisons in a filter");
    let deep = (0..40).fold(Filter::default(), |inner, _| Filter::Not(Box::new(inner)));
    assert_eq!(too_many(Operation::Read(Read { filter: deep, ..papers(&[]) })), "levels in a filter");
    let aliased = |n: usize| Select::Field { field: "id".into(), alias: Some(format!("a{n}")) };
    let wide = Read { select: (0..501).map(aliased).collect(), ..papers(&[]) };
    assert_eq!(too_many(Operation::Read(wide)), "columns");
    let rows = vec![Vec::new(); 5_001];
    let many = Insert { record_type: "paper".into(), rows, on_conflict: None, returning: None };
    assert_eq!(too_many(Operation::Insert(many)), "rows in one insert");
    let twice = Read { select: vec![Select::All, aliased(1), aliased(1)], ..papers(&[]) };
    let refused = refusal(house.judge(&admin, Operation::Read(twice)));
    assert_eq!(refused, Refusal::Invalid(Invalid::DuplicateLabel { label: "a1".into() }));
}

#[test]
fn another_tenant_s_users_are_refused_alike_whether_it_exists_or_not() {
    let house = House::new();
    let admin = house.token("admin", "acme");
    let list = |tenant: Option<&str>| Operation::Control(Control::UserList { tenant: tenant.map(name) });
    assert!(house.judge(&admin, list(None)).is_ok() && house.judge(&admin, list(Some("acme"))).is_ok());
    for tenant in ["globex", OPERATORS, "nobody"] {
        assert_eq!(refusal(house.judge(&admin, list(Some(tenant)))), Refusal::OtherTenant);
    }
    let clerk = house.token("clerk", "acme");
    assert_eq!(refusal(house.judge(&clerk, list(None))), Refusal::Forbidden);
    let operator = house.token("admin", OPERATORS);
    assert_eq!(refusal(house.judge(&operator, list(Some("nobody")))), Refusal::Forbidden);
    let user = NewUser {
        name: name("new"),
        roles: Vec::new(),
        attributes: Default::default(),
        ssh_keys: Vec::new(),
        kind: Default::default(),
    };
    let put = |tenant: &str| Operation::Control(Control::UserPut { tenant: Some(name(tenant)), user: user.clone() });
    assert!(house.judge(&operator, put("acme")).is_ok());
    assert_eq!(refusal(house.judge(&operator, read(&["id"]))), Refusal::Forbidden);
}

#[test]
fn a_limited_token_manages_nothing_but_itself() {
    let house = House::new();
    let admin = house.token("admin", "acme");
    let limits = Narrowing { actions: Some(Action::ALL.to_vec()), ..Narrowing::default() };
    let limited = house.narrowed(&admin, &limits);
    for (control, may) in [
        (Control::WhoAmI, true),
        (Control::Narrow { narrowing: Narrowing::default(), lifetime_ms: None }, true),
        (Control::RevokeOwn { session: false }, true),
        (Control::RevokeOwn { session: true }, false),
        (Control::UserList { tenant: None }, false),
        (Control::Revoke(Revoke::Person(name("admin"))), false),
    ] {
        let judged = house.judge(&limited, Operation::Control(control.clone()));
        assert_eq!(judged.is_ok(), may, "{control:?}");
    }
    let for_something = Narrowing { purpose: Some("audit".into()), ..Narrowing::default() };
    let with_purpose = house.narrowed(&admin, &for_something);
    assert!(house.judge(&with_purpose, Operation::Control(Control::UserList { tenant: None })).is_ok());
}

#[test]
fn limits_on_fields_hold_for_every_action_and_every_use() {
    let house = House::new();
    let admin = house.token("admin", "acme");
    let limits = Narrowing { fields: Some(vec![name("id"), name("title")]), ..Narrowing::default() };
    let limited = house.narrowed(&admin, &limits);
    assert!(house.judge(&limited, read(&["title"])).is_ok());
    let update = |field: &str| {
        let set = vec![(field.to_owned(), countersign_model::request::Input::Null)];
        let (record_type, filter) = ("paper".to_owned(), Filter::default());
        Operation::Update(Update { record_type, set, filter, max_affected: None, returning: None })
    };
    assert!(house.judge(&limited, update("title")).is_ok());
    assert_eq!(refusal(house.judge(&limited, update("secret"))), Refusal::Forbidden);
    assert_eq!(refusal(house.judge(&limited, read(&["secret"]))), Refusal::Forbidden);
    let (record_type, filter) = ("paper".to_owned(), Filter::default());
    let remove = countersign_model::request::Delete { record_type, filter, max_affected: None, returning: None };
    assert_eq!(refusal(house.judge(&limited, Operation::Delete(remove.clone()))), Refusal::Forbidden);
    assert!(house.judge(&admin, Operation::Delete(remove)).is_ok());
}

#[tokio::test]
async fn a_purpose_that_the_token_was_given_stays_on_record() {
    let house = House::new();
    let for_something = Narrowing { purpose: Some("call back".into()), ..Narrowing::default() };
    let token = house.narrowed(&house.token("clerk", "acme"), &for_something);
    for (asked, recorded) in
        [(None, "call back"), (Some("backup"), "call back (backup)"), (Some("call back"), "call back")]
    {
        let mut hidden = request(read(&["secret"]));
        hidden.purpose = asked.map(str::to_owned);
        house.refused(Some(&token), hidden).await;
        assert_eq!(house.last().body.purpose.as_deref(), Some(recorded));
    }
}
