//! What a breach came to, asked of every service's ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_audit::{Exposure, Selector};
use countersign_crypto::{Aad, sealed_epoch};
use countersign_guard::Permit;
use countersign_incident::{Exact, Gathering, Radius, Suspects};
use countersign_model::incident::Culprit;
use countersign_model::{IncidentId, Service, TenantId, UnixMs};
use countersign_services::{Call, ServiceFailure, Trail};
use countersign_token::MAX_LIFETIME_MS;

use super::fact::Hands;
use super::{invalid, not_found};
use crate::authority::Authority;
use crate::control::called;
use crate::error::ControlFailure;

/// How many records a ledger is asked for at a time.
const PAGE: usize = 10_000;

/// What the ledgers say.
pub(super) struct Reached {
    pub radius: Radius,
    pub exact: BTreeMap<TenantId, Exact>,
    pub hands: BTreeMap<TenantId, Hands>,
    pub suspects: Suspects,
}

impl Authority {
    /// Whose doings count.
    pub(super) fn suspects(&self, culprit: &Culprit) -> Result<Suspects, ControlFailure> {
        let facts = self.facts();
        let tenant = |name| facts.tenant_names.get(name).copied().ok_or_else(|| not_found("tenant", name));
        Ok(match culprit {
            Culprit::Token(token) => Suspects::token(*token),
            Culprit::Session(session) => Suspects::session(*session),
            Culprit::Principal { tenant: of, name } => {
                let user = facts.user_names.get(&(tenant(of)?, name.clone())).copied();
                Suspects::user(user.ok_or_else(|| not_found("user", name))?)
            }
            Culprit::Service { role, name } => {
                let role = role.as_str().parse::<Service>();
                let role = role.map_err(|error| invalid("service", error.to_string()))?;
                Suspects::service(role, name.as_ref().map(ToString::to_string))
            }
            Culprit::TenantKey(name) => Suspects::tenant(tenant(name)?),
            Culprit::Erased(_) => return Err(invalid("culprit", "one that was not erased")),
        })
    }

    /// Asks every ledger, once, for what the culprit did from `since` on, until `until` or now.
    pub(super) async fn reach(
        &self,
        permit: &Permit,
        culprit: &Culprit,
        since: UnixMs,
        until: Option<UnixMs>,
    ) -> Result<Reached, ControlFailure> {
        let (call, mut suspects) = (Call::of(permit, Service::Authority), self.suspects(culprit)?);
        let (trails, mut hands) = (self.trails.all(), BTreeMap::new());
        if suspects.have_children() {
            // A token that was used in that time was made before, and by the authority.
            let before =
                Selector { since: UnixMs(since.0.saturating_sub(MAX_LIFETIME_MS)), limit: PAGE, ..Selector::default() };
            for (_, trail) in trails.iter().filter(|(name, _)| is_of(name, Service::Authority)) {
                let taken = each(&**trail, &call, before.clone(), |page| {
                    suspects.learn(&page);
                    page.iter().for_each(|exposure| note(&suspects, &mut hands, exposure));
                });
                taken.await?;
            }
        }
        let selector = Selector { limit: PAGE, ..suspects.selector(since, until) };
        let mut gathering = Gathering::new(suspects.clone(), since, until);
        for (name, trail) in &trails {
            let taken = each(&**trail, &call, selector.clone(), |page| {
                for exposure in page {
                    note(&suspects, &mut hands, &exposure);
                    gathering.add(name, exposure);
                }
            });
            if !taken.await? {
                gathering.silent(name);
            }
        }
        let (mut radius, exact) = gathering.finish_exact();
        self.everything(culprit, &mut radius);
        for (name, log) in self.logs.all() {
            // Where all services are one process, a ledger goes by its service's name alone.
            let short = name.0.split('/').next().unwrap_or_default();
            let key = if radius.logs.contains_key(&name.0) { name.0.as_str() } else { short };
            if let Some(part) = radius.logs.get_mut(key) {
                part.checkpoint = log.checkpoint().await.ok();
            }
        }
        Ok(Reached { radius, exact, hands, suspects })
    }

