//! The device flow (RFC 8628), passed on to the tenant's provider.

use countersign_model::{Name, TenantId, UnixMs};
use countersign_token::Minted;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::address::HttpsUrl;
use super::code::scope;
use super::identity::{Received, issuer_of};
use super::pending::{Flow, LOGIN_MS, Waiting};
use super::token_endpoint::{Denied, ask, tokens};
use super::{Attempt, NotLetIn, refused, unavailable};
use crate::authority::Authority;
use crate::error::LoginRefused;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// How long to wait between two questions unless the provider says otherwise, in seconds.
const INTERVAL: u64 = 5;

/// The longest interval that is kept to, in seconds.
const INTERVAL_MAX: u64 = 60;

/// By how much the interval grows when a question came too early, in seconds (RFC 8628, section 3.5).
const SLOWER: u64 = 5;

/// The longest user code.
const USER_CODE_MAX_BYTES: usize = 64;

/// A login that was begun on a device without a browser.
pub struct DeviceLogin {
    /// By which the device asks whether the person has logged in: a secret.
    pub id: String,
    /// What the person types in.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it, where the provider has that.
    pub verification_uri_complete: Option<String>,
    /// How long to wait between two questions, in seconds.
    pub interval: u64,
    /// How long the person has, in seconds.
    pub expires_in: u64,
}

/// Why there is no token yet, or ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DevicePoll {
    /// The person has not finished.
    #[error("the person has not logged in yet")]
    Pending,
    /// The question came too early. The interval is longer by 5 seconds from now on.
    #[error("asked too early: wait 5 seconds longer from now on")]
    SlowDown,
    /// The login is over.
    #[error(transparent)]
    Over(#[from] LoginRefused),
}

#[derive(Deserialize)]
struct Begun {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

impl Authority {
    /// Begins to log in with the provider of `tenant`, on a device without a browser.
    ///
    /// # Errors
    /// [`LoginRefused`]; a tenant that doesn't exist, and one without provider or device flow, are one answer. Refusals
    /// are on record.
    pub async fn device_login(&self, attempt: &Attempt, tenant: &Name) -> Result<DeviceLogin, LoginRefused> {
        match self.begin_device(tenant).await {
            Ok(begun) => Ok(begun),
            Err(not) => {
                let tenant = self.facts().tenant_names.get(tenant).copied();
                Err(self.record_not_let_in(attempt, tenant, not).await.unwrap_or_else(|failed| failed))
            }
        }
    }

    async fn begin_device(&self, tenant: &Name) -> Result<DeviceLogin, NotLetIn> {
        let (tenant, provider) = self.provider_of(tenant)?;
        let (now, entropy) = (self.registry.clock().now(), self.registry.entropy());
        let too_many = unavailable("too many begin to log in");
        if !self.people.pending.has_room(tenant, now) {
            return Err(too_many);
        }
        let issuers = &self.people.issuers;
        let metadata = issuers.metadata(&issuer_of(&provider), now).await;
        let metadata = metadata.map_err(|_| unavailable("it can't be reached"))?;
        let endpoint = metadata.device_authorization_endpoint.as_ref().ok_or(refused("it has no device flow"))?;
        let scope = scope(&provider.settings.scopes);
        let begun: Result<Begun, Denied> = ask(issuers, &provider, &metadata, endpoint, &[("scope", &scope)]).await;
        let begun = begun.map_err(|_| unavailable("it began no device flow"))?;
        if !is_presentable(&begun) {
            return Err(unavailable("it began no device flow"));
        }
        let interval = begun.interval.unwrap_or(INTERVAL).clamp(1, INTERVAL_MAX);
        let expires_in = begun.expires_in.min(LOGIN_MS / 1000);
        let flow = Flow::Device {
            device_code: Zeroizing::new(begun.device_code),
            interval_ms: interval.saturating_mul(1000),
            next: now,
        };
        let expires = now.plus_ms(expires_in.saturating_mul(1000));
        let waiting = Waiting { tenant, set: provider.set, expires, flow };
        let id = self.people.pending.keep(waiting, now, entropy).ok_or(too_many)?;
        let Begun { user_code, verification_uri, verification_uri_complete, .. } = begun;
        Ok(DeviceLogin { id, user_code, verification_uri, verification_uri_complete, interval, expires_in })
    }

