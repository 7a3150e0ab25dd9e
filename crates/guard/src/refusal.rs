use countersign_audit::Reason;
use countersign_model::{Kind, Name};
use countersign_token::TokenError;

/// Why a request was not admitted. Carries names that the caller may see and positions, never values.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The caller's: no token came with the request.
    #[error("a token is required")]
    NoToken,
    /// The caller's: the token is no good.
    #[error("the token was refused: {0}")]
    Token(TokenError),
    /// The caller's: the token, its session or its user's tokens were revoked.
    #[error("the token was revoked")]
    Revoked,
    /// The caller's: the token is good, but its user or tenant is gone.
    #[error("the token's user is unknown")]
    UnknownPrincipal,
    /// The caller's: not permitted, or it doesn't exist. The two are one answer (INVARIANT hidden-is-absent).
    #[error("not permitted")]
    Forbidden,
    /// The caller's: another tenant was named. Answered like [`Self::Forbidden`], recorded as what it is.
    #[error("not permitted")]
    OtherTenant,
    /// The caller's: what was asked makes no sense. Only speaks of what the caller may see.
    #[error("{0}")]
    Invalid(Invalid),
    /// The caller's: the token is bound to a key, and no proof of that key came with it.
    #[error("the token is bound to a key, and no proof of it came with the request")]
    Unbound,
    /// The caller's: the plaintext budget of the token or of its user is used up.
    #[error("the plaintext budget is used up")]
    Budget,
    /// Nobody's: facts changed while the request was under way, so that it can't be decided under one epoch.
    #[error("facts changed while the request was under way")]
    Superseded,
    /// The operator's: the service has not heard from the authority for too long to decide anything.
    #[error("the facts to decide by are out of date")]
    Stale,
    /// The operator's: a policy could not be evaluated, so nothing is permitted (the fourth law).
    #[error("the policies could not be evaluated")]
    PolicyFault,
    /// The operator's: the audit record could not be written, so nothing is done (the third law).
    #[error("the audit record could not be written")]
    AuditUnavailable,
}

/// What makes no sense about a request whose names are all permitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A value is not of its field's kind.
    #[error("field '{field}': expected {}", .expected.expectation())]
    WrongKind {
        /// The field.
        field: Name,
        /// Its kind.
        expected: Kind,
        /// The row in a body of several, from 0.
        row: Option<usize>,
    },
    /// A required field has no value.
    #[error("field '{field}' is required")]
    Required {
        /// The field.
        field: Name,
        /// The row in a body of several, from 0.
        row: Option<usize>,
    },
    /// The comparison does not apply to the field's kind.
    #[error("field '{field}' is of kind {}: this comparison does not apply", .kind.as_str())]
    Comparison {
        /// The field.
        field: Name,
        /// Its kind.
        kind: Kind,
    },
    /// `is` with something other than null, true or false.
    #[error("field '{field}': 'is' takes null, not_null, true or false")]
    Is {
        /// The field.
        field: Name,
    },
    /// A column of the answer would have the same name as another.
    #[error("two columns of the answer would be called '{label}'")]
    DuplicateLabel {
        /// The name.
        label: String,
    },
    /// A field was given twice.
    #[error("field '{field}' is given twice")]
    DuplicateField {
        /// The field.
        field: Name,
    },
    /// Two types are connected by several references and none was named.
    #[error("'{target}' is connected by several references; name one of: {}", .candidates.iter().map(Name::as_str).collect::<Vec<_>>().join(", "))]
    AmbiguousEmbed {
        /// The embedded type.
        target: Name,
        /// The reference fields to choose from, all visible to the caller.
        candidates: Vec<Name>,
    },
    /// The conflict field is not unique.
    #[error("field '{field}' is not unique")]
    NotUnique {
        /// The field.
        field: Name,
    },
    /// More than a configured bound.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The cursor does not belong to this query.
    #[error("the cursor does not belong to this query")]
    Cursor,
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl Refusal {
    /// The word for it in audit records.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NoToken => Reason::NoToken,
            Self::Token(TokenError::Expired) => Reason::Expired,
            Self::Token(_) => Reason::BadToken,
            Self::Revoked => Reason::Revoked,
            Self::UnknownPrincipal => Reason::UnknownPrincipal,
            Self::Forbidden => Reason::NotPermitted,
            Self::OtherTenant => Reason::OtherTenant,
            Self::Invalid(_) => Reason::Invalid,
            Self::PolicyFault => Reason::PolicyFault,
            Self::Unbound => Reason::Unbound,
            Self::Budget => Reason::Budget,
            Self::Superseded => Reason::Superseded,
            Self::Stale => Reason::Stale,
            Self::AuditUnavailable => Reason::Unavailable,
        }
    }
}
