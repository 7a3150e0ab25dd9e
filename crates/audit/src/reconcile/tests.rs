//! Requests that hold together give no finding in whatever order they arrive; each that was tampered with gives
//! its own.

#[expect(clippy::arithmetic_side_effects, reason = "small numbers, in a test")]
mod world;

use countersign_model::{FieldId, FieldSet, Tally, TokenId, TypeId};

use self::world::{NOW, Request, World};
use super::*;
use crate::record::Verdict;
use crate::testing::Dice;

const FRONT_KEYS_STORE: [Service; 3] = [Service::Gateway, Service::Keys, Service::Store];

#[test]
fn consistent_requests_give_no_finding_in_any_order() {
    for seed in 1..=200 {
        let mut dice = Dice(seed);
        let world = World::new(&mut dice, 40);
        assert_eq!(world.play(&mut dice), [], "seed {seed}");
    }
}

/// One request among others is tampered with, in a way that `tamper` chooses; exactly what it says is found.
fn finds(tamper: impl Fn(&mut Dice, &mut Request) -> Vec<What>) {
    for seed in 1..=200 {
        let mut dice = Dice(seed);
        let mut world = World::new(&mut dice, 12);
        let victim = dice.below(12) as usize;
        world.requests[victim] = Request::full(&mut dice);
        let mut expected = tamper(&mut dice, &mut world.requests[victim]);
        expected.sort_by_key(|what| format!("{what:?}"));
        let request = world.requests[victim].id;
        let findings = world.play(&mut dice);
        assert!(findings.iter().all(|finding| finding.request == request), "seed {seed}: {findings:?}");
        let mut found: Vec<What> = findings.into_iter().map(|finding| finding.what).collect();
        found.sort_by_key(|what| format!("{what:?}"));
        assert_eq!(found, expected, "seed {seed}");
    }
}

fn one_of(dice: &mut Dice, services: &[Service]) -> Service {
    services[dice.below(services.len() as u64) as usize]
}

#[test]
fn a_dropped_record_is_found_whichever_service_dropped_it() {
    finds(|dice, request| {
        let service = one_of(dice, &FRONT_KEYS_STORE);
        request.entries.retain(|entry| entry.service != service || entry.verdict == Verdict::Intent);
        vec![What::Missing { services: vec![service] }]
    });
}

#[test]
fn a_gateway_that_dies_midway_is_found() {
    finds(|_, request| {
        request.entries.retain(|entry| entry.service != Service::Gateway);
        vec![What::Missing { services: vec![Service::Gateway] }]
    });
}

#[test]
fn an_altered_token_epoch_or_tenant_is_found_with_who_altered_it() {
    finds(|dice, request| {
        let service = one_of(dice, &FRONT_KEYS_STORE);
        let part = [Part::Tenant, Part::Token, Part::Epoch][dice.below(3) as usize];
        let entry = request.any_of(dice, service);
        let tally = entry.tally.as_mut().unwrap();
        match part {
            Part::Tenant => entry.tenant = Some(TenantId::from_u128(77)),
            Part::Token => tally.token = TokenId::from_u128(77),
            _ => tally.epoch += 1,
        }
        vec![What::Differs { part, odd: Some(service) }]
    });
}

#[test]
fn altered_rows_and_fields_are_found_with_who_altered_them() {
    finds(|dice, request| {
        let service = one_of(dice, &FRONT_KEYS_STORE);
        let entry = request.any_of(dice, service);
        let (at, part) = (dice.below(8) as usize, [Part::Rows, Part::Fields][dice.below(2) as usize]);
        let opened = &mut entry.tally.as_mut().unwrap().opened;
        let at = at % opened.len();
        match part {
            Part::Rows => opened[at].rows += 1 + dice.below(3),
            _ => opened[at].fields = opened[at].fields.with(FieldId(127)),
        }
        vec![What::Differs { part, odd: Some(service) }]
    });
}

