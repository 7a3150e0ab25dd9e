//! Somebody with a service's certificate, or with none, who speaks to the others.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use countersign::deployment::Deployment;
use countersign_crypto::SystemEntropy;
use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::tls::{CertificateSlot, TlsConnector, join_client_config, mutual_client_config};
use countersign_crypto::x509::{CertificateAuthority, JoinToken, ServerCertificate, WorkloadKey};
use countersign_identity::{Agent, AgentParts, Folder, Proof, join};
use countersign_model::clock::SystemClock;
use countersign_model::{Clock, Entropy, Service};
use countersign_wire::{
    Channel, ChannelParts, ChannelSettings, RemoteFront, RemoteIssuer, RemoteKeys, RemoteRecords, RemoteTrail,
};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::world::{Node, World, identity_file};

/// A certificate and its key, in the wrong hands.
pub struct Attacker {
    slot: Arc<CertificateSlot>,
    ca_pem: String,
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

impl Attacker {
    /// Has copied a service's folder, as a process in its place can.
    pub fn in_place_of(node: &Node) -> Result<Self> {
        Self::with_folder(&node.folder, node.service)
    }

    pub fn with_folder(folder: &Deployment, service: Service) -> Result<Self> {
        let text = std::fs::read_to_string(identity_file(folder, service))?;
        let certificate = ServerCertificate::from_pem(&text).ok().context("not an identity")?;
        let slot = CertificateSlot::new(&certificate).ok().context("not a certificate")?;
        let known = Folder::open(&folder.identity(service), Arc::new(SystemEntropy))?.known()?;
        Ok(Self { slot, ca_pem: known.context("not joined")?.ca_pem })
    }

    /// Has the authority's certificate too, which is on no disk.
    pub fn authority(world: &World) -> Result<Self> {
        let slot = world.authority.opened.slot(Service::Authority).context("no certificate")?;
        Ok(Self { slot, ..Self::in_place_of(&world.gateway)? })
    }

    /// Has been invited in some role.
    pub async fn invited(world: &World, role: &str, name: &str) -> Result<Self> {
        let token: JoinToken = world.invite(role, name).await?.parse().ok().context("not a join token")?;
        let authority = world.authority.address.to_string();
        let tls = join_client_config(token.ca_sha256(), &clock())?;
        let issuer = RemoteIssuer::new(channel(TlsConnector::from(tls), None, &authority));
        let held = join(&issuer, &Proof::Token(token), role, &authority, &SystemClock).await?;
        let ca_pem = held.known().ca_pem.clone();
        let parts = AgentParts { folder: None, platform_token: None, clock: clock(), entropy: Arc::new(SystemEntropy) };
        Ok(Self { slot: Agent::new(held, parts)?.slot(), ca_pem })
    }

    /// Has made an authority and a certificate, with the name of the deployment's gateway in it.
    pub fn self_made(world: &World) -> Result<Self> {
        let real = Self::in_place_of(&world.gateway)?;
        let ca = CertificateAuthority::generate("countersign", SystemClock.now(), 10)?;
        let key = WorkloadKey::generate()?;
        let id: SpiffeId = world.gateway_id()?;
        let issued = ca.issue_workload(&key.request()?, &id, &[], SystemClock.now(), 3_600_000)?;
        let certificate = key.with_chain(issued.chain_der)?;
        Ok(Self { slot: CertificateSlot::new(&certificate)?, ca_pem: real.ca_pem })
    }

    /// A way to a service. Where it says no to the connection, calls give up soon.
    pub fn channel(&self, to: &Node) -> Channel {
        let role = to.service.as_str();
        let tls = mutual_client_config(&self.slot, &self.ca_pem, &clock(), move |id| id.role() == role).unwrap();
        channel(TlsConnector::from(tls), Some(Arc::clone(&self.slot)), &to.address.to_string())
    }

    pub fn keys(&self, world: &World) -> RemoteKeys {
        RemoteKeys::new(self.channel(&world.keys))
    }

    pub fn store(&self, world: &World) -> RemoteRecords {
        RemoteRecords::new(self.channel(&world.store))
    }

    pub fn trail(&self, of: &Node) -> RemoteTrail {
        RemoteTrail::new(self.channel(of))
    }

    pub fn issuer(&self, world: &World) -> RemoteIssuer {
        RemoteIssuer::new(self.channel(&world.authority))
    }

    pub fn front(&self, world: &World) -> RemoteFront {
        RemoteFront::new(self.channel(&world.authority))
    }
}

/// Shows no certificate.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Somebody who trusts the deployment's services and has no certificate.
pub fn without_certificate(world: &World, to: &Node) -> Result<Channel> {
    let (real, role) = (Attacker::in_place_of(&world.gateway)?, to.service.as_str());
    let tls = mutual_client_config(&real.slot, &real.ca_pem, &clock(), move |id| id.role() == role)?;
    let mut tls = Arc::unwrap_or_clone(tls);
    tls.client_auth_cert_resolver = Arc::new(NoCertificate);
    Ok(channel(TlsConnector::from(Arc::new(tls)), None, &to.address.to_string()))
}

fn channel(tls: TlsConnector, own: Option<Arc<CertificateSlot>>, address: &str) -> Channel {
    let settings =
        ChannelSettings { connections: 1, wait_max: Duration::from_millis(1500), ..ChannelSettings::default() };
    let addresses = watch::Sender::new(vec![address.to_owned()]).subscribe();
    Channel::new(ChannelParts { tls, own, addresses, clock: clock(), entropy: Arc::new(NoEntropy), settings })
}

/// Each channel of the attacker numbers its calls from the same start.
struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0);
    }
}
