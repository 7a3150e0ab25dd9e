//! What goes wrong, grouped by who can do something about it.

use std::io;
use std::path::PathBuf;

use countersign_audit::Reason;
use countersign_guard::Refusal;
use countersign_keys::{KeyError, KmsError};
use countersign_model::TenantId;
use countersign_policy::PolicyError;
use countersign_postgres::PgError;
use countersign_store::types_file::{Loss, TypesError};
use countersign_token::MintError;

/// Why a registry can't be made, opened or changed. All of these are the operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A file is there already.
    #[error("{} exists already, and a deployment is never overwritten", .0.display())]
    Exists(PathBuf),
    /// The file is not a registry.
    #[error("{} is not a Countersign control database", .0.display())]
    NotARegistry(PathBuf),
    /// A newer program made it.
    #[error("the control database has format {found}; this program knows {known}")]
    Newer {
        /// The format found.
        found: i64,
        /// The newest format that this program knows.
        known: i64,
    },
    /// Another process has it open.
    #[error("the control database is open in another process")]
    InUse,
    /// There is no control data in the database.
    #[error("the database holds no control data: a deployment comes there by countersign move")]
    Empty,
    /// There is control data in the database already.
    #[error("the database holds control data already, and a deployment is never overwritten")]
    NotEmpty,
    /// Another process is the authority now, and what this one has in memory may be old. Nothing was changed.
    #[error("another process is the authority now")]
    StoodDown,
    /// The database could not be read or written. Nothing was changed.
    #[error("the control database can't be read or written: {0}")]
    Database(PgError),
    /// The file with which the authority certifies itself can't be used.
    #[error("{}: {}", .path.display(), .what)]
    Bootstrap {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The deployment's key does not open with this key management service.
    #[error("the deployment's key can't be unwrapped: {0}")]
    Kms(#[from] KmsError),
    /// What is known of a tenant doesn't open: its key is not in the key management service, and the tenant was not erased.
    #[error(
        "nothing that is known of tenant {tenant} opens{}: its key is not in the key management service, and no receipt says \
         that the tenant was erased. Put the service's keys back as they were (for files: the folder kms.own beside kms.key, \
         from its copy); without them, restore the newest backup, which leaves that tenant out and says so",
        and_others(others)
    )]
    NoKeyOf {
        /// Which.
        tenant: TenantId,
        /// How many others there are of which the same is true.
        others: usize,
    },
    /// A tenant's keys can't be made anew.
    #[error("a tenant's keys can't be made anew: {0}")]
    Keys(KeyError),
    /// A stored fact does not open or makes no sense: damage, or somebody changed the file.
    #[error("the control database is damaged: {kind} {id}")]
    Damaged {
        /// What kind of fact.
        kind: &'static str,
        /// Which one, in hexadecimal.
        id: String,
    },
    /// A fact that must be there is not.
    #[error("the control database is damaged: there is no {0}")]
    Missing(&'static str),
    /// The stored policies don't compile any more.
    #[error("the stored policies can't be used:\n{0}")]
    Policies(PolicyError),
    /// The text can't be a trust domain.
    #[error("a trust domain is 1 to 255 lower-case letters, digits, '.', '-' or '_'")]
    TrustDomain,
    /// A key or certificate could not be made.
    #[error("a key or certificate could not be made")]
    Crypto,
    /// A file could not be made.
    #[error("{}: {}", .path.display(), .source.kind())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database could not be read or written: a full or failing disk, mostly. Nothing was changed.
    #[error("the control database can't be read or written ({0})")]
    Storage(&'static str),
    /// The store could not take the record types in force. It is told again when the deployment is next opened.
    #[error("the store could not take the record types in force")]
    StoreBehind,
}

fn and_others(count: &usize) -> String {
    if *count == 0 { String::new() } else { format!(", nor of {count} others") }
}

/// Why a login was refused. What is wrong with the proof is not told apart: an unknown person, an unknown tenant,
/// a wrong key, an old challenge and one used twice are one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// The proof is no good.
    #[error("the login was refused")]
    Refused,
    /// The caller's: the lifetime asked for is over 12 hours or under a second.
    #[error("a token lives from 1 second to 12 hours")]
    Lifetime,
    /// The operator's: the audit record or a key can't be written, so nobody is let in.
    #[error("logins are not possible at the moment")]
    Unavailable,
}

/// Why a control request failed that was admitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlFailure {
    /// As the guard's refusals: not permitted after all, or the record of it could not be written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The permit is not for a control request; ours.
    #[error("this is not a control request")]
    NotControl,
    /// The caller's: there is no such thing in the caller's tenant.
    #[error("there is no {what} called '{name}'")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// The name asked for.
        name: String,
    },
    /// The caller's: the name is taken.
    #[error("there is a {what} called '{name}' already")]
    Exists {
        /// What kind of thing.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The caller's: something in the request is not as it must be.
    #[error("{field}: expected {expected}")]
    Invalid {
        /// Where.
        field: String,
        /// What would be right.
        expected: String,
    },
    /// The caller's: it would leave the tenant without anybody.
    #[error("the last person of a tenant can't be removed")]
    LastPerson,
    /// The caller's: so many single tokens and sessions are revoked already that no more are kept.
    #[error("too many single tokens and sessions are revoked already: revoke the person instead")]
    TooManyRevocations,
    /// The caller's: the types file is wrong.
    #[error("{0}")]
    Types(TypesError),
    /// The caller's: the types file would lose or break what is stored.
    #[error("the new types file would lose or break what is stored:\n{}", lines(.0))]
    Losses(Vec<Loss>),
    /// The caller's: the policies are wrong.
    #[error("{0}")]
    Policies(PolicyError),
    /// The caller's: the policies in force don't fit the new types.
    #[error("the policies in force don't fit the new types:\n{0}")]
    PoliciesInForce(PolicyError),
    /// The caller's: no such token can be made.
    #[error(transparent)]
    Token(#[from] MintError),
    /// The operator's: a disk, a key or a service does not work. Nothing was changed, unless the registry has the
    /// change already and only the store is behind.
    #[error("the deployment's {0} is not available")]
    Unavailable(&'static str),
    /// The operator's: nobody watches.
    #[error("no monitor runs in this deployment, or it can't be reached")]
    NoMonitor,
}

fn lines(losses: &[Loss]) -> String {
    losses.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl ControlFailure {
    /// The word for it in audit records.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::Exists { .. } | Self::Losses(_) | Self::PoliciesInForce(_) | Self::LastPerson => Reason::Conflict,
            Self::TooManyRevocations => Reason::Limit,
            Self::Unavailable(_) | Self::NoMonitor | Self::Token(MintError::Signing) => Reason::Unavailable,
            Self::NotControl
            | Self::NotFound { .. }
            | Self::Invalid { .. }
            | Self::Types(_)
            | Self::Policies(_)
            | Self::Token(_) => Reason::Invalid,
        }
    }
}

impl From<PgError> for RegistryError {
    fn from(error: PgError) -> Self {
        match error {
            PgError::InUse => Self::InUse,
            error => Self::Database(error),
        }
    }
}

impl From<RegistryError> for ControlFailure {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::StoreBehind => Self::Unavailable("store"),
            RegistryError::Kms(_) => Self::Unavailable("key management service"),
            _ => Self::Unavailable("control database"),
        }
    }
}
