//! What Countersign says that a token's holder may do.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use countersign_model::UnixMs;
use countersign_token::Verified;
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::builder::Settings;
use crate::keys::is_recent;
use crate::{Action, Refused};

/// Who a caller is by name, and what it may do with records: what is left by policy and by the token's limits.
///
/// As of a moment ago; don't keep it.
#[derive(Debug)]
pub struct Permissions {
    user: String,
    tenant: String,
    roles: Vec<String>,
    records: BTreeMap<String, BTreeMap<Action, Permission>>,
}

/// What may be done with one record type in one way.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Permission {
    fields: BTreeSet<String>,
    records: Records,
}

/// With which records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Records {
    /// With every one.
    All,
    /// With some: policies set conditions on records, which only Countersign can judge.
    Some,
}

impl Permission {
    /// The fields.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(String::as_str)
    }

    /// With which records.
    #[must_use]
    pub const fn records(&self) -> Records {
        self.records
    }
}

impl Permissions {
    /// The user's name in the tenant.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The tenant's name.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The user's roles. For showing: what follows from them, policies say.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// What may be done with that record type in that way; `None` is nothing.
    #[must_use]
    pub fn on(&self, action: Action, record_type: &str) -> Option<&Permission> {
        self.records.get(record_type)?.get(&action)
    }

    /// See [`Caller::may`](crate::Caller::may).
    #[must_use]
    pub fn may(&self, action: Action, record_type: &str, fields: &[&str]) -> bool {
        let permission = self.on(action, record_type);
        permission.is_some_and(|permission| fields.iter().all(|field| permission.fields.contains(*field)))
    }

    pub(crate) fn read(status: StatusCode, body: &[u8], verified: &Verified) -> Result<Arc<Self>, Refused> {
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Err(Refused::Revoked),
            StatusCode::FORBIDDEN => return Err(Refused::Forbidden),
            _ => return Err(Refused::Unavailable),
        }
        let said: WhoAmI = serde_json::from_slice(body).map_err(|_| Refused::Unavailable)?;
        if said.token.as_bytes() != verified.token().as_bytes() {
            return Err(Refused::Unavailable);
        }
        let known = |actions: BTreeMap<String, Permission>| {
            let known = actions.into_iter().filter_map(|(word, may)| Some((action(&word)?, may)));
            known.collect()
        };
        let records = said.records.into_iter().map(|(name, actions)| (name, known(actions))).collect();
        Ok(Arc::new(Self { user: said.user, tenant: said.tenant, roles: said.roles, records }))
    }
}

/// The answer, as far as it matters here. What a later version adds is passed over: permissions only add up.
#[derive(Deserialize)]
struct WhoAmI {
    user: String,
    tenant: String,
    roles: Vec<String>,
    token: Uuid,
    records: BTreeMap<String, BTreeMap<String, Permission>>,
}

fn action(word: &str) -> Option<Action> {
    let all =
        [("read", Action::Read), ("create", Action::Create), ("update", Action::Update), ("delete", Action::Delete)];
    all.into_iter().find(|(known, _)| *known == word).map(|(_, action)| action)
}

/// What was last answered about one token. Who comes while another one is asking waits for that answer.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Answer>>);

struct Answer {
    /// When it was asked, not when it was answered: a revocation in between is not in it.
    asked: UnixMs,
    outcome: Result<Arc<Permissions>, Refused>,
}

impl Slot {
    /// The last answer if it is recent, and otherwise a new one. That there was none is not kept.
    pub async fn recent_or<F>(&self, settings: &Settings, ask: impl FnOnce() -> F) -> Result<Arc<Permissions>, Refused>
    where
        F: Future<Output = Result<Arc<Permissions>, Refused>>,
    {
        let mut answer = self.0.lock().await;
        let now = settings.clock.now();
        if let Some(Answer { asked, outcome }) = &*answer
            && is_recent(now, *asked, settings.remember_ms)
        {
            return outcome.clone();
        }
        *answer = None;
        let outcome = ask().await;
        if !matches!(outcome, Err(Refused::Unavailable)) {
            *answer = Some(Answer { asked: now, outcome: outcome.clone() });
        }
        outcome
    }
}
