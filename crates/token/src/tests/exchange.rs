//! Acting for somebody else: what the result may do, how long, and what ends it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use countersign_crypto::SystemEntropy;
use countersign_model::facts::{Facts, Revocations, Tenant, User, UserKind};
use countersign_model::request::{Action, Narrowing};
use countersign_model::{Name, SessionId, TenantId, TokenId, UnixMs, UserId};
use serde_json::{Value, json};

use super::narrowing::random;
use super::{Dice, House, NOW};
use crate::{Binding, Introspection, MAX_LIFETIME_MS, MintError, TokenError, Unverified, Verified};

/// A person's login and an agent's, in one tenant.
struct Pair {
    house: House,
    subject: Arc<Verified>,
    actor: Arc<Verified>,
}

fn login(house: &House, user: UserId, tenant: TenantId, lifetime_ms: u64, at: UnixMs) -> Arc<Verified> {
    let session = SessionId::new(at, &SystemEntropy);
    let minted = house.minter.mint(user, tenant, session, lifetime_ms, at, &SystemEntropy).unwrap();
    house.verifier.verify(minted.token(), at).unwrap()
}

fn pair() -> Pair {
    let house = House::new();
    let agent = UserId::new(NOW, &SystemEntropy);
    let subject = house.login(NOW);
    let actor = login(&house, agent, house.tenant, 3_600_000, NOW.plus_ms(60_000));
    Pair { house, subject, actor }
}

impl Pair {
    fn exchange(&self, narrowing: &Narrowing, lifetime_ms: Option<u64>, now: UnixMs) -> Arc<Verified> {
        let minted =
            self.house.minter.exchange(&self.subject, &self.actor, narrowing, lifetime_ms, now, &SystemEntropy);
        self.house.verifier.verify(minted.unwrap().token(), now).unwrap()
    }
}

#[test]
fn both_are_in_the_token() {
    let pair = pair();
    let now = NOW.plus_ms(120_000);
    let token = pair.exchange(&Narrowing::default(), None, now);
    assert_eq!((token.user(), token.actor()), (pair.subject.user(), Some(pair.actor.user())));
    assert_eq!((token.session(), token.tenant()), (pair.subject.session(), pair.house.tenant));
    assert_eq!(token.logged_in(), pair.subject.logged_in());
    assert_eq!(token.expires(), pair.actor.expires());
    assert_ne!(token.token(), pair.subject.token());
    let short = pair.exchange(&Narrowing::default(), Some(60_000), now);
    assert_eq!(short.expires().since(short.issued()), 60_000);
    assert_eq!(pair.subject.actor(), None);
}

#[test]
fn the_result_has_the_limits_of_both_and_the_asked_ones() {
    let house = House::new();
    let dice = Dice(AtomicU64::new(11));
    let names: Vec<Name> =
        ["customer", "invoice", "company", "country", "phone"].map(|text| Name::new(text).unwrap()).to_vec();
    for _ in 0..200 {
        let limits = [random(&dice), random(&dice), random(&dice)];
        let narrowed = |of: &Verified, limit| {
            let minted = house.minter.narrow(of, limit, None, NOW, &SystemEntropy).unwrap();
            house.verifier.verify(minted.token(), NOW).unwrap()
        };
        let subject = narrowed(&house.login(NOW), &limits[0]);
        let agent = UserId::new(NOW, &SystemEntropy);
        let actor = narrowed(&login(&house, agent, house.tenant, 3_600_000, NOW), &limits[1]);
        let minted = house.minter.exchange(&subject, &actor, &limits[2], None, NOW, &SystemEntropy).unwrap();
        let token = house.verifier.verify(minted.token(), NOW).unwrap();
        for action in Action::ALL {
            for name in &names {
                let every = limits.iter().all(|limit| limit.admits(action, name));
                assert_eq!(token.narrowing().admits(action, name), every);
            }
        }
        for field in &names {
            let admits = |limit: &Narrowing| limit.fields.as_ref().is_none_or(|fields| fields.contains(field));
            assert_eq!(admits(token.narrowing()), limits.iter().all(admits));
        }
        assert!(token.expires() <= subject.expires().min(actor.expires()));
    }
}

