mod platforms;

use countersign_audit::LedgerQuery;
use countersign_crypto::SystemEntropy;
use countersign_crypto::spiffe;
use countersign_crypto::x509::WorkloadKey;
use countersign_model::control::Control;
use serde_json::{Value, json};

use super::*;
use crate::ControlFailure;
use crate::tests::{Failed, Home, House, NOW, is_forbidden, name};

fn key() -> WorkloadKey {
    WorkloadKey::generate().unwrap()
}

fn csr() -> Vec<u8> {
    key().request().unwrap().as_der().to_vec()
}

fn again(token: &JoinToken) -> JoinToken {
    token.expose().parse().unwrap()
}

impl House {
    fn request(&self) -> RequestId {
        RequestId::new(self.now(), &SystemEntropy)
    }

    async fn joins(&self, proof: JoinProof, role: &str, certificate_request: Vec<u8>) -> Result<Issued, JoinRefused> {
        let address = Some("127.0.0.9".parse().unwrap());
        let request = self.request();
        self.authority.join(JoinRequest { request, proof, role: role.to_owned(), certificate_request, address }).await
    }

    async fn joins_with(&self, token: &JoinToken, role: &str) -> Result<Issued, JoinRefused> {
        self.joins(JoinProof::Token(again(token)), role, csr()).await
    }

    async fn joined(&self, role: &str, instance: &str) -> Issued {
        let token = self.authority.new_join_token(role, Some(instance)).await.unwrap();
        self.joins_with(&token, role).await.unwrap()
    }

    async fn renews(&self, issued: &Issued) -> Result<Issued, JoinRefused> {
        self.authority.renew(self.request(), &peer(issued), &csr(), None).await
    }

    /// The deployment's own records of this action, oldest first.
    fn records(&self, action: &str) -> Vec<Record> {
        let records = self.ledgers[1].query(None, &LedgerQuery::default()).unwrap();
        records.into_iter().map(|(_, record)| record).filter(|record| record.body.action == action).collect()
    }

    async fn operates(&self, control: Control) -> Result<Value, Failed> {
        let operator = self.operator_token().await;
        self.ask(&operator, control).await
    }
}

/// As the handshake gives it.
fn peer(issued: &Issued) -> tls::Peer {
    let leaf = &issued.chain_der[0];
    tls::Peer {
        id: spiffe::of_certificate(leaf).unwrap(),
        sha256: tls::certificate_sha256(leaf),
        expires: issued.expires,
    }
}

#[tokio::test]
async fn a_token_lets_one_service_in_once() {
    let house = House::new().await;
    let token = house.authority.new_join_token("keys", Some("keys-1")).await.unwrap();
    assert_eq!(token.ca_sha256(), house.registry.ca_sha256());
    let key = key();
    let request = key.request().unwrap().as_der().to_vec();
    let issued = house.joins(JoinProof::Token(again(&token)), "keys", request).await.unwrap();
    assert_eq!(issued.id.to_string(), "spiffe://countersign/keys/keys-1");
    assert_eq!(issued.ca_pem, house.registry.ca_pem());
    assert_eq!(tls::pem_sha256(&issued.ca_pem), Some(token.ca_sha256()));
    assert_eq!(issued.expires.seconds(), NOW.plus_ms(DEFAULT_CERTIFICATE_MS).seconds());
    assert_eq!(peer(&issued).id, issued.id);
    assert!(tls::CertificateSlot::new(&key.with_chain(issued.chain_der).unwrap()).is_ok());
    assert_eq!(house.joins_with(&token, "keys").await, Err(JoinRefused::Refused));

    let records = house.records("join_service");
    assert_eq!(records.len(), 2);
    assert_eq!((records[0].verdict, records[0].body.reason), (Verdict::Released, None));
    assert_eq!(records[0].body.user_name.as_deref(), Some("spiffe://countersign/keys/keys-1"));
    let detail = records[0].body.detail.as_deref().unwrap();
    assert!(detail.starts_with(&format!("join token {}; from 127.0.0.9; certificate ", hex::encode(token.id()))));
    assert_eq!((records[1].verdict, records[1].body.reason), (Verdict::Refused, Some(Reason::BadProof)));
    assert_eq!(records[1].body.user_name, None);
    let text = token.expose();
    let secret = text.strip_prefix("csj1.").unwrap();
    assert!(records.iter().all(|record| !format!("{record:?}").contains(secret)));
}

