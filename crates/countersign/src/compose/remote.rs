//! Ways to services in other processes.

use std::sync::Arc;
use std::time::Duration;

use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::tls::{CertificateSlot, TlsConnector, mutual_client_config};
use countersign_facts::Directory;
use countersign_model::{Clock, Entropy, Service};
use countersign_wire::{Channel, ChannelParts, ChannelSettings};
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

    /// A channel to the authority, whose address is known beforehand: one, or several with commas between, of which one
    /// at a time is the authority and the others don't answer.
    pub(super) fn to_authority(&self, addresses: &str) -> Result<Channel, Problem> {
        let addresses = watch::Sender::new(each(addresses)).subscribe();
        self.channel(addresses, authority_settings(), |id| id.role() == Service::Authority.as_str())
    }

    /// A channel to one service.
    pub(super) fn to_one(&self, id: &str, address: &str) -> Result<Channel, Problem> {
        let addresses = watch::Sender::new(vec![address.to_owned()]).subscribe();
        let (id, settings) = (id.to_owned(), ChannelSettings { connections: 1, ..ChannelSettings::default() });
        self.channel(addresses, settings, move |other| other.to_string() == id)
    }
}

/// The addresses in a list of them.
pub(super) fn each(addresses: &str) -> Vec<String> {
    addresses.split(',').map(str::trim).filter(|address| !address.is_empty()).map(str::to_owned).collect()
}

/// How an authority is looked for: another may have taken the place of the one that was there, and is to be found within
/// a second or two.
pub(super) fn authority_settings() -> ChannelSettings {
    ChannelSettings {
        connect_max: Duration::from_secs(2),
        backoff_max: Duration::from_millis(500),
        keepalive: Duration::from_secs(3),
        ..ChannelSettings::default()
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
