//! Tokens that are bound to a key, and tokens with which one acts for another.

use countersign_crypto::dpop::ProofKey;
use countersign_model::facts::UserKind;
use countersign_token::Binding;

use super::*;

const URL: &str = "https://here/rest/paper";

impl House {
    fn bound(&self, token: &str, binding: Binding) -> String {
        let verified = self.guard.parts.verifier.verify(token, self.clock.now()).unwrap();
        let minter = self.minter.bound_to(Some(binding));
        minter.narrow(&verified, &Narrowing::default(), None, self.clock.now(), &SystemEntropy).unwrap().into_token()
    }

    fn peer(&self, key: &ProofKey, token: &str) -> Peer {
        let proof = key.sign("GET", URL, Some(token), self.clock.now(), &SystemEntropy).unwrap();
        let dpop = Dpop { proof, method: "GET".into(), url: URL.into() };
        Peer { dpop: Some(dpop), ..Peer::default() }
    }

    async fn admit(&self, token: &str, peer: &Peer) -> Result<Permit, Refusal> {
        self.guard.admit(Some(Bearer::new(token.to_owned())), peer, request(read(&["id"]))).await
    }

    /// The admin of acme, for whom somebody called `actor` of that tenant acts.
    fn acting(&self, actor: &str, of: &str) -> String {
        let verify = |token: String| self.guard.parts.verifier.verify(&token, self.clock.now()).unwrap();
        let (subject, actor) = (verify(self.token("admin", "acme")), verify(self.token(actor, of)));
        let now = self.clock.now();
        let minted = self.minter.exchange(&subject, &actor, &Narrowing::default(), None, now, &SystemEntropy);
        minted.unwrap().into_token()
    }

    /// Makes `user` of acme one of this kind.
    fn is(&self, user: &str, kind: UserKind) {
        self.change(|facts| {
            let id = facts.user_names[&(facts.tenant_names[&name("acme")], name(user))];
            let users = Arc::make_mut(&mut facts.users);
            Arc::make_mut(users.get_mut(&id).unwrap()).kind = kind;
        });
    }
}

#[tokio::test]
async fn a_bound_token_without_its_proof_is_refused_and_who_sent_it_is_on_record() {
    let house = House::new();
    let key = ProofKey::generate(&SystemEntropy).unwrap();
    let unbound = house.token("clerk", "acme");
    let token = house.bound(&unbound, Binding::Jkt(key.jkt()));
    assert_eq!(house.admit(&token, &Peer::default()).await.err(), Some(Refusal::Unbound));
    let record = house.last();
    assert_eq!((record.verdict, record.body.reason), (Verdict::Refused, Some(Reason::Unbound)));
    assert_eq!(record.body.user_name.as_deref(), Some("clerk"));

    let proved = house.peer(&key, &token);
    assert!(house.admit(&token, &proved).await.is_ok());
    assert_eq!(house.admit(&token, &proved).await.err(), Some(Refusal::Unbound), "a proof is good once");
    assert!(house.admit(&token, &house.peer(&key, &token)).await.is_ok());

    let thief = ProofKey::generate(&SystemEntropy).unwrap();
    assert_eq!(house.admit(&token, &house.peer(&thief, &token)).await.err(), Some(Refusal::Unbound));
    assert_eq!(house.admit(&token, &house.peer(&key, &unbound)).await.err(), Some(Refusal::Unbound));
    let elsewhere = Dpop { url: "https://here/rest/other".into(), ..house.peer(&key, &token).dpop.unwrap() };
    let elsewhere = Peer { dpop: Some(elsewhere), ..Peer::default() };
    assert_eq!(house.admit(&token, &elsewhere).await.err(), Some(Refusal::Unbound));
    house.clock.advance_ms(61_000);
    assert_eq!(house.admit(&token, &proved).await.err(), Some(Refusal::Unbound));

    // An unbound token needs none, and a revoked one is revoked whatever it proves.
    assert!(house.admit(&unbound, &Peer::default()).await.is_ok());
    let verified = house.guard.parts.verifier.verify(&token, house.clock.now()).unwrap();
    house.change(|facts| {
        Arc::make_mut(&mut facts.revocations).sessions.insert((verified.tenant(), verified.session()), UnixMs(1));
    });
    assert_eq!(house.admit(&token, &house.peer(&key, &token)).await.err(), Some(Refusal::Revoked));
}

#[tokio::test]
async fn a_token_of_a_certificate_comes_on_its_connection() {
    let house = House::new();
    let token = house.bound(&house.token("clerk", "acme"), Binding::Certificate([5; 32]));
    let peer = |certificate| Peer { certificate, ..Peer::default() };
    assert!(house.admit(&token, &peer(Some([5; 32]))).await.is_ok());
    assert_eq!(house.admit(&token, &peer(Some([6; 32]))).await.err(), Some(Refusal::Unbound));
    assert_eq!(house.admit(&token, &peer(None)).await.err(), Some(Refusal::Unbound));
}

