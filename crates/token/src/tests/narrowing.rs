//! The laws of narrowing, on random chains of it.

use std::sync::atomic::AtomicU64;

use countersign_crypto::SystemEntropy;
use countersign_model::request::{Action, Narrowing};
use countersign_model::{Name, UnixMs};

use super::{Dice, House, NOW};
use crate::{MAX_LIFETIME_MS, MintError};

fn some_of<T: Clone>(dice: &Dice, all: &[T]) -> Option<Vec<T>> {
    if dice.roll(3) == 0 {
        return None;
    }
    Some(all.iter().filter(|_| dice.roll(3) != 0).cloned().collect())
}

fn names() -> Vec<Name> {
    ["customer", "invoice", "company", "country", "phone"].map(|text| Name::new(text).unwrap()).to_vec()
}

pub(super) fn random(dice: &Dice) -> Narrowing {
    Narrowing {
        actions: some_of(dice, &Action::ALL),
        types: some_of(dice, &names()),
        fields: some_of(dice, &names()),
        purpose: (dice.roll(2) == 0).then(|| format!("call {}", dice.roll(10))),
    }
}

#[test]
fn a_narrowed_token_may_do_what_every_limit_on_its_way_admits_and_nothing_else() {
    let house = House::new();
    let dice = Dice(AtomicU64::new(7));
    for _ in 0..60 {
        let mut now = NOW;
        let mut parent = house.login(now);
        let mut chain: Vec<Narrowing> = Vec::new();
        for _ in 0..4 {
            now = now.plus_ms(dice.roll(3_600_000));
            let narrowing = random(&dice);
            let lifetime = (dice.roll(2) == 0).then(|| 1000 + dice.roll(2 * MAX_LIFETIME_MS));
            let minted = match house.minter.narrow(&parent, &narrowing, lifetime, now, &dice) {
                Err(MintError::TooShort) => break,
                minted => minted.unwrap(),
            };
            let child = house.verifier.verify(minted.token(), now).unwrap();
            chain.push(narrowing);

            assert!(child.expires() <= parent.expires());
            if let Some(ms) = lifetime {
                assert!(child.expires() <= now.plus_ms(ms));
            }
            assert_ne!(child.token(), parent.token());
            assert_eq!((child.session(), child.user(), child.tenant()), (house.session, house.user, house.tenant));
            assert_eq!(child.logged_in(), parent.logged_in());

            for action in Action::ALL {
                for name in &names() {
                    let every = chain.iter().all(|limit| limit.admits(action, name));
                    assert_eq!(child.narrowing().admits(action, name), every);
                }
            }
            for field in &names() {
                let admits = |limit: &Narrowing| limit.fields.as_ref().is_none_or(|fields| fields.contains(field));
                assert_eq!(admits(child.narrowing()), chain.iter().all(admits));
            }
            let purpose = chain.iter().rev().find_map(|limit| limit.purpose.clone());
            assert_eq!(child.narrowing().purpose, purpose);
            parent = child;
        }
    }
}

#[test]
fn nothing_left_is_not_nothing_limited() {
    let house = House::new();
    let parent = house.login(NOW);
    let empty = Narrowing { actions: Some(vec![]), types: Some(vec![]), fields: Some(vec![]), purpose: None };
    let minted = house.minter.narrow(&parent, &empty, None, NOW, &SystemEntropy).unwrap();
    let child = house.verifier.verify(minted.token(), NOW).unwrap();
    assert_eq!(**child.narrowing(), empty);
}

#[test]
fn limits_that_do_not_fit() {
    let house = House::new();
    let parent = house.login(NOW);
    let narrow = |narrowing: &Narrowing, ms, at: UnixMs| {
        house.minter.narrow(&parent, narrowing, ms, at, &SystemEntropy).map(|_| ())
    };
    let purpose = |text: &str| Narrowing { purpose: Some(text.to_owned()), ..Default::default() };
    assert_eq!(narrow(&purpose(&"x".repeat(257)), None, NOW), Err(MintError::Purpose));
    assert_eq!(narrow(&purpose("two\nlines"), None, NOW), Err(MintError::Purpose));
    let many = (0..400).map(|n| Name::new(&format!("a-rather-long-name-{n}")).unwrap()).collect();
    assert_eq!(narrow(&Narrowing { fields: Some(many), ..Default::default() }, None, NOW), Err(MintError::TooLarge));
    assert_eq!(narrow(&Narrowing::default(), Some(0), NOW), Err(MintError::TooShort));
    assert_eq!(narrow(&Narrowing::default(), None, parent.expires()), Err(MintError::TooShort));
    assert_eq!(narrow(&Narrowing::default(), Some(u64::MAX), NOW), Ok(()));
}
