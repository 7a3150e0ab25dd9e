//! Requests that manage a deployment or a tenant. They pass the same guard as requests for records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::facts::UserKind;
use crate::id::{RequestId, SessionId, TokenId};
use crate::name::Name;

/// The name by which requests mean the deployment's own key management service. No other has it.
pub const DEFAULT_KMS: &str = "default";

/// What a control request does; the action that policies name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlAction {
    /// Add and list tenants, and choose what wraps their keys. For operators.
    ManageTenants,
    /// Invite, list and remove the deployment's services. For operators.
    ManageServices,
    /// Read record types.
    ReadTypes,
    /// Apply record types. For operators.
    ManageTypes,
    /// Read policies.
    ReadPolicies,
    /// Apply policies. For operators.
    ManagePolicies,
    /// List a tenant's users.
    ReadUsers,
    /// Add and change a tenant's users and their roles.
    ManageUsers,
    /// Set the identity provider that a tenant's people log in with.
    ManageProvider,
    /// Revoke other people's tokens.
    RevokeTokens,
    /// Ask what another's token of the same tenant is worth.
    IntrospectTokens,
    /// Look at, narrow and revoke one's own token.
    UseOwnToken,
    /// Read a tenant's audit records.
    ReadAudit,
    /// Set whom a tenant is told by, when something has happened to its data.
    ManageContacts,
    /// See which operators asked for access to a tenant, and what came of it.
    ReadAccess,
    /// Ask a tenant for access to its records, for a time. For operators.
    RequestAccess,
    /// Approve, refuse or end an operator's access to the own tenant.
    DecideAccess,
    /// Take access to a tenant that could not be asked; two operators together. For operators.
    BreakGlass,
    /// See alerts.
    ReadAlerts,
    /// Acknowledge and silence alerts. For operators.
    ManageAlerts,
    /// Read what the deployment's services measure. For operators.
    ReadMetrics,
    /// Find out what a breach came to, contain it, and give notice of it. For operators.
    ManageIncidents,
    /// Read the notices of breaches that concern the own tenant, and acknowledge them.
    ReadNotices,
    /// List, rotate and destroy keys. For operators.
    ManageKeys,
    /// Make, verify and restore backups. For operators.
    ManageBackups,
    /// Erase records and principals for good, and see the receipts.
    Erase,
}

impl ControlAction {
    /// Every action.
    pub const ALL: [Self; 26] = [
        Self::ManageTenants,
        Self::ManageServices,
        Self::ReadTypes,
        Self::ManageTypes,
        Self::ReadPolicies,
        Self::ManagePolicies,
        Self::ReadUsers,
        Self::ManageUsers,
        Self::ManageProvider,
        Self::RevokeTokens,
        Self::IntrospectTokens,
        Self::UseOwnToken,
        Self::ReadAudit,
        Self::ManageContacts,
        Self::ReadAccess,
        Self::RequestAccess,
        Self::DecideAccess,
        Self::BreakGlass,
        Self::ReadAlerts,
        Self::ManageAlerts,
        Self::ReadMetrics,
        Self::ManageIncidents,
        Self::ReadNotices,
        Self::ManageKeys,
        Self::ManageBackups,
        Self::Erase,
    ];

    /// The word used in policies and audit records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ManageTenants => "manage_tenants",
            Self::ManageServices => "manage_services",
            Self::ReadTypes => "read_types",
            Self::ManageTypes => "manage_types",
            Self::ReadPolicies => "read_policies",
            Self::ManagePolicies => "manage_policies",
            Self::ReadUsers => "read_users",
            Self::ManageUsers => "manage_users",
            Self::ManageProvider => "manage_provider",
            Self::RevokeTokens => "revoke_tokens",
            Self::IntrospectTokens => "introspect_tokens",
            Self::UseOwnToken => "use_own_token",
            Self::ReadAudit => "read_audit",
            Self::ManageContacts => "manage_contacts",
            Self::ReadAccess => "read_access",
            Self::RequestAccess => "request_access",
            Self::DecideAccess => "decide_access",
            Self::BreakGlass => "break_glass",
            Self::ReadAlerts => "read_alerts",
            Self::ManageAlerts => "manage_alerts",
            Self::ReadMetrics => "read_metrics",
            Self::ManageIncidents => "manage_incidents",
            Self::ReadNotices => "read_notices",
            Self::ManageKeys => "manage_keys",
            Self::ManageBackups => "manage_backups",
            Self::Erase => "erase",
        }
    }
}

