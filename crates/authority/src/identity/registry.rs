//! What the registry keeps of services, and how it changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::x509::{CertificateRequest, Issued, MAX_WORKLOAD_LIFETIME_MS, X509Error};
use countersign_model::UnixMs;

use super::fact::{InvitationFact, Place, Roster, ServiceFact, service_key};
use crate::error::RegistryError;
use crate::registry::Registry;
use crate::registry::change::Change;
use crate::registry::fact::{Kind, Write};

/// How long a removed service is remembered: until the last of its certificates has expired everywhere, clocks that
/// are five minutes behind included. Its name is not given to another before.
pub(super) const REMEMBERED_MS: u64 = MAX_WORKLOAD_LIFETIME_MS.saturating_add(5 * 60 * 1000);

impl Registry {
    /// The name of the deployment in its services' names.
    #[must_use]
    pub fn trust_domain(&self) -> Arc<str> {
        Arc::clone(&self.roster().trust_domain)
    }

    /// The SPIFFE IDs of services that were removed and whose certificates may still be valid: every server refuses
    /// them. A new one comes with a new epoch of facts; an old one goes without notice.
    #[must_use]
    pub fn removed_services(&self) -> BTreeSet<String> {
        let (now, roster) = (self.clock().now(), self.roster());
        let removed = roster.services.values().filter(|service| is_remembered(service, now));
        removed.filter_map(|service| id_of(&roster, &service.place())).map(String::from).collect()
    }

    /// The SHA-256 digest of the certificate authority's certificate.
    #[must_use]
    pub fn ca_sha256(&self) -> [u8; 32] {
        self.certificates().ca_sha256()
    }

    pub(super) fn issue(
        &self,
        request: &CertificateRequest,
        id: &SpiffeId,
        names: &[String],
        now: UnixMs,
        lifetime_ms: u64,
    ) -> Result<Issued, X509Error> {
        let issued = self.certificates().issue_workload(request, id, names, now, lifetime_ms)?;
        Ok(Issued {
            id: id.clone(),
            chain_der: issued.chain_der,
            expires: issued.expires,
            ca_pem: self.ca_pem().to_owned(),
        })
    }
}

/// Whether the service was removed so lately that servers have to be told.
pub(super) fn is_remembered(service: &ServiceFact, now: UnixMs) -> bool {
    service.removed.is_some_and(|at| now.since(at) <= REMEMBERED_MS)
}

/// The service's name. What is stored was checked before, so there is always one.
pub(super) fn id_of(roster: &Roster, (role, instance): &Place) -> Option<SpiffeId> {
    SpiffeId::new(&roster.trust_domain, role, instance).ok()
}

impl Change {
    pub(super) fn invite(&mut self, id: [u8; 16], invitation: InvitationFact) -> Result<(), RegistryError> {
        self.write(Write::put(Kind::Invitation, &id, &invitation)?);
        self.roster_mut().invitations.insert(id, invitation);
        Ok(())
    }

    pub(super) fn uninvite(&mut self, id: [u8; 16]) {
        self.write(Write::delete(Kind::Invitation, &id));
        self.roster_mut().invitations.remove(&id);
    }

    /// Drops invitations that nobody used in time, and services whose removal nobody has to know of any more.
    pub(super) fn forget_old(&mut self, now: UnixMs) {
        let roster = self.roster_mut();
        let expired = roster.invitations.iter().filter(|(_, one)| one.expires <= now);
        let expired: Vec<_> = expired.map(|(id, _)| *id).collect();
        let gone = roster.services.values().filter(|one| one.removed.is_some() && !is_remembered(one, now));
        let gone: Vec<_> = gone.map(ServiceFact::place).collect();
        for id in expired {
            self.uninvite(id);
        }
        for place in gone {
            self.forget_service(&place);
        }
    }

    pub(super) fn forget_service(&mut self, place: &Place) {
        self.write(Write::delete(Kind::Service, &service_key(place)));
        self.roster_mut().services.remove(place);
    }

    pub(super) fn put_service(&mut self, service: ServiceFact) -> Result<(), RegistryError> {
        let place = service.place();
        self.write(Write::put(Kind::Service, &service_key(&place), &service)?);
        if service.removed.is_some() {
            self.tell_everybody();
        }
        self.roster_mut().services.insert(place, service);
        Ok(())
    }
}
