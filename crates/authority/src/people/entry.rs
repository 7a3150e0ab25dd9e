//! From an identity to a user of the tenant, and to a token.

use std::sync::Arc;

use countersign_model::facts::{ExternalId, User, UserKind};
use countersign_model::{Name, SessionId, TenantId, UnixMs, UserId};
use countersign_token::Minted;

use super::identity::{Identity, NotBelieved, Received, believe};
use super::{Attempt, NotLetIn, refused, unavailable};
use crate::authority::Authority;
use crate::registry::change::Change;
use crate::registry::fact::ProviderFact;

/// Somebody who was let in.
pub(super) struct LetIn {
    pub user: UserId,
    pub name: Name,
    pub session: SessionId,
    pub issuer: String,
    pub minted: Minted,
}

impl Authority {
    /// Lets in whoever the id token is about, as far as the tenant's mapping goes.
    pub(super) async fn let_in(
        &self,
        attempt: &Attempt,
        tenant: TenantId,
        provider: &ProviderFact,
        received: &Received,
        nonce: Option<&str>,
    ) -> Result<LetIn, NotLetIn> {
        // Read before the facts, as in every login: a revocation that these don't show yet is later.
        let now = self.registry.clock().now();
        let identity = believe(&**self.issuers(), provider, received, nonce, now).await.map_err(|not| match not {
            NotBelieved::Unavailable => unavailable("its keys can't be had"),
            NotBelieved::Bad(why) => refused(why),
        })?;
        let issuer = identity.external.issuer.clone();
        let (user, name) = self.user_of(tenant, provider.set, identity, now).await?;
        let state = self.registry.latest();
        let minted = self.mint(&state, attempt.wish(), user, tenant, now).await;
        let (minted, session) = minted.map_err(|refused| NotLetIn { refused, why: "no token could be made" })?;
        Ok(LetIn { user, name, session, issuer, minted })
    }

    /// The tenant's user with this identity, made or brought up to date.
    ///
    /// INVARIANT own-tenant-only: an identity is looked for among the users of the tenant whose provider vouched for
    /// it, and made there; a user of that name that is somebody else's stays somebody else's.
    async fn user_of(
        &self,
        tenant: TenantId,
        set: UnixMs,
        identity: Identity,
        now: UnixMs,
    ) -> Result<(UserId, Name), NotLetIn> {
        let failed = |_| unavailable("the user can't be written");
        let mut change = self.registry.begin().await;
        // Nothing changes from here on: whoever replaced the provider did it before, and is seen.
        self.same_provider(tenant, set)?;
        let Identity { external, name, roles } = identity;
        if let Some((id, known)) = find(&change, tenant, &external) {
            let known_name = known.name.clone();
            let has_none = roles.is_empty();
            if known.roles != roles {
                change.put_user(id, User { roles, changed: now, ..(*known).clone() }).map_err(failed)?;
                change.commit().await.map_err(failed)?;
            }
            // On record, and without the roles that the provider no longer gives.
            return if has_none { Err(refused("no role")) } else { Ok((id, known_name)) };
        }
        if roles.is_empty() {
            return Err(refused("no role"));
        }
        let name = name.ok_or(refused("no name"))?;
        if change.facts().user_names.contains_key(&(tenant, name.clone())) {
            return Err(refused("the name is somebody else's"));
        }
        let id = UserId::new(now, self.registry.entropy());
        let user = User {
            tenant,
            name: name.clone(),
            roles,
            attributes: Default::default(),
            ssh_keys: Vec::new(),
            changed: now,
            kind: UserKind::Person,
            external: Some(external),
            expires: None,
        };
        change.put_user(id, user).map_err(failed)?;
        change.commit().await.map_err(failed)?;
        Ok((id, name))
    }
}

fn find(change: &Change, tenant: TenantId, external: &ExternalId) -> Option<(UserId, Arc<User>)> {
    let mut users = change.facts().users.iter();
    let found = users.find(|(_, user)| user.tenant == tenant && user.external.as_ref() == Some(external));
    found.map(|(id, user)| (*id, Arc::clone(user)))
}
