//! Many changes in any order, for services that are there, away for a while, or new.

use countersign_model::SessionId;

use super::*;

/// A sequence that is the same every time (Knuth's MMIX generator, the upper half).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33).checked_rem(limit).unwrap_or(0)
    }
}

fn remove_user(facts: &mut Facts, id: UserId) {
    if let Some(user) = Arc::make_mut(&mut facts.users).remove(&id) {
        Arc::make_mut(&mut facts.user_names).remove(&(user.tenant, user.name.clone()));
    }
}

fn add_tenant(world: &mut World, number: u8) {
    let (id, tenant) = (tenant_id(number), Tenant { name: name(&format!("tenant{number}")), created: NOW });
    if !world.facts.tenants.contains_key(&id) {
        Arc::make_mut(&mut world.facts.tenant_names).insert(tenant.name.clone(), id);
        Arc::make_mut(&mut world.facts.tenants).insert(id, tenant);
        Arc::make_mut(&mut world.sources.wrapped).insert(id, vec![number; 65].into());
    }
}

/// One change; whether it is one of facts, for which there is a new epoch.
#[expect(clippy::arithmetic_side_effects, reason = "small numbers")]
fn change(world: &mut World, dice: &mut Dice) -> bool {
    let number = dice.below(40);
    let tenant = tenant_id(1 + (number % 3) as u8);
    // Few enough buckets that several entries meet in one.
    let id = u128::from(number) << 8 | u128::from(number % 5);
    let facts = &mut world.facts;
    match dice.below(9) {
        0 => {
            remove_user(facts, user_id(id));
            put(facts, id, user(tenant, &format!("n{number}")));
        }
        1 => remove_user(facts, user_id(id)),
        2 => {
            // A name changes hands, from one bucket to another.
            let other = u128::from((number + 1) % 40) << 8 | u128::from((number + 1) % 5);
            remove_user(facts, user_id(id));
            remove_user(facts, user_id(other));
            let holder = if dice.below(2) == 0 { id } else { other };
            put(facts, holder, user(tenant_id(3), &format!("shared{}", number.min((number + 1) % 40))));
        }
        3 => revoke(facts, 1 + (number % 3) as u8, id),
        4 => {
            let revocations = Arc::make_mut(&mut facts.revocations);
            revocations.sessions.insert((tenant, SessionId::from_u128(id)), NOW.plus_ms(number));
            revocations.users.insert(user_id(id), NOW.plus_ms(number));
        }
        5 => {
            let revocations = Arc::make_mut(&mut facts.revocations);
            revocations.tokens.retain(|(_, token), _| token.as_u128() != id);
            revocations.users.retain(|user, _| *user != user_id(id));
        }
        6 => {
            add_tenant(world, 4 + number as u8);
            return true;
        }
        7 => {
            Arc::make_mut(&mut world.sources.wrapped).insert(tenant, vec![number as u8; 65].into());
            return false;
        }
        _ => {
            let removed = &mut Arc::make_mut(&mut world.sources.directory).removed;
            let service = format!("spiffe://example.test/store/{number}");
            if !removed.remove(&service) {
                removed.insert(service);
            }
            return false;
        }
    }
    true
}

#[test]
fn whoever_follows_in_whatever_steps_knows_the_same() {
    let mut world = World::new();
    let mut dice = Dice(7);
    let mut places = [Service::Gateway, Service::Keys, Service::Store].map(|service| world.service(service));
    for step in 0..600u32 {
        if change(&mut world, &mut dice) {
            world.facts.epoch += 1;
        }
        if dice.below(3) == 0 {
            // Several changes in one snapshot.
            continue;
        }
        let snapshot = world.publish();
        if step % 150 == 149 {
            let service = [Service::Gateway, Service::Keys, Service::Store][dice.below(3) as usize];
            places[dice.below(3) as usize] = world.service(service);
        }
        for place in &places {
            if dice.below(4) == 0 {
                continue;
            }
            place.follow(&snapshot).unwrap();
            assert_same_facts(&place.facts.load().facts, &world.facts);
            assert_eq!(
                **place.follower.directory().borrow(),
                Directory {
                    services: place.follower.directory().borrow().services.clone(),
                    removed: world.sources.directory.removed.clone(),
                }
            );
            if place.service == Service::Keys {
                assert_eq!(place.follower.wrapped().load(), world.sources.wrapped);
            }
            assert_eq!(place.follower.index(), *snapshot.index());
        }
    }
    assert!(world.facts.users.len() > 20 && world.facts.tenants.len() > 20);
}