/// For an endpoint that takes two tokens with one proof, which can name one token at most.
#[tokio::test]
async fn a_proof_that_was_checked_before_stands_for_every_token_of_its_key_and_for_no_other() {
    let house = House::new();
    let (one, other) = (Binding::Jkt([1; 32]), Binding::Jkt([2; 32]));
    let unbound = house.token("clerk", "acme");
    let token = house.bound(&unbound, one);
    let admit = |token: &str, proved| {
        house.guard.admit_proved(Some(Bearer::new(token.to_owned())), proved, request(read(&["id"])))
    };
    for again in 0..2 {
        assert!(admit(&token, Some(one)).await.is_ok(), "{again}");
    }
    for proved in [None, Some(other), Some(Binding::Certificate([1; 32]))] {
        assert_eq!(admit(&token, proved).await.err(), Some(Refusal::Unbound));
        assert!(admit(&unbound, proved).await.is_ok());
    }
}

/// Behind the gateway the certificate of the service that carries it stands for the proof.
#[tokio::test]
async fn services_behind_judge_a_bound_token_without_a_proof() {
    let house = House::new();
    let token = house.bound(&house.token("clerk", "acme"), Binding::Jkt([1; 32]));
    let bearer = Bearer::new(token);
    assert!(house.guard.judge(&bearer, &request(read(&["id"]))).is_ok());
    assert!(house.guard.judge_again(&bearer, &request(read(&["id"])), 7).await.is_ok());
    assert!(house.guard.identify(&bearer, RequestId::from_u128(9), "seal_key").await.is_ok());
}

#[tokio::test]
async fn who_acts_for_somebody_may_what_both_may_and_both_are_on_record() {
    let house = House::new();
    house.is("clerk", UserKind::Agent);
    let token = house.acting("clerk", "acme");
    let fields = |token: &str, fields: &[&str]| house.judge(token, read(fields)).map(|_| ());
    assert!(fields(&house.token("admin", "acme"), &["id", "title", "secret"]).is_ok());
    assert_eq!(fields(&token, &["id", "title"]), Ok(()));
    assert_eq!(fields(&token, &["secret"]), Err(Refusal::Forbidden));
    // The plan of the two is not taken for the plan of the one, in either order.
    assert_eq!(fields(&house.token("admin", "acme"), &["secret"]), Ok(()));
    assert_eq!(fields(&token, &["secret"]), Err(Refusal::Forbidden));

    let permit = house.admit(&token, &Peer::default()).await.unwrap();
    let (user, actor) = (permit.principal().user, permit.principal().actor.as_ref().unwrap().user);
    permit.settle(crate::Settlement::default()).await.unwrap();
    let body = house.last().body;
    assert_eq!((body.user, body.on_behalf_of), (Some(actor), Some(user)));
    assert_eq!(body.user_name.as_deref(), Some("clerk"));
}

#[tokio::test]
async fn only_a_service_or_an_agent_of_the_same_tenant_acts() {
    let house = House::new();
    house.is("clerk", UserKind::Agent);
    let token = house.acting("clerk", "acme");
    let judged = |house: &House| house.judge(&token, read(&["id"])).map(|_| ()).err();
    assert_eq!(judged(&house), None);
    for (kind, expected) in
        [(UserKind::Service, None), (UserKind::Person, Some(Refusal::UnknownPrincipal)), (UserKind::Agent, None)]
    {
        house.is("clerk", kind);
        assert_eq!(judged(&house), expected);
    }
    let clerk = |facts: &Facts| facts.user_names[&(facts.tenant_names[&name("acme")], name("clerk"))];
    let globex = house.cell.load().facts.tenant_names[&name("globex")];
    let users = Arc::clone(&house.cell.load().facts.users);
    house.change(|facts| {
        let id = clerk(facts);
        Arc::make_mut(Arc::make_mut(&mut facts.users).get_mut(&id).unwrap()).tenant = globex;
    });
    assert_eq!(judged(&house), Some(Refusal::UnknownPrincipal));
    house.change(|facts| {
        let id = clerk(facts);
        Arc::make_mut(&mut facts.users).remove(&id);
    });
    assert_eq!(judged(&house), Some(Refusal::UnknownPrincipal));
    house.change(|facts| {
        facts.users = users;
        let id = clerk(facts);
        Arc::make_mut(&mut facts.revocations).users.insert(id, UnixMs(u64::MAX));
    });
    assert_eq!(judged(&house), Some(Refusal::Revoked));
}

#[tokio::test]
async fn who_acts_for_somebody_ends_no_login_and_manages_what_both_may() {
    let house = House::new();
    house.is("clerk", UserKind::Agent);
    let token = house.acting("clerk", "acme");
    let may = |control| house.judge(&token, Operation::Control(control)).map(|_| ());
    assert_eq!(may(Control::WhoAmI), Ok(()));
    assert_eq!(may(Control::RevokeOwn { session: false }), Ok(()));
    assert_eq!(may(Control::RevokeOwn { session: true }), Err(Refusal::Forbidden));
    assert_eq!(may(Control::UserList { tenant: None }), Err(Refusal::Forbidden));
    let admin = house.token("admin", "acme");
    assert!(house.judge(&admin, Operation::Control(Control::UserList { tenant: None })).is_ok());
    assert!(house.judge(&admin, Operation::Control(Control::RevokeOwn { session: true })).is_ok());
}