#[test]
fn only_two_users_of_one_tenant_and_no_third() {
    let pair = pair();
    let now = NOW.plus_ms(120_000);
    let Pair { house, subject, actor } = &pair;
    let exchange = |subject: &Verified, actor: &Verified| {
        house.minter.exchange(subject, actor, &Narrowing::default(), None, now, &SystemEntropy).err()
    };
    let stranger = login(house, actor.user(), TenantId::new(NOW, &SystemEntropy), 3_600_000, NOW);
    assert_eq!(exchange(subject, &stranger), Some(MintError::Parties));
    assert_eq!(exchange(&stranger, actor), Some(MintError::Parties));
    assert_eq!(exchange(subject, subject), Some(MintError::Parties));

    let acting = pair.exchange(&Narrowing::default(), None, now);
    let third = login(house, UserId::new(NOW, &SystemEntropy), house.tenant, 3_600_000, NOW);
    assert_eq!(exchange(&acting, &third), Some(MintError::Parties));
    assert_eq!(exchange(subject, &acting), Some(MintError::Parties));
    assert_eq!(exchange(&third, &acting), Some(MintError::Parties));

    let late = actor.expires();
    let expired = house.minter.exchange(subject, actor, &Narrowing::default(), None, late, &SystemEntropy);
    assert_eq!(expired.err(), Some(MintError::TooShort));
    let purpose = Narrowing { purpose: Some("two\nlines".into()), ..Narrowing::default() };
    let refused = house.minter.exchange(subject, actor, &purpose, None, now, &SystemEntropy);
    assert_eq!(refused.err(), Some(MintError::Purpose));
}

/// Somebody who stole a bound token and has an account of their own gets nothing by exchanging it.
#[test]
fn an_exchange_takes_no_binding_away() {
    let Pair { house, subject, actor } = pair();
    let (mine, other) = (Binding::Jkt([1; 32]), Binding::Jkt([2; 32]));
    let bound = |of: &Verified, key| {
        let minter = house.minter.bound_to(Some(key));
        let minted = minter.narrow(of, &Narrowing::default(), None, NOW, &SystemEntropy).unwrap();
        house.verifier.verify(minted.token(), NOW).unwrap()
    };
    let exchange = |subject: &Verified, actor: &Verified, proved| {
        let minter = house.minter.bound_to(proved);
        let now = NOW.plus_ms(120_000);
        let minted = minter.exchange(subject, actor, &Narrowing::default(), None, now, &SystemEntropy)?;
        Ok(house.verifier.verify(minted.token(), now).unwrap().binding().copied())
    };
    let (bound_subject, bound_actor) = (bound(&subject, other), bound(&actor, mine));
    for proved in [None, Some(mine), Some(Binding::Certificate([2; 32]))] {
        assert_eq!(exchange(&bound_subject, &actor, proved), Err(MintError::Unbound));
    }
    assert_eq!(exchange(&bound_subject, &bound_actor, Some(mine)), Err(MintError::Unbound));
    assert_eq!(exchange(&subject, &bound_actor, None), Err(MintError::Unbound));
    assert_eq!(exchange(&subject, &bound_actor, Some(mine)), Ok(Some(mine)));
    assert_eq!(exchange(&subject, &actor, Some(mine)), Ok(Some(mine)));
    assert_eq!(exchange(&subject, &actor, None), Ok(None));
    // The way to delegate: the person narrows the token to the agent's key.
    assert_eq!(exchange(&bound(&bound_subject, mine), &bound_actor, Some(mine)), Ok(Some(mine)));
}