#[test]
fn altered_numbers_of_changes_are_found() {
    finds(|dice, request| {
        let service = one_of(dice, &[Service::Gateway, Service::Store]);
        request.any_of(dice, service).tally.as_mut().unwrap().written += 1;
        vec![What::Differs { part: Part::Written, odd: None }]
    });
}

#[test]
fn an_invented_record_beside_true_ones_is_found() {
    finds(|dice, request| {
        let service = one_of(dice, &FRONT_KEYS_STORE);
        let invented = request.any_of(dice, service).clone();
        let written = invented.tally.as_ref().is_some_and(|tally| tally.written > 0);
        request.entries.push(invented);
        let mut expected = vec![What::Differs { part: Part::Rows, odd: Some(service) }];
        if written {
            expected.push(What::Differs { part: Part::Written, odd: None });
        }
        expected
    });
}

#[test]
fn an_invented_request_is_found() {
    finds(|dice, request| {
        let service = one_of(dice, &FRONT_KEYS_STORE);
        let keys_intent = service == Service::Keys && dice.below(2) == 0;
        request.entries.retain(|entry| {
            entry.service == service && (service != Service::Keys || (entry.verdict == Verdict::Intent) == keys_intent)
        });
        match service {
            Service::Gateway => vec![What::Missing { services: vec![Service::Keys, Service::Store] }],
            service => vec![What::Unknown { service }],
        }
    });
}

/// Requests come for 20 seconds, and what is recorded of each arrives within 1.5 seconds. Some are tampered with.
#[test]
fn findings_come_within_five_seconds_and_only_of_what_was_tampered_with() {
    for seed in 1..=20 {
        let mut dice = Dice(seed);
        let mut world = World::new(&mut dice, 400);
        let mut tampered = HashSet::new();
        for request in world.requests.iter_mut().step_by(10) {
            *request = Request::full(&mut dice);
            let service = one_of(&mut dice, &FRONT_KEYS_STORE);
            if dice.below(2) == 0 {
                request.entries.retain(|entry| entry.service != service);
            } else {
                request.any_of(&mut dice, service).tally.as_mut().unwrap().epoch += 1;
            }
            tampered.insert(request.id);
        }
        let (found, open_most) = world.live(&mut dice);
        for (finding, after_ms) in &found {
            assert!(tampered.contains(&finding.request), "seed {seed}: {finding:?}");
            assert!(*after_ms <= 5_000, "seed {seed}: after {after_ms} ms");
        }
        let requests: HashSet<RequestId> = found.iter().map(|(finding, _)| finding.request).collect();
        assert_eq!(requests, tampered, "seed {seed}");
        assert!(open_most < 200, "{open_most} of 400 at a time");
    }
}

#[test]
fn findings_in_words_name_the_services() {
    let missing = What::Missing { services: vec![Service::Keys, Service::Store] };
    assert_eq!(missing.to_string(), "no record of keys, store");
    let differs = What::Differs { part: Part::Rows, odd: Some(Service::Gateway) };
    assert_eq!(differs.to_string(), "the numbers of rows opened differ: gateway against the others");
    assert_eq!(What::Unknown { service: Service::Store }.to_string(), "only store has a record of it");
    assert_eq!((missing.reason(), differs.reason()), (Reason::NoFellow, Reason::Differs));
}

fn entry(service: Service, verdict: Verdict, rows: u64) -> TallyEntry {
    let mut tally = Tally::new(TokenId::from_u128(1), 7);
    tally.open(TypeId(1), FieldSet::first(2), rows);
    let (request, tenant) = (RequestId::from_u128(5), Some(TenantId::from_u128(1)));
    TallyEntry { request, service, verdict, tenant, time: NOW, tally: Some(tally), signal: None }
}

/// Takes the entries, each from the ledger of its service, a millisecond after another.
fn take(reconciler: &mut Reconciler, from: u64, entries: &[TallyEntry]) {
    for (at, entry) in (from..).zip(entries) {
        reconciler.take(entry.service as u32, Position(at), entry, NOW.plus_ms(at));
    }
}