#[tokio::test]
async fn a_token_is_good_for_ten_minutes_one_role_and_with_its_secret_only() {
    let house = House::new().await;
    let token = house.authority.new_join_token("gateway", None).await.unwrap();
    // Another's secret under its name.
    let mut altered = again(&token).expose().to_string();
    altered.replace_range(40..44, if &altered[40..44] == "AAAA" { "BBBB" } else { "AAAA" });
    assert_eq!(house.joins_with(&altered.parse().unwrap(), "gateway").await, Err(JoinRefused::Refused));
    for role in ["store", "keys", "authority", "", "Gateway"] {
        assert_eq!(house.joins_with(&token, role).await, Err(JoinRefused::Refused), "{role}");
    }
    let unknown = JoinToken::generate(&SystemEntropy, house.registry.ca_sha256());
    assert_eq!(house.joins_with(&unknown, "gateway").await, Err(JoinRefused::Refused));
    // A request that is no good doesn't use it up.
    for bad in [vec![], vec![0x30; 100]] {
        assert_eq!(house.joins(JoinProof::Token(again(&token)), "gateway", bad).await, Err(JoinRefused::Request));
    }
    house.clock.advance_ms(JOIN_TOKEN_MS - 1);
    let issued = house.joins_with(&token, "gateway").await.unwrap();
    assert!(issued.id.instance().starts_with("gateway-") && issued.id.instance().len() == 18);
    let late = house.authority.new_join_token("gateway", None).await.unwrap();
    house.clock.advance_ms(JOIN_TOKEN_MS);
    assert_eq!(house.joins_with(&late, "gateway").await, Err(JoinRefused::Refused));
}

