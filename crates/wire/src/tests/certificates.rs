//! Joining without a certificate, renewing with one, and certificates that change while calls go on.

use countersign_crypto::tls::Peer;
use countersign_crypto::x509::{CertificateRequest, Issued, JoinToken};
use countersign_identity::{Ask, IssueFailure, Issuer, Proof};
use std::net::IpAddr;

use super::*;
use crate::server::{Issue, Joining};
use crate::{Failed, RemoteIssuer, methods, pb};

struct Issuing {
    deployment: Arc<Deployment>,
    token: String,
}

impl Issuing {
    fn issue(&self, role: &str, certificate_request: &[u8]) -> Result<Issued, Failed> {
        let request =
            CertificateRequest::from_der(certificate_request).map_err(|_| Failed::Call(CallRefused::Malformed))?;
        let id = SpiffeId::new("test", role, "fresh").unwrap();
        let deployment = &self.deployment;
        let issued = deployment.ca.issue_workload(&request, &id, &[], deployment.clock.now(), HOUR_MS).unwrap();
        let ca_pem = deployment.ca.ca_pem().to_owned();
        Ok(Issued { id, chain_der: issued.chain_der, expires: issued.expires, ca_pem })
    }
}

#[async_trait]
impl Issue for Issuing {
    async fn join(&self, joining: Joining) -> Result<Issued, Failed> {
        assert!(joining.address.is_some_and(|address| address.is_loopback()));
        match joining.proof {
            Proof::Token(token) if *token.expose() == self.token => {
                self.issue(&joining.role, &joining.certificate_request)
            }
            _ => Err(Failed::Refused(Refusal::Forbidden)),
        }
    }

    async fn renew(&self, peer: &Peer, request: Vec<u8>, _: Option<IpAddr>) -> Result<Issued, Failed> {
        self.issue(peer.id.role(), &request)
    }
}

#[tokio::test]
async fn without_a_certificate_there_is_joining_and_nothing_else() {
    let deployment = Arc::new(Deployment::new());
    let fake = Arc::new(Fake::default());
    let token = JoinToken::generate(&SystemEntropy, deployment.ca.ca_sha256());
    let issuing = Issuing { deployment: Arc::clone(&deployment), token: token.expose().to_string() };
    let served = deployment.serve("authority", Parts { issuer: Some(Arc::new(issuing)), ..parts(&fake) }).await;
    let channel = deployment.joining(&served.address);
    let bearer = bearer();
    let (keys, records) = (RemoteKeys::new(channel.clone()), RemoteRecords::new(channel.clone()));
    let request = deployment.request();
    let call = call(&bearer, &request);
    let role = Some(Failed::Call(CallRefused::Role));
    assert_eq!(keys.try_release(&call).await.err(), role);
    assert_eq!(records.try_read(&call, &scan(1)).await.err(), role);
    assert_eq!(keys.try_seal_key(&bearer, SealPurpose::Audit).await.err(), role);
    let issuer = RemoteIssuer::new(channel.clone());
    let key = WorkloadKey::generate().unwrap();
    let asked = key.request().unwrap();
    assert_eq!(issuer.try_issue(Ask::Renew, &asked).await.err(), role);
    for method in methods::METHODS.iter().filter(|method| method.path != methods::JOIN.path) {
        let reply: Result<pb::Empty, _> = channel.unary(method, &pb::Empty {}).await;
        assert_eq!(reply.err(), role, "{}", method.path);
    }
    assert_eq!(fake.begun.load(Ordering::SeqCst), 0);

    let proof = Proof::Token(token.expose().parse().unwrap());
    let issued = issuer.issue(Ask::Join { proof: &proof, role: "store" }, &asked).await.unwrap();
    assert_eq!(issued.id.to_string(), "spiffe://test/store/fresh");
    assert_eq!(issued.ca_pem, deployment.ca.ca_pem());

    // With it, it renews over an ordinary connection.
    let slot = CertificateSlot::new(&key.with_chain(issued.chain_der).unwrap()).unwrap();
    let own = deployment.channel_with(&slot, "authority", &served.address, ChannelSettings::default());
    let next = WorkloadKey::generate().unwrap();
    let renewed = RemoteIssuer::new(own).issue(Ask::Renew, &next.request().unwrap()).await.unwrap();
    assert_eq!(renewed.id, issued.id);

    let wrong = Proof::Token(JoinToken::generate(&SystemEntropy, deployment.ca.ca_sha256()));
    let refused = issuer.issue(Ask::Join { proof: &wrong, role: "store" }, &asked).await;
    assert_eq!(refused.err(), Some(IssueFailure::Refused));
    let wrong = Proof::Platform("no token".to_owned().into());
    let refused = issuer.issue(Ask::Join { proof: &wrong, role: "store" }, &asked).await;
    assert_eq!(refused.err(), Some(IssueFailure::Refused));
}