#[test]
fn keys_without_cells_need_a_gateway_and_no_more() {
    let intent = entry(Service::Keys, Verdict::Intent, 0);
    let refused = TallyEntry { tally: None, ..entry(Service::Gateway, Verdict::Refused, 0) };
    for front in [entry(Service::Gateway, Verdict::Failed, 0), refused, entry(Service::Authority, Verdict::Changed, 0)]
    {
        assert_eq!(judge([&intent, &front]), []);
    }
    assert_eq!(judge([&intent]), [What::Unknown { service: Service::Keys }]);
    let empty_read = entry(Service::Store, Verdict::Released, 0);
    assert_eq!(judge([&intent, &empty_read]), [What::Missing { services: vec![Service::Gateway] }]);
}

/// Who has lost the answer to a change contradicts nobody who knows it, and covers up nothing that was opened.
#[test]
fn what_is_unknown_to_one_is_no_contradiction() {
    let of = |service, verdict, rows, written| {
        let mut entry = entry(service, verdict, rows);
        entry.tally.as_mut().unwrap().written = written;
        entry
    };
    let (keys, intent) = (of(Service::Keys, Verdict::Released, 3, 0), of(Service::Gateway, Verdict::Intent, 0, 0));
    let lost = of(Service::Gateway, Verdict::Unknown, 3, 0);
    let read = of(Service::Store, Verdict::Released, 3, 0);
    for store in [Verdict::Changed, Verdict::Unknown, Verdict::Failed] {
        let written = if store == Verdict::Changed { 5 } else { 0 };
        let store = of(Service::Store, store, 0, written);
        assert_eq!(judge([&intent, &lost, &keys, &read, &store]), []);
    }
    assert_eq!(judge([&intent, &lost, &keys, &read]), []);
    let knows = of(Service::Gateway, Verdict::Changed, 3, 5);
    let unsure = of(Service::Store, Verdict::Unknown, 0, 0);
    assert_eq!(judge([&knows, &keys, &read, &unsure]), []);
    let failed = of(Service::Store, Verdict::Failed, 0, 0);
    let differs = What::Differs { part: Part::Written, odd: None };
    assert_eq!(judge([&knows, &keys, &read, &failed]), [differs]);
    let more = of(Service::Gateway, Verdict::Unknown, 4, 0);
    assert_eq!(judge([&more, &keys, &read]), [What::Differs { part: Part::Rows, odd: Some(Service::Gateway) }]);
}

/// Asking the store what is there needs keys, but not ones that were given out for this request.
#[test]
fn a_store_that_was_asked_in_vain_needs_a_gateway_and_no_more() {
    for verdict in [Verdict::Failed, Verdict::Released] {
        let asked = entry(Service::Store, verdict, 0);
        assert_eq!(judge([&asked, &entry(Service::Gateway, Verdict::Failed, 0)]), []);
        assert_eq!(judge([&asked]), [What::Unknown { service: Service::Store }]);
        let missing = What::Missing { services: vec![Service::Gateway] };
        assert_eq!(judge([&asked, &entry(Service::Keys, Verdict::Intent, 0)]), [missing]);
    }
}

#[test]
fn a_refusal_is_no_fellow_of_a_release() {
    let others = [entry(Service::Gateway, Verdict::Released, 3), entry(Service::Keys, Verdict::Released, 3)];
    let refused = entry(Service::Store, Verdict::Refused, 3);
    assert_eq!(judge(others.iter().chain([&refused])), [What::Missing { services: vec![Service::Store] }]);
}

#[test]
fn the_authority_stands_in_for_the_gateway() {
    let [keys, store] = [Service::Keys, Service::Store].map(|service| entry(service, Verdict::Released, 3));
    let authority = entry(Service::Authority, Verdict::Changed, 3);
    assert_eq!(judge([&keys, &store, &authority]), []);
    let gateway = entry(Service::Gateway, Verdict::Released, 4);
    let differs = What::Differs { part: Part::Rows, odd: Some(Service::Gateway) };
    assert_eq!(judge([&keys, &store, &authority, &gateway]), [differs]);
}

