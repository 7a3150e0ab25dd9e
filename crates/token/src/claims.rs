//! A token's payload on the wire.

use countersign_model::request::{Action, Narrowing};
use countersign_model::{Name, SessionId, TenantId, TokenId, UserId};
use serde::{Deserialize, Serialize};

use crate::Binding;

/// What `client_id` says. RFC 9068 asks for the claim; there is one kind of client, and it is not trusted with
/// anything that the person behind it is not.
pub(crate) const CLIENT: &str = "countersign";

/// The claims of RFC 9068, section 2.2; `authorization_details`, `cnf` and `act` of other RFCs; and `tenant`, `sid` and
/// what is in `act` beside `sub`, of our own.
///
/// Unknown claims are refused: a claim that a later version adds is likely to be a limit, and a limit that is
/// skipped is wider access (deny on doubt).
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claims {
    pub iss: String,
    pub sub: UserId,
    pub aud: String,
    pub exp: u64,
    pub iat: u64,
    /// When the person logged in; narrowing keeps it. RFC 9068, section 2.2.1.
    pub auth_time: u64,
    pub jti: TokenId,
    pub client_id: String,
    pub tenant: TenantId,
    pub sid: SessionId,
    /// `null` is not absence: a claim that is there has to be a list.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub authorization_details: Option<[Detail; 1]>,
    /// The key that it is bound to. RFC 7800, section 3.1.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub cnf: Option<Binding>,
    /// Who acts for the subject. RFC 8693, section 4.1.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub act: Option<Act>,
}

/// Who acts, and what has to be known of the exchange to end its result with what it was made from. An actor has no
/// actor of its own: who may do something is always two at most.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Act {
    pub sub: UserId,
    /// The actor's login.
    pub sid: SessionId,
    /// When the actor logged in.
    pub auth_time: u64,
    /// The actor's token.
    pub jti: TokenId,
    /// The subject's token.
    pub subject_jti: TokenId,
}

/// One member of `authorization_details` (RFC 9396, section 2).
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Detail {
    #[serde(rename = "type")]
    kind: DetailType,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    actions: Option<Vec<Action>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    datatypes: Option<Vec<Name>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    fields: Option<Vec<Name>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    purpose: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DetailType {
    Countersign,
}

/// A member that is there must have a value: `null` for "no limit" would be an easy mistake to widen by.
fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The wire form; `None` if nothing is narrowed and no purpose given.
pub(crate) fn details(narrowing: &Narrowing) -> Option<[Detail; 1]> {
    if *narrowing == Narrowing::default() {
        return None;
    }
    Some([Detail {
        kind: DetailType::Countersign,
        actions: narrowing.actions.clone(),
        datatypes: narrowing.types.clone(),
        fields: narrowing.fields.clone(),
        purpose: narrowing.purpose.clone(),
    }])
}

/// What [`details`] wrote.
pub(crate) fn narrowing(details: Option<[Detail; 1]>) -> Narrowing {
    let Some([detail]) = details else { return Narrowing::default() };
    Narrowing { actions: detail.actions, types: detail.datatypes, fields: detail.fields, purpose: detail.purpose }
}
