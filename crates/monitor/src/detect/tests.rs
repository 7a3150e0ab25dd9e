//! A deployment that is played: two services' ledgers, users, roles and field classes, and a desk that keeps what it is
//! given.
#![expect(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

mod docs;
mod rules;
mod state;
mod throughput;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use countersign_audit::{Position, Reason, Signal, TallyEntry, Verdict};
use countersign_guard::{FactsCell, State};
use countersign_model::facts::{Facts, Tenant, User, UserKind};
use countersign_model::{
    Field, FieldId, FieldSet, Kind, Name, RecordType, RecordTypes, RequestId, Sensitivity, Service, Tally, TenantId,
    TokenId, TypeId, UnixMs, UserId,
};
use countersign_policy::Policies;
use countersign_services::ServiceStatus;
use parking_lot::Mutex;

use super::*;
use crate::alert::Alert;

const START: UnixMs = UnixMs(1_780_000_000_000);
const TENANT: TenantId = TenantId::from_u128(1);
/// A clerk.
const CLERK: UserId = UserId::from_u128(11);
/// Another one.
const OTHER: UserId = UserId::from_u128(12);

#[derive(Default)]
pub(super) struct Alerts(Mutex<Vec<Alert>>);

impl Raise for Alerts {
    fn raise(&self, alert: Alert) {
        self.0.lock().push(alert);
    }
}

pub(super) struct World {
    detector: Detector,
    alerts: Arc<Alerts>,
    ends: HashMap<&'static str, u64>,
    now: UnixMs,
    requests: u128,
}

fn facts() -> FactsCell {
    let name = |text: &str| Name::new(text).unwrap();
    let field = |text: &str, class| Field {
        name: name(text),
        kind: Kind::Text,
        required: true,
        unique: false,
        indexed: false,
        references: None,
        class,
    };
    let fields = vec![field("number", Sensitivity::Internal), field("card", Sensitivity::Secret)];
    let types = RecordTypes {
        types: vec![RecordType { name: name("customer"), key: FieldId(0), fields }],
        principal: BTreeMap::new(),
    };
    let user = |who: &str| {
        Arc::new(User {
            tenant: TENANT,
            name: name(who),
            roles: vec![name("clerk")],
            attributes: BTreeMap::new(),
            ssh_keys: Vec::new(),
            changed: START,
            kind: UserKind::Person,
            external: None,
            expires: None,
        })
    };
    let facts = Facts {
        epoch: 5,
        types: Arc::new(types),
        tenants: Arc::new([(TENANT, Tenant { name: name("acme"), created: START })].into()),
        users: Arc::new([(CLERK, user("alice")), (OTHER, user("bob"))].into()),
        ..Facts::default()
    };
    let policies = Policies::compile(&facts.types, &facts.policies).unwrap();
    FactsCell::new(State { facts: Arc::new(facts), policies: Arc::new(policies) })
}

fn parts(alerts: &Arc<Alerts>) -> DetectorParts {
    DetectorParts {
        rules: Arc::new(RuleSet::load(None).unwrap()),
        raise: Arc::clone(alerts) as Arc<dyn Raise>,
        facts: Arc::new(facts()),
        learning_ms: 24 * 3_600_000,
    }
}

/// What a request did.
pub(super) struct Said {
    service: Service,
    verdict: Verdict,
    signal: Signal,
    opened: u64,
    field: FieldId,
}

/// A user's refused, failed or done request.
fn said(service: Service, verdict: Verdict, action: &str, reason: Option<Reason>) -> Said {
    let signal = Signal { user: Some(CLERK), action: action.to_owned(), reason, epoch: 5, ..Signal::default() };
    Said { service, verdict, signal, opened: 0, field: FieldId(0) }
}

fn refused(reason: Reason) -> Said {
    said(Service::Gateway, Verdict::Refused, "read", Some(reason))
}

/// So many rows of one field left the store.
fn read(rows: u64) -> Said {
    Said { opened: rows, ..said(Service::Store, Verdict::Released, "read", None) }
}

impl World {
    pub(super) fn new() -> Self {
        let alerts = Arc::new(Alerts::default());
        let detector = Detector::new(parts(&alerts));
        Self { detector, alerts, ends: HashMap::new(), now: START, requests: 0 }
    }

    fn entry(&mut self, said: Said) -> (&'static str, Position, TallyEntry) {
        let Said { service, verdict, signal, opened, field } = said;
        self.requests += 1;
        let tally = (opened > 0).then(|| {
            let mut tally = Tally::new(TokenId::from_u128(7), 5);
            tally.open(TypeId(0), FieldSet::EMPTY.with(field), opened);
            tally
        });
        let request = RequestId::from_u128(self.requests);
        let entry =
            TallyEntry { request, service, verdict, tenant: Some(TENANT), time: self.now, tally, signal: Some(signal) };
        let end = self.ends.entry(service.as_str()).or_default();
        *end += 1;
        (service.as_str(), Position(*end - 1), entry)
    }

    pub(super) fn say(&mut self, said: Said) {
        let (ledger, position, entry) = self.entry(said);
        let service = entry.service;
        self.detector.take(ledger, service, vec![(position, entry)], self.now);
    }

    pub(super) fn wait(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    /// A status that nobody minds, changed.
    pub(super) fn status(&mut self, change: impl FnOnce(&mut ServiceStatus)) {
        let mut status = ServiceStatus {
            service: Service::Store,
            now: self.now,
            started: START,
            epoch: 5,
            facts_age_ms: 100,
            is_ready: true,
            ledger_records: 10,
            ledger_integrated: 10,
            ledger_cosigned: 3,
            ledger_is_writable: true,
            certificate_expires: Some(self.now.plus_ms(1_800_000)),
            kms: vec![("file".to_owned(), true)],
            measures: Vec::new(),
        };
        change(&mut status);
        self.heard(status.service, Some(status));
    }

    fn heard(&mut self, service: Service, status: Option<ServiceStatus>) {
        let heard = Heard {
            name: service.as_str().to_owned(),
            service,
            asked: self.now,
            answered: self.now.plus_ms(1),
            status: status.map(Box::new),
        };
        self.detector.heard(&heard, self.now);
    }

    /// The alerts that were raised, by title, and then no more.
    pub(super) fn alerts(&mut self) -> Vec<Alert> {
        std::mem::take(&mut self.alerts.0.lock())
    }
}

/// A service whose clock is wrong, or that lies, keeps nobody from seeing what is done at the others.
#[test]
fn a_record_of_the_future_hides_nothing() {
    let mut world = World::new();
    world.now = UnixMs(u64::MAX / 2);
    let (ledger, position, entry) = world.entry(refused(Reason::NotPermitted));
    world.now = START;
    world.detector.take(ledger, entry.service, vec![(position, entry)], world.now);
    for _ in 0..20 {
        world.say(refused(Reason::NotPermitted));
        world.wait(1_000);
        world.detector.tick(world.now);
    }
    let alerts = world.alerts();
    assert!(alerts.iter().any(|alert| alert.title == "One user is refused again and again"), "{alerts:?}");
}

/// What a service says of itself gets into mails and onto terminals: one that was taken over writes no lines of its own.
#[test]
fn what_a_service_says_is_one_short_word() {
    let mut world = World::new();
    let name = format!("file\n\nDear admin,\x1b[2J {}", "long".repeat(1_000));
    world.status(|status| status.kms = vec![(name, false)]);
    let alerts = world.alerts();
    let about = &alerts.first().unwrap().about;
    assert!(about.starts_with("kms=file") && about.len() < 300, "{about:?}");
    assert!(!about.contains(char::is_control), "{about:?}");
}