#[tokio::test]
async fn of_two_that_bring_the_same_token_at_once_one_joins() {
    let house = House::new().await;
    let token = house.authority.new_join_token("keys", None).await.unwrap();
    let (one, two) = tokio::join!(house.joins_with(&token, "keys"), house.joins_with(&token, "keys"));
    assert_eq!([one, two].iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

#[tokio::test]
async fn tokens_and_services_outlive_a_restart_and_the_file_shows_neither() {
    let house = House::new().await;
    let used = house.authority.new_join_token("keys", Some("k1")).await.unwrap();
    let waiting = house.authority.new_join_token("store", Some("secretive-name")).await.unwrap();
    let issued = house.joins_with(&used, "keys").await.unwrap();
    house.joined("store", "another-secretive-name").await;
    let house = house.reopened().await;
    assert_eq!(house.joins_with(&used, "keys").await, Err(JoinRefused::Refused));
    assert!(house.renews(&issued).await.is_ok());
    let file = std::fs::read(house.dir.path().join("control.db")).unwrap();
    for hidden in [&b"secretive-name"[..], &waiting.secret_sha256()] {
        assert!(!file.windows(hidden.len()).any(|window| window == hidden));
    }
    assert!(house.joins_with(&waiting, "store").await.is_ok());
}

#[tokio::test]
async fn a_certificate_is_renewed_under_its_own_name_while_it_is_good() {
    let house = House::new().await;
    let first = house.joined("store", "s1").await;
    house.clock.advance_ms(DEFAULT_CERTIFICATE_MS / 2);
    let second = house.renews(&first).await.unwrap();
    assert_eq!(second.id, first.id);
    assert!(second.expires > first.expires);
    house.clock.advance_ms(DEFAULT_CERTIFICATE_MS / 2);
    assert_eq!(house.renews(&first).await, Err(JoinRefused::Refused), "it has expired");
    assert!(house.renews(&second).await.is_ok());
    let records = house.records("renew_certificate");
    assert_eq!(records.iter().filter(|record| record.verdict == Verdict::Released).count(), 2);
    assert!(records.iter().all(|record| record.body.user_name.as_deref() == Some("spiffe://countersign/store/s1")));
}

#[tokio::test]
async fn nobody_is_renewed_who_did_not_join_or_is_the_authority_or_from_elsewhere() {
    let house = House::new().await;
    let good = peer(&house.joined("store", "s1").await);
    let strangers =
        ["spiffe://countersign/store/s2", "spiffe://elsewhere/store/s1", "spiffe://countersign/authority/a"];
    for id in strangers {
        let peer = tls::Peer { id: id.parse().unwrap(), ..good.clone() };
        let renewed = house.authority.renew(house.request(), &peer, &csr(), None).await;
        assert_eq!(renewed, Err(JoinRefused::Refused), "{id}");
    }
    let renewed = house.authority.renew(house.request(), &good, &[1, 2, 3], None).await;
    assert_eq!(renewed, Err(JoinRefused::Request));
    for role in ["authority", "operator", "", "a/b"] {
        let invited = house.authority.new_join_token(role, None).await;
        assert!(matches!(invited, Err(ControlFailure::Invalid { .. })), "{role}");
    }
    for instance in ["", "a/b", "..", "Keys", "1", &"x".repeat(64)] {
        assert!(house.authority.new_join_token("keys", Some(instance)).await.is_err(), "{instance}");
    }
}

#[tokio::test]
async fn the_authority_certifies_itself() {
    let house = House::new().await;
    let issued = house.authority.own_certificate(house.request(), "main", &csr()).await.unwrap();
    assert_eq!(issued.id.to_string(), "spiffe://countersign/authority/main");
    assert_eq!(tls::certificate_sha256(&issued.chain_der[1]), house.registry.ca_sha256());
    assert_eq!(house.authority.own_certificate(house.request(), "a/b", &csr()).await, Err(JoinRefused::Request));
}

#[tokio::test]
async fn services_in_its_own_process_need_no_token_and_can_be_removed_like_others() {
    let house = House::new().await;
    let certified = |role: &'static str, instance: &'static str| {
        let (authority, request) = (Arc::clone(&house.authority), house.request());
        async move { authority.inside_certificate(request, role, instance, &csr()).await }
    };
    let issued = certified("store", "main").await.unwrap();
    assert_eq!(issued.id.to_string(), "spiffe://countersign/store/main");
    assert_eq!(certified("store", "main").await.unwrap().id, issued.id);
    assert!(house.renews(&issued).await.is_ok());
    let list = house.operates(Control::ServiceList).await.unwrap();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["joined_by"]), (1, &json!("same process")));
    for (role, instance) in [("authority", "main"), ("operator", "main"), ("store", "a/b")] {
        assert_eq!(certified(role, instance).await, Err(JoinRefused::Refused), "{role}/{instance}");
    }
    house.operates(Control::ServiceRemove { role: name("store"), name: name("main") }).await.unwrap();
    assert_eq!(certified("store", "main").await, Err(JoinRefused::Refused));
}

#[tokio::test]
async fn no_record_no_certificate() {
    let house = House::new().await;
    let token = house.authority.new_join_token("keys", Some("k1")).await.unwrap();
    let issued = house.joined("store", "s1").await;
    house.ledgers[1].close().await;
    assert_eq!(house.joins_with(&token, "keys").await, Err(JoinRefused::Unavailable));
    assert_eq!(house.renews(&issued).await, Err(JoinRefused::Unavailable));
    let own = house.authority.own_certificate(house.request(), "main", &csr()).await;
    assert_eq!(own, Err(JoinRefused::Unavailable));
}

#[tokio::test]
async fn a_token_that_could_not_be_used_up_lets_nobody_in() {
    let house = House::new().await;
    let token = house.authority.new_join_token("keys", Some("k1")).await.unwrap();
    house.registry.stop_writing();
    assert_eq!(house.joins_with(&token, "keys").await, Err(JoinRefused::Unavailable));
}

