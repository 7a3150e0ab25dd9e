//! First contact, and renewal.

use std::net::IpAddr;

use countersign_crypto::same_bytes;
use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::tls::Peer;
use countersign_crypto::x509::{AUTHORITY_ROLE, CertificateRequest, Issued, JoinToken};
use countersign_model::{Name, RequestId, UnixMs};

use super::fact::{Roster, ServiceFact};
use super::registry::{REMEMBERED_MS, id_of};
use super::{Attempt, JOINING_ROLES, JoinProof, JoinRefused, JoinRequest};
use crate::authority::Authority;
use crate::registry::change::Change;

/// How a service is recorded that came with a join token.
const BY_TOKEN: &str = "join token";

/// And one that is in the same process as the authority.
const BY_PROCESS: &str = "same process";

/// Hexadecimal digits of a made-up name come from this many random bytes.
const NAME_BYTES: usize = 5;

/// Somebody recognised, and by what.
struct Recognised {
    role: String,
    instance: Option<String>,
    by: String,
}

impl Authority {
    /// A certificate for a service that proves who it is. On record before it is given out. A join token is used up
    /// when this succeeds, and durably so before there is a certificate.
    ///
    /// # Errors
    /// [`JoinRefused`].
    pub async fn join(&self, join: JoinRequest) -> Result<Issued, JoinRefused> {
        let now = self.registry.clock().now();
        let mut how = match &join.proof {
            JoinProof::Token(token) => format!("{BY_TOKEN} {}", hex::encode(token.id())),
            JoinProof::Platform(_) => "a platform's token".to_owned(),
        };
        let outcome = self.recognise_and_certify(&join, &mut how, now).await;
        let id = outcome.as_ref().ok().map(|issued| issued.id.clone());
        let attempt = Attempt { request: join.request, action: "join_service", id, detail: how + &from(join.address) };
        let issued = self.on_record(attempt, outcome, now).await?;
        self.is_certified(&issued);
        Ok(issued)
    }

    /// A certificate for a service that is in the same process as this authority, its first one or the next. On record
    /// before it is given out.
    ///
    /// # Errors
    /// [`JoinRefused::Refused`] for a service that was removed, and for roles that services don't join in; the others
    /// of [`JoinRefused`].
    pub async fn inside_certificate(
        &self,
        request: RequestId,
        role: &str,
        instance: &str,
        certificate_request: &[u8],
    ) -> Result<Issued, JoinRefused> {
        let now = self.registry.clock().now();
        let outcome = self.certify_inside(role, instance, certificate_request, now).await;
        let id = outcome.as_ref().ok().map(|issued| issued.id.clone());
        let attempt = Attempt { request, action: "renew_certificate", id, detail: BY_PROCESS.to_owned() };
        let issued = self.on_record(attempt, outcome, now).await?;
        self.is_certified(&issued);
        Ok(issued)
    }

    async fn certify_inside(
        &self,
        role: &str,
        instance: &str,
        certificate_request: &[u8],
        now: UnixMs,
    ) -> Result<Issued, JoinRefused> {
        if !JOINING_ROLES.contains(&role) {
            return Err(JoinRefused::Refused);
        }
        let known = self.registry.roster().services.get(&(role.to_owned(), instance.to_owned())).cloned();
        let id = match known {
            Some(known) if known.removed.is_some() => return Err(JoinRefused::Refused),
            Some(known) => id_of(&self.registry.roster(), &known.place()).ok_or(JoinRefused::Refused)?,
            None => {
                let mut change = self.registry.begin().await;
                change.forget_old(now);
                let by = BY_PROCESS.to_owned();
                let who = Recognised { role: role.to_owned(), instance: Some(instance.to_owned()), by };
                self.admit(change, who, now).await?
            }
        };
        self.certify(&id, certificate_request, now)
    }

    /// A new certificate under the name of the one that the service showed in the handshake. On record before it is
    /// given out.
    ///
    /// # Errors
    /// [`JoinRefused::Refused`] for a certificate that has expired since, for services that were removed or never
    /// joined, and for the role `authority`; the others of [`JoinRefused`].
    pub async fn renew(
        &self,
        request: RequestId,
        peer: &Peer,
        certificate_request: &[u8],
        address: Option<IpAddr>,
    ) -> Result<Issued, JoinRefused> {
        let now = self.registry.clock().now();
        let outcome = match self.may_renew(peer, now) {
            true => self.certify(&peer.id, certificate_request, now),
            false => Err(JoinRefused::Refused),
        };
        let detail = format!("with certificate {}{}", hex::encode(peer.sha256), from(address));
        let attempt = Attempt { request, action: "renew_certificate", id: Some(peer.id.clone()), detail };
        let issued = self.on_record(attempt, outcome, now).await?;
        self.is_certified(&issued);
        Ok(issued)
    }

    fn may_renew(&self, peer: &Peer, now: UnixMs) -> bool {
        let (id, roster) = (&peer.id, self.registry.roster());
        let place = (id.role().to_owned(), id.instance().to_owned());
        let is_here = roster.services.get(&place).is_some_and(|service| service.removed.is_none());
        is_here && id.role() != AUTHORITY_ROLE && id.trust_domain() == &*roster.trust_domain && now < peer.expires
    }