#[test]
fn a_finding_comes_with_the_grace_time_and_once() {
    let mut reconciler = Reconciler::default();
    let late = entry(Service::Store, Verdict::Released, 3);
    take(
        &mut reconciler,
        0,
        &[entry(Service::Gateway, Verdict::Released, 3), entry(Service::Keys, Verdict::Released, 3)],
    );
    assert_eq!(reconciler.due(NOW.plus_ms(GRACE_MS)), []);
    let found = reconciler.due(NOW.plus_ms(GRACE_MS + 1));
    let what = What::Missing { services: vec![Service::Store] };
    assert_eq!(found, [Finding { request: RequestId::from_u128(5), tenant: Some(TenantId::from_u128(1)), what }]);
    take(&mut reconciler, 10_000, &[late]);
    assert_eq!(reconciler.due(NOW.plus_ms(60_000)), [], "already reported");
    assert_eq!(reconciler.open(), 0);
}

#[test]
fn a_request_that_keeps_itself_busy_is_judged_all_the_same() {
    let mut reconciler = Reconciler::default();
    for at in (0..40_000).step_by(2_000) {
        take(&mut reconciler, at, &[entry(Service::Store, Verdict::Released, 1)]);
        let found = reconciler.due(NOW.plus_ms(at));
        assert_eq!(found.len(), usize::from(at == 30_000), "after {at} ms");
    }
}

#[test]
fn requests_from_before_the_beginning_are_left_out() {
    let mut reconciler = Reconciler::default().since(NOW);
    for (position, began) in [NOW.minus_ms(1), NOW].into_iter().enumerate() {
        let request = RequestId::new(began, &countersign_crypto::SystemEntropy);
        let half = TallyEntry { request, ..entry(Service::Store, Verdict::Released, 3) };
        reconciler.take(0, Position(position as u64), &half, NOW);
        assert_eq!(reconciler.open(), position);
    }
    assert_eq!(reconciler.due(NOW.plus_ms(GRACE_MS)).len(), 1);
}

#[test]
fn what_comes_again_is_ignored() {
    let mut reconciler = Reconciler::default();
    let all = FRONT_KEYS_STORE.map(|service| entry(service, Verdict::Released, 3));
    take(&mut reconciler, 5, &all);
    take(&mut reconciler, 5, &all);
    take(&mut reconciler, 0, &all);
    assert_eq!(reconciler.taken(Service::Keys as u32), Some(Position(6)));
    assert_eq!(reconciler.due(NOW.plus_ms(10_000)), []);
}

/// Somebody floods it with requests, or with tallies of very many kinds: the oldest are judged early.
#[test]
fn memory_is_bounded_and_nothing_is_forgotten() {
    for kinds in [1, 50] {
        let mut reconciler = Reconciler::new(GRACE_MS, 100);
        for number in 0..1_000u64 {
            let mut entry = entry(Service::Store, Verdict::Released, 1);
            entry.request = RequestId::from_u128(u128::from(number));
            let tally = entry.tally.as_mut().unwrap();
            (0..kinds).for_each(|kind| tally.open(TypeId(2 + kind), FieldSet::first(1), 1));
            reconciler.take(0, Position(number), &entry, NOW);
            assert!(reconciler.open() <= 100 && reconciler.weight <= 800 + 60);
        }
        assert_eq!(reconciler.due(NOW.plus_ms(GRACE_MS)).len(), 1_000, "each on its own");
        assert_eq!((reconciler.open(), reconciler.weight), (0, 0));
        assert_eq!(reconciler.reported.order.len(), 100);
    }
}

/// One that the store has no record of, by the ledgers 0 and 1, at `now`.
fn half(reconciler: &mut Reconciler, request: u128, place: u64, now: UnixMs) {
    let mut tally = Tally::new(TokenId::from_u128(1), 7);
    tally.open(TypeId(1), FieldSet::first(2), 10);
    for (ledger, service) in [(0, Service::Gateway), (1, Service::Keys)] {
        reconciler.take(ledger, Position(place), &of(request, service, &tally, now), now);
    }
}

