//! Where the services of this process take calls from others.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use countersign_crypto::tls::{ClientCertificates, TlsAcceptor, mutual_server_config};
use countersign_model::Service;
use countersign_wire::{Parts, Settings, Surroundings};

use super::Apart;
use super::noting::Noting;
use crate::compose::remote::Caller;
use crate::compose::seat::Seat;
use crate::problem::{Exit, Problem};

/// Where one service takes calls from others, not answering yet.
pub struct Wire {
    /// The service.
    pub service: Service,
    /// Its address.
    pub address: SocketAddr,
    listener: TcpListener,
    tls: TlsAcceptor,
    parts: Parts,
    surroundings: Surroundings,
}

impl Wire {
    /// Answers until `shutdown`, and then until calls under way are done.
    ///
    /// # Errors
    /// If the listener can't be used.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Problem> {
        let listener = tokio::net::TcpListener::from_std(self.listener)
            .map_err(|error| Problem::failed(format!("can't listen: {error}")))?;
        countersign_wire::server(self.parts, Settings::default(), self.surroundings, self.tls, listener, shutdown)
            .await;
        Ok(())
    }
}

impl Apart {
    /// Takes an address for a service's calls from others: the configured one for the first service of this process,
    /// the ports after it for the others.
    pub(super) fn listener(&self, place: u16) -> Result<(TcpListener, SocketAddr), Problem> {
        let mut wanted = self.base.config.services.listen;
        if wanted.port() != 0 {
            wanted.set_port(wanted.port().saturating_add(place));
        }
        let taken = |error: std::io::Error| {
            Problem::new(Exit::Unavailable, format!("can't listen on {wanted} for other services: {error}"))
                .next("name another with --wire-listen, such as --wire-listen 127.0.0.1:0 for any free port")
        };
        let listener = TcpListener::bind(wanted).map_err(taken)?;
        listener.set_nonblocking(true).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        Ok((listener, address))
    }

    /// What others are told as a service's address: the configured one for the first service of this process, the ports
    /// after it for the others.
    pub(super) fn advertised(&self, address: SocketAddr, place: u16) -> String {
        let Some(first) = self.base.config.services.advertise.get() else { return address.to_string() };
        let moved = first.rsplit_once(':').and_then(|(host, port)| {
            let port: u16 = port.parse().ok()?;
            Some(format!("{host}:{}", port.checked_add(place)?))
        });
        moved.unwrap_or_else(|| first.to_owned())
    }

    /// Puts a service's calls behind its listener.
    pub(super) fn wire(
        &mut self,
        seat: &Seat,
        (listener, address): (TcpListener, SocketAddr),
        parts: Parts,
        clients: ClientCertificates,
    ) -> Result<(), Problem> {
        let Caller { slot, ca_pem, trust_domain, directory, clock, .. } = &seat.caller;
        let (domain, removed) = (trust_domain.clone(), directory.clone());
        let config = mutual_server_config(slot, ca_pem, clock, clients, move |id| {
            id.trust_domain() == domain && !removed.borrow().is_removed(&id.to_string())
        });
        let config =
            config.map_err(|error| Problem::failed(format!("the {}'s TLS settings: {error}", seat.service)))?;
        let removed = directory.clone();
        let surroundings = Surroundings {
            clock: Arc::clone(clock),
            note: Arc::new(Noting {
                audit: Arc::clone(&seat.audit),
                service: seat.service,
                clock: Arc::clone(clock),
                entropy: Arc::clone(&self.base.entropy),
            }),
            is_removed: Arc::new(move |id| removed.borrow().is_removed(&id.to_string())),
            is_it: self.is_it.clone(),
        };
        let tls = TlsAcceptor::from(config);
        let (trail, ledger) = (Some(Arc::clone(&seat.trail)), Some(Arc::clone(&seat.ledger)));
        let (log, report) = (Some(Arc::clone(&seat.log)), Some(Arc::clone(&seat.report)));
        let parts = Parts { trail, ledger, log, report, ..parts };
        self.wires.push(Wire { service: seat.service, address, listener, tls, parts, surroundings });
        Ok(())
    }
}