    async fn recognise_and_certify(
        &self,
        join: &JoinRequest,
        how: &mut String,
        now: UnixMs,
    ) -> Result<Issued, JoinRefused> {
        // Before the token is looked at, so that a bad request doesn't use it up.
        CertificateRequest::from_der(&join.certificate_request)?;
        let id = match &join.proof {
            JoinProof::Token(token) => {
                // Whoever has no good token must not keep others from changing anything: asked again under the lock.
                invited(&self.registry.roster(), token, &join.role, now).ok_or(JoinRefused::Refused)?;
                let mut change = self.registry.begin().await;
                change.forget_old(now);
                let recognised = invited(change.roster_mut(), token, &join.role, now).ok_or(JoinRefused::Refused)?;
                change.uninvite(token.id());
                self.admit(change, recognised, now).await?
            }
            JoinProof::Platform(token) => {
                let fitting = self.identity.recognise(token, &join.role, now).await?;
                *how = format!("a token of platform {}", fitting.rule);
                let mut change = self.registry.begin().await;
                change.forget_old(now);
                self.forget_gone(&mut change, now);
                let recognised = Recognised { role: fitting.role, instance: fitting.instance, by: fitting.rule };
                self.admit(change, recognised, now).await?
            }
        };
        self.certify(&id, &join.certificate_request, now)
    }

    /// Makes it durable that the service has joined, and gives its name.
    async fn admit(&self, mut change: Change, who: Recognised, now: UnixMs) -> Result<SpiffeId, JoinRefused> {
        let roster = change.roster_mut();
        let instance = who.instance.unwrap_or_else(|| self.made_up(roster, &who.role));
        // By any other name operators could not remove it.
        if Name::new(&instance).is_err() {
            return Err(JoinRefused::Refused);
        }
        let service = ServiceFact { role: who.role, instance, joined: now, by: who.by, removed: None };
        let id = id_of(roster, &service.place()).ok_or(JoinRefused::Refused)?;
        match roster.services.get(&service.place()) {
            // INVARIANT removed-stays-removed: neither a token from before nor a platform brings a service back.
            Some(known) if known.removed.is_some() => return Err(JoinRefused::Refused),
            // A platform speaks for the services that it brought, and not for those that operators invited.
            Some(known) if service.by != BY_TOKEN && known.by != service.by => return Err(JoinRefused::Refused),
            _ => {}
        }
        change.put_service(service).map_err(|_| JoinRefused::Unavailable)?;
        change.commit().await.map_err(|_| JoinRefused::Unavailable)?;
        Ok(id)
    }

    /// Drops services that a platform brought and that are gone: platforms make new ones all the time. What lives has
    /// renewed since this process was started, once that is longer ago than a certificate lasts.
    fn forget_gone(&self, change: &mut Change, now: UnixMs) {
        if now.since(self.started) <= REMEMBERED_MS {
            return;
        }
        let roster = change.roster_mut();
        let brought =
            roster.services.values().filter(|one| one.by != BY_TOKEN && one.by != BY_PROCESS && one.removed.is_none());
        let is_gone = |one: &&ServiceFact| {
            let certified = id_of(roster, &one.place()).and_then(|id| self.certified_until(&id));
            now.since(certified.unwrap_or(one.joined)) > REMEMBERED_MS
        };
        let gone: Vec<_> = brought.filter(is_gone).map(ServiceFact::place).collect();
        for place in gone {
            change.forget_service(&place);
        }
        self.certified.lock().retain(|_, until| now.since(*until) <= REMEMBERED_MS);
    }

    /// A name that no service of the role has.
    fn made_up(&self, roster: &Roster, role: &str) -> String {
        loop {
            let mut random = [0u8; NAME_BYTES];
            self.registry.entropy().fill(&mut random);
            let place = (role.to_owned(), format!("{role}-{}", hex::encode(random)));
            if !roster.services.contains_key(&place) {
                return place.1;
            }
        }
    }

    fn is_certified(&self, issued: &Issued) {
        self.certified.lock().insert(issued.id.clone(), issued.expires);
    }

    /// Until when the service's last certificate is valid, as far as this process knows.
    pub(super) fn certified_until(&self, id: &SpiffeId) -> Option<UnixMs> {
        self.certified.lock().get(id).copied()
    }
}

fn from(address: Option<IpAddr>) -> String {
    address.map(|address| format!("; from {address}")).unwrap_or_default()
}

/// What the token is an invitation to, if it is one that waits.
fn invited(roster: &Roster, token: &JoinToken, role: &str, now: UnixMs) -> Option<Recognised> {
    let invitation = roster.invitations.get(&token.id())?;
    let is_it = same_bytes(&invitation.secret_sha256, &token.secret_sha256());
    (is_it && invitation.role == role && now < invitation.expires).then(|| Recognised {
        role: invitation.role.clone(),
        instance: invitation.instance.clone(),
        by: BY_TOKEN.to_owned(),
    })
}
