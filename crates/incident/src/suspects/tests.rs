use countersign_audit::{Exposure, Service, Signal, Verdict};
use countersign_model::{SessionId, TenantId, TokenId, UnixMs, UserId};

use super::Suspects;
use crate::testing::exposure;

/// The authority's record of a request in which `token` was made into `child`.
fn made(place: u64, request: u128, (token, session): (u128, u128), child: u128) -> Exposure {
    let mut record = exposure(place, Service::Authority, Verdict::Released, request, (token, session));
    if let Some(signal) = &mut record.signal {
        signal.action = "use_own_token".into();
        signal.credential = Some(Signal::digest(&Signal::made(TokenId::from_u128(child))));
    }
    record
}

fn are(suspects: &Suspects, token: u128) -> bool {
    suspects.are(&Signal { token: Some(TokenId::from_u128(token)), ..Signal::default() })
}

#[test]
fn children_of_a_token_count_and_its_siblings_do_not() {
    let mut suspects = Suspects::token(TokenId::from_u128(2));
    // 1 is the login's; 2 and 3 were made from it, 4 from 2, 5 from 4, 6 from 3.
    let authority = [
        made(0, 10, (1, 50), 2),
        made(1, 11, (1, 50), 3),
        made(2, 12, (2, 50), 4),
        made(3, 13, (4, 50), 5),
        made(4, 14, (3, 50), 6),
    ];
    suspects.learn(&authority);
    assert_eq!([1, 2, 3, 4, 5, 6].map(|token| are(&suspects, token)), [false, true, false, true, true, false]);
    let selector = suspects.selector(UnixMs(5), None);
    assert!(selector.sessions.contains(&SessionId::from_u128(50)));
    assert!(suspects.made_tokens());
}

#[test]
fn a_token_that_was_made_into_none_is_asked_for_alone() {
    let mut suspects = Suspects::token(TokenId::from_u128(2));
    let mut refused = made(2, 12, (2, 50), 4);
    refused.verdict = Verdict::Refused;
    suspects.learn(&[made(0, 10, (1, 50), 2), refused]);
    let selector = suspects.selector(UnixMs(5), Some(UnixMs(9)));
    assert_eq!((selector.tokens, selector.sessions), (vec![TokenId::from_u128(2)], vec![]));
    assert_eq!((selector.since, selector.until), (UnixMs(5), Some(UnixMs(9))));
}

#[test]
fn who_acts_for_somebody_gets_a_token_of_that_ones_login() {
    let mut suspects = Suspects::token(TokenId::from_u128(2));
    // The actor's record of the exchange and the subject's: one request, two logins, one new token.
    suspects.learn(&[made(0, 10, (2, 50), 7), made(1, 10, (3, 60), 7)]);
    assert!(are(&suspects, 7) && !are(&suspects, 3));
    assert!(suspects.selector(UnixMs(0), None).sessions.contains(&SessionId::from_u128(60)));
}

#[test]
fn a_session_a_user_and_a_tenant_count_as_a_whole() {
    let record = exposure(0, Service::Gateway, Verdict::Released, 1, (2, 50));
    let signal = record.signal.clone().unwrap();
    assert!(Suspects::session(SessionId::from_u128(50)).are(&signal));
    assert!(Suspects::user(UserId::from_u128(99)).are(&signal));
    let acted_for = Signal { user: None, on_behalf_of: Some(UserId::from_u128(99)), ..signal.clone() };
    assert!(Suspects::user(UserId::from_u128(99)).are(&acted_for));
    assert!(!Suspects::session(SessionId::from_u128(51)).are(&signal));
    assert!(Suspects::tenant(TenantId::from_u128(7)).count(&record));
    assert!(!Suspects::tenant(TenantId::from_u128(8)).count(&record));
}
