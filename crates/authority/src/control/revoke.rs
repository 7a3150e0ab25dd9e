//! Revoking tokens of the caller's tenant.

use countersign_model::control::Revoke;
use countersign_model::facts::Principal;

use super::Done;
use crate::answer::{ControlAnswer, RevokedAnswer};
use crate::authority::Authority;
use crate::error::ControlFailure;
use crate::time::rfc3339;

impl Authority {
    /// Takes effect at the next request. A token or session of another tenant is not touched, whoever knows its
    /// identifier: what is revoked is recorded with the tenant of who revoked it.
    pub(super) async fn revoke(&self, caller: &Principal, revoke: Revoke) -> Result<Done, ControlFailure> {
        let mut change = self.registry.begin().await;
        let now = self.registry.clock().now();
        if !matches!(revoke, Revoke::Person(_)) && change.is_full_of_revocations(caller.tenant) {
            return Err(ControlFailure::TooManyRevocations);
        }
        let mut ended = Vec::new();
        let (revoked, subject) = match revoke {
            Revoke::Token(token) => {
                change.revoke_token(caller.tenant, token, now)?;
                ("token", token.to_string())
            }
            Revoke::Session(session) => {
                change.revoke_session(caller.tenant, session, now)?;
                ("session", session.to_string())
            }
            Revoke::Person(name) => {
                let user = change.facts().user_names.get(&(caller.tenant, name.clone())).copied();
                let user = user.ok_or_else(|| ControlFailure::NotFound { what: "user", name: name.to_string() })?;
                change.revoke_user(user, now)?;
                ended = self.end_access_of(&mut change, user, &caller.acting().1.name)?;
                ("person", name.to_string())
            }
        };
        let epoch = change.commit().await?;
        self.record_ends(ended, epoch).await?;
        Ok(Done::changed(ControlAnswer::Revoked(RevokedAnswer { revoked, subject, since: rfc3339(now) })))
    }
}
