//! What control requests are answered with. Serialized by doors as it is.

use std::collections::BTreeMap;
use std::fmt;

use countersign_audit::receipt::ReceiptView;
use countersign_model::control::{Contacts, ControlAction, PolicyFile};
use countersign_model::facts::UserKind;
use countersign_model::request::{Action, Door, Narrowing};
use countersign_model::{GrantId, Name, RecordId, RequestId, SessionId, TenantId, TokenId, UserId, Value};
use serde::Serialize;

use crate::control::erase::{ErasureEntry, ErasureProof};
use crate::control::incident::view::{IncidentEntry, IncidentView, NoticeEntry, NoticeView};

/// The answer to a control request.
///
/// Has no `Debug`: one of its variants carries a token.
#[derive(Serialize)]
#[serde(untagged)]
pub enum ControlAnswer {
    /// Who the caller is.
    WhoAmI(Box<WhoAmI>),
    /// A narrowed token.
    Token(NewToken),
    /// Something was revoked.
    Revoked(RevokedAnswer),
    /// All tenants.
    Tenants(Vec<TenantEntry>),
    /// The tenant that was added.
    Tenant(TenantEntry),
    /// The tenants whose keys were wrapped again.
    Rewrapped(RewrappedAnswer),
    /// The deployment's services.
    Services(Vec<ServiceEntry>),
    /// The service that was removed.
    Service(ServiceEntry),
    /// An invitation to a new service.
    Invitation(NewInvitation),
    /// The users of a tenant.
    Users(Vec<UserEntry>),
    /// The user that was added or changed, or removed.
    User(UserEntry),
    /// The tenant's identity provider, if there is one.
    Provider(ProviderAnswer),
    /// Record types, or what a new types file changes.
    Types(TypesAnswer),
    /// Policies, or that new ones are good.
    Policies(PoliciesAnswer),
    /// Audit records.
    Audit(AuditPage),
    /// What each service has on record of one request.
    Receipt(Box<ReceiptView>),
    /// One request's stored records, with proofs.
    Proof(ProofAnswer),
    /// What the monitor answers.
    Watch(serde_json::Value),
    /// What the custodian answers: jobs, backups.
    Custody(serde_json::Value),
    /// The receipts of what was erased.
    Erasures(Vec<ErasureEntry>),
    /// The receipt of what was just erased.
    Erasure(Box<ErasureEntry>),
    /// What is left of something that was erased.
    ErasureProof(Box<ErasureProof>),
    /// Operators' access to tenants.
    Grants(Vec<GrantEntry>),
    /// One operator's access to one tenant.
    Grant(GrantEntry),
    /// Breaches.
    Incidents(Vec<IncidentEntry>),
    /// A breach, as operators see it.
    Incident(Box<IncidentView>),
    /// Notices to the caller's tenant.
    Notices(Vec<NoticeEntry>),
    /// A notice with the records that it is about.
    Notice(Box<NoticeView>),
    /// Whom the caller's tenant is told by.
    Contacts(Contacts),
}

/// Who the caller is, for how long, and what they may do.
#[derive(Debug, Serialize)]
pub struct WhoAmI {
    /// The name.
    pub user: Name,
    /// The tenant.
    pub tenant: Name,
    /// Roles.
    pub roles: Vec<Name>,
    /// Who acts for the user with the token, if somebody does. What is below is what both may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Name>,
    /// The login.
    pub session: SessionId,
    /// The token.
    pub token: TokenId,
    /// When the token was issued, RFC 3339.
    pub issued: String,
    /// When the token dies, RFC 3339.
    pub expires: String,
    /// The limits that the token carries, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub narrowing: Option<Narrowing>,
    /// What may be done with records: by type, then by action.
    pub records: BTreeMap<Name, BTreeMap<Action, May>>,
    /// What else may be done in the caller's own tenant.
    pub control: Vec<ControlAction>,
}

/// What may be done with one record type in one way.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct May {
    /// The fields.
    pub fields: Vec<Name>,
    /// Whether that is so for `all` records or for `some`, on which policies set conditions.
    pub records: &'static str,
}

