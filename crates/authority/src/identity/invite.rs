//! Inviting, listing and removing services, for operators.

use countersign_crypto::spiffe::SpiffeId;
use countersign_crypto::x509::JoinToken;
use countersign_model::{Name, UnixMs};

use super::fact::InvitationFact;
use super::registry::{id_of, is_remembered};
use super::{JOIN_TOKEN_MS, JOINING_ROLES};
use crate::answer::{ControlAnswer, NewInvitation, ServiceEntry};
use crate::authority::Authority;
use crate::control::Done;
use crate::error::ControlFailure;
use crate::time::rfc3339;

/// The most join tokens that wait at a time.
const WAITING_MAX: usize = 1000;

impl Authority {
    /// A token with which one service can join in this role, once, within ten minutes; `instance` is its name, or it
    /// gets one. A service that has joined already may be invited again under its name, to join with a new key.
    ///
    /// # Errors
    /// [`ControlFailure::Invalid`] for a role that services don't join in, a name that is none, or one of a service
    /// that was removed within the last hour; [`ControlFailure::Unavailable`].
    pub async fn new_join_token(&self, role: &str, instance: Option<&str>) -> Result<JoinToken, ControlFailure> {
        Ok(self.invite(role, instance).await?.0)
    }

    async fn invite(&self, role: &str, instance: Option<&str>) -> Result<(JoinToken, UnixMs), ControlFailure> {
        if !JOINING_ROLES.contains(&role) {
            return Err(invalid("role", format!("one of {}", JOINING_ROLES.join(", "))));
        }
        if let Some(Err(error)) = instance.map(Name::new) {
            return Err(invalid("name", error.to_string()));
        }
        let mut change = self.registry.begin().await;
        let now = self.registry.clock().now();
        change.forget_old(now);
        let roster = change.roster_mut();
        let place = instance.map(|instance| (role.to_owned(), instance.to_owned()));
        if place.and_then(|place| roster.services.get(&place)).is_some_and(|one| is_remembered(one, now)) {
            return Err(invalid("name", "another one: a service of that name was removed within the last hour"));
        }
        // Where everything is in a database, any number of them share it.
        let has_database = self.registry.losing().is_some();
        if !has_database && let Some(other) = roster.only_one(role, instance) {
            return Err(ControlFailure::Exists { what: "service of that role", name: other.to_owned() });
        }
        if roster.invitations.len() >= WAITING_MAX {
            return Err(invalid("role", format!("at most {WAITING_MAX} join tokens that wait to be used")));
        }
        let token = JoinToken::generate(self.registry.entropy(), self.registry.ca_sha256());
        let expires = now.plus_ms(JOIN_TOKEN_MS);
        let invitation = InvitationFact {
            secret_sha256: token.secret_sha256(),
            role: role.to_owned(),
            instance: instance.map(str::to_owned),
            expires,
        };
        change.invite(token.id(), invitation)?;
        change.commit().await?;
        Ok((token, expires))
    }

    pub(crate) async fn service_invite(&self, role: &str, instance: Option<&str>) -> Result<Done, ControlFailure> {
        let (token, expires) = self.invite(role, instance).await?;
        let name = instance.unwrap_or("a name to be chosen");
        let detail = format!("invite {role} {name}; join token {}", hex::encode(token.id()));
        let answer = ControlAnswer::Invitation(NewInvitation {
            join_token: token.expose().to_string(),
            role: role.to_owned(),
            name: instance.map(str::to_owned),
            expires: rfc3339(expires),
        });
        Ok(Done { affected: Some(1), detail: Some(detail), made: None, accesses: Vec::new(), answer })
    }

    pub(crate) fn service_list(&self) -> Done {
        let roster = self.registry.roster();
        let waiting = roster.services.values().filter(|service| service.removed.is_none());
        let entries = waiting.filter_map(|service| {
            let id = id_of(&roster, &service.place())?;
            Some(self.entry(id, service.joined, service.by.clone()))
        });
        Done::looked(ControlAnswer::Services(entries.collect()))
    }

    pub(crate) async fn service_remove(&self, role: &str, instance: &str) -> Result<Done, ControlFailure> {
        let mut change = self.registry.begin().await;
        let now = self.registry.clock().now();
        change.forget_old(now);
        let roster = change.roster_mut();
        let known = roster.services.get(&(role.to_owned(), instance.to_owned()));
        let known = known.filter(|service| service.removed.is_none()).cloned();
        let not_found = || ControlFailure::NotFound { what: "service", name: format!("{role}/{instance}") };
        let mut service = known.ok_or_else(not_found)?;
        let id = id_of(roster, &service.place()).ok_or_else(not_found)?;
        // What was meant for it is no way back.
        let meant = roster
            .invitations
            .iter()
            .filter(|(_, one)| one.role == role && one.instance.as_deref().is_some_and(|named| named == instance));
        let meant: Vec<_> = meant.map(|(id, _)| *id).collect();
        for id in meant {
            change.uninvite(id);
        }
        let entry = self.entry(id, service.joined, service.by.clone());
        service.removed = Some(now);
        change.put_service(service)?;
        change.commit().await?;
        Ok(Done::changed(ControlAnswer::Service(entry)))
    }

    fn entry(&self, id: SpiffeId, joined: UnixMs, by: String) -> ServiceEntry {
        let certified = self.certified_until(&id).map(rfc3339);
        ServiceEntry {
            role: id.role().to_owned(),
            name: id.instance().to_owned(),
            joined: rfc3339(joined),
            joined_by: by,
            certified_until: certified,
            id: id.to_string(),
        }
    }
}

fn invalid(field: &str, expected: impl Into<String>) -> ControlFailure {
    ControlFailure::Invalid { field: field.to_owned(), expected: expected.into() }
}
