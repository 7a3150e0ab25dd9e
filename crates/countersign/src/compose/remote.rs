//! Ways to services in other processes.

use std::collections::HashMap;
use std::sync::Arc;

use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::tls::{CertificateSlot, TlsConnector, mutual_client_config};
use countersign_facts::Directory;
use countersign_model::{Clock, Entropy, Service};
use countersign_services::{Trail, Trails};
use countersign_wire::{Channel, ChannelParts, ChannelSettings, RemoteTrail};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::problem::Problem;

/// What a service calls others with: its certificate, and whose certificates it accepts.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) slot: Arc<CertificateSlot>,
    pub(super) ca_pem: String,
    pub(super) trust_domain: String,
    pub(super) directory: watch::Receiver<Arc<Directory>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

impl Caller {
    /// A channel to whoever `is_it` says yes to, among the deployment's services that were not removed.
    fn channel(
        &self,
        addresses: watch::Receiver<Vec<String>>,
        settings: ChannelSettings,
        is_it: impl Fn(&SpiffeId) -> bool + Send + Sync + 'static,
    ) -> Result<Channel, Problem> {
        let (domain, directory) = (self.trust_domain.clone(), self.directory.clone());
        let expected = move |id: &SpiffeId| {
            id.trust_domain() == domain && is_it(id) && !directory.borrow().is_removed(&id.to_string())
        };
        let config = mutual_client_config(&self.slot, &self.ca_pem, &self.clock, expected);
        let config = config.map_err(|error| Problem::failed(format!("a connection's TLS settings: {error}")))?;
        Ok(Channel::new(ChannelParts {
            tls: TlsConnector::from(config),
            own: Some(Arc::clone(&self.slot)),
            addresses,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            settings,
        }))
    }

    /// A channel to the services of a role, wherever they are.
    pub(super) fn to(&self, service: Service) -> Result<Channel, Problem> {
        let addresses = addresses(self.directory.clone(), service);
        self.channel(addresses, ChannelSettings::default(), move |id| id.role() == service.as_str())
    }

    /// A channel to the authority, whose address is known beforehand.
    pub(super) fn to_authority(&self, address: &str) -> Result<Channel, Problem> {
        let addresses = watch::Sender::new(vec![address.to_owned()]).subscribe();
        self.channel(addresses, ChannelSettings::default(), |id| id.role() == Service::Authority.as_str())
    }

    /// A channel to one service.
    pub(super) fn to_one(&self, id: &str, address: &str) -> Result<Channel, Problem> {
        let addresses = watch::Sender::new(vec![address.to_owned()]).subscribe();
        let (id, settings) = (id.to_owned(), ChannelSettings { connections: 1, ..ChannelSettings::default() });
        self.channel(addresses, settings, move |other| other.to_string() == id)
    }
}

/// Where the services of a role are, as the directory changes.
fn addresses(mut directory: watch::Receiver<Arc<Directory>>, service: Service) -> watch::Receiver<Vec<String>> {
    let now = move |directory: &Directory| directory.of(service).map(|entry| entry.address.clone()).collect::<Vec<_>>();
    let (sender, receiver) = watch::channel(now(&directory.borrow_and_update()));
    tokio::spawn(async move {
        while directory.changed().await.is_ok() {
            let newest = now(&directory.borrow_and_update());
            sender.send_if_modified(|old| {
                let changed = *old != newest;
                *old = newest;
                changed
            });
            if sender.is_closed() {
                break;
            }
        }
    });
    receiver
}

/// The ledgers of this process's services and of those in the directory.
pub(super) struct AllTrails {
    here: Vec<(String, Arc<dyn Trail>)>,
    caller: Caller,
    elsewhere: Mutex<HashMap<String, Elsewhere>>,
}

/// The way to a service elsewhere, as long as it is there.
#[derive(Clone)]
struct Elsewhere {
    address: String,
    trail: Arc<RemoteTrail>,
}

/// A service elsewhere: by which name, in which role, and the way to what it has on record.
pub(super) struct There {
    /// Its SPIFFE id, which its certificate has to have.
    pub(super) id: String,
    pub(super) service: Service,
    pub(super) trail: Arc<RemoteTrail>,
}

impl AllTrails {
    pub(super) fn new(here: Vec<(String, Arc<dyn Trail>)>, caller: Caller) -> Self {
        Self { here, caller, elsewhere: Mutex::default() }
    }

    /// Those elsewhere.
    pub(super) fn elsewhere(&self) -> Vec<There> {
        let directory = Arc::clone(&self.caller.directory.borrow());
        let mut known = self.elsewhere.lock();
        known.retain(|id, _| directory.services.iter().any(|entry| entry.id == *id));
        let mut all = Vec::new();
        for entry in &directory.services {
            if self.here.iter().any(|(name, _)| *name == short(&entry.id)) {
                continue;
            }
            let there = known.get(&entry.id).filter(|there| there.address == entry.address).cloned();
            let there = there.or_else(|| {
                let channel = self.caller.to_one(&entry.id, &entry.address).ok()?;
                Some(Elsewhere { address: entry.address.clone(), trail: Arc::new(RemoteTrail::new(channel)) })
            });
            if let Some(there) = there {
                known.insert(entry.id.clone(), there.clone());
                all.push(There { id: entry.id.clone(), service: entry.service, trail: there.trail });
            }
        }
        all
    }
}

impl Trails for AllTrails {
    fn all(&self) -> Vec<(String, Arc<dyn Trail>)> {
        let elsewhere =
            self.elsewhere().into_iter().map(|there| (short(&there.id), Arc::clone(&there.trail) as Arc<dyn Trail>));
        self.here.iter().cloned().chain(elsewhere).collect()
    }
}

/// A service's name without the deployment's: `store/a` of `spiffe://countersign/store/a`.
pub(super) fn short(id: &str) -> String {
    let path = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
    path.map_or_else(|| id.to_owned(), |(_, path)| path.to_owned())
}