fn of(request: u128, service: Service, tally: &Tally, time: UnixMs) -> TallyEntry {
    TallyEntry {
        request: RequestId::from_u128(request),
        service,
        verdict: Verdict::Released,
        tenant: Some(TenantId::from_u128(3)),
        time,
        tally: Some(tally.clone()),
        signal: None,
    }
}

/// Looks twice a second from `from` to `to`, in which the ledgers `current` say that they have given all.
fn look(reconciler: &mut Reconciler, current: &[u32], from: u64, to: u64) -> Vec<(u64, Finding)> {
    let mut found = Vec::new();
    for ms in (from..to).step_by(500) {
        let now = NOW.plus_ms(ms);
        current.iter().for_each(|ledger| reconciler.all(*ledger, now));
        found.extend(reconciler.due(now).into_iter().map(|finding| (ms, finding)));
    }
    found
}

#[test]
fn a_ledger_that_is_late_is_waited_for() {
    let mut reconciler = Reconciler::default();
    assert_eq!(look(&mut reconciler, &[0, 1, 2], 0, 1_000), []);
    half(&mut reconciler, 9, 0, NOW.plus_ms(1_000));
    // The store's records wait for a database that fails over, which takes 40 seconds.
    assert_eq!(look(&mut reconciler, &[0, 1], 1_000, 41_000), []);
    let mut tally = Tally::new(TokenId::from_u128(1), 7);
    tally.open(TypeId(1), FieldSet::first(2), 10);
    let now = NOW.plus_ms(41_000);
    reconciler.take(2, Position(0), &of(9, Service::Store, &tally, now), now);
    assert_eq!(look(&mut reconciler, &[0, 1, 2], 41_000, 120_000), []);
    assert_eq!(reconciler.open(), 0);
    // When all are there again, it is as quick as ever.
    half(&mut reconciler, 10, 1, NOW.plus_ms(120_000));
    let found = look(&mut reconciler, &[0, 1, 2], 120_000, 130_000);
    assert_eq!(found.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), [123_000]);
    assert_eq!(found[0].1.what, What::Missing { services: vec![Service::Store] });
}

#[test]
fn what_was_not_recorded_is_found_soon_after_all_have_given_what_they_have() {
    let mut reconciler = Reconciler::default();
    look(&mut reconciler, &[0, 1, 2], 0, 1_000);
    half(&mut reconciler, 9, 0, NOW.plus_ms(1_000));
    assert_eq!(look(&mut reconciler, &[0, 1], 1_000, 20_000), []);
    let found = look(&mut reconciler, &[0, 1, 2], 20_000, 30_000);
    assert!(matches!(found.as_slice(), [(ms, _)] if (20_000..=23_500).contains(ms)), "{found:?}");
}

#[test]
fn a_ledger_that_is_always_late_hides_nothing_for_more_than_a_minute() {
    // It goes silent, or says every 50 seconds that it has given all.
    for again in [false, true] {
        let mut reconciler = Reconciler::default();
        look(&mut reconciler, &[0, 1, 2], 0, 1_000);
        half(&mut reconciler, 9, 0, NOW.plus_ms(1_000));
        let mut found = look(&mut reconciler, &[0, 1], 1_000, 50_000);
        if again {
            reconciler.all(2, NOW.plus_ms(50_000));
        }
        found.extend(look(&mut reconciler, &[0, 1], 50_000, 100_000));
        assert!(matches!(found.as_slice(), [(ms, _)] if *ms <= 61_500), "{found:?}");
        // One that is gone is not waited for again.
        half(&mut reconciler, 10, 1, NOW.plus_ms(150_000));
        let found = look(&mut reconciler, &[0, 1], 150_000, 160_000);
        assert_eq!(found.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), [153_000]);
    }
}