    /// Whoever had a key, or the service that opens keys, can open what was never asked for.
    fn everything(&self, culprit: &Culprit, radius: &mut Radius) {
        match culprit {
            Culprit::TenantKey(name) => {
                if let Some(tenant) = self.facts().tenant_names.get(name) {
                    radius.tenants.entry(*tenant).or_default().everything = true;
                }
            }
            Culprit::Service { role, .. } if role.as_str() == Service::Keys.as_str() => {
                radius.tenants.values_mut().for_each(|told| told.everything = true);
            }
            _ => {}
        }
    }

    /// The exact part of each tenant, sealed under the tenant's key: of those whose key is at hand, and whose records
    /// could all be opened.
    pub(super) async fn sealed(
        &self,
        id: IncidentId,
        radius: &Radius,
        exact: BTreeMap<TenantId, Exact>,
    ) -> BTreeMap<TenantId, Vec<u8>> {
        let whole = |tenant: &TenantId| radius.tenants.get(tenant).is_some_and(|told| told.unopened == 0);
        let exact: Vec<_> = exact.into_iter().filter(|(tenant, _)| whole(tenant)).collect();
        let registry = Arc::clone(&self.registry);
        // A key management service may be asked for each key.
        let sealing = tokio::task::spawn_blocking(move || {
            let seal = |(tenant, exact): (TenantId, Exact)| {
                let key = registry.tenant_keys().seal_key(tenant, Exact::label()).ok()?;
                let plain = postcard::to_stdvec(&exact).ok()?;
                Some((tenant, key.seal(registry.entropy(), &aad(id, tenant), &plain)))
            };
            exact.into_iter().filter_map(seal).collect()
        });
        sealing.await.unwrap_or_default()
    }

    /// Opens what [`Self::sealed`] sealed, for the tenant itself.
    pub(super) async fn unsealed(&self, id: IncidentId, tenant: TenantId, sealed: Vec<u8>) -> Option<Exact> {
        let registry = Arc::clone(&self.registry);
        let opening = tokio::task::spawn_blocking(move || {
            let epoch = sealed_epoch(&sealed)?;
            let key = registry.tenant_keys().seal_key_at(tenant, Exact::label(), epoch).ok()?;
            let plain = key.open(&aad(id, tenant), &sealed).ok()?;
            postcard::from_bytes(&plain).ok()
        });
        opening.await.ok()?
    }
}

fn aad(id: IncidentId, tenant: TenantId) -> Aad {
    Aad::new("incident-records.1").part(id.as_bytes()).part(tenant.as_bytes())
}

/// All pages of one ledger. `false` if it can't be asked, or not to its end.
async fn each(
    trail: &dyn Trail,
    call: &Call<'_>,
    mut selector: Selector,
    mut take: impl FnMut(Vec<Exposure>) + Send,
) -> Result<bool, ControlFailure> {
    loop {
        let page = match trail.exposures(call, &selector).await {
            Ok(page) => page,
            Err(refused @ ServiceFailure::Refused(_)) => return Err(called("audit ledger")(refused)),
            Err(_) => return Ok(false),
        };
        let is_last = page.len() < selector.limit;
        selector.after = page.last().map(|exposure| exposure.position).or(selector.after);
        take(page);
        if is_last {
            return Ok(true);
        }
    }
}

pub(super) fn is_of(log: &str, service: Service) -> bool {
    log.split('/').next() == Some(service.as_str())
}

/// What was used: to be ended.
fn note(suspects: &Suspects, hands: &mut BTreeMap<TenantId, Hands>, exposure: &Exposure) {
    let (Some(tenant), Some(signal)) = (exposure.tenant, &exposure.signal) else { return };
    let passed = suspects.of_service().is_some_and(|(role, _)| role == exposure.service);
    if !(passed || suspects.are(signal)) {
        return;
    }
    let hands = hands.entry(tenant).or_default();
    hands.tokens.extend(signal.token);
    hands.sessions.extend(signal.session);
    hands.users.extend([signal.user, signal.on_behalf_of].into_iter().flatten());
}