/// A token in the form of RFC 8693, section 2.2.1.
#[derive(Serialize)]
pub struct NewToken {
    /// The token: a secret.
    pub access_token: String,
    /// What kind of token it is.
    pub issued_token_type: &'static str,
    /// How it is presented.
    pub token_type: &'static str,
    /// How long it lives, in seconds.
    pub expires_in: u64,
    /// When it dies, RFC 3339.
    pub expires: String,
    /// Its identifier, by which it can be revoked.
    pub id: TokenId,
}

/// Without the token.
impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What was revoked, and when.
#[derive(Debug, Serialize)]
pub struct RevokedAnswer {
    /// `token`, `session` or `person`.
    pub revoked: &'static str,
    /// Its identifier or name.
    pub subject: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// An operator's access to a tenant.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct GrantEntry {
    /// Its identifier.
    pub id: GrantId,
    /// Who asked.
    pub operator: Name,
    /// The tenant.
    pub tenant: String,
    /// The tenant's role.
    pub role: Name,
    /// What it is for.
    pub reason: String,
    /// How long it lasts from the moment it is given, in milliseconds.
    pub lifetime_ms: u64,
    /// Whether the tenant was not asked.
    pub break_glass: bool,
    /// When it was asked for, RFC 3339.
    pub asked: String,
    /// `asked`, `given`, `refused` or `closed`.
    pub state: &'static str,
    /// Who gave, refused or ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// While it is given: until when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// While it is given: the name with which the operator logs in, with the operator's own key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

/// One tenant.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct TenantEntry {
    /// Its identifier.
    pub id: TenantId,
    /// Its name.
    pub name: Name,
    /// When it was added, RFC 3339.
    pub created: String,
    /// How many users it has.
    pub users: usize,
    /// The key management service that wraps its key, if that isn't the deployment's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms: Option<Name>,
}

/// What came of wrapping tenants' keys again.
#[derive(Debug, Serialize)]
pub struct RewrappedAnswer {
    /// Those that are wrapped anew.
    pub rewrapped: Vec<RewrappedKey>,
    /// Those whose key management service could not be asked: they are as they were.
    pub failed: Vec<Name>,
}

/// A tenant's key that was wrapped again.
#[derive(Debug, Serialize)]
pub struct RewrappedKey {
    /// The tenant.
    pub tenant: Name,
    /// The key management service, if it isn't the deployment's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms: Option<Name>,
    /// The version of that service's key.
    pub version: u32,
}

/// One service of the deployment.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ServiceEntry {
    /// Its SPIFFE ID.
    pub id: String,
    /// What it is.
    pub role: String,
    /// Its name in that role.
    pub name: String,
    /// When it joined, RFC 3339.
    pub joined: String,
    /// `join token`, `same process`, or the name of the platform that spoke for it.
    pub joined_by: String,
    /// Until when its last certificate is valid, RFC 3339; absent if it got none since the authority was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certified_until: Option<String>,
}

/// An invitation to a new service. Has no `Debug` that shows the token.
#[derive(Serialize)]
pub struct NewInvitation {
    /// The join token: a secret.
    pub join_token: String,
    /// What the service will be.
    pub role: String,
    /// Its name in that role; absent if the authority will choose one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Until when the token is good, RFC 3339.
    pub expires: String,
}

/// Without the token.
impl fmt::Debug for NewInvitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewInvitation").field("role", &self.role).field("name", &self.name).finish_non_exhaustive()
    }
}

/// One user.
#[derive(Debug, Serialize)]
pub struct UserEntry {
    /// Its identifier.
    pub id: UserId,
    /// Its name in the tenant.
    pub name: Name,
    /// The tenant.
    pub tenant: Name,
    /// Roles.
    pub roles: Vec<Name>,
    /// Roles that no policy names, so that they permit nothing: probably misspelt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_roles: Vec<Name>,
    /// Attributes.
    pub attributes: BTreeMap<Name, Value>,
    /// Keys that log in.
    pub ssh_keys: Vec<UserKey>,
    /// A person, a service or an agent.
    pub kind: UserKind,
    /// Who it is to the tenant's identity provider, if it logs in there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<UserIdentity>,
    /// When any of these last changed, RFC 3339.
    pub changed: String,
}

/// Who a user is to the tenant's identity provider.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct UserIdentity {
    /// The provider's issuer identifier.
    pub issuer: String,
    /// The provider's `sub`.
    pub subject: String,
}

