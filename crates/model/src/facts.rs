//! What decisions need to know, at one epoch: tenants, users, record types, policies, revocations.
//!
//! The authority makes a new [`Facts`] at each change; everyone else holds one immutable snapshot per request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::control::PolicyFile;
use crate::id::{SessionId, TenantId, TokenId, UserId};
use crate::name::Name;
use crate::request::Narrowing;
use crate::types::RecordTypes;
use crate::value::{Kind, Value};

/// The tenant that operators belong to. It has no records, and no other tenant can take its name.
pub const OPERATORS: &str = "operators";

/// Everything that decisions depend on, at one epoch.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Counts changes; a decision is made under exactly one epoch.
    pub epoch: u64,
    /// The epoch at which record types or policies last changed.
    pub policy_epoch: u64,
    /// The record types.
    pub types: Arc<RecordTypes>,
    /// The policies.
    pub policies: Arc<Vec<PolicyFile>>,
    /// Tenants by id.
    pub tenants: Arc<HashMap<TenantId, Tenant>>,
    /// Tenants by name.
    pub tenant_names: Arc<HashMap<Name, TenantId>>,
    /// Users by id, of all tenants.
    pub users: Arc<HashMap<UserId, Arc<User>>>,
    /// Users by tenant and name.
    pub user_names: Arc<HashMap<(TenantId, Name), UserId>>,
    /// What was revoked and has not expired yet.
    pub revocations: Arc<Revocations>,
}

/// A subscriber organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its name.
    pub name: Name,
    /// When it was added.
    pub created: UnixMs,
}

/// What a principal is. Policies may tell them apart, and budgets do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserKind {
    /// A human being.
    #[default]
    Person,
    /// A program that works for itself or carries other people's tokens.
    Service,
    /// A program that acts for a person and decides for itself what to do.
    Agent,
}

impl UserKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Person, Self::Service, Self::Agent];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Service => "service",
            Self::Agent => "agent",
        }
    }
}

impl std::str::FromStr for UserKind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or("one of person, service, agent")
    }
}

/// Who somebody is to the tenant's identity provider (OpenID Connect Core, section 5.7: only the two together name
/// a person).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExternalId {
    /// The provider's issuer URL.
    pub issuer: String,
    /// The provider's `sub`.
    pub subject: String,
}

/// Somebody who may log in.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "StoredUser", try_from = "StoredUser")]
pub struct User {
    /// The tenant it belongs to, the only one it can ever reach.
    pub tenant: TenantId,
    /// Its name in that tenant.
    pub name: Name,
    /// Its roles.
    pub roles: Vec<Name>,
    /// Attributes that policies may compare with.
    pub attributes: BTreeMap<Name, Value>,
    /// Public keys in OpenSSH's one-line form.
    pub ssh_keys: Vec<String>,
    /// When roles, attributes or keys last changed.
    pub changed: UnixMs,
    /// What it is.
    pub kind: UserKind,
    /// Who it is to the tenant's identity provider, if it logs in there.
    pub external: Option<ExternalId>,
    /// From when on it is nobody any more: an operator whom the tenant has given access for a time.
    pub expires: Option<UnixMs>,
}

impl User {
    /// Whether it still is somebody.
    #[must_use]
    pub fn is_there(&self, now: UnixMs) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// A [`User`] as it is stored and sent: attributes with their kinds.
#[derive(Serialize, Deserialize)]
struct StoredUser {
    tenant: TenantId,
    name: Name,
    roles: Vec<Name>,
    attributes: Vec<(Name, Kind, Vec<u8>)>,
    ssh_keys: Vec<String>,
    changed: UnixMs,
    kind: UserKind,
    external: Option<ExternalId>,
    expires: Option<UnixMs>,
}

impl From<User> for StoredUser {
    fn from(user: User) -> Self {
        // A null is no attribute: there is no way to give one.
        let attribute = |(name, value): (Name, Value)| Some((name, value.kind()?, value.to_bytes()));
        Self {
            tenant: user.tenant,
            name: user.name,
            roles: user.roles,
            attributes: user.attributes.into_iter().filter_map(attribute).collect(),
            ssh_keys: user.ssh_keys,
            changed: user.changed,
            kind: user.kind,
            external: user.external,
            expires: user.expires,
        }
    }
}

/// An attribute's bytes are not of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAttribute;

impl std::fmt::Display for BadAttribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an attribute's bytes are not of its kind")
    }
}

impl TryFrom<StoredUser> for User {
    type Error = BadAttribute;

    fn try_from(stored: StoredUser) -> Result<Self, BadAttribute> {
        let attribute = |(name, kind, bytes): (Name, Kind, Vec<u8>)| {
            Value::from_bytes(kind, &bytes).map(|value| (name, value)).map_err(|_| BadAttribute)
        };
        Ok(Self {
            tenant: stored.tenant,
            name: stored.name,
            roles: stored.roles,
            attributes: stored.attributes.into_iter().map(attribute).collect::<Result<_, _>>()?,
            ssh_keys: stored.ssh_keys,
            changed: stored.changed,
            kind: stored.kind,
            external: stored.external,
            expires: stored.expires,
        })
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// Tokens that are refused although they have not expired. Entries older than a token can live are dropped.
///
/// Tokens and sessions are kept with the tenant whose people revoked them, and only that tenant's tokens are
/// refused for it: knowing the identifier of another tenant's token is no way to end it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Revocations {
    /// Revoked tokens, and when.
    pub tokens: HashMap<(TenantId, TokenId), UnixMs>,
    /// Revoked sessions, and when.
    pub sessions: HashMap<(TenantId, SessionId), UnixMs>,
    /// Users whose tokens from logins at or before this moment are refused.
    pub users: HashMap<UserId, UnixMs>,
}

/// The caller of one request, as the facts of one epoch know it. Built from a verified token only.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The tenant.
    pub tenant: TenantId,
    /// The tenant's name.
    pub tenant_name: Name,
    /// The user.
    pub user: UserId,
    /// Roles, attributes and the rest.
    pub facts: Arc<User>,
    /// The login that the token comes from.
    pub session: SessionId,
    /// The token.
    pub token: TokenId,
    /// When the token was issued.
    pub issued: UnixMs,
    /// When the token dies.
    pub expires: UnixMs,
    /// The limits that the token carries beyond the user's own.
    pub narrowing: Arc<Narrowing>,
    /// Who acts for the user with this token; may do no more than both may.
    pub actor: Option<Actor>,
}

impl Principal {
    /// Whose hand it is: the actor's where there is one, else the user's own.
    #[must_use]
    pub fn acting(&self) -> (UserId, &Arc<User>) {
        self.actor.as_ref().map_or((self.user, &self.facts), |actor| (actor.user, &actor.facts))
    }
}

/// A service or agent that acts for somebody else, in the same tenant.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The actor.
    pub user: UserId,
    /// Its roles, attributes and the rest.
    pub facts: Arc<User>,
}
