//! People who log in with their tenant's OpenID Connect provider.
//!
//! Each tenant may have one provider. It is believed about the people of that tenant and about nobody else: an
//! identity is a provider's issuer and subject *within one tenant*, and there is no way from one tenant's provider to
//! another tenant's user, nor to an operator, nor to somebody who logs in with SSH keys.
//!
//! Two ways in: the authorization code flow with PKCE, for whoever has a browser, and the device flow (RFC 8628), for
//! whoever has only a terminal. Both end in an id token, which is checked as OpenID Connect Core, section 3.1.3.7,
//! asks, and which decides name and roles by the tenant's mapping. What the person then holds is one of our own tokens;
//! the provider's are dropped.
//!
//! [`issuers`] and [`fetch`] also serve for workloads that join with a platform's identity token.

mod code;
mod device;
mod entry;
mod identity;
pub mod issuers;
mod pending;
mod provider;
mod token_endpoint;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use countersign_audit::{Body, Reason, Record, Service, Verdict};
use countersign_model::request::Door;
use countersign_model::{Name, RequestId, TenantId, UnixMs};
use countersign_token::{Binding, Minted};

use self::fetch::Outbound;
use self::pending::Pending;
use crate::authority::Authority;
use crate::error::LoginRefused;
use crate::login::Wish;
use crate::registry::fact::ProviderFact;

pub use countersign_outbound::{address, fetch};

pub use self::code::{CodeLogin, CodeReturn};
pub use self::device::{DeviceLogin, DevicePoll};
pub use self::issuers::{Issuer, IssuerError, Issuers, KeySource, NotVerified, verify};

/// What logging in with providers needs.
pub(crate) struct People {
    pub(crate) issuers: Arc<Issuers>,
    pending: Pending,
}

impl People {
    pub(crate) fn new(outbound: Arc<dyn Outbound>) -> Self {
        Self { issuers: Arc::new(Issuers::new(outbound)), pending: Pending::default() }
    }
}

/// One attempt to log in, for its record and its token.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// Names it in the audit record.
    pub request: RequestId,
    /// How it arrived.
    pub door: Option<Door>,
    /// How long the token shall live; `None` is as long as the deployment gives.
    pub lifetime_ms: Option<u64>,
    /// The key that the token is bound to, which the caller has proved to hold.
    pub binding: Option<Binding>,
}

impl Attempt {
    const fn wish(&self) -> Wish {
        Wish { lifetime_ms: self.lifetime_ms, binding: self.binding }
    }
}

/// Why nobody is let in: the word for callers, and what the tenant's admins find in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NotLetIn {
    refused: LoginRefused,
    why: &'static str,
}

const fn refused(why: &'static str) -> NotLetIn {
    NotLetIn { refused: LoginRefused::Refused, why }
}

const fn unavailable(why: &'static str) -> NotLetIn {
    NotLetIn { refused: LoginRefused::Unavailable, why }
}

impl Authority {
    /// The provider of a tenant. A tenant without one, and one that doesn't exist, are the same.
    fn provider_of(&self, tenant: &Name) -> Result<(TenantId, Arc<ProviderFact>), NotLetIn> {
        let none = refused("no provider");
        let tenant = *self.facts().tenant_names.get(tenant).ok_or(none)?;
        Ok((tenant, self.registry.provider(tenant).ok_or(none)?))
    }

    /// The provider under whose settings of the moment `set` a login was begun, if they are still in force.
    fn same_provider(&self, tenant: TenantId, set: UnixMs) -> Result<Arc<ProviderFact>, NotLetIn> {
        let provider = self.registry.provider(tenant).filter(|provider| provider.set == set);
        provider.ok_or(refused("the provider was changed meanwhile"))
    }

    /// Makes the record of an attempt that failed, before its answer leaves.
    async fn record_not_let_in(
        &self,
        attempt: &Attempt,
        tenant: Option<TenantId>,
        not: NotLetIn,
    ) -> Result<LoginRefused, LoginRefused> {
        let reason = match not.refused {
            LoginRefused::Refused => Reason::BadProof,
            LoginRefused::Lifetime => Reason::Invalid,
            LoginRefused::Unavailable => Reason::Unavailable,
        };
        let verdict = if reason == Reason::Unavailable { Verdict::Failed } else { Verdict::Refused };
        let body = Body { reason: Some(reason), detail: Some(format!("provider: {}", not.why)), ..Body::default() };
        self.record_login(attempt, tenant, verdict, body).await?;
        Ok(not.refused)
    }

    async fn record_login(
        &self,
        attempt: &Attempt,
        tenant: Option<TenantId>,
        verdict: Verdict,
        body: Body,
    ) -> Result<(), LoginRefused> {
        let record = Record {
            time: self.registry.clock().now(),
            request: attempt.request,
            service: Service::Authority,
            door: attempt.door,
            verdict,
            tenant,
            tally: None,
            body: Body { action: "login".to_owned(), epoch: self.facts().epoch, ..body },
        };
        self.audit.append(record).await.map(drop).map_err(|_| LoginRefused::Unavailable)
    }

    /// What the flows end in: a token, or a record of why not.
    async fn conclude(
        &self,
        attempt: &Attempt,
        tenant: Option<TenantId>,
        outcome: Result<entry::LetIn, NotLetIn>,
    ) -> Result<Minted, LoginRefused> {
        match outcome {
            Err(not) => Err(self.record_not_let_in(attempt, tenant, not).await.unwrap_or_else(|failed| failed)),
            Ok(let_in) => {
                let body = Body {
                    user: Some(let_in.user),
                    user_name: Some(let_in.name.to_string()),
                    session: Some(let_in.session),
                    token: Some(let_in.minted.id()),
                    detail: Some(format!("by provider {}", let_in.issuer)),
                    credential: Some(let_in.issuer),
                    ..Body::default()
                };
                self.record_login(attempt, tenant, Verdict::Released, body).await?;
                Ok(let_in.minted)
            }
        }
    }
}