#[test]
fn it_ends_with_any_of_what_it_was_made_from() {
    let pair = pair();
    let now = NOW.plus_ms(120_000);
    let acting = pair.exchange(&Narrowing::default(), None, now);
    let child = pair.house.minter.narrow(&acting, &Narrowing::default(), None, now, &SystemEntropy).unwrap();
    let child = pair.house.verifier.verify(child.token(), now).unwrap();
    assert_eq!(child.actor(), acting.actor());
    let tenant = pair.house.tenant;
    for of in [&pair.subject, &pair.actor] {
        for token in [&acting, &child] {
            assert!(!token.revoked_by(&Revocations::default()));
            let by_token = Revocations { tokens: HashMap::from([((tenant, of.token()), now)]), ..Default::default() };
            assert!(token.revoked_by(&by_token));
            let by_session =
                Revocations { sessions: HashMap::from([((tenant, of.session()), now)]), ..Default::default() };
            assert!(token.revoked_by(&by_session));
            let user = |at| Revocations { users: HashMap::from([(of.user(), at)]), ..Default::default() };
            assert!(token.revoked_by(&user(now)));
            assert!(token.revoked_by(&user(of.logged_in())));
            assert!(!token.revoked_by(&user(UnixMs(of.logged_in().0 - 1))));
        }
    }
    // Revoking what was made says nothing of what it was made from.
    let made = Revocations { tokens: HashMap::from([((tenant, acting.token()), now)]), ..Default::default() };
    assert!(acting.revoked_by(&made) && !pair.subject.revoked_by(&made) && !pair.actor.revoked_by(&made));
}

#[test]
fn actors_that_are_no_actors() {
    let house = House::new();
    let id = || json!(UserId::new(NOW, &SystemEntropy));
    let good = json!({
        "sub": id(), "sid": SessionId::new(NOW, &SystemEntropy), "auth_time": NOW.seconds(),
        "jti": TokenId::new(NOW, &SystemEntropy), "subject_jti": TokenId::new(NOW, &SystemEntropy),
    });
    let verify = |act: &Value| house.verifier.verify(&house.with("act", act.clone()), NOW).map(|_| ());
    let with = |name: &str, value: Value| {
        let mut act = good.clone();
        act[name] = value;
        act
    };
    assert_eq!(verify(&good), Ok(()));
    assert!(Unverified::read(&house.with("act", good.clone())).unwrap().actor.is_some());
    for name in good.as_object().unwrap().keys() {
        let mut act = good.clone();
        act.as_object_mut().unwrap().remove(name);
        assert_eq!(verify(&act), Err(TokenError::Malformed), "{name}");
        assert_eq!(verify(&with(name, Value::Null)), Err(TokenError::Malformed), "{name}");
    }
    for act in [json!(null), json!({}), json!([]), json!("x"), json!([good])] {
        assert_eq!(verify(&act), Err(TokenError::Malformed), "{act}");
    }
    // RFC 8693 lets actors nest; here there is one.
    assert_eq!(verify(&with("act", good.clone())), Err(TokenError::Malformed));
    assert_eq!(verify(&with("sub", json!(house.user))), Err(TokenError::Malformed));
    assert_eq!(verify(&with("auth_time", json!(NOW.seconds() + 1))), Err(TokenError::Malformed));
    let old = NOW.seconds() - MAX_LIFETIME_MS / 1000;
    assert_eq!(verify(&with("auth_time", json!(old))), Err(TokenError::TooLong));
}

fn facts(pair: &Pair) -> Facts {
    let tenant = pair.house.tenant;
    let user = |name: &str, kind| {
        Arc::new(User {
            tenant,
            name: Name::new(name).unwrap(),
            roles: vec![],
            attributes: BTreeMap::new(),
            ssh_keys: vec![],
            changed: NOW,
            kind,
            external: None,
            expires: None,
        })
    };
    let northwind = Tenant { name: Name::new("northwind").unwrap(), created: NOW };
    let users =
        [(pair.subject.user(), user("nancy", UserKind::Person)), (pair.actor.user(), user("copilot", UserKind::Agent))];
    Facts {
        tenants: Arc::new(HashMap::from([(tenant, northwind)])),
        users: Arc::new(HashMap::from(users)),
        ..Facts::default()
    }
}