/// Lifetimes of four seconds, both ends renewed again and again under load: no call fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_and_no_call_fails() {
    const LIFETIME_MS: u64 = 4_000;
    let deployment = Arc::new(Deployment::new());
    let fake = Arc::new(Fake::default());
    let served = deployment.serve("keys", parts(&fake)).await;
    served.slot.replace(&deployment.certificate("keys", LIFETIME_MS)).unwrap();
    let slot = CertificateSlot::new(&deployment.certificate("gateway", LIFETIME_MS)).unwrap();
    let channel = deployment.channel_with(&slot, "keys", &served.address, ChannelSettings::default());
    let renewing = {
        let (deployment, client, server) = (Arc::clone(&deployment), Arc::clone(&slot), Arc::clone(&served.slot));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(LIFETIME_MS / 2)).await;
                client.replace(&deployment.certificate("gateway", LIFETIME_MS)).unwrap();
                server.replace(&deployment.certificate("keys", LIFETIME_MS)).unwrap();
            }
        })
    };
    let ends = tokio::time::Instant::now() + Duration::from_secs(10);
    let mut callers = Vec::new();
    for _ in 0..8 {
        let (keys, deployment) = (RemoteKeys::new(channel.clone()), Arc::clone(&deployment));
        callers.push(tokio::spawn(async move {
            let (mut done, mut failed) = (0u64, Vec::new());
            while tokio::time::Instant::now() < ends {
                let (bearer, request) = (bearer(), deployment.request());
                match keys.try_release(&call(&bearer, &request)).await {
                    Ok(_) => done += 1,
                    Err(error) => failed.push(error),
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (done, failed)
        }));
    }
    let mut total = 0;
    for caller in callers {
        let (done, failed) = caller.await.unwrap();
        assert!(failed.is_empty(), "{failed:?}");
        total += done;
    }
    assert!(total > 1_000, "{total}");
    renewing.abort();
}

/// A caller that keeps a connection past its certificate loses it.
#[tokio::test]
async fn a_connection_ends_with_the_certificate_it_began_with() {
    let deployment = Deployment::new();
    let fake = Arc::new(Fake::default());
    let served = deployment.serve("keys", parts(&fake)).await;
    let slot = CertificateSlot::new(&deployment.certificate("gateway", 2_000)).unwrap();
    let settings = ChannelSettings { wait_max: Duration::from_millis(200), ..ChannelSettings::default() };
    let keys = RemoteKeys::new(deployment.channel_with(&slot, "keys", &served.address, settings));
    let (bearer, request) = (bearer(), deployment.request());
    keys.release(&call(&bearer, &request)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_600)).await;
    let expired = keys.try_release(&call(&bearer, &request)).await;
    assert_eq!(expired.err(), Some(Failed::Unavailable));
    slot.replace(&deployment.certificate("gateway", HOUR_MS)).unwrap();
    tokio::time::timeout(Duration::from_secs(8), async {
        while keys.release(&call(&bearer, &request)).await.is_err() {}
    })
    .await
    .unwrap();
}