#[tokio::test]
async fn operators_invite_list_and_remove() {
    let house = House::new().await;
    let invite = |role: &str, named: Option<&str>| Control::ServiceInvite { role: name(role), name: named.map(name) };
    let answer = house.operates(invite("gateway", Some("g1"))).await.unwrap();
    assert_eq!((&answer["role"], &answer["name"]), (&json!("gateway"), &json!("g1")));
    let token: JoinToken = answer["join_token"].as_str().unwrap().parse().unwrap();
    assert_eq!(house.operates(Control::ServiceList).await.unwrap(), json!([]));
    let issued = house.joins_with(&token, "gateway").await.unwrap();
    let list = house.operates(Control::ServiceList).await.unwrap();
    let until = crate::time::rfc3339(issued.expires);
    let expected = json!([{ "id": "spiffe://countersign/gateway/g1", "role": "gateway", "name": "g1",
        "joined": crate::time::rfc3339(house.now()), "joined_by": "join token", "certified_until": until }]);
    assert_eq!(list, expected);

    let remove = || Control::ServiceRemove { role: name("gateway"), name: name("g1") };
    let spare = house.authority.new_join_token("gateway", Some("g1")).await.unwrap();
    let epoch = house.registry.latest().facts.epoch;
    assert!(house.registry.removed_services().is_empty());
    assert_eq!(house.operates(remove()).await.unwrap(), expected[0]);
    // Servers hear of it with a new epoch.
    assert!(house.registry.latest().facts.epoch > epoch);
    let removed: Vec<_> = house.registry.removed_services().into_iter().collect();
    assert_eq!(removed, ["spiffe://countersign/gateway/g1"]);
    assert_eq!(house.renews(&issued).await, Err(JoinRefused::Refused));
    assert_eq!(house.joins_with(&spare, "gateway").await, Err(JoinRefused::Refused));
    assert_eq!(house.operates(Control::ServiceList).await.unwrap(), json!([]));
    assert!(house.operates(remove()).await.is_err());
    assert!(house.operates(invite("gateway", Some("g1"))).await.is_err());
    assert!(house.operates(invite("gateway", Some("g2"))).await.is_ok());

    let house = house.reopened().await;
    assert_eq!(house.registry.removed_services().len(), 1);
    assert_eq!(house.renews(&issued).await, Err(JoinRefused::Refused));
    // Once no certificate of it can be valid any more it is forgotten.
    house.clock.advance_ms(registry::REMEMBERED_MS + 1);
    assert!(house.registry.removed_services().is_empty());
    assert!(house.operates(invite("gateway", Some("g1"))).await.is_ok());
}

#[tokio::test]
async fn invitations_are_for_operators_and_their_tokens_on_no_record() {
    let house = House::new().await;
    let admin = house.tenant("northwind").await;
    let admin = house.token("andrew", "northwind", &admin).await;
    let (role, service) = (name("keys"), name("k1"));
    let controls = [
        Control::ServiceList,
        Control::ServiceInvite { role: role.clone(), name: None },
        Control::ServiceRemove { role: role.clone(), name: service.clone() },
    ];
    for control in controls {
        assert!(is_forbidden(&house.ask(&admin, control).await));
    }
    let invite = Control::ServiceInvite { role, name: Some(service) };
    let answer = house.operates(invite).await.unwrap();
    let token: JoinToken = answer["join_token"].as_str().unwrap().parse().unwrap();
    let operators = house.registry.latest().facts.tenant_names[&name("operators")];
    let records = house.ledgers[1].query(Some(operators), &LedgerQuery::default()).unwrap();
    let invited = records.iter().map(|(_, record)| record).rfind(|record| record.body.action == "manage_services");
    let detail = invited.unwrap().body.detail.clone().unwrap();
    assert_eq!(detail, format!("invite keys k1; join token {}", hex::encode(token.id())));
}

