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
use crate::value::Value;

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

/// Somebody who may log in.
#[derive(Clone, PartialEq)]
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
}
