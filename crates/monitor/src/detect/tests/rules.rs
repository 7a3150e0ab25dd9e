//! Every rule that comes with the program: what provokes it, and what comes near and doesn't.

use std::collections::BTreeSet;

use super::*;
use crate::alert::Level;

/// The rule's title, what provokes it and nothing else, and what comes near and provokes nothing.
struct Case(&'static str, fn(&mut World), fn(&mut World));

const CASES: &[Case] = &[
    Case(
        "Another tenant was asked for",
        |world| world.say(refused(Reason::OtherTenant)),
        |world| world.say(refused(Reason::NotPermitted)),
    ),
    Case(
        "One user is refused again and again",
        |world| (0..20).for_each(|_| world.say(refused(Reason::NotPermitted))),
        |world| {
            (0..19).for_each(|_| world.say(refused(Reason::NotPermitted)));
            world.wait(60_000);
            (0..19).for_each(|_| world.say(refused(Reason::NotPermitted)));
            // Another user's, and what is nobody's fault.
            let other = Signal { user: Some(OTHER), ..refused(Reason::NotPermitted).signal };
            world.say(Said { signal: other, ..refused(Reason::NotPermitted) });
            (0..30).for_each(|_| world.say(refused(Reason::Unavailable)));
        },
    ),
    Case(
        "Requests without a good token in a burst",
        |world| (0..50).for_each(|_| world.say(of_nobody())),
        |world| {
            (0..49).for_each(|_| world.say(of_nobody()));
            world.wait(60_000);
            world.say(of_nobody());
        },
    ),
    Case(
        "Somebody reads far more than they ever did",
        |world| {
            world.say(read(1_200));
            world.wait(3 * HOUR_MS);
            world.say(read(6_000));
        },
        |world| {
            world.say(read(1_200));
            world.wait(3 * HOUR_MS);
            world.say(read(5_999));
            // What the gateway says of it is not counted a second time.
            world.say(Said { service: Service::Gateway, ..read(5_999) });
        },
    ),
    Case(
        "A role reads fields of a class for the first time",
        |world| {
            world.say(read(10));
            world.wait(25 * HOUR_MS);
            world.say(Said { field: FieldId(1), ..read(1) });
        },
        |world| {
            world.say(read(10));
            world.say(Said { field: FieldId(1), ..read(1) });
            world.wait(25 * HOUR_MS);
            world.say(Said { field: FieldId(1), ..read(1) });
        },
    ),
    Case(
        "One user logs in with many keys",
        |world| (1..=3).for_each(|key| world.say(login(key))),
        |world| {
            (1..=9).for_each(|at| world.say(login(at % 2)));
            world.wait(HOUR_MS);
            world.say(login(3));
            let failed = Verdict::Refused;
            (4..9).for_each(|key| world.say(Said { verdict: failed, ..login(key) }));
        },
    ),
    Case(
        "A plaintext budget is used up",
        |world| world.say(refused(Reason::Budget)),
        |world| world.say(refused(Reason::Limit)),
    ),
    Case(
        "A revoked token was used",
        |world| world.say(refused(Reason::Revoked)),
        |world| {
            world.say(refused(Reason::Expired));
            world.say(said(Service::Authority, Verdict::Changed, "revoke_tokens", None));
        },
    ),
    Case(
        "A service's clock is wrong",
        |world| world.status(|status| status.now = status.now.minus_ms(5_000)),
        |world| world.status(|status| status.now = status.now.plus_ms(4_999)),
    ),
    Case(
        "A service decides by old facts",
        |world| {
            world.status(|status| (status.service, status.epoch) = (Service::Gateway, 6));
            world.status(|_| ());
            world.wait(5_000);
            world.status(|_| ());
        },
        |world| {
            world.status(|status| (status.service, status.epoch) = (Service::Gateway, 6));
            world.status(|_| ());
            world.wait(4_000);
            world.status(|status| status.epoch = 6);
            world.wait(1_000);
            world.status(|status| (status.epoch, status.facts_age_ms) = (6, 14_999));
        },
    ),
    Case(
        "Requests are refused because facts are out of date",
        |world| world.say(refused(Reason::Stale)),
        |world| world.say(refused(Reason::Superseded)),
    ),
    Case(
        "The services do not agree about a request",
        |world| world.say(said(Service::Authority, Verdict::Failed, "reconcile", Some(Reason::NoFellow))),
        |world| world.say(said(Service::Authority, Verdict::Failed, "reconcile", Some(Reason::Unavailable))),
    ),
    Case(
        "Records of a ledger are missing",
        |world| {
            world.say(read(1));
            *world.ends.get_mut("store").unwrap() += 1;
            world.say(read(1));
        },
        |world| {
            world.say(read(1));
            // The same once more is not a gap.
            *world.ends.get_mut("store").unwrap() -= 1;
            world.say(read(1));
            world.status(|status| status.ledger_records = 10);
            world.status(|status| (status.ledger_records, status.ledger_integrated) = (11, 11));
        },
    ),
    Case(
        "No checkpoint covers new records",
        |world| {
            world.status(|status| status.ledger_records = 11);
            world.wait(10_000);
            world.status(|status| status.ledger_records = 12);
        },
        |world| {
            world.status(|status| status.ledger_records = 11);
            world.wait(9_000);
            // There are always some that are new.
            world.status(|status| (status.ledger_records, status.ledger_integrated) = (12, 11));
            world.wait(9_000);
            world.status(|status| (status.ledger_records, status.ledger_integrated) = (13, 12));
        },
    ),
    Case(
        "A log contradicts what was seen of it before",
        |world| world.say(said(Service::Store, Verdict::Refused, "log_witness", Some(Reason::Forked))),
        |world| world.say(said(Service::Store, Verdict::Failed, "log_witness", Some(Reason::Unavailable))),
    ),
    Case(
        "A ledger takes no records",
        |world| world.status(|status| status.ledger_is_writable = false),
        |world| world.status(|status| status.is_ready = false),
    ),
    Case(
        "A service does not answer",
        |world| {
            world.heard(Service::Keys, None);
            world.wait(10_000);
            world.heard(Service::Keys, None);
        },
        |world| {
            world.heard(Service::Store, None);
            world.wait(9_000);
            world.status(|_| ());
            world.wait(9_000);
            world.heard(Service::Store, None);
        },
    ),
    Case(
        "A service's certificate was not renewed",
        |world| world.status(|status| status.certificate_expires = Some(status.now.plus_ms(899_000))),
        |world| {
            world.status(|status| status.certificate_expires = Some(status.now.plus_ms(901_000)));
            world.status(|status| status.certificate_expires = None);
        },
    ),
    Case(
        "A key management service does not answer",
        |world| world.status(|status| status.kms = vec![("file".to_owned(), true), ("hsm".to_owned(), false)]),
        |world| world.status(|status| status.kms = Vec::new()),
    ),
    Case(
        "The glass was broken",
        |world| world.say(said(Service::Authority, Verdict::Changed, "break_glass", None)),
        |world| {
            world.say(said(Service::Authority, Verdict::Refused, "break_glass", Some(Reason::NotPermitted)));
            world.say(said(Service::Authority, Verdict::Changed, "request_access", None));
        },
    ),
    Case(
        "An operator's access to a tenant began or ended",
        |world| world.say(said(Service::Authority, Verdict::Changed, "end_access", None)),
        |world| {
            world.say(said(Service::Authority, Verdict::Refused, "decide_access", Some(Reason::NotPermitted)));
            world.say(said(Service::Authority, Verdict::Released, "read_access", None));
        },
    ),
    Case(
        "A time limit of an incident runs out",
        |world| world.say(said(Service::Authority, Verdict::Changed, "incident_clock", None)),
        |world| world.say(said(Service::Authority, Verdict::Changed, "manage_incidents", None)),
    ),
    Case(
        "A backup or a restore has failed",
        |world| world.say(said(Service::Authority, Verdict::Failed, "backup_ended", Some(Reason::Unavailable))),
        |world| world.say(said(Service::Authority, Verdict::Changed, "backup_ended", None)),
    ),
    Case(
        "There has been no good backup for too long",
        |world| world.say(said(Service::Authority, Verdict::Failed, "backup_old", Some(Reason::Unavailable))),
        |world| world.say(said(Service::Authority, Verdict::Intent, "backup_begun", None)),
    ),
    Case(
        "A cryptoperiod is over",
        |world| world.say(said(Service::Authority, Verdict::Failed, "key_period_over", Some(Reason::Unavailable))),
        |world| world.say(said(Service::Authority, Verdict::Changed, "reseal", None)),
    ),
    Case(
        "A cryptoperiod ends soon",
        |world| world.say(said(Service::Authority, Verdict::Intent, "key_period_ending", None)),
        |world| world.say(said(Service::Authority, Verdict::Intent, "reseal", None)),
    ),
    Case(
        "A key has sealed almost all that it may",
        |world| world.say(said(Service::Authority, Verdict::Changed, "key_limit_near", None)),
        |world| world.say(said(Service::Authority, Verdict::Changed, "manage_keys", None)),
    ),
    Case(
        "A key that has sealed almost all that it may gets no successor",
        |world| world.say(said(Service::Authority, Verdict::Failed, "key_limit_reached", Some(Reason::Limit))),
        |world| world.say(said(Service::Authority, Verdict::Failed, "reseal", Some(Reason::Unavailable))),
    ),
    Case(
        "Stored data can't be opened",
        |world| world.say(said(Service::Gateway, Verdict::Failed, "read", Some(Reason::Damaged))),
        |world| world.say(said(Service::Gateway, Verdict::Failed, "read", Some(Reason::Conflict))),
    ),
    Case(
        "Policies can't be evaluated",
        |world| world.say(refused(Reason::PolicyFault)),
        |world| world.say(refused(Reason::Invalid)),
    ),
];

const HOUR_MS: u64 = 3_600_000;

fn of_nobody() -> Said {
    let signal = Signal { user: None, ..refused(Reason::BadToken).signal };
    Said { signal, ..refused(Reason::BadToken) }
}

fn login(key: u64) -> Said {
    let login = said(Service::Authority, Verdict::Released, "login", None);
    Said { signal: Signal { credential: Some(key), ..login.signal }, ..login }
}

fn titles(world: &mut World) -> BTreeSet<String> {
    world.alerts().into_iter().map(|alert| alert.title).collect()
}

#[test]
fn every_rule_is_provoked_and_nearly() {
    for Case(title, provokes, near) in CASES {
        let mut world = World::new();
        provokes(&mut world);
        assert_eq!(titles(&mut world), [(*title).to_owned()].into(), "what should provoke");
        let mut world = World::new();
        near(&mut world);
        world.wait(60_000);
        world.detector.tick(world.now);
        assert_eq!(titles(&mut world), BTreeSet::new(), "what comes near: {title}");
    }
    let covered: BTreeSet<&str> = CASES.iter().map(|Case(title, ..)| *title).collect();
    let rules = RuleSet::load(None).unwrap();
    let all: BTreeSet<&str> = rules.headings().map(|heading| heading.title.as_str()).collect();
    assert_eq!(covered, all, "every rule has a case");
}

#[test]
fn an_alert_names_ids_and_numbers_alone() {
    let mut world = World::new();
    world.say(said(Service::Authority, Verdict::Changed, "break_glass", None));
    let alert = world.alerts().remove(0);
    assert_eq!((alert.level, alert.count, alert.tells_tenant), (Level::Critical, 1, true));
    assert_eq!(alert.about, format!("tenant={TENANT},request={}", RequestId::from_u128(1)));
    assert_eq!((alert.tenant, alert.requests), (Some(TENANT), vec![RequestId::from_u128(1)]));
    assert_eq!((alert.first, alert.last), (START, START));
    // Whoever is told of it by anything that was written, knows nobody's name.
    (0..40).for_each(|_| world.say(refused(Reason::NotPermitted)));
    let text = format!("{:?}", world.alerts());
    assert!(!text.contains("alice") && !text.contains("acme"), "{text}");
}

#[test]
fn other_forms_of_the_same() {
    // Nobody's past, and very much.
    let mut world = World::new();
    world.say(read(20_000));
    assert_eq!(titles(&mut world), ["Somebody reads far more than they ever did".to_owned()].into());
    // A ledger that lost its newest records, and one that can't be read.
    let mut world = World::new();
    world.status(|_| ());
    world.status(|status| (status.ledger_records, status.ledger_integrated) = (9, 9));
    world.detector.gap("keys", Service::Keys, Gap::Unreadable, world.now);
    let abouts: Vec<String> = world.alerts().into_iter().map(|alert| alert.about).collect();
    assert_eq!(abouts, ["ledger=store,ledger_gap=shrank", "ledger=keys,ledger_gap=unreadable"]);
    // A service speaks for itself alone.
    let mut world = World::new();
    let (_, position, entry) = world.entry(read(30_000));
    world.detector.take("gateway", Service::Gateway, vec![(position, entry)], world.now);
    assert_eq!(titles(&mut world), BTreeSet::new());
}

#[test]
fn what_goes_on_is_told_once_and_then_together() {
    let mut world = World::new();
    for _ in 0..100 {
        world.say(refused(Reason::Revoked));
        world.wait(10);
    }
    let told = world.alerts();
    assert_eq!(told.iter().map(|alert| alert.count).collect::<Vec<_>>(), [1]);
    world.wait(4_000);
    world.detector.tick(world.now);
    let gathered = world.alerts();
    assert_eq!(gathered.iter().map(|alert| (alert.count, alert.requests.len())).collect::<Vec<_>>(), [(99, 10)]);
    assert_ne!(gathered[0].id, told[0].id);
    assert_eq!(gathered[0].about, told[0].about);
    world.wait(5_000);
    world.detector.tick(world.now);
    world.say(refused(Reason::Revoked));
    assert_eq!(world.alerts().len(), 1, "it was quiet, so it is told at once again");
}