#[tokio::test]
async fn a_gateway_s_certificate_has_the_names_of_its_door() {
    let House { authority, dir, clock, registry, ledgers, store, guard, operator } = House::new().await;
    let rules = IdentityRules {
        gateway_names: vec!["countersign.example".into(), "192.0.2.1".into()],
        monitor_names: vec!["monitor.example".into()],
        certificate_ms: 10_000,
        ..Default::default()
    };
    let authority = Arc::new(Arc::into_inner(authority).unwrap().with_identity(rules).unwrap());
    let house = House { authority, dir, clock, registry, ledgers, store, guard, operator };
    let has_name = |issued: &Issued| issued.chain_der[0].windows(19).any(|window| window == b"countersign.example");
    let gateway = house.joined("gateway", "g1").await;
    assert!(has_name(&gateway) && has_name(&house.renews(&gateway).await.unwrap()));
    assert_eq!(gateway.expires.seconds(), NOW.plus_ms(10_000).seconds());
    assert!(!has_name(&house.joined("keys", "k1").await));
    let monitor = house.joined("monitor", "m1").await;
    assert!(!has_name(&monitor) && monitor.chain_der[0].windows(15).any(|window| window == b"monitor.example"));
}

#[tokio::test]
async fn a_deployment_has_one_trust_domain_from_the_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(countersign_model::clock::ManualClock::at(NOW));
    let parts = || crate::tests::registry_parts(dir.path(), &clock, crate::tests::kms(dir.path()));
    let operator = crate::tests::new_key().public().unwrap();
    let bad = crate::Registry::create_in(parts(), &operator, "Not a domain");
    assert!(matches!(bad, Err(crate::RegistryError::TrustDomain)));
    let registry = crate::Registry::create_in(parts(), &operator, "prod.example.org").unwrap();
    assert_eq!(&*registry.trust_domain(), "prod.example.org");
    drop(registry);
    assert_eq!(&*crate::Registry::open(parts()).unwrap().trust_domain(), "prod.example.org");
}

#[test]
fn a_proof_shows_no_secret() {
    let token = JoinToken::generate(&SystemEntropy, [0; 32]);
    let shown = format!("{:?} {:?}", JoinProof::Token(again(&token)), JoinProof::Platform("a.b.c".to_owned().into()));
    assert_eq!(shown, format!("JoinToken({}, ..) Platform(..)", hex::encode(token.id())));
}

#[tokio::test]
async fn a_second_key_service_or_store_is_not_invited() {
    let house = House::new().await;
    for role in ["keys", "store"] {
        let first = house.authority.new_join_token(role, Some("first")).await.unwrap();
        house.joins_with(&first, role).await.unwrap();
        for name in [None, Some("second")] {
            let refused = house.authority.new_join_token(role, name).await.err();
            assert!(matches!(refused, Some(ControlFailure::Exists { .. })), "{role} {name:?}");
        }
        // The one that is there, with a new key; or another, once it is gone.
        assert!(house.authority.new_join_token(role, Some("first")).await.is_ok());
        house.authority.service_remove(role, "first").await.map(|_| ()).unwrap();
        assert!(house.authority.new_join_token(role, Some("second")).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_database_has_everything_several_key_services_and_stores_share_it() {
    let house = House::new_in(Home::postgres().await).await;
    for role in ["keys", "store"] {
        for instance in ["first", "second", "third"] {
            assert_eq!(
                house.joined(role, instance).await.id.to_string(),
                format!("spiffe://countersign/{role}/{instance}")
            );
        }
        // One without a name gets one of its own; one that was removed keeps its name for an hour.
        let token = house.authority.new_join_token(role, None).await.unwrap();
        let unnamed = house.joins_with(&token, role).await.unwrap();
        assert!(!["first", "second", "third"].contains(&unnamed.id.instance()));
        house.authority.service_remove(role, "second").await.map(|_| ()).unwrap();
        let refused = house.authority.new_join_token(role, Some("second")).await.err();
        assert!(matches!(refused, Some(ControlFailure::Invalid { .. })), "{role}");
        assert!(house.authority.new_join_token(role, Some("first")).await.is_ok());
    }
    // That does not make other roles ones to join in.
    for role in ["authority", "nobody"] {
        let refused = house.authority.new_join_token(role, None).await.err();
        assert!(matches!(refused, Some(ControlFailure::Invalid { .. })), "{role}");
    }
}