/// One control request. A tenant is named where the caller may mean another than its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Control {
    /// Who am I, for how long, and what may I do.
    WhoAmI,
    /// Exchange the token for a narrower one (RFC 8693).
    Narrow {
        /// The limits to add.
        narrowing: crate::request::Narrowing,
        /// How long the new token lives at most, from now; `None` is as long as the old one.
        lifetime_ms: Option<u64>,
    },
    /// Revoke the caller's own token or session.
    RevokeOwn {
        /// The whole session rather than the token alone.
        session: bool,
    },
    /// Revoke somebody's tokens.
    Revoke(Revoke),
    /// All tenants.
    TenantList,
    /// A new tenant.
    TenantAdd {
        /// Its name.
        name: Name,
        /// The key management service that wraps its key; `None` is the deployment's own.
        #[serde(default)]
        kms: Option<Name>,
    },
    /// Wraps tenants' keys again, under the newest version of the wrapping key. What is stored is not touched.
    TenantRewrap {
        /// The tenant; `None` is every tenant.
        tenant: Option<Name>,
        /// The key management service that wraps it from now on: [`DEFAULT_KMS`] is the deployment's own, `None` the
        /// one that does already.
        kms: Option<Name>,
    },
    /// The deployment's services.
    ServiceList,
    /// A join token for a new service: good once, for ten minutes.
    ServiceInvite {
        /// What it shall be: `gateway`, `keys`, `store` or `monitor`.
        role: Name,
        /// Its name in that role; `None` leaves it to the authority.
        name: Option<Name>,
    },
    /// Ends a service's access: its certificate counts for nothing any more and is not renewed.
    ServiceRemove {
        /// What it is.
        role: Name,
        /// Its name in that role.
        name: Name,
    },
    /// The users of a tenant.
    UserList {
        /// The tenant; `None` is the caller's.
        tenant: Option<Name>,
    },
    /// Adds a user, or replaces roles, attributes and keys of one that exists.
    UserPut {
        /// The tenant; `None` is the caller's.
        tenant: Option<Name>,
        /// The user.
        user: NewUser,
    },
    /// Ends a user's access.
    UserRemove {
        /// The tenant; `None` is the caller's.
        tenant: Option<Name>,
        /// The user's name.
        user: Name,
    },
    /// The identity provider of the caller's tenant, without its secret.
    ProviderRead,
    /// A new identity provider for the caller's tenant, in place of any that it has.
    ProviderPut(Box<NewProvider>),
    /// No identity provider for the caller's tenant any more.
    ProviderRemove,
    /// What a token is worth that was shown to the caller (RFC 7662). The token itself is not part of the request.
    Introspect,
    /// The types file in force.
    TypesRead,
    /// A new types file.
    TypesApply {
        /// The file's text.
        text: String,
        /// Only say what would change.
        dry_run: bool,
    },
    /// The policies in force.
    PoliciesRead,
    /// New policies in place of all that are in force.
    PoliciesApply {
        /// File names and texts.
        files: Vec<PolicyFile>,
        /// Only check.
        dry_run: bool,
    },
    /// Audit records.
    AuditRead(AuditQuery),
    /// What each service recorded of one request, side by side.
    Receipt {
        /// The request.
        request: RequestId,
    },
    /// The stored records of one request, each with the proof that it is in its service's log.
    Prove {
        /// The request.
        request: RequestId,
    },
    /// Whom the caller's tenant is told by, when something has happened to its data.
    ContactsRead,
    /// New contacts in place of all that the caller's tenant has.
    ContactsPut(Contacts),
    /// Operators' access to tenants.
    Access(crate::access::AccessControl),
    /// What the monitor watches.
    Watch(crate::watch::WatchControl),
    /// Breaches, and what is done about them.
    Incident(crate::incident::IncidentControl),
    /// Keys of data at rest.
    Keys(crate::custody::KeyControl),
    /// Backups.
    Backup(crate::custody::BackupControl),
    /// The end of data.
    Erase(crate::custody::EraseControl),
}

impl Control {
    /// The action that policy decides on.
    #[must_use]
    pub const fn action(&self) -> ControlAction {
        match self {
            Self::WhoAmI | Self::Narrow { .. } | Self::RevokeOwn { .. } => ControlAction::UseOwnToken,
            Self::Revoke(_) => ControlAction::RevokeTokens,
            Self::TenantList | Self::TenantAdd { .. } | Self::TenantRewrap { .. } => ControlAction::ManageTenants,
            Self::ServiceList | Self::ServiceInvite { .. } | Self::ServiceRemove { .. } => {
                ControlAction::ManageServices
            }
            Self::UserList { .. } => ControlAction::ReadUsers,
            Self::UserPut { .. } | Self::UserRemove { .. } => ControlAction::ManageUsers,
            Self::ProviderRead | Self::ProviderPut(_) | Self::ProviderRemove => ControlAction::ManageProvider,
            Self::Introspect => ControlAction::IntrospectTokens,
            Self::TypesRead => ControlAction::ReadTypes,
            Self::TypesApply { .. } => ControlAction::ManageTypes,
            Self::PoliciesRead => ControlAction::ReadPolicies,
            Self::PoliciesApply { .. } => ControlAction::ManagePolicies,
            Self::AuditRead(_) | Self::Receipt { .. } | Self::Prove { .. } => ControlAction::ReadAudit,
            Self::ContactsRead | Self::ContactsPut(_) => ControlAction::ManageContacts,
            Self::Access(access) => access.action(),
            Self::Watch(watch) => watch.action(),
            Self::Incident(incident) => incident.action(),
            Self::Keys(keys) => keys.action(),
            Self::Backup(backup) => backup.action(),
            Self::Erase(erase) => erase.action(),
        }
    }

