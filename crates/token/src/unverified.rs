//! Looking into a token without trusting it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_model::request::Narrowing;
use countersign_model::{SessionId, TenantId, TokenId, UnixMs, UserId};

use crate::claims::{Claims, narrowing};
use crate::{Binding, MAX_TOKEN_BYTES, TokenError};

/// What a token says of itself. Nothing was checked, so nothing may be granted by it: it is for showing a token
/// to the one who holds it, and no function that grants access takes it.
#[derive(Clone)]
pub struct Unverified {
    /// Who is said to have issued it.
    pub issuer: String,
    /// For whom it is said to be.
    pub audience: String,
    /// Whose it is said to be.
    pub user: UserId,
    /// The tenant it names.
    pub tenant: TenantId,
    /// The session it names.
    pub session: SessionId,
    /// Its identifier.
    pub token: TokenId,
    /// When it says it was issued.
    pub issued: UnixMs,
    /// When it says it expires.
    pub expires: UnixMs,
    /// The limits it names.
    pub narrowing: Narrowing,
    /// The key it says it is bound to.
    pub binding: Option<Binding>,
    /// Who is said to act for the user.
    pub actor: Option<UserId>,
}

impl Unverified {
    /// Reads a token's payload and nothing else.
    ///
    /// # Errors
    /// [`TokenError::TooLarge`] or [`TokenError::Malformed`].
    pub fn read(token: &str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge);
        }
        let mut parts = token.split('.');
        let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(TokenError::Malformed);
        };
        let json = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Malformed)?;
        let claims: Claims = serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)?;
        Ok(Self {
            issuer: claims.iss,
            audience: claims.aud,
            user: claims.sub,
            tenant: claims.tenant,
            session: claims.sid,
            token: claims.jti,
            issued: UnixMs::from_seconds(claims.iat),
            expires: UnixMs::from_seconds(claims.exp),
            narrowing: narrowing(claims.authorization_details),
            binding: claims.cnf,
            actor: claims.act.map(|act| act.sub),
        })
    }
}

/// Its identifier only: the rest is whatever somebody wrote.
impl std::fmt::Debug for Unverified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unverified").field("token", &self.token).finish_non_exhaustive()
    }
}
