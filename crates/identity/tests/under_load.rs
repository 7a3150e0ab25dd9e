//! Two services that speak mutual TLS over real sockets while both of their certificates are renewed again and again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use countersign_crypto::tls::{
    self, ClientCertificates, ServerName, TlsAcceptor, TlsConnector, mutual_client_config, mutual_server_config,
};
use countersign_crypto::x509::{CertificateAuthority, CertificateRequest, Issued};
use countersign_crypto::{SystemEntropy, spiffe::SpiffeId};
use countersign_identity::{Agent, AgentParts, Ask, Held, IssueFailure, Issuer, certify};
use countersign_model::Clock;
use countersign_model::clock::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A third of what the smallest sensible deployment would use, so that the test is short.
const LIFETIME_MS: u64 = 3_000;
const LASTS: Duration = Duration::from_secs(8);

struct Authority {
    certificates: Arc<CertificateAuthority>,
    id: SpiffeId,
}

#[async_trait]
impl Issuer for Authority {
    async fn issue(&self, _: Ask<'_>, request: &CertificateRequest) -> Result<Issued, IssueFailure> {
        let issued = self.certificates.issue_workload(request, &self.id, &[], SystemClock.now(), LIFETIME_MS);
        let issued = issued.map_err(|_| IssueFailure::Unavailable)?;
        let (id, ca_pem) = (self.id.clone(), self.certificates.ca_pem().to_owned());
        Ok(Issued { id, chain_der: issued.chain_der, expires: issued.expires, ca_pem })
    }
}

async fn agent(authority: &Authority) -> Arc<Agent> {
    let held: Held = certify(authority, "unused", &SystemClock).await.unwrap();
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    Arc::new(Agent::new(held, AgentParts { folder: None, platform_token: None, clock, entropy }).unwrap())
}

/// Answers what it is sent, for ever.
async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(mut tls) = acceptor.accept(tcp).await else { return };
            let mut byte = [0u8; 1];
            while tls.read_exact(&mut byte).await.is_ok() && tls.write_all(&byte).await.is_ok() {}
        });
    }
}

type Connection = tls::client::TlsStream<TcpStream>;

async fn connect(address: SocketAddr, connector: &TlsConnector) -> std::io::Result<Connection> {
    let tcp = TcpStream::connect(address).await?;
    connector.connect(ServerName::try_from("unused").unwrap(), tcp).await
}

async fn ask(connection: &mut Connection) -> std::io::Result<()> {
    connection.write_all(b"x").await?;
    connection.read_exact(&mut [0u8; 1]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_under_load_without_a_failed_request() {
    let certificates = Arc::new(CertificateAuthority::generate("load", SystemClock.now(), 1).unwrap());
    let authority = |role: &str| {
        let id = SpiffeId::new("countersign", role, "a").unwrap();
        Arc::new(Authority { certificates: Arc::clone(&certificates), id })
    };
    let (keys_authority, gateway_authority) = (authority("keys"), authority("gateway"));
    let (keys, gateway) = (agent(&keys_authority).await, agent(&gateway_authority).await);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ca_pem = certificates.ca_pem();
    let is_gateway = |id: &SpiffeId| id.role() == "gateway";
    let server = mutual_server_config(&keys.slot(), ca_pem, &clock, ClientCertificates::Required, is_gateway).unwrap();
    let client = mutual_client_config(&gateway.slot(), ca_pem, &clock, |id| id.role() == "keys").unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = vec![tokio::spawn(serve(listener, TlsAcceptor::from(server)))];
    for (agent, authority) in [(Arc::clone(&keys), keys_authority), (Arc::clone(&gateway), gateway_authority)] {
        tasks.push(tokio::spawn(async move { agent.run(&*authority).await }));
    }

    let (asked, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let connector = TlsConnector::from(client);
    let mut load = Vec::new();
    for stays_open in [false, true, false, true] {
        let (connector, asked, failed) = (connector.clone(), Arc::clone(&asked), Arc::clone(&failed));
        load.push(tokio::spawn(async move {
            let mut kept = None;
            loop {
                let outcome = match kept.take() {
                    Some(connection) => Ok(connection),
                    None => connect(address, &connector).await,
                };
                let outcome = match outcome {
                    Ok(mut connection) => {
                        let answered = ask(&mut connection).await;
                        kept = stays_open.then_some(connection);
                        answered
                    }
                    Err(error) => Err(error),
                };
                asked.fetch_add(1, Ordering::Relaxed);
                failed.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed);
            }
        }));
    }
    tokio::time::sleep(LASTS).await;
    for task in load.into_iter().chain(tasks) {
        task.abort();
    }
    let renewals = [&keys, &gateway].map(|agent| agent.renewals().borrow().renewals);
    let (asked, failed) = (asked.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!("{asked} requests, {failed} failed; renewals {renewals:?} of certificates of {LIFETIME_MS} ms");
    assert_eq!(failed, 0);
    assert!(asked > 100 && renewals.iter().all(|count| *count >= 4), "{asked} {renewals:?}");
}