    /// The tenant that the request names, if it names one.
    #[must_use]
    pub const fn tenant(&self) -> Option<&Name> {
        match self {
            Self::UserList { tenant }
            | Self::UserPut { tenant, .. }
            | Self::UserRemove { tenant, .. }
            | Self::TenantRewrap { tenant, .. } => tenant.as_ref(),
            Self::Access(access) => access.tenant(),
            Self::Keys(keys) => keys.tenant(),
            Self::Backup(backup) => backup.tenant(),
            Self::Erase(erase) => erase.tenant(),
            _ => None,
        }
    }
}

/// Whose tokens to revoke, within the caller's tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revoke {
    /// One token.
    Token(TokenId),
    /// One login and everything narrowed from it.
    Session(SessionId),
    /// Everything that a person holds now.
    Person(Name),
}

/// A policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFile {
    /// Its name, for error messages; it also tells a file of budgets from policies.
    pub name: String,
    /// Cedar text, or TOML for budgets.
    pub text: String,
}

impl PolicyFile {
    /// Policy files whose names end so hold budgets.
    pub const BUDGET: &str = "budget.toml";

    /// Policy files whose names end so hold cryptoperiods.
    pub const KEYS: &str = "keys.toml";

    /// Whether it holds cryptoperiods and not policies.
    #[must_use]
    pub fn is_keys(&self) -> bool {
        self.name.ends_with(Self::KEYS)
    }

    /// Whether it is TOML, and not Cedar text.
    #[must_use]
    pub fn is_toml(&self) -> bool {
        self.is_budget() || self.is_keys()
    }

    /// Whether it holds budgets and not policies.
    #[must_use]
    pub fn is_budget(&self) -> bool {
        self.name.ends_with(Self::BUDGET)
    }
}

/// A user to add or to replace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUser {
    /// The name, unique in the tenant.
    pub name: Name,
    /// Roles, by the names that policies use.
    #[serde(default)]
    pub roles: Vec<Name>,
    /// Attributes in text form, of the kinds that the types file declares for principals.
    #[serde(default)]
    pub attributes: BTreeMap<Name, String>,
    /// Public keys in OpenSSH's one-line form.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// A person, a service or an agent.
    #[serde(default)]
    pub kind: UserKind,
}

/// An OpenID Connect provider with which the people of one tenant log in. It is believed about that tenant only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewProvider {
    /// Its issuer identifier, exactly as in its id tokens: an `https` URL without query and fragment.
    pub issuer: String,
    /// The name under which the deployment is registered there.
    pub client_id: String,
    /// The secret that goes with it; `None` for a public client. It is never given out again.
    #[serde(default)]
    pub client_secret: Option<ClientSecret>,
    /// Where people may be sent back to after logging in. A loopback address without a port stands for all ports
    /// (RFC 8252, section 7.3). None means that only the device flow is used.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// What to ask for besides `openid`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The claim that gives a person's name.
    #[serde(default = "name_claim")]
    pub name_claim: String,
    /// The claim that gives roles: a text or a list of texts.
    pub role_claim: String,
    /// From the values of that claim to roles. Values that are not here give none.
    pub roles: BTreeMap<String, Name>,
    /// The signature algorithms that are accepted, by their JOSE names; none means `RS256`, `PS256`, `ES256`, `ES384`
    /// and `EdDSA`.
    #[serde(default)]
    pub algorithms: Vec<String>,
    /// Certificate authorities, in PEM, that are trusted for this provider besides the platform's.
    #[serde(default)]
    pub ca_pem: Option<String>,
}

fn name_claim() -> String {
    "preferred_username".to_owned()
}

/// What a client proves itself with to its provider. It can't be printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientSecret(String);

impl ClientSecret {
    /// Takes the secret.
    #[must_use]
    pub const fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself, for the provider.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientSecret(..)")
    }
}

/// Which audit records to give.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Records about this record, as (type name, key in text form).
    pub record: Option<(String, String)>,
    /// Records of this request.
    pub request: Option<RequestId>,
    /// With `record`: only those in which this field was released, changed or filtered on.
    #[serde(default)]
    pub field: Option<String>,
    /// What this principal did, by name or id, also on behalf of somebody and through others.
    #[serde(default)]
    pub user: Option<String>,
    /// What was done with this login.
    #[serde(default)]
    pub session: Option<SessionId>,
    /// What was done with this token.
    #[serde(default)]
    pub token: Option<TokenId>,
    /// Not before this moment.
    pub since: Option<UnixMs>,
    /// Not at or after this moment.
    #[serde(default)]
    pub until: Option<UnixMs>,
    /// Only records after this place, as an earlier answer gave it. There is a ledger for each service, so it is
    /// a position in each of them: opaque to whoever passes it on.
    pub after: Option<String>,
    /// At most this many, newest last; `None` is 100.
    pub limit: Option<u64>,
}

/// Whom a tenant is told by, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contacts {
    /// E-mail addresses, at most 16.
    #[serde(default)]
    pub emails: Vec<String>,
    /// The language of notices, as a BCP 47 tag; `en` if none is given.
    #[serde(default = "language")]
    pub language: String,
}

fn language() -> String {
    "en".to_owned()
}