    /// A token if the person has logged in. On record before the token leaves, and so is an end without one.
    ///
    /// # Errors
    /// [`DevicePoll`].
    pub async fn device_poll(&self, attempt: &Attempt, id: &str) -> Result<Minted, DevicePoll> {
        let now = self.registry.clock().now();
        let asked = self.people.pending.change(id, now, |waiting| {
            let (tenant, set) = (waiting.tenant, waiting.set);
            let Flow::Device { device_code, interval_ms, next } = &mut waiting.flow else { return None };
            let early = now < *next;
            if early {
                *interval_ms = interval_ms.saturating_add(SLOWER.saturating_mul(1000));
            }
            *next = now.plus_ms(*interval_ms);
            Some((tenant, set, early, device_code.clone()))
        });
        let Some((tenant, set, early, device_code)) = asked.flatten() else {
            let outcome = self.conclude(attempt, None, Err(refused("no such login"))).await;
            return outcome.map_err(DevicePoll::Over);
        };
        if early {
            return Err(DevicePoll::SlowDown);
        }
        let answered = self.poll_provider(tenant, set, &device_code, now).await;
        let outcome = match answered {
            Err(Answer::GoOn(poll)) => {
                if poll == DevicePoll::SlowDown {
                    self.slow_down(id, now);
                }
                return Err(poll);
            }
            Err(Answer::Not(not)) if not.refused == LoginRefused::Unavailable => Err(not),
            Err(Answer::Not(not)) => {
                self.people.pending.take(id, now, |_| true);
                Err(not)
            }
            Ok(received) => match self.people.pending.take(id, now, |_| true) {
                // Somebody else asked at the same time and was first.
                None => Err(refused("no such login")),
                Some(_) => match self.same_provider(tenant, set) {
                    Ok(provider) => self.let_in(attempt, tenant, &provider, &received, None).await,
                    Err(not) => Err(not),
                },
            },
        };
        Ok(self.conclude(attempt, Some(tenant), outcome).await?)
    }

    fn slow_down(&self, id: &str, now: UnixMs) {
        self.people.pending.change(id, now, |waiting| {
            if let Flow::Device { interval_ms, next, .. } = &mut waiting.flow {
                *interval_ms = interval_ms.saturating_add(SLOWER.saturating_mul(1000));
                *next = now.plus_ms(*interval_ms);
            }
        });
    }

    async fn poll_provider(
        &self,
        tenant: TenantId,
        set: UnixMs,
        device_code: &str,
        now: UnixMs,
    ) -> Result<Received, Answer> {
        let provider = self.same_provider(tenant, set).map_err(Answer::Not)?;
        let issuers = &self.people.issuers;
        let metadata = issuers.metadata(&issuer_of(&provider), now).await;
        let metadata = metadata.map_err(|_| Answer::Not(unavailable("it can't be reached")))?;
        let pairs = [("grant_type", GRANT), ("device_code", device_code)];
        tokens(issuers, &provider, &metadata, &pairs).await.map_err(|denied| match denied {
            Denied::Unavailable => Answer::Not(unavailable("it gave no id token")),
            Denied::Error(word) => match word.as_str() {
                "authorization_pending" => Answer::GoOn(DevicePoll::Pending),
                "slow_down" => Answer::GoOn(DevicePoll::SlowDown),
                "expired_token" => Answer::Not(refused("the device code expired")),
                "access_denied" => Answer::Not(refused("the person said no")),
                _ => Answer::Not(refused("it refused the device code")),
            },
        })
    }
}

enum Answer {
    GoOn(DevicePoll),
    Not(NotLetIn),
}

/// What is shown in a terminal is text and nothing that a terminal obeys.
fn is_presentable(begun: &Begun) -> bool {
    let Begun { user_code, verification_uri, verification_uri_complete, .. } = begun;
    (1..=USER_CODE_MAX_BYTES).contains(&user_code.len())
        && user_code.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && HttpsUrl::parse(verification_uri).is_some()
        && verification_uri_complete.as_deref().is_none_or(|uri| HttpsUrl::parse(uri).is_some())
}
