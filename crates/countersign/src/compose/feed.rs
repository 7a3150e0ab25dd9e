//! The authority's snapshots, as the wire hands them to those that follow.

use std::sync::Arc;

use countersign_authority::Snapshots;
use countersign_crypto::jws::PublicJwk;
use countersign_crypto::tls::Peer;
use countersign_facts::{ServiceEntry, Snapshot};
use countersign_wire::FactsFeed;
use tokio::sync::watch;

pub(super) struct Feed(pub(super) Arc<Snapshots>);

impl FactsFeed for Feed {
    fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.newest()
    }

    fn keys(&self) -> Vec<PublicJwk> {
        self.0.keys()
    }

    fn follows(&self, peer: &Peer, address: Option<&str>) -> Box<dyn Send + Sync> {
        let service = peer.id.role().parse();
        match (service, address) {
            (Ok(service), Some(address)) => {
                let entry = ServiceEntry { id: peer.id.to_string(), service, address: address.to_owned() };
                Box::new(self.0.present(entry))
            }
            _ => Box::new(()),
        }
    }
}
