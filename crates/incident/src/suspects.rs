//! Whose doings an incident is about.

use std::collections::BTreeSet;

use countersign_audit::{Exposure, Selector, Service, Signal, Verdict};
use countersign_model::{RequestId, SessionId, TenantId, TokenId, UnixMs, UserId};

/// What people do with their own token, such as making another from it.
const OWN_TOKEN: &str = "use_own_token";

/// Whose doings count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suspects {
    tokens: BTreeSet<TokenId>,
    sessions: BTreeSet<SessionId>,
    users: BTreeSet<UserId>,
    tenants: BTreeSet<TenantId>,
    service: Option<(Service, Option<String>)>,
    /// The digests of tokens that were made from those that count.
    made: BTreeSet<u64>,
    /// Logins that such tokens may belong to.
    near: BTreeSet<SessionId>,
    /// The requests that made such tokens.
    exchanges: BTreeSet<RequestId>,
}

impl Suspects {
    /// One token, and those made from it.
    #[must_use]
    pub fn token(token: TokenId) -> Self {
        Self { tokens: BTreeSet::from([token]), ..Self::default() }
    }

    /// One login, and the tokens made from its tokens.
    #[must_use]
    pub fn session(session: SessionId) -> Self {
        Self { sessions: BTreeSet::from([session]), ..Self::default() }
    }

    /// One principal: what it did, also for others, and what others did for it.
    #[must_use]
    pub fn user(user: UserId) -> Self {
        Self { users: BTreeSet::from([user]), ..Self::default() }
    }

    /// Every request that a service took part in; of one that has a name in its role, or of all in that role.
    #[must_use]
    pub fn service(role: Service, name: Option<String>) -> Self {
        Self { service: Some((role, name)), ..Self::default() }
    }

    /// Every request of one tenant.
    #[must_use]
    pub fn tenant(tenant: TenantId) -> Self {
        Self { tenants: BTreeSet::from([tenant]), ..Self::default() }
    }

    /// The service, where it is one.
    #[must_use]
    pub fn of_service(&self) -> Option<(Service, Option<&str>)> {
        self.service.as_ref().map(|(role, name)| (*role, name.as_deref()))
    }

    /// Whether tokens may have been made from those that count, so that it takes the authority's records to know all.
    #[must_use]
    pub fn have_children(&self) -> bool {
        !self.tokens.is_empty() || !self.sessions.is_empty()
    }

    /// Learns from the authority's records, in their order and not only those of the time in question, which tokens were
    /// made from those that count. A token can be used only after it was made, so one pass knows them all. It may come in
    /// parts.
    pub fn learn<'a>(&mut self, authority: impl IntoIterator<Item = &'a Exposure>) {
        for exposure in authority {
            let Some(signal) = &exposure.signal else { continue };
            if !self.are(signal) {
                // Who acts for somebody gets a token of that one's login: it is in the other record of the same exchange.
                if self.exchanges.contains(&exposure.request) {
                    self.near.extend(signal.session);
                }
                continue;
            }
            if let Some(token) = signal.token {
                self.tokens_of(token);
            }
            self.near.extend(signal.session.filter(|_| self.have_children()));
            let made = exposure.verdict != Verdict::Refused && signal.action == OWN_TOKEN;
            if let Some(child) = signal.credential.filter(|_| made) {
                self.made.insert(child);
                self.exchanges.insert(exposure.request);
            }
        }
    }

    /// A child that was seen is known by its identifier from then on.
    fn tokens_of(&mut self, token: TokenId) {
        if self.made.contains(&digest(token)) {
            self.tokens.insert(token);
        }
    }

    /// Whether what a record tells is one of their doings.
    #[must_use]
    pub fn are(&self, signal: &Signal) -> bool {
        let Signal { token, session, user, on_behalf_of, .. } = signal;
        token.is_some_and(|token| self.tokens.contains(&token) || self.made.contains(&digest(token)))
            || session.is_some_and(|session| self.sessions.contains(&session))
            || [user, on_behalf_of].into_iter().flatten().any(|user| self.users.contains(user))
    }

    /// Whether a record counts, wherever it is in time. Of a service, see [`Gathering`](crate::Gathering).
    #[must_use]
    pub(crate) fn count(&self, exposure: &Exposure) -> bool {
        self.service.is_some()
            || exposure.tenant.is_some_and(|tenant| self.tenants.contains(&tenant))
            || exposure.signal.as_ref().is_some_and(|signal| self.are(signal))
    }

    /// Whether tokens are known to have been made from those that count.
    #[must_use]
    pub fn made_tokens(&self) -> bool {
        !self.made.is_empty()
    }

    /// The logins that such tokens belong to; none if there are no such tokens.
    pub fn logins_of_made(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.near.iter().copied().filter(|_| self.made_tokens())
    }

    /// What to ask ledgers for: at least everything that counts.
    #[must_use]
    pub fn selector(&self, since: UnixMs, until: Option<UnixMs>) -> Selector {
        let sessions: BTreeSet<SessionId> = self.sessions.iter().copied().chain(self.logins_of_made()).collect();
        Selector {
            tokens: self.tokens.iter().copied().collect(),
            sessions: sessions.into_iter().collect(),
            users: self.users.iter().copied().collect(),
            tenants: self.tenants.iter().copied().collect(),
            since,
            until,
            ..Selector::default()
        }
    }
}

/// What stands for a token in the record of its making.
fn digest(token: TokenId) -> u64 {
    Signal::digest(&Signal::made(token))
}

#[cfg(test)]
mod tests;