fn answer(introspection: &Introspection) -> Value {
    serde_json::to_value(introspection).unwrap()
}

#[test]
fn introspection_says_what_the_token_says_and_who_they_are() {
    let pair = pair();
    let now = NOW.plus_ms(120_000);
    let facts = facts(&pair);
    let verifier = &pair.house.verifier;
    let plain = answer(&verifier.introspect(&pair.subject, &facts, now));
    let member = |value: &Value, name: &str| value.get(name).cloned();
    assert_eq!(plain["active"], true);
    assert_eq!((&plain["username"], &plain["client_id"]), (&json!("nancy"), &json!("countersign")));
    assert_eq!(
        (&plain["token_type"], &plain["iss"], &plain["aud"]),
        (&json!("Bearer"), &json!(super::HERE), &json!(super::HERE))
    );
    assert_eq!((&plain["exp"], &plain["iat"]), (&json!(pair.subject.expires().seconds()), &json!(NOW.seconds())));
    assert_eq!((&plain["sub"], &plain["jti"]), (&json!(pair.subject.user()), &json!(pair.subject.token())));
    assert_eq!((&plain["tenant"], &plain["sid"]), (&json!(pair.house.tenant), &json!(pair.subject.session())));
    for absent in ["act", "cnf", "authorization_details", "known"] {
        assert_eq!(member(&plain, absent), None, "{absent}");
    }

    let read_only = Narrowing { actions: Some(vec![Action::Read]), ..Narrowing::default() };
    let minter = pair.house.minter.bound_to(Some(Binding::Jkt([7; 32])));
    let minted = minter.exchange(&pair.subject, &pair.actor, &read_only, None, now, &SystemEntropy).unwrap();
    let acting = verifier.verify(minted.token(), now).unwrap();
    let said = answer(&verifier.introspect(&acting, &facts, now));
    assert_eq!(said["act"], json!({"sub": pair.actor.user(), "username": "copilot"}));
    assert_eq!(said["cnf"], json!({"jkt": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"}));
    assert_eq!(said["token_type"], "DPoP");
    assert_eq!(said["authorization_details"], json!([{"type": "countersign", "actions": ["read"]}]));
}

#[test]
fn of_a_token_that_is_not_active_nothing_is_said() {
    let pair = pair();
    let now = NOW.plus_ms(120_000);
    let acting = pair.exchange(&Narrowing::default(), None, now);
    let said = |facts: &Facts, now| answer(&pair.house.verifier.introspect(&acting, facts, now));
    let inactive = json!({"active": false});
    assert_eq!(said(&facts(&pair), now)["active"], true);
    assert_eq!(answer(&Introspection::INACTIVE), inactive);
    assert_eq!(said(&facts(&pair), acting.expires()), inactive);
    assert_eq!(said(&Facts::default(), now), inactive);
    for gone in [pair.subject.user(), pair.actor.user()] {
        let mut without = facts(&pair);
        Arc::make_mut(&mut without.users).remove(&gone);
        assert_eq!(said(&without, now), inactive);
        let mut moved = facts(&pair);
        let user = Arc::make_mut(&mut moved.users).get_mut(&gone).unwrap();
        Arc::make_mut(user).tenant = TenantId::new(NOW, &SystemEntropy);
        assert_eq!(said(&moved, now), inactive);
        let mut revoked = facts(&pair);
        Arc::make_mut(&mut revoked.revocations).users.insert(gone, now);
        assert_eq!(said(&revoked, now), inactive);
    }
    let mut without = facts(&pair);
    without.tenants = Arc::default();
    assert_eq!(said(&without, now), inactive);
}
