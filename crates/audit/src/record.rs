//! What one audit record says.

use std::fmt;

pub use countersign_model::Service;
use countersign_model::request::Door;
use countersign_model::{FieldSet, RequestId, SessionId, Tally, TenantId, TokenId, TypeId, UnixMs, UserId};
use serde::{Deserialize, Serialize};

use crate::recordset::RecordSet;

/// What a service decided, or what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Admitted; what it comes to follows in another record of the same request.
    Intent,
    /// Data leaves; written before it does.
    Released,
    /// Records, or the deployment's facts, were changed.
    Changed,
    /// Not admitted.
    Refused,
    /// Admitted, and then nothing was released or changed.
    Failed,
    /// Admitted, and it is not known whether records were changed: the storage's answer was lost, or what followed the
    /// change failed.
    Unknown,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 6] =
        [Self::Intent, Self::Released, Self::Changed, Self::Refused, Self::Failed, Self::Unknown];

    /// The word used in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Released => "released",
            Self::Changed => "changed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Why a request was refused or failed. A closed list: an audit record carries no free text about a
        /// refusal, because free text is where values slip in.
        ///
        /// The order is part of the stored format: new reasons go to the end.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word used in answers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

reasons! {
    /// The request carried no token.
    NoToken = "no_token",
    /// The token is malformed, wrongly signed, meant for somebody else or not valid yet.
    BadToken = "bad_token",
    /// The token is past its end, or would live longer than any token may.
    Expired = "expired",
    /// The token, its session or its person was revoked.
    Revoked = "revoked",
    /// The token is good, and nobody by that id exists in that tenant.
    UnknownPrincipal = "unknown_principal",
    /// Policy does not permit it, or the token was narrowed below it. Naming a field or type that does not
    /// exist is the same.
    NotPermitted = "not_permitted",
    /// The request named a tenant other than the token's.
    OtherTenant = "other_tenant",
    /// The request says something that can't be: a value of the wrong kind, a missing required field.
    Invalid = "invalid",
    /// A policy could not be evaluated.
    PolicyFault = "policy_fault",
    /// More than a configured bound: records scanned, records affected, size, time.
    Limit = "limit",
    /// It clashes with what is stored: a unique value taken, a reference broken, a record changed meanwhile.
    Conflict = "conflict",
    /// A service, a key, a disk or the audit ledger could not be reached.
    Unavailable = "unavailable",
    /// What is stored can't be opened.
    Damaged = "damaged",
    /// A login's proof of possession is wrong, used up or too old.
    BadProof = "bad_proof",
    /// The plaintext budget is used up.
    Budget = "budget",
    /// The token is bound to a key, and no proof of that key came with it.
    Unbound = "unbound",
    /// The service has not heard from the authority for too long to decide anything.
    Stale = "stale",
    /// The request was decided under facts that have been replaced since.
    Superseded = "superseded",
    /// A service took part in a request of which another one knows nothing.
    NoFellow = "no_fellow",
    /// Services that took part in a request recorded different things.
    Differs = "differs",
    /// A ledger's log was rolled back or has two histories: what it says contradicts what a witness has seen.
    Forked = "forked",
    /// The answer to a change was lost.
    Unknown = "unknown",
}

/// One audit record. Written once, never changed.
///
/// The fields here are stored in clear, except `door` and `body`, which are sealed under the tenant's key, and `tally`,
/// which is sealed under the service's own together with the [`Signal`](crate::Signal) that the record gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When the service decided.
    pub time: UnixMs,
    /// The request, the same on every service that took part in it.
    pub request: RequestId,
    /// Which service decided.
    pub service: Service,
    /// By which protocol the request came, if by any.
    pub door: Option<Door>,
    /// What was decided.
    pub verdict: Verdict,
    /// Whose record this is: who may read it, and under whose key it is sealed if that can be had. `None` is the
    /// deployment's, for requests that could not be laid to any tenant.
    pub tenant: Option<TenantId>,
    /// What the request came to, to be held against what the other services say; sealed under the service's own
    /// key. `None` where nothing was released or changed.
    pub tally: Option<Tally>,
    /// What identifies people and records.
    pub body: Body,
}

/// The sealed part of a [`Record`].
///
/// `accesses` is first because it is first in the stored form, where a search for one record reads no further.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Body {
    /// What was read or changed, one entry for each record type.
    pub accesses: Vec<Access>,
    /// Who asked; `None` if that was never established.
    pub user: Option<UserId>,
    /// Their name at that time, so that a record can be read after the person has gone.
    pub user_name: Option<String>,
    /// For whom, where one principal acts for another.
    pub on_behalf_of: Option<UserId>,
    /// The login.
    pub session: Option<SessionId>,
    /// The token.
    pub token: Option<TokenId>,
    /// What was to be done: the word that policies use.
    pub action: String,
    /// Why it was refused or failed.
    pub reason: Option<Reason>,
    /// What the data was for, in the caller's words.
    pub purpose: Option<String>,
    /// The epoch of the facts it was decided under.
    pub epoch: u64,
    /// How many records were changed.
    pub affected: Option<u64>,
    /// For requests that manage something: what they asked for, without secrets.
    pub detail: Option<String>,
    /// For logins: the key or the provider's account that it was proved with, by fingerprint. For tokens made from tokens:
    /// [the new one](crate::Signal::made).
    pub credential: Option<String>,
}

/// Shows nothing that identifies a person or a record: this ends up in logs.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("action", &self.action)
            .field("reason", &self.reason)
            .field("accesses", &self.accesses)
            .field("affected", &self.affected)
            .finish_non_exhaustive()
    }
}

/// What was read or changed of one record type. Fields and records, never values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The record type.
    pub record_type: TypeId,
    /// The fields released or changed.
    pub fields: FieldSet,
    /// The fields that decided which records: filtering on a field is reading it.
    pub filter_fields: FieldSet,
    /// Which records.
    pub records: RecordSet,
    /// How many rows, which is more than records where one record is embedded in several rows.
    pub rows: u64,
}
