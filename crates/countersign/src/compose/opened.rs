//! What was opened: what it answers and takes calls with, and its end.

use std::net::SocketAddr;
use std::sync::Arc;

use countersign_audit::{AuditSink, Ledger};
use countersign_authority::{Registry, Remembered};
use countersign_crypto::tls::CertificateSlot;
use countersign_crypto::x509::ServerCertificate;
use countersign_door_http::{App, Router};
use countersign_keys::budget::Budgets;
use countersign_model::{Clock, Entropy, Service};
use tokio::task::JoinHandle;

use super::apart::Wire;
use super::custody::Custody;
use super::side::Moving;
use crate::config::Config;
use crate::deployment::Deployment;
use crate::problem::Problem;

/// A deployment, or some of its services, open in this process.
pub struct Opened {
    /// Its configuration.
    pub config: Config,
    pub(super) registry: Option<Arc<Registry>>,
    pub(super) door: Option<Door>,
    /// Where this process's services take calls from others; empty in a process that is all of them.
    pub(super) wires: Vec<Wire>,
    pub(super) ledgers: Vec<Arc<Ledger>>,
    /// Of the key service, where it is here.
    pub(super) budgets: Option<Arc<Budgets>>,
    pub(super) slots: Vec<(Service, Arc<CertificateSlot>)>,
    pub(super) tasks: Vec<JoinHandle<()>>,
    pub(super) measures: Option<SocketAddr>,
    /// What carries it elsewhere; only in a process that is all services and serves.
    pub(super) moving: Option<(Moving, Arc<Remembered>)>,
    /// Who backs up and restores; only in a process that is all services.
    pub(super) custody: Option<Arc<Custody>>,
}

/// What answers users.
pub(super) struct Door {
    pub(super) router: Router<App>,
}

impl Opened {
    /// What answers requests: in a process that is a gateway, or an authority that a command opened.
    ///
    /// # Errors
    /// If this process is neither.
    pub fn router(&self) -> Result<&Router<App>, Problem> {
        self.door.as_ref().map(|door| &door.router).ok_or_else(|| {
            Problem::usage("this folder is not a gateway's, so it answers nobody's requests")
                .next("name the gateway's folder, or its address with --url")
        })
    }

    /// Whether it takes requests from users.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.config.services.run.has(Service::Gateway)
    }

    /// The certificate of a service that runs apart. It is renewed without anybody's doing, and a gateway's is its
    /// door's as well.
    #[must_use]
    pub fn slot(&self, service: Service) -> Option<Arc<CertificateSlot>> {
        self.slots.iter().find(|(of, _)| *of == service).map(|(_, slot)| Arc::clone(slot))
    }

    /// A new certificate for the server of a process that is all services.
    ///
    /// # Errors
    /// If the configured names are not names.
    pub fn certificate(&self) -> Result<ServerCertificate, Problem> {
        let server = &self.config.server;
        let lifetime_ms = server.certificate_hours.number().saturating_mul(3_600_000);
        let registry = self.registry.as_ref().ok_or_else(|| Problem::failed("the authority is elsewhere"))?;
        registry
            .server_certificate(&server.names.0, lifetime_ms)
            .map_err(|error| Problem::usage(format!("the server's certificate: {error}")).next("see [server] names"))
    }

    /// Waits until another process is the authority in place of this one: for ever, where there is no other.
    pub async fn until_lost(&self) {
        match &self.registry {
            Some(registry) => registry.until_lost().await,
            None => std::future::pending().await,
        }
    }

    /// Where this process's services take calls from others: service and address.
    #[must_use]
    pub fn wire_addresses(&self) -> Vec<(Service, SocketAddr)> {
        self.wires.iter().map(|wire| (wire.service, wire.address)).collect()
    }

    /// Where the measures of all services are shown by HTTPS, if anywhere.
    #[must_use]
    pub const fn measures(&self) -> Option<SocketAddr> {
        self.measures
    }

    /// What is to be served for other services, once.
    #[must_use]
    pub fn take_wires(&mut self) -> Vec<Wire> {
        std::mem::take(&mut self.wires)
    }

    /// The ledger of a service of this process.
    #[must_use]
    pub fn ledger(&self, service: Service) -> Option<&Arc<Ledger>> {
        self.ledgers.iter().find(|ledger| ledger.service() == service)
    }

    /// Takes what commands did to the folder into a ledger: the authority's, where that is here.
    pub(super) fn take_commands(&mut self, deployment: &Deployment, made_with: (Arc<dyn Clock>, Arc<dyn Entropy>)) {
        let Some(ledger) = self.ledger(Service::Authority).or(self.ledgers.first()) else { return };
        let (service, sink) = (ledger.service(), Arc::clone(ledger) as Arc<dyn AuditSink>);
        self.tasks.push(tokio::spawn(crate::commands::follow(deployment.clone(), sink, service, made_with)));
    }

    /// What carries this deployment elsewhere, if this process may: it is all services, and serves.
    pub(crate) fn moving(&self) -> Option<Moving> {
        self.moving.as_ref().map(|(moving, _)| moving.clone())
    }

    /// What its authority remembers.
    pub(crate) fn remembered(&self) -> Option<Arc<Remembered>> {
        self.moving.as_ref().map(|(_, remembered)| Arc::clone(remembered))
    }

    /// Who backs up and restores, if this process may.
    pub(crate) const fn custody(&self) -> Option<&Arc<Custody>> {
        self.custody.as_ref()
    }

    /// Facts and keys, where the authority is here.
    pub(crate) fn facts(&self) -> Option<Arc<Registry>> {
        self.registry.clone()
    }

    /// Waits for what works in the background to be over.
    pub(crate) async fn end(self: Arc<Self>) {
        self.close().await;
        while !self.tasks.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// Writes the audit records that wait and takes no more.
    pub async fn close(&self) {
        if let Some(custody) = &self.custody {
            // While there is a ledger to put the end of it on record.
            custody.stop().await;
        }
        for task in &self.tasks {
            task.abort();
        }
        for ledger in &self.ledgers {
            ledger.close().await;
        }
        if let Some(budgets) = self.budgets.clone() {
            // What was set aside and not used is for the others.
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || budgets.close()).await {
                tracing::warn!(%error, "what was set aside of budgets is lost until its time is over");
            }
        }
        if let Some(registry) = self.registry.clone() {
            // So that a standby need not wait for the end of a lease.
            drop(tokio::task::spawn_blocking(move || registry.let_go()).await);
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