/// A key that logs in.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct UserKey {
    /// `SHA256:` and the digest.
    pub fingerprint: String,
    /// The kind of key.
    pub kind: String,
    /// What its owner wrote after it.
    pub comment: String,
}

/// A tenant's identity provider, without its secret.
#[derive(Debug, Serialize)]
pub struct ProviderAnswer {
    /// The provider; `null` if there is none.
    pub provider: Option<ProviderEntry>,
}

/// The settings of an identity provider, without its secret.
#[derive(Debug, Serialize)]
pub struct ProviderEntry {
    /// Its issuer identifier.
    pub issuer: String,
    /// The name under which the deployment is registered there.
    pub client_id: String,
    /// Whether a secret goes with it.
    pub has_client_secret: bool,
    /// Where people may be sent back to.
    pub redirect_uris: Vec<String>,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// The claim that gives a person's name.
    pub name_claim: String,
    /// The claim that gives roles.
    pub role_claim: String,
    /// From the values of that claim to roles.
    pub roles: BTreeMap<String, Name>,
    /// The signature algorithms that are accepted.
    pub algorithms: Vec<String>,
    /// Certificate authorities that are trusted for it besides the platform's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// When this was set, RFC 3339.
    pub set: String,
}

/// Record types.
#[derive(Debug, Serialize)]
pub struct TypesAnswer {
    /// The types file in force, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What a new file changes, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<String>>,
    /// Whether it is in force: not after a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<bool>,
}

/// Policies.
#[derive(Debug, Serialize)]
pub struct PoliciesAnswer {
    /// The policy files in force, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<PolicyFile>>,
    /// The Cedar schema that policies are checked against, if the files were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The roles that the policies name.
    pub roles: Vec<Name>,
    /// Whether new ones are in force: not after a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<bool>,
}

/// One request's stored records, each with the proof that it is in its service's log. What can be checked without a
/// deployment; see *Proofs* in `docs/formats.md`.
#[derive(Debug, Serialize)]
pub struct ProofAnswer {
    /// Of this form: 1.
    pub version: u8,
    /// The request.
    pub request: RequestId,
    /// The records of all services.
    pub records: Vec<ProofEntry>,
}

/// One stored record, with the proof that it is in its service's log.
#[derive(Debug, Serialize)]
pub struct ProofEntry {
    /// Which log.
    pub log: String,
    /// The key that the log's checkpoints are signed with, as a verifier key (C2SP signed-note).
    pub key: String,
    /// The stored record, Base64.
    pub leaf: String,
    /// The proof with the checkpoint (C2SP tlog-proof).
    pub proof: String,
}

/// Audit records, oldest first.
#[derive(Debug, Serialize)]
pub struct AuditPage {
    /// The records.
    pub records: Vec<AuditEntry>,
    /// Where to go on: the next query's `after`.
    pub next: String,
}

/// One audit record, with names in place of identifiers where the caller's tenant has them.
#[derive(Debug, Serialize)]
pub struct AuditEntry {
    /// The record's place in its service's ledger.
    pub position: u64,
    /// When, RFC 3339.
    pub time: String,
    /// The request.
    pub request: RequestId,
    /// Which service decided.
    pub service: &'static str,
    /// By which protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub door: Option<Door>,
    /// What was decided.
    pub verdict: &'static str,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Who, by the name of that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Who, for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// On whose behalf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// The login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// What was to be done.
    pub action: String,
    /// What it was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The epoch of the facts it was decided under.
    pub epoch: u64,
    /// What was read or changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accesses: Vec<AuditAccess>,
    /// How many records were changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affected: Option<u64>,
    /// What a control request asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What was read or changed of one record type.
#[derive(Debug, Serialize)]
pub struct AuditAccess {
    /// The type.
    #[serde(rename = "type")]
    pub record_type: String,
    /// The fields given or changed.
    pub fields: Vec<String>,
    /// The fields that decided which records.
    pub filter_fields: Vec<String>,
    /// How many records.
    pub records: u64,
    /// Which ones, by the identifiers that Countersign made: the first hundred, or the one
    /// that was asked about.
    pub record_ids: Vec<RecordId>,
    /// How many rows.
    pub rows: u64,
}
